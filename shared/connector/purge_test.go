package connector_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/sandbox"
)

// lateWriter is something that writes to a connection and may end after the
// connection was purged. begin prepares the connection and returns the write.
type lateWriter struct {
	name     string
	platform connector.Name
	begin    func(t *testing.T, b *bench, id connector.ID) func(s *connector.Service) error
	// fails are the codes of the write itself, where no purge disturbs it.
	fails []connector.Code
}

// lateWriters is every kind of write to a connection that stands.
var lateWriters = []lateWriter{
	{name: "renewed", platform: "tiktok", begin: refreshExpired},
	{name: "unchanged", platform: "facebook", begin: refreshExpired},
	{name: "refused", platform: "tiktok", fails: []connector.Code{connector.ReauthorizationRequired},
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			b.sandbox.Kill("tiktok", "", 0)
			return refreshExpired(t, b, id)
		}},
	{name: "check_refused", platform: "facebook", fails: []connector.Code{connector.ReauthorizationRequired},
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			b.sandbox.Kill("facebook", "", 0)
			return refreshExpired(t, b, id)
		}},
	{name: "transient", platform: "tiktok", fails: []connector.Code{connector.PlatformUnavailable},
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.Outage, Times: -1})
			return refreshExpired(t, b, id)
		}},
	{name: "app_refused", platform: "tiktok", fails: []connector.Code{connector.AppMisconfigured},
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			b.sandbox.SetSecrets("tiktok", "test-other-secret")
			return refreshExpired(t, b, id)
		}},
	{name: "token", platform: "twitter",
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			b.expire(t, id)
			return func(s *connector.Service) error {
				_, err := s.Token(t.Context(), connector.TokenRequest{ConnectionID: id})
				return err
			}
		}},
	{name: "worker", platform: "youtube",
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			b.expire(t, id)
			return func(s *connector.Service) error {
				_, err := s.HandleDue(t.Context(), dueKey(id))
				return err
			}
		}},
	{name: "reconciled", platform: "tiktok",
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			b.expire(t, id)
			b.crashBeforeRecord(t, id)
			b.outlive()
			return func(s *connector.Service) error {
				_, err := s.Token(t.Context(), connector.TokenRequest{ConnectionID: id})
				return err
			}
		}},
	{name: "verified", platform: "youtube",
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			return func(s *connector.Service) error {
				_, err := s.Verify(t.Context(), id)
				return err
			}
		}},
	// The purge revokes the grant, and the platform refuses its code then.
	{name: "consent", platform: "tiktok", fails: []connector.Code{connector.StateInvalid},
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			request := b.consentedTo(t, connector.LinkRequest{Platform: "tiktok", Owner: "acme", ConnectionID: id}, allowed)
			return func(s *connector.Service) error {
				_, err := s.Callback(t.Context(), request)
				return err
			}
		}},
	{name: "confirmed", platform: "tiktok",
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			confirmation := b.toConfirmFor(t, connector.LinkRequest{Platform: "tiktok", Owner: "acme", ConnectionID: id}, allowed)
			return func(s *connector.Service) error {
				_, err := s.Confirm(t.Context(), confirmation, "acme")
				return err
			}
		}},
	{name: "first_secret", platform: "tiktok", begin: sealedFirst},
	{name: "moved", platform: "tiktok",
		begin: func(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
			seal(t, b, id)
			b.clock.Advance(2 * time.Minute)
			return func(s *connector.Service) error {
				_, err := s.HandleDue(t.Context(), dueKey(id))
				return err
			}
		}},
}

func refreshExpired(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
	t.Helper()
	if !b.connection(t, id).ExpiresAt.IsZero() {
		b.expire(t, id)
	}
	return func(s *connector.Service) error {
		_, err := s.Refresh(t.Context(), id)
		return err
	}
}

// seal makes the record hold the credentials themselves, as if the vault had
// taken no write yet.
func seal(t *testing.T, b *bench, id connector.ID) {
	t.Helper()
	c := b.connection(t, id)
	value, _, err := b.vault.Get(t.Context(), "connections/"+string(id), "")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := connectortest.Sealer{}.Seal(t.Context(), value, fmt.Sprintf("credentials %s generation %d", id, c.Credentials.Generation))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.vault.Delete(t.Context(), "connections/"+string(id), true); err != nil {
		t.Fatal(err)
	}
	b.change(t, id, func(c *connector.Connection) {
		c.Credentials = connector.CredentialsRef{Generation: c.Credentials.Generation, Sealed: sealed}
		c.RefreshAt = b.clock.Now().Add(time.Minute)
	})
}

func sealedFirst(t *testing.T, b *bench, id connector.ID) func(*connector.Service) error {
	t.Helper()
	seal(t, b, id)
	return refreshExpired(t, b, id)
}

// steps counts the calls of one process to its ports and to the platforms, and
// acts at one of them.
type steps struct {
	calls  int
	at     int
	before func()
	after  func()
	what   string
	asking bool // the step is a call of a platform that is a refresh
}

// step makes a call, and acts around it if it is its turn.
func (s *steps) step(what string, asking bool, next func() error) error {
	s.calls++
	mine := s.calls == s.at
	if mine {
		s.what, s.asking = what, asking
	}
	if mine && s.before != nil {
		s.before()
	}
	err := next()
	if mine && s.after != nil {
		s.after()
	}
	return err
}

// stepping returns a process whose calls s counts.
func (b *bench) stepping(s *steps) *connector.Service {
	other := b.process(func(_ context.Context, call connectortest.Call, next func() error) error {
		return s.step(call.Name, false, next)
	})
	wrapPlatforms(other, func(p connector.Platform) connector.Platform { return steppingPlatform{p, s} })
	return other
}

type steppingPlatform struct {
	connector.Platform
	steps *steps
}

func (p steppingPlatform) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (renewed connector.Credentials, err error) {
	return renewed, p.steps.step("platform: refresh", true, func() error {
		renewed, err = p.Platform.Refresh(ctx, app, c)
		return err
	})
}

func (p steppingPlatform) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (redeemed connector.Credentials, err error) {
	return redeemed, p.steps.step("platform: redeem", false, func() error {
		redeemed, err = p.Platform.Redeem(ctx, app, a, code)
		return err
	})
}

func (p steppingPlatform) Accounts(ctx context.Context, app connector.App, consent connector.Credentials, cursor string) (list connector.AccountList, err error) {
	return list, p.steps.step("platform: accounts", false, func() error {
		list, err = p.Platform.Accounts(ctx, app, consent, cursor)
		return err
	})
}

func (p steppingPlatform) Verify(ctx context.Context, app connector.App, c connector.Credentials) (v connector.Verification, err error) {
	return v, p.steps.step("platform: verify", false, func() error {
		v, err = p.Platform.Verify(ctx, app, c)
		return err
	})
}

func (p steppingPlatform) Revoke(ctx context.Context, app connector.App, c connector.Credentials, userID string) error {
	return p.steps.step("platform: revoke", false, func() error {
		return p.Platform.(connector.Revoker).Revoke(ctx, app, c, userID)
	})
}

// wantPurged wants nothing left of a connection: no record, and no secret, not
// even one that can be recovered.
func (b *bench) wantPurged(t *testing.T, at string, id connector.ID) {
	t.Helper()
	if c, err := b.store.Connection(t.Context(), id); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("%s: the record is still there: %s (%s), %v", at, c.Status, c.StatusReason, err)
	}
	if names := b.vault.Names("connections/" + string(id)); len(names) > 0 {
		t.Errorf("%s: left in the vault: %v", at, names)
	}
}

// A purge is for good, whatever writes to the connection at the same time, and at
// whatever step of the write the purge comes. The writer is told that there is no
// such connection (I10).
func TestPurge_LateWriter(t *testing.T) {
	t.Parallel()
	for _, w := range lateWriters {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for _, after := range []bool{false, true} {
				for n := 1; ; n++ {
					b := newBench(t)
					id := b.connect(t, w.platform).ID
					write := w.begin(t, b, id)
					s := &steps{at: n}
					act := func() {
						if err := b.Disconnect(t.Context(), id, true); err != nil {
							t.Errorf("the purge at step %d (%s): %v", n, s.what, err)
						}
					}
					if s.before = act; after {
						s.before, s.after = nil, act
					}
					err := write(b.stepping(s))
					if s.calls < n {
						break
					}
					at := fmt.Sprintf("purged at step %d (%s, after it: %v)", n, s.what, after)
					checkLateError(t, at, w, s, err)
					b.wantPurged(t, at, id)
					b.clock.Advance(time.Hour)
					b.sweep(t)
					b.wantPurged(t, at+", after the sweep", id)
				}
			}
		})
	}
}

func checkLateError(t *testing.T, at string, w lateWriter, s *steps, err error) {
	t.Helper()
	if w.name == "worker" || w.name == "moved" {
		if err != nil && !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("%s: %v", at, err)
		}
		return
	}
	allowed := append([]connector.Code{connector.ConnectionNotFound}, w.fails...)
	switch {
	case s.asking && !errors.Is(err, connector.ConnectionNotFound):
		t.Errorf("%s: got %v, want %s", at, err, connector.ConnectionNotFound)
	case err != nil && !slices.Contains(allowed, connector.AsError(err).Code):
		t.Errorf("%s: got %v, want one of %v", at, err, allowed)
	}
}

// errCrashed is the error of a write whose process crashed.
var errCrashed = errors.New("the process crashed")

// pausedWrite is a write that another goroutine makes and that pauses at one step.
type pausedWrite struct {
	paused chan bool     // whether it came to the step
	resume chan struct{} // to be closed once
	ended  chan error
}

// pause begins a write that pauses before its step m. With crashes it crashes
// after the first secret that it stores then.
func (b *bench) pause(write func(*connector.Service) error, m int, crashes bool) pausedWrite {
	w := pausedWrite{paused: make(chan bool, 1), resume: make(chan struct{}), ended: make(chan error, 1)}
	came := false
	s := &steps{at: m, before: func() {
		came = true
		w.paused <- true
		<-w.resume
	}}
	process := b.stepping(s)
	if crashes {
		b.ports.Wire(process, func(_ context.Context, call connectortest.Call, next func() error) error {
			err := s.step(call.Name, false, next)
			if came && call.Name == "Vault.Put" {
				panic(crash{})
			}
			return err
		}, noCache)
	}
	go func() {
		err := errCrashed
		defer func() {
			if r := recover(); r != nil && r != any(crash{}) {
				panic(r)
			}
			if !came {
				w.paused <- false
			}
			w.ended <- err
		}()
		err = write(process)
	}()
	return w
}

// finish lets the write end.
func (w pausedWrite) finish() error {
	close(w.resume)
	return <-w.ended
}

// A purge is for good also where a write goes on between any two of its steps, from
// any step of the write; and where the writer then crashes, once the sweep has run.
func TestPurge_WriterBetweenItsSteps(t *testing.T) {
	t.Parallel()
	for _, w := range lateWriters {
		for _, crashes := range []bool{false, true} {
			name := w.name
			if crashes {
				name += "_crashes"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for m := 1; purgeAround(t, w, m, crashes); m++ {
				}
			})
		}
	}
}

// purgeAround runs a write that pauses before its step m and ends before the n-th
// step of a purge, for every n. It reports whether the write has that many steps.
func purgeAround(t *testing.T, w lateWriter, m int, crashes bool) bool {
	t.Helper()
	for n := 1; ; n++ {
		b := newBench(t)
		id := b.connect(t, w.platform).ID
		late := b.pause(w.begin(t, b, id), m, crashes)
		if !<-late.paused {
			<-late.ended
			return false
		}
		var err error
		s := &steps{at: n, before: func() { err = late.finish() }}
		if err := b.stepping(s).Disconnect(t.Context(), id, true); err != nil {
			t.Errorf("write paused at step %d, purge at step %d: %v", m, n, err)
		}
		if s.calls < n {
			late.finish()
			return true
		}
		at := fmt.Sprintf("write paused at step %d and ended at step %d (%s) of the purge", m, n, s.what)
		if !errors.Is(err, errCrashed) {
			checkLateError(t, at, w, &steps{}, err)
			b.wantPurged(t, at, id)
		}
		b.clock.Advance(time.Hour)
		b.sweep(t)
		b.wantPurged(t, at+", after the sweep", id)
		b.clock.Advance(time.Hour)
		b.wantNothingDue(t, at)
	}
}

// A purge that is interrupted is finished by the sweep, or by a second purge. A
// second purge finds nothing, and a purge of a connection that was disconnected
// deletes the secret that could be recovered.
func TestPurge_Interrupted(t *testing.T) {
	t.Parallel()
	for _, disconnected := range []bool{false, true} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("disconnected_before_%v/again_%v", disconnected, again), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					b := newBench(t)
					id := b.connect(t, "tiktok").ID
					if disconnected {
						if err := b.Disconnect(t.Context(), id, false); err != nil {
							t.Fatal(err)
						}
						if names := b.vault.Names("connections/"); len(names) != 1 {
							t.Fatalf("to be recovered: %v", names)
						}
					}
					s := &steps{at: n, after: func() { panic(crash{}) }}
					process := b.stepping(s)
					err := func() (err error) {
						defer func() { recover() }()
						return process.Disconnect(t.Context(), id, true)
					}()
					at := fmt.Sprintf("crashed after step %d (%s)", n, s.what)
					if s.calls < n {
						at = "not interrupted"
						if err != nil {
							t.Errorf("%s: %v", at, err)
						}
					}
					if again {
						if err := b.Disconnect(t.Context(), id, true); err != nil && !errors.Is(err, connector.ConnectionNotFound) {
							t.Errorf("%s: the second purge: %v", at, err)
						}
						b.wantPurged(t, at+", purged again", id)
					}
					marked := s.calls < n || n > 1 // the first step only reads
					b.clock.Advance(time.Hour)
					b.sweep(t)
					if marked || again {
						b.wantPurged(t, at+", after the sweep", id)
					}
					if s.calls < n {
						return
					}
				}
			})
		}
	}
}

// A record of the previous release that was disconnected for a data deletion says
// nothing of a purge, and is purged.
func TestPurge_PreviousRelease(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.connect(t, "facebook").ID
	b.change(t, id, func(c *connector.Connection) {
		c.Status, c.StatusReason, c.RefreshAt = connector.Disconnected, "data_deletion", b.clock.Now()
	})
	b.sweep(t)
	b.wantPurged(t, "after the sweep", id)
}

// A process that still has the credentials in memory hands out none of a connection
// that was purged while it refreshed it, although the token lives (I6, I10).
func TestPurge_CachedToken(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]sandbox.Fault{
		"renewed":   {},
		"transient": {Platform: "tiktok", Endpoint: "token", Kind: sandbox.Outage, Times: -1},
		"refused":   {Platform: "tiktok", Endpoint: "token", Kind: sandbox.DeadGrant, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			id := b.connect(t, "tiktok").ID
			if fault.Kind != "" {
				b.sandbox.Fault(fault)
			}
			caching := b.withPlatform(func() {
				if err := b.Disconnect(t.Context(), id, true); err != nil {
					t.Error(err)
				}
			}, nil)
			b.ports.Wire(caching, nil, credentialstore.Options{Cached: 10, CacheLife: time.Hour})
			if _, err := caching.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
				t.Fatal(err)
			}
			token, err := caching.Token(t.Context(), connector.TokenRequest{ConnectionID: id, ForceRefresh: true})
			if !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("got %v (degraded: %v), want %s", err, token.Degraded, connector.ConnectionNotFound)
			}
		})
	}
}
