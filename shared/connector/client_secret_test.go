package connector_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

const newSecret = "test-client-secret-2"

// put stores the sandbox's app of a platform with another client secret.
func (b *bench) put(t *testing.T, name connector.Name, secret string) {
	t.Helper()
	b.putClient(t, name, b.sandbox.AppOf(string(name)).ClientID, secret)
}

func (b *bench) putClient(t *testing.T, name connector.Name, id, secret string) {
	t.Helper()
	if _, err := b.PutApp(t.Context(), name, connector.App{ClientID: id, ClientSecret: connector.NewSecret(secret), Mode: connector.Live}); err != nil {
		t.Fatal(err)
	}
}

// useAll makes every kind of call that shows the client secret.
func (b *bench) useAll(t *testing.T, name connector.Name) {
	t.Helper()
	c := b.connect(t, name)
	full, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, Full: true, ForceRefresh: true})
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	if _, err := b.Verify(t.Context(), c.ID); err != nil {
		t.Errorf("verify: %v", err)
	}
	delete(full.Full, "client_secret")
	delete(full.Full, "app_secret")
	if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: name, Owner: "acme", Credentials: full.Full}); err != nil {
		t.Errorf("import: %v", err)
	}
	// A grant ends with the last of its connections.
	for _, c := range b.connected(t) {
		if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
			t.Errorf("disconnect: %v", err)
		}
	}
	if after, err := b.Connection(t.Context(), c.ID); err != nil || after.StatusReason != "" || b.revocations(name) == 0 {
		t.Errorf("the revocation: %q, %v", after.StatusReason, err)
	}
}

// It does not matter whether the portal or the connector learns of a new client
// secret first.
func TestClientSecret_Rotation(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		for situation, rotate := range map[string]func(t *testing.T, b *bench, old string){
			"connector_first": func(t *testing.T, b *bench, _ string) {
				b.put(t, name, newSecret)
			},
			"platform_first": func(t *testing.T, b *bench, old string) {
				b.sandbox.SetSecrets(string(name), newSecret, old)
				b.useAll(t, name)
				b.put(t, name, newSecret)
				b.sandbox.SetSecrets(string(name), newSecret)
			},
			"stored_twice": func(t *testing.T, b *bench, _ string) {
				b.put(t, name, newSecret)
				b.put(t, name, newSecret)
			},
			"undone": func(t *testing.T, b *bench, old string) {
				b.put(t, name, newSecret)
				b.put(t, name, old)
			},
		} {
			t.Run(situation+"/"+string(name), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				rotate(t, b, b.sandbox.AppOf(string(name)).ClientSecret)
				b.useAll(t, name)
			})
		}
	}
}

// The previous secret ends with another client, and after a week.
func TestClientSecret_PreviousEnds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		end  func(t *testing.T, b *bench, id, old string)
	}{
		{"another_client_in_between", func(t *testing.T, b *bench, id, old string) {
			b.putClient(t, "youtube", "another-client", "test-client-secret-3")
			b.putClient(t, "youtube", id, newSecret)
		}},
		{"a_week_later", func(t *testing.T, b *bench, id, old string) {
			b.putClient(t, "youtube", id, newSecret)
			b.clock.Advance(7 * 24 * time.Hour)
		}},
		{"two_secrets_later", func(t *testing.T, b *bench, id, old string) {
			b.putClient(t, "youtube", id, "test-client-secret-3")
			b.putClient(t, "youtube", id, newSecret)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "youtube")
			app := b.sandbox.AppOf("youtube")
			row.end(t, b, app.ClientID, app.ClientSecret)
			before := b.refreshes("youtube")
			if _, err := b.Refresh(t.Context(), c.ID); !errors.Is(err, connector.AppMisconfigured) {
				t.Errorf("refresh: %v, want %s", err, connector.AppMisconfigured)
			}
			if after, err := b.Connection(t.Context(), c.ID); err != nil || after.Status != connector.Active {
				t.Errorf("the connection: %s, %v", after.Status, err)
			}
			if shown := b.refreshes("youtube") - before; row.name != "two_secrets_later" && shown != 1 {
				t.Errorf("the refresh token was shown %d times", shown)
			}
		})
	}
}

// Only the refusal of the client leads to a second try. Any other answer may
// come after the platform acted, and a code that works once must not be shown
// again.
func TestClientSecret_SecondTryAfterRefusedClientsOnly(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		for _, kind := range []sandbox.Kind{sandbox.Cut, sandbox.Throttled, sandbox.Outage, sandbox.HTML, sandbox.Empty, sandbox.DeadGrant, sandbox.ErrorIn200, sandbox.Truncated} {
			t.Run(string(name)+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.sandbox.SetSecrets(string(name), newSecret, b.sandbox.AppOf(string(name)).ClientSecret)
				b.put(t, name, newSecret)
				request := b.consented(t, name)
				b.sandbox.Fault(sandbox.Fault{Platform: string(name), Endpoint: "token", Kind: kind, Acts: kind == sandbox.Cut, Times: -1})
				if _, err := b.Callback(t.Context(), request); err == nil {
					t.Fatal("the callback succeeded")
				}
				if n := b.sandbox.Count(string(name), "token"); n != 1 {
					t.Errorf("the token endpoint was called %d times", n)
				}
			})
		}
	}
}

// Where both secrets are refused the app is refused, and no connection is marked
// (I5).
func TestClientSecret_BothRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, name)
			b.put(t, name, newSecret)
			b.sandbox.SetSecrets(string(name), "test-client-secret-3")
			if _, err := b.Refresh(t.Context(), c.ID); !errors.Is(err, connector.AppMisconfigured) {
				t.Errorf("refresh: %v", err)
			}
			if after, err := b.Connection(t.Context(), c.ID); err != nil || after.Status != connector.Active || after.Failures != 0 {
				t.Errorf("the connection: %s after %d failures, %v", after.Status, after.Failures, err)
			}
			b.sandbox.SetSecrets(string(name), newSecret)
			b.clock.Advance(5 * time.Minute)
			if _, err := b.Refresh(t.Context(), c.ID); err != nil {
				t.Errorf("once the new secret is in force: %v", err)
			}
		})
	}
}

// Notices that were signed with the previous secret are accepted for a week.
// Others never are.
func TestClientSecret_Notices(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		rotate func(t *testing.T, b *bench)
		want   error
	}{
		{"signed_with_the_previous_one", func(t *testing.T, b *bench) { b.put(t, "facebook", newSecret) }, nil},
		{"signed_with_the_new_one", func(t *testing.T, b *bench) {
			b.put(t, "facebook", newSecret)
			b.sandbox.SetSecrets("facebook", newSecret)
		}, nil},
		{"signed_with_one_that_never_was", func(t *testing.T, b *bench) {
			b.put(t, "facebook", newSecret)
			b.sandbox.SetSecrets("facebook", "test-client-secret-3")
		}, connector.StateInvalid},
		{"signed_with_the_previous_one_a_week_later", func(t *testing.T, b *bench) {
			b.put(t, "facebook", newSecret)
			b.clock.Advance(7 * 24 * time.Hour)
		}, connector.StateInvalid},
		{"signed_with_the_secret_of_another_client", func(t *testing.T, b *bench) {
			b.putClient(t, "facebook", "999", newSecret)
		}, connector.StateInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "facebook")
			row.rotate(t, b)
			b.clock.Advance(time.Minute)
			result, err := b.TakeNotice(t.Context(), "facebook", "deauthorize", b.signedRequest(c))
			if !errors.Is(err, row.want) || (err == nil) != (result.Affected > 0) {
				t.Errorf("%+v, %v, want %v", result, err, row.want)
			}
		})
	}
}
