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

// harness is a meter around a service over ports in memory, and its output.
type harness struct {
	meter   *metrics.Meter
	service *connector.Service
	clock   *connectortest.Clock
	out     bytes.Buffer
}

func newHarness(t *testing.T, platforms ...connector.Platform) *harness {
	t.Helper()
	h := &harness{clock: connectortest.NewClock(noon)}
	h.meter = metrics.New(&h.out, namespace, "some-function", h.clock.Now)
	h.service = &connector.Service{
		Platforms: platforms,
		Store:     remoteStore{connectortest.NewStore()},
		Events:    connectortest.NewEvents(),
	}
	h.meter.Observe(h.service)
	return h
}

// remoteStore is a store that behaves as one on a network: it fails when ctx
// ends, and returns smaller pages than the limit allows.
type remoteStore struct{ connector.Store }

func (s remoteStore) Connections(ctx context.Context, f connector.Filter, cursor string, limit int) ([]connector.Connection, string, error) {
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	return s.Store.Connections(ctx, f, cursor, min(limit, 1))
}

// written returns each value that CloudWatch would store, by metric and
// dimensions: "Refreshes Platform=tiktok".
func (h *harness) written(t *testing.T) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(h.out.String()) {
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

// fixedPlatform is a platform whose calls return err.
type fixedPlatform struct {
	connector.Platform
	err error
}

func (fixedPlatform) Describe() connector.Description { return connector.Description{Name: "tiktok"} }

func (p fixedPlatform) Refresh(context.Context, connector.App, connector.Credentials) (connector.Credentials, error) {
	return connector.Credentials{}, p.err
}

func (p fixedPlatform) Redeem(context.Context, connector.App, connector.Authorization, connector.Secret) (connector.Credentials, error) {
	return connector.Credentials{}, p.err
}

func (p fixedPlatform) Accounts(context.Context, connector.App, connector.Credentials, string) (connector.AccountList, error) {
	return connector.AccountList{}, p.err
}

func (p fixedPlatform) Verify(context.Context, connector.App, connector.Credentials) (connector.Verification, error) {
	return connector.Verification{}, p.err
}

func TestMeter_Refresh(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want map[string]float64
	}{
		"refreshed": {nil, map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=refreshed Platform=tiktok": 1,
			"FailedRefreshes": 0, "FailedRefreshes Platform=tiktok": 0, "FailedRefreshes Outcome=refreshed Platform=tiktok": 0,
		}},
		"platform_unavailable": {&connector.Error{Code: connector.PlatformUnavailable}, map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=PlatformUnavailable Platform=tiktok": 1,
			"FailedRefreshes": 1, "FailedRefreshes Platform=tiktok": 1, "FailedRefreshes Outcome=PlatformUnavailable Platform=tiktok": 1,
		}},
		"dead_grant_is_not_a_failed_refresh": {&connector.Error{Code: connector.ReauthorizationRequired}, map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=ReauthorizationRequired Platform=tiktok": 1,
			"FailedRefreshes": 0, "FailedRefreshes Platform=tiktok": 0, "FailedRefreshes Outcome=ReauthorizationRequired Platform=tiktok": 0,
		}},
		"refused_app_has_its_own_metric": {&connector.Error{Code: connector.AppMisconfigured}, map[string]float64{
			"AppRefused": 1, "AppRefused Platform=tiktok": 1,
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=AppMisconfigured Platform=tiktok": 1,
			"FailedRefreshes": 0, "FailedRefreshes Platform=tiktok": 0, "FailedRefreshes Outcome=AppMisconfigured Platform=tiktok": 0,
		}},
		"error_without_code_is_a_failed_refresh": {errors.New("odd"), map[string]float64{
			"Refreshes": 1, "Refreshes Platform=tiktok": 1, "Refreshes Outcome=Internal Platform=tiktok": 1,
			"FailedRefreshes": 1, "FailedRefreshes Platform=tiktok": 1, "FailedRefreshes Outcome=Internal Platform=tiktok": 1,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, fixedPlatform{err: c.err})
			_, err := h.service.Platforms[0].Refresh(t.Context(), connector.App{}, connector.Credentials{})
			if !errors.Is(err, c.err) {
				t.Errorf("Refresh = %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, h.written(t)); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMeter_AppRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t, fixedPlatform{err: &connector.Error{Code: connector.AppMisconfigured}})
	_, redeemed := h.service.Platforms[0].Redeem(t.Context(), connector.App{}, connector.Authorization{}, connector.Secret{})
	_, asked := h.service.Platforms[0].Accounts(t.Context(), connector.App{}, connector.Credentials{}, "")
	_, verified := h.service.Platforms[0].Verify(t.Context(), connector.App{}, connector.Credentials{})
	if redeemed == nil || asked == nil || verified == nil {
		t.Fatal("the error was lost")
	}
	if diff := cmp.Diff(map[string]float64{"AppRefused": 3, "AppRefused Platform=tiktok": 3}, h.written(t)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

type revoker struct{ fixedPlatform }

func (revoker) Revoke(context.Context, connector.App, connector.Credentials, string) error {
	return nil
}

type noticer struct{ fixedPlatform }

func (noticer) CheckNotice(string, connector.RawNotice) error { return nil }

func (noticer) ReadNotice(connector.App, string, connector.RawNotice) (connector.Notice, error) {
	return connector.Notice{}, nil
}

type revokerAndNoticer struct {
	revoker
	notices noticer
}

func (p revokerAndNoticer) CheckNotice(kind string, raw connector.RawNotice) error {
	return p.notices.CheckNotice(kind, raw)
}

func (p revokerAndNoticer) ReadNotice(app connector.App, kind string, raw connector.RawNotice) (connector.Notice, error) {
	return p.notices.ReadNotice(app, kind, raw)
}

type signer struct{}

func (signer) Sign(connector.App, connector.Credentials, connector.SignatureRequest) (connector.Secret, error) {
	return connector.Secret{}, nil
}

func TestMeter_Observe(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]connector.Platform{
		"no_optional_interface": fixedPlatform{}, "revoker": revoker{}, "noticer": noticer{}, "revoker_and_noticer": revokerAndNoticer{},
		"signer": struct {
			fixedPlatform
			signer
		}{}, "signer_and_revoker": struct {
			revoker
			signer
		}{}, "signer_and_noticer": struct {
			noticer
			signer
		}{}, "signer_and_both": struct {
			revokerAndNoticer
			signer
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, revokes := p.(connector.Revoker)
			_, notices := p.(connector.Noticer)
			_, signs := p.(connector.Signer)
			observed := newHarness(t, p).service.Platforms[0]
			if _, got := observed.(connector.Revoker); got != revokes {
				t.Errorf("the observed platform is a Revoker: %t, want %t", got, revokes)
			}
			if _, got := observed.(connector.Signer); got != signs {
				t.Errorf("the observed platform is a Signer: %t, want %t", got, signs)
			}
			if _, got := observed.(connector.Noticer); got != notices {
				t.Errorf("the observed platform is a Noticer: %t, want %t", got, notices)
			}
		})
	}
}

func TestMeter_NeedsReauth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	mark := func(id connector.ID, platform connector.Name, reason string) {
		t.Helper()
		c, err := h.service.Store.Commit(t.Context(), connector.Change{After: &connector.Connection{ID: id, Platform: platform, Owner: "acme", Status: connector.Active}})
		if err != nil {
			t.Fatal(err)
		}
		marked := c
		marked.Status, marked.StatusReason = connector.NeedsReauth, reason
		if c, err = h.service.Store.Commit(t.Context(), connector.Change{Before: &c, After: &marked}); err != nil {
			t.Fatal(err)
		}
		// Another write of a marked connection counts nothing.
		if _, err = h.service.Store.Commit(t.Context(), connector.Change{Before: &c, After: &marked}); err != nil {
			t.Fatal(err)
		}
	}
	mark("1", "youtube", "grant_refused")
	if diff := cmp.Diff(map[string]float64{"NeedsReauth": 1, "NeedsReauth Platform=youtube": 1}, h.written(t)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	h.out.Reset()
	mark("2", "tiktok", connector.ReasonAccountChanged)
	want := map[string]float64{"NeedsReauth": 1, "NeedsReauth Platform=tiktok": 1, "AccountChanged": 1, "AccountChanged Platform=tiktok": 1}
	if diff := cmp.Diff(want, h.written(t)); diff != "" {
		t.Errorf("written for another account (-want +got):\n%s", diff)
	}
	if strings.Contains(h.out.String(), "acme") {
		t.Error("the owner is in the metrics")
	}
}

// An event that is sent long after it happened counts, with its age.
func TestMeter_LateEvents(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, ago := range []time.Duration{0, 10 * time.Minute} {
		accepted, err := h.service.Events.Publish(t.Context(), connector.Event{ID: "1", Type: connector.EventReauth, Owner: "acme", OccurredAt: noon.Add(-ago)})
		if err != nil || len(accepted) != 1 {
			t.Fatalf("accepted %v, %v", accepted, err)
		}
	}
	if diff := cmp.Diff(map[string]float64{"LateEvents": 1, "LateEventAge": 600}, h.written(t)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

func TestMeter_Incidents(t *testing.T) {
	t.Parallel()
	for _, incident := range []connector.Incident{connector.ForeignCookie, connector.DecoyUsed} {
		h := newHarness(t)
		h.service.OnIncident(incident)
		if diff := cmp.Diff(map[string]float64{string(incident): 1}, h.written(t)); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
	}
}

func TestMeter_Tokens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer    string
		err       error
		refreshes bool
		want      map[string]float64
	}{
		"signature": {`{"statusCode":200,"body":"{}"}`, nil, false, map[string]float64{}},
		"stored_token": {`{"access_token":"…"}`, nil, false,
			map[string]float64{"TokenGets": 1, "TokenCacheHits": 1, "TokenGetLatency": 1500}},
		"refreshed_before_the_answer": {`{"statusCode":200}`, nil, true,
			map[string]float64{"TokenGets": 1, "TokenCacheHits": 0, "TokenGetLatency": 1500}},
		"failed_invocation": {"", messages.InvokeResponse_Error{Type: "ConnectionNotFound"}, false, map[string]float64{}},
		"http_error":        {`{"statusCode":400}`, nil, false, map[string]float64{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, fixedPlatform{})
			get := h.meter.Invocations(h.meter.Tokens(func(ctx context.Context, _ []byte) ([]byte, error) {
				h.clock.Advance(1500 * time.Millisecond)
				if c.refreshes {
					_, _ = h.service.Platforms[0].Refresh(ctx, connector.App{}, connector.Credentials{})
				}
				return []byte(c.answer), c.err
			}))
			payload := `{"routeKey":"GET /connections/{id}/token"}`
			if name == "signature" {
				payload = `{"routeKey":"POST /connections/{id}/sign"}`
			}
			if answer, err := get(t.Context(), []byte(payload)); string(answer) != c.answer || (err == nil) != (c.err == nil) {
				t.Errorf("answer = %s, %v", answer, err)
			}
			got := h.written(t)
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

func TestMeter_Invocations(t *testing.T) {
	t.Parallel()
	h := newHarness(t, fixedPlatform{})
	refreshes := true
	get := h.meter.Invocations(h.meter.Tokens(func(ctx context.Context, _ []byte) ([]byte, error) {
		if refreshes {
			_, _ = h.service.Platforms[0].Refresh(ctx, connector.App{}, connector.Credentials{})
		}
		return []byte(`{"access_token":"…"}`), nil
	}))
	for _, refreshes = range []bool{true, false} {
		if _, err := get(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.written(t); got["TokenGets"] != 2 || got["TokenCacheHits"] != 1 {
		t.Errorf("%v tokens, %v cache hits, want 2 and 1", got["TokenGets"], got["TokenCacheHits"])
	}
}

func TestMeter_Defects(t *testing.T) {
	t.Parallel()
	for code, want := range map[connector.Code]float64{connector.Internal: 1, connector.RateLimited: 0} {
		h := newHarness(t)
		fail := h.meter.Invocations(func(context.Context, []byte) ([]byte, error) {
			return nil, messages.InvokeResponse_Error{Type: string(code)}
		})
		if _, err := fail(t.Context(), nil); err == nil {
			t.Fatal("the error was lost")
		}
		if diff := cmp.Diff(map[string]float64{"Defects": want, "Defects Function=some-function": want}, h.written(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", code, diff)
		}
	}
}

func TestMeter_Sweeps(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for i, status := range []connector.Status{connector.Active, connector.Active, connector.NeedsReauth, connector.Disconnected} {
		c := connector.Connection{
			ID: connector.ID("00000000-0000-4000-8000-00000000000" + string(rune('0'+i))), Platform: "youtube", Owner: "acme",
			AccountID: string(rune('a' + i)), Status: status,
		}
		if status == connector.Active {
			c.RefreshAt = noon.Add(-time.Duration(i+1) * time.Minute)
		}
		if _, err := h.service.Store.Commit(t.Context(), connector.Change{After: &c}); err != nil {
			t.Fatal(err)
		}
	}
	sweep := h.meter.Invocations(h.meter.Sweeps(func(ctx context.Context, _ []byte) ([]byte, error) {
		for shard := range connector.DueShards {
			if _, err := h.service.Store.Due(ctx, shard, h.clock.Now(), 10); err != nil {
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
	if _, err := sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, h.written(t)); diff != "" {
		t.Errorf("first sweep (-want +got):\n%s", diff)
	}

	h.out.Reset()
	h.clock.Advance(5 * time.Minute)
	if _, err := sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	again := map[string]float64{"Defects": 0, "Defects Function=some-function": 0, "DueBacklog": 2, "OldestDueAge": 420}
	if diff := cmp.Diff(again, h.written(t)); diff != "" {
		t.Errorf("a second sweep within the hour must not count connections (-want +got):\n%s", diff)
	}

	h.out.Reset()
	h.clock.Advance(time.Hour)
	ending, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Second))
	defer cancel()
	if _, err := sweep(ending, nil); err != nil {
		t.Fatal(err)
	}
	if got, counted := h.written(t)["ConnectionsByStatus Status=active"]; counted {
		t.Errorf("a sweep just before its deadline counted %v connections", got)
	}
	if _, err := sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := h.written(t)["ConnectionsByStatus Status=active"]; got != 2 {
		t.Errorf("the next sweep counts %v active connections, want 2", got)
	}
}
