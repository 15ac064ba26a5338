package connector_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// A consent replaces the earlier consents of the person, also if nothing of it is saved.
// The connections that it ended are marked at once. If the platform does not return the
// covered accounts, a worker checks the connections soon.
func TestCoverage_NothingSaved(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		link   func(c connector.Connection) connector.LinkRequest
		choice func(pages []string) sandbox.Choice
		before func(t *testing.T, b *bench, link string)
		want   error
	}{
		"other_account": {
			link: func(c connector.Connection) connector.LinkRequest {
				return connector.LinkRequest{Owner: "acme", ConnectionID: c.ID}
			},
			choice: func(pages []string) sandbox.Choice { return sandbox.Choice{Pages: pages[2:]} },
			want:   connector.AccountMismatch,
		},
		"link_ended": {
			choice: func(pages []string) sandbox.Choice { return sandbox.Choice{Pages: pages[2:]} },
			before: func(t *testing.T, b *bench, link string) {
				if err := b.EndLink(t.Context(), link); err != nil {
					t.Fatal(err)
				}
			},
			want: connector.LinkGone,
		},
		"no_page":             {choice: func([]string) sandbox.Choice { return sandbox.Choice{Pages: []string{}} }, want: connector.AccessDenied},
		"required_permission": {choice: func([]string) sandbox.Choice { return sandbox.Choice{Untick: []string{"pages_show_list"}} }, want: connector.ScopeMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			pages := b.pageIDs()
			first, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}, sandbox.Choice{Pages: pages[:2]}))
			if err != nil {
				t.Fatal(err)
			}
			b.clock.Advance(time.Minute)
			r := connector.LinkRequest{Owner: "globex"}
			if test.link != nil {
				r = test.link(first.Connections[0])
			}
			r.Platform = "facebook"
			m, err := b.MintLink(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			request, err := b.consent(t.Context(), "facebook", connector.NewSecret(m.URL.Reveal()[len(publicURL+"/connect/"):]), test.choice(pages))
			if err != nil {
				t.Fatal(err)
			}
			if test.before != nil {
				test.before(t, b, m.ID)
			}
			if _, err := b.Callback(t.Context(), request); !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			for _, item := range b.queue.Drain() {
				if _, err := b.HandleDue(t.Context(), item); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range first.Connections {
				works := true
				fresh := b.connection(t, c.ID)
				if _, err := b.Verify(t.Context(), c.ID); err != nil {
					works = false
				}
				if marked := fresh.Status == connector.NeedsReauth; marked == works {
					t.Errorf("%s is %s (%s), and works: %v", c.AccountID, fresh.Status, fresh.StatusReason, works)
				}
			}
		})
	}
}

// An imported Page token of the operator's app ends with the grant, too: the platform is
// asked. One that was authorized for another app stays.
func TestCoverage_Apps(t *testing.T) {
	t.Parallel()
	t.Run("imported", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		pages := b.pageIDs()
		file := b.elsewhere(t, "facebook", sandbox.Choice{Pages: pages[:1]})
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "facebook", Owner: "acme", Credentials: file})
		if err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(time.Minute)
		if _, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "globex"}, sandbox.Choice{Pages: pages[1:2]})); err != nil {
			t.Fatal(err)
		}
		for _, item := range b.queue.Drain() {
			if _, err := b.HandleDue(t.Context(), item); err != nil {
				t.Fatal(err)
			}
		}
		if c := b.connection(t, imported.Connections[0].ID); c.Status != connector.NeedsReauth {
			t.Errorf("the imported connection is %s", c.Status)
		}
	})
	t.Run("of_the_app_before", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		pages := b.pageIDs()
		first, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}, sandbox.Choice{Pages: pages[:1]}))
		if err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(time.Minute)
		b.replaceClient(t, "facebook")
		if _, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "globex"}, sandbox.Choice{Pages: pages[1:2]})); err != nil {
			t.Fatal(err)
		}
		if c := b.connection(t, first.Connections[0].ID); c.Status != connector.Active {
			t.Errorf("the connection of the app before is %s (%s)", c.Status, c.StatusReason)
		}
	})
}
