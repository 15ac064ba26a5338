package platform_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// pasted returns the credentials of the first grant as a person pastes them.
func (w *world) pasted() connector.Fields {
	w.t.Helper()
	return w.platform.Full(w.app, w.connect().Credentials)
}

func checkRoundTrip(t *testing.T, row row) {
	w := newWorld(t, row)
	full := w.pasted()
	if diff := cmp.Diff(sorted(row.shape), slices.Sorted(maps.Keys(full))); diff != "" {
		t.Fatalf("credentials (-want +got):\n%s", diff)
	}
	for name, value := range full {
		if value.Empty() {
			t.Errorf("%s is empty", name)
		}
	}
	for _, app := range []connector.App{w.app, {}} {
		grants, err := w.platform.Import(t.Context(), app, full, true)
		if err != nil {
			t.Fatalf("Import: %v", err)
		}
		if len(grants) != 1 || grants[0].Account.ID != row.account || grants[0].Account.Name == "" || grants[0].UserID == "" {
			t.Fatalf("got %d grants, the first %+v", len(grants), grants[0])
		}
		if !grants[0].Credentials.IssuedAt.Equal(w.now) {
			t.Errorf("issued at %v, want %v", grants[0].Credentials.IssuedAt, w.now)
		}
		if diff := cmp.Diff(full.Reveal(), w.platform.Full(app, grants[0].Credentials).Reveal()); diff != "" {
			t.Errorf("Full (-imported +got):\n%s", diff)
		}
		if _, repeated := grants[0].Credentials.Fields[row.shape[0]]; repeated != !app.Configured() {
			t.Errorf("app configured %t, its id stored with the credentials %t", app.Configured(), repeated)
		}
		if _, err := w.platform.Verify(t.Context(), app, grants[0].Credentials); err != nil {
			t.Errorf("Verify: %v", err)
		}
	}
}

func checkImportUnverified(t *testing.T, row row) {
	w := newWorld(t, row)
	full := w.pasted()
	before := len(w.box.Calls(row.name, ""))
	grants, err := w.platform.Import(t.Context(), w.app, full, false)
	if err != nil || len(grants) != 1 {
		t.Fatalf("got %d grants, error %v", len(grants), err)
	}
	if calls := len(w.box.Calls(row.name, "")) - before; calls != 0 {
		t.Errorf("%d calls were made", calls)
	}
	imported, _, _ := w.platform.Token(connector.App{}, grants[0].Credentials)
	if imported.Empty() || !slices.ContainsFunc(slices.Collect(maps.Values(full)), imported.Equal) {
		t.Error("Token returns another access token than the one that was imported")
	}
	if row.expires {
		delete(full, "token_expiry")
		if grants, err = w.platform.Import(t.Context(), w.app, full, false); err != nil {
			t.Fatal(err)
		}
		if got := grants[0].Credentials.ExpiresAt; !got.Equal(w.now) {
			t.Errorf("without token_expiry: expires at %v, want now", got)
		}
	}
}

func checkImportFields(t *testing.T, row row) {
	w := newWorld(t, row)
	full := w.pasted()
	for _, name := range row.shape {
		some := full.Clone()
		delete(some, name)
		_, err := w.platform.Import(t.Context(), connector.App{}, some, false)
		if slices.Contains(row.optional, name) {
			if err != nil {
				t.Errorf("without %s: %v", name, err)
			}
			continue
		}
		if e := w.fails(err, connector.InvalidRequest, false); !strings.Contains(e.Message, name) {
			t.Errorf("without %s: %q does not name it", name, e.Message)
		}
	}
	more := full.Clone()
	more.Set("password", "test-password")
	_, err := w.platform.Import(t.Context(), w.app, more, false)
	if e := w.fails(err, connector.InvalidRequest, false); !strings.Contains(e.Message, "credentials.password") {
		t.Errorf("an unknown field: %q does not name it", e.Message)
	}
	pasted := full.Clone()
	pasted.Set("EAAcanary42", "test")
	_, err = w.platform.Import(t.Context(), w.app, pasted, false)
	if e := w.fails(err, connector.InvalidRequest, false); strings.Contains(e.Message, "canary") {
		t.Errorf("the message repeats a token in the place of a name: %q", e.Message)
	}
	token := row.shape[3]
	for name, value := range map[string]string{"line breaks": "two\r\nlines", "other letters": "tökén", "9 KiB": strings.Repeat("x", 9<<10)} {
		broken := full.Clone()
		broken.Set(token, value)
		_, err = w.platform.Import(t.Context(), w.app, broken, false)
		if e := w.fails(err, connector.InvalidRequest, false); !strings.Contains(e.Message, token) {
			t.Errorf("a value with %s: %q does not name it", name, e.Message)
		}
	}
	if !row.expires {
		return
	}
	for value, good := range map[string]bool{
		"2026-11-23T10:00:00Z": true, "2026-11-23T12:00:00+02:00": true, "2026-11-23T10:00:00.123456": true,
		"2026-11-23 10:00:00": true, "1795428000": true, "1795428000.5": true,
		"2026-11-23T10:00:00+0000": true, "2026-11-23T10:00:00.123456Z": true, "2026-11-23 12:00:00.5+02": true, "2026-11-23 10:00:00 UTC": true,
		"Mon, 23 Nov 2026 10:00:00 GMT": true, "1795428000123": true, "1.795428e9": true,
		"2026-11-23T10:00:00+23:00": false, "2026-11-23 10:00:00 CEST": false, "0": false, "Inf": false, "0x1p31": false, "[1795428000]": false,
		"tomorrow": false, "-5": false, "1e30": false, "9999-12-31T00:00:00Z": false,
	} {
		dated := full.Clone()
		dated.Set("token_expiry", value)
		grants, err := w.platform.Import(t.Context(), w.app, dated, false)
		if good != (err == nil) {
			t.Errorf("token_expiry %q: got error %v", value, err)
			continue
		}
		if !good {
			continue
		}
		want := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
		if value == "2026-11-23T10:00:00.123456" || value == "2026-11-23 10:00:00" {
			want = want.Add(-14 * time.Hour) // without its zone, the earliest that it can mean
		}
		if !grants[0].Credentials.ExpiresAt.Truncate(time.Second).Equal(want) {
			t.Errorf("token_expiry %q: got %v, want %v", value, grants[0].Credentials.ExpiresAt, want)
		}
		if got := w.platform.Full(w.app, grants[0].Credentials).Get("token_expiry"); got != want.Format(time.RFC3339) {
			t.Errorf("token_expiry %q: Full has %q", value, got)
		}
	}
}

func checkForeignApp(t *testing.T, row row) {
	w := newWorld(t, row)
	full := w.pasted()
	other := connector.App{ClientID: "another-client", ClientSecret: connector.NewSecret("another-secret"), Mode: connector.Live}
	grants, err := w.platform.Import(t.Context(), other, full, false)
	if err != nil {
		t.Fatal(err)
	}
	w.age()
	if _, err := w.platform.Refresh(t.Context(), other, grants[0].Credentials); err != nil {
		t.Errorf("refreshing with the imported app: %v", err)
	}
	if got := w.platform.Full(other, grants[0].Credentials).Get(row.shape[0]); got != w.app.ClientID {
		t.Errorf("Full has the app %q", got)
	}
	if !row.expires || row.extends {
		return
	}
	_, err = w.platform.Refresh(t.Context(), other, w.connect().Credentials)
	w.fails(err, connector.AppMisconfigured, false)
}

func checkVerify(t *testing.T, row row) {
	w := newWorld(t, row)
	granted := w.connect()
	c := granted.Credentials
	v, err := w.platform.Verify(t.Context(), w.app, c)
	if err != nil {
		t.Fatal(err)
	}
	if v.UserID != granted.UserID || v.UserID == "" {
		t.Errorf("the person is %q, at the consent %q", v.UserID, granted.UserID)
	}
	if v.Account.ID != row.account || v.Account.Name == "" || v.Warning != "" {
		t.Errorf("got %+v", v)
	}
	if diff := cmp.Diff(c.Scopes, v.Scopes); diff != "" || len(v.Scopes) == 0 {
		t.Errorf("scopes (-granted +verified):\n%s", diff)
	}
	w.box.Kill(row.name, "", 0)
	_, err = w.platform.Verify(t.Context(), w.app, c)
	w.fails(err, connector.ReauthorizationRequired, false)
	for kind, want := range map[sandbox.Kind]connector.Code{
		sandbox.Throttled: connector.RateLimited,
		sandbox.Outage:    connector.PlatformUnavailable,
		sandbox.HTML:      connector.PlatformUnavailable,
	} {
		w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: row.me, Kind: kind})
		_, err = w.platform.Verify(t.Context(), w.app, c)
		w.fails(err, want, false)
	}
}

func checkToken(t *testing.T, row row) {
	w := newWorld(t, row)
	c := w.connect().Credentials
	token, kind, public := w.platform.Token(w.app, c)
	if token.Empty() || kind != "Bearer" {
		t.Errorf("got a token that is empty (%t) of type %q", token.Empty(), kind)
	}
	if diff := cmp.Diff(sorted(row.public), slices.Sorted(maps.Keys(public))); diff != "" && len(row.public)+len(public) > 0 {
		t.Errorf("public fields (-want +got):\n%s", diff)
	}
	for name, value := range public {
		if value.Equal(token) || value.Equal(c.Fields["refresh_token"]) || value.Empty() {
			t.Errorf("public field %s is a token, or empty", name)
		}
	}
}

func checkRevoke(t *testing.T, row row) {
	w := newWorld(t, row)
	revoker, ok := w.platform.(connector.Revoker)
	if row.lasting {
		if ok {
			t.Error("it can revoke")
		}
		return
	}
	if !ok {
		t.Fatal("cannot revoke")
	}
	g := w.connect()
	w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "revoke", Kind: sandbox.Outage})
	err := revoker.Revoke(t.Context(), w.app, g.Credentials, g.UserID)
	w.fails(err, connector.PlatformUnavailable, false)
	for range 2 { // the second time the grant has ended
		if err := revoker.Revoke(t.Context(), w.app, g.Credentials, g.UserID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.platform.Verify(t.Context(), w.app, g.Credentials)
	w.fails(err, connector.ReauthorizationRequired, false)
}

func checkConcurrent(t *testing.T, row row) {
	w := newWorld(t, row)
	a := w.authorization()
	var codes []connector.Secret
	for range 8 {
		codes = append(codes, w.consent(a, sandbox.Choice{}))
	}
	var group sync.WaitGroup
	for _, code := range codes {
		group.Go(func() {
			grants, err := exchange(t.Context(), w.platform, w.app, a, code)
			if err != nil {
				t.Errorf("Exchange: %v", err)
				return
			}
			if _, err := w.platform.Refresh(t.Context(), w.app, grants[0].Credentials); err != nil {
				t.Errorf("Refresh: %v", err)
			}
		})
	}
	group.Wait()
}
