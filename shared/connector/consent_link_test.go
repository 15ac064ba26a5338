package connector_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// A link whose consent ended with nothing saved does not stay under way.
func TestConsent_LinkOfOneThatEnded(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"EndLink while it is confirmed"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "facebook")
			m, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "facebook", Owner: "acme", ReturnURL: returnURL, Confirm: true})
			if err != nil {
				t.Fatal(err)
			}
			request, err := b.consent(t.Context(), "facebook", connector.NewSecret(m.URL.Reveal()[len(publicURL+"/connect/"):]), allowed)
			if err != nil {
				t.Fatal(err)
			}
			result, err := b.Callback(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if when[0] == 'E' {
				o := b.process(nil)
				b.hook(beforeCall("Sealer.Open", 1, func() {
					if err := o.EndLink(t.Context(), m.ID); err != nil {
						t.Error(err)
					}
				}))
			} else {
				b.sandbox.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "accounts", Kind: sandbox.Outage, Times: 100})
			}
			_, err = b.Confirm(t.Context(), result.Confirmation, "acme")
			if err == nil {
				t.Fatal("confirmed")
			}
			b.hook(nil)
			if when[0] == 'e' {
				if _, err := b.TakeNotice(t.Context(), "facebook", "data-deletion", b.signedRequest(c)); err != nil {
					t.Fatal(err)
				}
			}
			b.sandbox.ClearFaults()
			for range 30 {
				b.clock.Advance(time.Minute)
				b.sweep(t)
			}
			state, err := b.ShowLink(t.Context(), m.ID, "", 10)
			if err != nil || state.Status == connector.LinkUnderWay {
				t.Errorf("the link is %s (%s), %v", state.Status, state.Reason, err)
			}
		})
	}
}

// A consent that the platform refuses after it was confirmed leaves its link good.
func TestConsent_RefusedAfterConfirmation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	link := b.mint(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ReturnURL: returnURL, Confirm: true})
	request, err := b.consent(t.Context(), "youtube", link, allowed)
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Callback(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	b.sandbox.Kill("youtube", "", 0)
	if _, err := b.Confirm(t.Context(), result.Confirmation, "acme"); !errors.Is(err, connector.ReauthorizationRequired) {
		t.Fatal(err)
	}
	if _, err := b.Start(t.Context(), link); err != nil {
		t.Errorf("nothing is connected, and the link is dead: %v", err)
	}
}
