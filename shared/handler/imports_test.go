package handler_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// importReply imports a file.
func (s *stack) importReply(t *testing.T, platform, owner string, verify bool, credentials map[string]any) reply {
	t.Helper()
	return s.do(t, "POST", "/connections", withJSON(t, map[string]any{
		"platform": platform, "owner": owner, "verify": verify, "credentials": credentials,
	}))
}

// importedAs wants one connection with the status of the answer, and returns its id and the
// warnings.
func importedAs(t *testing.T, r reply, status int) (id string, warnings []string) {
	t.Helper()
	var imported struct {
		Connections []struct{ ID string }
		Warnings    []string
	}
	r.decode(t, status, &imported)
	if len(imported.Connections) != 1 {
		t.Fatalf("%d connections, want one", len(imported.Connections))
	}
	return imported.Connections[0].ID, imported.Warnings
}

// exchanges returns how often a platform has received a refresh token.
func (s *stack) exchanges(platform string) int {
	return s.sandbox.Count(platform, "token/refresh_token")
}

// wantWorks wants a connection that refreshes and hands out a token.
func (s *stack) wantWorks(t *testing.T, what, id string) {
	t.Helper()
	s.clock.Advance(time.Minute)
	for _, request := range [][2]string{{"POST", "/refresh"}, {"GET", "/token"}} {
		if r := s.do(t, request[0], "/connections/"+id+request[1]); r.StatusCode != 200 {
			t.Fatalf("%s: %s is answered %d %s", what, request[1], r.StatusCode, r.Body)
		}
	}
	if c := s.show(t, id); c["status"] != "active" {
		t.Errorf("%s: the connection is %v (%v)", what, c["status"], c["status_reason"])
	}
}

// expiredFile returns a file whose access token has expired.
func expiredFile(credentials map[string]any) map[string]any {
	file := maps.Clone(credentials)
	file["token_expiry"] = "2026-11-22T12:00:00Z"
	return file
}

var rotatingPlatforms = []string{sandbox.Twitter, sandbox.TikTok}

// A file that was imported or handed out, and whose refresh token was spent since, is
// never sent or stored again: its connection is returned as it is.
func TestImport_SpentFile(t *testing.T) {
	t.Parallel()
	sources := map[string]func(*testing.T, *stack, string) (id string, file map[string]any){
		"imported": func(t *testing.T, s *stack, platform string) (string, map[string]any) {
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			id, _ := importedAs(t, s.importReply(t, platform, "acme", true, file), 201)
			return id, file
		},
		"imported_unverified": func(t *testing.T, s *stack, platform string) (string, map[string]any) {
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			id, _ := importedAs(t, s.importReply(t, platform, "acme", false, file), 201)
			return id, file
		},
		"spent_by_its_verification": func(t *testing.T, s *stack, platform string) (string, map[string]any) {
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			file = expiredFile(file)
			id, _ := importedAs(t, s.importReply(t, platform, "acme", true, file), 201)
			return id, file
		},
		"handed_out": func(t *testing.T, s *stack, platform string) (string, map[string]any) {
			id := s.connect(t, platform, "acme", sandbox.Choice{})[0]
			return id, s.full(t, id)
		},
		"consented_since": func(t *testing.T, s *stack, platform string) (string, map[string]any) {
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			importedAs(t, s.importReply(t, platform, "acme", true, file), 201)
			return s.connect(t, platform, "acme", sandbox.Choice{})[0], file
		},
	}
	for name, source := range sources {
		for _, platform := range rotatingPlatforms {
			for _, verify := range []bool{true, false} {
				for _, form := range []string{"as_it_was", "expired", "padded"} {
					t.Run(fmt.Sprintf("%s/%s/verify_%v/%s", name, platform, verify, form), func(t *testing.T) {
						t.Parallel()
						s := newStack(t)
						id, file := source(t, s, platform)
						s.clock.Advance(time.Minute)
						s.do(t, "POST", "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
						switch form {
						case "expired":
							s.clock.Advance(30 * 24 * time.Hour)
							file = expiredFile(file)
						case "padded":
							file["refresh_token"] = " " + file["refresh_token"].(string) + "\n"
						}
						sent := s.exchanges(platform)
						for range 2 {
							got, warnings := importedAs(t, s.importReply(t, platform, "acme", verify, file), 200)
							if got != id || len(warnings) != 1 || !strings.Contains(warnings[0], "neither sent nor stored") {
								t.Errorf("got %s %q, want %s with a warning", got, warnings, id)
							}
						}
						if n := s.exchanges(platform) - sent; n != 0 {
							t.Errorf("a refresh token was sent %d times", n)
						}
						s.wantWorks(t, "afterwards", id)
						if n := len(s.connections(t)); n != 1 {
							t.Errorf("%d connections, want one", n)
						}
						// A person whose grant ended sees that, and nothing is sent.
						s.sandbox.Kill(platform, "", 0)
						s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
						sent = s.exchanges(platform)
						if got, warnings := importedAs(t, s.importReply(t, platform, "acme", verify, file), 200); got != id || len(warnings) != 2 {
							t.Errorf("of a dead grant: %s %q", got, warnings)
						}
						if n := s.exchanges(platform) - sent; n != 0 || s.show(t, id)["status"] != "needs_reauth" {
							t.Errorf("of a dead grant: sent %d times, %v", n, s.show(t, id)["status"])
						}
					})
				}
			}
		}
	}
}

// A file whose refresh token is still the stored one changes nothing. It is verified as
// any connection.
func TestImport_CurrentFile(t *testing.T) {
	t.Parallel()
	for _, platform := range []string{sandbox.Twitter, sandbox.TikTok, sandbox.YouTube} {
		for _, verify := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/verify_%v", platform, verify), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				file, _ := s.elsewhere(t, platform, sandbox.Choice{})
				id, _ := importedAs(t, s.importReply(t, platform, "acme", true, file), 201)
				revision, sent := s.show(t, id)["revision"], s.exchanges(platform)
				s.clock.Advance(time.Minute)
				if got, warnings := importedAs(t, s.importReply(t, platform, "acme", verify, file), 200); got != id || len(warnings) > 0 {
					t.Errorf("got %s %q", got, warnings)
				}
				c := s.show(t, id)
				if n := s.exchanges(platform) - sent; n != 0 || verify == (c["verified_at"] != "2026-11-23T12:01:00Z") || !verify && c["revision"] != revision {
					t.Errorf("sent %d times, verified at %v, revision %v", n, c["verified_at"], c["revision"])
				}
				s.clock.Advance(3 * time.Hour) // its access token has expired
				sent = s.exchanges(platform)
				importedAs(t, s.importReply(t, platform, "acme", true, file), 200)
				if n := s.exchanges(platform) - sent; n != 1 {
					t.Errorf("an expired one was exchanged %d times, want once", n)
				}
				s.wantWorks(t, "afterwards", id)
			})
		}
	}
	// A dead one is refused, and nothing changes.
	t.Run("dead", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		file, _ := s.elsewhere(t, "twitter", sandbox.Choice{})
		id, _ := importedAs(t, s.importReply(t, "twitter", "acme", true, file), 201)
		s.sandbox.Kill("twitter", "", 0)
		s.importReply(t, "twitter", "acme", true, file).refused(t, 409, connector.ReauthorizationRequired)
		if c := s.show(t, id); c["status"] != "needs_reauth" {
			t.Errorf("status %v", c["status"])
		}
	})
	// Once the connection is gone, the import is as a new one.
	for _, purge := range []string{"", "?purge=true"} {
		t.Run("disconnected"+purge, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			file, _ := s.elsewhere(t, "tiktok", sandbox.Choice{})
			s.connect(t, "tiktok", "other", sandbox.Choice{}) // so that nothing is revoked
			id, _ := importedAs(t, s.importReply(t, "tiktok", "acme", true, file), 201)
			if r := s.do(t, "DELETE", "/connections/"+id+purge); r.StatusCode != 204 {
				t.Fatal(r.Body)
			}
			again, _ := importedAs(t, s.importReply(t, "tiktok", "acme", true, file), 201)
			if again == id {
				t.Error("the disconnected connection was returned")
			}
			s.wantWorks(t, "the new one", again)
		})
	}
}

// Two owners cannot share a refresh token that works once. Who brings it learns nothing
// about the other.
func TestImport_SecondOwner(t *testing.T) {
	t.Parallel()
	for _, platform := range rotatingPlatforms {
		for _, verify := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/verify_%v", platform, verify), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				file, _ := s.elsewhere(t, platform, sandbox.Choice{})
				id, _ := importedAs(t, s.importReply(t, platform, "acme", true, file), 201)
				sent := s.exchanges(platform)
				for range 2 {
					r := s.importReply(t, platform, "globex", verify, file)
					p := r.refused(t, 400, connector.InvalidRequest)
					if !strings.Contains(p.Detail, "credentials.refresh_token") || strings.Contains(r.Body, "acme") || strings.Contains(r.Body, id) {
						t.Errorf("the refusal says %s", r.Body)
					}
					s.clock.Advance(time.Minute)
					s.do(t, "POST", "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
					sent++
				}
				if n := s.exchanges(platform); n != sent {
					t.Errorf("the token was sent %d times more than by the connection", n-sent)
				}
				s.wantWorks(t, "afterwards", id)
			})
		}
	}
	t.Run("youtube_shares", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		file, _ := s.elsewhere(t, "youtube", sandbox.Choice{})
		first, _ := importedAs(t, s.importReply(t, "youtube", "acme", true, file), 201)
		second, warnings := importedAs(t, s.importReply(t, "youtube", "globex", true, file), 201)
		if len(warnings) != 1 || !strings.Contains(warnings[0], "another connection") || first == second {
			t.Errorf("warnings %q", warnings)
		}
		for owner, id := range map[string]string{"acme": first, "globex": second} {
			if got, _ := importedAs(t, s.importReply(t, "youtube", owner, true, file), 200); got != id {
				t.Errorf("%s got %s, want %s", owner, got, id)
			}
			s.wantWorks(t, owner, id)
		}
	})
}

// An import replaces the credentials of an active connection only if the platform said
// that they are newer, or that those of the connection do not work.
func TestImport_Replaces(t *testing.T) {
	t.Parallel()
	// The two files are of two consents of one person.
	two := func(t *testing.T, platform string) (s *stack, id string, file map[string]any) {
		s = newStack(t)
		id = s.connect(t, platform, "acme", sandbox.Choice{})[0]
		file, _ = s.elsewhere(t, platform, sandbox.Choice{})
		return s, id, file
	}
	for _, platform := range []string{sandbox.TikTok, sandbox.Facebook} {
		t.Run("unverified_leaves_an_active_one/"+platform, func(t *testing.T) {
			t.Parallel()
			s, id, file := two(t, platform)
			before := s.full(t, id)
			got, warnings := importedAs(t, s.importReply(t, platform, "acme", false, file), 200)
			if got != id || len(warnings) != 1 || !maps.Equal(s.full(t, id), before) {
				t.Errorf("got %s %q; replaced: %v", got, warnings, !maps.Equal(s.full(t, id), before))
			}
		})
		t.Run("unverified_mends_one_that_needs_reauth/"+platform, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, platform, "acme", sandbox.Choice{})[0]
			s.sandbox.Kill(platform, "", 0)
			s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			if got, _ := importedAs(t, s.importReply(t, platform, "acme", false, file), 201); got != id {
				t.Errorf("got %s, want %s", got, id)
			}
			s.wantWorks(t, "mended", id)
		})
	}
	for _, platform := range rotatingPlatforms {
		t.Run("verified_leaves_one_that_works/"+platform, func(t *testing.T) {
			t.Parallel()
			s, id, file := two(t, platform)
			before := s.full(t, id)
			got, warnings := importedAs(t, s.importReply(t, platform, "acme", true, file), 200)
			if got != id || len(warnings) != 1 || !maps.Equal(s.full(t, id), before) {
				t.Errorf("got %s %q; replaced: %v", got, warnings, !maps.Equal(s.full(t, id), before))
			}
			s.wantWorks(t, "it stands", id)
			// What was not stored is not remembered: it mends the connection later.
			s.sandbox.Kill(platform, "", 0)
			s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
			file, _ = s.elsewhere(t, platform, sandbox.Choice{})
			importedAs(t, s.importReply(t, platform, "acme", true, file), 201)
			s.wantWorks(t, "mended", id)
		})
		t.Run("verified_mends_one_that_died_unseen/"+platform, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, platform, "acme", sandbox.Choice{})[0]
			s.sandbox.Kill(platform, "", 0)
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			if got, _ := importedAs(t, s.importReply(t, platform, "acme", true, file), 201); got != id {
				t.Errorf("got %s, want %s", got, id)
			}
			s.wantWorks(t, "mended", id)
		})
		t.Run("nothing_while_it_cannot_be_asked/"+platform, func(t *testing.T) {
			t.Parallel()
			s, id, file := two(t, platform)
			before := s.full(t, id)
			person := s.sandbox.People(platform)[0].ID
			s.clock.Advance(3 * time.Hour) // ours must be refreshed to be asked
			file["token_expiry"] = "2026-11-24T12:00:00Z"
			s.sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: "token", Account: person, Kind: sandbox.Outage, Times: -1})
			s.sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: "me", Kind: sandbox.Outage, Times: -1})
			s.importReply(t, platform, "acme", true, file).refused(t, 503, connector.PlatformUnavailable)
			s.sandbox.ClearFaults()
			s.clock.Advance(time.Minute)
			if c := s.show(t, id); c["status"] != "active" {
				t.Errorf("the connection is %v", c["status"])
			}
			if s.full(t, id)["refresh_token"] == before["refresh_token"] {
				t.Error("it was not refreshed since")
			}
			s.wantWorks(t, "afterwards", id)
		})
	}
	t.Run("verified_replaces_what_nothing_spends/youtube", func(t *testing.T) {
		t.Parallel()
		s, id, file := two(t, "youtube")
		if got, _ := importedAs(t, s.importReply(t, "youtube", "acme", true, file), 201); got != id || s.full(t, id)["refresh_token"] != file["refresh_token"] {
			t.Errorf("got %s, want %s with the new refresh token", got, id)
		}
		s.wantWorks(t, "replaced", id)
	})
	// A refresh token that stays is not spent: what the platform accepts replaces what is
	// there, and mends it.
	t.Run("former_file/youtube", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		file, _ := s.elsewhere(t, "youtube", sandbox.Choice{})
		id, _ := importedAs(t, s.importReply(t, "youtube", "acme", true, file), 201)
		if got := s.connect(t, "youtube", "acme", sandbox.Choice{}); !slices.Equal(got, []string{id}) {
			t.Fatalf("the consent is saved on %v", got)
		}
		if got, warnings := importedAs(t, s.importReply(t, "youtube", "acme", false, file), 200); got != id || len(warnings) != 1 || s.full(t, id)["refresh_token"] == file["refresh_token"] {
			t.Errorf("unverified: %s %q", got, warnings)
		}
		if got, _ := importedAs(t, s.importReply(t, "youtube", "acme", true, file), 201); got != id || s.full(t, id)["refresh_token"] != file["refresh_token"] {
			t.Errorf("verified: %s", got)
		}
		s.connect(t, "youtube", "acme", sandbox.Choice{})
		s.setRecord(t, id, func(c *connector.Connection) { c.Status = connector.NeedsReauth })
		if got, _ := importedAs(t, s.importReply(t, "youtube", "acme", false, file), 201); got != id || len(s.connections(t)) != 1 {
			t.Errorf("unverified, of one that needs it: %s", got)
		}
		s.wantWorks(t, "afterwards", id)
	})
	// X renewed the file: its answer says that the file is newer.
	t.Run("renewed_by_the_platform/twitter", func(t *testing.T) {
		t.Parallel()
		s, id, file := two(t, "twitter")
		if got, _ := importedAs(t, s.importReply(t, "twitter", "acme", true, expiredFile(file)), 201); got != id {
			t.Errorf("got %s, want %s", got, id)
		}
		s.wantWorks(t, "replaced", id)
	})
	// Regenerated keys end those before them: what X accepts is newer.
	t.Run("oauth1_keys", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		if again := s.importKeys(t, "acme", true); again != id {
			t.Errorf("got %s, want %s", again, id)
		}
		app, key := s.sandbox.AppOf(sandbox.Twitter), s.sandbox.UserKeys()[0]
		dead := map[string]any{
			"api_key": app.Extras["api_key"], "api_secret": app.Extras["api_secret"],
			"access_token": strings.SplitN(key.AccessToken, "-", 2)[0] + "-regenerated", "access_token_secret": "test-dead",
		}
		s.importReply(t, "twitter", "acme", true, dead).refused(t, 409, connector.ReauthorizationRequired)
		if got, warnings := importedAs(t, s.importReply(t, "twitter", "acme", false, dead), 200); got != id || len(warnings) != 1 {
			t.Errorf("unverified: %s %q", got, warnings)
		}
		s.do(t, "POST", "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
	})
}

// The verification spent the refresh token of the file, and the lookup of the account
// failed: the renewed tokens are stored, since nothing else holds them.
func TestImport_LookupFails(t *testing.T) {
	t.Parallel()
	for _, platform := range rotatingPlatforms {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			file, account := s.elsewhere(t, platform, sandbox.Choice{})
			file = expiredFile(file)
			s.sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: "me", Kind: sandbox.Outage})
			id, warnings := importedAs(t, s.importReply(t, platform, "acme", true, file), 201)
			if len(warnings) != 1 || !strings.Contains(warnings[0], "not_verified") {
				t.Errorf("warnings %q", warnings)
			}
			if got, _ := importedAs(t, s.importReply(t, platform, "acme", true, file), 200); got != id {
				t.Errorf("again: %s, want %s", got, id)
			}
			s.wantWorks(t, "afterwards", id)
			if got := s.show(t, id)["account_id"]; got != account {
				t.Errorf("the account is %v, want %s", got, account)
			}
		})
	}
	t.Run("of_another_open_id", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		file, account := s.elsewhere(t, "tiktok", sandbox.Choice{})
		file = expiredFile(file)
		file["open_id"] = s.sandbox.People("tiktok")[1].ID
		id, warnings := importedAs(t, s.importReply(t, "tiktok", "acme", true, file), 201)
		if got := s.show(t, id)["account_id"]; got != account || len(warnings) != 1 {
			t.Errorf("the account is %v with %q, want %s", got, warnings, account)
		}
		s.wantWorks(t, "afterwards", id)
	})
}

// Of imports of one file at once, one sends its refresh token.
func TestImport_AtOnce(t *testing.T) {
	t.Parallel()
	for _, platform := range rotatingPlatforms {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			file = expiredFile(file)
			s.service.Sleep = connector.Sleep
			var all sync.WaitGroup
			replies := make([]reply, 8)
			for i := range replies {
				all.Go(func() { replies[i] = s.importReply(t, platform, "acme", i%2 == 0, file) })
			}
			all.Wait()
			var got []int
			for _, r := range replies {
				got = append(got, r.StatusCode)
			}
			slices.Sort(got)
			created := 0
			for _, status := range got {
				if status == 201 {
					created++
				} else if status != 200 && status != 503 {
					t.Errorf("an answer has status %d", status)
				}
			}
			if n := s.exchanges(platform); n > 1 || created != 1 {
				t.Errorf("the refresh token was sent %d times, answers %v", n, got)
			}
			if c := s.connections(t); len(c) != 1 {
				t.Fatalf("%d connections", len(c))
			} else {
				s.wantWorks(t, "afterwards", c[0]["id"].(string))
			}
		})
	}
	// The second begins while the first waits for the platform.
	t.Run("second_waits", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Sleep = connector.Sleep
		file, _ := s.elsewhere(t, "twitter", sandbox.Choice{})
		file = expiredFile(file)
		release := make(chan struct{})
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Slow, Release: release})
		other := s.process(connectortest.On("Store.Ticket", func(i int, next func() error) error {
			if i == 3 {
				close(release) // it has waited twice
			}
			return next()
		}))
		first, sent := make(chan reply), make(chan struct{})
		s.hook(connectortest.On("Store.PutTicket", func(_ int, next func() error) error {
			defer close(sent)
			return next()
		}))
		go func() { first <- s.importReply(t, "twitter", "acme", true, file) }()
		<-sent
		second := other.importReply(t, "twitter", "acme", true, file)
		if r := <-first; r.StatusCode != 201 || second.StatusCode != 200 {
			t.Errorf("the first is answered %d, the second %d", r.StatusCode, second.StatusCode)
		}
		if n := s.exchanges("twitter"); n != 1 {
			t.Errorf("the refresh token was sent %d times", n)
		}
	})
	// The first fails: the second cannot know whether its token was spent.
	t.Run("first_fails", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Sleep = connector.Sleep
		file, _ := s.elsewhere(t, "twitter", sandbox.Choice{})
		file = expiredFile(file)
		s.sandbox.Kill("twitter", "", 0)
		var all sync.WaitGroup
		replies := make([]reply, 4)
		for i := range replies {
			all.Go(func() { replies[i] = s.importReply(t, "twitter", "acme", true, file) })
		}
		all.Wait()
		for _, r := range replies {
			if r.StatusCode != 409 && r.StatusCode != 503 {
				t.Errorf("an answer is %d %s", r.StatusCode, r.Body)
			}
		}
		s.importReply(t, "twitter", "acme", true, file).refused(t, 409, connector.ReauthorizationRequired)
	})
}

// An import that crashes at any call is finished by the sweep or by the next import of
// the file. Its refresh token is not sent a second time while what it was exchanged for is
// stored, and the file is not blocked.
func TestImport_Crash(t *testing.T) {
	t.Parallel()
	standing := map[string]func(*testing.T, *stack, string){
		"no_connection": func(*testing.T, *stack, string) {},
		// The account of an expired file is known after the exchange alone.
		"active_connection": func(t *testing.T, s *stack, platform string) { s.connect(t, platform, "acme", sandbox.Choice{}) },
		"dead_connection": func(t *testing.T, s *stack, platform string) {
			id := s.connect(t, platform, "acme", sandbox.Choice{})[0]
			s.sandbox.Kill(platform, "", 0)
			s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
		},
	}
	for name, prepare := range standing {
		for _, platform := range rotatingPlatforms {
			t.Run(name+"/"+platform, func(t *testing.T) {
				t.Parallel()
				window := 0
				for n := 1; n < 200; n++ {
					s := newStack(t)
					prepare(t, s, platform)
					file, account := s.elsewhere(t, platform, sandbox.Choice{})
					file = expiredFile(file)
					sent, put := s.exchanges(platform), false
					calls, crashed := 0, false
					dying := s.process(func(_ context.Context, call connectortest.Call, next func() error) error {
						if calls++; calls >= n {
							crashed = true
							panic("crash")
						}
						err := next()
						put = put || err == nil && call.Name == "Vault.Put"
						return err
					})
					func() {
						defer func() { recover() }()
						dying.service.Import(t.Context(), connector.ImportRequest{Platform: connector.Name(platform), Owner: "acme", Credentials: fieldsOf(file)})
					}()
					at := fmt.Sprintf("crash at call %d", n)
					if s.exchanges(platform) > sent && !put {
						window++ // what was exchanged existed in the process alone
						if name == "active_connection" {
							s.wantWorks(t, at, s.connections(t)[0]["id"].(string))
						}
						continue
					}
					s.clock.Advance(2 * time.Minute)
					if (n%2 == 0) == (platform == sandbox.Twitter) { // else the import alone
						s.sweepNow(t)
					}
					if r := s.importReply(t, platform, "acme", true, file); r.StatusCode > 201 {
						t.Fatalf("%s: the next import is answered %d %s", at, r.StatusCode, r.Body)
					}
					s.clock.Advance(2 * time.Minute)
					s.sweepNow(t)
					list := s.connections(t)
					if len(list) != 1 || list[0]["account_id"] != account {
						t.Fatalf("%s: the connections are %v", at, list)
					}
					s.wantWorks(t, at, list[0]["id"].(string))
					if names := s.vault.Names("connections/"); len(names) != 1 {
						t.Errorf("%s: secrets %v", at, names)
					}
					if !crashed {
						break
					}
				}
				if window > 1 {
					t.Errorf("%d calls are in the window between the platform's answer and the first write, want one", window)
				}
			})
		}
	}
}

// fieldsOf returns credentials as the service takes them.
func fieldsOf(credentials map[string]any) connector.Fields {
	fields := connector.Fields{}
	for name, value := range credentials {
		fields.Set(name, value.(string))
	}
	return fields
}
