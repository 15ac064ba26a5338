package connector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
)

func TestReconcile_Renewal(t *testing.T) {
	t.Parallel()

	// Credentials that a crashed holder stored are recorded without an exchange
	// (I7).
	t.Run("crashed_holder_left_newer_credentials", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.crashBeforeRecord(t, id)
		b.outlive()
		if _, err := b.token(t, id); err != nil {
			t.Fatal(err)
		}
		if n := b.refreshes("twitter"); n != 1 {
			t.Errorf("%d exchanges, want that of the crashed holder alone", n)
		}
		if _, err := b.Refresh(t.Context(), id); err != nil {
			t.Errorf("the next exchange: %v", err)
		}
	})

	// Nobody has shown recovered credentials to the platform, so nothing about
	// them is uncertain (I9).
	t.Run("recovered_credentials_are_certain", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.crashBeforeRecord(t, id)
		b.outlive()
		if _, err := b.token(t, id); err != nil {
			t.Fatal(err)
		}
		if c := b.connection(t, id); c.Attempt != (connector.Attempt{}) || c.Lease != (connector.Lease{}) {
			t.Errorf("attempt %+v, lease %+v", c.Attempt, c.Lease)
		}
		if _, err := b.Refresh(t.Context(), id); err != nil {
			t.Errorf("a refresh while the token is alive: %v", err)
		}
	})

	// An exchange that follows on the recovery writes a mark of its own (I3, I9).
	t.Run("exchange_after_recovery_leaves_its_mark", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.crashBeforeRecord(t, id)
		b.outlive()
		crashing := b.withPlatform(nil, func() { panic(crash{}) })
		wantCrash(t, func() { crashing.Refresh(t.Context(), id) })
		b.outlive()
		if _, err := b.Refresh(t.Context(), id); connector.AsError(err).Reason != "outcome_unknown" {
			t.Errorf("got %v, want outcome_unknown: the refresh token may be spent", err)
		}
		if token, err := b.token(t, id); err != nil {
			t.Errorf("the access token is alive: %+v, %v", token, err)
		}
	})

	// The recovery may come too late itself (I2, I8).
	t.Run("late_recovery_keeps_a_new_consent", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.crashBeforeRecord(t, id)
		b.outlive()
		var consented connector.Fields
		late := b.process(beforeCall("Store.Update", 2, func() {
			b.outlive()
			if err := b.reauthorize(t, "twitter", id); err != nil {
				t.Error(err)
			}
			consented = b.full(t, id)
		}))
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Error(err)
		}
		if consented == nil || !b.full(t, id).Equal(consented) {
			t.Error("the credentials of a crashed holder are handed out in place of the consent's")
		}
	})

	// A renewal proves nothing against a notice that came since (I5).
	t.Run("keeps_needs_reauth_of_a_notice", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		b.crashBeforeRecord(t, id)
		b.deauthorize(t, id)
		before := b.connection(t, id)
		b.outlive()
		for range 2 {
			if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
				t.Errorf("got %v, want %s", err, connector.ReauthorizationRequired)
			}
		}
		after := b.connection(t, id)
		if after.Status != connector.NeedsReauth || after.StatusReason != before.StatusReason || before.Status != connector.NeedsReauth {
			t.Errorf("the connection is %s (%s), want %s (%s)", after.Status, after.StatusReason, connector.NeedsReauth, before.StatusReason)
		}
		if after.Credentials.Generation != before.Credentials.Generation+1 {
			t.Errorf("the record refers to generation %d, want the crashed holder's", after.Credentials.Generation)
		}
		if n := len(b.published(connector.EventRecovered)); n > 0 {
			t.Errorf("%d events %q", n, connector.EventRecovered)
		}
	})
}

// The previous release stored no consent id with credentials. The mark of the
// exchange tells a renewal, which activates nothing, from a consent.
func TestReconcile_PreviousRelease(t *testing.T) {
	t.Parallel()
	for _, recorded := range []bool{true, false} {
		name := fmt.Sprintf("consent_id_recorded_%t/", recorded)
		asPreviousRelease := func(t *testing.T, b *bench, id connector.ID) {
			t.Helper()
			b.asPreviousRelease(t, id)
			if !recorded {
				b.change(t, id, func(c *connector.Connection) { c.ConsentID = "" })
			}
		}
		t.Run(name+"renewal", func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "tiktok")
			b.crashBeforeRecord(t, id)
			asPreviousRelease(t, b, id)
			b.deauthorize(t, id)
			b.outlive()
			for range 2 {
				if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
					t.Errorf("got %v, want %s", err, connector.ReauthorizationRequired)
				}
			}
		})
		t.Run(name+"consent", func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "tiktok")
			b.revokedByPlatform(t, "tiktok", id)
			b.clock.Advance(time.Second)
			crashing := b.on(b.process(crashAt("Store.Update", 2)))
			wantCrash(t, func() { crashing.reauthorize(t, "tiktok", id) })
			asPreviousRelease(t, b, id)
			b.outlive()
			if _, err := b.token(t, id); err != nil {
				t.Errorf("with credentials of a new consent stored: %v", err)
			}
			if c := b.connection(t, id); c.Status != connector.Active || c.Lease.Holder != "" {
				t.Errorf("the connection is %s (%s), its lease %+v", c.Status, c.StatusReason, c.Lease)
			}
		})
	}
}

// asPreviousRelease removes from the stored credentials of a connection what the
// previous release did not store.
func (b *bench) asPreviousRelease(t *testing.T, id connector.ID) {
	t.Helper()
	name := "connections/" + string(id)
	value, _, err := b.vault.Get(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	var secret map[string]any
	if err := json.Unmarshal([]byte(value.Reveal()), &secret); err != nil {
		t.Fatal(err)
	}
	stored, ok := secret["stored"].(map[string]any)
	if !ok {
		t.Fatalf("the secret has no object %q", "stored")
	}
	for _, field := range []string{"consent_id", "kind", "id", "owner", "platform", "account_id"} {
		if stored[field] == nil {
			t.Errorf("the secret has no %s", field)
		}
		delete(stored, field)
	}
	changed, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.vault.Put(t.Context(), name, connector.NewSecret(string(changed))); err != nil {
		t.Fatal(err)
	}
}

func TestReconcile_Consent(t *testing.T) {
	t.Parallel()

	// A consent for a connection that needs one may crash before the record, too
	// (I7). A newer consent makes the connection active, whatever marked it.
	for _, marked := range []string{"refusal", "notice"} {
		t.Run("crashed_consent_left_newer_credentials/"+marked, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "tiktok")
			if marked == "refusal" {
				b.revokedByPlatform(t, "tiktok", id)
			} else {
				b.deauthorize(t, id)
			}
			b.clock.Advance(time.Second)
			crashing := b.on(b.process(crashAt("Store.Update", 2)))
			wantCrash(t, func() { crashing.reauthorize(t, "tiktok", id) })
			b.outlive()
			if _, err := b.token(t, id); err != nil {
				t.Errorf("with credentials of a new consent stored: %v", err)
			}
			if c := b.connection(t, id); c.Status != connector.Active || c.StatusReason != "" || c.Lease.Holder != "" {
				t.Errorf("the connection is %s (%s), its lease %+v", c.Status, c.StatusReason, c.Lease)
			}
			if n := len(b.published(connector.EventRecovered)); n != 1 {
				t.Errorf("%d events %q, want one", n, connector.EventRecovered)
			}
		})
	}

	// A crashed consent for a connection that works did not recover it.
	t.Run("crashed_consent_of_an_active_connection", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		before := b.connection(t, id)
		crashing := b.on(b.process(crashAt("Store.Update", 2)))
		wantCrash(t, func() { crashing.reauthorize(t, "twitter", id) })
		b.outlive()
		if _, err := b.token(t, id); err != nil {
			t.Error(err)
		}
		if n := b.refreshes("twitter"); n != 0 {
			t.Errorf("%d exchanges, want none", n)
		}
		c := b.connection(t, id)
		if c.ConsentID == before.ConsentID || c.Credentials.Generation != before.Credentials.Generation+1 {
			t.Errorf("the record has the consent %q and generation %d, want the new ones", c.ConsentID, c.Credentials.Generation)
		}
		if n := len(b.published(connector.EventRecovered)); n > 0 {
			t.Errorf("%d events %q", n, connector.EventRecovered)
		}
	})

	// A consent that could not acquire the lease, and crashed before the record,
	// is found as long as the credential store is searched (I7).
	for name, row := range map[string]struct {
		later time.Duration
		want  error
	}{
		"crashed_consent_without_a_lease":               {30 * time.Minute, nil},
		"crashed_consent_without_a_lease_two_hours_ago": {2 * time.Hour, connector.ReauthorizationRequired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "twitter")
			b.revokedByPlatform(t, "twitter", id)
			before := b.connection(t, id)
			crashing := b.on(b.process(afterCall("Vault.Put", 1, func() { panic(crash{}) })))
			wantCrash(t, func() { crashing.reauthorize(t, "twitter", id) })
			b.change(t, id, func(c *connector.Connection) {
				c.Lease, c.UpdatedAt = connector.Lease{}, before.UpdatedAt
			})
			b.clock.Advance(row.later)
			if _, err := b.token(t, id); !errors.Is(err, row.want) {
				t.Errorf("%v later: got %v, want %v", row.later, err, row.want)
			}
		})
	}
}

// scopedPlatform is a platform whose refreshes name these scopes.
type scopedPlatform struct {
	connector.Platform
	scopes []string
}

func (p scopedPlatform) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	renewed, err := p.Platform.Refresh(ctx, app, c)
	renewed.Scopes = p.scopes
	return renewed, err
}

// Whoever reconciles computes the missing scopes in the same way: anew where the
// platform named scopes with the renewal, and not at all where it named none.
func TestReconcile_MissingScopes(t *testing.T) {
	t.Parallel()
	callers := map[string]func(t *testing.T, b *bench, id connector.ID, crashBeforeRecord func()){
		"refresh": func(t *testing.T, b *bench, id connector.ID, crashBeforeRecord func()) {
			crashBeforeRecord()
			b.outlive()
			if _, err := b.token(t, id); err != nil {
				t.Error(err)
			}
		},
		"token_of_a_connection_that_needs_reauth": func(t *testing.T, b *bench, id connector.ID, crashBeforeRecord func()) {
			crashBeforeRecord()
			b.deauthorize(t, id)
			b.outlive()
			if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
				t.Errorf("got %v, want %s", err, connector.ReauthorizationRequired)
			}
		},
		"refused_holder": func(t *testing.T, b *bench, id connector.ID, crashBeforeRecord func()) {
			late := b.withPlatform(func() {
				b.outlive()
				crashBeforeRecord()
			}, nil)
			if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
				t.Error(err)
			}
		},
	}
	rows := map[string]struct{ named, scopes, missing []string }{
		"named":     {[]string{"user.info.basic"}, []string{"user.info.basic"}, []string{"video.publish", "video.list"}},
		"not_named": {nil, []string{"user.info.basic", "video.publish"}, []string{"video.list"}},
	}
	for caller, reconcile := range callers {
		for named, row := range rows {
			t.Run(caller+"/"+named, func(t *testing.T) {
				t.Parallel()
				b, id := expired(t, "tiktok")
				b.change(t, id, func(c *connector.Connection) {
					c.Scopes, c.MissingScopes = []string{"user.info.basic", "video.publish"}, []string{"video.list"}
				})
				before := b.connection(t, id).Credentials.Generation
				reconcile(t, b, id, func() {
					crashing := b.process(crashAt("Store.Update", 2))
					wrapPlatforms(crashing, func(p connector.Platform) connector.Platform { return scopedPlatform{p, row.named} })
					wantCrash(t, func() { crashing.Token(t.Context(), connector.TokenRequest{ConnectionID: id}) })
				})
				c := b.connection(t, id)
				if !slices.Equal(c.Scopes, row.scopes) || !slices.Equal(c.MissingScopes, row.missing) {
					t.Errorf("scopes %q, missing %q; want %q and %q", c.Scopes, c.MissingScopes, row.scopes, row.missing)
				}
				if c.Credentials.Generation != before+1 {
					t.Errorf("the record refers to generation %d, want %d", c.Credentials.Generation, before+1)
				}
			})
		}
	}
}

// The record cannot be written to the end of the invocation, and the vault took
// no writes when the renewed credentials were stored. Once it does, they are
// rescued into it in time, and the next caller finds them there (I7).
func TestReconcile_RescuedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.faultless, w.platform.names = true, true
		imported, err := w.worker(0, 0).service.Import(t.Context(), connector.ImportRequest{
			Platform: "rotating", Owner: "owner", Credentials: w.platform.consent("account"),
		})
		if err != nil {
			t.Fatal(err)
		}
		id := imported.Connections[0].ID
		time.Sleep(simulatedLifetime)
		exchanges := func() (n int) {
			w.count(func(c *counts) { n = c.exchanges })
			return n
		}

		vaultDown := true
		unlucky := w.worker(1, 0).service
		ports := connectortest.Ports{Store: w.store, Vault: w.vault, Sealer: connectortest.Sealer{}, Queue: connectortest.NewQueue(), Events: connectortest.NewEvents()}
		ports.Wire(unlucky, func(ctx context.Context, call connectortest.Call, next func() error) error {
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case call.Name == "Vault.Put" && vaultDown:
				return errFlaky
			case call.Name == "Store.Update" && call.N > 1:
				vaultDown = false
				return errFlaky
			}
			return next()
		}, noCache)
		ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
		defer cancel()
		if _, err := unlucky.Token(ctx, connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.Internal) {
			t.Errorf("got %v, want %s", err, connector.Internal)
		}
		if c, err := w.store.Connection(t.Context(), id); err != nil || c.Credentials.Generation != 1 || vaultDown {
			t.Fatalf("the record refers to generation %d, %v", c.Credentials.Generation, err)
		}

		before := exchanges()
		time.Sleep(time.Minute)
		if _, err := w.token(t.Context(), w.worker(2, 0).service, id); err != nil {
			t.Error(err)
		}
		if n := exchanges() - before; n != 0 {
			t.Errorf("%d exchanges, want none after the first", n)
		}
		if c, err := w.store.Connection(t.Context(), id); err != nil || c.Credentials.Generation != 2 || len(c.Credentials.Sealed) > 0 {
			t.Errorf("the record refers to %+v, %v", c.Credentials, err)
		}
		for _, problem := range w.problems {
			t.Error(problem)
		}
	})
}

// A record that was changed by hand does not pass another key's credentials off
// as its own. Nothing is marked: the stored credentials say nothing about the
// grant.
func TestReconcile_Mismatch(t *testing.T) {
	t.Parallel()
	rows := map[string]func(c *connector.Connection){
		"owner":    func(c *connector.Connection) { c.Owner = "other" },
		"platform": func(c *connector.Connection) { c.Platform = "youtube" },
		"account":  func(c *connector.Connection) { c.AccountID = "other" },
		"id":       func(c *connector.Connection) { c.ID = "00000000-0000-4000-8000-000000000000" },
	}
	for field, change := range rows {
		for _, expired := range []bool{false, true} {
			name := field
			if expired {
				name += "_of_an_expired_token"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				c := b.connect(t, "twitter")
				value, _, err := b.vault.Get(t.Context(), "connections/"+string(c.ID), "")
				if err != nil {
					t.Fatal(err)
				}
				changed := c
				change(&changed)
				if _, err := b.store.Commit(t.Context(), connector.Change{Before: &c}); err != nil {
					t.Fatal(err)
				}
				if _, err := b.store.Commit(t.Context(), connector.Change{After: &changed}); err != nil {
					t.Fatal(err)
				}
				if changed.ID != c.ID { // the secret is moved to the new name as well
					if _, err := b.vault.Put(t.Context(), "connections/"+string(changed.ID), value); err != nil {
						t.Fatal(err)
					}
				}
				if expired {
					b.expire(t, changed.ID)
				}
				if token, err := b.token(t, changed.ID); !errors.Is(err, connector.Internal) || !token.AccessToken.Empty() {
					t.Errorf("got %v, want %s", err, connector.Internal)
				}
				if _, err := b.Refresh(t.Context(), changed.ID); !errors.Is(err, connector.Internal) {
					t.Errorf("a refresh: %v, want %s", err, connector.Internal)
				}
				b.wantActive(t, changed.ID)
				if n := b.refreshes("twitter") + b.refreshes("youtube"); n != 0 {
					t.Errorf("%d refresh tokens were shown", n)
				}
			})
		}
	}
}

// Credentials in memory are checked like those in the vault.
func TestReconcile_MismatchOfCachedCredentials(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "twitter")
	b.ports.Wire(b.Service, nil, credentialstore.Options{Cached: 10, CacheLife: time.Hour})
	if _, err := b.token(t, c.ID); err != nil {
		t.Fatal(err)
	}
	b.change(t, c.ID, func(c *connector.Connection) { c.Owner = "other" })
	if _, err := b.token(t, c.ID); !errors.Is(err, connector.Internal) {
		t.Errorf("got %v, want %s", err, connector.Internal)
	}
}
