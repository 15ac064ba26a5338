package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// accountsOf counts the accounts of each platform's first person.
var accountsOf = func() map[string]int {
	counts := map[string]int{}
	box := sandbox.New(sandbox.Options{})
	for _, name := range sandbox.Platforms() {
		counts[name] = max(1, len(box.People(name)[0].Pages))
	}
	return counts
}()

// TestStory runs each story on a local stack of its own: the real functions, the
// embedded AWS and the sandbox platforms.
func TestStory(t *testing.T) {
	t.Parallel()
	for _, story := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"connect_and_get_a_token", connectAndGetToken},
		{"person_denies_consent", denyConsent},
		{"state_works_once_and_in_its_browser", useStateOnce},
		{"link_works_once", useLinkOnce},
		{"reauthorization_accepts_only_the_same_account", reauthorizeSameAccount},
		{"revoked_grant_is_reauthorized", reauthorizeRevokedGrant},
		{"expired_tokens_are_refreshed_and_rotated", refreshExpiredTokens},
		{"50_callers_of_one_expired_token", getExpiredTokenConcurrently},
		{"platform_outage", surviveOutage},
		{"import_and_export_of_each_shape", importAndExport},
		{"import_of_a_facebook_user_token", importUserToken},
		{"full_credentials_are_refused_by_default", refuseFullCredentials},
		{"sign_in_place_of_keys", signInPlaceOfKeys},
		{"list_with_a_cursor", listWithCursor},
		{"disconnect", disconnectEachPlatform},
		{"data_deletion_of_a_person", erasePerson},
		{"data_deletion_before_a_confirmed_consent_is_completed", eraseConfirmed},
		{"purge_during_a_refresh", purgeDuringRefresh},
		{"due_connection_is_refreshed_through_the_queue", refreshThroughQueue},
		{"no_secret_in_the_table", findNoSecretInTable},
		{"start_page", useStartPage},
		{"external_platforms_and_aws", useExternalPlatforms},
		{"no_connection_before_confirmation", confirmConsent},
		{"50_confirmations_at_once", confirmConcurrently},
		{"caller_is_confined_to_its_owners", confineCaller},
		{"suspension_reaches_every_process_in_two_seconds", suspendWithinTwoSeconds},
		{"link_is_asked_and_ended", askAndEndLinks},
		{"10_tabs_of_one_link_at_once", useLinkConcurrently},
		{"60_starts_at_once_within_a_budget", holdBudgets},
		{"145_authorizations_in_one_browser", openManyAuthorizations},
		{"functions_are_listed_and_their_log_is_returned", useLambdaAPI},
	} {
		t.Run(story.name, func(t *testing.T) {
			t.Parallel()
			story.run(t)
		})
	}
}

func connectAndGetToken(t *testing.T) {
	w := newWorld(t, nil)
	for platform, accounts := range accountsOf {
		ids := w.connect(platform, "acme", sandbox.Choice{})
		if len(ids) != accounts {
			t.Errorf("%s: %d connections, want %d", platform, len(ids), accounts)
		}
		for _, id := range ids {
			c := w.must("GET", "/connections/"+id, nil)
			if c["status"] != "active" || c["owner"] != "acme" || c["account_id"] == "" || c["account_name"] == "" {
				t.Errorf("%s: connection is %v", platform, c)
			}
			byRoute := w.must("GET", "/connections/"+id+"/token", nil)
			byInvoke := w.token(object{"owner": "acme", "platform": platform, "account_id": c["account_id"]})
			if diff := cmp.Diff(byRoute, byInvoke); diff != "" {
				t.Errorf("%s: the route and the invocation return different tokens:\n%s", platform, diff)
			}
			if v := w.must("POST", "/connections/"+id+"/verify", nil); v["ok"] != true || v["account_id"] != c["account_id"] {
				t.Errorf("%s: verification is %v", platform, v)
			}
			if refreshed := w.must("POST", "/connections/"+id+"/refresh", object{}); refreshed["status"] != "active" {
				t.Errorf("%s: refreshed connection is %v", platform, refreshed)
			}
		}
		t.Logf("%s: connected, token, verified, refreshed", platform)
		again := w.connect(platform, "acme", sandbox.Choice{})
		slices.Sort(ids)
		slices.Sort(again)
		if !slices.Equal(ids, again) {
			t.Errorf("%s: a second consent created other connections: %v, then %v", platform, ids, again)
		}
	}
	if _, errorType := w.invoke("token-get", object{"owner": "acme", "platform": "facebook"}); errorType != "AmbiguousConnection" {
		t.Errorf("several Pages: %s, want AmbiguousConnection", errorType)
	}
	if _, errorType := w.invoke("token-get", object{"owner": "unknown", "platform": "facebook"}); errorType != "ConnectionNotFound" {
		t.Errorf("another owner: %s, want ConnectionNotFound", errorType)
	}
}

func denyConsent(t *testing.T) {
	w := newWorld(t, nil)
	for platform := range accountsOf {
		if query := w.consent(object{"platform": platform, "owner": "acme"}, sandbox.Choice{Deny: true}); query.Get("error") != "AccessDenied" {
			t.Errorf("%s: %v, want AccessDenied", platform, query)
		}
	}
	if list := w.must("GET", "/connections", nil); len(list["connections"].([]any)) != 0 {
		t.Errorf("connections after a denied consent: %v", list)
	}
}

func useStateOnce(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	callback := b.authorize(w.link(object{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})

	if status, _ := w.browser().visit(callback); status != http.StatusBadRequest {
		t.Errorf("another browser: %d, want 400", status)
	}
	if status, _ := b.visit(strings.Replace(callback, "/youtube/", "/tiktok/", 1)); status != http.StatusBadRequest {
		t.Errorf("another platform's callback: %d, want 400", status)
	}
	first := b.followCallback(callback)
	if first.Get("status") != "connected" {
		t.Errorf("the browser of the state: %v", first)
	}
	if again := b.followCallback(callback); again.Encode() != first.Encode() {
		t.Errorf("the callback again: %v, want %v", again, first)
	}
	if status, _ := w.browser().visit(callback); status != http.StatusBadRequest {
		t.Errorf("another browser afterwards: %d, want 400", status)
	}
	if n := w.box.Count("youtube", "token"); n != 1 {
		t.Errorf("%d calls at the token endpoint, want 1", n)
	}
	w.secrets.add("a made-up state", "made-up-state-of-43-characters-0123456789-ab")
	if status, _ := b.visit(w.s.servers.front.url + "/oauth/youtube/callback?code=x&state=made-up-state-of-43-characters-0123456789-ab"); status != http.StatusBadRequest {
		t.Errorf("unknown state: %d, want 400", status)
	}
}

func useLinkOnce(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	link := w.link(object{"platform": "tiktok", "owner": "acme"})
	if query := b.followCallback(b.authorize(link, sandbox.Choice{})); query.Get("status") != "connected" {
		t.Fatalf("connecting: %v", query)
	}
	if status, _ := b.visit(link); status != http.StatusGone {
		t.Errorf("a used link: %d, want 410", status)
	}
	if status, _ := b.visit(w.s.servers.front.url + "/connect/unknown"); status != http.StatusGone {
		t.Errorf("an unknown link: %d, want 410", status)
	}
}

func reauthorizeSameAccount(t *testing.T) {
	w := newWorld(t, nil)
	id := w.connect("youtube", "acme", sandbox.Choice{})[0]
	before := w.must("GET", "/connections/"+id, nil)
	other := w.box.People("youtube")[1].ID
	link := object{"platform": "youtube", "owner": "acme", "connection_id": id}
	if query := w.consent(link, sandbox.Choice{Account: other}); query.Get("error") != "AccountMismatch" {
		t.Errorf("another account: %v, want AccountMismatch", query)
	}
	if diff := cmp.Diff(before, w.must("GET", "/connections/"+id, nil)); diff != "" {
		t.Errorf("the connection changed:\n%s", diff)
	}
	if query := w.consent(link, sandbox.Choice{}); query.Get("connection_id") != id {
		t.Errorf("the same account: %v, want %s", query, id)
	}
	w.token(object{"connection_id": id})
}

func reauthorizeRevokedGrant(t *testing.T) {
	w := newWorld(t, nil)
	for platform := range accountsOf {
		id := w.connect(platform, "acme", sandbox.Choice{})[0]
		w.box.Kill(platform, "", 0)
		if _, errorType := w.invoke("token-get", object{"connection_id": id, "force_refresh": true}); errorType != "ReauthorizationRequired" {
			t.Errorf("%s: %s, want ReauthorizationRequired", platform, errorType)
		}
		if c := w.must("GET", "/connections/"+id, nil); c["status"] != "needs_reauth" {
			t.Errorf("%s: status is %v", platform, c["status"])
		}
		query := w.consent(object{"platform": platform, "owner": "acme", "connection_id": id}, sandbox.Choice{})
		if !slices.Contains(query["connection_id"], id) {
			t.Fatalf("%s: reauthorizing: %v", platform, query)
		}
		w.token(object{"connection_id": id})
	}
}

func refreshExpiredTokens(t *testing.T) {
	w := newWorld(t, nil)
	w.box.Tune(func(k *sandbox.Knobs) {
		k.YouTube().AccessSeconds, k.Twitter().AccessSeconds, k.TikTok().AccessSeconds = 2, 2, 2
	})
	ids := map[string]string{}
	for _, platform := range []string{"youtube", "twitter", "tiktok"} {
		ids[platform] = w.connect(platform, "acme", sandbox.Choice{})[0]
	}
	w.box.Tune(func(k *sandbox.Knobs) {
		k.YouTube().AccessSeconds, k.Twitter().AccessSeconds, k.TikTok().AccessSeconds = 3600, 7200, 7200
	})
	for platform, id := range ids {
		w.waitForExpiry(id)
		second := w.token(object{"connection_id": id})
		third := w.token(object{"connection_id": id})
		if expiresAt, err := time.Parse(time.RFC3339, second["expires_at"].(string)); err != nil || time.Until(expiresAt) < 5*time.Minute {
			t.Errorf("%s: the token expires at %v", platform, second["expires_at"])
		}
		if second["access_token"] != third["access_token"] {
			t.Errorf("%s: a valid token was refreshed", platform)
		}
		if n := w.box.Count(platform, "token/refresh_token"); n != 1 {
			t.Errorf("%s: %d refreshes, want 1", platform, n)
		}
		// The second refresh succeeds only with the refresh token that the first
		// one returned.
		if c := w.must("POST", "/connections/"+id+"/refresh", nil); c["status"] != "active" || c["last_refreshed_at"] == nil {
			t.Errorf("%s: refreshed connection is %v", platform, c)
		}
		w.token(object{"connection_id": id})
	}
}

func getExpiredTokenConcurrently(t *testing.T) {
	w := newWorld(t, nil)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 1 })
	id := w.connect("twitter", "acme", sandbox.Choice{})[0]
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 7200 })
	w.waitForExpiry(id)

	var callers sync.WaitGroup
	tokens := make(chan string, 50)
	for range 50 {
		callers.Go(func() {
			answer, errorType := w.invoke("token-get", object{"connection_id": id})
			if errorType != "" {
				t.Errorf("token-get: %v", answer)
				return
			}
			token, _ := answer["access_token"].(string)
			tokens <- token
		})
	}
	callers.Wait()
	close(tokens)
	answers, different := 0, map[string]bool{}
	for token := range tokens {
		answers++
		different[token] = true
	}
	if answers != 50 || len(different) != 1 {
		t.Errorf("%d answers with %d tokens, want 50 answers with one token", answers, len(different))
	}
	if n := w.box.Count("twitter", "token/refresh_token"); n != 1 {
		t.Errorf("%d refreshes at the platform, want 1", n)
	}
}

func surviveOutage(t *testing.T) {
	w := newWorld(t, nil)
	id := w.connect("youtube", "acme", sandbox.Choice{})[0]
	w.box.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Outage, Times: -1})
	w.expectError(http.StatusServiceUnavailable, "PlatformUnavailable", "POST", "/connections/"+id+"/refresh", nil)
	if got := w.token(object{"connection_id": id, "force_refresh": true}); got["degraded"] != true {
		t.Errorf("degraded is %v, want true: the old token is still valid", got["degraded"])
	}
	if query := w.consent(object{"platform": "youtube", "owner": "other"}, sandbox.Choice{}); query.Get("error") != "PlatformUnavailable" {
		t.Errorf("connecting during the outage: %v, want PlatformUnavailable", query)
	}
	if c := w.must("GET", "/connections/"+id, nil); c["status"] != "active" {
		t.Errorf("status after an outage is %v, want active", c["status"])
	}
}

// fullCredentials returns all fields of the credentials of a connection.
func (w *world) fullCredentials(id string) object {
	w.t.Helper()
	answer, errorType := w.invoke("token-get", object{"connection_id": id, "full": true})
	if errorType != "" {
		w.t.Fatalf("token-get with full: %v", answer)
	}
	credentials, _ := answer["credentials"].(object)
	return credentials
}

func importAndExport(t *testing.T) {
	w := newWorld(t, map[string]string{config.AllowFullCredentials: "true"})
	shapes := map[string][]string{
		"facebook":  {"app_id", "app_secret", "page_id", "page_access_token", "ig_user_id"},
		"instagram": {"client_id", "client_secret", "ig_user_id", "access_token", "token_expiry"},
		"youtube":   {"client_id", "client_secret", "access_token", "refresh_token", "token_expiry"},
		"twitter":   {"client_id", "client_secret", "access_token", "refresh_token", "token_expiry"},
		"tiktok":    {"client_key", "client_secret", "open_id", "access_token", "refresh_token", "token_expiry", "refresh_token_expiry"},
	}
	for platform, fields := range shapes {
		// Two owners cannot share a refresh token that works once: the first one gives it
		// up. The other owner's connection of the person keeps it from being revoked.
		w.connect(platform, "other", sandbox.Choice{})
		id := w.connect(platform, "first", sandbox.Choice{})[0]
		credentials := w.fullCredentials(id)
		w.must("DELETE", "/connections/"+id, nil)
		w.importAndCompare(platform, fields, credentials)
	}
	key := w.box.UserKeys()[0]
	app := w.box.AppOf("twitter")
	w.importAndCompare("twitter", []string{"api_key", "api_secret", "bearer_token", "access_token", "access_token_secret"}, object{
		"api_key": app.Extras["api_key"], "api_secret": app.Extras["api_secret"], "bearer_token": app.Extras["bearer_token"],
		"access_token": key.AccessToken, "access_token_secret": key.AccessTokenSecret,
	})
}

// importAndCompare imports credentials for a new owner, exports them again, and
// compares both.
func (w *world) importAndCompare(platform string, fields []string, credentials object) {
	w.t.Helper()
	owner := fmt.Sprint("importer of ", len(credentials), platform)
	imported := w.must("POST", "/connections", object{"platform": platform, "owner": owner, "credentials": credentials})
	connections, _ := imported["connections"].([]any)
	if len(connections) != 1 {
		w.t.Fatalf("%s: imported %v", platform, imported)
	}
	id, _ := connections[0].(object)["id"].(string)
	exported := w.fullCredentials(id)
	if diff := cmp.Diff(credentials, exported); diff != "" {
		w.t.Errorf("%s: credentials (-imported +exported):\n%s", platform, diff)
	}
	for _, field := range fields {
		if exported[field] == nil || exported[field] == "" {
			w.t.Errorf("%s: %s is missing", platform, field)
		}
	}
	if len(exported) != len(fields) {
		w.t.Errorf("%s: %d fields, want %d", platform, len(exported), len(fields))
	}
	w.token(object{"connection_id": id})
}

func importUserToken(t *testing.T) {
	w := newWorld(t, nil)
	w.connect("facebook", "first", sandbox.Choice{})
	var userToken string
	for _, call := range w.box.Calls("facebook", "token") {
		for _, values := range []url.Values{call.Form, call.Query} {
			if values.Get("fb_exchange_token") != "" {
				userToken = values.Get("fb_exchange_token")
			}
		}
	}
	imported := w.must("POST", "/connections", object{"platform": "facebook", "owner": "second", "credentials": object{"user_access_token": userToken}})
	if connections, _ := imported["connections"].([]any); len(connections) != 3 {
		t.Errorf("imported %v, want a connection for each of 3 Pages", imported)
	}
	w.expectError(http.StatusBadRequest, "InvalidRequest", "POST", "/connections", object{"platform": "facebook", "owner": "second", "credentials": object{"surprise": "x"}})
}

func refuseFullCredentials(t *testing.T) {
	w := newWorld(t, nil)
	id := w.connect("youtube", "acme", sandbox.Choice{})[0]
	if answer, errorType := w.invoke("token-get", object{"connection_id": id, "full": true}); errorType != "InvalidRequest" {
		t.Errorf("full: %v, want InvalidRequest", answer)
	}
	plain, _ := json.Marshal(w.token(object{"connection_id": id}))
	for _, secret := range []string{"refresh_token", "client_secret", w.box.AppOf("youtube").ClientSecret} {
		if strings.Contains(string(plain), secret) {
			t.Errorf("token-get returns %s", secret)
		}
	}
}

func listWithCursor(t *testing.T) {
	w := newWorld(t, nil)
	want := map[string]bool{}
	for i := range 7 {
		id := w.connect("tiktok", fmt.Sprint("owner ", i), sandbox.Choice{})[0]
		want[id] = true
	}
	got, cursor, pages := map[string]bool{}, "", 0
	for {
		page := w.must("GET", "/connections?limit=3&cursor="+url.QueryEscape(cursor), nil)
		pages++
		connections, _ := page["connections"].([]any)
		if len(connections) > 3 {
			t.Errorf("a page has %d connections, want 3 at most", len(connections))
		}
		for _, c := range connections {
			got[c.(object)["id"].(string)] = true
		}
		if cursor, _ = page["next_cursor"].(string); cursor == "" || pages > 10 {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	one := w.must("GET", "/connections?owner=owner+3", nil)
	if connections, _ := one["connections"].([]any); len(connections) != 1 {
		t.Errorf("connections of one owner: %v", one)
	}
}

func disconnectEachPlatform(t *testing.T) {
	w := newWorld(t, nil)
	for platform := range accountsOf {
		id := w.connect(platform, "acme", sandbox.Choice{})[0]
		w.must("DELETE", "/connections/"+id, nil)
		if _, errorType := w.invoke("token-get", object{"connection_id": id}); errorType == "" {
			t.Errorf("%s: token-get returns a token after the disconnect", platform)
		}
		if status, c := w.do("GET", "/connections/"+id, nil); status == http.StatusOK && c["status"] != "disconnected" {
			t.Errorf("%s: status is %v", platform, c["status"])
		}
	}
}

func refreshThroughQueue(t *testing.T) {
	w := newWorld(t, nil, func(o *options) { o.refreshEvery = time.Second })
	w.box.Tune(func(k *sandbox.Knobs) { k.TikTok().AccessSeconds = 3 })
	id := w.connect("tiktok", "acme", sandbox.Choice{})[0]
	w.box.Tune(func(k *sandbox.Knobs) { k.TikTok().AccessSeconds = 7200 })
	waitFor(t, "the worker to refresh the connection", func() bool {
		return w.must("GET", "/connections/"+id, nil)["last_refreshed_at"] != nil
	})
	if n := w.box.Count("tiktok", "token/refresh_token"); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
	// The event is sent after the record is written.
	waitFor(t, "the terminal to show the event", func() bool {
		return strings.Contains(w.output.String(), "Connection Refreshed, active")
	})
}

func findNoSecretInTable(t *testing.T) {
	w := newWorld(t, nil)
	for platform := range accountsOf {
		w.connect(platform, "acme", sandbox.Choice{})
	}
	w.link(object{"platform": "youtube", "owner": "acme"})
	client := dynamodb.NewFromConfig(newCloud(w.s.settings, w.s.endpoint).config)
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("platform-connector")})
	if err != nil {
		t.Fatal(err)
	}
	items, err := json.Marshal(out.Items)
	if err != nil {
		t.Fatal(err)
	}
	table := string(items)
	if len(out.Items) < 6 || !strings.Contains(table, "acme") {
		t.Fatalf("the table has %d items", len(out.Items))
	}
	for _, secret := range w.box.Secrets() {
		if strings.Contains(table, secret) {
			t.Error("the table contains a secret of the sandbox")
		}
	}
	for value, name := range w.secrets.names {
		if strings.Contains(table, value) {
			t.Errorf("the table contains %s", name)
		}
	}
}

func useStartPage(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	press := func(path string, form url.Values) (location string) {
		t.Helper()
		response, err := b.client.PostForm(w.s.servers.front.url+path, form)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s answers %s", path, response.Status)
		}
		return response.Header.Get("Location")
	}
	page := func(path string) string {
		t.Helper()
		response, err := b.client.Get(w.s.servers.front.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	expectWords := func(page string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(page, word) {
				t.Errorf("the page lacks %q:\n%s", word, page)
			}
		}
	}

	expectWords(page("/"), "None yet", "YouTube", "X (Twitter)", "app configured (live)", "Guide", "/oauth/tiktok/callback")
	link := press("/local/connect", url.Values{"platform": {"youtube"}, "owner": {"me"}})
	w.secrets.add("a connect link", link[strings.LastIndex(link, "/")+1:])
	_, home := b.visit(b.authorize(link, sandbox.Choice{}))
	if !strings.HasPrefix(home, w.s.servers.front.url+"/?") {
		t.Fatalf("the return URL of the consent is %q", home)
	}
	connected := page(strings.TrimPrefix(home, w.s.servers.front.url))
	expectWords(connected, "1 account connected.", "Sandbox Channel One", "Get token", "Disconnect")

	id := queryOf(home, "connection_id")
	expectWords(page(press("/local/connections/"+id+"/token", nil)), "Token handed out for Sandbox Channel One: Bearer", "not shown", "good for")
	expectWords(page(press("/local/connections/"+id+"/verify", nil)), "Verified: the platform answered for Sandbox Channel One.")
	expectWords(page(press("/local/connections/"+id+"/refresh", nil)), "Refreshed: Sandbox Channel One.")
	again := press("/local/connections/"+id+"/reconnect", nil)
	_, home = b.visit(b.authorize(again, sandbox.Choice{Deny: true}))
	expectWords(page(strings.TrimPrefix(home, w.s.servers.front.url)), "Not connected: access was declined, or there was nothing to connect (AccessDenied).")
	expectWords(page(press("/local/connections/"+id+"/disconnect", nil)), "Disconnected.", "None yet")
	expectWords(page("/?error=%3Cscript%3E"), "None yet")
	if strings.Contains(page("/?error=%3Cscript%3E"), "Not connected") {
		t.Error("the page repeats the error of the query")
	}
}

func useExternalPlatforms(t *testing.T) {
	external := newWorld(t, nil)
	endpoints, err := json.Marshal(sandbox.Endpoints(external.s.sandboxURL()))
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	file, ready := filepath.Join(directory, "endpoints.json"), filepath.Join(directory, "ready.json")
	if err := os.WriteFile(file, endpoints, 0o644); err != nil {
		t.Fatal(err)
	}
	// The AWS of the first stack is external too.
	w := newWorld(t, map[string]string{config.AWSEndpointURL: external.s.servers.aws.url}, func(o *options) {
		o.platformEndpoints, o.readyFile = file, ready
	})
	if w.box != nil {
		t.Error("a sandbox was started")
	}
	b, err := os.ReadFile(ready)
	if err != nil {
		t.Fatal(err)
	}
	var urls map[string]string
	if err := json.Unmarshal(b, &urls); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"addr": w.s.servers.front.url, "aws": w.s.servers.aws.url, "sandbox": ""}
	if diff := cmp.Diff(want, urls); diff != "" {
		t.Errorf("ready file (-want +got):\n%s", diff)
	}
	if response, err := http.Get(w.s.servers.aws.url + "/"); err != nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("an embedded AWS answers: %v, %v", response, err)
	}
	// Both stacks use one table, which has the app that the first stack stored.
	if p := w.must("GET", "/platforms/youtube", nil); p["app_configured"] != true {
		t.Errorf("the external AWS is not used: %v", p)
	}
	w.box = external.box
	external.box.SetRedirectURIs("youtube", w.s.servers.front.url+"/oauth/youtube/callback")
	w.token(object{"connection_id": w.connect("youtube", "acme", sandbox.Choice{})[0]})
}

func TestStart(t *testing.T) {
	t.Parallel()
	directory, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "endpoints.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	httpEndpoints := write(`{"https://api.x.com":"http://sandbox.example.com"}`)
	doubled := write(`{"https://api.x.com":"http://127.0.0.1:1","https://api.x.com":"https://sandbox.example.com"}`)
	for name, c := range map[string]struct {
		change func(*options)
		want   string
	}{
		"address_that_is_not_loopback":    {func(o *options) { o.addr = "0.0.0.0:0" }, "not on loopback"},
		"missing_endpoints_file":          {func(o *options) { o.platformEndpoints = "nowhere.json" }, "nowhere.json"},
		"endpoints_file_with_http":        {func(o *options) { o.platformEndpoints = httpEndpoints }, `PLATFORM_ENDPOINTS: the value of "https://api.x.com" uses http`},
		"endpoints_file_with_a_key_twice": {func(o *options) { o.platformEndpoints = doubled }, `PLATFORM_ENDPOINTS: "https://api.x.com" is named twice`},
		"caller_twice": {func(o *options) {
			o.getenv = lookup(map[string]string{config.CallerOwners: `{"*":["*"],"*":["acme"]}`})
		}, `CALLER_OWNERS: "*" is named twice`},
		"invalid_variable": {func(o *options) { o.getenv = lookup(map[string]string{config.ReturnOrigins: "ftp://x"}) }, `RETURN_ORIGINS: "ftp://x" is not an http or https origin`},
		"port_in_use":      {func(o *options) { o.sandbox = listener.Addr().String() }, "-sandbox: " + listener.Addr().String() + " is in use"},
		"unreachable_aws":  {func(o *options) { o.getenv = lookup(map[string]string{config.AWSEndpointURL: "http://127.0.0.1:1"}) }, "preparing AWS at http://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			output := &outputBuffer{}
			o := options{
				addr: "127.0.0.1:0", aws: "127.0.0.1:0", sandbox: "127.0.0.1:0", refreshEvery: time.Hour, concurrency: 1, build: directory,
				getenv: lookup(nil), terminal: &terminal{out: output, now: time.Now},
			}
			c.change(&o)
			s, err := start(t.Context(), o)
			if err == nil {
				s.close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if strings.Contains(output.String(), "crashed") {
				t.Errorf("the functions were started:\n%s", output)
			}
		})
	}
}

// lookup returns a getenv that reads m.
func lookup(m map[string]string) func(string) string {
	return func(name string) string { return m[name] }
}
