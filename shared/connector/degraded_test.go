package connector_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// noChannel makes the next check of a channel find none.
func (b *bench) noChannel() {
	b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "channels", Kind: sandbox.Body, Text: `{"kind":"youtube#channelListResponse"}`})
}

func TestDegraded(t *testing.T) {
	t.Parallel()

	// What a check found of former credentials is not recorded of those that a consent
	// brought meanwhile.
	t.Run("consent_meanwhile", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.noChannel()
		checking := b.process(beforeCall("Store.Update", 1, func() {
			if err := b.reauthorize(t, "youtube", c.ID); err != nil {
				t.Error(err)
			}
		}))
		if _, err := checking.Verify(t.Context(), c.ID); !errors.Is(err, connector.AccessDenied) {
			t.Errorf("got %v, want %s", err, connector.AccessDenied)
		}
		if c := b.connection(t, c.ID); c.Degraded.Code != "" || c.StatusReason != "" || len(b.published(connector.EventDegraded)) > 0 {
			t.Errorf("the connection is degraded: %q", c.StatusReason)
		}
	})

	// A failure that passes neither counts nor ends the row.
	t.Run("failures_that_pass_in_between", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		lasting, passing := `{"error":{"code":368,"message":"test"}}`, `{"error":{"code":2,"message":"test"}}`
		for i, text := range []string{lasting, passing, lasting, passing, passing, lasting} {
			if c := b.connection(t, c.ID); c.Degraded.Code != "" {
				t.Fatalf("after %d failures the connection is degraded", i)
			}
			b.clock.Advance(time.Hour)
			b.sandbox.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "node", Kind: sandbox.Body, Status: 400, Text: text})
			if _, err := b.Refresh(t.Context(), c.ID); !errors.Is(err, connector.PlatformUnavailable) {
				t.Fatalf("got %v, want %s", err, connector.PlatformUnavailable)
			}
		}
		if c := b.connection(t, c.ID); c.Degraded.Code != connector.PlatformUnavailable || c.StatusReason != "blocked_for_policy" {
			t.Errorf("the connection is %+v (%s)", c.Degraded, c.StatusReason)
		}
	})

	// The warning of a connection is its status reason again afterwards.
	t.Run("warning_returns", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.change(t, c.ID, func(c *connector.Connection) { c.StatusReason = "a_warning: of before" })
		b.noChannel()
		b.Verify(t.Context(), c.ID)
		if got := b.connection(t, c.ID).StatusReason; got != "no_channel" {
			t.Errorf("the status reason is %q", got)
		}
		if c, err := b.Verify(t.Context(), c.ID); err != nil || c.StatusReason != "a_warning: of before" {
			t.Errorf("the status reason is %q, %v", c.StatusReason, err)
		}
	})

	// What was found does not remain on a connection that ends.
	t.Run("needs_reauth", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "tiktok")
		b.change(t, c.ID, func(c *connector.Connection) {
			c.Degraded, c.StatusReason = connector.Degradation{Code: connector.ScopeMissing, Failures: 3}, "scope_missing"
		})
		b.clock.Advance(time.Minute)
		b.deauthorize(t, c.ID)
		if c := b.connection(t, c.ID); c.Degraded != (connector.Degradation{}) || c.StatusReason != "deauthorized" {
			t.Errorf("the connection is %+v (%s)", c.Degraded, c.StatusReason)
		}
		if _, err := b.Verify(t.Context(), c.ID); err != nil || len(b.published(connector.EventRecovered)) != 1 {
			t.Errorf("%d events %q, %v", len(b.published(connector.EventRecovered)), connector.EventRecovered, err)
		}
	})
}
