// Package metrics counts the calls of the connector's ports. It writes the
// counts in CloudWatch's embedded metric format: CloudWatch Logs turns each
// line, a JSON object, into metrics. Only the hourly count of connections
// calls a port itself. The domain does not depend on this package.
//
// A metric contains names of platforms, statuses, codes and counts. It never
// contains an id, an owner or a secret.
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

// The names of the metrics, which the dashboard and the alarms use too. Each
// deployment has a namespace of its own.
const (
	// Refreshes counts refresh requests to a platform, by Platform and
	// Outcome. The outcome is "refreshed" or the code of the failure.
	// FailedRefreshes counts the failures that a retry may solve. A dead
	// grant counts as NeedsReauth, and a refused app as AppRefused.
	Refreshes       = "Refreshes"
	FailedRefreshes = "FailedRefreshes"

	// NeedsReauth counts connections that changed to needs_reauth, by
	// Platform.
	NeedsReauth = "NeedsReauth"

	// AccountChanged counts connections whose refresh returned the tokens of
	// another account, by Platform.
	AccountChanged = "AccountChanged"

	// AppRefused counts calls in which a platform refused the app itself, by
	// Platform.
	AppRefused = "AppRefused"

	// TokenGets counts the tokens that were handed out. TokenCacheHits counts
	// those of them that needed no call to a platform. TokenGetLatency is the
	// duration of the invocations, in milliseconds.
	TokenGets       = "TokenGets"
	TokenCacheHits  = "TokenCacheHits"
	TokenGetLatency = "TokenGetLatency"

	// DueBacklog is the number of connections that a sweep found due.
	// OldestDueAge is how long the oldest of them has been due, in seconds.
	DueBacklog   = "DueBacklog"
	OldestDueAge = "OldestDueAge"

	// LateEvents counts the tries to send an event that could not be sent at once.
	// LateEventAge is how long ago it happened, in seconds.
	LateEvents   = "LateEvents"
	LateEventAge = "LateEventAge"

	// ConnectionsByStatus is the number of connections, by Status and by
	// Platform and Status. It is written once an hour.
	ConnectionsByStatus = "ConnectionsByStatus"

	// ForeignCookie and DecoyUsed count the incidents of the domain.
	ForeignCookie = string(connector.ForeignCookie)
	DecoyUsed     = string(connector.DecoyUsed)

	// CredentialsMismatch counts reads of credentials that do not belong to the
	// record that names them.
	CredentialsMismatch = "CredentialsMismatch"

	// Defects counts invocations that failed with Internal, by Function.
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
	connections         connector.Store // the store without the meter's wrapper

	mu  sync.Mutex
	out io.Writer
	// stats belong to the current invocation. Lambda runs one invocation at a
	// time in a process.
	stats   stats
	counted time.Time // the hour in which the connections were last counted
}

// stats are the counts of one invocation.
type stats struct {
	platformCalls int
	due           map[connector.RecordKey]time.Time
}

func newStats() stats { return stats{due: map[connector.RecordKey]time.Time{}} }

// New returns a Meter of the named function that writes to out, which is
// standard output on Lambda.
func New(out io.Writer, namespace, function string, now func() time.Time) *Meter {
	return &Meter{out: out, namespace: namespace, function: function, now: now, stats: newStats()}
}

// measurement is one value of one metric.
type measurement struct {
	name  string
	unit  string
	value float64
}

// dimensions are the names and values of one dimension set.
type dimensions map[string]string

// write writes one line with every measurement under every dimension set. A
// dimension that several sets of one line share must have the same value in
// all of them.
//
// The format is that of
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (m *Meter) write(measurements []measurement, sets ...dimensions) {
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
	// A failure to write a metric must not fail the measured call.
	_, _ = m.out.Write(append(b, '\n'))
}

func single(name string) []measurement { return []measurement{{name, count, 1}} }
