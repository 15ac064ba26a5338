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

func TestLease_Acquire(t *testing.T) {
	t.Parallel()

	// Clocks may differ: on a clock that is fast by four seconds the lease still
	// holds at the moment in which its holder's time ends (I3).
	t.Run("outlasts_its_holder_on_a_fast_clock", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		const timeout = 29 * time.Second
		fast := b.process(nil)
		fast.Now = func() time.Time { return b.clock.Now().Add(timeout + 4*time.Second) }
		holder := b.withPlatform(func() {
			if result, err := fast.HandleDue(t.Context(), dueKey(id)); result != connector.Busy {
				t.Errorf("got %s, %v; want %s", result, err, connector.Busy)
			}
		}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		if _, err := holder.Token(ctx, connector.TokenRequest{ConnectionID: id}); err != nil {
			t.Error(err)
		}
	})

	// The write of a lease may succeed although its answer is lost. The SDK sends
	// it again, and the store refuses it because the revision moved (I2).
	t.Run("own_write_was_sent_twice", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.hook(connectortest.On("Store.Update", func(n int, next func() error) error {
			err := next()
			if n == 1 && err == nil {
				return connector.ErrConflict
			}
			return err
		}))
		before := b.clock.Now()
		if _, err := b.token(t, id); err != nil {
			t.Error(err)
		}
		if waited := b.clock.Now().Sub(before); waited > 0 {
			t.Errorf("waited %v for its own lease", waited)
		}
	})
}

// A holder that lost its lease writes nothing about its attempt: the next holder
// has recorded, or will record, what is known (I2).
func TestLease_Release(t *testing.T) {
	t.Parallel()

	t.Run("late_holder_leaves_the_lease_of_the_next", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		late, finish := b.lateHolder(t, id, func(wait func()) *connector.Service { return b.withPlatform(wait, nil) })
		if _, err := late.Refresh(t.Context(), id); err != nil {
			t.Error(err)
		}
		if c := b.connection(t, id); !c.Lease.Held(b.clock.Now()) {
			t.Error("the late holder released the lease of the next holder")
		}
		if err := finish(); err != nil {
			t.Error(err)
		}
		b.wantActive(t, id)
	})

	// The mark of the next holder, which crashed, says that its refresh token may
	// be spent. A late holder must not remove it (I9).
	for _, end := range []string{"refused", "aborted"} {
		t.Run("late_holder_leaves_the_mark_of_a_crashed_one/"+end, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "twitter")
			next := func() {
				b.outlive()
				crashing := b.withPlatform(nil, func() { panic(crash{}) })
				wantCrash(t, func() { crashing.Token(t.Context(), connector.TokenRequest{ConnectionID: id}) })
			}
			late := b.withPlatform(func() {
				next()
				b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage})
			}, nil)
			if end == "aborted" {
				late = b.process(connectortest.On("Sealer.Prepare", func(int, func() error) error {
					next()
					return errFlaky
				}))
			}
			if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err == nil {
				t.Error("the late holder got a token")
			}
			b.outlive()
			if _, err := b.token(t, id); connector.AsError(err).Reason != "rotation_lost" {
				t.Errorf("got %v, want rotation_lost", err)
			}
		})
	}

	// The next holder released the lease already, so that no holder has it. The
	// late holder must not take that for its own lease.
	t.Run("next_holder_renewed_and_released/late_failure", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		late := b.withPlatform(func() {
			b.outlive()
			if _, err := b.token(t, id); err != nil {
				t.Error(err)
			}
			b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage})
		}, nil)
		late.Token(t.Context(), connector.TokenRequest{ConnectionID: id})
		if c := b.connection(t, id); c.Failures != 0 || c.Attempt != (connector.Attempt{}) {
			t.Errorf("%d failures and the attempt %+v are recorded of the late holder", c.Failures, c.Attempt)
		}
		if token, err := b.token(t, id); err != nil || token.Degraded {
			t.Errorf("the renewed token: degraded %v, %v", token.Degraded, err)
		}
	})
	t.Run("next_holder_failed_and_released/late_refusal", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		late := b.withPlatform(func() {
			b.outlive()
			b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.Outage})
			if _, err := b.token(t, id); !errors.Is(err, connector.PlatformUnavailable) {
				t.Errorf("the next holder: %v, want %s", err, connector.PlatformUnavailable)
			}
			b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.DeadGrant})
		}, nil)
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); !errors.Is(err, connector.PlatformUnavailable) {
			t.Errorf("the late holder got %v, want %s", err, connector.PlatformUnavailable)
		}
		b.wantActive(t, id)
		if c := b.connection(t, id); c.Failures != 1 || c.Attempt.Code != connector.PlatformUnavailable {
			t.Errorf("%d failures and the attempt %+v, want those of the next holder", c.Failures, c.Attempt)
		}
	})
	t.Run("next_holder_failed_and_released/late_abort", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		late := b.process(connectortest.On("Sealer.Prepare", func(int, func() error) error {
			b.outlive()
			b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Cut, Acts: true})
			if _, err := b.token(t, id); !errors.Is(err, connector.PlatformUnavailable) {
				t.Errorf("the next holder: %v, want %s", err, connector.PlatformUnavailable)
			}
			return errFlaky
		}))
		if _, err := late.Token(t.Context(), connector.TokenRequest{ConnectionID: id}); err == nil {
			t.Error("the late holder got a token")
		}
		if c := b.connection(t, id); !c.Attempt.Uncertain || c.Attempt.Code != connector.PlatformUnavailable {
			t.Errorf("the attempt is %+v, want the mark of the next holder", c.Attempt)
		}
	})
}
