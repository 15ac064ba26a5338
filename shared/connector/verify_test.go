package connector_test

import (
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func TestService_Verify(t *testing.T) {
	t.Parallel()

	// A connection that works after all is active and due again.
	t.Run("recovers_a_connection_that_works", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "tiktok")
		b.clock.Advance(time.Minute)
		b.deauthorize(t, c.ID)
		b.clock.Advance(2 * 24 * time.Hour)
		b.wantSwept(t, "marked needs_reauth")
		b.clock.Advance(-2 * 24 * time.Hour)
		if _, err := b.Verify(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		b.wantSwept(t, "verified", connector.Refreshed)
		if n := len(b.published(connector.EventRecovered)); n != 1 {
			t.Errorf("%d events %q, want one", n, connector.EventRecovered)
		}
	})

	// An access token that died before its time is replaced by a refresh.
	t.Run("refreshes_a_token_that_died_early", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.sandbox.Expire(sandbox.YouTube)
		b.clock.Advance(time.Second)
		v, err := b.Verify(t.Context(), c.ID)
		if err != nil || !v.VerifiedAt.Equal(b.clock.Now()) || v.AccountID != c.AccountID {
			t.Errorf("got %+v, %v", v, err)
		}
		if n := b.refreshes("youtube"); n != 1 {
			t.Errorf("%d refreshes, want one", n)
		}
		b.wantActive(t, c.ID)
	})
}
