package connector_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// confirmationEnd is a promise: when the sweep ends a consent that was not
// confirmed.
const confirmationEnd = 11 * time.Minute

// wantNothingPending wants no credentials of a pending consent in the vault.
func (b *bench) wantNothingPending(t *testing.T) {
	t.Helper()
	if names := b.vault.Names("pending/"); len(names) > 0 {
		t.Errorf("in the vault: %v", names)
	}
}

// due returns what is due until now.
func (b *bench) due(t *testing.T, now time.Time) []connector.Due {
	t.Helper()
	var all []connector.Due
	for shard := range connector.DueShards {
		due, err := b.store.Due(t.Context(), shard, now, 100)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, due...)
	}
	return all
}

// A consent that is not confirmed in time is revoked, and deleted (I12).
func TestPending_Unconfirmed(t *testing.T) {
	t.Parallel()

	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run("revoked_and_deleted/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			confirmation := b.toConfirm(t, name, allowed)
			b.clock.Advance(confirmationEnd - time.Second)
			b.wantSwept(t, "a second too early")
			if n := b.revocations(name); n > 0 {
				t.Errorf("a second too early: %d revocations", n)
			}
			b.clock.Advance(time.Second)
			b.wantSwept(t, "in time", connector.Expired)
			if b.revocations(name) == 0 {
				t.Error("the grant was not revoked")
			}
			b.wantNothingPending(t)
			b.wantNothingToConfirm(t, "after the revocation", confirmation, "acme")
			b.clock.Advance(time.Hour)
			b.wantSwept(t, "an hour later")
		})
	}

	// During an outage the consent cannot be revoked, and it cannot be confirmed
	// either.
	t.Run("outage", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		confirmation := b.toConfirm(t, "youtube", allowed)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "revoke", Kind: sandbox.Outage, Times: 2})
		b.clock.Advance(confirmationEnd)
		for range 2 {
			b.wantSwept(t, "during the outage", connector.Failed)
			b.wantNothingToConfirm(t, "during the outage", confirmation, "acme")
			b.clock.Advance(15 * time.Minute)
		}
		b.wantSwept(t, "after the outage", connector.Expired)
		b.wantNothingPending(t)
	})

	// A platform that never answers does not preserve the secret.
	t.Run("outage_of_a_day", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.toConfirm(t, "youtube", allowed)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "revoke", Kind: sandbox.Outage, Times: 1000})
		b.clock.Advance(confirmationEnd + 24*time.Hour)
		b.wantSwept(t, "after a day", connector.Expired)
		b.wantNothingPending(t)
	})

	// The connection of a person survives, whoever sent the person another link.
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run("connection_of_the_person_survives/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, name)
			b.toConfirmFor(t, connector.LinkRequest{Platform: name, Owner: "attacker"}, allowed)
			b.clock.Advance(confirmationEnd)
			if results := b.sweep(t); !slices.Contains(results, connector.Expired) {
				t.Fatalf("the sweep: %v", results)
			}
			if _, err := b.Verify(t.Context(), c.ID); err != nil {
				t.Errorf("the connection that was there: %v", err)
			}
		})
	}

	// A message that anybody can write into the queue ends nothing before its time.
	t.Run("forged_message", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		confirmation := b.toConfirm(t, "youtube", allowed)
		due := b.due(t, b.clock.Now().Add(time.Hour))
		if len(due) != 1 {
			t.Fatalf("due in an hour: %v", due)
		}
		if result, err := b.HandleDue(t.Context(), due[0].RecordKey); result != connector.NotDue || err != nil {
			t.Errorf("before its time: %v, %v", result, err)
		}
		if _, err := b.Confirm(t.Context(), confirmation, "acme"); err != nil {
			t.Errorf("Confirm: %v", err)
		}
	})

	// What the code yielded is sealed into the record of the consent, so that it needs
	// no vault.
	t.Run("vault_takes_no_writes", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consentedTo(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ReturnURL: returnURL, Confirm: true}, allowed)
		b.hook(connectortest.Fail(errFlaky, "Vault.Put"))
		result, err := b.Callback(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		b.hook(nil)
		if _, err := b.Confirm(t.Context(), result.Confirmation, "acme"); err != nil {
			t.Error(err)
		}
	})

	// One record stands for all accounts of a consent, and holds no secret of theirs.
	t.Run("several_grants_are_one_record", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.toConfirm(t, "facebook", sandbox.Choice{Pages: []string{"200000000000001", "200000000000002"}})
		if names := b.vault.Names("pending/"); len(names) != 0 {
			t.Fatalf("in the vault: %v, want no secret", names)
		}
		b.clock.Advance(confirmationEnd)
		if due := b.due(t, b.clock.Now()); len(due) != 1 || due[0].Kind != connector.StateKind {
			t.Errorf("due: %v, want one consent", due)
		}
		b.wantSwept(t, "in time", connector.Expired)
		b.wantNothingPending(t)
	})
}

// A process that connects an account and crashes between the secret and its
// record leaves a grant that no record refers to. The sweep revokes and deletes
// it, unless the account was connected again. An import is finished (I13).
func TestPending_OrphanedSecret(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		platform connector.Name
		imported bool
		again    bool // the person connects once more
		down     bool // the platform, for a while
		crashes  bool // else the store fails, as long as the connecting lasts
	}{
		{name: "crashed", platform: "tiktok", crashes: true},
		{name: "crashed_with_several_accounts", platform: "facebook", crashes: true},
		{name: "store_fails", platform: "tiktok"},
		{name: "platform_is_down_at_first", platform: "tiktok", crashes: true, down: true},
		{name: "connected_again", platform: "tiktok", crashes: true, again: true},
		{name: "imported", platform: "tiktok", imported: true, crashes: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			var left string
			down := false
			broken := b.process(func(_ context.Context, call connectortest.Call, next func() error) error {
				switch call.Name {
				case "Vault.Put":
					left = call.Secret
				case "Store.Create":
					if test.crashes {
						panic(crash{})
					}
					down = true
					return errFlaky
				case "Store.Connection", "Store.UserConnections":
					if down {
						return errFlaky
					}
				}
				return next()
			})
			connect := func() { broken.Callback(t.Context(), b.consented(t, test.platform)) }
			if test.imported {
				c := b.connect(t, test.platform)
				fields := b.full(t, c.ID)
				if _, err := b.store.Commit(t.Context(), connector.Change{Before: &c}); err != nil {
					t.Fatal(err)
				}
				connect = func() {
					broken.Import(t.Context(), connector.ImportRequest{Platform: test.platform, Owner: "beta", Credentials: fields})
				}
			}
			if test.crashes {
				wantCrash(t, connect)
			} else {
				connect()
			}
			if _, _, err := b.vault.Get(t.Context(), left, ""); err != nil {
				t.Fatalf("no secret was left: %v", err)
			}
			if test.again {
				b.connect(t, test.platform)
			}
			if test.down {
				b.sandbox.Fault(sandbox.Fault{Platform: string(test.platform), Endpoint: "me", Kind: sandbox.Outage})
				b.clock.Advance(30 * time.Minute)
				if got := b.sweep(t); !slices.Contains(got, connector.Failed) || len(b.connected(t)) > 0 {
					t.Errorf("while the platform is down: the sweep did %v", got)
				}
			}
			b.clock.Advance(30 * time.Minute)
			b.sweep(t)
			for _, c := range b.connected(t) {
				if _, err := b.token(t, c.ID); err != nil {
					t.Errorf("the connection that the sweep made: %v", err)
				}
			}
			if n := len(b.connected(t)); n == 0 && !test.imported {
				t.Error("the consent was lost")
			}
			if _, _, err := b.vault.Get(t.Context(), left, ""); errors.Is(err, connector.ErrNotFound) == test.imported {
				t.Errorf("the secret is in the vault: %v", err)
			}
			if test.imported {
				if _, err := b.token(t, connector.ID(strings.TrimPrefix(left, "connections/"))); err != nil {
					t.Errorf("the import was not finished: %v", err)
				}
			}
			if b.sandbox.Kill(string(test.platform), "", 0) == 0 {
				t.Error("the grant is dead at the platform")
			}
		})
	}

	// Once the record is created there is no ticket any more, even if the process
	// crashes then.
	t.Run("crashed_after_the_record", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		crashing := b.process(afterCall("Store.Create", 1, func() { panic(crash{}) }))
		wantCrash(t, func() { crashing.Callback(t.Context(), b.consented(t, "tiktok")) })
		b.clock.Advance(2 * time.Minute)
		b.wantSwept(t, "with a record", connector.Sent)
		page := b.connected(t)
		if len(page) != 1 {
			t.Fatalf("%d connections, want one", len(page))
		}
		if _, err := b.token(t, page[0].ID); err != nil {
			t.Error(err)
		}
	})
}

// putUnrecorded writes a ticket in the form of the previous release: it announces
// the credentials of a new connection.
func (b *bench) putUnrecorded(t *testing.T, c connector.Connection) connector.RecordKey {
	t.Helper()
	id, err := connector.NewID(b.Random)
	if err != nil {
		t.Fatal(err)
	}
	now := b.clock.Now()
	body, err := json.Marshal(map[string]any{
		"connection_id": c.ID, "platform": c.Platform, "account_id": c.AccountID, "user_id": c.UserID, "since": now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ticket := connector.Ticket{
		RecordKey: connector.RecordKey{Kind: connector.UnrecordedKind, ID: string(id)},
		Body:      body, ExpiresAt: now.Add(7 * 24 * time.Hour), DueAt: now.Add(time.Minute),
	}
	if _, err := b.store.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}}); err != nil {
		t.Fatal(err)
	}
	return ticket.RecordKey
}

// Tickets that the previous release wrote are understood, also where its message
// names no kind.
func TestPending_PreviousRelease(t *testing.T) {
	t.Parallel()

	for name, withKind := range map[string]bool{"": true, "_in_a_message_without_a_kind": false} {
		message := func(key connector.RecordKey) connector.RecordKey {
			if withKind {
				return key
			}
			return connector.RecordKey{ID: key.ID}
		}
		t.Run("announced_secret_without_a_record"+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "tiktok")
			if _, err := b.store.Commit(t.Context(), connector.Change{Before: &c}); err != nil {
				t.Fatal(err)
			}
			key := b.putUnrecorded(t, c)
			b.clock.Advance(2 * time.Minute)
			if result, err := b.HandleDue(t.Context(), message(key)); result != connector.Gone || err != nil {
				t.Errorf("got %s, %v; want %s", result, err, connector.Gone)
			}
			b.wantNoSecret(t, "afterwards", c.ID)
			b.wantNoGrant(t, "afterwards", "tiktok")
			b.wantNothingDue(t, "afterwards")
		})
		t.Run("announced_secret_with_a_record"+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "tiktok")
			key := b.putUnrecorded(t, c)
			b.clock.Advance(2 * time.Minute)
			if result, err := b.HandleDue(t.Context(), message(key)); result != connector.Gone || err != nil {
				t.Errorf("got %s, %v; want %s", result, err, connector.Gone)
			}
			b.clock.Advance(time.Hour)
			b.wantNothingDue(t, "afterwards")
			if _, err := b.token(t, c.ID); err != nil {
				t.Error(err)
			}
		})
		t.Run("pending_consent"+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.putPending(t)
			b.clock.Advance(confirmationEnd)
			due := b.due(t, b.clock.Now())
			if len(due) != 1 {
				t.Fatalf("due: %v", due)
			}
			b.clock.Advance(-time.Second)
			if result, err := b.HandleDue(t.Context(), message(due[0].RecordKey)); result != connector.NotDue || err != nil {
				t.Errorf("before its time: %s, %v; want %s", result, err, connector.NotDue)
			}
			b.clock.Advance(time.Second)
			if result, err := b.HandleDue(t.Context(), message(due[0].RecordKey)); result != connector.Expired || err != nil {
				t.Errorf("got %s, %v; want %s", result, err, connector.Expired)
			}
			b.wantNothingPending(t)
			b.wantNoGrant(t, "afterwards", "tiktok")
		})
	}

	// A consent that waits while functions are replaced can still be confirmed.
	t.Run("pending_consent_confirmed", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		confirmation := b.putPending(t)
		if _, err := b.Confirm(t.Context(), confirmation, "beta"); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("of another owner: %v, want %s", err, connector.ConnectionNotFound)
		}
		confirmed, err := b.Confirm(t.Context(), confirmation, "acme")
		if err != nil || len(confirmed.Connections) != 1 {
			t.Fatalf("confirmed %v, %v", confirmed, err)
		}
		if _, err := b.token(t, confirmed.Connections[0].ID); err != nil {
			t.Error(err)
		}
		if _, err := b.Confirm(t.Context(), confirmation, "acme"); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("confirmed again: %v, want %s", err, connector.ConnectionNotFound)
		}
		b.wantNothingPending(t)
	})
}

// putPending stores a consent that waits for its confirmation as the previous release
// does: with the credentials of each account. It returns the confirmation.
func (b *bench) putPending(t *testing.T) connector.Secret {
	t.Helper()
	c := b.connect(t, "tiktok")
	creds, _, err := b.CredentialStore.Latest(t.Context(), connector.CredentialsKey{
		Kind: connector.OfConnection, ID: string(c.ID), Owner: "acme", Platform: "tiktok", AccountID: c.AccountID,
	}, c.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Commit(t.Context(), connector.Change{Before: &c}); err != nil {
		t.Fatal(err)
	}
	id, now := string(c.ID), b.clock.Now()
	creds.ConsentID = ""
	if _, err := b.CredentialStore.Put(t.Context(), connector.CredentialsKey{
		Kind: connector.OfConsent, ID: id + "/0", Owner: "acme", Platform: "tiktok", AccountID: c.AccountID,
	}, connector.CredentialsRef{}, creds); err != nil {
		t.Fatal(err)
	}
	confirmation := connector.NewSecret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	sum := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	before := now.Add(confirmationLife)
	body := fmt.Sprintf(`{"authorization":{"platform":"tiktok","owner":"acme","link":%q,"scopes":["user.info.basic"],"redirect_uri":"","expires_at":%q},`+
		`"grants":[{"account_id":%q,"user_id":%q}],"confirm_before":%q}`,
		sum("link"), now.Format(time.RFC3339), c.AccountID, c.UserID, before.Format(time.RFC3339))
	_, err = b.store.Commit(t.Context(), connector.Change{Put: []connector.Ticket{
		{RecordKey: connector.RecordKey{Kind: connector.PendingKind, ID: id}, Body: []byte(body), ExpiresAt: now.Add(7 * 24 * time.Hour), DueAt: before.Add(time.Minute)},
		{RecordKey: connector.RecordKey{Kind: connector.ConfirmationKind, ID: sum(confirmation.Reveal())}, Bound: sum("acme"),
			Body: fmt.Appendf(nil, `{"pending":%q}`, id), ExpiresAt: before},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return confirmation
}
