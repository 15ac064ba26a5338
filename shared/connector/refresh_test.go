package connector_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

func TestService_Refresh(t *testing.T) {
	t.Parallel()

	// Callers that meet a lease share the result of its holder, also a failure,
	// and start no exchange of their own (I3).
	t.Run("waiting_callers_share_a_failure", func(t *testing.T) {
		t.Parallel()
		const callers = 20
		b, id := expired(t, "twitter")
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage, Times: -1})
		var waiting sync.WaitGroup
		waiting.Add(callers - 1)
		allWait := make(chan struct{})
		go func() {
			waiting.Wait()
			close(allWait)
		}()
		holder := b.withPlatform(func() {
			select {
			case <-allWait:
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
			waiter := b.process(nil)
			first := sync.OnceFunc(waiting.Done)
			waiter.Sleep = func(ctx context.Context, d time.Duration) error {
				first()
				if d > 250*time.Millisecond {
					t.Errorf("waits %v to try again itself", d)
				}
				return connector.Sleep(ctx, d)
			}
			ask(waiter)
		}
		all.Wait()
		if n := b.refreshes("twitter"); n != 1 {
			t.Errorf("%d exchanges, want that of the holder alone", n)
		}
	})

	// The store fails when a waiting caller reads the record again. A token that is
	// alive is handed out all the same (I6).
	t.Run("record_cannot_be_read_while_waiting", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		b.clock.Advance(c.ExpiresAt.Sub(b.clock.Now()) - time.Minute)
		waiter := b.process(connectortest.On("Store.Connection", func(n int, next func() error) error {
			if n > 1 {
				return errFlaky
			}
			return next()
		}))
		asked := false
		holder := b.withPlatform(func() {
			asked = true
			token, err := waiter.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, MinTTL: connector.DefaultMinTTL})
			if err != nil || !token.Degraded || token.DegradedReason != connector.Internal || token.AccessToken.Empty() {
				t.Errorf("got degraded %v (%s), %v; want the token that is alive", token.Degraded, token.DegradedReason, err)
			}
		}, nil)
		if _, err := holder.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, MinTTL: connector.DefaultMinTTL}); err != nil || !asked {
			t.Errorf("the holder: %v, after another caller asked: %v", err, asked)
		}
	})

	// Nor is the lease acquired, for which other callers would wait (I4).
	t.Run("no_exchange_with_too_little_time", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		before := b.connection(t, id)
		ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second)
		defer cancel()
		if _, err := b.Token(ctx, connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.PlatformUnavailable) {
			t.Errorf("got %v, want %s", err, connector.PlatformUnavailable)
		}
		if n := b.refreshes("twitter"); n != 0 {
			t.Errorf("%d exchanges with 14 s left", n)
		}
		if after := b.connection(t, id); after.Revision != before.Revision {
			t.Errorf("the record was written: %+v", after)
		}
	})

	// (I4)
	for name, timeout := range map[string]time.Duration{"without_a_deadline": 0, "with_a_deadline": 29 * time.Second} {
		t.Run("exchange_outlasts_its_caller/"+name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "twitter")
			ctx, leave := context.WithCancel(t.Context())
			if timeout > 0 {
				ctx, leave = context.WithTimeout(t.Context(), timeout)
			}
			defer leave()
			if _, err := b.withPlatform(leave, nil).Token(ctx, connector.TokenRequest{ConnectionID: id}); err != nil {
				t.Errorf("the refresh of a caller who left: %v", err)
			}
			if _, err := b.token(t, id); err != nil || b.refreshes("twitter") != 1 {
				t.Errorf("afterwards: %v, after %d exchanges", err, b.refreshes("twitter"))
			}
		})
	}

	// The platform's time is not taken from the time to store the result (I4).
	t.Run("exchange_leaves_time_to_store", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		timed := b.timed("twitter")
		ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
		defer cancel()
		if _, err := b.Token(ctx, connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Fatal(err)
		}
		if timed.limit <= 0 || timed.limit > 10*time.Second {
			t.Errorf("the platform has %v of 29 s to refresh, want 10 s", timed.limit)
		}
	})

	// No exchange begins whose result could not be sealed (I4).
	t.Run("credential_store_is_not_prepared", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.hook(connectortest.Fail(errFlaky, "Sealer.Prepare"))
		if _, err := b.token(t, id); err == nil || b.refreshes("twitter") != 0 {
			t.Errorf("got %v after %d exchanges, want a failure and none", err, b.refreshes("twitter"))
		}
		b.hook(nil)
		if _, err := b.token(t, id); err != nil {
			t.Errorf("once it is prepared: %v", err)
		}
	})

	// A vault that does not answer does not take the time of an exchange (I4).
	t.Run("slow_vault", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		var longest time.Duration
		b.hook(func(ctx context.Context, call connectortest.Call, next func() error) error {
			if call.Name != "Vault.Put" {
				return next()
			}
			left := time.Hour
			if deadline, ok := ctx.Deadline(); ok {
				left = time.Until(deadline)
			}
			longest = max(longest, left)
			return errFlaky
		})
		for range 2 { // the second refresh tries to move what the first one sealed
			if _, err := b.token(t, id); err != nil {
				t.Fatal(err)
			}
			b.expire(t, id)
		}
		if longest > 5*time.Second || longest == 0 {
			t.Errorf("a write to the vault may take %v", longest)
		}
	})

	// As long as the access token works, a refresh token that may be spent is not
	// shown again (I9).
	t.Run("spent_refresh_token_is_not_shown_again", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Cut})
		for _, want := range []int{1, 0} {
			before := b.refreshes("twitter")
			token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, ForceRefresh: true})
			if err != nil || !token.Degraded {
				t.Fatalf("degraded %v, %v", token.Degraded, err)
			}
			if n := b.refreshes("twitter") - before; n != want {
				t.Errorf("%d exchanges, want %d", n, want)
			}
			b.outlive()
		}
		b.expire(t, c.ID)
		if token, err := b.token(t, c.ID); err != nil || token.Degraded {
			t.Errorf("once the access token is dead: degraded %v, %v", token.Degraded, err)
		}
	})
}

// A caller can force ten refreshes of a connection in ten minutes.
func TestService_Refresh_Forced(t *testing.T) {
	t.Parallel()
	force := func(t *testing.T, b *bench, id connector.ID) (connector.Token, error) {
		t.Helper()
		return b.Token(t.Context(), connector.TokenRequest{ConnectionID: id, ForceRefresh: true})
	}

	t.Run("too_often", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		var refused error
		for range 30 {
			b.clock.Advance(time.Second)
			if _, err := force(t, b, c.ID); err != nil {
				refused = err
			}
		}
		if n := b.refreshes("twitter"); n != 10 {
			t.Errorf("%d refreshes were forced in half a minute, want 10", n)
		}
		if e := connector.AsError(refused); !errors.Is(refused, connector.RateLimited) || e.Reason != "forced_too_often" || e.RetryAfter <= 0 {
			t.Errorf("got %v, want RateLimited with retry_after", refused)
		}
		b.clock.Advance(connector.AsError(refused).RetryAfter)
		if _, err := force(t, b, c.ID); err != nil {
			t.Errorf("after retry_after: %v", err)
		}
		b.clock.Advance(10 * time.Minute)
		if _, err := force(t, b, c.ID); err != nil {
			t.Errorf("ten minutes later: %v", err)
		}
	})

	t.Run("other_connections_are_not_counted", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		first, second := b.connect(t, "twitter"), b.connect(t, "youtube")
		for range 11 {
			b.clock.Advance(time.Second)
			force(t, b, first.ID)
		}
		if token, err := force(t, b, second.ID); err != nil || token.Degraded {
			t.Errorf("degraded %v, %v", token.Degraded, err)
		}
	})

	t.Run("platform_throttles", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		b.sandbox.Fault(sandbox.Fault{Kind: sandbox.Throttled, Platform: "twitter", Endpoint: "token", Times: 1})
		token, err := force(t, b, c.ID)
		if err != nil || !token.Degraded || token.DegradedReason != connector.RateLimited || token.AccessToken.Empty() {
			t.Errorf("got %+v, %v; want the token that is alive, degraded", token, err)
		}
	})
}

// The record holds the sealed credentials until the worker can move them.
func TestService_Refresh_StaleCredentials(t *testing.T) {
	t.Parallel()
	noVault := connectortest.Fail(errFlaky, "Vault.Put")

	// (I1, I8)
	t.Run("late_move_keeps_a_new_consent", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		if _, err := b.process(noVault).Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(2 * time.Minute)
		var consented connector.Fields
		late := b.process(afterCall("Vault.Put", 1, func() {
			b.outlive()
			if err := b.reauthorize(t, "twitter", id); err != nil {
				t.Error(err)
			}
			consented = b.full(t, id)
		}))
		if _, err := late.HandleDue(t.Context(), dueKey(id)); err != nil {
			t.Error(err)
		}
		if consented == nil || !b.full(t, id).Equal(consented) {
			t.Error("the credentials from before the consent are handed out")
		}
	})

	// Nothing is sent to the platform by a move, so a move that fails leaves nothing
	// uncertain (I9).
	t.Run("failed_move_is_certain", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.hook(noVault)
		if _, err := b.token(t, id); err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(2 * time.Minute)
		if _, err := b.HandleDue(t.Context(), dueKey(id)); err != nil {
			t.Fatal(err)
		}
		b.hook(nil)
		if _, err := b.Refresh(t.Context(), id); err != nil {
			t.Errorf("while the access token is alive: %v", err)
		}
	})

	// A new connection needs no vault either. Its first secret is written by the
	// worker.
	t.Run("of_a_new_connection", func(t *testing.T) {
		t.Parallel()
		for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
			b := newBench(t)
			b.hook(noVault)
			c := b.connect(t, name)
			b.hook(nil)
			if len(c.Credentials.Sealed) == 0 {
				t.Fatalf("%s: the credentials are not sealed", name)
			}
			first, err := b.token(t, c.ID)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			b.clock.Advance(2 * time.Minute)
			b.sweep(t)
			if after := b.connection(t, c.ID); len(after.Credentials.Sealed) > 0 || after.Credentials.Version == "" {
				t.Errorf("%s: the credentials were not moved: %+v", name, after.Credentials)
			}
			if token, err := b.token(t, c.ID); err != nil || !token.AccessToken.Equal(first.AccessToken) {
				t.Errorf("%s: the move changed the token, or %v", name, err)
			}
			if n := b.refreshes(name); n != 0 {
				t.Errorf("%s: %d exchanges for a move", name, n)
			}
		}
	})
}
