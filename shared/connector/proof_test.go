package connector_test

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// importKeys stores the OAuth 1.0a keys of X's app, and imports a user's keys that
// lean on them.
func (b *bench) importKeys(t *testing.T) connector.ID {
	t.Helper()
	registered := b.sandbox.AppOf(sandbox.Twitter)
	app := connector.App{ClientID: registered.ClientID, ClientSecret: connector.NewSecret(registered.ClientSecret), Extras: connector.Fields{}}
	for name, value := range registered.Extras {
		app.Extras.Set(name, value)
	}
	if _, err := b.PutApp(t.Context(), sandbox.Twitter, app); err != nil {
		t.Fatal(err)
	}
	key := b.sandbox.UserKeys()[0]
	imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: sandbox.Twitter, Owner: "acme", Credentials: connector.Fields{
		"access_token": connector.NewSecret(key.AccessToken), "access_token_secret": connector.NewSecret(key.AccessTokenSecret),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return imported.Connections[0].ID
}

// withoutProofs makes the credentials of a connection look as the previous release
// stored them.
func (b *bench) withoutProofs(t *testing.T, id connector.ID) {
	t.Helper()
	c := b.connection(t, id)
	key := connector.CredentialsKey{Kind: connector.OfConnection, ID: string(id), Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID}
	creds, err := b.CredentialStore.Get(t.Context(), key, c.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	creds.VerifiedKey, creds.KnownSecret, creds.AccountID, creds.AccountOwed = "", "", "", false
	creds.Generation++
	ref, err := b.CredentialStore.Put(t.Context(), key, c.Credentials, creds)
	if err != nil {
		t.Fatal(err)
	}
	b.change(t, id, func(c *connector.Connection) { c.Credentials = ref })
}

func TestProof(t *testing.T) {
	t.Parallel()

	// Right after the upgrade many callers ask for one connection of the previous
	// release: the platform is asked once.
	for name, ask := range map[string]func(b *bench, id connector.ID) (string, error){
		"token": func(b *bench, id connector.ID) (string, error) {
			token, err := b.Token(context.Background(), connector.TokenRequest{ConnectionID: id})
			return token.Credentials.Get("api_secret"), err
		},
		"sign": func(b *bench, id connector.ID) (string, error) {
			header, err := b.Sign(context.Background(), connector.SignRequest{ConnectionID: id, Method: "GET", URL: "https://api.x.com/2/users/me"})
			return header.Reveal(), err
		},
	} {
		t.Run("fifty_callers_are_one_check/"+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Random = rand.Reader
			id := b.importKeys(t)
			b.withoutProofs(t, id)
			b.Sleep = connector.Sleep // a caller that waits must not move the holder's clock
			before := b.sandbox.Count(sandbox.Twitter, "me")
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if got, err := ask(b, id); err != nil || got == "" {
						t.Errorf("got an answer: %v, %v", got != "", err)
					}
				})
			}
			all.Wait()
			if n := b.sandbox.Count(sandbox.Twitter, "me") - before; n != 1 {
				t.Errorf("%d calls of the platform, want 1", n)
			}
			b.wantActive(t, id)
		})
	}

	// The first exchange of an import, and the question whose its tokens are, are one
	// each, however many callers wait for them.
	t.Run("fifty_callers_of_an_import", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.Random = rand.Reader
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: sandbox.Twitter, Owner: "globex", Credentials: b.elsewhere(t, sandbox.Twitter, allowed)})
		if err != nil {
			t.Fatal(err)
		}
		id := imported.Connections[0].ID
		b.expire(t, id)
		b.Sleep = connector.Sleep
		before := b.sandbox.Count(sandbox.Twitter, "me")
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := b.Token(context.Background(), connector.TokenRequest{ConnectionID: id}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := b.refreshes(sandbox.Twitter); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
		if n := b.sandbox.Count(sandbox.Twitter, "me") - before; n != 1 {
			t.Errorf("%d lookups, want 1", n)
		}
	})

	// A proof is a new generation, and no renewal: nobody is told of a refresh.
	t.Run("stored_without_an_event", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		id := b.importKeys(t)
		b.withoutProofs(t, id)
		before := b.connection(t, id)
		if _, err := b.token(t, id); err != nil {
			t.Fatal(err)
		}
		after := b.connection(t, id)
		if after.Credentials.Generation != before.Credentials.Generation+1 || len(b.published(connector.EventRefreshed)) != 0 {
			t.Errorf("generation %d after %d, events %v", after.Credentials.Generation, before.Credentials.Generation, b.published(connector.EventRefreshed))
		}
		if after.Lease != (connector.Lease{}) || after.Attempt != (connector.Attempt{}) {
			t.Errorf("left: %+v, %+v", after.Lease, after.Attempt)
		}
	})

	// The weekly check proves, too.
	t.Run("due_check", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		id := b.importKeys(t)
		b.withoutProofs(t, id)
		b.clock.Advance(8 * 24 * time.Hour)
		b.wantSwept(t, "a check", connector.Refreshed)
		before := b.sandbox.Count(sandbox.Twitter, "me")
		token, err := b.token(t, id)
		if err != nil || token.Credentials["api_secret"].Empty() || token.Degraded {
			t.Errorf("degraded %v, %v", token.Degraded, err)
		}
		if n := b.sandbox.Count(sandbox.Twitter, "me") - before; n != 0 {
			t.Errorf("%d calls of the platform", n)
		}
	})

	// A caller without the time for an exchange gets the token without the app's keys.
	t.Run("too_little_time", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		id := b.importKeys(t)
		b.withoutProofs(t, id)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		token, err := b.Token(ctx, connector.TokenRequest{ConnectionID: id})
		if err != nil || !token.Degraded || !token.Credentials["api_secret"].Empty() {
			t.Errorf("degraded %v, %v", token.Degraded, err)
		}
	})
}
