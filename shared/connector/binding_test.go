package connector_test

import (
	"encoding/json"
	"errors"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
)

// Who can write to the table, and to nothing else, gets no token of another
// connection: the stored credentials name their own.
func TestBinding_ForgedRecord(t *testing.T) {
	t.Parallel()
	forgeries := map[string]func(victim connector.Connection) connector.Connection{
		"owner": func(c connector.Connection) connector.Connection { c.Owner = "mallory"; return c },
		"owner_and_account": func(c connector.Connection) connector.Connection {
			c.Owner, c.AccountID = "mallory", "account-of-mallory"
			return c
		},
		"owner_and_unknown_account": func(c connector.Connection) connector.Connection {
			c.Owner, c.AccountID = "mallory", "unverified-account"
			return c
		},
		"platform": func(c connector.Connection) connector.Connection { c.Platform = "youtube"; return c },
		"account":  func(c connector.Connection) connector.Connection { c.AccountID = "account-of-mallory"; return c },
		"owner_and_status": func(c connector.Connection) connector.Connection {
			c.Owner = "mallory"
			c.Status = connector.NeedsReauth
			return c
		},
	}
	for name, forge := range forgeries {
		for _, sealed := range []bool{false, true} {
			t.Run(name+map[bool]string{true: "/sealed", false: "/secret"}[sealed], func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				if sealed {
					b.hook(connectortest.Fail(errFlaky, "Vault.Put"))
				}
				victim := b.connect(t, "tiktok")
				b.hook(nil)
				b.change(t, victim.ID, func(c *connector.Connection) { *c = forge(*c) })
				for what, call := range map[string]func() error{
					"token-get": func() error { _, err := b.token(t, victim.ID); return err },
					"refresh":   func() error { _, err := b.Refresh(t.Context(), victim.ID); return err },
					"verify":    func() error { _, err := b.Verify(t.Context(), victim.ID); return err },
				} {
					if err := call(); err == nil {
						t.Errorf("%s of the forged record succeeded", what)
					}
				}
				if n := b.refreshes("tiktok"); n > 0 {
					t.Errorf("the refresh token was sent %d times", n)
				}
			})
		}
	}
}

// A reference that was copied into another record opens nothing.
func TestBinding_CopiedReference(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		b := newBench(t)
		if sealed {
			b.hook(connectortest.Fail(errFlaky, "Vault.Put"))
		}
		ids := b.owners(t, "tiktok", 2)
		b.hook(nil)
		victim, err := b.token(t, ids[0])
		if err != nil {
			t.Fatal(err)
		}
		b.change(t, ids[1], func(c *connector.Connection) { c.Credentials = b.connection(t, ids[0]).Credentials })
		b.change(t, ids[1], func(c *connector.Connection) { c.ExpiresAt = b.clock.Now().Add(connector.MaxMinTTL) })
		if got, err := b.token(t, ids[1]); err == nil && got.AccessToken.Equal(victim.AccessToken) {
			t.Errorf("sealed %t: the copied reference gave the other connection's token", sealed)
		}
	}
}

// unbind makes a connection's secret as an earlier release stored it.
func (b *bench) unbind(t *testing.T, id connector.ID) {
	t.Helper()
	name := "connections/" + string(id)
	value, _, err := b.vault.Get(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(value.Reveal()), &object); err != nil {
		t.Fatal(err)
	}
	stored := object["stored"].(map[string]any)
	for _, field := range []string{"kind", "id", "owner", "platform", "account_id"} {
		delete(stored, field)
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	version, err := b.vault.Put(t.Context(), name, connector.NewSecret(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	b.change(t, id, func(c *connector.Connection) { c.Credentials.Version, c.Credentials.Bound = version, false })
}

// Credentials that an earlier release stored are bound when the connection is due,
// also where the platform renews nothing. Afterwards a forged record is refused.
func TestBinding_EarlierRelease(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, name)
			b.unbind(t, c.ID)
			if _, err := b.token(t, c.ID); err != nil {
				t.Fatalf("before it is bound: %v", err)
			}
			strict := b.process(nil)
			b.ports.Wire(strict, nil, credentialstore.Options{RefuseUnbound: true})
			if _, err := strict.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID}); !errors.Is(err, connector.Internal) {
				t.Errorf("where unbound credentials are refused: got %v, want %s", err, connector.Internal)
			}

			b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()))
			b.wantSwept(t, "the sweep", connector.Refreshed)
			if _, err := strict.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID}); err != nil {
				t.Errorf("once it is bound: %v", err)
			}
			b.change(t, c.ID, func(c *connector.Connection) { c.Owner = "mallory" })
			if _, err := b.token(t, c.ID); !errors.Is(err, connector.Internal) {
				t.Errorf("the forged record: got %v, want %s", err, connector.Internal)
			}
		})
	}
}
