package connector_test

import (
	"errors"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// A product confirms a link for one connection. The list has the account of that
// connection, and the accounts of the other connections that the consent renews.
func TestService_Confirm_AccountsOfAReauthorization(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) (*bench, []connector.Connection, connector.Secret) {
		b := newBench(t)
		pages := b.pageIDs()
		request := b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}, sandbox.Choice{Pages: pages[:2]})
		result, err := b.Callback(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		b.sandbox.Kill("facebook", "", 460)
		for _, c := range result.Connections {
			if _, err := b.token(t, c.ID); err == nil {
				if _, err := b.Refresh(t.Context(), c.ID); !errors.Is(err, connector.ReauthorizationRequired) {
					t.Fatal(err)
				}
			}
		}
		confirmation := b.toConfirmFor(t, connector.LinkRequest{Platform: "facebook", Owner: "acme", ConnectionID: result.Connections[0].ID}, allowed)
		return b, result.Connections, confirmation
	}
	t.Run("listed", func(t *testing.T) {
		t.Parallel()
		b, _, confirmation := begin(t)
		choices, err := b.Confirmable(t.Context(), confirmation, "acme")
		if err != nil || len(choices) != 2 {
			t.Errorf("choices %v, %v; want the two dead Pages", choices, err)
		}
	})
	t.Run("of_no_dead_connection", func(t *testing.T) {
		t.Parallel()
		b, _, confirmation := begin(t)
		if _, err := b.Confirm(t.Context(), confirmation, "acme", b.pageIDs()[2]); !errors.Is(err, connector.InvalidRequest) {
			t.Errorf("%v", err)
		}
	})
	for name, n := range map[string]int{"target": 0, "other": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, connections, confirmation := begin(t)
			saved, err := b.Confirm(t.Context(), confirmation, "acme", connections[n].AccountID)
			if err != nil || len(saved.Connections) != 1 || saved.Connections[0].ID != connections[n].ID {
				t.Fatalf("saved %v, %v", saved.Connections, err)
			}
			for i, c := range connections {
				if active := b.connection(t, c.ID).Status == connector.Active; active != (i == n) {
					t.Errorf("%s is active: %v", c.AccountID, active)
				}
			}
		})
	}
}
