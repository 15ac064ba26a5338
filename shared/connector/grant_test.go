package connector_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

func TestSaveGrant_Create(t *testing.T) {
	t.Parallel()

	// The transaction that creates the record deletes the ticket that was written
	// before the credentials (I13).
	t.Run("record_and_ticket_are_one_transaction", func(t *testing.T) {
		t.Parallel()
		for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
			b := newBench(t)
			request := b.consented(t, name)
			var tickets, deleted []connector.RecordKey
			b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
				switch call.Name {
				case "Store.PutTicket":
					if key := call.Change.Put[0].RecordKey; key.Kind != connector.LinkConnectionsKind {
						tickets = append(tickets, key)
					}
				case "Vault.Put":
					if len(tickets) != len(deleted)+1 {
						t.Errorf("%s: credentials are stored with %d tickets, after %d records", name, len(tickets), len(deleted))
					}
				case "Store.Create":
					deleted = append(deleted, call.Change.Drop...)
				case "Store.DropTicket":
					if call.Change.Drop[0].Kind != connector.EventKind {
						t.Errorf("%s: a ticket is deleted by itself", name)
					}
				}
				return next()
			})
			result, err := b.Callback(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if len(deleted) != len(result.Connections) || len(tickets) != len(deleted) {
				t.Fatalf("%s: %d connections, %d tickets, %d of them deleted", name, len(result.Connections), len(tickets), len(deleted))
			}
			for i, key := range tickets {
				if deleted[i] != key || key.Kind != connector.PendingKind {
					t.Errorf("%s: the ticket %v was written and %v deleted", name, key, deleted[i])
				}
			}
		}
	})

	// The write of a record may succeed although its answer is lost (I2).
	t.Run("answer_of_the_write_was_lost", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.hook(connectortest.On("Store.Create", func(_ int, next func() error) error {
			next()
			return errFlaky
		}))
		if _, err := b.token(t, b.connect(t, "twitter").ID); err != nil {
			t.Error(err)
		}
	})

	// Credentials that got no record are deleted at once (I13).
	t.Run("record_cannot_be_written", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "tiktok")
		b.hook(connectortest.Fail(errFlaky, "Store.Create"))
		if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.Internal) {
			t.Errorf("got %v, want %s", err, connector.Internal)
		}
		if names := b.vault.Names("connections/"); len(names) > 0 {
			t.Errorf("left in the vault: %v", names)
		}
		b.hook(nil)
		b.clock.Advance(10 * time.Minute)
		b.sweep(t) // continues the consent
		if page := b.connected(t); len(page) != 1 {
			t.Errorf("afterwards: %d connections, want one", len(page))
		}
	})

	// Two consents to one account at once are one connection. The later one replaces
	// the credentials, and leaves no second secret (I2, I13).
	t.Run("account_was_connected_meanwhile", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "youtube")
		var first connector.Connection
		other := b.on(b.process(nil))
		b.hook(beforeCall("Store.Create", 1, func() { first = other.connect(t, "youtube") }))
		result, err := b.Callback(t.Context(), request)
		if err != nil || len(result.Connections) != 1 || result.Connections[0].ID != first.ID || result.Connections[0].ConsentID == first.ConsentID {
			t.Errorf("got %+v, %v; want a new consent of %s", result.Connections, err, first.ID)
		}
		if names := b.vault.Names("connections/"); len(names) != 1 {
			t.Errorf("in the vault: %v, want one secret", names)
		}
		if _, err := b.token(t, first.ID); err != nil {
			t.Error(err)
		}
	})

	// Of one consent to several accounts not all may be stored. To revoke the rest
	// would end those that are, while the index lags behind.
	t.Run("stored_in_part", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "facebook")
		b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
			switch {
			case call.Name == "Store.UserConnections":
				return nil
			case call.Name == "Store.Create" && call.N > 1:
				return errFlaky
			}
			return next()
		})
		if _, err := b.Callback(t.Context(), request); err == nil {
			t.Error("a consent that was stored in part is a success")
		}
		b.hook(nil)
		page := b.connected(t)
		if len(page) != 1 {
			t.Fatalf("%d connections, want one", len(page))
		}
		if _, err := b.Verify(t.Context(), page[0].ID); err != nil {
			t.Errorf("the connection that was stored: %v", err)
		}
	})
}

func TestSaveGrant_Replace(t *testing.T) {
	t.Parallel()

	// The event says whether the connection had stopped to work.
	for name, want := range map[string]connector.EventType{"active": connector.EventConnected, "needs_reauth": connector.EventRecovered} {
		t.Run("event_of_a_consent/"+name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "twitter")
			if name == "needs_reauth" {
				b.revokedByPlatform(t, "twitter", id)
			}
			before := len(b.published(want))
			if err := b.reauthorize(t, "twitter", id); err != nil {
				t.Fatal(err)
			}
			if events := b.events.All(); len(b.published(want)) != before+1 || events[len(events)-1].Type != want {
				t.Errorf("the events are %+v, want %q last", events, want)
			}
		})
	}

	// (I10)
	t.Run("disconnected_meanwhile", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.hook(afterCall("Vault.Put", 1, func() {
			if err := b.Disconnect(t.Context(), id, false); err != nil {
				t.Error(err)
			}
		}))
		if err := b.reauthorize(t, "twitter", id); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("got %v, want %s", err, connector.ConnectionNotFound)
		}
		if c := b.connection(t, id); c.Status != connector.Disconnected {
			t.Errorf("the connection is %s", c.Status)
		}
		// Disconnect revokes the newest credentials that it finds. Those of the consent
		// before have another token.
		if live := b.sandbox.Kill("twitter", "", 0); live > 1 {
			t.Errorf("%d grants are still alive at the platform", live)
		}
	})

	// The credentials of a new consent are not left in the vault, where no record
	// refers to them (I13).
	for name, hook := range map[string]func(string, int, func()) connectortest.Hook{
		"purged_before_the_write": beforeCall,
		"purged_after_the_write":  afterCall,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "twitter")
			writes := 0
			count := connectortest.On("Vault.Put", func(n int, next func() error) error {
				writes = n
				return next()
			})
			b.hook(connectortest.Chain(count, hook("Vault.Put", 1, func() {
				if err := b.Disconnect(t.Context(), id, true); err != nil {
					t.Error(err)
				}
			})))
			if err := b.reauthorize(t, "twitter", id); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("got %v, want %s", err, connector.ConnectionNotFound)
			}
			if writes != 1 {
				t.Errorf("%d writes of the secret, want one", writes)
			}
			b.wantNoSecret(t, "afterwards", id)
			if names := b.vault.Names("connections/"); len(names) > 0 {
				t.Errorf("left in the vault: %v", names)
			}
		})
	}

	// The credentials before are sealed, so that the consent's are the first
	// that the vault gets. The connection ends in between (I10, I13).
	for name, purge := range map[string]bool{"disconnected_before_its_first_secret": false, "purged_before_its_first_secret": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.hook(connectortest.Fail(errFlaky, "Vault.Put"))
			id := b.connect(t, "tiktok").ID
			b.hook(beforeCall("Vault.Put", 1, func() {
				if err := b.Disconnect(t.Context(), id, purge); err != nil {
					t.Error(err)
				}
			}))
			if err := b.reauthorize(t, "tiktok", id); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("got %v, want %s", err, connector.ConnectionNotFound)
			}
			b.clock.Advance(time.Hour)
			b.sweep(t)
			b.wantNoSecret(t, "afterwards", id)
			b.wantNoGrant(t, "afterwards", "tiktok")
		})
	}

	// The secret was deleted by hand. A consent creates it again, since the
	// connection is there.
	t.Run("secret_was_lost", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		if err := b.vault.Delete(t.Context(), "connections/"+string(id), true); err != nil {
			t.Fatal(err)
		}
		if _, err := b.token(t, id); connector.AsError(err).Reason != "credentials_missing" {
			t.Errorf("without a secret: %v, want credentials_missing", err)
		}
		b.outlive()
		if err := b.reauthorize(t, "twitter", id); err != nil {
			t.Fatal(err)
		}
		if _, err := b.token(t, id); err != nil {
			t.Error(err)
		}
	})

	// A refresh token passes to the next consent only where it is of the client that
	// was consented to: another client's would be refused, and the connection marked.
	for name, imported := range map[string]bool{"refresh_token_of_the_same_client": false, "refresh_token_of_another_client": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			id := b.connect(t, "youtube").ID
			before := b.full(t, id)
			if imported { // then its client is not known
				before = b.elsewhere(t, "youtube", allowed)
				if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "acme", Credentials: before}); err != nil {
					t.Fatal(err)
				}
			}
			b.sandbox.Tune(func(k *sandbox.Knobs) { k.YouTube().OmitRefreshToken = true })
			if err := b.reauthorize(t, "youtube", id); err != nil {
				t.Fatal(err)
			}
			if passed := b.full(t, id).Get("refresh_token") == before.Get("refresh_token"); passed == imported {
				t.Errorf("the refresh token passes to the consent: %v", passed)
			}
		})
	}
}

// An owner has one connection to an account. A connection whose account is not
// known yet does not become a second one, and what it had remains, while the platform
// cannot be asked whose it is.
func TestSaveGrant_OneConnectionAnAccount(t *testing.T) {
	t.Parallel()

	for name, confirm := range map[string]bool{"at_the_callback": false, "to_be_confirmed": true} {
		t.Run("of_unverified_credentials/"+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			held := b.connect(t, "twitter")
			brought := b.full(t, held.ID)
			brought.Set("access_token", "brought-access-token")
			brought.Set("refresh_token", "brought-refresh-token")
			imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "twitter", Owner: "acme", Credentials: brought, SkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			id := imported.Connections[0].ID
			_, before, err := b.vault.Get(t.Context(), "connections/"+string(id), "")
			if err != nil {
				t.Fatal(err)
			}
			request := b.consentedTo(t, connector.LinkRequest{
				Platform: "twitter", Owner: "acme", ConnectionID: id, ReturnURL: returnURL, Confirm: confirm,
			}, allowed)
			b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Outage})
			if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.AccountMismatch) {
				t.Errorf("got %v, want %s", err, connector.AccountMismatch)
			}
			if _, after, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); err != nil || after != before {
				t.Errorf("other credentials are in the vault, where they would be recorded: %v", err)
			}
			b.wantActive(t, held.ID)
		})
	}

	// (I13)
	t.Run("refused_account_leaves_no_secret", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		if _, err := b.PutApp(t.Context(), "youtube", connector.App{Mode: connector.ByHand}); err != nil {
			t.Fatal(err)
		}
		byHand, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "acme"})
		if err != nil {
			t.Fatal(err)
		}
		b.put(t, "youtube", b.sandbox.AppOf("youtube").ClientSecret)
		id := byHand.Connections[0].ID
		refused := func(when string) {
			if err := b.reauthorize(t, "youtube", id); !errors.Is(err, connector.AccountMismatch) {
				t.Errorf("connected %s: got %v, want %s", when, err, connector.AccountMismatch)
			}
			b.wantNoSecret(t, "connected "+when, id)
			if c := b.connection(t, id); c.Lease.Held(b.clock.Now()) {
				t.Errorf("connected %s: the lease is still held", when)
			}
		}
		var held connector.Connection
		other := b.on(b.process(nil))
		b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
			err := next()
			if call.Name == "Vault.Put" && call.Secret == "connections/"+string(id) {
				held = other.connect(t, "youtube")
			}
			return err
		})
		refused("meanwhile")
		b.hook(nil)
		refused("before")
		b.wantActive(t, held.ID)
	})
}

// The credentials for another id of an account are in no place that readers of the record
// use until the record has that id.
func TestSaveGrant_AnotherClient(t *testing.T) {
	t.Parallel()
	for name, sealerDown := range map[string]bool{"store_down": false, "store_and_sealer_down": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "tiktok")
			b.replaceClient(t, "tiktok")
			request := b.consentedTo(t, connector.LinkRequest{Platform: "tiktok", Owner: "acme", ReturnURL: returnURL, ConnectionID: c.ID}, allowed)
			sealed := 0
			b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
				if call.Name == "Sealer.Seal" {
					sealed++ // first what the code yielded
				}
				if sealed > 1 && (call.Name == "Store.Update" || sealerDown && call.Name == "Sealer.Seal") {
					return errFlaky
				}
				return next()
			})
			sleep := b.Service.Sleep
			b.Service.Sleep = func(context.Context, time.Duration) error {
				if sealed > 1 {
					return context.DeadlineExceeded // there is no time for another try
				}
				return nil
			}
			if _, err := b.Callback(t.Context(), request); err == nil {
				t.Fatal("the callback succeeded while the record could not be written")
			}
			b.hook(nil)
			b.Service.Sleep = sleep
			// A refresh reads the newest credentials of the connection, before it looks at the app.
			if _, err := b.Refresh(t.Context(), c.ID); !errors.Is(err, connector.AppMisconfigured) {
				t.Errorf("a refresh of the connection as it was: %v, want %s", err, connector.AppMisconfigured)
			}
			if _, err := b.token(t, c.ID); err != nil {
				t.Errorf("the connection as it was: %v", err)
			}
			if got := b.connection(t, c.ID); got.AccountID != c.AccountID || got.ConsentID != c.ConsentID {
				t.Errorf("the record has account %s of consent %s before the consent was saved", got.AccountID, got.ConsentID)
			}
			for range 3 {
				b.clock.Advance(2 * time.Minute)
				b.sweep(t)
			}
			if got := b.connection(t, c.ID); got.AccountID != b.sandbox.OpenID("") {
				t.Errorf("after the sweep: account %s", got.AccountID)
			}
			if token, err := b.token(t, c.ID); err != nil || token.Degraded {
				t.Errorf("after the sweep: %v", err)
			}
		})
	}
}
