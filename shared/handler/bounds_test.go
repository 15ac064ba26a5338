package handler_test

import (
	"bytes"
	cryptorand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// The outputs of the connector. Each has a largest size, which a test reaches with
// the largest inputs that are accepted.
const (
	lambdaAnswer    = "answer of a function, with the escapes of the body"
	answerHeaders   = "headers and cookies of an answer"
	authorizeURL    = "authorize URL"
	returnTarget    = "return URL with what is added"
	invokeMessage   = "error message of a direct invocation"
	logLine         = "log line"
	tableItem       = "DynamoDB item"
	tableKey        = "key of a DynamoDB item or index"
	transactionSize = "DynamoDB transaction"
	transactionRows = "items of a DynamoDB transaction"
	secretValue     = "secret"
	queueBatch      = "SQS batch"
	queueMessages   = "messages of an SQS batch"
	eventEntry      = "EventBridge entry"
	eventEntries    = "entries of an EventBridge call"
)

// outputs is the table of all outputs. The README has the same rows. Each figure is
// of the page of AWS that the README names, read on 2026-11-25. Where AWS raised a
// figure lately, it is the one before.
var outputs = map[string]int{
	lambdaAnswer:    6 << 20,
	answerHeaders:   10_240,
	authorizeURL:    4096,
	returnTarget:    10_240 - 2048, // a browser sends it as a request line, with its headers
	invokeMessage:   256 << 10,
	logLine:         256 << 10,
	tableItem:       400 << 10,
	tableKey:        1024,
	transactionSize: 4 << 20,
	transactionRows: 100,
	secretValue:     65_536,
	queueBatch:      256 << 10,
	queueMessages:   10,
	eventEntry:      256 << 10,
	eventEntries:    10,
}

// largest are the largest inputs. Each checks that nothing of its outputs was lost.
var largest = []struct {
	name string
	real bool
	run  func(t *testing.T, s meteredStack)
}{
	{"import_of_2000_accounts", false, importThousands},
	{"consent_of_800_accounts", false, consentThousands},
	{"pending_consent_of_2000_accounts", false, confirmThousands},
	{"accounts_with_all_that_platforms_send", true, storeLargeAccounts},
	{"page_of_100_large_records", false, listLargeRecords},
	{"150_accounts_that_fit", false, nameAmbiguous},
	{"50_missing_scopes", false, nameMissingScopes},
	{"app_with_long_fields", true, storeLargeApp},
	{"import_of_long_keys", true, importLongKeys},
	{"link_with_long_scopes_and_return_url", true, openLargeLink},
	{"as_many_suspensions_as_can_be", true, suspendAll},
	{"50_owners_whose_calls_fail", true, failOwners},
	{"35_due_connections", true, sweepMany},
	{"data_deletion_of_a_person_with_many_accounts", true, eraseMany},
	{"cause_of_a_megabyte", false, logLongCause},
}

func TestBounds(t *testing.T) {
	t.Parallel()
	m := &meter{largest: map[string]int{}}
	t.Run("inputs", func(t *testing.T) {
		for _, input := range largest {
			t.Run(input.name, func(t *testing.T) {
				t.Parallel()
				s := newMetered(t, m, input.real)
				input.run(t, s)
				s.scan(t)
				for line := range strings.Lines(s.logs.String()) {
					m.measure(logLine, len(line))
				}
			})
		}
	})
	for _, output := range slices.Sorted(maps.Keys(outputs)) {
		switch size, limit := m.largest[output], outputs[output]; {
		case size == 0:
			t.Errorf("%s: no input measures it", output)
		case size > limit:
			t.Errorf("%s: %d, which is more than %d", output, size, limit)
		default:
			t.Logf("%-52s %9d of %9d", output, size, limit)
		}
	}
}

// The README has the same table.
func TestBounds_README(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Bounds\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for output, limit := range outputs {
		if row := fmt.Sprintf("| %s | %d |", output, limit); !strings.Contains(section, row) {
			t.Errorf("the README lacks the row %q", row)
		}
	}
	if rows := strings.Count(section, "\n| "); rows != len(outputs)+2 {
		t.Errorf("the table has %d lines, want %d", rows, len(outputs)+2)
	}
}

func importThousands(t *testing.T, s meteredStack) {
	s.widen(2000)
	var imported struct {
		Connections   []struct{ ID string }
		Count         int
		ConnectionIDs []string `json:"connection_ids"`
		Warnings      []string
	}
	s.do(t, http.MethodPost, "/connections", withJSON(t, map[string]any{
		"platform": "facebook", "owner": longOwner, "credentials": map[string]string{"user_access_token": "test"},
	})).decode(t, 201, &imported)
	if imported.Count != 2000 || len(imported.ConnectionIDs) != 2000 || len(imported.Connections) == 0 || len(imported.Warnings) != 101 {
		t.Errorf("%d connections, %d ids of %d, %d warnings", len(imported.Connections), len(imported.ConnectionIDs), imported.Count, len(imported.Warnings))
	}
	s.wantListed(t, imported.ConnectionIDs, s.listAll(t, "/connections?owner="+url.QueryEscape(longOwner)+"&"))
}

func (s meteredStack) wantListed(t *testing.T, want []string, listed map[string]bool) {
	t.Helper()
	for _, id := range want {
		if !listed[id] {
			t.Errorf("%s is not listed", id)
		}
	}
	if len(listed) != len(want) {
		t.Errorf("%d are listed, want %d", len(listed), len(want))
	}
}

func consentThousands(t *testing.T, s meteredStack) {
	s.widen(800)
	for _, accept := range []string{"application/json", browserUse} {
		id, link := s.mint(t, map[string]any{"platform": "facebook", "owner": accept})
		f := s.flowOf(t, "facebook", link, sandbox.Choice{})
		ended := f.finish(t, with("accept", accept))
		if ended.StatusCode != 200 {
			t.Fatalf("%d %.200s", ended.StatusCode, ended.Body)
		}
		if accept == browserUse {
			if shown := strings.Count(ended.Body, `<span class="id">`); shown > 100 || !strings.Contains(ended.Body, " more accounts") {
				t.Errorf("the page shows %d accounts", shown)
			}
		} else {
			var connected struct {
				Accounts int
				Link     string
			}
			if ended.decode(t, 200, &connected); connected.Accounts != 800 || connected.Link != id {
				t.Errorf("%+v", connected)
			}
		}
		s.finishConsent(t, id)
		if n := len(s.listAll(t, "/links/"+id+"?")); n != 800 {
			t.Errorf("the link lists %d", n)
		}
	}
	id, link := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL + "&x=" + strings.Repeat("y", 1500)})
	location := s.consent(t, link, sandbox.Choice{})
	if q := location.Query(); q.Get("connections") != "800" || q.Get("link") != id || len(q["connection_id"]) == 0 {
		t.Errorf("returned with %s", location)
	}
	s.finishConsent(t, id)
	if n := len(s.listAll(t, "/links/"+id+"?")); n != 800 {
		t.Errorf("the link lists %d", n)
	}
}

func confirmThousands(t *testing.T, s meteredStack) {
	s.widen(2000)
	id, link := s.mint(t, map[string]any{"platform": "facebook", "owner": longOwner, "return_url": returnURL, "confirm": true})
	location := s.consent(t, link, sandbox.Choice{})
	var confirmed struct{ Accounts int }
	s.do(t, http.MethodPost, "/connections/confirm", withJSON(t, map[string]any{
		"confirmation": location.Query().Get("confirmation"), "owner": longOwner,
	})).decode(t, 200, &confirmed)
	s.finishConsent(t, id)
	if n := len(s.listAll(t, "/links/"+id+"?")); n != 2000 || confirmed.Accounts != 2000 {
		t.Errorf("%d of %d accounts are listed", n, confirmed.Accounts)
	}
}

func storeLargeAccounts(t *testing.T, s meteredStack) {
	s.widen(15)
	id, link := s.mint(t, map[string]any{"platform": "facebook", "owner": longOwner})
	if ended := s.flowOf(t, "facebook", link, sandbox.Choice{}).finish(t, with("accept", browserUse)); ended.StatusCode != 200 {
		t.Fatalf("%d %.200s", ended.StatusCode, ended.Body)
	}
	ids := s.listAll(t, "/links/"+id+"?")
	s.wantListed(t, slices.Collect(maps.Keys(ids)), s.listAll(t, "/connections?owner="+url.QueryEscape(longOwner)+"&"))
	for id := range ids {
		c := s.connection(t, id)
		if c.Credentials.Version == "" || len(c.Scopes) != 100 {
			t.Errorf("%s: version %q, %d scopes", id, c.Credentials.Version, len(c.Scopes))
		}
		var token struct {
			Scopes      []string
			AccessToken string `json:"access_token"`
		}
		s.do(t, http.MethodGet, "/connections/"+id+"/token").decode(t, 200, &token)
		if len(token.Scopes) != 100 || len(token.AccessToken) != 8<<10 {
			t.Errorf("%s: a token of %d bytes, %d scopes", id, len(token.AccessToken), len(token.Scopes))
		}
	}
}

func (s meteredStack) connection(t *testing.T, id string) connector.Connection {
	t.Helper()
	c, err := s.service.Store.Connection(t.Context(), connector.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// storeRecords stores records without a consent, as an earlier release could have.
func (s meteredStack) storeRecords(t *testing.T, owner string, n int, scopes []string) []string {
	t.Helper()
	var ids []string
	for i := range n {
		id, err := connector.NewID(cryptorand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := connector.Connection{ID: id, Platform: "youtube", Owner: owner, AccountID: fmt.Sprint("UC", i), Status: connector.Active, Scopes: scopes, CreatedAt: s.clock.Now(), UpdatedAt: s.clock.Now()}
		if _, err := s.service.Store.Commit(t.Context(), connector.Change{After: &c}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, string(id))
	}
	return ids
}

func listLargeRecords(t *testing.T, s meteredStack) {
	ids := s.storeRecords(t, "acme", 100, longScopes(300, 250))
	s.wantListed(t, ids, s.listAll(t, "/connections?owner=acme&"))
	s.wantListed(t, ids, s.listAll(t, "/connections?"))
}

func nameAmbiguous(t *testing.T, s meteredStack) {
	ids := s.storeRecords(t, longOwner, 150, nil)
	request, err := json.Marshal(map[string]string{"owner": longOwner, "platform": "youtube"})
	if err != nil {
		t.Fatal(err)
	}
	_, failure := s.invoke(t, "token-get", string(request))
	if failure == nil || failure.Type != string(connector.AmbiguousConnection) || !strings.Contains(failure.Message, "more than 100") || !strings.Contains(failure.Message, "GET /connections") {
		t.Errorf("got %v", failure)
	}
	s.wantListed(t, ids, s.listAll(t, "/connections?owner="+url.QueryEscape(longOwner)+"&platform=youtube&"))
}

func nameMissingScopes(t *testing.T, s meteredStack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	scopes := longScopes(50, 256)
	request, err := json.Marshal(map[string]any{"connection_id": id, "scopes": scopes})
	if err != nil {
		t.Fatal(err)
	}
	_, failure := s.invoke(t, "token-get", string(request))
	if failure == nil || failure.Type != string(connector.ScopeMissing) {
		t.Fatalf("got %v", failure)
	}
	for _, scope := range scopes {
		if !strings.Contains(failure.Message, scope) {
			t.Errorf("the message lacks %s", scope)
		}
	}
}

func storeLargeApp(t *testing.T, s meteredStack) {
	for _, character := range []string{"𝕏", `"`, "<", "\u00a0"} {
		app := map[string]any{"mode": "live", "monthly_post_limit": 1<<31 - 1, "billing_day": 31}
		for _, name := range []string{"client_id", "client_secret", "api_key", "api_secret", "bearer_token", "tier"} {
			app[name] = strings.Repeat(character, 1024)
		}
		r := s.put(t, "twitter", app)
		if character == "\u00a0" {
			r.refused(t, 400, connector.InvalidRequest) // it cannot be printed
			continue
		}
		r.decode(t, 200, &struct{}{})
		s.put(t, "twitter", map[string]any{"client_secret": strings.Repeat(character, 1023) + "x"}).decode(t, 200, &struct{}{})
		for name := range app {
			if name == "mode" || name == "monthly_post_limit" || name == "billing_day" {
				continue
			}
			// The OpenAPI document refuses it too.
			p := s.put(t, "twitter", map[string]any{name: strings.Repeat(character, 1025)}).refused(t, 400, connector.InvalidRequest)
			if !strings.HasPrefix(p.Detail, name+":") {
				t.Errorf("too long a %s: %s", name, p.Detail)
			}
		}
		p := s.do(t, http.MethodPost, "/links", withBody(jsonType, `{"platform":"twitter","owner":"acme"}`))
		if character == "𝕏" {
			p.refused(t, 400, connector.InvalidRequest) // its authorize URL would be too long
		}
	}
}

func importLongKeys(t *testing.T, s meteredStack) {
	credentials := map[string]string{"access_token": "1-" + strings.Repeat(`"`, 4094)}
	for _, name := range []string{"api_key", "api_secret", "bearer_token", "access_token_secret"} {
		credentials[name] = strings.Repeat(`<`, 4096)
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // a body has 64 KiB at most
	if err := encoder.Encode(map[string]any{"platform": "twitter", "owner": longOwner, "verify": false, "credentials": credentials}); err != nil {
		t.Fatal(err)
	}
	var imported struct{ Connections []struct{ ID string } }
	s.do(t, http.MethodPost, "/connections", withBody(jsonType, body.String())).decode(t, 201, &imported)
	id := imported.Connections[0].ID
	if c := s.connection(t, id); c.Credentials.Version == "" {
		t.Error("the credentials were sealed into the record, because the secret was too large")
	}
	if full := s.full(t, id); full["api_secret"] != credentials["api_secret"] || full["access_token"] != credentials["access_token"] {
		t.Error("the credentials are not those that were imported")
	}
}

func openLargeLink(t *testing.T, s meteredStack) {
	scopes := longScopes(50, 200)
	s.service.LinkScopes = connector.ScopeLists{"youtube": scopes}
	// The characters of this path get longer where a URL is written.
	target := "https://product.example.com/" + strings.Repeat(`"`, 2048-len("https://product.example.com/"))
	ask := func(n int) reply {
		return s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": longOwner, "return_url": target, "scopes": scopes[:n]}))
	}
	accepted := 0
	for n := 1; n <= len(scopes); n++ {
		r := ask(n)
		if r.StatusCode == 201 {
			accepted = n
			continue
		}
		if p := r.refused(t, 400, connector.InvalidRequest); !strings.HasPrefix(p.Detail, "scopes:") {
			t.Errorf("%d scopes: %s", n, p.Detail)
		}
	}
	if accepted < 5 || accepted == len(scopes) {
		t.Fatalf("%d of %d scopes were accepted", accepted, len(scopes))
	}
	var minted struct{ ID, URL string }
	ask(accepted).decode(t, 201, &minted)
	var jar []string
	for n := range 60 {
		jar = append(jar, browserCookie(fmt.Sprint("state ", n))+"="+strings.Repeat("x", 43))
	}
	path := strings.TrimPrefix(minted.URL, publicURL)
	started := s.do(t, http.MethodGet, path, with("cookie", strings.Join(jar, "; ")), with("accept", browserUse))
	if started.StatusCode != http.StatusFound || len(started.Cookies) < 20 {
		t.Errorf("%d, %d cookies: %s", started.StatusCode, len(started.Cookies), started.Body)
	}
	// Links that the previous release minted can ask for more.
	s.service.LinkScopes = nil
	for _, confirm := range []bool{false, true} {
		ended := s.consent(t, s.link(t, map[string]any{"platform": "youtube", "owner": longOwner, "return_url": target, "confirm": confirm}), sandbox.Choice{})
		if q := ended.Query(); q.Get("status") == "" {
			t.Errorf("ended at %s", ended)
		}
	}
}

func suspendAll(t *testing.T, s meteredStack) {
	suspended := 0
	for range 1000 {
		r := s.do(t, http.MethodPost, "/suspensions", withJSON(t, map[string]any{"owner": longOwner, "reason": strings.Repeat("𝕏", 256)}))
		if r.StatusCode != 201 {
			if p := r.refused(t, 400, connector.InvalidRequest); !strings.HasPrefix(p.Detail, "suspensions:") {
				t.Error(p.Detail)
			}
			break
		}
		suspended++
	}
	var list struct{ Suspensions []struct{ ID string } }
	s.do(t, http.MethodGet, "/suspensions").decode(t, 200, &list)
	if suspended < 50 || suspended == 1000 || len(list.Suspensions) != suspended {
		t.Errorf("%d of %d are listed", len(list.Suspensions), suspended)
	}
}

func failOwners(t *testing.T, s meteredStack) {
	for n := range 50 {
		owner := fmt.Sprintf("%s%02d", longOwner[:4*126], n)
		id := s.importUnverified(t, "tiktok", owner, map[string]string{
			"open_id": fmt.Sprint("open-", n), "access_token": "test-access", "refresh_token": fmt.Sprint("test-refresh-", n),
			"token_expiry": "2026-11-23T13:00:00Z",
		})
		s.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token/refresh_token", Kind: sandbox.Outage, Times: -1})
		s.do(t, http.MethodPost, "/connections/"+id+"/refresh").refused(t, 503, connector.PlatformUnavailable)
	}
}

func sweepMany(t *testing.T, s meteredStack) {
	for n := range 35 {
		s.importUnverified(t, "youtube", longOwner, map[string]string{"access_token": "test-access", "refresh_token": fmt.Sprint("test-refresh-", n), "token_expiry": "2026-11-23T12:00:01Z"})
	}
	s.clock.Advance(time.Hour)
	if _, err := s.functions["refresh"](invocation(t.Context()), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
}

func eraseMany(t *testing.T, s meteredStack) {
	s.connect(t, "facebook", longOwner, s.rich(40))
	s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", signedRequest(s.stack, "300000000000001")).decode(t, 200, &struct{}{})
	if n := len(s.listAll(t, "/connections?")); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func logLongCause(t *testing.T, s meteredStack) {
	cause := errors.New(strings.Repeat("x", 1<<20))
	s.hook(connectortest.Fail(cause, "Store.Connection"))
	s.do(t, http.MethodGet, "/connections/"+unknownID).refused(t, 500, connector.Internal)
	s.service.Log.Warn("test", "error", cause)
	if n := strings.Count(s.logs.String(), "(1048"); n != 2 {
		t.Errorf("%d lines say how long the cause is, want 2", n)
	}
}
