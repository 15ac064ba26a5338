package platform

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func TestNewWire(t *testing.T) {
	w := newWire("Test", Options{})
	for _, client := range []*http.Client{w.getClient, w.postClient} {
		transport := client.Transport.(*http.Transport)
		if transport.Proxy != nil {
			t.Error("the transport uses a proxy of the environment")
		}
		if got := transport.TLSClientConfig.MinVersion; got < tls.VersionTLS12 {
			t.Errorf("TLS from version %x on", got)
		}
		if transport.DisableKeepAlives != (client == w.postClient) {
			t.Error("a POST reuses a connection, or a GET does not")
		}
	}
	if w.timeout != 10*time.Second {
		t.Errorf("a call may take %v", w.timeout)
	}
}

func TestWire_RewriteOrigin(t *testing.T) {
	w := newWire("Test", Options{Endpoints: map[string]string{
		"https://api.example":       "http://127.0.0.1:9001",
		"HTTPS://Www.Example/":      "http://127.0.0.1:9002/prefix/",
		"https://plain.example:444": "https://other.example",
	}})
	for real, want := range map[string]string{
		"https://api.example/2/token":        "http://127.0.0.1:9001/2/token",
		"https://www.example/v2/auth/":       "http://127.0.0.1:9002/prefix/v2/auth/",
		"https://plain.example:444/a":        "https://other.example/a",
		"https://plain.example/a":            "https://plain.example/a",
		"https://api.example.evil.example/a": "https://api.example.evil.example/a",
	} {
		if got := w.rewriteOrigin(real); got != want {
			t.Errorf("%s: got %s, want %s", real, got, want)
		}
	}
}

func TestWire_Do(t *testing.T) {
	for _, test := range []struct {
		name      string
		status    int
		header    http.Header
		method    string
		code      connector.Code
		uncertain bool
		wait      time.Duration
	}{
		{"a failing server may have acted", 500, nil, "POST", connector.PlatformUnavailable, true, 0},
		{"so may one behind a gateway", 502, nil, "POST", connector.PlatformUnavailable, true, 0},
		{"a busy one has not", 503, http.Header{"Retry-After": {"7"}}, "POST", connector.PlatformUnavailable, false, 7 * time.Second},
		{"reading changes nothing", 500, nil, "GET", connector.PlatformUnavailable, false, 0},
		{"slow down", 429, http.Header{"Retry-After": {"Mon, 23 Nov 2026 10:01:00 GMT"}}, "POST", connector.RateLimited, false, time.Minute},
		{"the day of the user is used up", 429, http.Header{
			"X-Rate-Limit-Remaining": {"74"}, "X-Rate-Limit-Reset": {"1795428090"},
			"X-App-Limit-24hour-Remaining": {"12"}, "X-App-Limit-24hour-Reset": {"1795468000"},
			"X-User-Limit-24hour-Remaining": {"0"}, "X-User-Limit-24hour-Reset": {"1795431600"},
		}, "GET", connector.RateLimited, false, time.Hour},
		{"the day of the app is used up too", 429, http.Header{
			"X-Rate-Limit-Remaining": {"0"}, "X-Rate-Limit-Reset": {"1795428090"},
			"X-App-Limit-24hour-Remaining": {"0"}, "X-App-Limit-24hour-Reset": {"1795431600"},
		}, "GET", connector.RateLimited, false, time.Hour},
		{"no window is used up", 429, http.Header{"X-Rate-Limit-Remaining": {"74"}, "X-Rate-Limit-Reset": {"1795428090"}}, "GET", connector.RateLimited, false, 0},
		{"slow down until", 429, http.Header{"X-Rate-Limit-Reset": {"1795428090"}}, "GET", connector.RateLimited, false, 90 * time.Second},
		{"a wait beyond reason is bounded", 429, http.Header{"Retry-After": {"2000000000"}}, "GET", connector.RateLimited, false, 24 * time.Hour},
		{"a wait that was", 429, http.Header{"Retry-After": {"-5"}}, "GET", connector.RateLimited, false, 0},
		{"a wait that is none", 429, http.Header{"Retry-After": {"soon"}}, "GET", connector.RateLimited, false, 0},
		{"an unknown refusal", 418, nil, "POST", connector.PlatformUnavailable, false, 0},
		{"a page that says forbidden", 401, nil, "GET", connector.PlatformUnavailable, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name, values := range test.header {
					w.Header()[name] = values
				}
				w.WriteHeader(test.status)
				w.Write([]byte("<html>not JSON"))
			}))
			defer server.Close()
			w := newWire("Test", Options{
				Endpoints: map[string]string{"https://api.example": server.URL},
				Now:       func() time.Time { return time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC) },
			})
			defer w.getClient.CloseIdleConnections()
			_, err := w.do(t.Context(), call{
				method: test.method, url: "https://api.example/token",
				query: query("q", "query-canary"), form: query("code", "form-canary"),
			}, w.tokenErrorDecoder(false, nil))
			e := connector.AsError(err)
			if e == nil || e.Code != test.code || e.Uncertain != test.uncertain || e.RetryAfter != test.wait {
				t.Errorf("got %v (uncertain %t, retry after %v)", err, e.Uncertain, e.RetryAfter)
			}
			if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), server.URL) {
				t.Errorf("the error contains a secret: %v", err)
			}
		})
	}
}

func TestWire_Do_RetryAfter(t *testing.T) {
	for name, test := range map[string]struct {
		status  int
		refusal *connector.Error
		code    connector.Code
		wait    time.Duration
	}{
		"a throttle":                       {400, &connector.Error{Code: connector.RateLimited}, connector.RateLimited, 7 * time.Second},
		"a throttle that says how long":    {400, &connector.Error{Code: connector.RateLimited, RetryAfter: time.Minute}, connector.RateLimited, time.Minute},
		"an outage":                        {400, &connector.Error{Code: connector.PlatformUnavailable}, connector.PlatformUnavailable, 7 * time.Second},
		"a cap, which ends at another day": {429, &connector.Error{Code: connector.QuotaExhausted}, connector.QuotaExhausted, 0},
		"what a failing server says":       {500, &connector.Error{Code: connector.ReauthorizationRequired}, connector.PlatformUnavailable, 7 * time.Second},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(test.status)
		}))
		w := newWire("Test", Options{Endpoints: map[string]string{"https://api.example": server.URL}})
		_, err := w.do(t.Context(), call{method: http.MethodPost, url: "https://api.example/token"}, func(reply) *connector.Error { return test.refusal })
		if e := connector.AsError(err); e == nil || e.Code != test.code || e.RetryAfter != test.wait {
			t.Errorf("%s: got %v after %v, want %s after %v", name, err, e.RetryAfter, test.code, test.wait)
		}
		server.Close()
	}
	w := newWire("Test", Options{})
	body := []byte(`{"error":"invalid_grant"}`)
	if e := w.tokenErrorDecoder(false, nil)(reply{status: http.StatusTooManyRequests, body: body}); e != nil {
		t.Errorf("a throttle was read as a dead grant: %v", e)
	}
}

func TestWire_Send(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	w := newWire("Test", Options{Endpoints: map[string]string{"https://api.example": server.URL}})
	t.Cleanup(w.getClient.CloseIdleConnections)
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		connections.Store(0)
		for range 3 {
			if _, err := w.send(t.Context(), call{method: method, url: "https://api.example/token"}); err != nil {
				t.Fatal(err)
			}
		}
		if got := connections.Load(); got != 3 {
			t.Errorf("three %s went over %d connections", method, got)
		}
	}
}

func TestKeyScopes(t *testing.T) {
	if scopes, warning := keyScopes(""); !strings.HasPrefix(warning, "access_level_unknown:") || len(scopes) != 3 {
		t.Errorf("scopes %v, warning %q", scopes, warning)
	}
}

// talkative is a transport whose error repeats its request.
type talkative struct{}

func (talkative) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, &url.Error{Op: "Post", URL: r.URL.String(), Err: errors.New("cannot reach " + r.URL.String() + " with " + r.Header.Get("Authorization"))}
}

func TestSanitize(t *testing.T) {
	w := newWire("Test", Options{HTTP: &http.Client{Transport: talkative{}}})
	_, err := w.do(t.Context(), call{
		method: http.MethodPost, url: "https://api.example/token",
		query: query("q", "query-canary"), bearer: connector.NewSecret("bearer-canary"),
	}, w.tokenErrorDecoder(false, nil))
	if e := connector.AsError(err); e == nil || !e.Uncertain {
		t.Errorf("got %v, want an uncertain error", err)
	}
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "api.example") {
		t.Errorf("the error contains a secret: %v", err)
	}
}

func TestWire_TokenError(t *testing.T) {
	w := newWire("Test", Options{})
	for _, test := range []struct {
		code              string
		forCode, forRenew connector.Code
	}{
		{"invalid_grant", connector.StateInvalid, connector.ReauthorizationRequired},
		{"access_denied", connector.AccessDenied, connector.ReauthorizationRequired},
		{"admin_policy_enforced", connector.AccessDenied, connector.ReauthorizationRequired},
		{"org_internal", connector.AccessDenied, connector.ReauthorizationRequired},
		{"invalid_client", connector.AppMisconfigured, connector.AppMisconfigured},
		{"deleted_client", connector.AppMisconfigured, connector.AppMisconfigured},
		{"unauthorized_client", connector.AppMisconfigured, connector.AppMisconfigured},
		{"redirect_uri_mismatch", connector.AppMisconfigured, connector.AppMisconfigured},
		{"invalid_scope", connector.AppMisconfigured, connector.AppMisconfigured},
		{"unsupported_grant_type", connector.AppMisconfigured, connector.AppMisconfigured},
		{"invalid_request", connector.AppMisconfigured, connector.AppMisconfigured},
		{"unsupported_response_type", connector.AppMisconfigured, connector.AppMisconfigured},
		{"slow_down", connector.RateLimited, connector.RateLimited},
		{"rate_limit_exceeded", connector.RateLimited, connector.RateLimited},
		{"temporarily_unavailable", connector.PlatformUnavailable, connector.PlatformUnavailable},
		{"server_error", connector.PlatformUnavailable, connector.PlatformUnavailable},
		{"internal_failure", connector.PlatformUnavailable, connector.PlatformUnavailable},
		{"<script>canary", connector.PlatformUnavailable, connector.PlatformUnavailable},
	} {
		for forCode, want := range map[bool]connector.Code{true: test.forCode, false: test.forRenew} {
			got := w.tokenError(oauthError{status: 400, code: test.code, description: "canary"}, forCode)
			if got.Code != want {
				t.Errorf("%s, for a code %t: got %s, want %s", test.code, forCode, got.Code, want)
			}
			if failed := test.code == "server_error" || test.code == "internal_failure"; got.Uncertain != failed {
				t.Errorf("%s, for a code %t: uncertain %t", test.code, forCode, got.Uncertain)
			}
			if got.ClientRefused != (test.code == "invalid_client") {
				t.Errorf("%s, for a code %t: client refused %t", test.code, forCode, got.ClientRefused)
			}
			if strings.Contains(got.Error(), "canary") {
				t.Errorf("the message repeats text of the platform: %v", got)
			}
		}
	}
}

func TestRegainAccess(t *testing.T) {
	for usage, want := range map[string]time.Duration{
		`{"1":[{"type":"pages","estimated_time_to_regain_access":5},{"estimated_time_to_regain_access":12}]}`: 12 * time.Minute,
		`{"1":[{"estimated_time_to_regain_access":0}]}`:                                                       0,
		`{"1":[{"estimated_time_to_regain_access":100000}]}`:                                                  24 * time.Hour,
		`{"1":[{}]}`: 0,
		`nonsense`:   0,
		``:           0,
	} {
		header := http.Header{"X-Business-Use-Case-Usage": {usage}}
		if got := newMeta("Facebook", Options{}).graphError(graphError{code: 4, status: 400}, header).RetryAfter; got != want {
			t.Errorf("%s: got %v, want %v", usage, got, want)
		}
	}
}

func TestParseUnixTime(t *testing.T) {
	for said, want := range map[string]time.Time{
		`1795428000`: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), `"1795428000"`: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		`253402300800`: {}, `"NaN"`: {}, `0`: {}, `-1`: {}, `"soon"`: {}, ``: {},
	} {
		if got := parseUnixTime([]byte(said)); !got.Equal(want) {
			t.Errorf("%s: got %v, want %v", said, got, want)
		}
	}
}

func TestSplitScopes(t *testing.T) {
	list := "a.b,https://c/d <script> " + strings.Repeat("x", 201) + strings.Repeat(" e", 200)
	got := splitScopes(list)
	if len(got) != 100 || got[0] != "a.b" || got[1] != "https://c/d" || got[2] != "e" {
		t.Errorf("%d scopes: %q", len(got), got)
	}
}

func TestNextPacificMidnight(t *testing.T) {
	west := time.FixedZone("west", -8*60*60)
	for now, want := range map[time.Time]time.Time{
		time.Date(2026, 11, 23, 7, 59, 59, 0, time.UTC): time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC),
		time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC):   time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC),
		time.Date(2026, 11, 23, 23, 30, 0, 0, west):     time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC),
	} {
		if got := nextPacificMidnight(now); !got.Equal(want) {
			t.Errorf("at %v: %v, want %v", now, got, want)
		}
	}
}

func TestRemovalReason(t *testing.T) {
	for content, want := range map[string]string{
		`{"reason":1}`: "deauthorized", `{"reason":2}`: "account_deleted", `{"reason":3}`: "age_changed",
		`{"reason": 4}`: "account_banned", `{"reason":"5"}`: "revoked_by_developer",
		`{"reason":0}`: "authorization_removed", `{}`: "authorization_removed", `nonsense`: "authorization_removed",
	} {
		if got := removalReason(content); got != want {
			t.Errorf("%s: got %q, want %q", content, got, want)
		}
	}
}

func TestDisplayName(t *testing.T) {
	for name, want := range map[string]string{
		"Sandbox Bakery":                  "Sandbox Bakery",
		"line\nbreak\x00\x1b[31m":         "linebreak[31m",
		"right\u202eto left":              "rightto left",
		"  Käse & Söhne 🍞 ":               "Käse & Söhne 🍞",
		"\xff\xfe":                        "",
		"می\u200cخواهم":                   "می\u200cخواهم",
		"क्\u200dष":                       "क्\u200dष",
		"👩\u200d🍳 Ann":                    "👩\u200d🍳 Ann",
		"Ann\u00a0Lee\u2003Oy\u3000\tAb":  "Ann Lee Oy  Ab",
		"\u200dAnn \u200cLee\u200d\u200c": "Ann Lee",
		"A\u200d\u200c\u200db":            "A\u200db",
		"Ann\u200bLee\u2060\u202e":        "AnnLee",
		strings.Repeat("long", 100) + "!": strings.Repeat("long", 32),
	} {
		if got := displayName(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	for _, id := range []string{"", "../me", "me/permissions", "a b", "a?b", strings.Repeat("1", 129), ".", ".."} {
		if _, err := account(id, "name"); err == nil {
			t.Errorf("account id %q was accepted", id)
		}
	}
}
