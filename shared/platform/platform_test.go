package platform_test

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// row describes a platform for the conformance checks. Each platform has a row.
type row struct {
	name string

	// authorizeURL is the whole URL for the app, state and verifier of the
	// golden check, on the real origin.
	authorizeURL string

	pkce      bool   // whether the code is bound to a verifier
	separator string // between the scopes

	shape    []string // the fields of the credentials, the app's id and secret first
	optional []string // fields of shape that an import may omit
	account  string   // the account of the first person
	accounts int      // number of accounts in the first person's consent
	public   []string // fields beside the access token

	me      string // the sandbox's endpoint that Verify calls
	refresh string // the sandbox's endpoint that Refresh calls
	untick  string // a scope that the person may refuse; empty: all or nothing
	expires bool   // whether access tokens expire
	rotates bool   // whether a refresh token works once
	cadence connector.Cadence
	extras  []connector.AppField
	notices []connector.NoticeKind
	refusal []string // the platform's own words in the redirect for an app that it refuses
	manual  bool     // whether the guide says how to post by hand
}

const sixMonths = 181 * 24 * time.Hour

var rows = []row{
	{
		name: "facebook",
		authorizeURL: "https://www.facebook.com/v26.0/dialog/oauth?auth_type=rerequest&client_id=test-client&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Ffacebook%2Fcallback&response_type=code" +
			"&scope=pages_show_list%2Cpages_read_engagement%2Cpages_manage_posts%2Cinstagram_basic%2Cinstagram_content_publish%2Cbusiness_management&state=test-state",
		shape:    []string{"app_id", "app_secret", "page_id", "page_access_token", "ig_user_id"},
		optional: []string{"ig_user_id"},
		account:  "200000000000001", accounts: 3,
		public: []string{"page_id", "ig_user_id"},
		me:     "node", refresh: "node", untick: "instagram_content_publish", separator: ",",
		cadence: connector.Cadence{Model: connector.Permanent, CheckEvery: 7 * 24 * time.Hour},
		extras:  []connector.AppField{{Name: "config_id"}},
		notices: []connector.NoticeKind{{Name: "deauthorize"}, {Name: "data-deletion", Deletion: true}},
	},
	{
		name: "youtube",
		authorizeURL: "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&client_id=test-client&code_challenge=cr44KV5YSKLyleX1Lm_6fEu7NYZExuMmIJCfFloMT1o&code_challenge_method=S256" +
			"&include_granted_scopes=true&prompt=consent&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Fyoutube%2Fcallback&response_type=code" +
			"&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fyoutube.upload%20https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fyoutube.readonly&state=test-state",
		shape:    []string{"client_id", "client_secret", "access_token", "refresh_token", "token_expiry"},
		optional: []string{"token_expiry"},
		account:  "UCsandbox-channel-one-01", accounts: 1,
		me: "channels", refresh: "token", untick: "https://www.googleapis.com/auth/youtube.upload", expires: true, pkce: true, separator: " ",
		cadence: connector.Cadence{Model: connector.Stable, Lifetime: time.Hour, Lapse: sixMonths},
		refusal: []string{"redirect_uri_mismatch"},
	},
	{
		name: "twitter",
		authorizeURL: "https://x.com/i/oauth2/authorize?client_id=test-client&code_challenge=cr44KV5YSKLyleX1Lm_6fEu7NYZExuMmIJCfFloMT1o&code_challenge_method=S256" +
			"&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Ftwitter%2Fcallback&response_type=code" +
			"&scope=tweet.read%20tweet.write%20users.read%20media.write%20offline.access&state=test-state",
		shape:    []string{"client_id", "client_secret", "access_token", "refresh_token", "token_expiry"},
		optional: []string{"client_secret", "token_expiry"},
		account:  "1500000000000000001", accounts: 1,
		me: "me", refresh: "token", expires: true, rotates: true, pkce: true, separator: " ",
		cadence: connector.Cadence{Model: connector.Rotating, Lifetime: 2 * time.Hour, Lapse: sixMonths, CheckEvery: 7 * 24 * time.Hour},
		extras: []connector.AppField{
			{Name: "api_key"}, {Name: "api_secret", Secret: true}, {Name: "bearer_token", Secret: true},
			{Name: "tier"}, {Name: "monthly_post_limit", Number: true}, {Name: "billing_day", Number: true},
		},
	},
	{
		name: "tiktok",
		authorizeURL: "https://www.tiktok.com/v2/auth/authorize/?client_key=test-client&code_challenge=72be38295e5848a2f295e5f52e6ffa7c4bbb358644c6e32620909f165a0c4f5a&code_challenge_method=S256" +
			"&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Ftiktok%2Fcallback&response_type=code" +
			"&scope=user.info.basic%2Cvideo.upload%2Cvideo.publish&state=test-state",
		shape:    []string{"client_key", "client_secret", "open_id", "access_token", "refresh_token", "token_expiry", "refresh_token_expiry"},
		optional: []string{"token_expiry", "refresh_token_expiry"},
		account:  "-000sandbox-open-id-one", accounts: 1,
		public: []string{"open_id"},
		me:     "me", refresh: "token", untick: "video.publish", expires: true, rotates: true, pkce: true, separator: ",", manual: true,
		cadence: connector.Cadence{Model: connector.Rotating, Lifetime: 2 * time.Hour},
		notices: []connector.NoticeKind{{Name: "webhook"}},
		refusal: []string{"client_key", "redirect_uri", "scope"},
	},
}

// rowOf returns the row of a platform.
func rowOf(name string) row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	if i < 0 {
		panic("the table has no row for " + name)
	}
	return rows[i]
}

// checks run on every platform. Bug reports cite their names.
var checks = []struct {
	name string
	run  func(*testing.T, row)
}{
	{"description", checkDescription},
	{"guide", checkGuide},
	{"authorize_url_golden", checkAuthorizeURL},
	{"authorize_url_needs_an_app", checkAuthorizeNeedsApp},
	{"authorization_errors_become_codes", checkAuthorizationError},
	{"exchange_proves_the_authorization", checkExchange},
	{"grants_name_the_accounts", checkGrants},
	{"narrower_scopes_are_returned_as_granted", checkNarrowerScopes},
	{"code_works_once", checkCodeOnce},
	{"refresh_rotates_or_retains_the_refresh_token", checkRefresh},
	{"expires_in_variants", checkExpiresIn},
	{"malformed_token_answers_are_uncertain", checkMalformed},
	{"malformed_refresh_answers_are_uncertain", checkMalformedRefresh},
	{"error_in_200_is_an_error", checkErrorIn200},
	{"redirects_are_not_followed", checkRedirect},
	{"timeout_is_uncertain_and_not_sent_again", checkTimeout},
	{"refused_connection_is_certain", checkRefusedConnection},
	{"refusals_become_codes", checkRefusals},
	{"credentials_round_trip", checkRoundTrip},
	{"import_without_verify_makes_no_call", checkImportUnverified},
	{"import_names_the_field", checkImportFields},
	{"import_keeps_a_foreign_app", checkForeignApp},
	{"verify_returns_the_account", checkVerify},
	{"token_returns_public_fields_alone", checkToken},
	{"revoke_ends_the_grant", checkRevoke},
	{"notices_are_verified", checkNotices},
	{"concurrent_use", checkConcurrent},
}

func TestPlatforms(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for _, check := range checks {
				t.Run(check.name, func(t *testing.T) {
					t.Parallel()
					check.run(t, row)
				})
			}
		})
	}
}

// TestAll compares the names of the parts of each platform: client, sandbox, guide and
// row. It names a missing part.
func TestAll(t *testing.T) {
	t.Parallel()
	var registered, inTable, withGuide []string
	for _, p := range platform.All(platform.Options{}) {
		registered = append(registered, string(p.Describe().Name))
	}
	for _, row := range rows {
		inTable = append(inTable, row.name)
	}
	files, err := fs.Glob(guides, "guides/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		withGuide = append(withGuide, strings.TrimSuffix(path.Base(file), ".json"))
	}
	for _, test := range []struct {
		name  string
		names []string
		place string
	}{
		{"conformance_row", inTable, "the table of platform_test.go"},
		{"sandbox", sandbox.Platforms(), "shared/sandbox/registry.go"},
		{"guide", withGuide, "guides"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range without(registered, test.names) {
				t.Errorf("%s is missing in %s", name, test.place)
			}
			for _, name := range without(test.names, registered) {
				t.Errorf("%s is in %s and not in registry.go", name, test.place)
			}
		})
	}
}

func checkDescription(t *testing.T, row row) {
	p := find(t, row.name, platform.Options{})
	d := p.Describe()
	if d.Title == "" || d.AuthKind == "" || len(d.Issuers) == 0 {
		t.Error("the description lacks title, auth kind or issuer")
	}
	if lacking := without(d.Required, d.Scopes); len(lacking) > 0 {
		t.Errorf("required scopes %v are not default ones", lacking)
	}
	if diff := cmp.Diff(row.cadence, d.Cadence); diff != "" {
		t.Errorf("cadence (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(row.extras, d.AppFields); diff != "" {
		t.Errorf("extras of the app (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(row.notices, d.Notices); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	if _, ok := p.(connector.Noticer); ok != (len(d.Notices) > 0) {
		t.Errorf("%d kinds of notices, reads notices: %t", len(d.Notices), ok)
	}
}

func checkGuide(t *testing.T, row row) {
	d := find(t, row.name, platform.Options{}).Describe()
	g := d.Guide
	if g.PortalURL == "" || g.Checked == "" || len(g.Steps) == 0 || g.Review == "" || len(g.Gotchas) == 0 || len(g.Sources) == 0 {
		t.Error("the guide has an empty part")
	}
	var explained []string
	for _, scope := range g.Scopes {
		explained = append(explained, scope.Name)
	}
	if diff := cmp.Diff(sorted(d.Scopes), sorted(explained)); diff != "" {
		t.Errorf("scopes (-requested +explained):\n%s", diff)
	}
	if row.manual != (len(g.Manual) > 0) {
		t.Errorf("%d steps for posting by hand", len(g.Manual))
	}
	b, err := guides.ReadFile("guides/" + row.name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(b)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&connector.Guide{}); err != nil {
		t.Error(err)
	}
}

// checkNotices: every kind of notice that the sandbox sends is read, and one
// that the app did not sign is not.
func checkNotices(t *testing.T, row row) {
	w := newWorld(t, row)
	noticer, ok := w.platform.(connector.Noticer)
	sent, sends := w.box.Notice(row.name, "", row.account)
	if ok != sends {
		t.Fatalf("reads notices: %t, the sandbox sends some: %t", ok, sends)
	}
	if !ok {
		return
	}
	raw := connector.RawNotice{Body: sent.Body, Header: map[string]string{"content-type": sent.ContentType}}
	for name, value := range sent.Header {
		raw.Header[strings.ToLower(name)] = value
	}
	for _, kind := range w.platform.Describe().Notices {
		got, err := noticer.ReadNotice(w.app, kind.Name, raw)
		if err != nil {
			t.Errorf("%s: %v", kind.Name, err)
		}
		if got.UserID != row.account || got.Delete != kind.Deletion || got.Revoked == kind.Deletion || got.Reason == "" || !got.At.Equal(w.now) {
			t.Errorf("%s: got %+v", kind.Name, got)
		}
		other := w.app
		other.ClientSecret = connector.NewSecret("another-secret")
		_, err = noticer.ReadNotice(other, kind.Name, raw)
		w.fails(err, connector.StateInvalid, false)
	}
	_, err := noticer.ReadNotice(w.app, "no-such-kind", raw)
	w.fails(err, connector.InvalidRequest, false)
}

//go:embed guides/*.json
var guides embed.FS

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// world is one platform over its sandbox, with the registered app.
type world struct {
	t        *testing.T
	row      row
	box      *sandbox.Sandbox
	base     string
	platform connector.Platform
	app      connector.App
	now      time.Time
}

func newWorld(t *testing.T, row row, change ...func(*platform.Options)) *world {
	t.Helper()
	w := &world{t: t, row: row, now: time.Now().UTC().Truncate(time.Second)}
	clock := func() time.Time { return w.now }
	w.box = sandbox.New(sandbox.Options{Now: clock})
	w.box.SetRedirectURIs(row.name, w.redirectURI())
	server := httptest.NewServer(w.box)
	t.Cleanup(server.Close)
	w.base = server.URL

	options := platform.Options{
		HTTP:      &http.Client{Transport: loopbackOnly(t)},
		Endpoints: sandbox.Endpoints(server.URL),
		Now:       clock,
	}
	for _, f := range change {
		f(&options)
	}
	w.platform = find(t, row.name, options)
	registered := w.box.AppOf(row.name)
	w.app = connector.App{
		ClientID:     registered.ClientID,
		ClientSecret: connector.NewSecret(registered.ClientSecret),
		Mode:         connector.Live,
		Extras:       connector.Fields{},
	}
	t.Cleanup(w.noSecretInURLs)
	return w
}

// loopbackOnly returns a transport that connects to loopback alone.
func loopbackOnly(t *testing.T) *http.Transport {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(addr); host != "127.0.0.1" {
				t.Errorf("a call went to %s", addr)
				return nil, errors.New("not loopback")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func find(t *testing.T, name string, o platform.Options) connector.Platform {
	t.Helper()
	for _, p := range platform.All(o) {
		if string(p.Describe().Name) == name {
			return p
		}
	}
	t.Fatalf("no platform %q", name)
	return nil
}

func (w *world) redirectURI() string {
	return "https://connect.example/oauth/" + w.row.name + "/callback"
}

// authorization returns an authorization for scopes, or for the default ones.
func (w *world) authorization(scopes ...string) connector.Authorization {
	if len(scopes) == 0 {
		scopes = w.platform.Describe().Scopes
	}
	return connector.Authorization{
		Platform:    connector.Name(w.row.name),
		Scopes:      scopes,
		RedirectURI: w.redirectURI(),
		State:       connector.NewSecret("test-state"),
		Verifier:    connector.NewSecret("test-verifier-0123456789-0123456789-0123456789"),
	}
}

// consent gives consent and returns the code.
func (w *world) consent(a connector.Authorization, choice sandbox.Choice) connector.Secret {
	w.t.Helper()
	authorize, err := w.platform.AuthorizeURL(w.app, a)
	if err != nil {
		w.t.Fatalf("AuthorizeURL: %v", err)
	}
	redirect, err := w.box.Consent(authorize, choice)
	if err != nil {
		w.t.Fatalf("consent: %v", err)
	}
	u, err := url.Parse(redirect)
	if err != nil {
		w.t.Fatal(err)
	}
	if u.Query().Get("code") == "" || u.Query().Get("state") != a.State.Reveal() {
		w.t.Fatalf("the consent led to %s", u.Path)
	}
	return connector.NewSecret(u.Query().Get("code"))
}

// connect runs a consent and the exchange, and returns the first grant.
func (w *world) connect() connector.Grant {
	w.t.Helper()
	a := w.authorization()
	grants, err := w.platform.Exchange(w.t.Context(), w.app, a, w.consent(a, sandbox.Choice{}))
	if err != nil {
		w.t.Fatalf("Exchange: %v", err)
	}
	return grants[0]
}

// fails checks an error: its code, whether it is Uncertain, and that it holds no
// secret.
func (w *world) fails(err error, code connector.Code, uncertain bool) *connector.Error {
	w.t.Helper()
	var e *connector.Error
	if !errors.As(err, &e) {
		w.t.Fatalf("got error %v, want a *connector.Error with %s", err, code)
	}
	if e.Code != code {
		w.t.Errorf("got code %s (%v), want %s", e.Code, err, code)
	}
	if e.Uncertain != uncertain {
		w.t.Errorf("%v: got uncertain %t, want %t", err, e.Uncertain, uncertain)
	}
	if e.Message == "" {
		w.t.Errorf("%v: no message", err)
	}
	text := fmt.Sprintf("%v %+v %#v", err, *e, *e)
	for _, secret := range append(w.box.Secrets(), "test-verifier", "test-state") {
		if strings.Contains(text, secret) {
			w.t.Errorf("the error holds a secret: %s", text)
		}
	}
	if strings.Contains(text, "?") || strings.Contains(text, "<!doctype") {
		w.t.Errorf("the error holds a query or a body: %s", text)
	}
	return e
}

// noSecretInURLs checks that requests have secrets in forms and headers alone.
// debug_token reads the inspected token in the query.
func (w *world) noSecretInURLs() {
	secrets := w.box.Secrets()
	for _, call := range w.box.Calls(w.row.name, "") {
		if call.Endpoint == "debug_token" {
			call.Query.Del("input_token")
		}
		for _, secret := range secrets {
			if strings.Contains(call.Path+"?"+call.Query.Encode(), url.QueryEscape(secret)) {
				w.t.Errorf("%s %s%s: a secret in the URL", call.Method, call.Host, call.Path)
			}
		}
	}
}

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
		"access_denied": connector.AccessDenied, "": connector.AccessDenied, "<script>": connector.AccessDenied,
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
		err := p.AuthorizationError(word)
		if err.Code != code || err.Uncertain || err.ClientRefused {
			t.Errorf("%q: got %+v, want %s", word, err, code)
		}
		if !strings.Contains(err.Message, p.Describe().Title) || strings.Contains(err.Error(), "<") {
			t.Errorf("%q: message %q", word, err.Message)
		}
	}
}

func checkExchange(t *testing.T, row row) {
	w := newWorld(t, row)
	a := w.authorization()
	code := w.consent(a, sandbox.Choice{})
	if _, err := w.platform.Exchange(t.Context(), w.app, a, code); err != nil {
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
	grants, err := w.platform.Exchange(t.Context(), w.app, a, w.consent(a, sandbox.Choice{}))
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
	grants, err := w.platform.Exchange(t.Context(), w.app, a, w.consent(a, choice))
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
	w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"scope"}})
	if got := w.connect().Credentials.Scopes; len(without(a.Scopes, got)) > 0 {
		t.Errorf("an answer without scopes: got %v, want those that were requested", got)
	}
}

func checkCodeOnce(t *testing.T, row row) {
	w := newWorld(t, row)
	a := w.authorization()
	code := w.consent(a, sandbox.Choice{})
	if _, err := w.platform.Exchange(t.Context(), w.app, a, code); err != nil {
		t.Fatal(err)
	}
	_, err := w.platform.Exchange(t.Context(), w.app, a, code)
	w.fails(err, connector.StateInvalid, false)

	stolen := w.authorization()
	stolen.Verifier = connector.NewSecret("another-verifier-0123456789-0123456789-012345")
	_, err = w.platform.Exchange(t.Context(), w.app, stolen, w.consent(a, sandbox.Choice{}))
	if row.pkce && err == nil {
		t.Error("a code was redeemed with another verifier")
	}
}

func checkRefresh(t *testing.T, row row) {
	w := newWorld(t, row)
	before := w.connect().Credentials
	w.now = w.now.Add(time.Hour)
	after, err := w.platform.Refresh(t.Context(), w.app, before)
	if err != nil {
		t.Fatal(err)
	}
	if !row.expires {
		if !after.Fields.Equal(before.Fields) || !after.ExpiresAt.IsZero() {
			t.Error("a health check changed the credentials")
		}
		return
	}
	if after.Fields["access_token"].Equal(before.Fields["access_token"]) {
		t.Error("the access token is the old one")
	}
	if same := after.Fields["refresh_token"].Equal(before.Fields["refresh_token"]); same == row.rotates {
		t.Errorf("refresh token the same: %t, rotates: %t", same, row.rotates)
	}
	if rotates := w.platform.Describe().Cadence.Model == connector.Rotating; rotates != row.rotates {
		t.Errorf("traits say rotates %t", rotates)
	}
	if !after.ExpiresAt.After(before.ExpiresAt) || !after.IssuedAt.Equal(w.now) {
		t.Errorf("issued %v, expires %v", after.IssuedAt, after.ExpiresAt)
	}
	if got, want := after.Fields.Get("token_expiry"), after.ExpiresAt.Format(time.RFC3339); got != want {
		t.Errorf("token_expiry: got %q, want %q", got, want)
	}

	w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"refresh_token", "scope", "refresh_expires_in"}})
	again, err := w.platform.Refresh(t.Context(), w.app, after)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Fields["refresh_token"].Equal(after.Fields["refresh_token"]) {
		t.Error("a refresh token that the answer leaves out is lost")
	}
	if diff := cmp.Diff(after.Scopes, again.Scopes); diff != "" {
		t.Errorf("scopes that the answer leaves out changed:\n%s", diff)
	}
	if !again.GrantExpiresAt.Equal(after.GrantExpiresAt) {
		t.Error("the expiry of the grant, which the answer leaves out, is lost")
	}
}

func checkExpiresIn(t *testing.T, row row) {
	if !row.expires {
		checkPageTokenExpiry(t, row)
		return
	}
	for value, seconds := range map[string]int{
		`"3600"`: 3600, `3600.0`: 3600, `900`: 900, `31622400`: 31622400,
		`31622401`: 0, `"NaN"`: 0, `-1`: 0, `0`: 0, `1e18`: 0, `1e400`: 0, `"abc"`: 0, `null`: 0, `{}`: 0, `[3600]`: 0, `true`: 0, `missing`: 0,
	} {
		t.Run(value, func(t *testing.T) {
			w := newWorld(t, row)
			fault := sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"expires_in"}}
			if value != "missing" {
				fault = sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"expires_in": json.RawMessage(value)}}
			}
			w.box.Fault(fault)
			life := time.Duration(seconds) * time.Second
			if life == 0 {
				life = w.platform.Describe().Cadence.Lifetime
			}
			if got := w.connect().Credentials.ExpiresAt; !got.Equal(w.now.Add(life)) {
				t.Errorf("expires at %v, want %v later than now", got, life)
			}
		})
	}
}

// checkPageTokenExpiry checks a platform whose tokens do not expire: an answer
// without expires_in changes nothing.
func checkPageTokenExpiry(t *testing.T, row row) {
	w := newWorld(t, row)
	w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().OmitExpiresIn = true })
	if got := w.connect(); !got.Credentials.ExpiresAt.IsZero() || got.Warning != "" {
		t.Errorf("expires at %v, warning %q", got.Credentials.ExpiresAt, got.Warning)
	}
}

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
			_, err := w.platform.Exchange(t.Context(), w.app, a, code)
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
			fault.Platform, fault.Endpoint = row.name, row.refresh
			if !row.expires && fault.Kind == sandbox.DuplicateKeys {
				fault = sandbox.Fault{Platform: row.name, Endpoint: row.refresh, Kind: sandbox.Body, Text: `{"id":"1","id":"2"}`}
			}
			if !row.expires {
				fault.Times = -1 // net/http sends a GET again when its connection breaks
			}
			before := w.box.Count(row.name, row.refresh)
			w.box.Fault(fault)
			_, err := w.platform.Refresh(t.Context(), w.app, c)
			// A check of a token that does not expire does not invalidate it.
			w.fails(err, connector.PlatformUnavailable, row.expires)
			if got := w.box.Count(row.name, row.refresh) - before; got != 1 && row.expires {
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
	if _, err := w.platform.Exchange(t.Context(), w.app, a, code); err == nil || errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("got %v, want the platform's refusal", err)
	}
	for beside, good := range map[string]bool{`"invalid_grant"`: false, `""`: true, `null`: true} {
		w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"error": json.RawMessage(beside)}})
		if _, err := w.platform.Exchange(t.Context(), w.app, a, w.consent(a, sandbox.Choice{})); good != (err == nil) {
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
		_, err := w.platform.Exchange(t.Context(), w.app, a, code)
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
	_, err := w.platform.Exchange(t.Context(), w.app, a, code)
	w.fails(err, connector.PlatformUnavailable, true)
	if got := w.box.Count(row.name, "token"); got != 1 {
		t.Errorf("the code was sent %d times", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = w.platform.Exchange(ctx, w.app, a, code)
	w.fails(err, connector.PlatformUnavailable, false)
}

func checkRefusedConnection(t *testing.T, row row) {
	w := newWorld(t, row, func(o *platform.Options) {
		o.HTTP = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}}}
	})
	_, err := w.platform.Exchange(t.Context(), w.app, w.authorization(), connector.NewSecret("test-code"))
	w.fails(err, connector.PlatformUnavailable, false)
}

func checkRefusals(t *testing.T, row row) {
	// A health check does not send the app's secret. The exchange of a code
	// meets the refused app there.
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
			fault := sandbox.Fault{Platform: row.name, Endpoint: row.refresh, Kind: test.kind}
			call := func() error { _, err := w.platform.Refresh(t.Context(), w.app, c); return err }
			if test.kind == sandbox.WrongClient && !row.expires {
				fault.Endpoint = "token"
				a := w.authorization()
				code := w.consent(a, sandbox.Choice{})
				call = func() error { _, err := w.platform.Exchange(t.Context(), w.app, a, code); return err }
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
		if want := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC); !grants[0].Credentials.ExpiresAt.Truncate(time.Second).Equal(want) {
			t.Errorf("token_expiry %q: got %v, want %v", value, grants[0].Credentials.ExpiresAt, want)
		}
		if got := w.platform.Full(w.app, grants[0].Credentials).Get("token_expiry"); got != "2026-11-23T10:00:00Z" {
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
	if _, err := w.platform.Refresh(t.Context(), other, grants[0].Credentials); err != nil {
		t.Errorf("refreshing with the imported app: %v", err)
	}
	if got := w.platform.Full(other, grants[0].Credentials).Get(row.shape[0]); got != w.app.ClientID {
		t.Errorf("Full has the app %q", got)
	}
	if !row.expires {
		return
	}
	_, err = w.platform.Refresh(t.Context(), other, w.connect().Credentials)
	w.fails(err, connector.AppMisconfigured, false)
}

func checkVerify(t *testing.T, row row) {
	w := newWorld(t, row)
	c := w.connect().Credentials
	v, err := w.platform.Verify(t.Context(), w.app, c)
	if err != nil {
		t.Fatal(err)
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
			grants, err := w.platform.Exchange(t.Context(), w.app, a, code)
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
