package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"platform-api-connector/shared/connector"
)

// Invoke is how a function is invoked; handler.Function is one.
type Invoke = func(ctx context.Context, payload []byte) ([]byte, error)

// Invocations returns next, with what each invocation amounts to written at
// its end. It goes around Tokens and Sweeps.
func (m *Meter) Invocations(next Invoke) Invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		m.begin()
		result, err := next(ctx, payload)
		defects := 0.0
		var failure messages.InvokeResponse_Error
		if errors.As(err, &failure) && failure.Type == string(connector.Internal) {
			defects = 1
		}
		m.write([]measurement{{Defects, count, defects}}, set{}, set{Function: m.function})
		return result, err
	}
}

func (m *Meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = nothing()
}

func (m *Meter) soFar() seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

// Tokens returns next, which hands out tokens, with its time and its cache
// hits written.
func (m *Meter) Tokens(next Invoke) Invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		began := m.now()
		result, err := next(ctx, payload)
		if err != nil || refused(result) {
			return result, err
		}
		hit := 0.0
		if m.soFar().platformCalls == 0 {
			hit = 1
		}
		m.write([]measurement{
			{TokenGets, count, 1},
			{TokenCacheHits, count, hit},
			{TokenGetLatency, milliseconds, float64(m.now().Sub(began).Microseconds()) / 1000},
		}, set{})
		return result, nil
	}
}

// refused reports whether result is an HTTP answer that is no token.
func refused(result []byte) bool {
	var answer struct {
		StatusCode int `json:"statusCode"`
	}
	return json.Unmarshal(result, &answer) == nil && answer.StatusCode >= 400
}

// Sweeps returns next, which queues what is due, with what it found written.
// Once an hour it counts the connections, too.
func (m *Meter) Sweeps(next Invoke) Invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		began := m.now()
		result, err := next(ctx, payload)
		oldest := time.Duration(0)
		due := m.soFar().due
		for _, at := range due {
			oldest = max(oldest, began.Sub(at))
		}
		m.write([]measurement{
			{DueBacklog, count, float64(len(due))},
			{OldestDueAge, seconds, oldest.Seconds()},
		}, set{})
		if hour := began.Truncate(time.Hour); hour.After(m.counted) && m.census(ctx) {
			m.counted = hour
		}
		return result, err
	}
}

// censusMargin is how long before an invocation's end counting gives up.
const censusMargin = 5 * time.Second

// censusPage is how many connections are read at a time.
const censusPage = 1000

type group struct {
	platform connector.Name
	status   connector.Status
}

// census counts connections and reports whether it could. It writes nothing
// if it cannot count them all: half a number would mislead.
func (m *Meter) census(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-censusMargin))
		defer cancel()
	}
	groups := map[group]int{}
	// A filter without a status leaves the disconnected ones out.
	for _, f := range []connector.Filter{{}, {Status: connector.Disconnected}} {
		for cursor, more := "", true; more; more = cursor != "" {
			page, next, err := m.connections.Connections(ctx, f, cursor, censusPage)
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
		m.write([]measurement{{ConnectionsByStatus, count, float64(n)}}, set{Platform: string(g.platform), Status: string(g.status)})
	}
	for _, status := range connector.Statuses() {
		m.write([]measurement{{ConnectionsByStatus, count, float64(total[status])}}, set{Status: string(status)})
	}
	return true
}
