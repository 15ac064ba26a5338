package handler_test

import (
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// The bus is down while a caller of token-get learns that only the person can help. The
// product learns of it, too, once the bus works: by the sweep and the worker.
func TestOwedEvents(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	s.clock.Advance(2 * time.Hour)
	s.sandbox.Kill("youtube", "", 0)
	s.events.Refuse(func(connector.Event) bool { return true })
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure == nil || failure.Type != string(connector.ReauthorizationRequired) {
		t.Fatalf("the token: %v", failure)
	}
	s.clock.Advance(5 * time.Minute)
	s.sweep(t)
	if got := s.reauthEvents(); len(got) > 0 {
		t.Fatalf("a bus that is down got %q", got)
	}
	s.events.Refuse(nil)
	s.clock.Advance(20 * time.Minute)
	s.sweep(t)
	if got, want := s.reauthEvents(), []string{"grant_refused"}; !slices.Equal(got, want) {
		t.Errorf("the events have the reasons %q, want %q", got, want)
	}
	s.clock.Advance(2 * time.Hour)
	s.sweep(t)
	if got := s.reauthEvents(); len(got) != 1 {
		t.Errorf("%d events, want one", len(got))
	}
}
