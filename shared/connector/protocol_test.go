package connector_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// These tests stop one holder of a lease at one step, let others act, and let
// it go on: what chance seldom brings about in the simulation.

// platformHook is a platform under which things happen before a refresh is
// sent, and after it was answered.
type platformHook struct {
	connector.Platform
	before, after func()
}

func (p platformHook) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if p.before != nil {
		p.before()
	}
	renewed, err := p.Platform.Refresh(ctx, app, c)
	if p.after != nil {
		p.after()
	}
	return renewed, err
}

func (p platformHook) Revoke(ctx context.Context, app connector.App, c connector.Credentials, userID string) error {
	return p.Platform.(connector.Revoker).Revoke(ctx, app, c, userID)
}

// storeHook is a store whose writes of connections pass through functions;
// n counts the updates from 1.
type storeHook struct {
	connector.Store
	n      int
	update func(n int, act func() (connector.Connection, error)) (connector.Connection, error)
	create func(act func() (connector.Connection, error)) (connector.Connection, error)
}

func (s *storeHook) Update(ctx context.Context, c connector.Connection) (connector.Connection, error) {
	act := func() (connector.Connection, error) { return s.Store.Update(ctx, c) }
	if s.update == nil {
		return act()
	}
	s.n++
	return s.update(s.n, act)
}

func (s *storeHook) Create(ctx context.Context, c connector.Connection) (connector.Connection, error) {
	act := func() (connector.Connection, error) { return s.Store.Create(ctx, c) }
	if s.create == nil {
		return act()
	}
	return s.create(act)
}

// vaultHook is a vault whose writes pass through a function.
type vaultHook struct {
	connector.Vault
	put func(act func() (string, error)) (string, error)
}

func (v vaultHook) Put(ctx context.Context, name string, value connector.Secret) (string, error) {
	return v.put(func() (string, error) { return v.Vault.Put(ctx, name, value) })
}

// another returns a second service over the same ports, as another process
// has it, with something put around its platforms.
func (b *bench) another(before, after func()) *connector.Service {
	other := *b.Service
	other.Platforms = nil
	for _, p := range b.Platforms {
		other.Platforms = append(other.Platforms, platformHook{p, before, after})
	}
	return &other
}

// stale returns a bench with a connection whose access token has expired.
func stale(t *testing.T, name connector.Name) (*bench, connector.ID) {
	t.Helper()
	b := newBench(t)
	c := b.connect(t, name)
	b.expire(t, c.ID)
	return b, c.ID
}

// overtaken returns a holder who asks the platform only once the next one, whose
// lease came after, has got to where it stays until finish. finish returns how
// the next one ended.
func (b *bench) overtaken(t *testing.T, id connector.ID, next func(stay func()) *connector.Service) (late *connector.Service, finish func() error) {
	there, goOn, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	holder := next(func() {
		close(there)
		<-goOn
	})
	late = b.another(func() {
		b.outlive()
		go func() {
			_, err := holder.Token(t.Context(), connector.TokenRequest{ConnectionID: id})
			over <- err
		}()
		<-there
	}, nil)
	return late, func() error {
		close(goOn)
		return <-over
	}
}

// outlive makes every lease run out.
func (b *bench) outlive() { b.clock.Advance(time.Minute) }

// reauthorize has the person give consent anew.
func (b *bench) reauthorize(t *testing.T, name connector.Name, id connector.ID) error {
	t.Helper()
	request, err := b.consent(t.Context(), name, b.mint(t, connector.LinkRequest{Platform: name, Owner: "acme", ConnectionID: id}), sandbox.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Callback(t.Context(), request)
	return err
}

// full returns what is handed out, with the refresh token.
func (b *bench) full(t *testing.T, id connector.ID) connector.Fields {
	t.Helper()
	token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: id, Full: true})
	if err != nil {
		t.Fatal(err)
	}
	return token.Full
}

// dies runs f, which ends in a crash.
func dies(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if _, ok := recover().(crash); !ok {
			t.Error("nobody died")
		}
	}()
	f()
}

// diesBeforeRecord has another process refresh, and die with the new
// credentials in the vault and the record not written.
func (b *bench) diesBeforeRecord(t *testing.T, id connector.ID) {
	t.Helper()
	other := b.another(nil, nil)
	other.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
		if n == 2 {
			panic(crash{})
		}
		return act()
	}}
	dies(t, func() { other.Token(t.Context(), connector.TokenRequest{ConnectionID: id}) })
}

func (b *bench) wantActive(t *testing.T, id connector.ID) {
	t.Helper()
	if c, err := b.Connection(t.Context(), id); err != nil || c.Status != connector.Active {
		t.Errorf("the connection is %s (%s), %v", c.Status, c.StatusReason, err)
	}
	for _, e := range b.events.All() {
		if e.Type == connector.EventReauth {
			t.Error("the owner was told to connect again")
		}
	}
}

func TestProtocol_WhatADeadHolderLeftInTheVaultIsTakenOverWithoutAnExchange(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	b.diesBeforeRecord(t, id)
	b.outlive()
	if _, err := b.token(t, id); err != nil {
		t.Fatal(err)
	}
	if n := b.refreshes("twitter"); n != 1 {
		t.Errorf("%d exchanges, want the dead holder's alone", n)
	}
	if _, err := b.Refresh(t.Context(), id); err != nil {
		t.Errorf("the next exchange: %v", err)
	}
}

// TikTok refuses a spent refresh token and leaves the grant alone, so a holder
// who comes late is refused while the grant lives.
func TestProtocol_ALateRefusalCondemnsNobody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		first func(t *testing.T, b *bench, id connector.ID)
	}{
		{"another renewed it", func(t *testing.T, b *bench, id connector.ID) {
			if _, err := b.token(t, id); err != nil {
				t.Error(err)
			}
		}},
		{"another renewed it and died before the record", func(t *testing.T, b *bench, id connector.ID) { b.diesBeforeRecord(t, id) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, id := stale(t, "tiktok")
			late := b.another(func() {
				b.outlive()
				test.first(t, b, id)
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
}

// Here the renewal arrives after the refused holder has looked whether there
// is one, and before it writes its verdict.
func TestProtocol_AVerdictIsNotWrittenOverARenewal(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "tiktok")
	late, finish := b.overtaken(t, id, func(stay func()) *connector.Service { return b.another(nil, stay) })
	late.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
		if n == 2 {
			_ = finish()
		}
		return act()
	}}
	if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
		t.Error(err)
	}
	b.wantActive(t, id)
}

// A holder that wakes up after the person has given consent anew leaves an
// older generation on top of the vault, and nothing else.
func TestProtocol_ALateRenewalDoesNotReplaceANewConsent(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	var consented connector.Fields
	late := b.another(nil, func() {
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
		t.Error("the late holder's tokens are handed out")
	}
	b.expire(t, id)
	if _, err := b.token(t, id); err != nil {
		t.Error(err)
	}
	calls := b.sandbox.Calls("twitter", "token")
	if shown := calls[len(calls)-1].Form.Get("refresh_token"); shown != consented.Get("refresh_token") {
		t.Error("the next refresh shows the late holder's refresh token")
	}
}

// The same for one who moves sealed credentials into the vault.
func TestProtocol_ALateUnsealingDoesNotReplaceANewConsent(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	sealer := b.another(nil, nil)
	sealer.Vault = vaultHook{b.vault, func(func() (string, error)) (string, error) { return "", errFlaky }}
	if _, err := sealer.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(2 * time.Minute)

	var consented connector.Fields
	late := b.another(nil, nil)
	late.Vault = vaultHook{b.vault, func(act func() (string, error)) (string, error) {
		version, err := act()
		b.outlive()
		if err := b.reauthorize(t, "twitter", id); err != nil {
			t.Error(err)
		}
		consented = b.full(t, id)
		return version, err
	}}
	if _, err := late.RefreshDue(t.Context(), id); err != nil {
		t.Error(err)
	}
	if consented == nil || !b.full(t, id).Equal(consented) {
		t.Error("the credentials from before the consent are handed out")
	}
}

// Here the next holder has rotated the token, which is why the late one is
// refused, and has stored nothing yet.
func TestProtocol_ALateVerdictLeavesTheNextHolderAlone(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "tiktok")
	late, finish := b.overtaken(t, id, func(stay func()) *connector.Service { return b.another(nil, stay) })
	if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("the late one got %v, want %s", err, connector.PlatformUnavailable)
	}
	if err := finish(); err != nil {
		t.Error(err)
	}
	b.wantActive(t, id)
	if _, err := b.token(t, id); err != nil {
		t.Error(err)
	}
}

func TestProtocol_ALateHolderLeavesTheNextOnesLeaseAlone(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "tiktok")
	late, finish := b.overtaken(t, id, func(stay func()) *connector.Service { return b.another(stay, nil) })
	if _, err := late.Refresh(t.Context(), id); err != nil {
		t.Error(err)
	}
	if c, err := b.Connection(t.Context(), id); err != nil || !c.Lease.Held(b.clock.Now()) {
		t.Errorf("a lease that is another's was given up: %v", err)
	}
	if err := finish(); err != nil {
		t.Error(err)
	}
	b.wantActive(t, id)
}

// Clocks may differ: to one that is fast by four seconds a lease still holds
// at the moment in which its holder's time ends.
func TestProtocol_ALeaseOutlastsItsHolderOnAFastClock(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	const timeout = 29 * time.Second
	fast := b.another(nil, nil)
	fast.Now = func() time.Time { return b.clock.Now().Add(timeout + 4*time.Second) }
	holder := b.another(func() {
		if outcome, err := fast.RefreshDue(t.Context(), id); outcome != connector.Busy {
			t.Errorf("got %s, %v; want %s", outcome, err, connector.Busy)
		}
	}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if _, err := holder.Token(ctx, connector.TokenRequest{ConnectionID: id}); err != nil {
		t.Error(err)
	}
}

func TestProtocol_NoExchangeBeginsWithTooLittleTimeLeft(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second)
	defer cancel()
	if _, err := b.Token(ctx, connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("got %v, want %s", err, connector.PlatformUnavailable)
	}
	if n := b.refreshes("twitter"); n != 0 {
		t.Errorf("%d exchanges with 14 s left", n)
	}
}

// Nor is a code redeemed whose grant could not be stored any more.
func TestProtocol_NoCodeIsRedeemedWithTooLittleTimeLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	request := b.consented(t, "twitter")
	ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second)
	defer cancel()
	if _, err := b.Callback(ctx, request); !errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("got %v, want %s", err, connector.PlatformUnavailable)
	}
	if calls := b.sandbox.Calls("twitter", "token"); len(calls) != 0 {
		t.Errorf("%d exchanges with 14 s left", len(calls))
	}
}

func TestProtocol_AnExchangeOutlastsItsCaller(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, 29 * time.Second} {
		b, id := stale(t, "twitter")
		ctx, leave := context.WithCancel(t.Context())
		if timeout > 0 {
			ctx, leave = context.WithTimeout(t.Context(), timeout)
		}
		defer leave()
		if _, err := b.another(leave, nil).Token(ctx, connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Errorf("what was begun for a caller who left: %v", err)
		}
		if _, err := b.token(t, id); err != nil || b.refreshes("twitter") != 1 {
			t.Errorf("afterwards: %v, after %d exchanges", err, b.refreshes("twitter"))
		}
	}
}

// What the platform gives after the connection was ended is given back, and
// nothing of it stays.
func TestProtocol_ALateGrantIsRevoked(t *testing.T) {
	t.Parallel()
	for _, purge := range []bool{false, true} {
		b, id := stale(t, "tiktok")
		// The first revocation fails, so that the late one is what counts.
		b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "revoke", Kind: sandbox.Outage})
		late := b.another(nil, func() {
			if err := b.Disconnect(t.Context(), id, purge); err != nil {
				t.Error(err)
			}
		})
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("purge %v: got %v, want %s", purge, err, connector.ConnectionNotFound)
		}
		if live := b.sandbox.Kill("tiktok", "", 0); live != 0 {
			t.Errorf("purge %v: the grant still lives at the platform", purge)
		}
		if _, _, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("purge %v: the late secret is in the vault: %v", purge, err)
		}
	}
}

// A consent that mends a dead connection may die before the record, too.
func TestProtocol_WhatADeadConsentLeftInTheVaultIsTakenOver(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	b.sandbox.Kill("twitter", "", 0)
	if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
		t.Fatalf("got %v, want %s", err, connector.ReauthorizationRequired)
	}
	dies(t, func() {
		b.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
			if n == 2 {
				panic(crash{})
			}
			return act()
		}}
		b.reauthorize(t, "twitter", id)
	})
	b.Store = b.store
	b.outlive()
	if _, err := b.token(t, id); err != nil {
		t.Errorf("with live credentials in the vault: %v", err)
	}
}

func TestProtocol_AConsentDoesNotResurrect(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	b.Vault = vaultHook{b.vault, func(act func() (string, error)) (string, error) {
		version, err := act()
		if err := b.Disconnect(t.Context(), id, false); err != nil {
			t.Error(err)
		}
		return version, err
	}}
	if err := b.reauthorize(t, "twitter", id); !errors.Is(err, connector.ConnectionNotFound) {
		t.Errorf("got %v, want %s", err, connector.ConnectionNotFound)
	}
	if c, err := b.Connection(t.Context(), id); err != nil || c.Status != connector.Disconnected {
		t.Errorf("the connection is %s, %v", c.Status, err)
	}
	// The consent before was not asked for its end: it has another token.
	if live := b.sandbox.Kill("twitter", "", 0); live > 1 {
		t.Errorf("%d grants still live at the platform", live)
	}
}

// What a consent brings to a connection that was purged meanwhile is not left
// in the vault, where nobody would find it again.
func TestProtocol_AConsentLeavesNothingOfAPurgedConnection(t *testing.T) {
	t.Parallel()
	for _, ended := range []string{"before the write", "after the write"} {
		b, id := stale(t, "twitter")
		end := func() {
			if err := b.Disconnect(t.Context(), id, true); err != nil {
				t.Errorf("%s: %v", ended, err)
			}
		}
		b.Vault = vaultHook{b.vault, func(act func() (string, error)) (string, error) {
			if ended == "before the write" {
				end()
				return act()
			}
			version, err := act()
			end()
			return version, err
		}}
		if err := b.reauthorize(t, "twitter", id); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("%s: got %v, want %s", ended, err, connector.ConnectionNotFound)
		}
		if _, _, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("%s: the credentials are in the vault: %v", ended, err)
		}
	}
}

// A write may get through although its answer is lost, and then meet itself.
func TestProtocol_AWriteThatMeetsItselfIsSeen(t *testing.T) {
	t.Parallel()
	t.Run("of the lease", func(t *testing.T) {
		b, id := stale(t, "twitter")
		b.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
			c, err := act()
			if n == 1 && err == nil {
				return connector.Connection{}, connector.ErrConflict
			}
			return c, err
		}}
		before := b.clock.Now()
		if _, err := b.token(t, id); err != nil {
			t.Error(err)
		}
		if waited := b.clock.Now().Sub(before); waited > 0 {
			t.Errorf("waited %v for a lease of its own", waited)
		}
	})
	t.Run("of a new connection", func(t *testing.T) {
		b := newBench(t)
		b.Store = &storeHook{Store: b.store, create: func(act func() (connector.Connection, error)) (connector.Connection, error) {
			act()
			return connector.Connection{}, errFlaky
		}}
		if _, err := b.token(t, b.connect(t, "twitter").ID); err != nil {
			t.Error(err)
		}
	})
}

// Once an answer was lost, a failure that is certain does not make the first
// one certain.
func TestProtocol_ALostAnswerIsNotForgotten(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
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
}

func TestProtocol_WhoWaitedTakesTheResultGoodOrBad(t *testing.T) {
	t.Parallel()
	const callers = 20
	b, id := stale(t, "twitter")
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage, Times: -1})
	var waiting sync.WaitGroup
	waiting.Add(callers - 1)
	everybodyWaits := make(chan struct{})
	go func() {
		waiting.Wait()
		close(everybodyWaits)
	}()
	holder := b.another(func() {
		select {
		case <-everybodyWaits:
		case <-ctx.Done():
		}
		b.clock.Advance(time.Second)
	}, nil)
	var all sync.WaitGroup
	ask := func(s *connector.Service) {
		all.Go(func() {
			if _, err := s.Token(ctx, connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.PlatformUnavailable) {
				t.Errorf("got %v, want %s", err, connector.PlatformUnavailable)
			}
		})
	}
	ask(holder)
	for c, err := b.Connection(t.Context(), id); c.Lease.Holder == ""; c, err = b.Connection(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range callers - 1 {
		waiter := b.another(nil, nil)
		first := sync.OnceFunc(waiting.Done)
		waiter.Sleep = func(ctx context.Context, d time.Duration) error {
			first()
			if d > 250*time.Millisecond {
				t.Errorf("waits %v to try again on its own", d)
			}
			return connector.Sleep(ctx, d)
		}
		ask(waiter)
	}
	all.Wait()
	if n := b.refreshes("twitter"); n != 1 {
		t.Errorf("%d exchanges, want the holder's alone", n)
	}
}

// Credentials that were taken over from the vault were never shown by the one
// who took them over; nothing about them is in doubt.
func TestProtocol_WhatWasTakenOverIsNotInDoubt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "twitter")
	b.expire(t, c.ID)
	b.Service.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
		if n == 2 { // the commit: the holder dies between vault and record
			panic(crash{})
		}
		return act()
	}}
	func() {
		defer func() { recover() }()
		b.token(t, c.ID)
	}()
	b.Service.Store = b.store
	b.clock.Advance(time.Minute)
	if _, err := b.token(t, c.ID); err != nil {
		t.Fatal(err)
	}
	after, err := b.Connection(t.Context(), c.ID)
	if err != nil || after.Attempt != (connector.Attempt{}) || after.Lease != (connector.Lease{}) {
		t.Errorf("attempt %+v, lease %+v, %v", after.Attempt, after.Lease, err)
	}
	if _, err := b.Refresh(t.Context(), c.ID); err != nil {
		t.Errorf("a refresh while the token lives: %v", err)
	}
}

// A renewal that follows at once on what was taken over leaves its own mark.
func TestProtocol_WhatFollowsATakeOverIsMarked(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	b.diesBeforeRecord(t, id)
	b.outlive()
	dies(t, func() { b.another(nil, func() { panic(crash{}) }).Refresh(t.Context(), id) })
	b.outlive()
	if _, err := b.Refresh(t.Context(), id); connector.AsError(err).Reason != "outcome_unknown" {
		t.Errorf("got %v, want outcome_unknown: the refresh token may be spent", err)
	}
	if token, err := b.token(t, id); err != nil {
		t.Errorf("the access token lives: %+v, %v", token, err)
	}
}

// The take-over itself may come too late.
func TestProtocol_ALateTakeOverDoesNotReplaceANewConsent(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	b.diesBeforeRecord(t, id)
	b.outlive()
	var consented connector.Fields
	late := b.another(nil, nil)
	late.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
		if n == 2 {
			b.outlive()
			if err := b.reauthorize(t, "twitter", id); err != nil {
				t.Error(err)
			}
			consented = b.full(t, id)
		}
		return act()
	}}
	if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
		t.Error(err)
	}
	if consented == nil || !b.full(t, id).Equal(consented) {
		t.Error("what a dead holder left is handed out in place of the consent")
	}
}

// unreadySealer could not seal what an exchange brings.
type unreadySealer struct{ connector.Sealer }

func (unreadySealer) Prepare(context.Context) error { return errFlaky }

func TestProtocol_NoExchangeBeginsThatCouldNotBeSealed(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	ready := b.Sealer
	b.Sealer = unreadySealer{ready}
	if _, err := b.token(t, id); err == nil || b.refreshes("twitter") != 0 {
		t.Errorf("got %v after %d exchanges, want a failure and none", err, b.refreshes("twitter"))
	}
	b.Sealer = ready
	if _, err := b.token(t, id); err != nil {
		t.Errorf("once it is ready: %v", err)
	}
}

// timedPlatform notes how long a refresh, a code's exchange or an import may
// take.
type timedPlatform struct {
	connector.Platform
	limit time.Duration
}

func (p *timedPlatform) note(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok {
		p.limit = time.Until(deadline)
	}
}

func (p *timedPlatform) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	p.note(ctx)
	return p.Platform.Refresh(ctx, app, c)
}

func (p *timedPlatform) Exchange(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) ([]connector.Grant, error) {
	p.note(ctx)
	return p.Platform.Exchange(ctx, app, a, code)
}

func (p *timedPlatform) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	p.note(ctx)
	return p.Platform.Import(ctx, app, fields, verify)
}

// What the platform may take is not taken from the time to store the result.
func TestProtocol_AnExchangeLeavesTimeToStore(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	var timed []*timedPlatform
	for i, p := range b.Platforms {
		timed = append(timed, &timedPlatform{Platform: p})
		b.Platforms[i] = timed[i]
	}
	ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
	defer cancel()
	if _, err := b.Token(ctx, connector.TokenRequest{ConnectionID: id}); err != nil {
		t.Fatal(err)
	}
	twitter := timed[slices.IndexFunc(timed, func(p *timedPlatform) bool { return p.Describe().Name == "twitter" })]
	if twitter.limit <= 0 || twitter.limit > 10*time.Second {
		t.Errorf("the platform may take %v of 29 s to refresh, want 10 s", twitter.limit)
	}
	twitter.limit = 0
	if _, err := b.Callback(ctx, b.consented(t, "twitter")); err != nil || twitter.limit <= 0 || twitter.limit > 24*time.Second {
		t.Errorf("the platform may take %v of 29 s for a code, want 24 s (%v)", twitter.limit, err)
	}
	twitter.limit = 0
	request := connector.ImportRequest{Platform: "twitter", Owner: "acme", Credentials: b.full(t, id)}
	if _, err := b.Import(ctx, request); err != nil || twitter.limit <= 0 || twitter.limit > 24*time.Second {
		t.Errorf("the platform may take %v of 29 s for an import, want 24 s (%v)", twitter.limit, err)
	}
}

// What a person consents to while a notice of before is carried out stands.
func TestProtocol_ALateNoticeLeavesANewConsentAlone(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"deauthorize", "data-deletion"} {
		b := newBench(t)
		c := b.connect(t, "facebook")
		late := *b.Service
		late.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
			if n == 1 {
				b.clock.Advance(time.Minute)
				if err := b.reauthorize(t, "facebook", c.ID); err != nil {
					t.Error(err)
				}
			}
			return act()
		}}
		b.clock.Advance(time.Minute)
		raw := connector.RawNotice{Body: []byte("signed_request=" + b.sandbox.SignedRequest(c.UserID))}
		if result, err := late.TakeNotice(t.Context(), "facebook", kind, raw); err != nil {
			t.Errorf("%s: %+v, %v", kind, result, err)
		}
		if got, err := b.Connection(t.Context(), c.ID); err != nil || got.Status != connector.Active {
			t.Errorf("%s: the connection is %q, %v", kind, got.Status, err)
		}
		if _, err := b.token(t, c.ID); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// Two who carry out one data deletion at once are both told that it is done.
func TestProtocol_ADataDeletionMeetsItself(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "facebook")
	b.clock.Advance(time.Minute)
	raw := connector.RawNotice{Body: []byte("signed_request=" + b.sandbox.SignedRequest(c.UserID))}
	late := *b.Service
	late.Store = &storeHook{Store: b.store, update: func(n int, act func() (connector.Connection, error)) (connector.Connection, error) {
		if n == 1 {
			if _, err := b.TakeNotice(t.Context(), "facebook", "data-deletion", raw); err != nil {
				t.Error(err)
			}
		}
		return act()
	}}
	if result, err := late.TakeNotice(t.Context(), "facebook", "data-deletion", raw); err != nil || result.DeletionCode.Empty() {
		t.Errorf("%+v, %v", result, err)
	}
	if _, err := b.Connection(t.Context(), c.ID); !errors.Is(err, connector.ConnectionNotFound) {
		t.Errorf("the connection: %v", err)
	}
}

// eventsHook runs something before an event is sent.
type eventsHook struct {
	connector.Events
	before func()
}

func (e eventsHook) Publish(ctx context.Context, events ...connector.Event) error {
	e.before()
	return e.Events.Publish(ctx, events...)
}

// However often a connection is disconnected, and however closely, its grant
// is revoked.
func TestProtocol_DisconnectingTwiceRevokesTheGrant(t *testing.T) {
	t.Parallel()
	for _, purge := range []bool{false, true} {
		b, id := stale(t, "tiktok")
		first := *b.Service
		first.Events = eventsHook{b.events, func() {
			if err := b.Disconnect(t.Context(), id, purge); err != nil {
				t.Errorf("purge %v, at once: %v", purge, err)
			}
		}}
		if err := first.Disconnect(t.Context(), id, purge); err != nil {
			t.Errorf("purge %v: %v", purge, err)
		}
		if live := b.sandbox.Kill("tiktok", "", 0); live != 0 {
			t.Errorf("purge %v, at once: the grant still lives at the platform", purge)
		}
	}
	b, id := stale(t, "tiktok")
	b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "revoke", Kind: sandbox.Outage, Times: -1})
	for range 30 {
		if err := b.Disconnect(t.Context(), id, false); err != nil {
			t.Error(err)
		}
	}
	b.sandbox.ClearFaults()
	b.clock.Advance(time.Hour)
	b.sweep(t)
	if live := b.sandbox.Kill("tiktok", "", 0); live != 0 {
		t.Error("during an outage: the grant still lives at the platform")
	}
	if _, _, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("its secret is in the vault: %v", err)
	}
}

// A platform that never answers does not keep a secret for ever.
func TestProtocol_WhatCannotBeRevokedIsForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "tiktok")
	b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "revoke", Kind: sandbox.Outage, Times: -1})
	if err := b.Disconnect(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	for range 24 {
		b.clock.Advance(time.Hour)
		b.sweep(t)
	}
	if _, _, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("its secret is in the vault after a day: %v", err)
	}
	b.wantSwept(t, "afterwards")
}

// As long as the access token works, a refresh token that may be spent is shown
// again only while the platform promises to take it all the same.
func TestProtocol_ASpentTokenIsShownAgainOnlyInTheGraceOfThePlatform(t *testing.T) {
	t.Parallel()
	for grace, want := range map[time.Duration]int{0: 0, 10 * time.Minute: 1} {
		b := newBench(t)
		for i, p := range b.Platforms {
			if d := p.Describe(); d.Name == "twitter" {
				d.Traits.Cadence.Grace = grace
				b.Platforms[i] = paced{p, d.Traits.Cadence}
			}
		}
		c := b.connect(t, "twitter")
		b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Cut})
		force := func() connector.Token {
			token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, ForceRefresh: true})
			if err != nil {
				t.Fatalf("grace %v: %v", grace, err)
			}
			return token
		}
		if token := force(); !token.Degraded {
			t.Fatalf("grace %v: a lost answer went unseen", grace)
		}
		b.outlive()
		before := b.refreshes("twitter")
		token := force()
		if n := b.refreshes("twitter") - before; n != want || token.Degraded != (want == 0) {
			t.Errorf("grace %v: %d exchanges, want %d; degraded %v", grace, n, want, token.Degraded)
		}
	}
}

// A refresh that is under way when a platform says that the grant is gone ends
// after it: no token is handed out, and nothing is due any more.
func TestProtocol_ALateRenewalDoesNotHideANotice(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "tiktok")
	late := b.another(nil, func() {
		c, err := b.Connection(t.Context(), id)
		if err != nil {
			t.Error(err)
		}
		body, signature := b.sandbox.TikTokNotice("authorization.removed", c.AccountID)
		raw := connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: body}
		if _, err := b.TakeNotice(t.Context(), "tiktok", "webhook", raw); err != nil {
			t.Error(err)
		}
	})
	if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.ReauthorizationRequired) {
		t.Errorf("got %v, want %s", err, connector.ReauthorizationRequired)
	}
	b.clock.Advance(30 * 24 * time.Hour)
	if sweep, err := b.QueueDue(t.Context()); err != nil || sweep.Queued != 0 {
		t.Errorf("the sweep finds what only a person can mend: %+v, %v", sweep, err)
	}
}

// Whatever a connection was good for: should the one who disconnects it die,
// its secret does not stay behind, where no record names it a week later.
func TestProtocol_ADeadDisconnectionLeavesNoSecret(t *testing.T) {
	t.Parallel()
	for _, revoked := range []bool{false, true} {
		b, id := stale(t, "twitter")
		if revoked {
			b.sandbox.Kill("twitter", "", 0)
			if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
				t.Fatalf("got %v, want %s", err, connector.ReauthorizationRequired)
			}
		}
		dying := *b.Service
		dying.Events = eventsHook{b.events, func() { panic(crash{}) }}
		dies(t, func() { dying.Disconnect(t.Context(), id, false) })
		b.clock.Advance(time.Hour)
		b.sweep(t)
		if _, _, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("revoked before: %v: its secret is in the vault: %v", revoked, err)
		}
		if asked := b.sandbox.Count("twitter", "revoke") > 0; asked == revoked {
			t.Errorf("revoked before: %v: the platform was asked to revoke: %v", revoked, asked)
		}
		b.clock.Advance(time.Hour)
		if sweep, err := b.QueueDue(t.Context()); err != nil || sweep.Queued != 0 {
			t.Errorf("revoked before: %v: it is due again: %+v, %v", revoked, sweep, err)
		}
	}
}

// A person's data deletion that was begun is not taken back by an operator who
// disconnects.
func TestProtocol_ADisconnectionFinishesADataDeletion(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	onePage := sandbox.Choice{Account: b.sandbox.People("facebook")[1].ID}
	request, err := b.consent(t.Context(), "facebook", b.mint(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}), onePage)
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Callback(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	c := result.Connections[0]
	b.clock.Advance(time.Minute)
	dying := *b.Service
	dying.Store = &storeHook{Store: b.store, update: func(_ int, act func() (connector.Connection, error)) (connector.Connection, error) {
		act()
		panic(crash{})
	}}
	raw := connector.RawNotice{Body: []byte("signed_request=" + b.sandbox.SignedRequest(c.UserID))}
	dies(t, func() { dying.TakeNotice(t.Context(), "facebook", "data-deletion", raw) })
	if marked, err := b.Connection(t.Context(), c.ID); err != nil || marked.Status != connector.Disconnected {
		t.Fatalf("the connection is %s, %v", marked.Status, err)
	}
	if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
		t.Error(err)
	}
	if _, err := b.Connection(t.Context(), c.ID); !errors.Is(err, connector.ConnectionNotFound) {
		t.Errorf("the record is still there: %v", err)
	}
}

// A connection whose account is not known yet does not become a second one to
// an account that the owner has connected: what it held stays.
func TestProtocol_NoSecondConnectionToAnAccount(t *testing.T) {
	t.Parallel()
	for _, confirm := range []bool{false, true} {
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
		request, err := b.consent(t.Context(), "twitter", b.mint(t, connector.LinkRequest{
			Platform: "twitter", Owner: "acme", ConnectionID: id, ReturnURL: returnURL, Confirm: confirm,
		}), allowed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.AccountMismatch) {
			t.Errorf("confirm %v: got %v, want %s", confirm, err, connector.AccountMismatch)
		}
		if _, after, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); err != nil || after != before {
			t.Errorf("confirm %v: other credentials wait in the vault to be taken over, %v", confirm, err)
		}
		b.wantActive(t, held.ID)
	}
}

func TestProtocol_ARefusedAccountLeavesNoSecret(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := b.PutApp(t.Context(), "youtube", connector.App{Mode: connector.ByHand}); err != nil {
		t.Fatal(err)
	}
	byHand, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	app := b.sandbox.AppOf("youtube")
	if _, err := b.PutApp(t.Context(), "youtube", connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret)}); err != nil {
		t.Fatal(err)
	}
	id := byHand.Connections[0].ID
	refused := func(when string) {
		if err := b.reauthorize(t, "youtube", id); !errors.Is(err, connector.AccountMismatch) {
			t.Errorf("connected %s: got %v, want %s", when, err, connector.AccountMismatch)
		}
		if _, _, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("connected %s: its credentials are in the vault: %v", when, err)
		}
		if c, err := b.Connection(t.Context(), id); err != nil || c.Lease.Held(b.clock.Now()) {
			t.Errorf("connected %s: a lease was left behind, %v", when, err)
		}
	}
	var held connector.Connection
	other := *b.Service
	b.Vault = putHook{b.vault, func(name string) {
		if name == "connections/"+string(id) {
			held = (&bench{Service: &other, sandbox: b.sandbox}).connect(t, "youtube")
		}
	}}
	refused("meanwhile")
	b.Vault = b.vault
	refused("before")
	b.wantActive(t, held.ID)
}

// An answer that was not sent leaves nothing in doubt, also where what is
// sealed could not be moved.
func TestProtocol_AnUnsealingThatFailsLeavesNothingInDoubt(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	b.Vault = &deadlineVault{Vault: b.vault}
	if _, err := b.token(t, id); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(2 * time.Minute)
	if _, err := b.RefreshDue(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	b.Vault = b.vault
	if _, err := b.Refresh(t.Context(), id); err != nil {
		t.Errorf("while the access token lives: %v", err)
	}
}

// A connection that works after all is looked after again.
func TestProtocol_WhatWasMendedIsDueAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "tiktok")
	b.clock.Advance(time.Minute)
	body, signature := b.sandbox.TikTokNotice("authorization.removed", c.AccountID)
	raw := connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: body}
	if _, err := b.TakeNotice(t.Context(), "tiktok", "webhook", raw); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(2 * 24 * time.Hour)
	b.wantSwept(t, "given up")
	b.clock.Advance(-2 * 24 * time.Hour)
	if _, err := b.Verify(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	b.wantSwept(t, "verified", connector.Refreshed)
}

// breakerlessStore is a store that cannot read breakers.
type breakerlessStore struct{ connector.Store }

func (breakerlessStore) Breaker(context.Context, connector.Name) (connector.Breaker, error) {
	return connector.Breaker{}, errFlaky
}

// A failure of ours is on no record, so that the message has to come again.
func TestProtocol_AMessageThatMetOurOwnFailureComesAgain(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	b.Store = breakerlessStore{b.store}
	if _, err := b.RefreshDue(t.Context(), id); !errors.Is(err, connector.Internal) {
		t.Errorf("got %v, want %s", err, connector.Internal)
	}
}

// laggingStore is a store whose index of persons does not show what was
// written a moment ago.
type laggingStore struct{ connector.Store }

func (laggingStore) UserConnections(context.Context, connector.Name, string) ([]connector.Connection, error) {
	return nil, nil
}

// Of one consent to several accounts not all may get stored. To give the rest
// back would end those that are.
func TestProtocol_WhatStandsIsNotGivenBackWithTheRest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	request, err := b.consent(t.Context(), "facebook", b.mint(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}), allowed)
	if err != nil {
		t.Fatal(err)
	}
	puts := 0
	b.Store = laggingStore{b.store}
	b.Vault = vaultHook{b.vault, func(act func() (string, error)) (string, error) {
		if puts++; puts > 1 {
			return "", errFlaky
		}
		return act()
	}}
	if _, err := b.Callback(t.Context(), request); err == nil {
		t.Error("a consent that was stored in part is a success")
	}
	b.Store, b.Vault = b.store, b.vault
	page, _, err := b.Connections(t.Context(), connector.Filter{Owner: "acme"}, "", 100)
	if err != nil || len(page) != 1 {
		t.Fatalf("%d connections, %v; want one", len(page), err)
	}
	if _, err := b.Verify(t.Context(), page[0].ID); err != nil {
		t.Errorf("the one that was stored: %v", err)
	}
}

// deadlineVault takes no writes, and notes how long one may take.
type deadlineVault struct {
	connector.Vault
	longest time.Duration
}

func (v *deadlineVault) Put(ctx context.Context, _ string, _ connector.Secret) (string, error) {
	left := time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	v.longest = max(v.longest, left)
	return "", errFlaky
}

// A vault that hangs does not take the time that an exchange needs.
func TestProtocol_ASlowVaultIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "twitter")
	slow := &deadlineVault{Vault: b.vault}
	b.Vault = slow
	for range 2 { // the second time what was sealed the first is to be moved before
		if _, err := b.token(t, id); err != nil {
			t.Fatal(err)
		}
		b.expire(t, id)
	}
	if slow.longest > 5*time.Second {
		t.Errorf("a write to the vault may take %v", slow.longest)
	}
}

// putHook is a vault that runs something after a write.
type putHook struct {
	connector.Vault
	after func(name string)
}

func (v putHook) Put(ctx context.Context, name string, value connector.Secret) (string, error) {
	version, err := v.Vault.Put(ctx, name, value)
	v.after(name)
	return version, err
}

// Who connects an account and dies between the secret and its record leaves a
// live grant that nobody knows of. It is given back and forgotten, unless the
// account was connected again; what somebody imported stays theirs.
func TestProtocol_WhatGotNoRecordIsGivenBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		platform  connector.Name
		imported  bool
		again     bool // the person does it once more
		down      bool // the platform, for a while
		dies      bool // and else the store fails, as long as the connecting lasts
		wantAlive bool
	}{
		{name: "who connects dies", platform: "tiktok", dies: true},
		{name: "who connects several accounts dies", platform: "facebook", dies: true},
		{name: "the store fails", platform: "tiktok"},
		{name: "the platform cannot be reached at first", platform: "tiktok", dies: true, down: true},
		{name: "connected again", platform: "tiktok", dies: true, again: true, wantAlive: true},
		{name: "imported", platform: "tiktok", imported: true, dies: true, wantAlive: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			var left string
			broken := b.another(nil, nil)
			broken.Vault = putHook{b.vault, func(name string) { left = name }}
			broken.Store = &storeHook{Store: b.store, create: func(func() (connector.Connection, error)) (connector.Connection, error) {
				if test.dies {
					panic(crash{})
				}
				broken.Store = downStore{b.store}
				return connector.Connection{}, errFlaky
			}}
			connect := func() { broken.Callback(t.Context(), b.consented(t, test.platform)) }
			if test.imported {
				c := b.connect(t, test.platform)
				fields := b.full(t, c.ID)
				if err := b.store.Delete(t.Context(), c.ID, c.Revision); err != nil {
					t.Fatal(err)
				}
				connect = func() {
					broken.Import(t.Context(), connector.ImportRequest{Platform: test.platform, Owner: "beta", Credentials: fields})
				}
			}
			if test.dies {
				dies(t, connect)
			} else {
				connect()
			}
			if _, _, err := b.vault.Get(t.Context(), left, ""); err != nil {
				t.Fatalf("nothing was left behind: %v", err)
			}
			if test.again {
				b.connect(t, test.platform)
			}
			if test.down {
				b.sandbox.Fault(sandbox.Fault{Platform: string(test.platform), Endpoint: "revoke", Kind: sandbox.Outage})
				b.clock.Advance(30 * time.Minute)
				b.wantSwept(t, "while the platform is down", connector.Failed)
			}
			b.clock.Advance(30 * time.Minute)
			b.sweep(t)
			if _, _, err := b.vault.Get(t.Context(), left, ""); !errors.Is(err, connector.ErrNotFound) {
				t.Errorf("the secret without a record is in the vault: %v", err)
			}
			if alive := b.sandbox.Kill(string(test.platform), "", 0) > 0; alive != test.wantAlive {
				t.Errorf("the grant lives at the platform: %v, want %v", alive, test.wantAlive)
			}
			b.clock.Advance(time.Hour)
			if sweep, err := b.QueueDue(t.Context()); err != nil || sweep.Queued != 0 {
				t.Errorf("something is due again: %+v, %v", sweep, err)
			}
		})
	}
}

// The ticket of a new connection is of no consequence once it stands.
func TestProtocol_AnAnnouncementThatStayedEndsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dying := b.another(nil, nil)
	dying.Store = &storeHook{Store: b.store, create: func(act func() (connector.Connection, error)) (connector.Connection, error) {
		act()
		panic(crash{})
	}}
	dies(t, func() { dying.Callback(t.Context(), b.consented(t, "tiktok")) })
	b.clock.Advance(2 * time.Minute)
	b.wantSwept(t, "with a record", connector.Gone)
	b.clock.Advance(time.Hour)
	b.wantSwept(t, "afterwards")
	page, _, err := b.Connections(t.Context(), connector.Filter{Owner: "acme"}, "", 10)
	if err != nil || len(page) != 1 {
		t.Fatalf("%d connections, %v; want one", len(page), err)
	}
	if _, err := b.token(t, page[0].ID); err != nil {
		t.Error(err)
	}
}

// downStore is a store that cannot be reached.
type downStore struct{ connector.Store }

func (downStore) Connection(context.Context, connector.ID) (connector.Connection, error) {
	return connector.Connection{}, errFlaky
}

func (downStore) UserConnections(context.Context, connector.Name, string) ([]connector.Connection, error) {
	return nil, errFlaky
}

// consented returns what the browser of a person brings back who said yes.
func (b *bench) consented(t *testing.T, name connector.Name) connector.CallbackRequest {
	t.Helper()
	request, err := b.consent(t.Context(), name, b.mint(t, connector.LinkRequest{Platform: name, Owner: "acme"}), allowed)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// hookedSealer runs something in place of getting ready, and then is not.
type hookedSealer struct {
	connector.Sealer
	before func()
}

func (s hookedSealer) Prepare(context.Context) error {
	s.before()
	return errFlaky
}

// The mark that a dead holder left says that its refresh token may be spent.
// One who was taken for dead before, and ends late, does not wipe it off.
func TestProtocol_ALateEndLeavesTheMarkOfTheNextHolder(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"refused", "unsent"} {
		b, id := stale(t, "twitter")
		next := func() {
			b.outlive()
			dies(t, func() {
				b.another(nil, func() { panic(crash{}) }).Token(t.Context(), connector.TokenRequest{ConnectionID: id})
			})
		}
		var late *connector.Service
		if end == "unsent" {
			late = b.another(nil, nil)
			late.Sealer = hookedSealer{b.Sealer, next}
		} else {
			late = b.another(func() {
				next()
				b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage})
			}, nil)
		}
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err == nil {
			t.Errorf("%s: the late one got a token", end)
		}
		b.outlive()
		if _, err := b.token(t, id); connector.AsError(err).Reason != "rotation_lost" {
			t.Errorf("%s: got %v, want rotation_lost", end, err)
		}
	}
}

// A consent that could not get the lease, and died before the record, is found
// as long as somebody may look for it.
func TestProtocol_WhatADeadConsentLeftWithoutALeaseIsTakenOver(t *testing.T) {
	t.Parallel()
	for later, want := range map[time.Duration]error{30 * time.Minute: nil, 2 * time.Hour: connector.ReauthorizationRequired} {
		b, id := stale(t, "twitter")
		b.sandbox.Kill("twitter", "", 0)
		if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
			t.Fatalf("got %v, want %s", err, connector.ReauthorizationRequired)
		}
		before := connectionIn(t, b, id)
		dying := *b.Service
		dying.Vault = putHook{b.vault, func(string) { panic(crash{}) }}
		dies(t, func() { (&bench{Service: &dying, sandbox: b.sandbox}).reauthorize(t, "twitter", id) })
		// The lease is taken away again, as if it had never been got.
		leased := connectionIn(t, b, id)
		leased.Lease, leased.UpdatedAt = connector.Lease{}, before.UpdatedAt
		if _, err := b.store.Update(t.Context(), leased); err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(later)
		if _, err := b.token(t, id); !errors.Is(err, want) {
			t.Errorf("%v later: got %v, want %v", later, err, want)
		}
	}
}

func connectionIn(t *testing.T, b *bench, id connector.ID) connector.Connection {
	t.Helper()
	c, err := b.Connection(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A platform that asks for a day of silence is asked again before.
func TestProtocol_APlatformIsHeardWithinBounds(t *testing.T) {
	t.Parallel()
	b, id := stale(t, "youtube")
	b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Throttled, RetryAfter: 24 * 60 * 60})
	_, err := b.token(t, id)
	if wait := connector.AsError(err).RetryAfter; !errors.Is(err, connector.RateLimited) || wait < 15*time.Minute {
		t.Fatalf("got %v, want %s", err, connector.RateLimited)
	}
	b.clock.Advance(14 * time.Minute)
	if _, err := b.token(t, id); err == nil || b.refreshes("youtube") != 1 {
		t.Errorf("14 minutes later: %v after %d exchanges, want none so soon", err, b.refreshes("youtube"))
	}
	b.clock.Advance(2 * time.Minute)
	if _, err := b.token(t, id); err != nil {
		t.Errorf("16 minutes later: %v", err)
	}
}

// A refresh token goes on only where it is of the client that was consented to:
// shown by another it would be refused, and the connection given up.
func TestProtocol_ARefreshTokenOfAnotherClientDoesNotGoOn(t *testing.T) {
	t.Parallel()
	for _, imported := range []bool{false, true} {
		b := newBench(t)
		id := b.connect(t, "youtube").ID
		before := b.full(t, id)
		if imported { // whose client nobody knows
			if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "acme", Credentials: before}); err != nil {
				t.Fatal(err)
			}
		}
		b.sandbox.Tune(func(k *sandbox.Knobs) { k.YouTube().OmitRefreshToken = true })
		if err := b.reauthorize(t, "youtube", id); err != nil {
			t.Fatal(err)
		}
		if goesOn := b.full(t, id).Get("refresh_token") == before.Get("refresh_token"); goesOn == imported {
			t.Errorf("imported %v: the refresh token goes on: %v", imported, goesOn)
		}
	}
}

// timeless is a platform whose notices do not say when they were sent.
type timeless struct {
	connector.Platform
	userID string
}

func (p timeless) ReadNotice(connector.App, string, connector.RawNotice) (connector.Notice, error) {
	return connector.Notice{UserID: p.userID, Revoked: true, Reason: "deauthorized"}, nil
}

func TestProtocol_ANoticeWithoutATimeCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "tiktok")
	for i, p := range b.Platforms {
		b.Platforms[i] = timeless{p, c.UserID}
	}
	result, err := b.TakeNotice(t.Context(), "tiktok", "webhook", connector.RawNotice{})
	if err != nil || result.Affected != 1 {
		t.Errorf("%+v, %v; want one connection", result, err)
	}
}

// An app's secret that somebody has spoilt by hand can be stored anew.
func TestPutApp_ReplacesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := b.vault.Put(t.Context(), "apps/youtube", connector.NewSecret("not JSON")); err != nil {
		t.Fatal(err)
	}
	app := b.sandbox.AppOf("youtube")
	if _, err := b.PutApp(t.Context(), "youtube", connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret)}); err != nil {
		t.Fatal(err)
	}
	b.connect(t, "youtube")
}
