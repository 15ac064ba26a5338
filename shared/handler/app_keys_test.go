package handler_test

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// The keys of an app are handed out only with credentials that the platform
// accepted with them.
func TestAppKeys(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *stack){
		"app_without_its_secret":             appWithoutSecret,
		"unverified_import":                  keysOfUnverifiedImport,
		"unverified_import_of_dead_keys":     keysOfDeadImport,
		"verified_import":                    keysOfVerifiedImport,
		"verified_without_the_apps_secret":   fullProvesByRefresh,
		"verified_afterwards":                keysAfterVerify,
		"rotated_secret":                     keysAfterRotation,
		"leaked_secret_of_before":            keysForKnownSecret,
		"another_key":                        keysOfAnotherApp,
		"another_key_verified_again":         keysVerifiedAgain,
		"previous_release":                   keysOfPreviousRelease,
		"previous_release_and_platform_down": keysWhilePlatformDown,
		"previous_release_never_verified":    keysNeverVerified,
		"record_forged_as_verified":          keysOfForgedRecord,
		"another_client_after_a_consent":     clientOfAnotherApp,
		"withheld_by_the_deployment":         keysWithheld,
		"own_keys_that_are_those_of_the_app": ownKeysOfTheApp,
		"check_that_crashed_is_made_again":   keysAfterCrashedCheck,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStack(t))
		})
	}
}

// secretsOf are the values of an app that must not be lent.
func (s *stack) secretsOf(platform string) []string {
	app := s.sandbox.AppOf(platform)
	values := []string{app.ClientSecret}
	if platform == sandbox.Twitter {
		values = append(values, slices.Collect(maps.Values(app.Extras))...)
	}
	return values
}

// handedOut returns every answer of token-get for a connection: of the function and
// over HTTP, with full and without.
func (s *stack) handedOut(t *testing.T, id string) map[string]string {
	t.Helper()
	answers := map[string]string{}
	for _, full := range []string{"false", "true"} {
		answers["HTTP, full "+full] = s.do(t, "GET", "/connections/"+id+"/token?full="+full).Body
		result, err := s.functions["token-get"](invocation(t.Context()), []byte(`{"connection_id":"`+id+`","full":`+full+`}`))
		if err != nil {
			result = []byte(err.Error())
		}
		answers["direct, full "+full] = string(result)
	}
	return answers
}

// wantKept wants no key of the app in any answer of token-get for the connection.
func (s *stack) wantKept(t *testing.T, what, platform, id string) {
	t.Helper()
	for answer, body := range s.handedOut(t, id) {
		for _, secret := range s.secretsOf(platform) {
			if strings.Contains(body, secret) {
				t.Errorf("%s, %s: has a key of the app: %s", what, answer, body)
			}
		}
	}
}

// wantLent wants the keys of the app in the answers that have such keys: the client
// secret in a full answer, X's keys in every answer.
func (s *stack) wantLent(t *testing.T, what, platform, id string) {
	t.Helper()
	app := s.sandbox.AppOf(platform)
	for answer, body := range s.handedOut(t, id) {
		want := []string{app.ClientSecret}
		switch {
		case strings.Contains(body, "access_token_secret"):
			want = slices.Collect(maps.Values(app.Extras))
		case strings.Contains(answer, "full false"):
			continue
		}
		for _, secret := range want {
			if !strings.Contains(body, secret) {
				t.Errorf("%s, %s: lacks a key of the app: %s", what, answer, body)
			}
		}
	}
}

// importable returns the full credentials of a consent of that platform.
func (s *stack) importable(t *testing.T, platform string) map[string]any {
	t.Helper()
	credentials, _ := s.elsewhere(t, platform, sandbox.Choice{})
	return credentials
}

func (s *stack) cadence(platform string) connector.Cadence {
	i := slices.IndexFunc(s.service.Platforms, func(p connector.Platform) bool { return string(p.Describe().Name) == platform })
	return s.service.Platforms[i].Describe().Cadence
}

// idAndSecret are the fields of the app in a platform's credentials.
var idAndSecret = map[string][2]string{
	"facebook": {"app_id", "app_secret"}, "instagram": {"client_id", "client_secret"}, "youtube": {"client_id", "client_secret"},
	"twitter": {"client_id", "client_secret"}, "tiktok": {"client_key", "client_secret"},
}

// leaning returns credentials that lean on the app.
func leaning(platform string, credentials map[string]any) map[string]any {
	short := maps.Clone(credentials)
	for _, name := range idAndSecret[platform] {
		delete(short, name)
	}
	return short
}

func (s *stack) putKeys(t *testing.T, extras map[string]string) {
	t.Helper()
	body := map[string]any{"api_key": nil, "api_secret": nil, "bearer_token": nil}
	for name, value := range extras {
		body[name] = value
	}
	s.do(t, http.MethodPut, "/platforms/twitter/app", withJSON(t, body)).decode(t, 200, &struct{}{})
}

func appWithoutSecret(t *testing.T, s *stack) {
	extras := s.sandbox.AppOf("twitter").Extras
	s.putKeys(t, map[string]string{"api_key": extras["api_key"], "bearer_token": extras["bearer_token"]})
	imports := map[string]map[string]string{
		"keys that work": {"access_token": s.sandbox.UserKeys()[0].AccessToken, "access_token_secret": s.sandbox.UserKeys()[0].AccessTokenSecret},
		"made-up keys":   {"access_token": "1-test", "access_token_secret": "test-secret"},
	}
	ids := map[string]string{}
	for name, credentials := range imports {
		ids[name] = s.importUnverified(t, "twitter", name, credentials)
		s.wantKept(t, name+", before", "twitter", ids[name])
	}
	s.putKeys(t, extras)
	for name, id := range ids {
		s.wantKept(t, name+", after the secret was stored", "twitter", id)
		var token map[string]any
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &token)
		if token["access_token"] != imports[name]["access_token"] || token["token_type"] != "OAuth1" {
			t.Errorf("%s: token %v", name, token)
		}
		want := map[string]any{"access_token": imports[name]["access_token"], "access_token_secret": imports[name]["access_token_secret"]}
		if got, _ := token["credentials"].(map[string]any); !maps.Equal(got, want) {
			t.Errorf("%s: credentials %v, want %v", name, got, want)
		}
	}
	if calls := s.sandbox.Count("twitter", "me"); calls != 0 {
		t.Errorf("%d calls of the platform for imports that were never verified", calls)
	}
}

// An import that nobody verified gets none of the app's keys, on any platform and in
// whatever form it names the app.
func keysOfUnverifiedImport(t *testing.T, s *stack) {
	for platform, names := range idAndSecret {
		app := s.importable(t, platform)
		for form, change := range map[string]func(map[string]any){
			"without the app":           func(map[string]any) {},
			"with the app's id":         func(c map[string]any) { c[names[0]] = app[names[0]] },
			"with the id and a guess":   func(c map[string]any) { c[names[0]], c[names[1]] = app[names[0]], "test-guess" },
			"with the id and no secret": func(c map[string]any) { c[names[0]], c[names[1]] = app[names[0]], "" },
			"with a guess alone":        func(c map[string]any) { c[names[1]] = "test-guess" },
			"with id and secret":        func(c map[string]any) { c[names[0]], c[names[1]] = app[names[0]], app[names[1]] },
		} {
			credentials := s.importable(t, platform) // two owners cannot share a refresh token
			brought := leaning(platform, credentials)
			change(brought)
			id := s.imported(t, platform, form+platform, false, brought)
			s.wantKept(t, platform+" "+form, platform, id)
			full := s.full(t, id)
			for name, value := range leaning(platform, credentials) {
				if full[name] != value {
					t.Errorf("%s %s: full has %s = %v, want %v", platform, form, name, full[name], value)
				}
			}
		}
	}
	id := s.importKeys(t, "keys", false)
	s.wantKept(t, "X keys", "twitter", id)
}

func keysOfDeadImport(t *testing.T, s *stack) {
	app := s.sandbox.AppOf("twitter").Extras
	id := s.importUnverified(t, "twitter", "mallory", map[string]string{
		"api_key": app["api_key"], "api_secret": app["api_secret"], "access_token": "1-test", "access_token_secret": "test-secret",
	})
	s.wantKept(t, "before", "twitter", id)
	s.do(t, "POST", "/connections/"+id+"/verify").refused(t, 409, connector.ReauthorizationRequired)
	s.wantKept(t, "after a verification that failed", "twitter", id)
}

func keysOfVerifiedImport(t *testing.T, s *stack) {
	for platform := range idAndSecret {
		credentials := s.importable(t, platform)
		id := s.imported(t, platform, "acme", true, credentials)
		s.wantLent(t, platform, platform, id)
		if full := s.full(t, id); !maps.Equal(full, credentials) {
			t.Errorf("%s: exported %v, want what was imported", platform, slices.Sorted(maps.Keys(full)))
		}
	}
	id := s.importKeys(t, "acme", true)
	s.wantLent(t, "X keys", "twitter", id)
	if calls := s.sandbox.Count("twitter", "me"); calls == 0 {
		t.Error("X was never asked")
	}
}

// A lookup of the account proves no client. Full asks for the proof once. A token that
// is refreshed without the app gives none.
func fullProvesByRefresh(t *testing.T, s *stack) {
	for platform := range idAndSecret {
		id := s.imported(t, platform, "acme", true, leaning(platform, s.importable(t, platform)))
		if s.cadence(platform).Model == connector.Extending {
			s.wantKept(t, platform, platform, id)
			continue
		}
		s.wantLent(t, platform, platform, id)
		before := s.sandbox.Count(platform, "token/refresh_token")
		s.wantLent(t, platform+", again", platform, id)
		if n := s.sandbox.Count(platform, "token/refresh_token") - before; n != 0 {
			t.Errorf("%s: %d more refreshes", platform, n)
		}
	}
}

func keysAfterVerify(t *testing.T, s *stack) {
	id := s.importKeys(t, "acme", false)
	s.wantKept(t, "before", "twitter", id)
	s.do(t, "POST", "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
	s.wantLent(t, "after", "twitter", id)
	before := s.sandbox.Count("twitter", "me")
	s.wantLent(t, "again", "twitter", id)
	if n := s.sandbox.Count("twitter", "me") - before; n != 0 {
		t.Errorf("%d calls for keys that are verified", n)
	}
}

func keysAfterRotation(t *testing.T, s *stack) {
	id := s.importKeys(t, "acme", true)
	before := s.sandbox.Count("twitter", "me")
	rotated := maps.Clone(s.sandbox.AppOf("twitter").Extras)
	rotated["api_secret"], rotated["bearer_token"] = "test-rotated-secret", "test-rotated-bearer"
	s.putKeys(t, rotated)
	var token struct{ Credentials map[string]string }
	s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &token)
	for name, value := range rotated {
		if token.Credentials[name] != value {
			t.Errorf("%s is %q, want %q", name, token.Credentials[name], value)
		}
	}
	if n := s.sandbox.Count("twitter", "me") - before; n != 0 {
		t.Errorf("%d calls of the platform", n)
	}
}

// Who knew the secret at the import learns none that replaced it, unless the platform
// accepts the tokens with the app.
func keysForKnownSecret(t *testing.T, s *stack) {
	credentials := s.importable(t, "tiktok")
	credentials["refresh_token"] = "test-refresh"
	id := s.imported(t, "tiktok", "mallory", true, credentials)
	if full := s.full(t, id); full["client_secret"] != credentials["client_secret"] {
		t.Errorf("the secret that was brought is %v", full["client_secret"])
	}
	const rotated = "test-rotated-secret"
	s.do(t, http.MethodPut, "/platforms/tiktok/app", withJSON(t, map[string]any{"client_id": s.sandbox.AppOf("tiktok").ClientID, "client_secret": rotated})).decode(t, 200, &struct{}{})
	for answer, body := range s.handedOut(t, id) {
		if strings.Contains(body, rotated) {
			t.Errorf("%s has the new secret: %s", answer, body)
		}
	}
}

func keysOfAnotherApp(t *testing.T, s *stack) {
	id := s.importKeys(t, "acme", true)
	extras := s.sandbox.AppOf("twitter").Extras
	other := map[string]string{"api_key": "test-other-key", "api_secret": "test-other-secret", "bearer_token": "test-other-bearer"}
	s.putKeys(t, other)
	for answer, body := range s.handedOut(t, id) {
		for name, value := range other {
			if strings.Contains(body, value) {
				t.Errorf("%s has %s of the other app: %s", answer, name, body)
			}
		}
	}
	// The other app is refused, and no connection pays for that.
	s.do(t, "POST", "/connections/"+id+"/verify").refused(t, 502, connector.AppMisconfigured)
	s.clock.Advance(8 * 24 * time.Hour)
	if _, err := s.service.HandleDue(t.Context(), connector.RecordKey{Kind: connector.ConnectionKind, ID: id}); err != nil {
		t.Error(err)
	}
	if c := s.show(t, id); c["status"] != "active" {
		t.Errorf("status %v (%v), want active", c["status"], c["status_reason"])
	}
	s.putKeys(t, extras)
	s.wantLent(t, "with the first app again", "twitter", id)
}

func keysVerifiedAgain(t *testing.T, s *stack) {
	extras := s.sandbox.AppOf("twitter").Extras
	id := s.importKeys(t, "acme", true)
	s.setProof(t, id, func(c *connector.Credentials) { c.VerifiedKey = "the fingerprint of another key" })
	s.wantKept(t, "with another key", "twitter", id)
	s.do(t, "POST", "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
	s.wantLent(t, "verified again", "twitter", id)
	s.putKeys(t, map[string]string{"api_key": extras["api_key"], "bearer_token": extras["bearer_token"]})
	s.wantKept(t, "without the app's secret", "twitter", id)
}

// setProof changes what is stored with the credentials of a connection.
func (s *stack) setProof(t *testing.T, id string, change func(*connector.Credentials)) {
	t.Helper()
	c, err := s.store.Connection(t.Context(), connector.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	key := connector.CredentialsKey{Kind: connector.OfConnection, ID: id, Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID}
	creds, err := s.service.CredentialStore.Get(t.Context(), key, c.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	change(&creds)
	creds.Generation++
	changed := c
	if changed.Credentials, err = s.service.CredentialStore.Put(t.Context(), key, c.Credentials, creds); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Commit(t.Context(), connector.Change{Before: &c, After: &changed}); err != nil {
		t.Fatal(err)
	}
}

// withoutProofs makes credentials look as the previous release stored them.
func withoutProofs(c *connector.Credentials) {
	c.VerifiedKey, c.KnownSecret, c.AccountID, c.AccountOwed = "", "", "", false
}

// setRecord changes the record of a connection, as who can write to the table can.
func (s *stack) setRecord(t *testing.T, id string, change func(*connector.Connection)) {
	t.Helper()
	c, err := s.store.Connection(t.Context(), connector.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	changed := c
	change(&changed)
	if _, err := s.store.Commit(t.Context(), connector.Change{Before: &c, After: &changed}); err != nil {
		t.Fatal(err)
	}
}

func keysOfPreviousRelease(t *testing.T, s *stack) {
	for name, import_ := range map[string]func() string{
		"keys": func() string { return s.importKeys(t, "acme", true) },
		"tokens": func() string {
			return s.imported(t, "twitter", "globex", true, leaning("twitter", s.importable(t, "twitter")))
		},
	} {
		id := import_()
		s.setProof(t, id, withoutProofs)
		s.wantLent(t, name, "twitter", id)
		before := s.sandbox.Count("twitter", "me") + s.sandbox.Count("twitter", "token/refresh_token")
		s.wantLent(t, name+", again", "twitter", id)
		if n := s.sandbox.Count("twitter", "me") + s.sandbox.Count("twitter", "token/refresh_token") - before; n != 0 {
			t.Errorf("%s: %d calls of the platform after the first", name, n)
		}
	}
	// A consent needs no proof: it was given to the client whose id is stored with it.
	id := s.connect(t, "twitter", "consented", sandbox.Choice{})[0]
	before := s.sandbox.Count("twitter", "me") + s.sandbox.Count("twitter", "token/refresh_token")
	s.wantLent(t, "a consent", "twitter", id)
	if n := s.sandbox.Count("twitter", "me") + s.sandbox.Count("twitter", "token/refresh_token") - before; n != 0 {
		t.Errorf("a consent: %d calls of the platform", n)
	}
}

func keysWhilePlatformDown(t *testing.T, s *stack) {
	id := s.importKeys(t, "acme", true)
	s.setProof(t, id, withoutProofs)
	s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Outage, Times: -1})
	var token map[string]any
	s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &token)
	if credentials, _ := token["credentials"].(map[string]any); credentials["api_secret"] != nil || credentials["access_token_secret"] == nil ||
		token["degraded"] != true || token["degraded_reason"] != "PlatformUnavailable" {
		t.Errorf("token %v, want the user's own keys, degraded", token)
	}
	s.wantKept(t, "down", "twitter", id)
	if c := s.show(t, id); c["status"] != "active" {
		t.Errorf("status %v, want active", c["status"])
	}
}

func keysNeverVerified(t *testing.T, s *stack) {
	id := s.importKeys(t, "acme", false)
	s.setProof(t, id, withoutProofs)
	s.wantKept(t, "never verified", "twitter", id)
	if n := s.sandbox.Count("twitter", "me"); n != 0 {
		t.Errorf("%d calls of the platform", n)
	}
}

func keysOfForgedRecord(t *testing.T, s *stack) {
	for platform, names := range idAndSecret {
		brought := map[string]any{}
		for name := range leaning(platform, s.importable(t, platform)) {
			brought[name] = "test-" + name
		}
		switch platform {
		case "facebook":
			brought["page_id"] = "200000000000001"
		default:
			brought["token_expiry"] = s.clock.Now().Add(time.Hour).Format(time.RFC3339)
			delete(brought, "refresh_token_expiry")
		}
		delete(brought, names[1])
		id := s.imported(t, platform, "mallory", false, brought)
		s.setRecord(t, id, func(c *connector.Connection) { c.VerifiedAt = s.clock.Now() })
		s.wantKept(t, platform, platform, id)
	}
	app := s.sandbox.AppOf("twitter").Extras
	id := s.importUnverified(t, "twitter", "mallory", map[string]string{
		"api_key": app["api_key"], "api_secret": app["api_secret"], "access_token": "1-test", "access_token_secret": "test-secret",
	})
	s.setRecord(t, id, func(c *connector.Connection) { c.VerifiedAt = s.clock.Now() })
	s.wantKept(t, "X keys", "twitter", id)
}

func clientOfAnotherApp(t *testing.T, s *stack) {
	for platform := range idAndSecret {
		id := s.connect(t, platform, "acme", sandbox.Choice{})[0]
		const other = "test-other-client-secret"
		s.do(t, http.MethodPut, "/platforms/"+platform+"/app", withJSON(t, map[string]any{"client_id": "test-other-client", "client_secret": other})).decode(t, 200, &struct{}{})
		for answer, body := range s.handedOut(t, id) {
			if strings.Contains(body, other) {
				t.Errorf("%s, %s: the secret of another client: %s", platform, answer, body)
			}
		}
		s.putApp(t, platform)
	}
}

// A deployment can keep the keys of its apps: no proof has them handed out.
func keysWithheld(t *testing.T, s *stack) {
	ids := map[string]string{}
	for platform := range idAndSecret {
		credentials := s.importable(t, platform)
		ids["consent "+platform] = s.connect(t, platform, "acme", sandbox.Choice{})[0]
		ids["import "+platform] = s.imported(t, platform, "globex", true, credentials)
	}
	ids["keys twitter"] = s.importKeys(t, "keys", true)
	s.service.WithholdAppKeys = true
	for name, id := range ids {
		s.wantKept(t, name, name[strings.LastIndex(name, " ")+1:], id)
	}
	own := s.importUnverified(t, "twitter", "own", map[string]string{
		"api_key": "test-own-key", "api_secret": "test-own-secret", "access_token": "1-test", "access_token_secret": "test-secret",
	})
	var token struct{ Credentials map[string]string }
	s.do(t, "GET", "/connections/"+own+"/token").decode(t, 200, &token)
	if token.Credentials["api_key"] != "test-own-key" || token.Credentials["api_secret"] != "test-own-secret" {
		t.Errorf("credentials that brought their own keys: %v", token.Credentials)
	}
}

// Keys that an import brought before the operator stored the same app are the app's.
func ownKeysOfTheApp(t *testing.T, s *stack) {
	s.putKeys(t, nil)
	app, key := s.sandbox.AppOf("twitter").Extras, s.sandbox.UserKeys()[0]
	id := s.imported(t, "twitter", "acme", true, map[string]string{
		"api_key": app["api_key"], "api_secret": app["api_secret"], "bearer_token": app["bearer_token"],
		"access_token": key.AccessToken, "access_token_secret": key.AccessTokenSecret,
	})
	s.putApp(t, "twitter")
	s.wantLent(t, "brought", "twitter", id)
	s.service.WithholdAppKeys = true
	s.wantKept(t, "withheld", "twitter", id)
}

// A check that crashed leaves its mark. Keys are no refresh token that may be spent:
// the next check is made at once.
func keysAfterCrashedCheck(t *testing.T, s *stack) {
	id := s.importKeys(t, "acme", true)
	s.setProof(t, id, withoutProofs)
	s.setRecord(t, id, func(c *connector.Connection) {
		c.Attempt = connector.Attempt{Generation: c.Credentials.Generation, At: s.clock.Now(), Uncertain: true}
	})
	s.wantLent(t, "after a check that crashed", "twitter", id)
}

// A refusal of the app by X is the operator's matter: imported keys stay, although the
// status is that of keys that ended.
func TestTwitter_AppRefused(t *testing.T) {
	t.Parallel()
	for refusal, reason := range map[int]string{416: "app_suspended", 215: "", 261: "", 453: "client_not_enrolled"} {
		t.Run(strconv.Itoa(refusal), func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.importKeys(t, "acme", true)
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().AppRefusal = refusal })
			for _, call := range []string{"verify", "refresh"} {
				got := s.do(t, http.MethodPost, "/connections/"+id+"/"+call).refused(t, 502, connector.AppMisconfigured)
				if got.Reason != reason {
					t.Errorf("%s: reason %q, want %q", call, got.Reason, reason)
				}
			}
			if c := s.show(t, id); c["status"] != "active" {
				t.Errorf("%v, %v", c["status"], c["status_reason"])
			}
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().AppRefusal = 0 })
			s.clock.Advance(time.Hour)
			s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
		})
	}
}
