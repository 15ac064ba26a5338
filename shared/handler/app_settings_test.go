package handler_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// fullApp names every field of an app of X.
func fullApp() map[string]any {
	return map[string]any{
		"client_id": "test-client", "client_secret": "test-client-secret", "mode": "live",
		"api_key": "test-api-key", "api_secret": "test-api-secret", "bearer_token": "test-bearer",
		"tier": "basic", "monthly_post_limit": 100, "billing_day": 17,
	}
}

// shownApp is how fullApp is shown.
func shownApp() map[string]any {
	return map[string]any{
		"platform": "twitter", "client_id": "test-client", "client_secret_set": true, "mode": "live",
		"api_key": "test-api-key", "api_secret_set": true, "bearer_token_set": true,
		"tier": "basic", "monthly_post_limit": 100.0, "billing_day": 17.0,
		"redirect_uri": publicURL + "/oauth/twitter/callback",
	}
}

func (s *stack) put(t *testing.T, platform string, body any) reply {
	t.Helper()
	return s.do(t, http.MethodPut, "/platforms/"+platform+"/app", withJSON(t, body))
}

// wantApp wants the app as GET shows it, and its fields in the store.
func (s *stack) wantApp(t *testing.T, what, platform string, want map[string]any, secrets map[string]string) {
	t.Helper()
	var guide struct{ App map[string]any }
	s.do(t, http.MethodGet, "/platforms/"+platform).decode(t, 200, &guide)
	if !maps.Equal(guide.App, want) {
		t.Errorf("%s: GET shows %v, want %v", what, guide.App, want)
	}
	value, _, err := s.vault.Get(t.Context(), "apps/"+platform, "")
	if err != nil {
		t.Fatal(err)
	}
	var stored struct {
		ClientSecret   string            `json:"client_secret"`
		PreviousSecret string            `json:"previous_client_secret"`
		Extras         map[string]string `json:"extras"`
	}
	if err := json.Unmarshal([]byte(value.Reveal()), &stored); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"client_secret": stored.ClientSecret, "previous": stored.PreviousSecret}
	for name, value := range stored.Extras {
		got[name] = value
	}
	for name, value := range secrets {
		if got[name] != value {
			t.Errorf("%s: %s is stored as %q, want %q", what, name, got[name], value)
		}
	}
}

// A request changes what it names, and nothing else.
func TestConnections_PutAppMerges(t *testing.T) {
	t.Parallel()
	kept := map[string]string{"client_secret": "test-client-secret", "api_secret": "test-api-secret", "bearer_token": "test-bearer"}
	for name, test := range map[string]struct {
		put     string
		shown   map[string]any // what differs from shownApp; nil: the view omits it
		secrets map[string]string
	}{
		"nothing":                {put: `{}`},
		"the_same":               {put: `{"client_id":"test-client","client_secret":"test-client-secret"}`},
		"client_id_alone":        {put: `{"client_id":"test-client"}`},
		"tier":                   {put: `{"tier":"pro"}`, shown: map[string]any{"tier": "pro"}},
		"mode":                   {put: `{"mode":"sandbox"}`, shown: map[string]any{"mode": "sandbox"}},
		"mode_manual":            {put: `{"mode":"manual"}`, shown: map[string]any{"mode": "manual"}},
		"limit":                  {put: `{"monthly_post_limit":5}`, shown: map[string]any{"monthly_post_limit": 5.0}},
		"limit_zero_is_no_limit": {put: `{"monthly_post_limit":0}`, shown: map[string]any{"monthly_post_limit": nil}},
		"limit_null":             {put: `{"monthly_post_limit":null}`, shown: map[string]any{"monthly_post_limit": nil}},
		"billing_day_null":       {put: `{"billing_day":null}`, shown: map[string]any{"billing_day": nil}},
		"tier_null":              {put: `{"tier":null}`, shown: map[string]any{"tier": nil}},
		"mode_null_is_live":      {put: `{"mode":null}`},
		"bearer_token":           {put: `{"bearer_token":"test-other"}`, secrets: map[string]string{"bearer_token": "test-other"}},
		"bearer_token_null": {put: `{"bearer_token":null}`, shown: map[string]any{"bearer_token_set": false},
			secrets: map[string]string{"bearer_token": ""}},
		"api_secret": {put: `{"api_secret":"test-other"}`, secrets: map[string]string{"api_secret": "test-other"}},
		"api_secret_null": {put: `{"api_secret":null}`, shown: map[string]any{"api_secret_set": false},
			secrets: map[string]string{"api_secret": ""}},
		"keys_null": {put: `{"api_key":null,"api_secret":null,"bearer_token":null}`,
			shown:   map[string]any{"api_key": nil, "api_secret_set": false, "bearer_token_set": false},
			secrets: map[string]string{"api_key": "", "api_secret": "", "bearer_token": ""}},
		"another_api_key": {put: `{"api_key":"test-other","api_secret":"test-other-secret","bearer_token":null}`,
			shown:   map[string]any{"api_key": "test-other", "bearer_token_set": false},
			secrets: map[string]string{"api_key": "test-other", "api_secret": "test-other-secret", "bearer_token": ""}},
		"another_client": {put: `{"client_id":"test-other","client_secret":"test-other-secret"}`,
			shown: map[string]any{"client_id": "test-other"}, secrets: map[string]string{"client_secret": "test-other-secret", "previous": ""}},
		"another_secret": {put: `{"client_secret":"test-other"}`,
			shown:   map[string]any{"previous_secret_until": "2026-11-30T12:00:00Z"},
			secrets: map[string]string{"client_secret": "test-other", "previous": "test-client-secret"}},
		"client_null_in_manual_mode": {put: `{"mode":"manual","client_id":null,"client_secret":null}`,
			shown:   map[string]any{"mode": "manual", "client_id": "", "client_secret_set": false},
			secrets: map[string]string{"client_secret": "", "previous": ""}},
		"secret_null_in_manual_mode": {put: `{"mode":"manual","client_secret":null}`,
			shown: map[string]any{"mode": "manual", "client_secret_set": false}, secrets: map[string]string{"client_secret": "", "previous": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.clear(t, "twitter")
			s.put(t, "twitter", fullApp()).decode(t, 200, &struct{}{})
			want, secrets := shownApp(), maps.Clone(kept)
			for field, value := range test.shown {
				if want[field] = value; value == nil {
					delete(want, field)
				}
			}
			maps.Copy(secrets, test.secrets)
			for range 2 { // a request that is sent twice has one effect
				var app map[string]any
				s.do(t, http.MethodPut, "/platforms/twitter/app", withBody(jsonType, test.put)).decode(t, 200, &app)
				if !maps.Equal(app, want) {
					t.Errorf("the answer is %v, want %v", app, want)
				}
				s.wantApp(t, "afterwards", "twitter", want, secrets)
			}
		})
	}
}

// clear removes the app of a platform, as an operator can in the console.
func (s *stack) clear(t *testing.T, platform string) {
	t.Helper()
	if err := s.vault.Delete(t.Context(), "apps/"+platform, true); err != nil {
		t.Fatal(err)
	}
}

// storedApp returns the stored app, and its version.
func (s *stack) storedApp(t *testing.T, platform string) string {
	t.Helper()
	value, version, err := s.vault.Get(t.Context(), "apps/"+platform, "")
	if err != nil {
		t.Fatal(err)
	}
	return version + " " + value.Reveal()
}

// A refused request changes nothing, and names the field.
func TestConnections_PutAppRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ put, field string }{
		"another_client_without_its_secret":   {`{"client_id":"test-other"}`, "client_secret"},
		"another_client_in_manual_mode":       {`{"client_id":"test-other","mode":"manual"}`, "client_secret"},
		"another_client_whose_secret_is_null": {`{"client_id":"test-other","client_secret":null}`, "client_secret"},
		"another_api_key_without_its_secret":  {`{"api_key":"test-other"}`, "api_secret"},
		"api_key_null_while_its_secret_stays": {`{"api_key":null}`, "api_secret"},
		"client_id_null":                      {`{"client_id":null}`, "client_id"},
		"client_secret_null":                  {`{"client_secret":null}`, "client_secret"},
		"both_null":                           {`{"client_id":null,"client_secret":null}`, "client_id"},
		"both_null_in_sandbox_mode":           {`{"client_id":null,"client_secret":null,"mode":"sandbox"}`, "client_id"},
		"client_id_null_in_manual_mode":       {`{"client_id":null,"mode":"manual"}`, "client_secret"},
		"empty_client_id":                     {`{"client_id":""}`, "client_id"},
		"empty_client_secret":                 {`{"client_secret":""}`, "client_secret"},
		"empty_mode":                          {`{"mode":""}`, "mode"},
		"empty_api_key":                       {`{"api_key":""}`, "api_key"},
		"empty_api_key_beside_a_null":         {`{"api_key":"","consumer_key":null,"api_secret":null}`, "api_key and consumer_key"},
		"null_api_key_beside_an_empty_one":    {`{"api_key":null,"consumer_key":"","api_secret":null}`, "api_key and consumer_key"},
		"empty_api_secret":                    {`{"api_secret":"","tier":"pro"}`, "api_secret"},
		"empty_bearer_token":                  {`{"bearer_token":""}`, "bearer_token"},
		"empty_tier":                          {`{"tier":""}`, "tier"},
		"empty_number":                        {`{"monthly_post_limit":""}`, "monthly_post_limit"},
		"billing_day_zero":                    {`{"billing_day":0}`, "billing_day"},
		"unknown_field_null":                  {`{"config_id":null}`, "config_id"},
		"unknown_mode":                        {`{"mode":"production"}`, "mode"},
		"one_good_field_and_one_bad":          {`{"tier":"pro","billing_day":32}`, "billing_day"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.clear(t, "twitter")
			s.put(t, "twitter", fullApp()).decode(t, 200, &struct{}{})
			before := s.storedApp(t, "twitter")
			p := s.do(t, http.MethodPut, "/platforms/twitter/app", withBody(jsonType, test.put)).refused(t, 400, connector.InvalidRequest)
			if !strings.HasPrefix(p.Detail, test.field+":") {
				t.Errorf("the detail is %q, want one that names %s", p.Detail, test.field)
			}
			if after := s.storedApp(t, "twitter"); after != before {
				t.Errorf("stored: %s, want %s", after, before)
			}
		})
	}
}

// Of facebook, config_id stays as well.
func TestConnections_PutAppMergesFacebook(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.clear(t, "facebook")
	s.put(t, "facebook", map[string]any{"client_id": "1", "client_secret": "test-secret", "config_id": "2"}).decode(t, 200, &struct{}{})
	want := map[string]any{"platform": "facebook", "client_id": "1", "client_secret_set": true, "mode": "sandbox", "config_id": "2", "redirect_uri": publicURL + "/oauth/facebook/callback"}
	s.put(t, "facebook", map[string]any{"mode": "sandbox"}).decode(t, 200, &struct{}{})
	s.wantApp(t, "mode alone", "facebook", want, map[string]string{"client_secret": "test-secret"})
	delete(want, "config_id")
	s.put(t, "facebook", map[string]any{"config_id": nil}).decode(t, 200, &struct{}{})
	s.wantApp(t, "config_id null", "facebook", want, map[string]string{"client_secret": "test-secret"})
}

// The previous secret and its end stay with the client, whatever else changes.
func TestConnections_PutAppPreviousSecret(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.clear(t, "twitter")
	s.put(t, "twitter", fullApp()).decode(t, 200, &struct{}{})
	s.put(t, "twitter", map[string]any{"client_secret": "test-second"}).decode(t, 200, &struct{}{})
	s.clock.Advance(48 * time.Hour)
	want := shownApp()
	want["previous_secret_until"] = "2026-11-30T12:00:00Z"
	for _, change := range []map[string]any{{"tier": "basic"}, {"mode": "manual"}, {"mode": "live"}, {"client_id": "test-client", "client_secret": "test-second"}} {
		s.put(t, "twitter", change).decode(t, 200, &struct{}{})
	}
	s.wantApp(t, "other changes", "twitter", want, map[string]string{"client_secret": "test-second", "previous": "test-client-secret"})
	s.clock.Advance(5 * 24 * time.Hour)
	delete(want, "previous_secret_until")
	s.wantApp(t, "after its end", "twitter", want, map[string]string{"client_secret": "test-second"})
}

// Of two requests at once, neither undoes the other.
func TestConnections_PutAppAtOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.clear(t, "twitter")
	s.put(t, "twitter", fullApp()).decode(t, 200, &struct{}{})
	changes := []map[string]any{
		{"tier": "pro"}, {"monthly_post_limit": 7}, {"billing_day": 3}, {"bearer_token": "test-other-bearer"}, {"api_secret": "test-other-secret"},
	}
	// Each request has read the app before the first one writes.
	var read sync.WaitGroup
	read.Add(len(changes))
	s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		if call.Name == "Vault.Put" && call.N <= len(changes) {
			read.Done()
			read.Wait()
		}
		return next()
	})
	var done sync.WaitGroup
	for _, change := range changes {
		done.Go(func() {
			if r := s.put(t, "twitter", change); r.StatusCode != 200 {
				t.Errorf("%v: %d %s", change, r.StatusCode, r.Body)
			}
		})
	}
	done.Wait()
	want := shownApp()
	want["tier"], want["monthly_post_limit"], want["billing_day"] = "pro", 7.0, 3.0
	s.wantApp(t, "afterwards", "twitter", want, map[string]string{
		"client_secret": "test-client-secret", "bearer_token": "test-other-bearer", "api_secret": "test-other-secret",
	})
}

// A stored app that cannot be read is replaced only by a request that names every
// field: none of them is lost unnoticed.
func TestConnections_PutAppOverUnreadable(t *testing.T) {
	t.Parallel()
	for _, stored := range []string{"not JSON", `{"client_id":1}`, `[]`, `null`, `""`, `{"extras":"x"}`} {
		t.Run(stored, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			if _, err := s.vault.Put(t.Context(), "apps/twitter", connector.NewSecret(stored)); err != nil {
				t.Fatal(err)
			}
			before := s.storedApp(t, "twitter")
			for _, partial := range []map[string]any{
				{}, {"tier": "pro"}, {"mode": "manual"}, {"client_id": "test-client", "client_secret": "test-client-secret"},
				{"client_id": "test-client", "client_secret": "test-client-secret", "api_key": "test-api-key", "api_secret": "test-api-secret"},
			} {
				p := s.put(t, "twitter", partial).refused(t, 400, connector.InvalidRequest)
				if !strings.Contains(p.Detail, "cannot be read") || !strings.Contains(p.Detail, "billing_day") {
					t.Errorf("%v: %q", partial, p.Detail)
				}
			}
			if after := s.storedApp(t, "twitter"); after != before {
				t.Errorf("stored: %s, want %s", after, before)
			}
			var guide map[string]any
			s.do(t, http.MethodGet, "/platforms/twitter").decode(t, 200, &guide)
			if guide["app_unreadable"] != true || guide["app"] != nil || guide["app_configured"] != false {
				t.Errorf("the guide has app_unreadable %v, app %v", guide["app_unreadable"], guide["app"])
			}
			s.do(t, http.MethodGet, "/platforms").decode(t, 200, &struct{}{})
			if !strings.Contains(s.logs.String(), "the stored app cannot be read") {
				t.Error("nothing was logged")
			}
			all := fullApp()
			all["tier"] = nil
			s.put(t, "twitter", all).decode(t, 200, &struct{}{})
			want := shownApp()
			delete(want, "tier")
			s.wantApp(t, "afterwards", "twitter", want, map[string]string{"api_secret": "test-api-secret", "client_secret": "test-client-secret"})
		})
	}
}

// Keys that need the app's keys say so, whatever is left of the app.
func TestTokenGet_AppLacksKeys(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"no_keys":       `{"api_key":null,"api_secret":null,"bearer_token":null}`,
		"no_secret":     `{"api_secret":null}`,
		"no_app_at_all": `{"mode":"manual","client_id":null,"client_secret":null,"api_key":null,"api_secret":null,"bearer_token":null}`,
	} {
		for _, withheld := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				s.service.WithholdAppKeys = withheld
				ids := []string{s.importKeys(t, "acme", true), s.importKeys(t, "globex", false)}
				s.do(t, http.MethodPut, "/platforms/twitter/app", withBody(jsonType, change)).decode(t, 200, &struct{}{})
				for _, id := range ids {
					for _, full := range []string{"false", "true"} {
						s.do(t, http.MethodGet, "/connections/"+id+"/token?full="+full).refused(t, 409, connector.AppNotConfigured)
						if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","full":`+full+`}`); failure == nil || failure.Type != string(connector.AppNotConfigured) {
							t.Errorf("direct, full %s: %v", full, failure)
						}
					}
				}
				s.putApp(t, "twitter")
				if withheld {
					return
				}
				s.wantLent(t, "once the keys are there", "twitter", ids[0])
			})
		}
	}
}

// No answer of token-get has an empty key of the app.
func TestTokenGet_NoEmptyKeys(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	ids := map[string]string{"keys": s.importKeys(t, "keys", true), "unverified keys": s.importKeys(t, "unverified", false)}
	for platform := range idAndSecret {
		ids[platform] = s.connect(t, platform, "acme", sandbox.Choice{})[0]
		ids["unverified "+platform] = s.imported(t, platform, "globex", false, leaning(platform, s.importable(t, platform)))
	}
	for platform := range idAndSecret {
		s.put(t, platform, map[string]any{"mode": "manual", "client_secret": nil}).decode(t, 200, &struct{}{})
	}
	for name, id := range ids {
		for answer, body := range s.handedOut(t, id) {
			for _, key := range []string{"client_id", "client_secret", "client_key", "app_id", "app_secret", "api_key", "api_secret"} {
				if strings.Contains(body, `"`+key+`":""`) {
					t.Errorf("%s, %s: an empty %s: %s", name, answer, key, body)
				}
			}
		}
	}
}
