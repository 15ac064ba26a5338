package connector_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func TestService_TakeNotice(t *testing.T) {
	t.Parallel()

	// A consent that is given while an earlier notice is applied remains (I2).
	for _, kind := range []string{"deauthorize", "data-deletion"} {
		t.Run("late_notice_keeps_a_new_consent/"+kind, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "facebook")
			late := b.process(beforeCall("Store.Update", 1, func() {
				b.clock.Advance(time.Minute)
				if err := b.reauthorize(t, "facebook", c.ID); err != nil {
					t.Error(err)
				}
			}))
			b.clock.Advance(time.Minute)
			if result, err := late.TakeNotice(t.Context(), "facebook", kind, b.signedRequest(c)); err != nil {
				t.Errorf("%+v, %v", result, err)
			}
			if got := b.connection(t, c.ID); got.Status != connector.Active {
				t.Errorf("the connection is %q", got.Status)
			}
			if _, err := b.token(t, c.ID); err != nil {
				t.Error(err)
			}
		})
	}

	// A notice may arrive after the consent that followed what it is about (I10).
	t.Run("notice_from_before_the_consent", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "tiktok")
		b.clock.Advance(time.Minute)
		body, signature := b.sandbox.TikTokNotice("authorization.removed", c.AccountID)
		raw := connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: body}
		b.clock.Advance(time.Minute)
		if err := b.reauthorize(t, "tiktok", c.ID); err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(time.Minute)
		if result, err := b.TakeNotice(t.Context(), "tiktok", "webhook", raw); err != nil || result.Affected != 0 {
			t.Errorf("%+v, %v; want no connection", result, err)
		}
		b.wantActive(t, c.ID)
	})

	// Two processes that carry out one data deletion at once both answer that it is
	// done (I2).
	t.Run("one_data_deletion_twice_at_once", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		b.clock.Advance(time.Minute)
		raw := b.signedRequest(c)
		late := b.process(beforeCall("Store.Update", 1, func() {
			if _, err := b.TakeNotice(t.Context(), "facebook", "data-deletion", raw); err != nil {
				t.Error(err)
			}
		}))
		if result, err := late.TakeNotice(t.Context(), "facebook", "data-deletion", raw); err != nil || result.DeletionCode.Empty() {
			t.Errorf("%+v, %v", result, err)
		}
		if _, err := b.Connection(t.Context(), c.ID); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("the connection: %v", err)
		}
		b.wantNoSecret(t, "afterwards", c.ID)
	})

	t.Run("notice_without_a_time", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "tiktok")
		wrapPlatforms(b.Service, func(p connector.Platform) connector.Platform { return timelessPlatform{p, c.UserID} })
		result, err := b.TakeNotice(t.Context(), "tiktok", "webhook", connector.RawNotice{})
		if err != nil || result.Affected != 1 {
			t.Errorf("%+v, %v; want one connection", result, err)
		}
	})
}

// timelessPlatform is a platform whose notices do not say when they were sent.
type timelessPlatform struct {
	connector.Platform
	userID string
}

func (p timelessPlatform) CheckNotice(string, connector.RawNotice) error { return nil }

func (p timelessPlatform) ReadNotice(connector.App, string, connector.RawNotice) (connector.Notice, error) {
	return connector.Notice{UserID: p.userID, Revoked: true, Reason: "deauthorized"}, nil
}
