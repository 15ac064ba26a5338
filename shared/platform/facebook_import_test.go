package platform_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

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
