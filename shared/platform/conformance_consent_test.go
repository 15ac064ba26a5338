package platform_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

func checkAuthorizeURL(t *testing.T, row row) {
	w := newWorld(t, row)
	app := connector.App{ClientID: "test-client"}
	got, err := find(t, row.name, platform.Options{}).AuthorizeURL(app, w.authorization())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(row.authorizeURL, got); diff != "" {
		t.Errorf("authorize URL (-want +got):\n%s", diff)
	}
	rewritten, err := w.platform.AuthorizeURL(app, w.authorization())
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(got, "https://", w.base+"/", 1); rewritten != want {
		t.Errorf("with endpoints: got %s, want %s", rewritten, want)
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(got, "https://"), "/")
	if issuers := w.platform.Describe().Issuers; !slices.Contains(issuers, w.base) || !slices.Contains(issuers, "https://"+host) {
		t.Errorf("issuers %v lack the real or the rewritten origin", issuers)
	}
}

func checkAuthorizeNeedsApp(t *testing.T, row row) {
	w := newWorld(t, row)
	_, err := w.platform.AuthorizeURL(connector.App{}, w.authorization())
	w.fails(err, connector.AppNotConfigured, false)
}

func checkAuthorizationError(t *testing.T, row row) {
	p := find(t, row.name, platform.Options{})
	want := map[string]connector.Code{
		"invalid_request": connector.AppMisconfigured, "unauthorized_client": connector.AppMisconfigured,
		"unsupported_response_type": connector.AppMisconfigured, "invalid_scope": connector.AppMisconfigured,
		"invalid_client": connector.AppMisconfigured,
		"server_error":   connector.PlatformUnavailable, "temporarily_unavailable": connector.PlatformUnavailable,
		"access_denied": connector.AccessDenied, "<script>": connector.AccessDenied,
	}
	for _, words := range rows { // the words of another platform have no meaning
		for _, word := range words.refusal {
			want[word] = connector.AccessDenied
		}
	}
	for _, word := range row.refusal {
		want[word] = connector.AppMisconfigured
	}
	for word, code := range want {
		err := p.AuthorizationError(connector.Refusal{"error": word, "error_code": "901", "denied": "test", "errCode": "-2"})
		if err.Code != code || err.Uncertain || err.ClientRefused {
			t.Errorf("%q: got %+v, want %s", word, err, code)
		}
		if !strings.Contains(err.Message, p.Describe().Title) || strings.Contains(err.Error(), "<") {
			t.Errorf("%q: message %q", word, err.Message)
		}
	}
}

// checkRefusal: a redirect without error and code is a refusal if its parameters are the
// platform's, and not if they are those of another platform.
func checkRefusal(t *testing.T, row row) {
	p := find(t, row.name, platform.Options{})
	for _, test := range []struct {
		platform string
		refusal  connector.Refusal
		code     connector.Code
	}{
		{"facebook", connector.Refusal{"error_code": "901"}, connector.AppMisconfigured},
		{"facebook", connector.Refusal{"error_code": "2"}, connector.PlatformUnavailable},
		{"facebook", connector.Refusal{"error_code": "200", "error_reason": "user_denied"}, connector.AccessDenied},
		{"facebook", connector.Refusal{"error_reason": "user_denied"}, connector.AccessDenied},
		{"facebook", connector.Refusal{"error_code": "<script>"}, connector.AppMisconfigured},
		{"twitter", connector.Refusal{"denied": "<script>"}, connector.AccessDenied},
		{"tiktok", connector.Refusal{"errCode": "-2"}, connector.AccessDenied},
		{"tiktok", connector.Refusal{"errCode": "<script>"}, connector.AccessDenied},
		{"tiktok", connector.Refusal{"errCode": "10006"}, connector.AppMisconfigured},
		{"tiktok", connector.Refusal{"error_type": "client_key"}, connector.AppMisconfigured},
		{"tiktok", connector.Refusal{"error_type": "access_denied", "errCode": "10006"}, connector.AccessDenied},
		{"tiktok", connector.Refusal{"error_type": "non_sandbox_target"}, connector.AppMisconfigured},
		// https://github.com/tiktok/tiktok-opensdk-android/issues/19, read 2026-11-25
		{"tiktok", connector.Refusal{"error_type": "invalid_client", "errCode": "-2"}, connector.AppMisconfigured},
		// https://github.com/tiktok/tiktok-opensdk-android/issues/6, read 2026-11-25
		{"tiktok", connector.Refusal{"error_type": "server_error", "errCode": "10004"}, connector.PlatformUnavailable},
		// https://github.com/brightbeanxyz/brightbean-studio/pull/106, read 2026-11-25
		{"tiktok", connector.Refusal{"error_type": "invalid_scope"}, connector.AppMisconfigured},
		{"", connector.Refusal{}, ""}, {"", nil, ""}, {"", connector.Refusal{"error": ""}, ""},
	} {
		err := p.AuthorizationError(test.refusal)
		switch mine := test.platform == row.name; {
		case !mine && err != nil:
			t.Errorf("%v: got %v, want none", test.refusal, err)
		case mine && (err == nil || err.Code != test.code || strings.Contains(err.Error(), "<") || !strings.Contains(err.Message, p.Describe().Title)):
			t.Errorf("%v: got %v, want %s", test.refusal, err, test.code)
		}
	}
}

func checkExchange(t *testing.T, row row) {
	w := newWorld(t, row)
	a := w.authorization()
	code := w.consent(a, sandbox.Choice{})
	if _, err := exchange(t.Context(), w.platform, w.app, a, code); err != nil {
		t.Fatal(err)
	}
	call := w.box.Calls(row.name, "token")[0]
	for name, want := range map[string]string{"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "platform-api-connector"} {
		if got := call.Header.Get(name); got != want {
			t.Errorf("%s at the token endpoint: got %q, want %q", name, got, want)
		}
	}
	form := call.Form
	if got := form.Get("redirect_uri"); got != a.RedirectURI {
		t.Errorf("redirect_uri at the token endpoint: got %q, want %q", got, a.RedirectURI)
	}
	asked := w.box.Calls(row.name, "authorize")[0].Query
	if got := asked.Get("redirect_uri"); got != a.RedirectURI {
		t.Errorf("redirect_uri at the authorize endpoint: got %q, want %q", got, a.RedirectURI)
	}
	verifier := ""
	if row.pkce {
		verifier = a.Verifier.Reveal()
	}
	if got := form.Get("code_verifier"); got != verifier {
		t.Errorf("code verifier: got %q, want %q", got, verifier)
	}
	if got := asked.Get("code_challenge"); (got != "") != row.pkce {
		t.Errorf("PKCE %t: code challenge %q", row.pkce, got)
	}
	if got, want := asked.Get("scope"), strings.Join(a.Scopes, row.separator); got != want {
		t.Errorf("scope: got %q, want %q", got, want)
	}
}

func checkGrants(t *testing.T, row row) {
	w := newWorld(t, row)
	a := w.authorization()
	grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{}))
	if err != nil {
		t.Fatal(err)
	}
	if len(grants) != row.accounts {
		t.Fatalf("got %d grants, want %d", len(grants), row.accounts)
	}
	if got := grants[0].Account; got.ID != row.account || got.Name == "" {
		t.Errorf("got account %+v, want %s with a name", got, row.account)
	}
	for _, g := range grants {
		if lacking := without(a.Scopes, g.Credentials.Scopes); len(lacking) > 0 {
			t.Errorf("%s: granted scopes lack %v", g.Account.ID, lacking)
		}
		if g.Warning != "" {
			t.Errorf("%s: warning %q", g.Account.ID, g.Warning)
		}
		if g.UserID == "" {
			t.Errorf("%s: no user id", g.Account.ID)
		}
		if g.Credentials.ExpiresAt.IsZero() == row.expires {
			t.Errorf("%s: expires at %v", g.Account.ID, g.Credentials.ExpiresAt)
		}
		if !g.Credentials.IssuedAt.Equal(w.now) {
			t.Errorf("%s: issued at %v, want %v", g.Account.ID, g.Credentials.IssuedAt, w.now)
		}
		if _, repeated := g.Credentials.Fields[row.shape[0]]; repeated {
			t.Errorf("%s: the app's id is repeated in the credentials", g.Account.ID)
		}
	}
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

func checkNarrowerScopes(t *testing.T, row row) {
	w := newWorld(t, row)
	a, choice, refused := w.authorization(), sandbox.Choice{}, row.untick
	if refused != "" {
		choice.Untick = []string{refused}
	} else {
		refused = without(a.Scopes, w.platform.Describe().Required)[0]
		granted, err := json.Marshal(strings.Join(without(a.Scopes, []string{refused}), row.separator))
		if err != nil {
			t.Fatal(err)
		}
		w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"scope": granted}})
	}
	grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, choice))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range grants {
		if diff := cmp.Diff([]string{refused}, without(a.Scopes, g.Credentials.Scopes)); diff != "" {
			t.Errorf("missing scopes (-want +got):\n%s", diff)
		}
	}
	if !row.expires {
		return
	}
	w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"scope", "permissions"}})
	if got := w.connect().Credentials.Scopes; len(without(a.Scopes, got)) > 0 {
		t.Errorf("an answer without scopes: got %v, want those that were requested", got)
	}
}

// checkLaterConsent has a person give all scopes to one owner, and later all but
// one to another owner. The second owner does not get that one, not even by a
// refresh, unless the platform itself merges what a person granted to an app.
func checkLaterConsent(t *testing.T, row row) {
	w := newWorld(t, row)
	w.connect()
	all := w.platform.Describe().Scopes
	withheld := row.untick
	if withheld == "" {
		withheld = without(all, w.platform.Describe().Required)[0]
	}
	narrow := w.authorization(without(all, []string{withheld})...)
	grants, err := exchange(t.Context(), w.platform, w.app, narrow, w.consent(narrow, sandbox.Choice{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range grants {
		if got := slices.Contains(g.Credentials.Scopes, withheld); got != row.merges {
			t.Errorf("%s: the later consent has %v; with %s: %t, want %t", g.Account.ID, g.Credentials.Scopes, withheld, got, row.merges)
		}
		w.age()
		renewed, err := w.platform.Refresh(t.Context(), w.app, g.Credentials)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(renewed.Scopes, withheld); got != row.merges {
			t.Errorf("%s: after a refresh it has %v; with %s: %t, want %t", g.Account.ID, renewed.Scopes, withheld, got, row.merges)
		}
	}
}

func checkCodeOnce(t *testing.T, row row) {
	w := newWorld(t, row)
	a := w.authorization()
	code := w.consent(a, sandbox.Choice{})
	if _, err := exchange(t.Context(), w.platform, w.app, a, code); err != nil {
		t.Fatal(err)
	}
	_, err := exchange(t.Context(), w.platform, w.app, a, code)
	w.fails(err, connector.StateInvalid, false)

	stolen := w.authorization()
	stolen.Verifier = connector.NewSecret("another-verifier-0123456789-0123456789-012345")
	_, err = exchange(t.Context(), w.platform, w.app, stolen, w.consent(a, sandbox.Choice{}))
	if row.pkce && err == nil {
		t.Error("a code was redeemed with another verifier")
	}
}
