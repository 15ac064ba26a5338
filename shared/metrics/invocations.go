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

// Invocations returns next, with what one invocation of the named function
// amounts to written at its end.
func (m *Meter) Invocations(function string, next Invoke) Invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		m.begin()
		result, err := next(ctx, payload)
		defects := 0.0
		var failure messages.InvokeResponse_Error
		if errors.As(err, &failure) && failure.Type == string(connector.Internal) {
			defects = 1
		}
		m.write([]measurement{{Defects, count, defects}}, set{}, set{Function: function})
		return result, err
	}
}

func (m *Meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = seen{}
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
// Once an hour it counts the connections that s lists, too.
func (m *Meter) Sweeps(s connector.Store, every time.Duration, next Invoke) Invoke {
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
		if began.Truncate(time.Hour) != began.Add(-every).Truncate(time.Hour) {
			m.census(ctx, s)
		}
		return result, err
	}
}

// censusPage is how many connections are read at a time.
const censusPage = 1000

// census counts connections, but writes nothing if it cannot count them all:
// half a number would ring a bell.
func (m *Meter) census(ctx context.Context, s connector.Store) {
	type group struct {
		platform connector.Name
		status   connector.Status
	}
	total, groups := map[connector.Status]int{}, map[group]int{}
	for _, status := range connector.Statuses() {
		total[status] = 0
		for cursor, more := "", true; more; more = cursor != "" {
			page, next, err := s.Connections(ctx, connector.Filter{Status: status}, cursor, censusPage)
			if err != nil {
				return
			}
			for _, c := range page {
				total[status]++
				groups[group{c.Platform, status}]++
			}
			cursor = next
		}
	}
	for status, n := range total {
		m.write([]measurement{{ConnectionsByStatus, count, float64(n)}}, set{Status: string(status)})
	}
	for g, n := range groups {
		m.write([]measurement{{ConnectionsByStatus, count, float64(n)}}, set{Platform: string(g.platform), Status: string(g.status)})
	}
}
