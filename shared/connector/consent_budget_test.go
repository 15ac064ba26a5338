package connector_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// A consent that a failure of the store interrupts keeps what it reserved.
func TestConsent_BudgetOfAnInterruptedConsent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Budgets = map[connector.BudgetName]int{connector.ConnectionsPerOwner: 3}
	request := b.consented(t, "facebook")
	process := b.process(failAt("Store.FindAccount", 2))
	if _, err := process.Callback(t.Context(), request); !errors.Is(err, connector.Internal) || len(b.connected(t)) != 1 {
		t.Fatalf("%v, %d connected", err, len(b.connected(t)))
	}
	if _, err := b.Callback(t.Context(), request); err != nil || len(b.connected(t)) != 3 {
		t.Fatalf("%v, %d connected", err, len(b.connected(t)))
	}
	other := b.consentedTo(t, connector.LinkRequest{Platform: "youtube", Owner: "acme"}, allowed)
	if _, err := b.Callback(t.Context(), other); !errors.Is(err, connector.RateLimited) {
		t.Errorf("a fourth connection of three: %v", err)
	}
}

// A consent that ends without connections refunds what it reserved.
func TestConsent_BudgetOfAConsentThatEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, b *bench, link string){
		"link_ended": func(t *testing.T, b *bench, link string) {
			if err := b.EndLink(t.Context(), link); err != nil {
				t.Error(err)
			}
		},
		"erasure": func(t *testing.T, b *bench, _ string) {
			raw := connector.RawNotice{Body: []byte("signed_request=" + b.sandbox.SignedRequest(b.sandbox.People(sandbox.Facebook)[0].ID))}
			if _, err := b.TakeNotice(t.Context(), "facebook", "data-deletion", raw); err != nil {
				t.Error(err)
			}
		},
		"late": func(*testing.T, *bench, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Budgets = map[connector.BudgetName]int{connector.ConnectionsPerOwner: 3}
			m, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "facebook", Owner: "acme", ReturnURL: returnURL, Confirm: true})
			if err != nil {
				t.Fatal(err)
			}
			request, err := b.consent(t.Context(), "facebook", connector.NewSecret(m.URL.Reveal()[len(publicURL+"/connect/"):]), allowed)
			if err != nil {
				t.Fatal(err)
			}
			b.clock.Advance(2 * time.Second)
			if _, err := b.Callback(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			end(t, b, m.ID)
			b.clock.Advance(confirmationEnd)
			b.sweep(t)
			b.clock.Advance(2 * time.Second)
			if result, err := b.Callback(t.Context(), b.consented(t, "facebook")); err != nil || len(result.Connections) != 3 {
				t.Errorf("%d connections, %v", len(result.Connections), err)
			}
		})
	}
}
