package connector_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
)

// newCachedBench returns a bench whose service has a SuspensionCache, as a function
// has. Hooks are then called from several goroutines.
func newCachedBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.SuspensionCache = &connector.SuspensionCache{}
	return b
}

func TestSuspensionCache(t *testing.T) {
	t.Parallel()
	counting := func(reads *atomic.Int32) connectortest.Hook {
		return connectortest.On("Store.Suspensions", func(_ int, next func() error) error {
			reads.Add(1)
			return next()
		})
	}
	// A suspension by one process reaches the others within two seconds, whatever
	// they read when.
	t.Run("two_processes", func(t *testing.T) {
		t.Parallel()
		for offset := time.Duration(0); offset < 2*time.Second; offset += 100 * time.Millisecond {
			b := newCachedBench(t)
			c := b.connect(t, "youtube")
			other := b.on(b.process(nil))
			if _, err := other.token(t, c.ID); err != nil {
				t.Fatal(err)
			}
			b.clock.Advance(offset)
			x := b.suspend(t, connector.SuspensionTarget{ConnectionID: c.ID}, false)
			observed := time.Duration(-1)
			for passed := time.Duration(0); passed <= 3*time.Second; passed += 100 * time.Millisecond {
				_, err := other.token(t, c.ID)
				switch {
				case errors.Is(err, connector.Suspended) && observed < 0:
					observed = passed
				case err == nil && observed >= 0:
					t.Errorf("a token %v after the suspension, although it was observed after %v", passed, observed)
				case err != nil && !errors.Is(err, connector.Suspended):
					t.Error(err)
				}
				b.clock.Advance(100 * time.Millisecond)
			}
			if observed < 0 || observed > time.Second {
				t.Errorf("the other process read %v before: the suspension was observed after %v", offset, observed)
			}
			b.resume(t, x)
			b.clock.Advance(time.Second)
			if _, err := other.token(t, c.ID); err != nil {
				t.Errorf("a second after its deletion: %v", err)
			}
		}
	})
	t.Run("one_read_a_second", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		var reads atomic.Int32
		other := b.on(b.process(counting(&reads)))
		for range 100 {
			if _, err := other.token(t, c.ID); err != nil {
				t.Fatal(err)
			}
			b.clock.Advance(100 * time.Millisecond)
		}
		if n := reads.Load(); n != 10 {
			t.Errorf("%d reads in ten seconds, want 10", n)
		}
	})
	t.Run("one_read_of_concurrent_callers", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		var reads atomic.Int32
		other := b.on(b.process(counting(&reads)))
		for range 5 {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if _, err := other.token(t, c.ID); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			b.clock.Advance(time.Second)
		}
		if n := reads.Load(); n != 5 {
			t.Errorf("%d reads in five seconds, want 5", n)
		}
	})
	// Callers, suspensions and the clock at once. Run it with -race.
	t.Run("concurrent_use", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		other := b.on(b.process(nil))
		ctx, stop := context.WithCancel(t.Context())
		var callers, operator sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				for ctx.Err() == nil {
					if _, err := other.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID}); err != nil && !errors.Is(err, connector.Suspended) {
						t.Error(err)
						return
					}
				}
			})
		}
		operator.Go(func() {
			for range 20 {
				x := b.suspend(t, connector.SuspensionTarget{All: true}, false)
				b.clock.Advance(300 * time.Millisecond)
				if err := other.DeleteSuspension(t.Context(), x.ID); err != nil {
					t.Error(err)
				}
			}
		})
		operator.Wait()
		stop()
		callers.Wait()
	})
	// The read costs no time of its own: it is under way beside that of the record.
	t.Run("read_beside_the_record", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		began := make(chan struct{})
		other := b.on(b.process(connectortest.Chain(
			beforeCall("Store.Suspensions", 1, func() { close(began) }),
			beforeCall("Store.Connection", 1, func() {
				select {
				case <-began:
				case <-time.After(10 * time.Second):
					t.Error("the suspensions are not read beside the record")
				}
			}))))
		if _, err := other.token(t, c.ID); err != nil {
			t.Error(err)
		}
	})
	// A token-get that waited for the platform checks again.
	t.Run("suspended_during_a_refresh", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		slow := b.withPlatform(nil, func() {
			b.suspend(t, connector.SuspensionTarget{ConnectionID: id}, false)
			b.clock.Advance(time.Second)
		})
		if _, err := slow.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.Suspended) {
			t.Errorf("got %v, want %v", err, connector.Suspended)
		}
		if n := b.refreshes("twitter"); n != 1 {
			t.Errorf("%d refreshes, want 1, which is stored", n)
		}
	})
	t.Run("unknown_state", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		var down atomic.Bool
		other := b.on(b.process(connectortest.On("Store.Suspensions", func(_ int, next func() error) error {
			if down.Load() {
				return errFlaky
			}
			return next()
		})))
		if _, err := other.token(t, c.ID); err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		b.clock.Advance(999 * time.Millisecond)
		if _, err := other.token(t, c.ID); err != nil {
			t.Errorf("within a second: %v", err)
		}
		for _, passed := range []time.Duration{time.Millisecond, time.Second, time.Hour} {
			b.clock.Advance(passed)
			if token, err := other.token(t, c.ID); !errors.Is(err, connector.Internal) || !token.AccessToken.Empty() {
				t.Errorf("%v later: %v", passed, err)
			}
			// The worker leaves it to another delivery.
			b.change(t, c.ID, func(c *connector.Connection) { c.RefreshAt = b.clock.Now() })
			if result, err := other.HandleDue(t.Context(), dueKey(c.ID)); result != connector.Failed || err == nil {
				t.Errorf("%v later the worker: %s, %v", passed, result, err)
			}
		}
		down.Store(false)
		if _, err := other.token(t, c.ID); err != nil {
			t.Errorf("once the store works: %v", err)
		}
	})
	// What was read too long ago when the answer came is not used.
	t.Run("slow_read", func(t *testing.T) {
		t.Parallel()
		for name, row := range map[string]struct {
			slow int // reads
			want error
		}{"once": {1, nil}, "twice": {2, nil}, "always": {100, connector.Internal}} {
			b := newCachedBench(t)
			c := b.connect(t, "youtube")
			other := b.on(b.process(connectortest.On("Store.Suspensions", func(n int, next func() error) error {
				err := next()
				if n <= row.slow {
					b.clock.Advance(1600 * time.Millisecond)
				}
				return err
			})))
			if _, err := other.token(t, c.ID); !errors.Is(err, row.want) {
				t.Errorf("%s: %v, want %v", name, err, row.want)
			}
		}
	})
	t.Run("caller_leaves", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		ctx, leave := context.WithCancel(t.Context())
		other := b.on(b.process(func(ctx context.Context, call connectortest.Call, next func() error) error {
			if call.Name == "Store.Suspensions" && call.N == 1 {
				leave()
				return context.Canceled
			}
			return next()
		}))
		other.Token(ctx, connector.TokenRequest{ConnectionID: c.ID})
		if _, err := other.token(t, c.ID); err != nil {
			t.Errorf("another caller: %v", err)
		}
	})
	t.Run("crash", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		other := b.on(b.process(crashAt("Store.Suspensions", 1)))
		wantCrash(t, func() { other.token(t, c.ID) })
		if _, err := other.token(t, c.ID); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
	t.Run("clock_goes_back", func(t *testing.T) {
		t.Parallel()
		b := newCachedBench(t)
		c := b.connect(t, "youtube")
		other := b.on(b.process(nil))
		if _, err := other.token(t, c.ID); err != nil {
			t.Fatal(err)
		}
		b.suspend(t, connector.SuspensionTarget{All: true}, false)
		b.clock.Advance(-time.Hour)
		if _, err := other.token(t, c.ID); !errors.Is(err, connector.Suspended) {
			t.Errorf("got %v, want %v", err, connector.Suspended)
		}
	})
}
