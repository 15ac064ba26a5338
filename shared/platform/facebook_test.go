package platform_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
