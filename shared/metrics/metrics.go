// Package metrics counts what passes through the connector's ports and writes
// it as CloudWatch's embedded metric format: one JSON object a line, which
// CloudWatch Logs turns into metrics. It makes no call of its own, and the
// domain does not know of it.
//
// A metric carries names of platforms, statuses, codes and counts; never an
// id, an owner, or anything secret.
package metrics

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"platform-api-connector/shared/connector"
)

// The metrics, as the dashboard and the alarms know them. All live in one
// namespace a deployment.
const (
	// Refreshes counts refreshes that a platform was asked for, by Platform
	// and Outcome: "refreshed", or the code of the failure. FailedRefreshes
	// counts those that failed in a way that more trying may mend; a dead
	// grant and a refused app have metrics of their own.
	Refreshes       = "Refreshes"
	FailedRefreshes = "FailedRefreshes"

	// NeedsReauth counts connections that began to need a person, by Platform.
	NeedsReauth = "NeedsReauth"

	// AppRefused counts calls in which a platform refused the app itself, by
	// Platform.
	AppRefused = "AppRefused"

	// TokenGets counts tokens handed out, TokenCacheHits those among them for
	// which no platform was asked, and TokenGetLatency is how long they took,
	// in milliseconds.
	TokenGets       = "TokenGets"
	TokenCacheHits  = "TokenCacheHits"
	TokenGetLatency = "TokenGetLatency"

	// DueBacklog is how many connections a tick found due, OldestDueAge how
	// long the first of them had waited, in seconds.
	DueBacklog   = "DueBacklog"
	OldestDueAge = "OldestDueAge"

	// ConnectionsByStatus is how many connections there are, by Status and by
	// Platform and Status. It is counted once an hour.
	ConnectionsByStatus = "ConnectionsByStatus"

	// Defects counts failures that are ours, by Function.
	Defects = "Defects"
)

// The dimensions.
const (
	Platform = "Platform"
	Outcome  = "Outcome"
	Status   = "Status"
	Function = "Function"
)

// Units, as CloudWatch names them.
const (
	count        = "Count"
	seconds      = "Seconds"
	milliseconds = "Milliseconds"
)

// Meter writes metrics. Its methods may be called from any goroutine.
type Meter struct {
	namespace, function string
	now                 func() time.Time
	connections         connector.Store // as it was before it was observed

	mu  sync.Mutex
	out io.Writer
	// seen is what one invocation has seen so far; Lambda runs one at a time
	// in a process.
	seen    seen
	counted time.Time // when the connections were counted last
}

type seen struct {
	platformCalls int
	due           map[connector.ID]time.Time
}

func nothing() seen { return seen{due: map[connector.ID]time.Time{}} }

// New returns a Meter of the named function that writes to out, which is
// standard output on Lambda. The namespace is the deployment's own.
func New(out io.Writer, namespace, function string, now func() time.Time) *Meter {
	return &Meter{out: out, namespace: namespace, function: function, now: now, seen: nothing()}
}

// measurement is one value of one metric.
type measurement struct {
	name  string
	unit  string
	value float64
}

// set is dimensions under which measurements are filed together.
type set map[string]string

// write writes one line: every measurement, filed under every set. The sets
// of one line must agree on the values of dimensions that they share.
//
// The format is that of
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (m *Meter) write(measurements []measurement, sets ...set) {
	type definition struct{ Name, Unit string }
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []definition
	}
	d := directive{Namespace: m.namespace, Dimensions: [][]string{}}
	line := map[string]any{}
	for _, s := range sets {
		d.Dimensions = append(d.Dimensions, slices.AppendSeq([]string{}, maps.Keys(s)))
		slices.Sort(d.Dimensions[len(d.Dimensions)-1])
		for name, value := range s {
			line[name] = value
		}
	}
	for _, v := range measurements {
		d.Metrics = append(d.Metrics, definition{Name: v.name, Unit: v.unit})
		line[v.name] = v.value
	}
	line["_aws"] = map[string]any{
		"Timestamp":         m.now().UnixMilli(),
		"CloudWatchMetrics": []directive{d},
	}
	b, err := json.Marshal(line)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// A metric that cannot be written must not fail what it measures.
	_, _ = m.out.Write(append(b, '\n'))
}

func one(name string) []measurement { return []measurement{{name, count, 1}} }
