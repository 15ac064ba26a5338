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

// A link whose confirmed consent ended with nothing saved does not stay under way.
func TestConsent_LinkOfOneThatEnded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		during func(t *testing.T, b *bench, link string)            // the confirmation
		after  func(t *testing.T, b *bench, c connector.Connection) // which failed
	}{
		"EndLink while it is confirmed": {during: func(t *testing.T, b *bench, link string) {
			other := b.process(nil)
			b.hook(beforeCall("Sealer.Open", 1, func() {
				if err := other.EndLink(t.Context(), link); err != nil {
					t.Error(err)
				}
			}))
		}},
		"erasure before the confirmed one is completed": {
			during: func(_ *testing.T, b *bench, _ string) {
				b.sandbox.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "accounts", Kind: sandbox.Outage, Times: 100})
			},
			after: func(t *testing.T, b *bench, c connector.Connection) {
				if _, err := b.TakeNotice(t.Context(), "facebook", "data-deletion", b.signedRequest(c)); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
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
			test.during(t, b, m.ID)
			if _, err := b.Confirm(t.Context(), result.Confirmation, "acme"); err == nil {
				t.Fatal("confirmed")
			}
			b.hook(nil)
			if test.after != nil {
				test.after(t, b, c)
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

// A consent saves one of its accounts, and an outage keeps it from the others for more than
// a day. What was saved stays, and the link is spent.
func TestConsent_PartSavedBeforeLongOutage(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]func(b *bench){
		"store": func(*bench) {},
		"platform": func(b *bench) {
			b.hook(nil)
			b.sandbox.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "accounts", Kind: sandbox.Outage, Times: 100_000})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			link := b.mint(t, connector.LinkRequest{Platform: "facebook", Owner: "acme", ExpiresIn: connector.MaxLinkLife})
			request, err := b.consent(t.Context(), "facebook", link, allowed)
			if err != nil {
				t.Fatal(err)
			}
			creates := 0
			b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
				if call.Name == "Store.Create" {
					if creates++; creates > 1 {
						return errFlaky
					}
				}
				return next()
			})
			if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.Internal) || len(b.connected(t)) != 1 {
				t.Fatalf("%d connections, %v; want one, and the failure of the store", len(b.connected(t)), err)
			}
			outage(b)
			b.sweepHours(t, 30)
			b.hook(nil)
			b.sandbox.ClearFaults()
			b.sweepHours(t, 5)

			page := b.connected(t)
			if len(page) != 1 {
				t.Errorf("%d connections, want the one that was saved", len(page))
			}
			for _, c := range page {
				if _, err := b.Verify(t.Context(), c.ID); err != nil {
					t.Errorf("the grant of %s: %v", c.ID, err)
				}
			}
			if _, err := b.Start(t.Context(), link); !errors.Is(err, connector.LinkGone) {
				t.Errorf("the link can be opened again: %v", err)
			}
		})
	}
}

// sweepHours sweeps each hour. Ports may fail meanwhile.
func (b *bench) sweepHours(t *testing.T, hours int) {
	t.Helper()
	for range hours {
		b.clock.Advance(time.Hour)
		if _, err := b.QueueDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, item := range b.queue.Drain() {
			_, _ = b.HandleDue(t.Context(), item)
		}
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
