package connector_test

import (
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// pageIDs are the Pages of the sandbox's first person.
func (b *bench) pageIDs() []string {
	var ids []string
	for _, p := range b.sandbox.People(sandbox.Facebook)[0].Pages {
		ids = append(ids, p.ID)
	}
	return ids
}

// choosing takes the person through a Facebook consent of a link with choose, until they
// can choose.
func (b *bench) choosing(t *testing.T, r connector.LinkRequest) connector.CallbackRequest {
	t.Helper()
	r.Platform, r.Choose = "facebook", true
	request := b.consentedTo(t, r, allowed)
	result, err := b.Callback(t.Context(), request)
	if err != nil || len(result.Choices) == 0 {
		t.Fatalf("choices %v, %v", result.Choices, err)
	}
	return request
}

// Two tabs send a choice at once. The second gets the answer of the first.
func TestService_Choose_Twice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pages := b.pageIDs()
	request := b.choosing(t, connector.LinkRequest{Owner: "acme"})
	var other connector.CallbackResult
	var problem error
	process := b.process(beforeCall("Store.ReplaceTicket", 1, func() {
		b.hook(nil)
		other, problem = b.Choose(t.Context(), request, pages[:1])
	}))
	result, err := process.Choose(t.Context(), request, pages[1:])
	if err != nil || problem != nil || len(other.Connections) != 1 {
		t.Fatalf("%v, %v, %v", err, problem, other.Connections)
	}
	if result.Choices != nil || len(result.Connections) != 1 || result.Connections[0].ID != other.Connections[0].ID {
		t.Errorf("the later tab got the choices %v and the connections %v", result.Choices, result.Connections)
	}
}

// A repeated choice gets its answer again until the time for the choice ends, also if the
// person spent most of the life of the state on the platform's page.
func TestService_Choose_AnswerAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	request := b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme", Choose: true}, allowed)
	b.clock.Advance(9 * time.Minute)
	if _, err := b.Callback(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(9 * time.Minute)
	first, err := b.Choose(t.Context(), request, b.pageIDs()[:1])
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Choose(t.Context(), request, b.pageIDs()[:1])
	if err != nil || len(again.Connections) != 1 || again.Connections[0].ID != first.Connections[0].ID {
		t.Errorf("again: %v, %v", again.Connections, err)
	}
}

// A grant is not revoked while the person chooses among its accounts.
func TestDisconnect_WhileThePersonChooses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	beta, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "beta"}, allowed))
	if err != nil {
		t.Fatal(err)
	}
	request := b.choosing(t, connector.LinkRequest{Owner: "acme"})
	for _, c := range beta.Connections {
		if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Choose(t.Context(), request, b.pageIDs()[:1]); err != nil || b.revocations("facebook") != 0 {
		t.Errorf("%d revocations, and the person cannot choose: %v", b.revocations("facebook"), err)
	}
}

// The link of a consent from which nobody chose in time says so, unless another person is
// on the way.
func TestService_Choose_LateLink(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after time.Duration // the consent
		want  connector.LinkStatus
	}{
		"alone":               {0, connector.LinkFailed},
		"another_is_choosing": {9 * time.Minute, connector.LinkUnderWay},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			m, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "facebook", Owner: "acme", Choose: true, ExpiresIn: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			begin := func() {
				request, err := b.consent(t.Context(), "facebook", connector.NewSecret(m.URL.Reveal()[len(publicURL+"/connect/"):]), allowed)
				if err == nil {
					_, err = b.Callback(t.Context(), request)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			begin()
			if test.after > 0 {
				b.clock.Advance(test.after)
				begin()
			}
			b.clock.Advance(confirmationEnd - test.after)
			b.sweep(t)
			state, err := b.ShowLink(t.Context(), m.ID, "", 1)
			if err != nil || state.Status != test.want || test.want == connector.LinkFailed && (state.Failure != connector.AccessDenied || state.Reason != "not_chosen") {
				t.Errorf("the link is %s (%s, %s), %v", state.Status, state.Failure, state.Reason, err)
			}
		})
	}
}
