package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"platform-api-connector/shared/connector"
)

// Invoke is the signature of a Lambda function, as handler.Function has it.
type Invoke = func(ctx context.Context, payload []byte) ([]byte, error)

// Invocations wraps next. It resets the meter's stats before each invocation
// and writes the metric Defects after it. It must wrap Tokens and Sweeps.
func (m *Meter) Invocations(next Invoke) Invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		m.begin()
		result, err := next(ctx, payload)
		defects := 0.0
		var failure messages.InvokeResponse_Error
		if errors.As(err, &failure) && failure.Type == string(connector.Internal) {
			defects = 1
		}
		m.write([]measurement{{Defects, count, defects}}, dimensions{}, dimensions{Function: m.function})
		return result, err
	}
}

func (m *Meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats = newStats()
}

// snapshot returns the stats of the current invocation.
func (m *Meter) snapshot() stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Tokens wraps next, the function that hands out tokens. It writes the count,
// the latency and the cache hits of successful invocations. A signature is not a
// token.
func (m *Meter) Tokens(next Invoke) Invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		began := m.now()
		result, err := next(ctx, payload)
		if err != nil || isHTTPError(result) || isSignature(payload) {
			return result, err
		}
		hit := 0.0
		if m.snapshot().platformCalls == 0 {
			hit = 1
		}
		m.write([]measurement{
			{TokenGets, count, 1},
			{TokenCacheHits, count, hit},
			{TokenGetLatency, milliseconds, float64(m.now().Sub(began).Microseconds()) / 1000},
		}, dimensions{})
		return result, nil
	}
}

// isHTTPError reports whether result is an HTTP answer with an error status.
func isHTTPError(result []byte) bool {
	var answer struct {
		StatusCode int `json:"statusCode"`
	}
	return json.Unmarshal(result, &answer) == nil && answer.StatusCode >= 400
}

// isSignature reports whether payload is a request of the route that signs.
func isSignature(payload []byte) bool {
	var event struct {
		RouteKey string `json:"routeKey"`
	}
	return json.Unmarshal(payload, &event) == nil && strings.HasSuffix(event.RouteKey, "/sign")
}

// Sweeps wraps next, the sweep that queues due connections. It writes how many
// are due and for how long. Once an hour it also counts all connections.
func (m *Meter) Sweeps(next Invoke) Invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		began := m.now()
		result, err := next(ctx, payload)
		oldest := time.Duration(0)
		due := m.snapshot().due
		for _, at := range due {
			oldest = max(oldest, began.Sub(at))
		}
		m.write([]measurement{
			{DueBacklog, count, float64(len(due))},
			{OldestDueAge, seconds, oldest.Seconds()},
		}, dimensions{})
		if hour := began.Truncate(time.Hour); hour.After(m.counted) && m.countConnections(ctx) {
			m.counted = hour
		}
		return result, err
	}
}

// countMargin is how long before the deadline of an invocation the counting of
// connections ends.
const countMargin = 5 * time.Second

// countPage is how many connections are read at a time.
const countPage = 1000

type group struct {
	platform connector.Name
	status   connector.Status
}

// countConnections counts the connections by platform and status, and reports
// whether it succeeded. It writes no count unless it counted all connections,
// because a partial count would mislead.
func (m *Meter) countConnections(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-countMargin))
		defer cancel()
	}
	groups := map[group]int{}
	// A filter without a status excludes disconnected connections.
	for _, f := range []connector.Filter{{}, {Status: connector.Disconnected}} {
		for cursor, more := "", true; more; more = cursor != "" {
			page, next, err := m.connections.Connections(ctx, f, cursor, countPage)
			if err != nil {
				return false
			}
			for _, c := range page {
				groups[group{c.Platform, c.Status}]++
			}
			cursor = next
		}
	}
	total := map[connector.Status]int{}
	for g, n := range groups {
		total[g.status] += n
		m.write([]measurement{{ConnectionsByStatus, count, float64(n)}}, dimensions{Platform: string(g.platform), Status: string(g.status)})
	}
	for _, status := range connector.Statuses() {
		m.write([]measurement{{ConnectionsByStatus, count, float64(total[status])}}, dimensions{Status: string(status)})
	}
	return true
}
