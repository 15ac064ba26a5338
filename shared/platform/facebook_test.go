package platform_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

var facebookRow = rowOf("facebook")

func TestFacebook_Exchange(t *testing.T) {
	t.Run("page_tokens_do_not_expire", testFacebookExchangePageTokensDoNotExpire)
	t.Run("pages_of_a_business_portfolio", testFacebookExchangePagesOfABusinessPortfolio)
	t.Run("portfolio_fails", testFacebookExchangePortfolioFails)
	t.Run("pages_in_several_lists", testFacebookExchangePagesInSeveralLists)
	t.Run("selected_pages_alone", testFacebookExchangeSelectedPagesAlone)
	t.Run("code_refused_in_words_alone", testFacebookExchangeCodeRefusedInWordsAlone)
	t.Run("user_token_cannot_be_extended", testFacebookExchangeUserTokenCannotBeExtended)
	t.Run("lists_of_several_pages", testFacebookExchangeListsOfSeveralPages)
	t.Run("endless_lists", testFacebookExchangeEndlessLists)
	t.Run("inspection_refused", testFacebookExchangeInspectionRefused)
}

func TestFacebook_AuthorizeURL(t *testing.T) {
	t.Run("configuration_replaces_scopes", testFacebookAuthorizeURLConfigurationReplacesScopes)
}

func TestFacebook_Import(t *testing.T) {
	t.Run("user_token_of_the_explorer", testFacebookImportUserTokenOfTheExplorer)
	t.Run("page_token_expires", testFacebookImportPageTokenExpires)
	t.Run("token_cannot_be_inspected", testFacebookImportTokenCannotBeInspected)
	t.Run("fields_are_compared_with_the_page", testFacebookImportFieldsAreComparedWithThePage)
}

func TestFacebook_Revoke(t *testing.T) {
	t.Run("grant_of_the_person", testFacebookRevokeGrantOfThePerson)
}

func TestFacebook_Verify(t *testing.T) {
	t.Run("errors_become_codes", testFacebookVerifyErrorsBecomeCodes)
}

func TestFacebook_ReadNotice(t *testing.T) {
	t.Run("signed_and_forged", testFacebookReadNoticeSignedAndForged)
}

func testFacebookExchangePageTokensDoNotExpire(t *testing.T) {
	w := newWorld(t, facebookRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().RequireProof = true })
	g := w.connect()
	w.now = w.now.AddDate(0, 0, 80) // the user token expires after 60 days
	if _, err := w.platform.Verify(t.Context(), w.app, g.Credentials); err != nil {
		t.Errorf("after 80 days: %v", err)
	}
	if got, want := g.Credentials.GrantExpiresAt, w.now.AddDate(0, 0, 10); !got.Equal(want) {
		t.Errorf("data access ends %v, want %v", got, want)
	}
	for _, call := range w.box.Calls("facebook", "token") {
		if call.Method != http.MethodPost {
			t.Errorf("the app secret was sent by %s", call.Method)
		}
	}
}

func testFacebookExchangePagesOfABusinessPortfolio(t *testing.T) {
	for _, tokens := range []bool{true, false} {
		w := newWorld(t, facebookRow)
		w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().BusinessTokens = tokens })
		a := w.authorization()
		grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{InGeneral: true, Untick: []string{"business_management"}}))
		if err != nil {
			t.Fatal(err)
		}
		if got := accounts(grants); len(got) != 2 {
			t.Errorf("without business_management: %v", got)
		}
		for name, choice := range map[string]sandbox.Choice{"selected": {}, "in general": {InGeneral: true}} {
			grants, err = exchange(t.Context(), w.platform, w.app, a, w.consent(a, choice))
			if err != nil {
				t.Fatal(err)
			}
			if got := accounts(grants); len(got) != 3 || !slices.Contains(got, "200000000000003") {
				t.Errorf("rows with tokens %t, %s: the Pages are %v", tokens, name, got)
			}
		}
		// An unknown field of a business makes the whole call fail.
		if got := w.box.Calls("facebook", "businesses")[0].Query.Get("fields"); got != "id,name" {
			t.Errorf("businesses were asked for %q", got)
		}
	}
}

// A list that failed is not an empty list: the consent is completed later. One that
// the person may not see is empty.
func testFacebookExchangePortfolioFails(t *testing.T) {
	for _, endpoint := range []string{"accounts", "businesses", "owned_pages", "client_pages"} {
		for _, choice := range []sandbox.Choice{{}, {InGeneral: true}} {
			w := newWorld(t, facebookRow)
			a := w.authorization()
			// The Page of the portfolio is in the list of client_pages, the last one.
			w.box.ChangePage("200000000000003", func(p *sandbox.Page) { p.Client = true })
			w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: endpoint, Kind: sandbox.HTML})
			consented, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, choice))
			w.fails(err, connector.PlatformUnavailable, false)
			if len(consented) != 1 || consented[0].UserID == "" {
				t.Errorf("%s fails: the consent to revoke is %+v", endpoint, consented)
			}
			w.box.ClearFaults()
			if endpoint == "accounts" {
				continue
			}
			w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: endpoint, Kind: sandbox.Body, Status: 403,
				Text: `{"error":{"message":"(#200) Requires business_management permission to manage the object","type":"OAuthException","code":200}}`})
			grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, choice))
			if err != nil {
				t.Fatal(err)
			}
			// The token names the Page that no list has, unless all were granted.
			if got := slices.Contains(accounts(grants), "200000000000003"); got != (!choice.InGeneral || endpoint == "owned_pages") {
				t.Errorf("%s is refused, granted in general %t: the Pages are %v", endpoint, choice.InGeneral, accounts(grants))
			}
		}
	}
	// Every Page that the token names is in the first list.
	w := newWorld(t, facebookRow)
	a := w.authorization()
	w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "businesses", Kind: sandbox.HTML})
	grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{Pages: []string{"200000000000001"}}))
	if err != nil || len(grants) != 1 {
		t.Errorf("no Page of a portfolio is selected: got %v, error %v", accounts(grants), err)
	}
}

func testFacebookExchangePagesInSeveralLists(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	grants, err := exchange(t.Context(), graphOf(t, map[string]string{
		"oauth/access_token": `{"access_token":"test-user-token"}`,
		"me":                 `{"id":"1","name":"Test"}`,
		"me/permissions":     `{"data":[{"permission":"pages_show_list","status":"granted"},{"permission":"business_management","status":"granted"}]}`,
		"me/accounts":        `{"data":[{"id":"41","access_token":"test-41"},{"id":"42"},{"id":"43"},{"id":"44"},{"id":"45"},{"id":"46","access_token":"two\nlines"},{"id":"48"}]}`,
		"me/businesses":      `{"data":[{"id":"7"},{"id":"8"}]}`,
		"7/owned_pages":      `{"data":[{"id":"41","access_token":"test-41-again"},{"id":"42","access_token":"test-42"}]}`,
		"7/client_pages":     `{"data":[]}`,
		"8/owned_pages":      `{"error":{"message":"no","type":"OAuthException","code":200}}`,
		"8/client_pages":     `{"data":[{"id":"42"},{"id":"47","access_token":"test-47"}]}`,
		"43":                 `{"id":"43","access_token":"test-43"}`,
		"44":                 `{"id":"99","access_token":"test-99"}`,
		"45":                 `{"id":"45"}`,
		"48":                 `{"error":{"message":"This Page access token belongs to a Page that is not accessible.","type":"OAuthException","code":190}}`,
		"46":                 `{"id":"46","access_token":"two\nlines"}`,
	}), app, connector.Authorization{}, connector.NewSecret("test-code"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range grants {
		got = append(got, g.Account.ID+" "+g.Credentials.Fields.Get("page_access_token"))
	}
	if diff := cmp.Diff([]string{"41 test-41", "42 test-42", "43 test-43", "47 test-47"}, got); diff != "" {
		t.Errorf("Pages and tokens (-want +got):\n%s", diff)
	}
}

func accounts(grants []connector.Grant) []string {
	var ids []string
	for _, g := range grants {
		ids = append(ids, g.Account.ID)
	}
	return ids
}

func testFacebookExchangeSelectedPagesAlone(t *testing.T) {
	w := newWorld(t, facebookRow)
	a := w.authorization()
	grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{Pages: []string{"200000000000002"}}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"200000000000002"}, accounts(grants)); diff != "" {
		t.Error(diff)
	}
	if _, ok := grants[0].Credentials.Fields["ig_user_id"]; ok {
		t.Error("a Page without Instagram has an Instagram id")
	}
	for name, choice := range map[string]sandbox.Choice{
		"a person without Pages": {Account: "100000000000003"},
		"no Page chosen":         {Pages: []string{}},
	} {
		consented, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, choice))
		if e := w.fails(err, connector.AccessDenied, false); e.Reason != "no_page" {
			t.Errorf("%s: reason %q", name, e.Reason)
		}
		if len(consented) != 1 || consented[0].UserID == "" {
			t.Errorf("%s: the consent to revoke is %+v", name, consented)
		}
	}
	_, err = exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{Untick: []string{"pages_show_list"}}))
	if e := w.fails(err, connector.ScopeMissing, false); !slices.Contains(e.MissingScopes, "pages_show_list") {
		t.Errorf("missing scopes %v", e.MissingScopes)
	}
}

// A code that is refused without a subcode is told by the message.
func testFacebookExchangeCodeRefusedInWordsAlone(t *testing.T) {
	for _, omit := range []bool{true, false} {
		w := newWorld(t, facebookRow)
		w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().OmitCodeSubcodes = omit })
		a := w.authorization()
		code := w.consent(a, sandbox.Choice{})
		other := a
		other.RedirectURI += "/"
		_, err := exchange(t.Context(), w.platform, w.app, other, code)
		w.fails(err, connector.AppMisconfigured, false)
		if _, err := exchange(t.Context(), w.platform, w.app, a, code); err != nil {
			t.Fatal(err)
		}
		for name, refused := range map[string]connector.Secret{"used": code, "unknown": connector.NewSecret("test-code")} {
			_, err = exchange(t.Context(), w.platform, w.app, a, refused)
			if e := w.fails(err, connector.StateInvalid, false); e.Reason != "code_refused" {
				t.Errorf("%s: reason %q", name, e.Reason)
			}
		}
		code = w.consent(a, sandbox.Choice{})
		w.now = w.now.Add(11 * time.Minute)
		_, err = exchange(t.Context(), w.platform, w.app, a, code)
		w.fails(err, connector.StateInvalid, false)
	}
}

func testFacebookAuthorizeURLConfigurationReplacesScopes(t *testing.T) {
	w := newWorld(t, facebookRow)
	w.app.Extras.Set("config_id", w.box.AppOf("facebook").Extras["config_id"])
	if got := w.connect(); got.Account.ID != facebookRow.account {
		t.Errorf("got %+v", got.Account)
	}
	if asked := w.box.Calls("facebook", "authorize")[0].Query; asked.Has("scope") || !asked.Has("config_id") || asked.Get("auth_type") != "rerequest" {
		t.Errorf("asked with %v", asked)
	}
}

func testFacebookExchangeUserTokenCannotBeExtended(t *testing.T) {
	for name, test := range map[string]struct {
		configuration string
		extension     string
		code          connector.Code // empty: connected
	}{
		"of a system user":            {"test-configuration", `{"error":{"message":"no","code":190}}`, ""},
		"of a person":                 {"", `{"error":{"message":"no","code":190}}`, connector.ReauthorizationRequired},
		"because Facebook is down":    {"test-configuration", `{"error":{"message":"no","code":2}}`, connector.PlatformUnavailable},
		"because the secret is wrong": {"", `{"error":{"message":"Error validating client secret.","code":1}}`, connector.AppMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[string]string{
				"me":             `{"id":"1","name":"Test"}`,
				"me/permissions": `{"data":[{"permission":"pages_show_list","status":"granted"}]}`,
				"me/accounts":    `{"data":[{"id":"42","name":"Page","access_token":"test-page-token"}]}`,
				"debug_token":    `{"data":{"is_valid":true,"expires_at":1800000000,"data_access_expires_at":1790000000}}`,
			}
			graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
				switch {
				case path != "oauth/access_token":
					if got := r.Header.Get("Authorization"); path == "me/accounts" && got != "Bearer test-user-token" {
						t.Errorf("Pages were asked for with %q", got)
					}
					fmt.Fprint(w, answers[path])
				case r.FormValue("grant_type") == "fb_exchange_token":
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprint(w, test.extension)
				default:
					fmt.Fprint(w, `{"access_token":"test-user-token"}`)
				}
			}))
			t.Cleanup(graph.Close)
			p := find(t, "facebook", platform.Options{Endpoints: map[string]string{"https://graph.facebook.com": graph.URL}, Now: inNovember})
			app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret"), Extras: connector.Fields{}}
			app.Extras.Set("config_id", test.configuration)
			grants, err := exchange(t.Context(), p, app, connector.Authorization{}, connector.NewSecret("test-code"))
			if test.code != "" {
				// The code was redeemed and must not be sent again.
				if e := connector.AsError(err); e == nil || e.Code != test.code {
					t.Errorf("got %v, want %s", err, test.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			g := grants[0]
			if !g.Credentials.ExpiresAt.Equal(time.Unix(1800000000, 0)) || !g.Credentials.GrantExpiresAt.Equal(time.Unix(1790000000, 0)) ||
				!strings.HasPrefix(g.Warning, "page_token_expires:") {
				t.Errorf("expires %v, data access until %v, warning %q", g.Credentials.ExpiresAt, g.Credentials.GrantExpiresAt, g.Warning)
			}
		})
	}
}

func testFacebookExchangeListsOfSeveralPages(t *testing.T) {
	const pages = 250
	foreign := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the token was sent to an origin of an answer")
	}))
	t.Cleanup(foreign.Close)
	for name, cursor := range map[string]bool{"by cursor": true, "by the query of next": false} {
		t.Run(name, func(t *testing.T) {
			graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "/oauth/access_token"):
					fmt.Fprint(w, `{"access_token":"test-user-token"}`)
				case strings.HasSuffix(r.URL.Path, "/me/permissions"):
					fmt.Fprint(w, `{"data":[{"permission":"pages_show_list","status":"granted"},{"permission":"instagram_basic","status":"declined"}]}`)
				case strings.HasSuffix(r.URL.Path, "/me/accounts"):
					if q := r.URL.Query(); !strings.Contains(q.Get("fields"), "access_token") || q.Get("limit") != "100" {
						t.Errorf("rows were asked for with %v", q)
					}
					var from int
					fmt.Sscan(r.URL.Query().Get("after"), &from)
					answer := map[string]any{}
					rows := []map[string]any{}
					for i := from; i < min(from+100, pages); i++ {
						rows = append(rows, map[string]any{"id": 1000 + i, "name": "Page", "access_token": fmt.Sprintf("test-page-token-%d", i)})
					}
					answer["data"] = rows
					if after := fmt.Sprint(from + 100); from+100 < pages {
						paging := map[string]any{"next": foreign.URL + "/steal?access_token=test-user-token&after=" + after}
						if cursor {
							paging["cursors"] = map[string]string{"after": after}
						}
						answer["paging"] = paging
					}
					json.NewEncoder(w).Encode(answer)
				case strings.HasSuffix(r.URL.Path, "/me"):
					fmt.Fprint(w, `{"id":"1","name":"Test"}`)
				case strings.HasSuffix(r.URL.Path, "/debug_token"):
					fmt.Fprint(w, `{"data":{"is_valid":true}}`)
				default:
					http.NotFound(w, r)
				}
			}))
			t.Cleanup(graph.Close)
			p := find(t, "facebook", platform.Options{Endpoints: map[string]string{"https://graph.facebook.com": graph.URL}, Now: inNovember})
			app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
			grants, err := exchange(t.Context(), p, app, connector.Authorization{}, connector.NewSecret("test-code"))
			if err != nil {
				t.Fatal(err)
			}
			if len(grants) != pages || grants[249].Credentials.Fields.Get("page_access_token") != "test-page-token-249" {
				t.Errorf("got %d grants", len(grants))
			}
			if diff := cmp.Diff([]string{"pages_show_list"}, grants[0].Credentials.Scopes); diff != "" {
				t.Errorf("granted scopes (-want +got):\n%s", diff)
			}
		})
	}
}

func testFacebookExchangeEndlessLists(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	row := `,{"id":"42","access_token":"test-page-token"}`
	for rows, want := range map[int]error{5000: nil, 5001: connector.PlatformUnavailable} {
		p := graphOf(t, map[string]string{
			"oauth/access_token": `{"access_token":"test-user-token"}`,
			"me":                 `{"id":"1","name":"Test"}`,
			"me/permissions":     `{"data":[{"permission":"pages_show_list","status":"granted"}]}`,
			"me/accounts":        `{"data":[` + strings.Repeat(row, rows)[1:] + `]}`,
		})
		if _, err := exchange(t.Context(), p, app, connector.Authorization{}, connector.NewSecret("test-code")); !errors.Is(err, want) {
			t.Errorf("%d rows: %v, want %v", rows, err, want)
		}
	}
}

// userToken returns a short-lived user token, as the Graph API Explorer does.
func (w *world) userToken() string {
	w.t.Helper()
	a := w.authorization()
	response, err := http.PostForm(w.base+"/graph.facebook.com/v26.0/oauth/access_token", url.Values{
		"client_id": {w.app.ClientID}, "client_secret": {w.app.ClientSecret.Reveal()},
		"redirect_uri": {a.RedirectURI}, "code": {w.consent(a, sandbox.Choice{}).Reveal()},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		w.t.Fatal(err)
	}
	return answer.Token
}

func testFacebookImportUserTokenOfTheExplorer(t *testing.T) {
	w := newWorld(t, facebookRow)
	fields := connector.Fields{"user_access_token": connector.NewSecret(w.userToken())}
	grants, err := w.platform.Import(t.Context(), w.app, fields, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(grants) != 3 || !grants[0].Credentials.ExpiresAt.IsZero() || grants[0].Warning != "" {
		t.Errorf("got %v, expires %v, warning %q", accounts(grants), grants[0].Credentials.ExpiresAt, grants[0].Warning)
	}
	if _, kept := grants[0].Credentials.Fields["user_access_token"]; kept {
		t.Error("the credentials of a Page contain the user token")
	}
	_, err = w.platform.Import(t.Context(), w.app, fields, false)
	w.fails(err, connector.InvalidRequest, false)
	_, err = w.platform.Import(t.Context(), connector.App{}, fields, true)
	if e := w.fails(err, connector.InvalidRequest, false); !strings.Contains(e.Message, "app_id") {
		t.Errorf("without any app: %q", e.Message)
	}
	own := fields.Clone()
	own.Set("app_id", w.app.ClientID)
	own["app_secret"] = w.app.ClientSecret
	grants, err = w.platform.Import(t.Context(), connector.App{}, own, true)
	if err != nil || len(grants) != 3 || !grants[2].Credentials.Fields["app_secret"].Equal(w.app.ClientSecret) {
		t.Errorf("with an imported app: got %v, error %v", accounts(grants), err)
	}
	w.box.Kill("facebook", "", 463)
	_, err = w.platform.Import(t.Context(), w.app, fields, true)
	w.fails(err, connector.ReauthorizationRequired, false)
}

func testFacebookImportPageTokenExpires(t *testing.T) {
	w := newWorld(t, facebookRow)
	user := w.userToken()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+"/graph.facebook.com/v26.0/me/accounts?fields=id,access_token", nil)
	request.Header.Set("Authorization", "Bearer "+user)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var list struct {
		Data []struct {
			ID    string
			Token string `json:"access_token"`
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	page := connector.Fields{}
	page.Set("page_id", list.Data[0].ID)
	page.Set("page_access_token", list.Data[0].Token)
	grants, err := w.platform.Import(t.Context(), w.app, page, true)
	if err != nil {
		t.Fatal(err)
	}
	g := grants[0]
	if want := w.now.Add(90 * time.Minute); !g.Credentials.ExpiresAt.Equal(want) || !strings.HasPrefix(g.Warning, "page_token_expires:") {
		t.Errorf("expires %v, want %v; warning %q", g.Credentials.ExpiresAt, want, g.Warning)
	}
	if got := g.Credentials.Fields.Get("ig_user_id"); got != "17841400000000001" {
		t.Errorf("the Instagram account was not read: %q", got)
	}
	v, err := w.platform.Verify(t.Context(), w.app, g.Credentials)
	if err != nil || !strings.HasPrefix(v.Warning, "page_token_expires:") {
		t.Errorf("verifying: warning %q, error %v", v.Warning, err)
	}
	if _, err := w.platform.Refresh(t.Context(), w.app, g.Credentials); err != nil {
		t.Errorf("before its end: %v", err)
	}
	w.now = w.now.Add(2 * time.Hour)
	_, err = w.platform.Refresh(t.Context(), w.app, g.Credentials)
	if e := w.fails(err, connector.ReauthorizationRequired, false); e.Reason != "page_token_expired" {
		t.Errorf("after its end: reason %q", e.Reason)
	}

	for field, value := range map[string]string{"page_id": "200000000000002", "ig_user_id": "17841400000000004"} {
		w := newWorld(t, facebookRow)
		wrong := w.pasted()
		wrong.Set(field, value)
		_, err = w.platform.Import(t.Context(), w.app, wrong, true)
		if e := w.fails(err, connector.InvalidRequest, false); !strings.Contains(e.Message, field) {
			t.Errorf("another %s: %q", field, e.Message)
		}
	}
}

// graphOf simulates a Graph API with these answers, by the end of the path. It
// refuses every other request.
func graphOf(t *testing.T, answers map[string]string) connector.Platform {
	graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		answer, ok := answers[path]
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			answer = `{"error":{"message":"refused","type":"OAuthException","code":190}}`
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(graph.Close)
	return find(t, "facebook", platform.Options{Endpoints: map[string]string{"https://graph.facebook.com": graph.URL}, Now: inNovember})
}

// inNovember is a clock that stands still, because the ends of tokens are bounded.
func inNovember() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) }

func testFacebookImportTokenCannotBeInspected(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	page := connector.Fields{}
	page.Set("page_id", "42")
	page.Set("page_access_token", "test-page-token")
	answers := map[string]string{"me": `{"id":"42","name":"Page"}`, "42": `{"id":"42"}`}
	// This error refuses the app's own token, not the Page's.
	grants, err := graphOf(t, answers).Import(t.Context(), app, page, true)
	if err != nil || !strings.HasPrefix(grants[0].Warning, "expiry_unknown:") {
		t.Errorf("debug_token refused: got %+v, error %v", grants, err)
	}
	answers["debug_token"] = `{"data":{"is_valid":true,"user_id":"1/../2#3"}}`
	if grants, err := graphOf(t, answers).Import(t.Context(), app, page, true); err != nil || grants[0].UserID != "" {
		t.Errorf("a user id that cannot be one: got %+v, error %v", grants, err)
	}
	answers["debug_token"] = `{"data":{}}`
	if grants, err := graphOf(t, answers).Import(t.Context(), app, page, true); err != nil || !strings.HasPrefix(grants[0].Warning, "expiry_unknown:") {
		t.Errorf("debug_token without an answer: got %+v, error %v", grants, err)
	}
	answers["debug_token"] = `{"data":{"is_valid":false,"error":{"code":190,"message":"expired","subcode":463}}}`
	if _, err := graphOf(t, answers).Import(t.Context(), app, page, true); !errors.Is(err, connector.ReauthorizationRequired) {
		t.Errorf("a token that is not valid: %v", err)
	}
}

func testFacebookImportFieldsAreComparedWithThePage(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	page := connector.Fields{}
	page.Set("page_id", "42")
	page.Set("page_access_token", "test-page-token")
	page.Set("ig_user_id", "17841400000000001")
	answers := map[string]string{
		"me": `{"id":"42","name":"Page"}`, "42": `{"id":"42"}`,
		"debug_token": `{"data":{"is_valid":true,"user_id":"1","expires_at":0,"data_access_expires_at":1800000000,"scopes":["pages_show_list"]}}`,
	}
	grants, err := graphOf(t, answers).Import(t.Context(), app, page, true)
	if err != nil {
		t.Fatal(err)
	}
	g := grants[0]
	if g.UserID != "1" || !g.Credentials.GrantExpiresAt.Equal(time.Unix(1800000000, 0)) || !slices.Equal(g.Credentials.Scopes, []string{"pages_show_list"}) {
		t.Errorf("got %+v", g)
	}
	if got := g.Credentials.Fields.Get("ig_user_id"); got != "17841400000000001" {
		t.Errorf("an Instagram account that cannot be seen: got %q", got)
	}

	answers["debug_token"] = `{"data":{"is_valid":true,"expires_at":1798761600,"data_access_expires_at":1801440000,"scopes":["pages_show_list","pages_manage_posts"]}}`
	renewed, err := graphOf(t, answers).Refresh(t.Context(), app, g.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	if !renewed.ExpiresAt.Equal(time.Unix(1798761600, 0)) || !renewed.GrantExpiresAt.Equal(time.Unix(1801440000, 0)) || len(renewed.Scopes) != 2 {
		t.Errorf("a check returns %+v", renewed)
	}
	v, err := graphOf(t, answers).Verify(t.Context(), app, g.Credentials)
	if err != nil || len(v.Scopes) != 2 {
		t.Errorf("verifying returns %+v, error %v", v, err)
	}
	delete(answers, "debug_token")
	if renewed, err = graphOf(t, answers).Refresh(t.Context(), app, renewed); err != nil || renewed.GrantExpiresAt.IsZero() || len(renewed.Scopes) != 2 {
		t.Errorf("a check without an answer of debug_token: %+v, error %v", renewed, err)
	}
	if v, err := graphOf(t, answers).Verify(t.Context(), app, g.Credentials); err != nil || len(v.Scopes) != 1 {
		t.Errorf("verifying without debug_token returns %+v, error %v", v, err)
	}

	answers["42"] = `{"error":{"message":"no permission","code":10}}`
	if grants, err := graphOf(t, answers).Import(t.Context(), app, page, true); err != nil || grants[0].Credentials.Fields.Get("ig_user_id") == "" {
		t.Errorf("no permission to see the Instagram account: got %+v, error %v", grants, err)
	}
	answers["42"] = `{"error":{"message":"slow down","code":4}}`
	if _, err := graphOf(t, answers).Import(t.Context(), app, page, true); !errors.Is(err, connector.RateLimited) {
		t.Errorf("the lookup of the Instagram account is throttled: %v", err)
	}
	page.Set("page_id", "../1")
	if _, err := graphOf(t, answers).Import(t.Context(), app, page, false); !errors.Is(err, connector.InvalidRequest) {
		t.Errorf("an id that cannot be a Page's: %v", err)
	}
}

func testFacebookRevokeGrantOfThePerson(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	for name, test := range map[string]struct {
		userID, answer string
		want           error
	}{
		"revoked":                {"1", `{"success":true}`, nil},
		"no known person":        {"", `{"error":{"code":2}}`, nil},
		"no person's id":         {"../42", `{"error":{"code":2}}`, nil},
		"removed before":         {"1", `{"error":{"code":190,"error_subcode":458}}`, nil},
		"not visible any more":   {"1", `{"error":{"code":100,"error_subcode":33}}`, nil},
		"the app's token is not": {"1", `{"error":{"code":190}}`, connector.AppMisconfigured},
	} {
		p := graphOf(t, map[string]string{"1/permissions": test.answer, "permissions": test.answer, "/permissions": test.answer})
		if err := p.(connector.Revoker).Revoke(t.Context(), app, connector.Credentials{}, test.userID); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func testFacebookExchangeInspectionRefused(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	answers := map[string]string{
		"oauth/access_token": `{"access_token":"test-user-token"}`,
		"me":                 `{"id":"1","name":"Test"}`,
		"me/permissions":     `{"data":[{"permission":"pages_show_list","status":"granted"},{"permission":"pages_manage_posts","status":"granted"}]}`,
		"me/accounts":        `{"data":[{"id":"42","name":"Page","access_token":"test-page-token"}]}`,
		"debug_token":        `{"error":{"message":"unknown path","type":"OAuthException","code":10}}`,
	}
	run := func() ([]connector.Grant, error) {
		return exchange(t.Context(), graphOf(t, answers), app, connector.Authorization{}, connector.NewSecret("test-code"))
	}
	grants, err := run()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pages_show_list", "pages_manage_posts"}, grants[0].Credentials.Scopes); diff != "" || grants[0].UserID != "1" {
		t.Errorf("granted to %q, scopes (-want +got):\n%s", grants[0].UserID, diff)
	}
	delete(answers, "me/permissions")
	if _, err := run(); !errors.Is(err, connector.ReauthorizationRequired) {
		t.Errorf("with neither: %v", err)
	}
	for code, answer := range map[connector.Code]string{
		connector.RateLimited:             `{"error":{"message":"slow down","type":"OAuthException","code":17}}`,
		connector.PlatformUnavailable:     `{"error":{"message":"no","type":"OAuthException","code":2}}`,
		connector.ReauthorizationRequired: `{"data":{"is_valid":false,"error":{"code":190,"subcode":460,"message":"no"}}}`,
	} {
		answers["debug_token"] = answer
		if _, err := run(); !errors.Is(err, code) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func testFacebookVerifyErrorsBecomeCodes(t *testing.T) {
	graph := func(code, subcode int, more string) string {
		return fmt.Sprintf(`{"error":{"message":"canary","type":"OAuthException","code":%d,"error_subcode":%d%s}}`, code, subcode, more)
	}
	for _, test := range []struct {
		name, body string
		code       connector.Code
		reason     string
	}{
		{"expired or revoked", graph(190, 0, ""), connector.ReauthorizationRequired, ""},
		{"session gone", graph(102, 0, ""), connector.ReauthorizationRequired, ""},
		{"app removed", graph(190, 458, ""), connector.ReauthorizationRequired, "app_removed"},
		{"checkpoint", graph(190, 459, ""), connector.ReauthorizationRequired, "checkpoint"},
		// facebook/facebook-python-business-sdk#525 and mautrix/facebook#226.
		{"blocking checkpoint", graph(190, 490, ""), connector.ReauthorizationRequired, "checkpoint"},
		// gitroomhq/postiz-app#2054.
		{"checkpoint in words", `{"error":{"message":"Error validating access token: You cannot access the app till you log in to www.facebook.com and follow the instructions given.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "checkpoint"},
		{"password changed", graph(190, 460, ""), connector.ReauthorizationRequired, "password_changed"},
		{"session expired", graph(190, 463, ""), connector.ReauthorizationRequired, "expired"},
		{"not confirmed", graph(190, 464, ""), connector.ReauthorizationRequired, "user_not_confirmed"},
		{"logged out", graph(190, 467, ""), connector.ReauthorizationRequired, "logged_out"},
		{"role lost", graph(190, 492, ""), connector.ReauthorizationRequired, "role_lost"},
		{"page not granted", `{"error":{"message":"Any of the pages_read_engagement, pages_show_list or pages_messaging permission(s) must be granted before impersonating a user's page.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "page_not_granted"},
		{"the app is blocked", `{"error":{"message":"API access blocked.","type":"OAuthException","code":200}}`, connector.AppMisconfigured, "api_access_blocked"},
		// codingbadger/instant-tokens.com#27 and genxbe/kirby3-instagram#8; the code is assumed.
		{"data use checkup", `{"error":{"message":"API access disrupted. Go to the App Dashboard and complete Data Use Checkup.","type":"OAuthException","code":190}}`, connector.AppMisconfigured, "api_access_blocked"},
		// jaredhanson/passport-facebook#36 and pdaddyo/soundbounce#292.
		{"server not listed", graph(5, 0, ""), connector.AppMisconfigured, "server_not_listed"},
		// facebook/facebook-python-business-sdk#516 and facebook/facebook-java-business-sdk#438.
		{"two factors", graph(415, 1404120, ""), connector.ScopeMissing, "two_factor_required"},
		// jgorset/facepy#135 and pitchtarget/ember-cli-facebook-js-sdk#32.
		{"a token of nobody", graph(2500, 0, ""), connector.ReauthorizationRequired, ""},
		// microsoft/BotFramework-Services#36.
		{"page deleted", `{"error":{"message":"This Page access token belongs to a Page that has been deleted.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "page_not_accessible"},
		{"page not accessible", `{"error":{"message":"This Page access token belongs to a Page that is not accessible.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "page_not_accessible"},
		// geoff-maddock/events-tracker#1900: an outage that must end no connection.
		{"not visible for a while", graph(100, 33, `,"is_transient":false`), connector.ScopeMissing, "not_visible"},
		// gitroomhq/postiz-app#2068.
		{"too fast", graph(368, 1390008, ""), connector.PlatformUnavailable, "blocked_for_policy"},
		// metacpan/metacpan-web#2076.
		// snarfed/bridgy#596.
		{"no administrator", `{"error":{"message":"The user must be an administrator of the page in order to impersonate it.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "role_lost"},
		// facebookarchive/php-graph-sdk#770.
		{"app deleted, as an ended token", `{"error":{"message":"Error validating application. Application has been deleted.","type":"OAuthException","code":190}}`, connector.AppMisconfigured, ""},
		// facebook/facebook-java-business-sdk#272.
		{"person kept out", `{"error":{"message":"Cannot call API for app 1 on behalf of user 2","type":"OAuthException","code":200}}`, connector.AccessDenied, "person_excluded"},
		// ThatGuySam/facebook-live-embed-php#3.
		{"secret in a client", graph(15, 0, ""), connector.AppMisconfigured, ""},
		{"an unknown subcode of an ended token", graph(190, 1340001, ""), connector.ReauthorizationRequired, ""},
		{"app deleted", `{"error":{"message":"Error validating application. Application has been deleted.","type":"OAuthException","code":101}}`, connector.AppMisconfigured, ""},
		{"ninety days", graph(190, 493, ""), connector.ReauthorizationRequired, "data_access_expired"},
		{"other ended session", graph(190, 466, ""), connector.ReauthorizationRequired, ""},
		{"permission missing", graph(10, 0, ""), connector.ScopeMissing, ""},
		{"permission removed", graph(200, 0, ""), connector.ScopeMissing, ""},
		{"capability missing", graph(3, 0, ""), connector.ScopeMissing, ""},
		{"the last of the permissions", graph(299, 0, ""), connector.ScopeMissing, ""},
		{"unknown app", graph(101, 0, ""), connector.AppMisconfigured, ""},
		{"redirect URI of no app", graph(191, 0, ""), connector.AppMisconfigured, ""},
		{"another app's proof", `{"error":{"message":"Invalid appsecret_proof provided in the API argument","code":100}}`, connector.AppMisconfigured, ""},
		{"not visible", graph(100, 33, ""), connector.ScopeMissing, "not_visible"},
		{"outage", graph(1, 0, ""), connector.PlatformUnavailable, ""},
		{"service", graph(2, 0, ""), connector.PlatformUnavailable, ""},
		{"transient, whatever the code", graph(190, 0, `,"is_transient":true`), connector.PlatformUnavailable, ""},
		{"app throttled", graph(4, 0, ""), connector.RateLimited, ""},
		{"user throttled", graph(17, 0, ""), connector.RateLimited, ""},
		{"page throttled", graph(32, 0, ""), connector.RateLimited, ""},
		{"application limit", graph(341, 0, ""), connector.RateLimited, ""},
		{"custom limit", graph(613, 0, ""), connector.RateLimited, ""},
		{"first business limit", graph(80000, 0, ""), connector.RateLimited, ""},
		{"last business limit", graph(80014, 0, ""), connector.RateLimited, ""},
		{"no business limit", graph(80015, 0, ""), connector.PlatformUnavailable, ""},
		{"policy", graph(368, 0, ""), connector.PlatformUnavailable, "blocked_for_policy"},
		{"publishing authorization", graph(0, 1404078, ""), connector.ReauthorizationRequired, "page_publishing_authorization"},
		{"identity", graph(0, 4854002, ""), connector.PlatformUnavailable, "identity_confirmation"},
		{"publishing authorization by code", graph(1404078, 0, ""), connector.ReauthorizationRequired, "page_publishing_authorization"},
		{"identity by code", graph(4854002, 0, ""), connector.PlatformUnavailable, "identity_confirmation"},
		{"a digit more", graph(1900, 0, ""), connector.PlatformUnavailable, ""},
		{"a code in a string", `{"error":{"message":"canary","code":"190","error_subcode":"460"}}`, connector.ReauthorizationRequired, "password_changed"},
		{"no object", `{"error":"canary"}`, connector.PlatformUnavailable, ""},
	} {
		for _, status := range []int{200, 400} {
			t.Run(fmt.Sprintf("%s in %d", test.name, status), func(t *testing.T) {
				w := newWorld(t, facebookRow)
				c := w.connect().Credentials
				w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "node", Kind: sandbox.Body, Text: test.body, Status: status})
				_, err := w.platform.Verify(t.Context(), w.app, c)
				e := w.fails(err, test.code, false)
				if e.Reason != test.reason {
					t.Errorf("reason %q, want %q", e.Reason, test.reason)
				}
				if logIn := strings.Contains(e.Message, "log in on facebook.com"); logIn != (test.reason == "checkpoint") {
					t.Errorf("message asks to log in on facebook.com: %t", logIn)
				}
				if strings.Contains(err.Error(), "canary") {
					t.Errorf("the platform's words are repeated: %v", err)
				}
			})
		}
	}
	for name, test := range map[string]struct {
		body string
		code connector.Code
	}{
		"wrong secret":           {`{"error":{"message":"Error validating client secret.","code":1}}`, connector.AppMisconfigured},
		"code expired":           {graph(100, 36007, ""), connector.StateInvalid},
		"another redirect URI":   {graph(100, 36008, ""), connector.AppMisconfigured},
		"code used":              {graph(100, 36009, ""), connector.StateInvalid},
		"an outage, not the app": {graph(1, 0, ""), connector.PlatformUnavailable},
		// SocialiteProviders/Providers#659 and facebook/facebook-java-business-sdk#272.
		"person kept out": {`{"error":{"message":"Cannot call API for app 1 on behalf of user 2","type":"OAuthException","code":200}}`, connector.AccessDenied},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, facebookRow)
			a := w.authorization()
			code := w.consent(a, sandbox.Choice{})
			w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "token", Kind: sandbox.Body, Text: test.body, Status: 400})
			_, err := exchange(t.Context(), w.platform, w.app, a, code)
			w.fails(err, test.code, false)
		})
	}
}
