package connector_test

import (
	"errors"
	"testing"

	"platform-api-connector/shared/connector"
)

// A connection that the operator ends while a consent renews it is not connected anew.
func TestReauthorize_OtherIsDisconnectedMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	result, err := b.Callback(t.Context(), b.consented(t, "facebook"))
	if err != nil {
		t.Fatal(err)
	}
	b.sandbox.Kill("facebook", "", 460)
	for _, c := range result.Connections {
		if _, err := b.Refresh(t.Context(), c.ID); !errors.Is(err, connector.ReauthorizationRequired) {
			t.Fatal(err)
		}
	}
	request := b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme", ConnectionID: result.Connections[0].ID}, allowed)
	process := b.process(beforeCall("Store.FindAccount", 1, func() {
		if err := b.Disconnect(t.Context(), result.Connections[1].ID, false); err != nil {
			t.Error(err)
		}
	}))
	renewed, err := process.Callback(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if len(renewed.Connections) != 2 || len(b.connected(t)) != 2 {
		t.Errorf("renewed %d, connected %d; want 2 each", len(renewed.Connections), len(b.connected(t)))
	}
	for _, c := range b.connected(t) {
		if c.Status != connector.Active || c.Revision == 1 {
			t.Errorf("%s is %s, at revision %d", c.AccountID, c.Status, c.Revision)
		}
	}
}

// A connection that the operator ends while a consent with others is saved stays ended, and
// the others are saved.
func TestConsent_OneIsDisconnectedMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, err := b.Callback(t.Context(), b.consented(t, "facebook"))
	if err != nil {
		t.Fatal(err)
	}
	request := b.consented(t, "facebook")
	process := b.process(afterCall("Store.FindAccount", 2, func() {
		if err := b.Disconnect(t.Context(), first.Connections[1].ID, false); err != nil {
			t.Error(err)
		}
	}))
	again, err := process.Callback(t.Context(), request)
	if err != nil || len(again.Connections) != 2 || again.Accounts != 2 {
		t.Fatalf("%d of %d connected, %v; want 2", len(again.Connections), again.Accounts, err)
	}
	if got := b.connected(t); len(got) != 2 {
		t.Errorf("%d connections, want 2", len(got))
	}
}
