package sandbox_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

const (
	dialog = "https://www.facebook.com/v26.0/dialog/oauth"
	graph  = "https://graph.facebook.com/v26.0"
)

var facebookApp = url.Values{"client_id": {"100000000000000"}, "client_secret": {"sandbox-facebook-secret"}}

var facebookAuthorize = url.Values{
	"client_id": {"100000000000000"}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {"st"},
	"scope": {"pages_show_list,pages_read_engagement,pages_manage_posts,instagram_basic,instagram_content_publish,business_management"},
}

func (v *visit) facebookCode(choice sandbox.Choice) string {
	v.Helper()
	return v.consent(dialog, facebookAuthorize, choice).Get("code")
}

func (v *visit) short(choice sandbox.Choice) string {
	v.Helper()
	a := v.post(graph+"/oauth/access_token", with(facebookApp, "code", v.facebookCode(choice), "redirect_uri", redirectURI))
	if a.status != 200 {
		v.Fatalf("exchanging a code: %d %s", a.status, a.body)
	}
	return a.text("access_token")
}

func (v *visit) long(short string) string {
	v.Helper()
	a := v.post(graph+"/oauth/access_token", with(facebookApp, "grant_type", "fb_exchange_token", "fb_exchange_token", short))
	if a.status != 200 {
		v.Fatalf("exchanging a token: %d %s", a.status, a.body)
	}
	return a.text("access_token")
}

// rows are the data of a listing, by id.
func (v *visit) rows(a answer) map[string]map[string]any {
	v.Helper()
	var body struct{ Data []map[string]any }
	if err := json.Unmarshal([]byte(a.body), &body); a.status != 200 || err != nil {
		v.Fatalf("no listing: %d %s", a.status, a.body)
	}
	rows := map[string]map[string]any{}
	for _, row := range body.Data {
		id, _ := row["id"].(string)
		rows[id] = row
	}
	return rows
}

// graphCode is code/subcode of a Graph error.
func graphCode(a answer) string {
	e, _ := a.json["error"].(map[string]any)
	return fmt.Sprintf("%v/%v", e["code"], e["error_subcode"])
}

func (v *visit) wantGraph(a answer, code string) {
	v.Helper()
	if got := graphCode(a); a.status < 400 || got != code || !strings.Contains(a.header.Get("WWW-Authenticate"), "OAuth") {
		v.Errorf("got %d %s %s, want %s", a.status, got, a.body, code)
	}
}

func TestFacebook_Token(t *testing.T) {
	t.Run("subcodes_of_code_errors", testFacebookTokenSubcodesOfCodeErrors)
	t.Run("versions_that_ended", testFacebookTokenVersionsThatEnded)
}

func TestFacebook_Authorize(t *testing.T) {
	t.Run("dialog", testFacebookAuthorizeDialog)
}

func TestFacebook_Pages(t *testing.T) {
	t.Run("page_tokens_expire_with_the_user_token", testFacebookPagesPageTokensExpireWithTheUserToken)
	t.Run("own_pages_and_portfolio", testFacebookPagesOwnPagesAndPortfolio)
	t.Run("cursors", testFacebookPagesCursors)
	t.Run("refused_pages_and_permissions", testFacebookPagesRefusedPagesAndPermissions)
	t.Run("appsecret_proof", testFacebookPagesAppsecretProof)
	t.Run("unticked_page_of_a_portfolio", testFacebookPagesUntickedPageOfAPortfolio)
	t.Run("reduce_the_amount_of_data", testFacebookPagesReduceTheAmountOfData)
	t.Run("tasks_and_instagram_change", testFacebookPagesTasksAndInstagramChange)
	t.Run("refused_page_tokens", testFacebookPagesRefusedPageTokens)
}

func TestFacebook_DebugToken(t *testing.T) {
	t.Run("valid_and_dead_tokens", testFacebookDebugTokenValidAndDeadTokens)
	t.Run("granular_scopes", testFacebookDebugTokenGranularScopes)
}

func TestFacebook_Revoke(t *testing.T) {
	t.Run("ends_the_grant", testFacebookRevokeEndsTheGrant)
}

func TestFacebook_Notice(t *testing.T) {
	t.Run("signed_request", testFacebookNoticeSignedRequest)
}

func testFacebookTokenSubcodesOfCodeErrors(t *testing.T) {
	v := newVisit(t)
	exchange := func(code string, pairs ...string) answer {
		return v.post(graph+"/oauth/access_token", with(with(facebookApp, "code", code, "redirect_uri", redirectURI), pairs...))
	}
	code := v.facebookCode(sandbox.Choice{})
	v.wantGraph(exchange("none"), "100/36007")
	v.wantGraph(exchange(code, "redirect_uri", redirectURI+"/"), "100/36008")
	v.wantGraph(exchange(code, "client_secret", "wrong"), "1/<nil>")
	v.wantGraph(exchange(code, "client_id", "1"), "101/<nil>")
	if a := exchange(code); a.status != 200 || a.text("token_type") != "bearer" || a.json["expires_in"] != 5400.0 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	v.wantGraph(exchange(code), "100/36009")
	late := v.facebookCode(sandbox.Choice{})
	v.box.Advance(10 * time.Minute)
	v.wantGraph(exchange(late), "100/36007")
}

func testFacebookAuthorizeDialog(t *testing.T) {
	v := newVisit(t)
	redirect, err := v.box.Consent(dialog+"?"+facebookAuthorize.Encode(), sandbox.Choice{})
	if err != nil || !strings.HasSuffix(redirect, "#_=_") {
		t.Errorf("got %s, %v", redirect, err)
	}
	q := v.consent(dialog, facebookAuthorize, sandbox.Choice{Deny: true})
	if q.Get("error") != "access_denied" || q.Get("error_reason") != "user_denied" || q.Get("state") != "st" {
		t.Errorf("a denial is %v", q)
	}
	for name, real := range map[string]string{
		"spaces between scopes": dialog + "?" + with(facebookAuthorize, "scope", "pages_show_list instagram_basic").Encode(),
		"redirect URI":          dialog + "?" + with(facebookAuthorize, "redirect_uri", redirectURI+"?x=1").Encode(),
		"app":                   dialog + "?" + with(facebookAuthorize, "client_id", "1").Encode(),
		"a version that ended":  strings.Replace(dialog, "v26.0", "v20.0", 1) + "?" + facebookAuthorize.Encode(),
		"unknown configuration": dialog + "?" + with(facebookAuthorize, "scope", "", "config_id", "1").Encode(),
	} {
		if _, err := v.box.Consent(real, sandbox.Choice{}); err == nil {
			t.Errorf("%s: consent was given", name)
		}
	}
	configured := with(facebookAuthorize, "scope", "", "config_id", v.box.AppOf(sandbox.Facebook).Extras["config_id"])
	if _, err := v.box.Consent(dialog+"?"+configured.Encode(), sandbox.Choice{}); err != nil {
		t.Errorf("with config_id: %v", err)
	}
	if _, err := v.box.Consent(dialog+"?"+configured.Encode(), sandbox.Choice{Untick: []string{"instagram_basic"}}); err == nil {
		t.Error("a permission of a configuration could be refused")
	}
}

func testFacebookPagesPageTokensExpireWithTheUserToken(t *testing.T) {
	v := newVisit(t)
	short := v.short(sandbox.Choice{})
	pageOf := func(user string) string {
		token, _ := v.rows(v.get(graph+"/me/accounts", user))["200000000000001"]["access_token"].(string)
		return token
	}
	mortal, lasting := pageOf(short), pageOf(v.long(short))
	if mortal == "" || mortal == lasting {
		t.Fatal("no two page tokens")
	}
	v.box.Advance(90 * time.Minute)
	v.wantGraph(v.get(graph+"/me", mortal), "190/463")
	v.wantGraph(v.get(graph+"/me", short), "190/463")
	v.wantGraph(v.post(graph+"/oauth/access_token", with(facebookApp, "grant_type", "fb_exchange_token", "fb_exchange_token", short)), "190/463")
	v.box.Advance(80 * 24 * time.Hour)
	if a := v.get(graph+"/me", lasting); a.status != 200 || a.text("id") != "200000000000001" {
		t.Errorf("the token of a long-lived one: %d %s", a.status, a.body)
	}
	v.box.Advance(10 * 24 * time.Hour)
	v.wantGraph(v.get(graph+"/me", lasting), "190/493")
}

func testFacebookPagesOwnPagesAndPortfolio(t *testing.T) {
	v := newVisit(t)
	user := v.long(v.short(sandbox.Choice{}))
	fields := "?fields=id,name,access_token,instagram_business_account{id,username}"
	own := v.rows(v.get(graph+"/me/accounts"+fields+",tasks", user))
	if len(own) != 2 || own["200000000000003"] != nil {
		t.Errorf("got %v", own)
	}
	if ig, _ := own["200000000000001"]["instagram_business_account"].(map[string]any); ig["id"] != "17841400000000001" || ig["username"] != "sandbox_bakery" {
		t.Errorf("Instagram account is %v", ig)
	}
	businesses := v.rows(v.get(graph+"/me/businesses", user))
	if len(businesses) != 1 {
		t.Fatalf("got %v", businesses)
	}
	for business := range businesses {
		row := v.rows(v.get(graph+"/"+business+"/owned_pages"+fields, user))["200000000000003"]
		if row == nil || row["access_token"] != nil {
			t.Errorf("the row of a portfolio is %v, want it without a token", row)
		}
		if client := v.rows(v.get(graph+"/"+business+"/client_pages", user)); len(client) != 0 {
			t.Errorf("client pages: %v", client)
		}
	}
	if a := v.get(graph+"/200000000000003?fields=access_token", user); a.text("access_token") == "" {
		t.Errorf("the Page by its id: %d %s", a.status, a.body)
	}
	if a := v.get(graph+"/17841400000000001?fields=id,username", user); a.text("username") != "sandbox_bakery" {
		t.Errorf("the Instagram account by its id: %d %s", a.status, a.body)
	}
	v.wantGraph(v.get(graph+"/200000000000004", user), "100/33")
	v.wantGraph(v.get(graph+"/me/accounts?fields=shoe_size", user), "100/<nil>")
}

func testFacebookPagesCursors(t *testing.T) {
	v := newVisit(t)
	person := sandbox.Person{ID: "100000000000009", Name: "Somebody with many Pages"}
	for i := range 60 {
		person.Pages = append(person.Pages, sandbox.Page{ID: fmt.Sprintf("2100000000000%02d", i), Name: fmt.Sprint("Page ", i)})
	}
	v.box.AddPerson(sandbox.Facebook, person)
	user := v.short(sandbox.Choice{Account: person.ID})
	var ids []string
	calls := 0
	for next := graph + "/me/accounts?fields=id,name"; next != ""; calls++ {
		a := v.get(next, user)
		for id := range v.rows(a) {
			ids = append(ids, id)
		}
		paging, _ := a.json["paging"].(map[string]any)
		next, _ = paging["next"].(string)
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != 60 || calls != 3 {
		t.Errorf("got %d Pages in %d calls, want 60 in 3", len(ids), calls)
	}
	if rows := v.rows(v.get(graph+"/me/accounts?limit=500", user)); len(rows) != 60 {
		t.Errorf("limit=500 returned %d rows", len(rows))
	}
	v.wantGraph(v.get(graph+"/me/accounts?limit=-1", user), "100/<nil>")
}

func testFacebookPagesRefusedPagesAndPermissions(t *testing.T) {
	v := newVisit(t)
	user := v.short(sandbox.Choice{Pages: []string{"200000000000002"}, Untick: []string{"pages_manage_posts"}})
	if rows := v.rows(v.get(graph+"/me/accounts", user)); len(rows) != 1 || rows["200000000000002"] == nil {
		t.Errorf("got %v", rows)
	}
	permissions := func() string { return v.get(graph+"/me/permissions", user).body }
	if !strings.Contains(permissions(), `{"permission":"pages_manage_posts","status":"declined"}`) {
		t.Errorf("permissions are %s", permissions())
	}
	v.short(sandbox.Choice{})
	if !strings.Contains(permissions(), `{"permission":"pages_manage_posts","status":"declined"}`) {
		t.Error("a declined permission was granted without auth_type=rerequest")
	}
	v.consent(dialog, with(facebookAuthorize, "auth_type", "rerequest"), sandbox.Choice{})
	if !strings.Contains(permissions(), `{"permission":"pages_manage_posts","status":"granted"}`) {
		t.Errorf("after auth_type=rerequest permissions are %s", permissions())
	}
	v.consent(dialog, with(facebookAuthorize, "auth_type", "rerequest", "scope", "pages_show_list"), sandbox.Choice{})
	if !strings.Contains(permissions(), `{"permission":"pages_manage_posts","status":"granted"}`) {
		t.Errorf("after a login that asks for less, permissions are %s", permissions())
	}
}

func testFacebookPagesAppsecretProof(t *testing.T) {
	v := newVisit(t)
	user := v.short(sandbox.Choice{})
	mac := hmac.New(sha256.New, []byte("sandbox-facebook-secret"))
	mac.Write([]byte(user))
	proof := hex.EncodeToString(mac.Sum(nil))
	v.wantGraph(v.get(graph+"/me?appsecret_proof="+strings.Repeat("0", 64), user), "100/<nil>")
	v.box.Tune(func(k *sandbox.Knobs) { k.Facebook().RequireProof = true })
	v.wantGraph(v.get(graph+"/me", user), "100/<nil>")
	if a := v.get(graph+"/me?appsecret_proof="+proof, user); a.status != 200 {
		t.Errorf("with the proof: %d %s", a.status, a.body)
	}
}

func testFacebookDebugTokenValidAndDeadTokens(t *testing.T) {
	v := newVisit(t)
	debug := func(token, by string) map[string]any {
		a := v.get(graph+"/debug_token?input_token="+token, by)
		data, _ := a.json["data"].(map[string]any)
		return data
	}
	const app = "100000000000000|sandbox-facebook-secret"
	short := v.short(sandbox.Choice{Pages: []string{"200000000000001"}})
	long := v.long(short)
	page, _ := v.rows(v.get(graph+"/me/accounts", long))["200000000000001"]["access_token"].(string)
	if d := debug(page, app); d["is_valid"] != true || d["type"] != "PAGE" || d["expires_at"] != 0.0 || d["data_access_expires_at"] == 0.0 {
		t.Errorf("a page token: %v", d)
	}
	if d := debug(long, app); d["type"] != "USER" || d["expires_at"] == 0.0 || !strings.Contains(fmt.Sprint(d["granular_scopes"]), "200000000000001") {
		t.Errorf("a user token: %v", d)
	}
	if d := debug("none", app); d["is_valid"] != false {
		t.Errorf("no token at all: %v", d)
	}
	v.wantGraph(v.get(graph+"/debug_token?input_token="+long, long), "190/<nil>")
	v.box.Kill(sandbox.Facebook, "", 460)
	if d := debug(page, app); d["is_valid"] != false || !strings.Contains(fmt.Sprint(d["error"]), "460") {
		t.Errorf("after a password change: %v", d)
	}
	v.wantGraph(v.get(graph+"/me", page), "190/460")
}

func testFacebookRevokeEndsTheGrant(t *testing.T) {
	v := newVisit(t)
	user := v.short(sandbox.Choice{})
	if a := v.do(v.request("DELETE", graph+"/100000000000001/permissions", user)); a.json["success"] != true {
		t.Errorf("got %d %s", a.status, a.body)
	}
	v.wantGraph(v.get(graph+"/me", user), "190/458")
	other := v.short(sandbox.Choice{Account: "100000000000002"})
	if a := v.do(v.request("DELETE", graph+"/100000000000002/permissions", "100000000000000|sandbox-facebook-secret")); a.json["success"] != true {
		t.Errorf("with the app's token: %d %s", a.status, a.body)
	}
	v.wantGraph(v.get(graph+"/me", other), "190/458")
}

func testFacebookTokenVersionsThatEnded(t *testing.T) {
	v := newVisit(t)
	user := v.short(sandbox.Choice{})
	for version, status := range map[string]int{"v26.0": 200, "v21.0": 200, "v20.0": 400, "v27.0": 400, "latest": 400} {
		if a := v.get("https://graph.facebook.com/"+version+"/me", user); a.status != status {
			t.Errorf("%s: got %d, want %d", version, a.status, status)
		}
	}
}

func testFacebookNoticeSignedRequest(t *testing.T) {
	v := newVisit(t)
	signature, payload, _ := strings.Cut(v.box.SignedRequest("100000000000001"), ".")
	mac := hmac.New(sha256.New, []byte("sandbox-facebook-secret"))
	mac.Write([]byte(payload))
	if signature != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
		t.Error("the signature is invalid")
	}
	decoded, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || !strings.Contains(string(decoded), `"user_id":"100000000000001"`) {
		t.Errorf("the payload is %s, %v", decoded, err)
	}
}

func testFacebookPagesUntickedPageOfAPortfolio(t *testing.T) {
	v := newVisit(t)
	v.box.Tune(func(k *sandbox.Knobs) { k.Facebook().BusinessTokens = true })
	user := v.short(sandbox.Choice{Pages: []string{"200000000000001"}})
	row := v.rows(v.get(graph+"/300000000000001/owned_pages?fields=id,name,access_token", user))["200000000000003"]
	if row["name"] != "Sandbox Gallery" || row["access_token"] != nil {
		t.Errorf("the row of a Page that was not ticked is %v", row)
	}
	v.wantGraph(v.get(graph+"/200000000000003?fields=access_token", user), "100/33")
	v.wantGraph(v.get(graph+"/300000000000001/owned_pages?fields=id,tasks", user), "100/<nil>")
}

func testFacebookPagesReduceTheAmountOfData(t *testing.T) {
	v := newVisit(t)
	v.box.Tune(func(k *sandbox.Knobs) { k.Facebook().MaxRows = 1 })
	user := v.short(sandbox.Choice{})
	if a := v.get(graph+"/me/accounts?limit=2", user); a.status != 500 || graphCode(a) != "1/<nil>" || !strings.Contains(a.body, "reduce the amount of data") {
		t.Errorf("two rows: %d %s", a.status, a.body)
	}
	if rows := v.rows(v.get(graph+"/me/accounts?limit=1", user)); len(rows) != 1 {
		t.Errorf("one row: %v", rows)
	}
}

func testFacebookPagesTasksAndInstagramChange(t *testing.T) {
	v := newVisit(t)
	user := v.long(v.short(sandbox.Choice{}))
	v.box.ChangePage("200000000000002", func(p *sandbox.Page) {
		p.Tasks, p.InstagramID = []string{"ANALYZE"}, "17841400000000002"
	})
	row := v.rows(v.get(graph+"/me/accounts?fields=id,tasks,instagram_business_account", user))["200000000000002"]
	if got := fmt.Sprint(row["tasks"], row["instagram_business_account"]); got != "[ANALYZE] map[id:17841400000000002]" {
		t.Errorf("the changed Page has %s", got)
	}
	// The person selected the accounts before this one was linked.
	v.wantGraph(v.get(graph+"/17841400000000002", user), "10/<nil>")
}

func testFacebookPagesRefusedPageTokens(t *testing.T) {
	v := newVisit(t)
	user := v.long(v.short(sandbox.Choice{}))
	token := func(id string) string {
		text, _ := v.rows(v.get(graph+"/me/accounts", user))[id]["access_token"].(string)
		return text
	}
	bakery, cycles := token("200000000000001"), token("200000000000002")
	v.box.ChangePage("200000000000001", func(p *sandbox.Page) { p.RoleLost = true })
	v.wantGraph(v.get(graph+"/me", bakery), "190/492")
	v.short(sandbox.Choice{Pages: []string{"200000000000001"}})
	if a := v.get(graph+"/me", cycles); graphCode(a) != "190/<nil>" || !strings.Contains(a.body, "before impersonating a user's page") {
		t.Errorf("a Page that is not ticked any more: %d %s", a.status, a.body)
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.Facebook().Blocked = true })
	if a := v.get(graph+"/me", user); a.status != 400 || graphCode(a) != "200/<nil>" || !strings.Contains(a.body, "API access blocked.") {
		t.Errorf("a blocked app: %d %s", a.status, a.body)
	}
}

func testFacebookDebugTokenGranularScopes(t *testing.T) {
	v := newVisit(t)
	granular := func(choice sandbox.Choice) map[string]string {
		a := v.get(graph+"/debug_token?input_token="+v.short(choice), "100000000000000|sandbox-facebook-secret")
		var body struct {
			Data struct {
				Granular []struct {
					Scope   string
					Targets []string `json:"target_ids"`
				} `json:"granular_scopes"`
			}
		}
		if err := json.Unmarshal([]byte(a.body), &body); err != nil {
			t.Fatal(err)
		}
		targets := map[string]string{}
		for _, g := range body.Data.Granular {
			targets[g.Scope] = fmt.Sprint(g.Targets, g.Targets == nil)
		}
		return targets
	}
	got := granular(sandbox.Choice{
		PageUntick: map[string][]string{"200000000000002": {"pages_manage_posts"}},
		Instagram:  []string{},
	})
	for scope, want := range map[string]string{
		"pages_show_list":     "[200000000000001 200000000000002 200000000000003] false",
		"pages_manage_posts":  "[200000000000001 200000000000003] false",
		"instagram_basic":     "[] false",
		"business_management": "[300000000000001] false",
	} {
		if got[scope] != want {
			t.Errorf("%s is granted for %s, want %s", scope, got[scope], want)
		}
	}
	for scope, got := range granular(sandbox.Choice{InGeneral: true}) {
		if got != "[] true" {
			t.Errorf("granted in general, %s has the targets %s", scope, got)
		}
	}
	v.box.AddPerson(sandbox.Facebook, sandbox.Person{ID: "100000000000008", Name: "Without Instagram", Pages: []sandbox.Page{{ID: "200000000000008"}}})
	if got := granular(sandbox.Choice{Account: "100000000000008"})["instagram_basic"]; got != "[] true" {
		t.Errorf("a person without Instagram has the targets %s", got)
	}
}
