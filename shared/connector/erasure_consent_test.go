package connector_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// After an erasure no record names the person or their account: not that of a consent
// for another account, which named the one to choose, and not that of one in any phase.
func TestErasure_NamesInConsents(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(t *testing.T, b *bench, c connector.Connection){
		"done": func(*testing.T, *bench, connector.Connection) {},
		"redeemed": func(t *testing.T, b *bench, _ connector.Connection) {
			b.sandbox.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "accounts", Kind: sandbox.Outage, Times: 3})
			if _, err := b.Callback(t.Context(), b.consented(t, "facebook")); !errors.Is(err, connector.PlatformUnavailable) {
				t.Fatal(err)
			}
		},
		"waiting": func(t *testing.T, b *bench, _ connector.Connection) {
			request := b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme", ReturnURL: returnURL, Confirm: true}, allowed)
			if _, err := b.Callback(t.Context(), request); err != nil {
				t.Fatal(err)
			}
		},
		"for_another_account": func(t *testing.T, b *bench, c connector.Connection) { b.consentOfAnother(t, c) },
		"choosing": func(t *testing.T, b *bench, _ connector.Connection) {
			b.choosing(t, connector.LinkRequest{Owner: "beta"})
		},
		"chosen": func(t *testing.T, b *bench, c connector.Connection) {
			if _, err := b.Choose(t.Context(), b.choosing(t, connector.LinkRequest{Owner: "beta"}), []string{c.AccountID}); err != nil {
				t.Fatal(err)
			}
		},
		"chosen_and_waiting": func(t *testing.T, b *bench, c connector.Connection) {
			request := b.choosing(t, connector.LinkRequest{Owner: "beta", ReturnURL: returnURL, Confirm: true})
			if _, err := b.Choose(t.Context(), request, []string{c.AccountID}); err != nil {
				t.Fatal(err)
			}
		},
		"chosen_after_another_tab": func(t *testing.T, b *bench, c connector.Connection) {
			link := b.mint(t, connector.LinkRequest{Platform: "facebook", Owner: "beta", Choose: true})
			var tabs []connector.CallbackRequest
			for range 2 {
				request, err := b.consent(t.Context(), "facebook", link, allowed)
				if err == nil {
					_, err = b.Callback(t.Context(), request)
				}
				if err != nil {
					t.Fatal(err)
				}
				tabs = append(tabs, request)
			}
			for _, request := range tabs {
				if _, err := b.Choose(t.Context(), request, []string{c.AccountID}); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "facebook")
			begin(t, b, c)
			b.eraseAndSweep(t, c)
			text := b.store.Text() + b.vault.Text()
			for _, trace := range []string{c.UserID, c.AccountID, c.AccountName} {
				for line := range strings.Lines(text) {
					if strings.Contains(line, trace) {
						t.Errorf("%q is left in %.300s", trace, line)
					}
				}
			}
		})
	}
}

// A consent for another account names the account to choose, each time, until it is erased.
func TestErasure_NameInAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "facebook")
	request, first := b.consentOfAnother(t, c)
	if !strings.Contains(first.Error(), c.AccountName) {
		t.Errorf("the answer %q does not name the account to choose", first)
	}
	if _, err := b.Callback(t.Context(), request); err == nil || connector.AsError(err).Message != connector.AsError(first).Message {
		t.Errorf("the answer was %q, and is %q", first, err)
	}
	erased, err := b.TakeNotice(t.Context(), "facebook", "data-deletion", b.signedRequest(c))
	if err != nil {
		t.Fatal(err, erased)
	}
	if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.AccountMismatch) || strings.Contains(err.Error(), c.AccountName) {
		t.Errorf("after the erasure the answer is %v", err)
	}
}

// consentOfAnother has another person consent to a link for the connection. It returns the
// callback and its answer.
func (b *bench) consentOfAnother(t *testing.T, c connector.Connection) (connector.CallbackRequest, error) {
	t.Helper()
	other := b.sandbox.People("facebook")[1]
	request := b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme", ConnectionID: c.ID}, sandbox.Choice{Account: other.ID})
	_, err := b.Callback(t.Context(), request)
	if !errors.Is(err, connector.AccountMismatch) {
		t.Fatal(err)
	}
	return request, err
}

// eraseAndSweep erases the person of a connection, and has the sweep complete that.
func (b *bench) eraseAndSweep(t *testing.T, c connector.Connection) {
	t.Helper()
	b.clock.Advance(2 * time.Second)
	if _, err := b.TakeNotice(t.Context(), "facebook", "data-deletion", b.signedRequest(c)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		b.clock.Advance(10 * time.Minute)
		b.sweep(t)
	}
}
