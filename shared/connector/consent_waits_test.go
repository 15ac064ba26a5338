package connector_test

import (
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// A consent that was not confirmed is not revoked while a later one of the same person waits.
func TestConsent_ExpiresWhileAnotherWaits(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		for _, owner := range []string{"acme", "beta"} {
			t.Run(string(name)+"/"+owner, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				first := b.consentedTo(t, connector.LinkRequest{Platform: name, Owner: "acme", ReturnURL: returnURL, Confirm: true}, allowed)
				if _, err := b.Callback(t.Context(), first); err != nil {
					t.Fatal(err)
				}
				b.clock.Advance(8 * time.Minute)
				second := b.consentedTo(t, connector.LinkRequest{Platform: name, Owner: owner, ReturnURL: returnURL, Confirm: true}, allowed)
				result, err := b.Callback(t.Context(), second)
				if err != nil {
					t.Fatal(err)
				}
				b.clock.Advance(4 * time.Minute)
				b.sweep(t)
				confirmed, err := b.Confirm(t.Context(), result.Confirmation, owner)
				if err != nil {
					t.Fatalf("revocations %d; the second cannot be confirmed: %v", b.revocations(name), err)
				}
				for _, c := range confirmed.Connections {
					if _, err := b.Verify(t.Context(), c.ID); err != nil {
						t.Errorf("%v", err)
					}
				}
			})
		}
	}
}

// A disconnection does not end the grant that a waiting consent of the same person has.
func TestDisconnect_WhileAConsentWaits(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			beta, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: name, Owner: "beta"}, allowed))
			if err != nil {
				t.Fatal(err)
			}
			waiting, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: name, Owner: "acme", ReturnURL: returnURL, Confirm: true}, allowed))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range beta.Connections {
				if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := b.Confirm(t.Context(), waiting.Confirmation, "acme"); err != nil {
				t.Errorf("%d revocations, and the other owner cannot confirm: %v", b.revocations(name), err)
			}
		})
	}
}
