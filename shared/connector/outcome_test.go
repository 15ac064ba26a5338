package connector_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

func TestOutcome_Renewed(t *testing.T) {
	t.Parallel()

	// A holder whose answer comes after a new consent leaves an older generation
	// as the newest version of the secret, and nothing else (I8).
	t.Run("late_renewal_keeps_a_new_consent", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		var consented connector.Fields
		late := b.withPlatform(nil, func() {
			b.outlive()
			if err := b.reauthorize(t, "twitter", id); err != nil {
				t.Error(err)
			}
			consented = b.full(t, id)
		})
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Error(err)
		}
		if !b.full(t, id).Equal(consented) {
			t.Error("the tokens of the late holder are handed out")
		}
		b.expire(t, id)
		if _, err := b.token(t, id); err != nil {
			t.Error(err)
		}
		calls := b.sandbox.Calls("twitter", "token")
		if shown := calls[len(calls)-1].Form.Get("refresh_token"); shown != consented.Get("refresh_token") {
			t.Error("the next refresh shows the refresh token of the late holder")
		}
	})

	// A refresh ends after the platform's notice that the grant is gone: no token
	// is handed out, and nothing is due any more (I5).
	t.Run("late_renewal_keeps_needs_reauth_of_a_notice", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		late := b.withPlatform(nil, func() { b.deauthorize(t, id) })
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.ReauthorizationRequired) {
			t.Errorf("got %v, want %s", err, connector.ReauthorizationRequired)
		}
		b.clock.Advance(30 * 24 * time.Hour)
		b.wantNothingDue(t, "of a connection that needs a consent")
	})

	// What the platform gives after the connection was disconnected is revoked, and
	// its credentials are deleted (I10).
	for name, purge := range map[string]bool{"disconnected": false, "purged": true} {
		t.Run("late_grant_is_revoked/"+name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "tiktok")
			// The first revocation fails, so that only the late one counts.
			b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "revoke", Kind: sandbox.Outage})
			late := b.withPlatform(nil, func() {
				if err := b.Disconnect(t.Context(), id, purge); err != nil {
					t.Error(err)
				}
			})
			if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("got %v, want %s", err, connector.ConnectionNotFound)
			}
			b.wantNoGrant(t, "afterwards", "tiktok")
			b.wantNoSecret(t, "afterwards", id)
		})
	}

	// A purge deletes for good, and so does a holder that stored its credentials
	// before the purge and comes to the record after it (I10, I13).
	t.Run("late_writer_after_a_purge_purges", func(t *testing.T) {
		t.Parallel()
		for _, when := range []string{"before the write", "after the write"} {
			b, id := expired(t, "tiktok")
			purge := func() {
				if err := b.Disconnect(t.Context(), id, true); err != nil {
					t.Errorf("%s: %v", when, err)
				}
			}
			hook := beforeCall("Vault.Put", 1, purge)
			if when == "after the write" {
				hook = afterCall("Vault.Put", 1, purge)
			}
			_, err := b.process(hook).Refresh(t.Context(), id)
			if !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("%s: got %v, want %s", when, err, connector.ConnectionNotFound)
			}
			if names := b.vault.Names("connections/"); len(names) > 0 {
				t.Errorf("%s: left in the vault: %v", when, names)
			}
			b.wantNoGrant(t, when, "tiktok")
		}
	})

	// A holder that crashes after its write leaves nothing behind a purge: a write
	// never creates a deleted secret again (I13).
	t.Run("deleted_secret_is_not_created_again", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		late := b.process(func(_ context.Context, call connectortest.Call, next func() error) error {
			if call.Name != "Vault.Put" {
				return next()
			}
			if err := b.Disconnect(t.Context(), id, true); err != nil {
				t.Error(err)
			}
			next()
			panic(crash{})
		})
		wantCrash(t, func() { late.Refresh(t.Context(), id) })
		if names := b.vault.Names("connections/"); len(names) > 0 {
			t.Errorf("left in the vault: %v", names)
		}
	})

	// The first credentials of the connection are sealed, and it is purged
	// while the platform answers. The renewed credentials are the first ones that
	// the vault gets, and are deleted for good (I10, I13).
	t.Run("late_first_secret_is_purged", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		down := true
		b.hook(connectortest.On("Vault.Put", func(_ int, next func() error) error {
			if down {
				return errFlaky
			}
			return next()
		}))
		id := b.connect(t, "tiktok").ID
		b.expire(t, id)
		late := b.withPlatform(nil, func() {
			down = false
			if err := b.Disconnect(t.Context(), id, true); err != nil {
				t.Error(err)
			}
		})
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("got %v, want %s", err, connector.ConnectionNotFound)
		}
		if names := b.vault.Names("connections/"); len(names) > 0 {
			t.Errorf("left in the vault: %v", names)
		}
		b.wantNoGrant(t, "afterwards", "tiktok")
	})

	t.Run("secret_deleted_beside_a_living_record", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		late := b.withPlatform(nil, func() {
			if err := b.vault.Delete(t.Context(), "connections/"+string(id), true); err != nil {
				t.Error(err)
			}
		})
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Errorf("the refresh: %v", err)
		}
		b.wantActive(t, id)
		b.expire(t, id)
		if _, err := b.token(t, id); err != nil {
			t.Errorf("the next refresh: %v", err)
		}
	})

	// An import's first exchange stores twice: the renewed credentials, then with
	// them the account that the platform named.
	t.Run("secret_deleted_while_the_account_is_confirmed", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "twitter", Owner: "globex", Credentials: b.elsewhere(t, "twitter", allowed)})
		if err != nil {
			t.Fatal(err)
		}
		id := imported.Connections[0].ID
		b.expire(t, id)
		late := b.process(beforeCall("Vault.Put", 2, func() {
			if err := b.vault.Delete(t.Context(), "connections/"+string(id), true); err != nil {
				t.Error(err)
			}
		}))
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Errorf("the refresh: %v", err)
		}
		b.wantActive(t, id)
		b.expire(t, id)
		if _, err := b.token(t, id); err != nil {
			t.Errorf("the next refresh: %v", err)
		}
	})

	// The first credentials of the connection are sealed, so that the
	// first write of its secret creates it. A purge in the meantime must not leave
	// the created secret (I13).
	for _, purge := range []bool{false, true} {
		name := "disconnected"
		if purge {
			name = "purged"
		}
		t.Run("late_first_secret_is_deleted/"+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.hook(connectortest.Fail(errFlaky, "Vault.Put"))
			id := b.connect(t, "tiktok").ID
			b.hook(nil)
			b.clock.Advance(2 * time.Minute)
			late := b.process(beforeCall("Vault.Put", 1, func() {
				if err := b.Disconnect(t.Context(), id, purge); err != nil {
					t.Error(err)
				}
			}))
			if _, err := late.HandleDue(t.Context(), dueKey(id)); err != nil {
				t.Error(err)
			}
			b.clock.Advance(time.Hour)
			b.sweep(t)
			b.wantNoSecret(t, "afterwards", id)
			if names := b.vault.Names("connections/"); purge && len(names) > 0 {
				t.Errorf("left in the vault: %v", names)
			}
		})
	}
}

// The write of the breaker must not come between the platform's answer and the
// storing of the credentials (I1): a slow table could lose them.
func TestOutcome_BreakerIsWrittenLast(t *testing.T) {
	t.Parallel()
	b, id := expired(t, "twitter")
	b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage})
	if _, err := b.token(t, id); !errors.Is(err, connector.PlatformUnavailable) {
		t.Fatalf("got %v, want %s", err, connector.PlatformUnavailable)
	}
	b.outlive()
	var calls []string
	b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		if call.Name == "Vault.Put" || call.Name == "Store.PutBreaker" {
			calls = append(calls, call.Name)
		}
		return next()
	})
	if _, err := b.token(t, id); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Vault.Put", "Store.PutBreaker"}; !slices.Equal(calls, want) {
		t.Errorf("writes in the order %v, want %v", calls, want)
	}
}

// A check that confirms credentials says nothing about newer ones (I8).
func TestOutcome_Unchanged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "facebook")
	b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()) + time.Second)
	var consented connector.Fields
	var recorded connector.Connection
	late := b.withPlatform(nil, func() {
		b.outlive()
		if err := b.reauthorize(t, "facebook", c.ID); err != nil {
			t.Error(err)
		}
		consented, recorded = b.full(t, c.ID), b.connection(t, c.ID)
	})
	if _, err := late.HandleDue(t.Context(), dueKey(c.ID)); err != nil {
		t.Error(err)
	}
	if !b.full(t, c.ID).Equal(consented) {
		t.Error("the credentials from before the consent are handed out")
	}
	if after := b.connection(t, c.ID); !after.IssuedAt.Equal(recorded.IssuedAt) || after.Revision != recorded.Revision {
		t.Errorf("the late check changed the record: issued at %v, want %v", after.IssuedAt, recorded.IssuedAt)
	}
}

// A platform's refusal marks a connection only where the refused credentials are
// still the newest (I5). TikTok refuses a spent refresh token and leaves the
// grant alone, so that a late holder is refused while the grant is alive.
func TestOutcome_GrantDead(t *testing.T) {
	t.Parallel()

	for name, first := range map[string]func(t *testing.T, b *bench, id connector.ID){
		"renewed_by_the_next_holder": func(t *testing.T, b *bench, id connector.ID) {
			if _, err := b.token(t, id); err != nil {
				t.Error(err)
			}
		},
		"renewed_by_a_holder_that_crashed_before_the_record": func(t *testing.T, b *bench, id connector.ID) {
			b.crashBeforeRecord(t, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "tiktok")
			late := b.withPlatform(func() {
				b.outlive()
				first(t, b, id)
			}, nil)
			if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
				t.Error(err)
			}
			b.outlive()
			if _, err := b.token(t, id); err != nil {
				t.Error(err)
			}
			b.wantActive(t, id)
		})
	}

	// The renewal arrives after the refused holder looked for one, and before it
	// writes its verdict.
	t.Run("renewed_before_the_verdict_is_written", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		late, finish := b.lateHolder(t, id, func(wait func()) *connector.Service { return b.withPlatform(nil, wait) })
		b.ports.Wire(late, beforeCall("Store.Update", 2, func() { _ = finish() }), noCache)
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Error(err)
		}
		b.wantActive(t, id)
	})

	// The next holder rotated the token, which is why the late one is refused, and
	// has stored nothing yet.
	t.Run("renewed_and_not_yet_stored", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		late, finish := b.lateHolder(t, id, func(wait func()) *connector.Service { return b.withPlatform(nil, wait) })
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.PlatformUnavailable) {
			t.Errorf("the late holder got %v, want %s", err, connector.PlatformUnavailable)
		}
		if err := finish(); err != nil {
			t.Error(err)
		}
		b.wantActive(t, id)
		if _, err := b.token(t, id); err != nil {
			t.Error(err)
		}
	})

	// The same for a consent that could not acquire the lease in time, so that the
	// refused holder still has it.
	t.Run("consented_without_the_lease", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		hurried := b.process(nil)
		hurried.Sleep = func(context.Context, time.Duration) error { return context.DeadlineExceeded }
		holder := b.process(beforeCall("Store.Update", 2, func() {
			if err := b.on(hurried).reauthorize(t, "tiktok", id); err != nil {
				t.Error(err)
			}
		}))
		b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.DeadGrant})
		if _, err := holder.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Error(err)
		}
		b.wantActive(t, id)
		if c := b.connection(t, id); c.Credentials.Generation != 2 {
			t.Errorf("the record refers to generation %d, want that of the consent", c.Credentials.Generation)
		}
	})

	// That consent crashed before the record. The refused holder records it, and
	// releases its lease with no mark (I7).
	t.Run("consented_without_the_lease_and_crashed", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		hurried := b.process(crashAt("Store.Update", 1))
		hurried.Sleep = func(context.Context, time.Duration) error { return context.DeadlineExceeded }
		holder := b.withPlatform(func() {
			wantCrash(t, func() { b.on(hurried).reauthorize(t, "tiktok", id) })
			b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.DeadGrant})
		}, nil)
		if _, err := holder.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Error(err)
		}
		b.wantActive(t, id)
		c := b.connection(t, id)
		if c.Credentials.Generation != 2 || c.Lease.Holder != "" || c.Attempt != (connector.Attempt{}) {
			t.Errorf("generation %d, lease %+v, attempt %+v; want the consent, released", c.Credentials.Generation, c.Lease, c.Attempt)
		}
	})

	// The connection ends while the platform refuses its refresh token. That is no
	// failure of the connector.
	for name, purge := range map[string]bool{"disconnected": false, "purged": true} {
		t.Run(name+"_meanwhile", func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "tiktok")
			late := b.withPlatform(nil, func() {
				if err := b.Disconnect(t.Context(), id, purge); err != nil {
					t.Error(err)
				}
			})
			b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.DeadGrant})
			if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("got %v, want %s", err, connector.ConnectionNotFound)
			}
			b.wantNoSecret(t, "afterwards", id)
			if n := len(b.published(connector.EventReauth)); n > 0 {
				t.Error("the owner was told to connect again")
			}
		})
	}
}

func TestOutcome_Transient(t *testing.T) {
	t.Parallel()

	// Once an answer was lost, a later failure that is certain does not make the
	// first one certain (I9).
	t.Run("lost_answer_is_remembered", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		for _, fault := range []sandbox.Fault{{Kind: sandbox.Cut, Acts: true}, {Kind: sandbox.Outage}} {
			fault.Platform, fault.Endpoint = "twitter", "token"
			b.sandbox.Fault(fault)
			if _, err := b.token(t, id); !errors.Is(err, connector.PlatformUnavailable) {
				t.Fatalf("%s: got %v, want %s", fault.Kind, err, connector.PlatformUnavailable)
			}
			b.outlive()
		}
		if _, err := b.token(t, id); connector.AsError(err).Reason != "rotation_lost" {
			t.Errorf("got %v, want rotation_lost", err)
		}
	})

	// A platform that asks for a day of silence is asked again before that.
	t.Run("retry_after_is_bounded", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "youtube")
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Throttled, RetryAfter: 24 * 60 * 60})
		_, err := b.token(t, id)
		if wait := connector.AsError(err).RetryAfter; !errors.Is(err, connector.RateLimited) || wait < 15*time.Minute {
			t.Fatalf("got %v, want %s", err, connector.RateLimited)
		}
		b.clock.Advance(14 * time.Minute)
		if _, err := b.token(t, id); err == nil || b.refreshes("youtube") != 1 {
			t.Errorf("14 minutes later: %v after %d exchanges, want no second one", err, b.refreshes("youtube"))
		}
		b.clock.Advance(2 * time.Minute)
		if _, err := b.token(t, id); err != nil {
			t.Errorf("16 minutes later: %v", err)
		}
	})
}

// The refusal of an app says nothing about a grant (I5).
func TestOutcome_AppRefused(t *testing.T) {
	t.Parallel()

	t.Run("replaced_app_marks_no_connection", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.putClient(t, "youtube", "another-client", "another-secret")
		b.expire(t, c.ID)
		if _, err := b.token(t, c.ID); !errors.Is(err, connector.AppMisconfigured) {
			t.Errorf("got %v, want AppMisconfigured", err)
		}
		if n := b.refreshes("youtube"); n != 0 {
			t.Errorf("the refresh token was shown %d times with the client of another app", n)
		}
		if after := b.connection(t, c.ID); after.Status != connector.Active || after.Failures != 0 {
			t.Errorf("the connection is %s with %d failures", after.Status, after.Failures)
		}
		b.put(t, "youtube", b.sandbox.AppOf("youtube").ClientSecret)
		if _, err := b.token(t, c.ID); err != nil {
			t.Errorf("with the app restored: %v", err)
		}
	})
}
