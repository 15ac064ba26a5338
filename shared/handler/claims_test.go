package handler_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// longestLives are the longest lives that the platforms document: of an access token
// on a file's word, of one that the platform issued now, and of a grant.
var longestLives = map[string]struct{ claimed, answered, grant time.Duration }{
	"youtube":  {time.Hour, time.Hour, 366 * 24 * time.Hour},
	"twitter":  {2 * time.Hour, 2 * time.Hour, 181 * 24 * time.Hour},
	"tiktok":   {2 * time.Hour, 24 * time.Hour, 365 * 24 * time.Hour},
	"facebook": {60 * 24 * time.Hour, 60 * 24 * time.Hour, 90 * 24 * time.Hour},
	// The grant is the token.
	"instagram": {60 * 24 * time.Hour, 60 * 24 * time.Hour, 60 * 24 * time.Hour},
	"threads":   {60 * 24 * time.Hour, 60 * 24 * time.Hour, 60 * 24 * time.Hour},
}

// TestClaims_Platforms: each platform has a row.
func TestClaims_Platforms(t *testing.T) {
	t.Parallel()
	for _, name := range sandbox.Platforms() {
		if _, ok := longestLives[name]; !ok {
			t.Errorf("no row for %s", name)
		}
	}
}

// ends returns when a connection's access token and its grant end, zero for never.
func (s *stack) ends(t *testing.T, id string) (access, grant time.Time) {
	t.Helper()
	c, err := s.store.Connection(t.Context(), connector.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	return c.ExpiresAt, c.GrantExpiresAt
}

// TestClaims_Files: no file makes a token live longer than its platform's tokens do.
func TestClaims_Files(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) time.Time { return noon.Add(d) }
	claims := map[string]any{
		"a decade":                in(10 * 365 * 24 * time.Hour).Format(time.RFC3339),
		"a decade in seconds":     in(10 * 365 * 24 * time.Hour).Unix(),
		"a decade in ms":          in(10 * 365 * 24 * time.Hour).UnixMilli(),
		"a decade with an offset": "2036-01-01T00:00:00-1200",
		"a day":                   in(24 * time.Hour).Format(time.RFC3339),
		"one minute":              in(time.Minute).Format(time.RFC3339),
		"past":                    in(-time.Hour).Format(time.RFC3339),
		"a local time":            in(5 * time.Hour).Format("2006-01-02T15:04:05"),
		"a local time far ahead":  in(100 * time.Hour).Format("2006-01-02 15:04:05.123456"),
	}
	for _, platform := range []string{"youtube", "twitter", "tiktok"} {
		for name, claim := range claims {
			for _, field := range []string{"token_expiry", "expires_at", "expiry"} {
				s := newStack(t)
				full := s.importable(t, platform)
				delete(full, "token_expiry")
				full[field] = claim
				id := s.imported(t, platform, "acme", false, full)
				access, _ := s.ends(t, id)
				if access.IsZero() || access.After(noon.Add(longestLives[platform].claimed)) {
					t.Errorf("%s, %s %s: ends at %v", platform, field, name, access)
				}
				if live := access.After(noon); live != (name != "past" && name != "a local time") {
					t.Errorf("%s, %s %s: live %t", platform, field, name, live)
				}
				if name == "a local time" {
					before := s.refreshes(platform)
					if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil || s.refreshes(platform) != before+1 {
						t.Errorf("%s, %s %s: handed out without a refresh: %v", platform, field, name, failure)
					}
				}
			}
		}
	}
}

// refreshes returns how often a platform has received a refresh token.
func (s *stack) refreshes(platform string) int {
	return s.sandbox.Count(platform, "token/refresh_token")
}

// TestClaims_Life: a life without its beginning says nothing of an access token, and
// bounds a refresh token.
func TestClaims_Life(t *testing.T) {
	t.Parallel()
	for _, platform := range []string{"youtube", "twitter", "tiktok"} {
		for _, life := range []any{86400, "7200", 1e15, "9223372036854775807"} {
			s := newStack(t)
			full := s.importable(t, platform)
			delete(full, "token_expiry")
			delete(full, "refresh_token_expiry")
			full["expires_in"] = life
			if platform == "tiktok" {
				full["refresh_expires_in"] = life
			}
			access, grant := s.ends(t, s.imported(t, platform, "acme", false, full))
			if access.After(noon) || access.IsZero() {
				t.Errorf("%s, expires_in %v: live until %v", platform, life, access)
			}
			if platform == "tiktok" && (grant.IsZero() || grant.After(noon.Add(longestLives[platform].grant))) {
				t.Errorf("refresh_expires_in %v: the grant ends at %v", life, grant)
			}
		}
	}
}

// TestClaims_Grant: no file makes a grant live longer than its platform's grants do.
func TestClaims_Grant(t *testing.T) {
	t.Parallel()
	for claim, want := range map[string]time.Time{
		"2099-12-31T00:00:00Z": noon.Add(longestLives["tiktok"].grant),
		"4102444800000":        noon.Add(longestLives["tiktok"].grant),
		"2026-12-01T00:00:00Z": time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
		"2026-12-01T00:00:00":  time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC),
	} {
		s := newStack(t)
		full := s.importable(t, "tiktok")
		full["refresh_token_expiry"] = claim
		if _, grant := s.ends(t, s.imported(t, "tiktok", "acme", false, full)); !grant.Equal(want) {
			t.Errorf("%s: the grant ends at %v, want %v", claim, grant, want)
		}
	}
}

// TestClaims_Answers: nothing that a platform answers makes a token or a grant live
// longer than it documents, at a consent and at a refresh.
func TestClaims_Answers(t *testing.T) {
	t.Parallel()
	values := []string{
		`-1`, `0`, `1`, `"abc"`, `"-5"`, `null`, `{}`, `1e9`, `1e18`, `1e400`, `"1e308"`, `9223372036854775807`, `253402300800`, `3600000`, `315360000`,
		strconv.FormatInt(noon.UnixMilli(), 10),
	}
	for platform, longest := range longestLives {
		for _, value := range values {
			for _, when := range []string{"consent", "refresh"} {
				s := newStack(t)
				fault := sandbox.Fault{Platform: platform, Endpoint: "token", Kind: sandbox.Fields, Times: 2, Set: map[string]json.RawMessage{
					"expires_in": json.RawMessage(value), "refresh_expires_in": json.RawMessage(value), "refresh_token_expires_in": json.RawMessage(value),
				}}
				if platform == "facebook" {
					fault = sandbox.Fault{Platform: platform, Endpoint: "debug_token", Kind: sandbox.Body, Status: 200, Times: 4,
						Text: `{"data":{"is_valid":true,"scopes":["pages_show_list"],"expires_at":` + value + `,"data_access_expires_at":` + value + `}}`}
				}
				var id string
				if when == "consent" {
					s.sandbox.Fault(fault)
					id = s.connect(t, platform, "acme", sandbox.Choice{})[0]
				} else {
					id = s.connect(t, platform, "acme", sandbox.Choice{})[0]
					s.sandbox.Fault(fault)
					s.do(t, "POST", "/connections/"+id+"/refresh")
				}
				access, grant := s.ends(t, id)
				if platform != "facebook" && access.IsZero() || access.After(noon.Add(longest.answered)) || !access.IsZero() && access.Year() < 1970 {
					t.Errorf("%s, %s answers %s: the token ends at %v", platform, when, value, access)
				}
				if grant.After(noon.Add(longest.grant)) || !grant.IsZero() && grant.Year() < 1970 {
					t.Errorf("%s, %s answers %s: the grant ends at %v", platform, when, value, grant)
				}
				if platform == "facebook" && access.IsZero() && value != `0` && value != `null` {
					t.Errorf("facebook, %s answers %s: the token never ends", when, value)
				}
			}
		}
	}
}

// TestClaims_VerifiedImport: what Google answers to the refresh of an import holds
// over the time in the file.
func TestClaims_VerifiedImport(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	full := s.importable(t, "youtube")
	s.clock.Advance(50 * time.Minute)
	full["token_expiry"] = s.clock.Now().Add(time.Hour).Format(time.RFC3339) // ten minutes in truth
	id := s.imported(t, "youtube", "acme", true, full)
	s.clock.Advance(30 * time.Minute)
	token, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
	if failure != nil {
		t.Fatal(failure)
	}
	if token["access_token"] == full["access_token"] {
		t.Error("token-get hands out an access token that ended twenty minutes ago")
	}
}
