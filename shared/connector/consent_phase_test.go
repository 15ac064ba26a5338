package connector_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
)

// A consent in a phase of the next release is left to it.
func TestConsent_UnknownPhase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var record connector.Ticket
	b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		err := next()
		for _, r := range call.Change.Replace {
			if r.New.Kind == connector.StateKind {
				record = r.New
			}
		}
		return err
	})
	request := b.choosing(t, connector.LinkRequest{Owner: "acme"})
	b.hook(nil)
	later := record
	later.Body = bytes.Replace(record.Body, []byte(`"phase":"choosing"`), []byte(`"phase":"counting"`), 1)
	if _, err := b.store.Commit(t.Context(), connector.Change{Replace: []connector.Replacement{{Old: record, New: later}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("callback: %v", err)
	}
	if _, err := b.Choose(t.Context(), request, b.pageIDs()); !errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("choose: %v", err)
	}
	b.clock.Advance(confirmationEnd)
	b.sweep(t)
	after, err := b.store.Ticket(t.Context(), later.RecordKey, b.clock.Now())
	if err != nil || !bytes.Equal(after.Body, later.Body) || len(b.connected(t)) != 0 {
		t.Errorf("the record is %s, %v", after.Body, err)
	}
}
