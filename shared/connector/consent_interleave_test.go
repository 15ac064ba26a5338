package connector_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// What an operator, the person or another tab does at any call of a port while a consent
// is under way leaves nothing behind: no grant that a connection uses is revoked, no
// secret and no reservation is left, no link stays under way, and an erasure finds
// everything.
func TestConsent_Interleaved(t *testing.T) {
	t.Parallel()
	consents := map[string]connector.LinkRequest{
		"plain":            {},
		"chosen":           {Choose: true},
		"confirmed":        {ReturnURL: returnURL, Confirm: true},
		"chosen_confirmed": {ReturnURL: returnURL, Confirm: true, Choose: true},
	}
	actions := map[string]func(i *interleaved, t *testing.T){
		"end_link":   (*interleaved).endLink,
		"erasure":    (*interleaved).erase,
		"disconnect": (*interleaved).disconnect,
		"other_tab":  (*interleaved).otherTab,
		"again":      (*interleaved).again,
		"crash":      func(*interleaved, *testing.T) { panic(crash{}) },
	}
	for consent, request := range consents {
		for action, act := range actions {
			t.Run(consent+"/"+action, func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at++ {
					i := newInterleaved(t, request)
					acted := i.run(t, at, act)
					if !acted && at < 20 {
						t.Errorf("%d calls", at)
					}
					if !acted {
						return
					}
					i.check(t, at, action)
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// interleaved is a consent for three Pages, one of which is connected.
type interleaved struct {
	*bench
	request  connector.LinkRequest
	link     string
	callback connector.CallbackRequest
	chosen   []string
	before   connector.Connection
	created  int             // connections
	counters map[string]bool // of the budget of the owner
	lost     bool            // the answer to the code, when the function crashed
}

func newInterleaved(t *testing.T, request connector.LinkRequest) *interleaved {
	t.Helper()
	i := &interleaved{bench: newBench(t), request: request, counters: map[string]bool{}}
	i.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		err := next()
		if call.Name == "Store.Create" && err == nil {
			i.created++
		}
		if strings.HasPrefix(call.Counter, "budget/"+string(connector.ConnectionsPerOwner)) {
			i.counters[call.Counter] = true
		}
		return err
	})
	i.chosen = i.pageIDs()
	// A connection of another owner keeps the grant from being revoked.
	for _, owner := range []string{"globex", "acme"} {
		saved, err := i.Callback(t.Context(), i.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: owner}, sandbox.Choice{Pages: i.chosen[:1]}))
		if err != nil {
			t.Fatal(err)
		}
		i.before = saved.Connections[0]
	}
	i.clock.Advance(30 * time.Minute)
	i.sweep(t)

	request.Platform, request.Owner = "facebook", "acme"
	m, err := i.MintLink(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	i.link = m.ID
	i.callback, err = i.consent(t.Context(), "facebook", connector.NewSecret(m.URL.Reveal()[len(publicURL+"/connect/"):]), allowed)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// browse takes the browser, and the product behind it, through the consent.
func (i *interleaved) browse(t *testing.T, s *connector.Service) {
	result, err := s.Callback(t.Context(), i.callback)
	i.lost = err != nil && connector.AsError(err).Reason == "outcome_unknown"
	if err == nil && result.Choices != nil {
		result, err = s.Choose(t.Context(), i.callback, i.chosen[:2])
	}
	if err == nil && !result.Confirmation.Empty() {
		_, _ = s.Confirm(t.Context(), result.Confirmation, "acme")
	}
}

// run has the browser go through the consent, and acts before one call of a port. It
// reports whether there was such a call.
func (i *interleaved) run(t *testing.T, at int, act func(i *interleaved, t *testing.T)) (acted bool) {
	calls := 0
	s := i.process(func(_ context.Context, _ connectortest.Call, next func() error) error {
		if calls++; calls == at {
			acted = true
			act(i, t)
		}
		return next()
	})
	i.clock.Advance(2 * time.Second)
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			i.clock.Advance(time.Minute) // the person reloads the page
			i.browse(t, i.Service)
		}
	}()
	i.browse(t, s)
	return acted
}

func (i *interleaved) endLink(t *testing.T) {
	if err := i.EndLink(t.Context(), i.link); err != nil {
		t.Error(err)
	}
}

func (i *interleaved) erase(t *testing.T) {
	i.clock.Advance(2 * time.Second)
	if _, err := i.TakeNotice(t.Context(), "facebook", "data-deletion", i.signedRequest(i.before)); err != nil {
		t.Error(err)
	}
}

func (i *interleaved) disconnect(t *testing.T) {
	if err := i.Disconnect(t.Context(), i.before.ID, false); err != nil {
		t.Error(err)
	}
}

// otherTab has the person go through another consent of the owner.
func (i *interleaved) otherTab(t *testing.T) {
	if _, err := i.Callback(t.Context(), i.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}, allowed)); err != nil {
		t.Error(err)
	}
}

// again sends the requests of the browser and of the product in parallel. Who waits for
// the other gives up.
func (i *interleaved) again(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	s := *i.Service
	result, err := s.Callback(ctx, i.callback)
	if err == nil && result.Choices != nil {
		_, _ = s.Choose(ctx, i.callback, i.chosen[:2])
	}
}

// check wants nothing to be left an hour later.
func (i *interleaved) check(t *testing.T, at int, action string) {
	t.Helper()
	for range 30 {
		i.clock.Advance(2 * time.Minute)
		i.sweep(t)
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("at call %d: %s", at, fmt.Sprintf(format, args...))
	}
	active := map[connector.ID]bool{}
	for _, c := range i.connected(t) {
		if c.Status == connector.Active {
			active[c.ID] = true
		}
		if _, err := i.Verify(t.Context(), c.ID); (err == nil) != (c.Status == connector.Active) {
			fail("the connection to %s is %s (%s), and a verification says %v", c.AccountID, c.Status, c.StatusReason, err)
		}
	}
	for _, name := range i.vault.Names("connections/") {
		c, err := i.Connection(t.Context(), connector.ID(strings.TrimPrefix(name, "connections/")))
		if err != nil {
			fail("the secret of %s, which has no record", c.ID)
		}
	}
	if names := i.vault.Names("pending/"); len(names) > 0 {
		fail("in the vault: %v", names)
	}
	state, err := i.ShowLink(t.Context(), i.link, "", 100)
	if err != nil || state.Status == connector.LinkUnderWay || state.Status == connector.LinkPending {
		fail("the link is %s, %v", state.Status, err)
	}
	if action == "crash" && len(i.connected(t)) < 2 && !i.lost {
		fail("%d connections, and the link is %s (%s)", len(i.connected(t)), state.Status, state.Reason)
	}
	used := 0
	for counter := range i.counters {
		n, err := i.store.Reserve(t.Context(), counter, 0, 1_000_000, i.clock.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		used += n
	}
	// What a consent reserved is lost with its function, and with an erasure that ends it.
	if used != i.created && action != "erasure" && action != "crash" {
		fail("%d connections are charged, and %d were created", used, i.created)
	}
	if action != "erasure" {
		return
	}
	if len(active) > 0 {
		fail("%d connections after the erasure", len(active))
	}
	for line := range strings.Lines(i.store.Text() + i.vault.Text()) {
		for _, trace := range append(i.pageIDs(), i.before.UserID) {
			if strings.Contains(line, trace) {
				fail("%q is left in %.200s", trace, line)
			}
		}
	}
}
