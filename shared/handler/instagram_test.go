package handler_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

const instagramID = "17841400000000011" // of the first person's professional account

type instagramToken struct {
	AccessToken string `json:"access_token"`
	AccountID   string `json:"account_id"`
	AccountName string `json:"account_name"`
	ExpiresAt   string `json:"expires_at"`
	Scopes      []string
	Credentials map[string]string
	Degraded    bool
}

func (s *stack) instagramToken(t *testing.T, id, query string) (got instagramToken) {
	t.Helper()
	s.do(t, http.MethodGet, "/connections/"+id+"/token"+query).decode(t, 200, &got)
	return got
}

func TestInstagram_Connect(t *testing.T) {
	t.Parallel()
	for name, tune := range map[string]func(*sandbox.LongLivedKnobs){
		"as_seen":                     func(*sandbox.LongLivedKnobs) {},
		"as_documented":               func(k *sandbox.LongLivedKnobs) { k.ListAnswer, k.TextIDs = true, true },
		"without_permissions":         func(k *sandbox.LongLivedKnobs) { k.OmitPermissions = true },
		"code_yields_long_lived":      func(k *sandbox.LongLivedKnobs) { k.LongAtOnce = true },
		"documented_and_without_list": func(k *sandbox.LongLivedKnobs) { k.TextIDs = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.sandbox.Tune(func(k *sandbox.Knobs) { tune(k.Instagram()) })
			got := s.instagramToken(t, s.connect(t, "instagram", "acme", sandbox.Choice{})[0], "")
			if got.AccountID != instagramID || got.AccountName != "sandbox_florist" {
				t.Errorf("account %s (%s)", got.AccountID, got.AccountName)
			}
			if diff := cmp.Diff(map[string]string{"ig_user_id": instagramID}, got.Credentials); diff != "" {
				t.Errorf("credentials (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"instagram_business_basic", "instagram_business_content_publish"}, got.Scopes); diff != "" {
				t.Errorf("scopes (-want +got):\n%s", diff)
			}
			if want := noon.Add(5183944 * time.Second).Format(time.RFC3339); got.ExpiresAt != want {
				t.Errorf("expires at %s, want %s", got.ExpiresAt, want)
			}
		})
	}
}

// A proxy that encodes the fragment makes "#_" a part of the code.
func TestInstagram_FragmentInCode(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	callback, cookie := s.authorize(t, s.link(t, map[string]any{"platform": "instagram", "owner": "acme", "return_url": returnURL}), sandbox.Choice{})
	code := queryOf(callback, "code")
	ended := s.do(t, http.MethodGet, strings.Replace(callback, code, code+"%23_", 1), withCookie(cookie), with("accept", browserUse))
	if got := queryOf(ended.Headers["location"], "status"); got != "connected" {
		t.Errorf("the consent ended at %s", ended.Headers["location"])
	}
}

func TestInstagram_Refused(t *testing.T) {
	t.Parallel()
	const sent = "27640875392278831"
	for _, test := range []struct {
		name    string
		prepare func(*stack)
		choice  sandbox.Choice
		code    connector.Code
		reason  string
	}{
		{"denied", func(*stack) {}, sandbox.Choice{Deny: true}, connector.AccessDenied, ""},
		{"not_a_tester", func(s *stack) {
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Instagram().Testers = []string{"27640875392278832"} })
		}, sandbox.Choice{Account: sent}, connector.AppMisconfigured, "not_a_tester"},
		{"standard_access", func(s *stack) {
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Instagram().Roles = []string{"27640875392278832"} })
		}, sandbox.Choice{Account: sent}, connector.AppMisconfigured, "not_a_tester"},
		{"personal_account", func(s *stack) {
			s.sandbox.AddPerson("instagram", sandbox.Person{ID: "27640875392278839", ProfessionalID: "17841400000000019", Username: "private", AccountType: "PERSONAL"})
		}, sandbox.Choice{Account: "27640875392278839"}, connector.AccessDenied, "not_professional"},
		{"secret", func(s *stack) { s.sandbox.SetSecrets("instagram", "test-other-secret") }, sandbox.Choice{}, connector.AppMisconfigured, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			test.prepare(s)
			id, path := s.mint(t, map[string]any{"platform": "instagram", "owner": "acme", "return_url": returnURL})
			ended := s.consent(t, path, test.choice)
			if got := ended.Query().Get("error"); got != string(test.code) {
				t.Errorf("error %q, want %s", got, test.code)
			}
			if test.reason != "" && s.showLink(t, id).Reason != test.reason {
				t.Errorf("the link says %+v, want %s", s.showLink(t, id), test.reason)
			}
		})
	}
}

func TestInstagram_MissingScope(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	const publish = "instagram_business_content_publish"
	ended := s.consent(t, s.link(t, map[string]any{"platform": "instagram", "owner": "acme", "return_url": returnURL}), sandbox.Choice{Untick: []string{publish}})
	if got := ended.Query().Get("missing_scopes"); got != publish {
		t.Errorf("missing_scopes %q", got)
	}
}

// A forced refresh only checks a token that is younger than a day, and returns it unchanged.
// The sweep refreshes the token in the last sixth of its life.
func TestInstagram_Refresh(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]bool{"another_token": false, "same_token": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Instagram().SameToken = same })
			id := s.connect(t, "instagram", "acme", sandbox.Choice{})[0]
			first := s.instagramToken(t, id, "")
			s.clock.Advance(23*time.Hour + 59*time.Minute)
			if young := s.instagramToken(t, id, "?force_refresh=true"); young.AccessToken != first.AccessToken || young.Degraded || young.ExpiresAt != first.ExpiresAt {
				t.Errorf("a forced refresh of a young token: %+v", young)
			}
			s.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}")).decode(t, 200, &struct{}{})
			if n := s.sandbox.Count("instagram", "refresh"); n != 0 {
				t.Errorf("a token younger than a day was refreshed %d times", n)
			}
			s.clock.Advance(time.Minute)
			second := s.instagramToken(t, id, "?force_refresh=true")
			if (second.AccessToken == first.AccessToken) != same || second.ExpiresAt <= first.ExpiresAt || second.Degraded {
				t.Errorf("a forced refresh after a day: %+v", second)
			}
			s.clock.Advance(49 * 24 * time.Hour)
			s.sweep(t)
			if got := s.instagramToken(t, id, ""); got.ExpiresAt != second.ExpiresAt {
				t.Errorf("refreshed before the last sixth: %+v", got)
			}
			s.clock.Advance(4 * 24 * time.Hour)
			s.sweep(t)
			if got := s.instagramToken(t, id, ""); got.ExpiresAt <= second.ExpiresAt {
				t.Errorf("not refreshed in the last sixth: %+v", got)
			}
		})
	}
}

func TestInstagram_RefreshRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		prepare func(s *stack)
		reason  string
	}{
		{"expired", func(s *stack) { s.clock.Advance(60 * 24 * time.Hour) }, "expired"},
		{"password_changed", func(s *stack) {
			s.clock.Advance(48 * time.Hour)
			s.sandbox.Kill("instagram", "", 460)
		}, "password_changed"},
		{"checkpoint", func(s *stack) {
			s.clock.Advance(48 * time.Hour)
			s.sandbox.Kill("instagram", "", 459)
		}, "checkpoint"},
		{"app_removed", func(s *stack) {
			s.clock.Advance(time.Hour)
			s.sandbox.Kill("instagram", "", 458)
		}, "app_removed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, "instagram", "acme", sandbox.Choice{})[0]
			test.prepare(s)
			s.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}")).refused(t, 409, connector.ReauthorizationRequired)
			if c := s.show(t, id); c["status"] != "needs_reauth" || c["status_reason"] != test.reason {
				t.Errorf("the connection is %v (%v), want %s", c["status"], c["status_reason"], test.reason)
			}
		})
	}
}

// An outage does not end a token that still lives. The token is handed out.
func TestInstagram_RefreshFails(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "instagram", "acme", sandbox.Choice{})[0]
	s.clock.Advance(48 * time.Hour)
	for _, body := range []string{
		`{"error":{"message":"Unsupported request - method type: get","type":"IGApiException","code":100}}`,
		`{"error":{"message":"down","type":"OAuthException","code":2}}`,
	} {
		s.sandbox.Fault(sandbox.Fault{Platform: "instagram", Endpoint: "refresh", Kind: sandbox.Body, Status: 400, Text: body, Times: -1})
		if got := s.instagramToken(t, id, "?force_refresh=true"); got.AccessToken == "" || !got.Degraded {
			t.Errorf("%s: %+v", body, got)
		}
		s.sandbox.ClearFaults()
		s.clock.Advance(48 * time.Hour)
	}
}

// Instagram refreshed the token, and its answer was lost. It refreshes the token again a
// day later. Until then the token works and is handed out.
func TestInstagram_LostAnswer(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sandbox.Tune(func(k *sandbox.Knobs) { k.Instagram().SameToken = true })
	id := s.connect(t, "instagram", "acme", sandbox.Choice{})[0]
	first := s.instagramToken(t, id, "")
	s.clock.Advance(54 * 24 * time.Hour)
	s.sandbox.Fault(sandbox.Fault{Platform: "instagram", Endpoint: "refresh", Kind: sandbox.HTML, Acts: true})
	s.sweep(t)
	if n := s.sandbox.Count("instagram", "refresh"); n == 0 {
		t.Error("no refresh was sent")
	}
	for range 36 * 2 {
		s.clock.Advance(30 * time.Minute)
		s.sweep(t)
		if got := s.instagramToken(t, id, ""); got.Degraded {
			t.Fatalf("meanwhile: %+v", got)
		}
	}
	if got := s.instagramToken(t, id, ""); got.ExpiresAt <= first.ExpiresAt || got.Degraded {
		t.Errorf("after a day: %+v", got)
	}
}

func TestInstagram_Import(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		short  bool          // the token of a code, which lives an hour
		age    time.Duration // of the token at the import
		expiry string        // what the file says of its end
		verify bool
		ends   time.Duration // from the import
	}{
		{"dashboard_token", false, time.Hour, "", true, 48 * time.Hour},
		{"token_of_two_days", false, 48 * time.Hour, "", true, 5183944 * time.Second},
		{"short_lived_token", true, time.Minute, "", true, 5183944 * time.Second},
		{"with_its_end", false, time.Hour, "token_expiry", true, 5183944*time.Second - time.Hour},
		{"postiz_row", false, time.Hour, "tokenExpiration", true, 5183944*time.Second - time.Hour},
		{"unverified", false, time.Hour, "token_expiry", false, 5183944*time.Second - time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			elsewhere := newStack(t)
			elsewhere.connect(t, "instagram", "acme", sandbox.Choice{})
			s := elsewhere.deployment(t, "instagram")
			token := s.instagramSecret(t, test.short)
			s.clock.Advance(test.age)
			file := object{"access_token": token}
			switch test.expiry {
			case "tokenExpiration":
				file = object{"providerIdentifier": "instagram-standalone", "internalId": instagramID, "token": token, "refreshToken": token,
					"tokenExpiration": noon.Add(5183944 * time.Second).Format(time.RFC3339)}
			case "token_expiry":
				file["token_expiry"] = noon.Add(5183944 * time.Second).Format(time.RFC3339)
			}
			id, _ := importedAs(t, s.importReply(t, "instagram", "globex", test.verify, file), 201)
			got := s.instagramToken(t, id, "")
			if want := s.clock.Now().Add(test.ends).Format(time.RFC3339); got.ExpiresAt != want {
				t.Errorf("expires at %s, want %s", got.ExpiresAt, want)
			}
			if test.verify && (got.AccountID != instagramID || got.Credentials["ig_user_id"] != instagramID) {
				t.Errorf("account %s, credentials %v", got.AccountID, got.Credentials)
			}
			// Whatever the file said: the token is refreshed in time.
			for range 8 {
				s.clock.Advance(12 * time.Hour)
				s.sweep(t)
			}
			s.clock.Advance(54 * 24 * time.Hour)
			s.sweep(t)
			if c := s.show(t, id); c["status"] != "active" {
				t.Errorf("the connection is %v (%v)", c["status"], c["status_reason"])
			}
		})
	}
}

// instagramSecret returns an access token that the sandbox has issued: the first one,
// which lives an hour, or the last one.
func (s *stack) instagramSecret(t *testing.T, short bool) string {
	t.Helper()
	if short {
		return s.sandbox.Calls("instagram", "extend")[0].Query.Get("access_token")
	}
	calls := s.sandbox.Calls("instagram", "me")
	return strings.TrimPrefix(calls[len(calls)-1].Header.Get("Authorization"), "Bearer ")
}

// No refresh of an imported token takes a key of the app, so that none proves that the
// token is of the app: the app's secret is not handed out with it.
func TestInstagram_ImportGetsNoSecret(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.connect(t, "instagram", "acme", sandbox.Choice{})
	id, _ := importedAs(t, s.importReply(t, "instagram", "globex", true, object{"access_token": s.instagramSecret(t, false)}), 201)
	for range 3 {
		s.wantKept(t, "an import", "instagram", id)
		s.clock.Advance(48 * time.Hour)
		s.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}")).decode(t, 200, &struct{}{})
	}
	if n := s.sandbox.Count("instagram", "refresh"); n == 0 {
		t.Error("nothing was refreshed")
	}
	s.wantLent(t, "a consent", "instagram", s.connect(t, "instagram", "initech", sandbox.Choice{})[0])
	// The exchange of a short-lived token takes the secret.
	id, _ = importedAs(t, s.importReply(t, "instagram", "hooli", true, object{"access_token": s.lastShort(t)}), 201)
	s.wantLent(t, "an import of a short-lived token", "instagram", id)
}

// lastShort returns the last token of a code.
func (s *stack) lastShort(t *testing.T) string {
	t.Helper()
	calls := s.sandbox.Calls("instagram", "extend")
	return calls[len(calls)-1].Query.Get("access_token")
}

func TestInstagram_ImportRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.connect(t, "instagram", "acme", sandbox.Choice{})
	token := s.instagramSecret(t, false)
	for name, test := range map[string]struct {
		file object
		code connector.Code
		http int
		says string
	}{
		"another_account": {object{"access_token": token, "ig_user_id": "17841400000000012"}, connector.InvalidRequest, 400, "credentials.ig_user_id"},
		"unknown_token":   {object{"access_token": "IGAAtest"}, connector.ReauthorizationRequired, 409, ""},
		"no_token":        {object{"ig_user_id": instagramID}, connector.InvalidRequest, 400, "credentials.access_token"},
		"facebook_row":    {object{"token": token, "providerIdentifier": "instagram"}, connector.InvalidRequest, 400, "instagram-standalone"},
	} {
		p := s.importReply(t, "instagram", "globex", true, test.file).refused(t, test.http, test.code)
		if !strings.Contains(p.Detail, test.says) {
			t.Errorf("%s: %q does not name %s", name, p.Detail, test.says)
		}
	}
}

func TestInstagram_Notices(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	person := s.sandbox.People("instagram")[0].ID
	id := s.connect(t, "instagram", "acme", sandbox.Choice{})[0]
	s.clock.Advance(time.Minute)
	send := func(kind string) reply {
		notice, _ := s.sandbox.Notice("instagram", "", person)
		return s.do(t, http.MethodPost, "/platforms/instagram/"+kind, withBody(notice.ContentType, string(notice.Body)))
	}
	if taken := send("deauthorize"); taken.StatusCode != 200 {
		t.Fatalf("status %d, body %s", taken.StatusCode, taken.Body)
	}
	if got := status(t, s, id); got != "needs_reauth" {
		t.Errorf("status %s", got)
	}
	var deleted struct{ URL string }
	s.clock.Advance(time.Minute)
	send("data-deletion").decode(t, 200, &deleted)
	if !strings.HasPrefix(deleted.URL, publicURL+"/platforms/instagram/data-deletion/") {
		t.Errorf("URL %s", deleted.URL)
	}
	s.do(t, http.MethodGet, "/connections/"+id).refused(t, 404, connector.ConnectionNotFound)
	s.do(t, http.MethodGet, strings.TrimPrefix(deleted.URL, publicURL)).decode(t, 200, &struct{}{})
}

// A platform may not say of a token that has ended that it is invalid. The profile of a
// token names no one then.
func TestThreads_GoneInWords(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		prepare func(*stack)
		status  string
	}{
		"removed":       {func(s *stack) { s.clock.Advance(48 * time.Hour); s.sandbox.Kill("threads", "", 458) }, "needs_reauth"},
		"removed_young": {func(s *stack) { s.clock.Advance(time.Hour); s.sandbox.Kill("threads", "", 458) }, "needs_reauth"},
		"expired":       {func(s *stack) { s.clock.Advance(60 * 24 * time.Hour) }, "needs_reauth"},
		"refresh_alone": {func(s *stack) {
			s.clock.Advance(48 * time.Hour)
			s.sandbox.Fault(sandbox.Fault{Platform: "threads", Endpoint: "refresh", Kind: sandbox.Body, Status: 400, Times: -1,
				Text: `{"error":{"message":"The requested resource does not exist","type":"THApiException","code":100}}`})
		}, "active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Threads().GoneInWords = true })
			id := s.connect(t, "threads", "acme", sandbox.Choice{})[0]
			row.prepare(s)
			s.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}"))
			if got := status(t, s, id); got != row.status {
				t.Errorf("status %s, want %s", got, row.status)
			}
		})
	}
}

// A refresh that Instagram or Threads refuses as a wrong request says nothing about the
// token. The profile does: a connection whose token has ended needs a new consent at
// once, and not when the token would have expired.
func TestInstagram_VagueRefresh(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"instagram", "threads"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, name, "acme", sandbox.Choice{})[0]
			s.sandbox.Tune(func(k *sandbox.Knobs) {
				k.Instagram().VagueRefresh, k.Threads().VagueRefresh = true, true
			})
			refresh := func() reply { return s.do(t, http.MethodPost, "/connections/"+id+"/refresh") }
			s.clock.Advance(25 * time.Hour)
			refresh().decode(t, 200, &struct{}{})
			s.clock.Advance(25 * time.Hour)
			s.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: "refresh", Kind: sandbox.Body, Status: 400,
				Text: `{"error":{"message":"Unsupported request - method type: get","type":"IGApiException","code":100}}`})
			refresh().refused(t, 503, connector.PlatformUnavailable)
			if c := s.show(t, id); c["status"] != "active" {
				t.Errorf("with a token that works: %v, %v", c["status"], c["status_reason"])
			}
			s.sandbox.Kill(name, "", 460)
			s.clock.Advance(time.Hour)
			refresh().refused(t, 409, connector.ReauthorizationRequired)
			if c := s.show(t, id); c["status"] != "needs_reauth" || c["status_reason"] != "password_changed" {
				t.Errorf("with a token that has ended: %v, %v", c["status"], c["status_reason"])
			}
		})
	}
}
