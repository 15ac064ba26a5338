package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// malformedAnswers returns answers after which it is unknown whether the platform
// processed the request.
func malformedAnswers() map[string]sandbox.Fault {
	return map[string]sandbox.Fault{
		"html":            {Kind: sandbox.HTML},
		"empty":           {Kind: sandbox.Empty},
		"oversize":        {Kind: sandbox.Oversize},
		"gzip_bomb":       {Kind: sandbox.GzipBomb},
		"truncated":       {Kind: sandbox.Truncated},
		"duplicate_keys":  {Kind: sandbox.DuplicateKeys},
		"deep":            {Kind: sandbox.Deep},
		"lost_reply":      {Kind: sandbox.Cut, Acts: true},
		"no_token":        {Kind: sandbox.Body, Text: `{"access_token":"","token_type":"bearer"}`},
		"control_bytes":   {Kind: sandbox.Body, Text: `{"access_token":"a\r\nb","expires_in":60}`},
		"deep_beside":     {Kind: sandbox.Body, Text: `{"access_token":"test","x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`},
		"control_bytes_2": {Kind: sandbox.Body, Text: `{"access_token":"a","refresh_token":"a\r\nb"}`},
		"array":           {Kind: sandbox.Body, Text: `[{"access_token":"test"}]`},
		"two_values":      {Kind: sandbox.Body, Text: `{"access_token":"test"} {"access_token":"test-2"}`},
		"status_500":      {Kind: sandbox.HTML, Status: 500},
		"status_502":      {Kind: sandbox.HTML, Status: 502},
		"status_504":      {Kind: sandbox.Empty, Status: 504},
	}
}

func checkMalformed(t *testing.T, row row) {
	for name, fault := range malformedAnswers() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, row)
			a := w.authorization()
			code := w.consent(a, sandbox.Choice{})
			fault.Platform, fault.Endpoint = row.name, "token"
			w.box.Fault(fault)
			_, err := exchange(t.Context(), w.platform, w.app, a, code)
			w.fails(err, connector.PlatformUnavailable, true)
			if got := w.box.Count(row.name, "token"); got != 1 {
				t.Errorf("the code was sent %d times", got)
			}
		})
	}
}

func checkMalformedRefresh(t *testing.T, row row) {
	for name, fault := range malformedAnswers() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, row)
			c := w.connect().Credentials
			w.age()
			fault.Platform, fault.Endpoint = row.name, row.refresh
			spends := row.expires && !row.extends
			if !row.expires && fault.Kind == sandbox.DuplicateKeys {
				fault = sandbox.Fault{Platform: row.name, Endpoint: row.refresh, Kind: sandbox.Body, Text: `{"id":"1","id":"2"}`}
			}
			if !spends {
				fault.Times = -1 // net/http sends a GET again when its connection breaks
			}
			before := w.box.Count(row.name, row.refresh)
			w.box.Fault(fault)
			_, err := w.platform.Refresh(t.Context(), w.app, c)
			// A check, or a refresh of the access token itself, does not invalidate it.
			w.fails(err, connector.PlatformUnavailable, spends)
			if got := w.box.Count(row.name, row.refresh) - before; got != 1 && spends {
				t.Errorf("the refresh token was sent %d times", got)
			}
		})
	}
}

func checkErrorIn200(t *testing.T, row row) {
	w := newWorld(t, row)
	a := w.authorization()
	code := w.consent(a, sandbox.Choice{})
	w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.ErrorIn200})
	if _, err := exchange(t.Context(), w.platform, w.app, a, code); err == nil || errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("got %v, want the platform's refusal", err)
	}
	for beside, good := range map[string]bool{`"invalid_grant"`: false, `""`: true, `null`: true} {
		w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"error": json.RawMessage(beside)}})
		if _, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{})); good != (err == nil) {
			t.Errorf("the error %s beside a token: got %v", beside, err)
		}
	}
}

func checkRedirect(t *testing.T, row row) {
	w := newWorld(t, row)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the client followed a redirect")
	}))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		a := w.authorization()
		code := w.consent(a, sandbox.Choice{})
		w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Elsewhere, Location: elsewhere.URL, Status: status})
		_, err := exchange(t.Context(), w.platform, w.app, a, code)
		w.fails(err, connector.PlatformUnavailable, false)
	}
}

func checkTimeout(t *testing.T, row row) {
	w := newWorld(t, row, func(o *platform.Options) { o.Timeout = 100 * time.Millisecond })
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	a := w.authorization()
	code := w.consent(a, sandbox.Choice{})
	w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Slow, Release: release})
	_, err := exchange(t.Context(), w.platform, w.app, a, code)
	w.fails(err, connector.PlatformUnavailable, true)
	if got := w.box.Count(row.name, "token"); got != 1 {
		t.Errorf("the code was sent %d times", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = exchange(ctx, w.platform, w.app, a, code)
	w.fails(err, connector.PlatformUnavailable, false)
}

func checkRefusedConnection(t *testing.T, row row) {
	w := newWorld(t, row, func(o *platform.Options) {
		o.HTTP = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}}}
	})
	_, err := exchange(t.Context(), w.platform, w.app, w.authorization(), connector.NewSecret("test-code"))
	w.fails(err, connector.PlatformUnavailable, false)
}

func checkRefusals(t *testing.T, row row) {
	// A health check, and the refresh of an access token by itself, do not send the
	// app's secret. The exchange of a code meets the refused app there.
	for _, test := range []struct {
		kind sandbox.Kind
		want connector.Code
	}{
		{sandbox.DeadGrant, connector.ReauthorizationRequired},
		{sandbox.WrongClient, connector.AppMisconfigured},
		{sandbox.Throttled, connector.RateLimited},
		{sandbox.Outage, connector.PlatformUnavailable},
	} {
		t.Run(string(test.kind), func(t *testing.T) {
			w := newWorld(t, row)
			c := w.connect().Credentials
			w.age()
			fault := sandbox.Fault{Platform: row.name, Endpoint: row.refresh, Kind: test.kind}
			call := func() error { _, err := w.platform.Refresh(t.Context(), w.app, c); return err }
			if test.kind == sandbox.WrongClient && (!row.expires || row.extends) {
				fault.Endpoint = "token"
				a := w.authorization()
				code := w.consent(a, sandbox.Choice{})
				call = func() error { _, err := exchange(t.Context(), w.platform, w.app, a, code); return err }
			}
			w.box.Fault(fault)
			e := w.fails(call(), test.want, false)
			if test.kind == sandbox.Throttled && e.RetryAfter != 30*time.Second {
				t.Errorf("retry after %v, want the 30 s of the header", e.RetryAfter)
			}
			// A transient refusal does not invalidate the token.
			if test.want.TryLater() {
				if _, err := w.platform.Refresh(t.Context(), w.app, c); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			}
		})
	}
}
