package connector_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// followed has the credentials of a connection follow on another person's.
var followed = map[string]func(t *testing.T, b *bench, c connector.Connection, s *connector.Service) error{
	"consent": func(t *testing.T, b *bench, c connector.Connection, s *connector.Service) error {
		_, err := s.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme", ConnectionID: c.ID}, allowed))
		return err
	},
	"import": func(t *testing.T, b *bench, c connector.Connection, s *connector.Service) error {
		_, err := s.Import(t.Context(), connector.ImportRequest{Platform: "facebook", Owner: "acme", Credentials: b.fields(t, c.ID)})
		return err
	},
	"unverified_import": func(t *testing.T, b *bench, c connector.Connection, s *connector.Service) error {
		elsewhere := b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "beta"}, sandbox.Choice{Pages: []string{c.AccountID}})
		result, err := b.Callback(t.Context(), elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		// An unverified import replaces nothing that is active.
		b.change(t, c.ID, func(c *connector.Connection) { c.Status = connector.NeedsReauth })
		_, err = s.Import(t.Context(), connector.ImportRequest{Platform: "facebook", Owner: "acme", Credentials: b.fields(t, result.Connections[0].ID), SkipVerify: true})
		return err
	},
}

// Where another person's credentials follow in a connection, the secret that holds the
// former ones as an old version is deleted for good. That is so also where the vault or
// the sealer fails at any step, or the process crashes.
func TestForget_FormerPerson(t *testing.T) {
	t.Parallel()
	const former = "test-token-of-the-former-person"
	for name, follow := range followed {
		for _, how := range []string{"fails", "crashes"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					b := newBench(t)
					c := b.connect(t, "facebook")
					secret := "connections/" + string(c.ID)
					value, _, err := b.vault.Get(t.Context(), secret, "")
					if err != nil {
						t.Fatal(err)
					}
					token := b.full(t, c.ID).Get("page_access_token")
					old := strings.ReplaceAll(value.Reveal(), token, former)
					if _, err := b.vault.Put(t.Context(), secret, connector.NewSecret(old)); err != nil {
						t.Fatal(err)
					}
					if _, err := b.vault.Put(t.Context(), secret, value); err != nil {
						t.Fatal(err)
					}
					b.change(t, c.ID, func(c *connector.Connection) { c.UserID = "100000000000099" })

					f := &failing{n: n}
					process := b.process(func(ctx context.Context, call connectortest.Call, next func() error) error {
						if err := f.hook(ctx, call, next); err != nil && how == "crashes" && f.calls == n {
							panic(crash{})
						}
						return nil
					})
					if how == "fails" {
						process = b.process(f.hook)
					}
					done := func() (done bool) {
						defer func() { recover() }()
						return follow(t, b, c, process) == nil
					}()
					at := fmt.Sprintf("call %d (%s)", n, f.what)
					if !done {
						if err := follow(t, b, c, b.Service); err != nil {
							t.Errorf("%s: again: %v", at, err)
						}
					}
					b.clock.Advance(10 * time.Minute)
					b.sweep(t)
					b.clock.Advance(10 * time.Minute)
					b.sweep(t)
					if strings.Contains(b.vault.Text(), former) {
						t.Errorf("%s: the vault still holds the token of the former person", at)
					}
					if _, err := b.token(t, c.ID); err != nil {
						t.Errorf("%s: the token: %v", at, err)
					}
					if got := b.connection(t, c.ID); got.ForgetSecret || len(got.Credentials.Sealed) > 0 {
						t.Errorf("%s: the credentials were not moved: %+v", at, got)
					}
					if !f.hit {
						return
					}
				}
			})
		}
	}

	// An import of the very credentials that are there is their person's, and proves no
	// more.
	t.Run("same_credentials", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: "facebook", Owner: "acme", Credentials: b.fields(t, c.ID), SkipVerify: true}); err != nil {
			t.Fatal(err)
		}
		if got := b.connection(t, c.ID); got.UserID != c.UserID || got.Credentials.Generation != 1 {
			t.Errorf("the person is %q, want %q", got.UserID, c.UserID)
		}
	})

	// The same person's credentials follow as a version, as ever. Only what the code
	// yielded is sealed, and the lasting form of it.
	t.Run("same_person", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		var names []string
		b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
			names = append(names, call.Name)
			return next()
		})
		if err := b.reauthorize(t, "facebook", c.ID); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(names, " "); strings.Contains(all, "Vault.Delete") || strings.Count(all, "Sealer.Seal") != 2 {
			t.Errorf("calls: %s", all)
		}
	})
}

// While a consent deletes the former secret, no worker stores the credentials in a new
// one, which the deletion could hit.
func TestForget_WorkerMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "facebook")
	b.change(t, c.ID, func(c *connector.Connection) { c.UserID = "100000000000099" })
	following := b.process(beforeCall("Vault.Delete", 1, func() {
		b.change(t, c.ID, func(c *connector.Connection) { c.RefreshAt = b.clock.Now() })
		if _, err := b.HandleDue(t.Context(), dueKey(c.ID)); err != nil {
			t.Error(err)
		}
	}))
	if err := followed["consent"](t, b, c, following); err != nil {
		t.Fatal(err)
	}
	if _, err := b.token(t, c.ID); err != nil {
		t.Errorf("the token afterwards: %v", err)
	}
	if left := b.connection(t, c.ID); left.ForgetSecret || left.Lease.Holder != "" {
		t.Errorf("the secret is still to be forgotten: %v, the lease is %+v", left.ForgetSecret, left.Lease)
	}
}
