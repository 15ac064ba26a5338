package handler_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// The tests send the sample events to their functions, over the data of seed, and
// compare the answers with the golden files. With -update they rewrite these files.

var update = flag.Bool("update", false, "rewrite the golden files of the sample events")

const (
	folder = "../../events"
	// withoutGolden contains the texts of a guide, which change independently.
	withoutGolden = "connections/show-platform.json"
)

// The ids and names in the sample events.
const (
	seededYouTube  = "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13"
	seededFacebook = "7a1d2e3f-4b5c-4d6e-8f70-8192a3b4c5d6"
	seededCycles   = "9b2c3d4e-5f6a-4b7c-8d9e-0f1a2b3c4d5e"
	seededTwitter  = "c2b1a0f9-e8d7-4c6b-9a5f-4e3d2c1b0a98"
	seededTikTok   = "e4f5a6b7-c8d9-4e0f-a1b2-c3d4e5f60718"
	seededKeys     = "0d1e2f3a-4b5c-4d6e-9f70-a1b2c3d4e5f6"

	seededLink    = "example-link-000000000000000000000000000000"
	seededState   = "example-state-00000000000000000000000000000"
	seededBrowser = "example-browser-000000000000000000000000000"

	seededConfirmation = "example-confirmation-0000000000000000000000"

	seededSuspension = "3d9f2b84-6c1e-4a75-9f08-1b2c3d4e5f60"
	// The id of seededLink, and that of a link that connected seededYouTube.
	seededLinkID      = "52b9be40-0ecc-8897-a5a7-9d71ef724326"
	seededConnectedID = "3b1f0c44-77d2-8e90-a5c1-0d9e2f4b6a88"
)

func seed(t *testing.T, s *stack) {
	t.Helper()
	ids := map[string][]connector.ID{
		"facebook": {seededFacebook, seededCycles}, "youtube": {seededYouTube}, "twitter": {seededTwitter}, "tiktok": {seededTikTok},
	}
	for _, platform := range platforms() {
		var choice sandbox.Choice
		if platform == sandbox.Facebook {
			choice.Pages = []string{"200000000000001", "200000000000002"}
		}
		if ids[platform] == nil {
			continue // it has no samples
		}
		connected := s.connect(t, platform, "acme", choice)
		for i, id := range ids[platform] {
			s.rename(t, connector.ID(connected[i]), id)
		}
	}
	s.renameConfirmation(t, s.hold(t, "youtube", "acme", sandbox.Choice{Account: s.sandbox.People("youtube")[1].ID}), "acme")
	suspension := connector.Suspension{
		ID: seededSuspension, SuspensionTarget: connector.SuspensionTarget{Owner: "globex"}, Reason: "leaked key, incident 41",
		CreatedAt: noon.AddDate(0, 0, -1), CreatedBy: "arn:aws:sts::123456789012:assumed-role/operator/session",
	}
	if _, err := s.store.PutSuspensions(t.Context(), connector.Suspensions{List: []connector.Suspension{suspension}}); err != nil {
		t.Fatal(err)
	}
	link := connector.Link{
		Platform: "youtube", Owner: "acme", ReturnURL: "https://product.example.com/done",
		Scopes: []string{"https://www.googleapis.com/auth/youtube.readonly"}, ExpiresAt: noon.AddDate(0, 0, 1),
	}
	s.putTicket(t, connector.LinkKind, seededLink, "", link)
	for id, status := range map[string]map[string]any{
		seededLinkID:      {"link": link, "hash": hash(seededLink), "phase": "open"},
		seededConnectedID: {"link": link, "hash": hash(seededConnectedID), "phase": "connected", "accounts": 1},
	} {
		s.putByID(t, connector.LinkStatusKind, id, status)
	}
	s.putByID(t, connector.LinkConnectionsKind, seededConnectedID+"/0", []string{seededYouTube})
	authorization := connector.Authorization{
		Platform: link.Platform, Owner: link.Owner, Link: hash(seededLink), Scopes: link.Scopes, ReturnURL: link.ReturnURL,
		RedirectURI: publicURL + "/oauth/youtube/callback", ExpiresAt: link.ExpiresAt,
	}
	s.putTicket(t, connector.StateKind, seededState, seededBrowser+"\n"+string(encode(t, authorization)), authorization)
	s.rename(t, connector.ID(s.importKeys(t, "initech", true)), seededKeys)
}

// rename gives a connection its id in the sample events.
func (s *stack) rename(t *testing.T, from, to connector.ID) {
	t.Helper()
	c, err := s.store.Connection(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	key := connector.CredentialsKey{Kind: connector.OfConnection, ID: string(from), Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID}
	credentials, err := s.service.CredentialStore.Get(t.Context(), key, c.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	renamed := c
	renamed.ID, key.ID = to, string(to)
	if renamed.Credentials, err = s.service.CredentialStore.Put(t.Context(), key, connector.CredentialsRef{}, credentials); err != nil {
		t.Fatal(err)
	}
	for _, change := range []connector.Change{{Before: &c}, {After: &renamed}} {
		if _, err := s.store.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
}

// renameConfirmation gives a confirmation its value in the sample events.
func (s *stack) renameConfirmation(t *testing.T, confirmation, owner string) {
	t.Helper()
	ticket, err := s.store.TakeTicket(t.Context(), connector.RecordKey{Kind: connector.ConsentConfirmationKind, ID: hash(confirmation)}, hash(owner), s.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	ticket.ID = hash(seededConfirmation)
	put(t, s.store, ticket)
}

func (s *stack) putTicket(t *testing.T, kind connector.Kind, token, bound string, body any) {
	t.Helper()
	ticket := connector.Ticket{RecordKey: connector.RecordKey{Kind: kind, ID: hash(token)}, Body: encode(t, body), ExpiresAt: noon.AddDate(0, 0, 1)}
	if bound != "" {
		ticket.Bound = hash(bound)
	}
	put(t, s.store, ticket)
}

// putByID stores a ticket under an id that stands for no secret.
func (s *stack) putByID(t *testing.T, kind connector.Kind, id string, body any) {
	t.Helper()
	put(t, s.store, connector.Ticket{RecordKey: connector.RecordKey{Kind: kind, ID: id}, Body: encode(t, body), ExpiresAt: noon.AddDate(0, 0, 2)})
}

func put(t *testing.T, store connector.Store, ticket connector.Ticket) {
	t.Helper()
	if _, err := store.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}}); err != nil {
		t.Fatal(err)
	}
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// samples returns the paths of the sample events.
func samples(t testing.TB) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".json") && !strings.HasSuffix(path, ".golden.json") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestSampleEvents(t *testing.T) {
	t.Parallel()
	functions, routes := map[string]bool{}, map[string]bool{}
	for _, path := range samples(t) {
		function := filepath.Base(filepath.Dir(path))
		functions[function] = true
		routes[anyPlatform(routeOf(t, path))] = true
		t.Run(function+"/"+strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			checkSample(t, function, path)
		})
	}
	for _, f := range blueprint.Functions() {
		if !functions[f.Name] {
			t.Errorf("no sample event for %s", f.Name)
		}
	}
	for _, r := range blueprint.Routes() {
		if !routes[anyPlatform(r.Key())] {
			t.Errorf("no sample event for %s", r.Key())
		}
	}
}

// anyPlatform returns a route without the platform of a notice: platforms send notices
// of the same kind alike.
func anyPlatform(route string) string {
	for _, name := range platforms() {
		route = strings.Replace(route, "/platforms/"+name+"/", "/platforms/*/", 1)
	}
	return route
}

// routeOf returns the route of a sample event, or "" if it is not an HTTP event.
func routeOf(t *testing.T, path string) string {
	t.Helper()
	payload, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var e events.APIGatewayV2HTTPRequest
	_ = json.Unmarshal(payload, &e)
	return e.RouteKey
}

func checkSample(t *testing.T, function, path string) {
	payload, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t)
	seed(t, s)
	result, failed := s.functions[function](invocation(t.Context()), payload)
	checkRoute(t, function, payload, result)

	golden := strings.TrimSuffix(path, ".json") + ".golden.json"
	got := readable(t, result, failed)
	if *update && function+"/"+filepath.Base(path) != withoutGolden {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	switch {
	case function+"/"+filepath.Base(path) == withoutGolden:
		if failed != nil || !bytes.Contains(got, []byte(`"statusCode": 200`)) {
			t.Errorf("answer %s", got)
		}
	case err != nil:
		t.Fatal(err)
	case !bytes.Equal(got, want):
		t.Errorf("answer:\n%s\nwant:\n%s", got, want)
	}
}

// checkRoute compares an HTTP event of format 2.0 with the deployed routes, and the
// event and its answer with the OpenAPI document.
func checkRoute(t *testing.T, function string, payload, result []byte) {
	t.Helper()
	var e events.APIGatewayV2HTTPRequest
	if json.Unmarshal(payload, &e) != nil || e.Version != "2.0" {
		return
	}
	i := slices.IndexFunc(blueprint.Routes(), func(r blueprint.Route) bool { return r.Key() == e.RouteKey && r.Function == function })
	if i < 0 {
		t.Fatalf("%s is no route of %s", e.RouteKey, function)
	}
	var r reply
	if err := json.Unmarshal(result, &r); err != nil {
		t.Fatal(err)
	}
	checkDocument(t, blueprint.Routes()[i], e, r)
}

// readable returns an answer in the form of a golden file: indented, with a decoded
// JSON body, and without random values and styles.
func readable(t *testing.T, result []byte, failed error) []byte {
	t.Helper()
	var value any
	if failure, ok := failed.(messages.InvokeResponse_Error); ok {
		value = map[string]string{"errorType": failure.Type, "errorMessage": failure.Message}
	} else if err := json.Unmarshal(result, &value); err != nil {
		t.Fatal(err)
	}
	if object, ok := value.(map[string]any); ok {
		if text, ok := object["body"].(string); ok {
			var body any
			if json.Unmarshal([]byte(text), &body) == nil {
				checkListing(t, body)
				object["body"] = body
			}
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return mask(b.Bytes())
}

// checkListing compares a list of platforms with the registry, and replaces it by a
// mark, so that no golden file lists the platforms.
func checkListing(t *testing.T, body any) {
	t.Helper()
	object, _ := body.(map[string]any)
	listed, ok := object["platforms"].([]any)
	if !ok {
		return
	}
	var want []any
	for _, p := range platform.All(platform.Options{}) {
		d := p.Describe()
		want = append(want, map[string]any{
			"name": string(d.Name), "title": d.Title, "auth_kind": d.AuthKind, "app_configured": true, "app_mode": "live",
			"redirect_uri": publicURL + "/oauth/" + string(d.Name) + "/callback",
		})
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("platforms (-registry +listed):\n%s", diff)
	}
	object["platforms"] = "<registry>"
}

var (
	jitter  = regexp.MustCompile(`"refresh_at": "[^"]*"`)
	styling = regexp.MustCompile(`(?s)<style>.*</style>|sha256-[A-Za-z0-9+/=]+`)
	random  = regexp.MustCompile(`[A-Za-z0-9_-]{24,}`)
	loop    = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)
	signed  = regexp.MustCompile(`oauth_signature=\\"[^"\\]*`)
)

func mask(b []byte) []byte {
	known := []string{seededYouTube, seededFacebook, seededCycles, seededTwitter, seededTikTok, seededKeys, seededState, seededBrowser, seededConfirmation, seededSuspension, seededLinkID, seededConnectedID, requestID, unknownID}
	b = jitter.ReplaceAll(b, []byte(`"refresh_at": "<jittered>"`))
	b = signed.ReplaceAll(b, []byte(`oauth_signature=\"<signature>`))
	b = loop.ReplaceAll(styling.ReplaceAll(b, []byte("<style>")), []byte("http://sandbox"))
	return random.ReplaceAllFunc(b, func(word []byte) []byte {
		wordy := bytes.Count(word, []byte("-"))+bytes.Count(word, []byte("_")) > 0 && !bytes.ContainsAny(word, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
		if wordy || slices.Contains(known, string(word)) {
			return word
		}
		return []byte("<random>")
	})
}
