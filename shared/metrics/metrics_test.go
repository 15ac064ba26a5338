package metrics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/metrics"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const namespace = "platform-api-connector/test"

// rig is a meter around a service of doubles, and what it wrote.
type rig struct {
	meter   *metrics.Meter
	service *connector.Service
	clock   *connectortest.Clock
	out     bytes.Buffer
}

func newRig(t *testing.T, platforms ...connector.Platform) *rig {
	t.Helper()
	r := &rig{clock: connectortest.NewClock(noon)}
	r.meter = metrics.New(&r.out, namespace, "some-function", r.clock.Now)
	r.service = &connector.Service{
		Platforms: platforms,
		Store:     patient{connectortest.NewStore()},
		Events:    connectortest.NewEvents(),
	}
	r.meter.Observe(r.service)
	return r
}

// patient is a store that, as one on a network does, gives up with ctx, and
// gives less at a time than it is asked for.
type patient struct{ connector.Store }

func (p patient) Connections(ctx context.Context, f connector.Filter, cursor string, limit int) ([]connector.Connection, string, error) {
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	return p.Store.Connections(ctx, f, cursor, min(limit, 1))
}

// written returns each value that CloudWatch would file, keyed by the metric
// and its dimensions: "Refreshes Platform=tiktok".
func (r *rig) written(t *testing.T) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(r.out.String()) {
		for key, value := range readLine(t, line) {
			values[key] += value
		}
	}
	return values
}

// readLine reads a line as CloudWatch does, by the embedded metric format's
// specification.
func readLine(t *testing.T, line string) map[string]float64 {
	t.Helper()
	var members map[string]json.RawMessage
	var document struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	if err := errors.Join(json.Unmarshal([]byte(line), &members), json.Unmarshal([]byte(line), &document)); err != nil {
		t.Fatalf("not a JSON object: %v: %s", err, line)
	}
	if got := time.UnixMilli(document.AWS.Timestamp); got.Before(noon) || got.After(noon.Add(24*time.Hour)) {
		t.Errorf("timestamp %v is not the clock's", got)
	}
	values := map[string]float64{}
	for _, d := range document.AWS.CloudWatchMetrics {
		if d.Namespace != namespace {
			t.Errorf("namespace %q, want %q", d.Namespace, namespace)
		}
		for _, dimensions := range d.Dimensions {
			suffix := ""
			for _, name := range dimensions {
				var value string
				if err := json.Unmarshal(members[name], &value); err != nil || value == "" {
					t.Errorf("dimension %s has no value in %s", name, line)
				}
				suffix += " " + name + "=" + value
			}
			for _, m := range d.Metrics {
				var value float64
				if err := json.Unmarshal(members[m.Name], &value); err != nil || m.Unit == "" {
					t.Errorf("metric %s has no value or unit in %s", m.Name, line)
				}
				values[m.Name+suffix] += value
			}
		}
	}
	return values
}

// answering is a platform whose calls end in err.
type answering struct {
	connector.Platform
	err error
}

func (answering) Describe() connector.Description { return connector.Description{Name: "tiktok"} }

func (p answering) Refresh(context.Context, connector.App, connector.Credentials) (connector.Credentials, error) {
	return connector.Credentials{}, p.err
}

func (p answering) Exchange(context.Context, connector.App, connector.Authorization, connector.Secret) ([]connector.Grant, error) {
	return nil, p.err
}

func (p answering) Verify(context.Context, connector.App, connector.Credentials) (connector.Verification, error) {
	return connector.Verification{}, p.err
}

func TestRefreshes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want map[string]float64
	}{
		"refreshed": {nil, map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=refreshed Platform=tiktok": 1,
			"FailedRefreshes": 0, "FailedRefreshes Platform=tiktok": 0, "FailedRefreshes Outcome=refreshed Platform=tiktok": 0,
		}},
		"platform down": {&connector.Error{Code: connector.PlatformUnavailable}, map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=PlatformUnavailable Platform=tiktok": 1,
			"FailedRefreshes": 1, "FailedRefreshes Platform=tiktok": 1, "FailedRefreshes Outcome=PlatformUnavailable Platform=tiktok": 1,
		}},
		"a dead grant is no failure of ours": {&connector.Error{Code: connector.ReauthorizationRequired}, map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=ReauthorizationRequired Platform=tiktok": 1,
			"FailedRefreshes": 0, "FailedRefreshes Platform=tiktok": 0, "FailedRefreshes Outcome=ReauthorizationRequired Platform=tiktok": 0,
		}},
		"a refused app has its own metric": {&connector.Error{Code: connector.AppMisconfigured}, map[string]float64{
			"AppRefused": 1, "AppRefused Platform=tiktok": 1,
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=AppMisconfigured Platform=tiktok": 1,
			"FailedRefreshes": 0, "FailedRefreshes Platform=tiktok": 0, "FailedRefreshes Outcome=AppMisconfigured Platform=tiktok": 0,
		}},
		"what has no code is a failure": {errors.New("odd"), map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=Internal Platform=tiktok": 1,
			"FailedRefreshes": 1, "FailedRefreshes Platform=tiktok": 1, "FailedRefreshes Outcome=Internal Platform=tiktok": 1,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, answering{err: c.err})
			_, err := r.service.Platforms[0].Refresh(t.Context(), connector.App{}, connector.Credentials{})
			if !errors.Is(err, c.err) {
				t.Errorf("Refresh = %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, r.written(t)); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, answering{err: &connector.Error{Code: connector.AppMisconfigured}})
	_, exchanged := r.service.Platforms[0].Exchange(t.Context(), connector.App{}, connector.Authorization{}, connector.Secret{})
	_, verified := r.service.Platforms[0].Verify(t.Context(), connector.App{}, connector.Credentials{})
	if exchanged == nil || verified == nil {
		t.Fatal("the error was swallowed")
	}
	if diff := cmp.Diff(map[string]float64{"AppRefused": 2, "AppRefused Platform=tiktok": 2}, r.written(t)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

type revoking struct{ answering }

func (revoking) Revoke(context.Context, connector.App, connector.Credentials, string) error {
	return nil
}

type noticing struct{ answering }

func (noticing) ReadNotice(connector.App, string, connector.RawNotice) (connector.Notice, error) {
	return connector.Notice{}, nil
}

type revokingAndNoticing struct {
	revoking
	noticer noticing
}

func (p revokingAndNoticing) ReadNotice(app connector.App, kind string, raw connector.RawNotice) (connector.Notice, error) {
	return p.noticer.ReadNotice(app, kind, raw)
}

func TestObserveKeepsWhatAPlatformCanDo(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]connector.Platform{
		"neither": answering{}, "revoker": revoking{}, "noticer": noticing{}, "both": revokingAndNoticing{},
	} {
		_, revokes := p.(connector.Revoker)
		_, notices := p.(connector.Noticer)
		observed := newRig(t, p).service.Platforms[0]
		if _, got := observed.(connector.Revoker); got != revokes {
			t.Errorf("%s: observed is a Revoker: %t, want %t", name, got, revokes)
		}
		if _, got := observed.(connector.Noticer); got != notices {
			t.Errorf("%s: observed is a Noticer: %t, want %t", name, got, notices)
		}
	}
}

func TestNeedsReauth(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	err := r.service.Events.Publish(t.Context(),
		connector.Event{Type: connector.EventReauth, Connection: connector.Connection{Platform: "youtube", Owner: "acme"}},
		connector.Event{Type: connector.EventRefreshed, Connection: connector.Connection{Platform: "youtube", Owner: "acme"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{"NeedsReauth": 1, "NeedsReauth Platform=youtube": 1}, r.written(t)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if strings.Contains(r.out.String(), "acme") {
		t.Error("the owner is in the metrics")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer    string
		err       error
		refreshes bool
		want      map[string]float64
	}{
		"stored token": {`{"access_token":"…"}`, nil, false,
			map[string]float64{"TokenGets": 1, "TokenCacheHits": 1, "TokenGetLatency": 1500}},
		"refreshed first": {`{"statusCode":200}`, nil, true,
			map[string]float64{"TokenGets": 1, "TokenCacheHits": 0, "TokenGetLatency": 1500}},
		"failed invocation":  {"", messages.InvokeResponse_Error{Type: "ConnectionNotFound"}, false, map[string]float64{}},
		"failed HTTP answer": {`{"statusCode":400}`, nil, false, map[string]float64{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, answering{})
			get := r.meter.Invocations(r.meter.Tokens(func(ctx context.Context, _ []byte) ([]byte, error) {
				r.clock.Advance(1500 * time.Millisecond)
				if c.refreshes {
					_, _ = r.service.Platforms[0].Refresh(ctx, connector.App{}, connector.Credentials{})
				}
				return []byte(c.answer), c.err
			}))
			if answer, err := get(t.Context(), nil); string(answer) != c.answer || (err == nil) != (c.err == nil) {
				t.Errorf("answer = %s, %v", answer, err)
			}
			got := r.written(t)
			for name := range got {
				if !strings.HasPrefix(name, "Token") {
					delete(got, name)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokens_InOneProcessAfterAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, answering{})
	refreshes := true
	get := r.meter.Invocations(r.meter.Tokens(func(ctx context.Context, _ []byte) ([]byte, error) {
		if refreshes {
			_, _ = r.service.Platforms[0].Refresh(ctx, connector.App{}, connector.Credentials{})
		}
		return []byte(`{"access_token":"…"}`), nil
	}))
	for _, refreshes = range []bool{true, false} {
		if _, err := get(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.written(t); got["TokenGets"] != 2 || got["TokenCacheHits"] != 1 {
		t.Errorf("%v tokens, %v of them stored ones, want 2 and 1", got["TokenGets"], got["TokenCacheHits"])
	}
}

func TestDefects(t *testing.T) {
	t.Parallel()
	for code, want := range map[connector.Code]float64{connector.Internal: 1, connector.RateLimited: 0} {
		r := newRig(t)
		fail := r.meter.Invocations(func(context.Context, []byte) ([]byte, error) {
			return nil, messages.InvokeResponse_Error{Type: string(code)}
		})
		if _, err := fail(t.Context(), nil); err == nil {
			t.Fatal("the error was swallowed")
		}
		if diff := cmp.Diff(map[string]float64{"Defects": want, "Defects Function=some-function": want}, r.written(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", code, diff)
		}
	}
}

func TestSweeps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, status := range []connector.Status{connector.Active, connector.Active, connector.NeedsReauth, connector.Disconnected} {
		c := connector.Connection{
			ID: connector.ID("00000000-0000-4000-8000-00000000000" + string(rune('0'+i))), Platform: "youtube", Owner: "acme",
			AccountID: string(rune('a' + i)), Status: status,
		}
		if status == connector.Active {
			c.RefreshAt = noon.Add(-time.Duration(i+1) * time.Minute)
		}
		if _, err := r.service.Store.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	tick := r.meter.Invocations(r.meter.Sweeps(func(ctx context.Context, _ []byte) ([]byte, error) {
		for shard := range connector.DueShards {
			if _, err := r.service.Store.Due(ctx, shard, r.clock.Now(), 10); err != nil {
				t.Error(err)
			}
		}
		return nil, nil
	}))
	want := map[string]float64{
		"Defects": 0, "Defects Function=some-function": 0,
		"DueBacklog": 2, "OldestDueAge": 120,
		"ConnectionsByStatus Status=active": 2, "ConnectionsByStatus Status=needs_reauth": 1,
		"ConnectionsByStatus Status=manual": 0, "ConnectionsByStatus Status=disconnected": 1,
		"ConnectionsByStatus Platform=youtube Status=active":       2,
		"ConnectionsByStatus Platform=youtube Status=needs_reauth": 1,
		"ConnectionsByStatus Platform=youtube Status=disconnected": 1,
	}
	if _, err := tick(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.written(t)); diff != "" {
		t.Errorf("first tick (-want +got):\n%s", diff)
	}

	r.out.Reset()
	r.clock.Advance(5 * time.Minute)
	if _, err := tick(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	again := map[string]float64{"Defects": 0, "Defects Function=some-function": 0, "DueBacklog": 2, "OldestDueAge": 420}
	if diff := cmp.Diff(again, r.written(t)); diff != "" {
		t.Errorf("a tick within the hour counts no connections (-want +got):\n%s", diff)
	}

	r.out.Reset()
	r.clock.Advance(time.Hour)
	ending, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Second))
	defer cancel()
	if _, err := tick(ending, nil); err != nil {
		t.Fatal(err)
	}
	if got, counted := r.written(t)["ConnectionsByStatus Status=active"]; counted {
		t.Errorf("a tick that was about to end counted %v connections", got)
	}
	if _, err := tick(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := r.written(t)["ConnectionsByStatus Status=active"]; got != 2 {
		t.Errorf("the next tick counts %v active connections, want 2", got)
	}
}
