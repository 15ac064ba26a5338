package sandbox_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

const redirectURI = "http://127.0.0.1:8422/callback"

// verifier is a code verifier. The challenges are its SHA-256 in two encodings, as
// sha256sum and basenc print them.
const (
	verifier      = "sandbox-code-verifier-of-forty-three-letters"
	challenge     = "ZXwceUAaK-2NFROBuTFB-M_VpH4jtkfTJDAM9a-t2hQ"
	challengeHex  = "657c1c79401a2bed8d151381b93141f8cfd5a47e23b647d324300cf5afadda14"
	otherVerifier = "another-code-verifier-of-forty-three-letters"
)

// visit is a served sandbox with a person and an app that use it.
type visit struct {
	*testing.T
	box       *sandbox.Sandbox
	endpoints map[string]string
}

func newVisit(t *testing.T) *visit {
	t.Helper()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	uris := map[string][]string{}
	for _, name := range sandbox.Platforms() {
		uris[name] = []string{redirectURI}
	}
	box := sandbox.New(sandbox.Options{Now: func() time.Time { return now }, RedirectURIs: uris})
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	return &visit{t, box, sandbox.Endpoints(server.URL)}
}

// url rewrites a real URL to the sandbox.
func (v *visit) url(real string) string {
	v.Helper()
	for from, to := range v.endpoints {
		if rest, ok := strings.CutPrefix(real, from+"/"); ok {
			return to + "/" + rest
		}
	}
	v.Fatalf("no endpoint for %s", real)
	return ""
}

// answer is a response with its body.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (a answer) text(name string) string {
	s, _ := a.json[name].(string)
	return s
}

func (v *visit) do(r *http.Request) answer {
	v.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		v.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.Fatalf("reading the answer of %s: %v", r.URL.Path, err)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(body)}
	_ = json.Unmarshal(body, &a.json)
	return a
}

func (v *visit) get(real, bearer string) answer {
	v.Helper()
	return v.do(v.request("GET", real, bearer))
}

func (v *visit) request(method, real, bearer string) *http.Request {
	v.Helper()
	r, err := http.NewRequestWithContext(v.Context(), method, v.url(real), nil)
	if err != nil {
		v.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return r
}

func (v *visit) post(real string, form url.Values) answer {
	v.Helper()
	return v.do(v.form(real, form))
}

func (v *visit) form(real string, form url.Values) *http.Request {
	v.Helper()
	r, err := http.NewRequestWithContext(v.Context(), "POST", v.url(real), strings.NewReader(form.Encode()))
	if err != nil {
		v.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// control sends JSON to the paths under /_sandbox/.
func (v *visit) control(method, command, body string) answer {
	v.Helper()
	base := strings.TrimSuffix(v.endpoints["https://x.com"], "/x.com")
	r, err := http.NewRequestWithContext(v.Context(), method, base+"/_sandbox/"+command, strings.NewReader(body))
	if err != nil {
		v.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return v.do(r)
}

// consent gives consent and returns the parameters of the redirect.
func (v *visit) consent(authorize string, q url.Values, choice sandbox.Choice) url.Values {
	v.Helper()
	redirect, err := v.box.Consent(authorize+"?"+q.Encode(), choice)
	if err != nil {
		v.Fatal(err)
	}
	u, err := url.Parse(redirect)
	if err != nil {
		v.Fatal(err)
	}
	if got := "http://" + u.Host + u.Path; got != redirectURI {
		v.Fatalf("redirected to %s, want %s", got, redirectURI)
	}
	return u.Query()
}

// with returns a copy of values with some changed. It removes empty values.
func with(values url.Values, pairs ...string) url.Values {
	changed := url.Values{}
	for name, all := range values {
		changed[name] = all
	}
	for i := 0; i < len(pairs); i += 2 {
		changed.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			changed.Del(pairs[i])
		}
	}
	return changed
}

// want checks the status and the error member of an answer.
func (v *visit) want(a answer, status int, code string) {
	v.Helper()
	if a.status != status || a.text("error") != code {
		v.Errorf("got %d %s, want %d with error %q", a.status, a.body, status, code)
	}
}

// dialect describes a platform with the OAuth 2.0 flow of RFC 6749.
type dialect struct {
	name         string
	authorizeURL string
	tokenURL     string
	authorize    url.Values
	token        url.Values
	basic        bool
	deadCode     string
	notProven    string
}

var dialects = []dialect{
	{
		name: sandbox.YouTube, authorizeURL: "https://accounts.google.com/o/oauth2/v2/auth", tokenURL: "https://oauth2.googleapis.com/token",
		authorize: url.Values{
			"client_id": {"sandbox-youtube-client"}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {"st"},
			"scope":       {"https://www.googleapis.com/auth/youtube.upload https://www.googleapis.com/auth/youtube.readonly"},
			"access_type": {"offline"}, "prompt": {"consent"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
		},
		token: url.Values{
			"client_id": {"sandbox-youtube-client"}, "client_secret": {"sandbox-youtube-secret"},
			"redirect_uri": {redirectURI}, "grant_type": {"authorization_code"}, "code_verifier": {verifier},
		},
		deadCode: "invalid_grant", notProven: "invalid_grant",
	},
	{
		name: sandbox.Twitter, authorizeURL: "https://x.com/i/oauth2/authorize", tokenURL: "https://api.x.com/2/oauth2/token",
		authorize: url.Values{
			"client_id": {"sandbox-twitter-client"}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {"st"},
			"scope": {"tweet.read tweet.write users.read offline.access"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
		},
		token: url.Values{"redirect_uri": {redirectURI}, "grant_type": {"authorization_code"}, "code_verifier": {verifier}},
		basic: true, deadCode: "invalid_request", notProven: "invalid_request",
	},
	{
		name: sandbox.TikTok, authorizeURL: "https://www.tiktok.com/v2/auth/authorize/", tokenURL: "https://open.tiktokapis.com/v2/oauth/token/",
		authorize: url.Values{
			"client_key": {"sandbox-tiktok-client"}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {"st"},
			"scope": {"user.info.basic,video.publish"}, "code_challenge": {challengeHex}, "code_challenge_method": {"S256"},
			"disable_auto_auth": {"1"},
		},
		token: url.Values{
			"client_key": {"sandbox-tiktok-client"}, "client_secret": {"sandbox-tiktok-secret"},
			"redirect_uri": {redirectURI}, "grant_type": {"authorization_code"}, "code_verifier": {verifier},
		},
		deadCode: "invalid_grant", notProven: "invalid_request",
	},
}

func dialectOf(name string) dialect {
	for _, d := range dialects {
		if d.name == name {
			return d
		}
	}
	panic("no dialect " + name)
}

// exchange posts to the token endpoint with the app's credentials.
func (v *visit) exchange(d dialect, form url.Values) answer {
	v.Helper()
	r := v.form(d.tokenURL, form)
	if d.basic {
		app := v.box.AppOf(d.name)
		r.SetBasicAuth(app.ClientID, app.ClientSecret)
	}
	return v.do(r)
}

// connect runs the whole flow and returns the token answer.
func (v *visit) connect(d dialect, choice sandbox.Choice) answer {
	v.Helper()
	code := v.consent(d.authorizeURL, d.authorize, choice).Get("code")
	a := v.exchange(d, with(d.token, "code", code))
	if a.status != 200 || a.text("access_token") == "" {
		v.Fatalf("exchanging a code: %d %s", a.status, a.body)
	}
	return a
}

// refresh exchanges a refresh token.
func (v *visit) refresh(d dialect, refreshToken string) answer {
	v.Helper()
	return v.exchange(d, with(d.token, "grant_type", "refresh_token", "refresh_token", refreshToken, "redirect_uri", "", "code_verifier", ""))
}

func each(t *testing.T, test func(v *visit, d dialect)) {
	t.Helper()
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			test(newVisit(t), d)
		})
	}
}

func TestSandbox_Consent(t *testing.T) {
	t.Run("code_and_state", testSandboxConsentCodeAndState)
	t.Run("denied", testSandboxConsentDenied)
	t.Run("invalid_request_shows_a_page", testSandboxConsentInvalidRequestShowsAPage)
	t.Run("refused_scopes", testSandboxConsentRefusedScopes)
	t.Run("form_in_a_browser", testSandboxConsentFormInABrowser)
}

func TestSandbox_Token(t *testing.T) {
	t.Run("code_works_once", testSandboxTokenCodeWorksOnce)
	t.Run("code_expires", testSandboxTokenCodeExpires)
	t.Run("verifier_must_match", testSandboxTokenVerifierMustMatch)
	t.Run("redirect_uri_must_match", testSandboxTokenRedirectUriMustMatch)
	t.Run("body_must_be_a_form", testSandboxTokenBodyMustBeAForm)
	t.Run("duplicate_parameter", testSandboxTokenDuplicateParameter)
	t.Run("wrong_client", testSandboxTokenWrongClient)
}

func TestSandbox_Expire(t *testing.T) {
	t.Run("access_token_is_refused", testSandboxExpireAccessTokenIsRefused)
}

func TestSandbox_Kill(t *testing.T) {
	t.Run("grant_ends", testSandboxKillGrantEnds)
}

func TestSandbox_ServeHTTP(t *testing.T) {
	t.Run("wrong_host", testSandboxServeHTTPWrongHost)
	t.Run("control", testSandboxServeHTTPControl)
}

func TestSandbox_Secrets(t *testing.T) {
	t.Run("issued_secrets", testSandboxSecretsIssuedSecrets)
}

func TestSandbox_Calls(t *testing.T) {
	t.Run("requests_as_sent", testSandboxCallsRequestsAsSent)
}

func testSandboxConsentCodeAndState(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		q := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{})
		if q.Get("state") != "st" || q.Get("code") == "" || q.Has("error") {
			v.Errorf("got %v", q)
		}
		if iss := q.Get("iss"); (iss == "https://accounts.google.com") != (d.name == sandbox.YouTube) {
			v.Errorf("iss is %q", iss)
		}
	})
}

func testSandboxConsentDenied(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		q := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{Deny: true})
		if q.Get("state") != "st" || q.Get("error") != "access_denied" || q.Has("code") {
			v.Errorf("got %v", q)
		}
	})
}

func testSandboxConsentInvalidRequestShowsAPage(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		for name, change := range map[string][]string{
			"redirect URI with a slash more": {"redirect_uri", redirectURI + "/"},
			"redirect URI of another port":   {"redirect_uri", "http://127.0.0.1:8423/callback"},
			"no redirect URI":                {"redirect_uri", ""},
			"other client":                   {"client_id", "other", "client_key", "other"},
			"unknown scope":                  {"scope", "everything"},
			"response type token":            {"response_type", "token"},
			"challenge without its method":   {"code_challenge_method", "none"},
		} {
			a := v.do(v.request("GET", d.authorizeURL+"?"+with(d.authorize, change...).Encode(), ""))
			if a.status < 400 || a.status > 499 || a.header.Get("Location") != "" || !strings.Contains(a.body, `id="reason"`) {
				v.Errorf("%s: got %d, Location %q", name, a.status, a.header.Get("Location"))
			}
			if _, err := v.box.Consent(d.authorizeURL+"?"+with(d.authorize, change...).Encode(), sandbox.Choice{}); err == nil {
				v.Errorf("%s: consent was given", name)
			}
		}
	})
}

func testSandboxTokenCodeWorksOnce(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		code := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{}).Get("code")
		var won sync.Map
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				if v.exchange(d, with(d.token, "code", code)).status == 200 {
					won.Store(i, true)
				}
			})
		}
		wait.Wait()
		winners := 0
		won.Range(func(any, any) bool { winners++; return true })
		if winners != 1 {
			v.Errorf("%d of 20 exchanges of one code succeeded, want 1", winners)
		}
		v.want(v.exchange(d, with(d.token, "code", code)), 400, d.deadCode)
	})
}

func testSandboxTokenCodeExpires(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		life := 600 * time.Second
		if d.name == sandbox.Twitter {
			life = 30 * time.Second
		}
		first := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{}).Get("code")
		second := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{}).Get("code")
		v.box.Advance(life - time.Second)
		if a := v.exchange(d, with(d.token, "code", first)); a.status != 200 {
			v.Errorf("a second before the end: %d %s", a.status, a.body)
		}
		v.box.Advance(time.Second)
		v.want(v.exchange(d, with(d.token, "code", second)), 400, d.deadCode)
	})
}

func testSandboxTokenVerifierMustMatch(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		code := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{}).Get("code")
		for _, wrong := range []string{otherVerifier, "", challenge, challengeHex} {
			v.want(v.exchange(d, with(d.token, "code", code, "code_verifier", wrong)), 400, d.notProven)
		}
		if a := v.exchange(d, with(d.token, "code", code)); a.status != 200 {
			v.Errorf("with the right verifier: %d %s", a.status, a.body)
		}
	})
}

func testSandboxTokenRedirectUriMustMatch(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		code := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{}).Get("code")
		if a := v.exchange(d, with(d.token, "code", code, "redirect_uri", redirectURI+"/")); a.status != 400 {
			v.Errorf("got %d %s, want 400", a.status, a.body)
		}
	})
}

func testSandboxTokenBodyMustBeAForm(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		r := v.form(d.tokenURL, d.token)
		r.Header.Set("Content-Type", "application/json")
		v.want(v.do(r), 400, "invalid_request")
	})
}

func testSandboxTokenDuplicateParameter(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		code := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{}).Get("code")
		form := with(d.token, "code", code)
		form["grant_type"] = []string{"authorization_code", "authorization_code"}
		v.want(v.exchange(d, form), 400, "invalid_request")
	})
}

func testSandboxTokenWrongClient(t *testing.T) {
	youtube, twitter, tiktok := dialectOf(sandbox.YouTube), dialectOf(sandbox.Twitter), dialectOf(sandbox.TikTok)
	v := newVisit(t)
	v.want(v.exchange(youtube, with(youtube.token, "client_secret", "wrong", "code", "c")), 401, "invalid_client")
	v.want(v.exchange(youtube, with(youtube.token, "client_id", "wrong", "code", "c")), 401, "invalid_client")
	v.want(v.exchange(tiktok, with(tiktok.token, "client_secret", "wrong", "code", "c")), 400, "invalid_client")
	v.want(v.exchange(tiktok, with(tiktok.token, "client_key", "", "client_id", "sandbox-tiktok-client", "code", "c")), 400, "invalid_request")
	v.want(v.post(twitter.tokenURL, with(twitter.token, "code", "c", "client_id", "sandbox-twitter-client", "client_secret", "sandbox-twitter-secret")), 401, "unauthorized_client")
	r := v.form(twitter.tokenURL, with(twitter.token, "code", "c"))
	r.SetBasicAuth("sandbox-twitter-client", "wrong")
	v.want(v.do(r), 401, "invalid_client")
	r = v.form(tiktok.tokenURL, with(tiktok.token, "code", "c"))
	r.SetBasicAuth("sandbox-tiktok-client", "sandbox-tiktok-secret")
	v.want(v.do(r), 400, "invalid_request")
}

func testSandboxConsentRefusedScopes(t *testing.T) {
	for name, unticked := range map[string]string{
		sandbox.YouTube: "https://www.googleapis.com/auth/youtube.upload", sandbox.TikTok: "video.publish",
	} {
		d, v := dialectOf(name), newVisit(t)
		a := v.connect(d, sandbox.Choice{Untick: []string{unticked}})
		if strings.Contains(a.text("scope"), unticked) || a.text("scope") == "" {
			t.Errorf("%s: granted %q although %q was refused", name, a.text("scope"), unticked)
		}
	}
	d, v := dialectOf(sandbox.Twitter), newVisit(t)
	if _, err := v.box.Consent(d.authorizeURL+"?"+d.authorize.Encode(), sandbox.Choice{Untick: []string{"tweet.write"}}); err == nil {
		t.Error("twitter: a scope could be refused, but X grants all or none")
	}
}

func testSandboxExpireAccessTokenIsRefused(t *testing.T) {
	for name, me := range map[string]string{
		sandbox.YouTube: "https://www.googleapis.com/youtube/v3/channels?part=id&mine=true",
		sandbox.Twitter: "https://api.x.com/2/users/me",
		sandbox.TikTok:  "https://open.tiktokapis.com/v2/user/info/?fields=open_id",
	} {
		d, v := dialectOf(name), newVisit(t)
		a := v.connect(d, sandbox.Choice{})
		life := time.Duration(a.json["expires_in"].(float64)) * time.Second
		v.box.Advance(life - time.Second)
		if got := v.get(me, a.text("access_token")); got.status != 200 {
			t.Errorf("%s: a second before its expiry the token returns %d %s", name, got.status, got.body)
		}
		v.box.Advance(time.Second)
		if got := v.get(me, a.text("access_token")); got.status != 401 {
			t.Errorf("%s: at its expiry the token returns %d %s", name, got.status, got.body)
		}
		if got := v.refresh(d, a.text("refresh_token")); got.status != 200 {
			t.Errorf("%s: a refresh after the expiry returns %d %s", name, got.status, got.body)
		}
	}
}

func testSandboxKillGrantEnds(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		a := v.connect(d, sandbox.Choice{})
		other := v.connect(d, sandbox.Choice{Account: v.box.People(d.name)[1].ID})
		if n := v.box.Kill(d.name, v.box.People(d.name)[0].ID, 0); n != 1 {
			v.Errorf("%d grants ended, want 1", n)
		}
		v.want(v.refresh(d, a.text("refresh_token")), 400, d.deadCode)
		if got := v.refresh(d, other.text("refresh_token")); got.status != 200 {
			v.Errorf("the other person's grant: %d %s", got.status, got.body)
		}
	})
}

func testSandboxServeHTTPWrongHost(t *testing.T) {
	v := newVisit(t)
	if a := v.post("https://accounts.google.com/token", dialectOf(sandbox.YouTube).token); a.status != 404 {
		t.Errorf("got %d", a.status)
	}
	if a := v.get("https://api.x.com/2/oauth2/token", ""); a.status != 405 {
		t.Errorf("GET at a token endpoint: got %d", a.status)
	}
}

func testSandboxConsentFormInABrowser(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		page := v.get(d.authorizeURL+"?"+d.authorize.Encode(), "")
		for _, part := range []string{`id="allow"`, `id="deny"`, `name="account"`, `name="scope"`, "this is not the real"} {
			if page.status != 200 || !strings.Contains(page.body, part) {
				v.Fatalf("the page (%d) lacks %s", page.status, part)
			}
		}
		if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
			v.Errorf("Content-Security-Policy is %q", csp)
		}
		account := v.box.People(d.name)[1].ID
		sent := v.post(d.authorizeURL+"?"+d.authorize.Encode(), url.Values{"action": {"allow"}, "account": {account}, "scope": strings.FieldsFunc(d.authorize.Get("scope"), func(r rune) bool { return r == ' ' || r == ',' })})
		u, err := url.Parse(sent.header.Get("Location"))
		if err != nil || sent.status != 303 || u.Query().Get("code") == "" {
			v.Fatalf("got %d %s, Location %q", sent.status, sent.body, sent.header.Get("Location"))
		}
		if a := v.exchange(d, with(d.token, "code", u.Query().Get("code"))); a.status != 200 {
			v.Errorf("exchanging the code: %d %s", a.status, a.body)
		}
	})
}

func testSandboxSecretsIssuedSecrets(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		a := v.connect(d, sandbox.Choice{})
		secrets := strings.Join(v.box.Secrets(), "\n")
		for _, secret := range []string{a.text("access_token"), a.text("refresh_token"), v.box.AppOf(d.name).ClientSecret} {
			if !strings.Contains(secrets, secret) {
				v.Error("an issued secret is missing")
			}
		}
		state := v.control("GET", "", "")
		for _, secret := range v.box.Secrets() {
			if strings.Contains(state.body, secret) {
				v.Error("the control surface shows a secret")
			}
		}
	})
}

func testSandboxCallsRequestsAsSent(t *testing.T) {
	each(t, func(v *visit, d dialect) {
		a := v.connect(d, sandbox.Choice{})
		v.refresh(d, a.text("refresh_token"))
		calls := v.box.Calls(d.name, "token")
		if len(calls) != 2 || calls[0].Form.Get("redirect_uri") != redirectURI || len(calls[0].Query) != 0 || calls[0].Status != 200 {
			v.Fatalf("got %d calls", len(calls))
		}
		for endpoint, want := range map[string]int{"token": 2, "token/refresh_token": 1, "token/authorization_code": 1, "authorize": 1} {
			if got := v.box.Count(d.name, endpoint); got != want {
				v.Errorf("count of %s is %d, want %d", endpoint, got, want)
			}
		}
	})
}

func testSandboxServeHTTPControl(t *testing.T) {
	v := newVisit(t)
	d := dialectOf(sandbox.Twitter)
	if a := v.control("PATCH", "knobs", `{"twitter":{"access_seconds":60}}`); a.status != 200 {
		t.Fatalf("knobs: %d %s", a.status, a.body)
	}
	a := v.connect(d, sandbox.Choice{})
	if a.json["expires_in"] != 60.0 || a.text("refresh_token") == "" {
		t.Errorf("expires_in is %v, want 60, with the other knobs unchanged", a.json["expires_in"])
	}
	for _, body := range []string{`{"twitter":{"access_seconds":5},"myspace":{}}`, `{"twitter":{"access_seconds":5,"no_such_knob":1}}`, `[]`} {
		if a := v.control("PATCH", "knobs", body); a.status != 400 {
			t.Errorf("knobs %s: got %d, want 400", body, a.status)
		}
	}
	if a := v.connect(d, sandbox.Choice{}); a.json["expires_in"] != 60.0 {
		t.Errorf("a refused change of knobs: expires_in is %v, want 60", a.json["expires_in"])
	}
	v.box.Kill(sandbox.Twitter, "", 0)
	v.box.Expire(sandbox.Twitter)
	a = v.connect(d, sandbox.Choice{})
	if a := v.control("POST", "expire", `{"platform":"twitter"}`); a.json["ended"] != 1.0 {
		t.Errorf("expire: %d %s", a.status, a.body)
	}
	if a := v.get("https://api.x.com/2/users/me", a.text("access_token")); a.status != 401 {
		t.Errorf("an expired token: %d %s", a.status, a.body)
	}
	if a := v.control("POST", "kill", `{"platform":"twitter"}`); a.json["ended"] != 1.0 {
		t.Errorf("kill: %d %s", a.status, a.body)
	}
	if a := v.control("POST", "faults", `{"platform":"twitter","endpoint":"token","kind":"html"}`); a.status != 200 {
		t.Errorf("faults: %d %s", a.status, a.body)
	}
	if a := v.refresh(d, "any"); !strings.Contains(a.header.Get("Content-Type"), "text/html") {
		t.Errorf("the fault was not applied: %d %s", a.status, a.body)
	}
	for body, status := range map[string]int{`{"kind":"no such"}`: 400, `{"knid":"html"}`: 400} {
		if a := v.control("POST", "faults", body); a.status != status {
			t.Errorf("%s: got %d", body, a.status)
		}
	}
	r := v.form("https://x.com/", nil)
	r.URL.Path = "/_sandbox/kill"
	r.Body = io.NopCloser(bytes.NewReader(nil))
	if a := v.do(r); a.status != 415 {
		t.Errorf("a form of another web page: got %d, want 415", a.status)
	}
}
