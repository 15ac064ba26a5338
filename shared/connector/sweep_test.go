package connector_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
)

// many creates n connections that are due, and returns their ids.
func (b *bench) many(t *testing.T, n int) []connector.ID {
	t.Helper()
	var ids []connector.ID
	for range n {
		id, err := connector.NewID(b.Random)
		if err != nil {
			t.Fatal(err)
		}
		c := connector.Connection{
			ID: id, Platform: "youtube", Owner: "acme", AccountID: string(id), Status: connector.Active,
			RefreshAt: b.clock.Now().Add(-time.Minute),
		}
		if _, err := b.store.Commit(t.Context(), connector.Change{After: &c}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// queued returns the ids of the connections that were queued, in order.
func (b *bench) queued(t *testing.T) []connector.ID {
	t.Helper()
	var ids []connector.ID
	for _, item := range b.queue.Drain() {
		if item.Kind != connector.ConnectionKind {
			t.Errorf("a %q was queued", item.Kind)
		}
		ids = append(ids, connector.ID(item.ID))
	}
	slices.Sort(ids)
	return ids
}

func TestService_QueueDue(t *testing.T) {
	t.Parallel()

	// (I2)
	t.Run("overlapping_sweeps", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		want := b.many(t, 700)
		var sweeps sync.WaitGroup
		for range 3 {
			sweeps.Go(func() {
				if _, err := b.QueueDue(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		sweeps.Wait()
		if got := b.queued(t); !slices.Equal(got, want) {
			t.Errorf("%d ids were queued for %d that are due", len(got), len(want))
		}
		if sweep, err := b.QueueDue(t.Context()); err != nil || sweep.Queued != 0 || !sweep.Complete {
			t.Errorf("the next sweep: %+v, %v", sweep, err)
		}
	})

	t.Run("lost_messages_are_queued_again", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		want := b.many(t, 20)
		if _, err := b.QueueDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.queue.Drain() // and no worker gets them
		b.clock.Advance(20 * time.Minute)
		if _, err := b.QueueDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.queued(t); !slices.Equal(got, want) {
			t.Errorf("%d ids were queued again, of %d", len(got), len(want))
		}
	})

	t.Run("too_little_time", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		want := b.many(t, 50)
		hurried, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than a sweep reserves for its end
		defer cancel()
		sweep, err := b.QueueDue(hurried)
		if err != nil || sweep.Complete || sweep.Queued != 0 {
			t.Errorf("with too little time: %+v, %v", sweep, err)
		}
		sweep, err = b.QueueDue(t.Context())
		if err != nil || !sweep.Complete || sweep.Queued != len(want) {
			t.Errorf("the next sweep: %+v, %v", sweep, err)
		}
	})

	// A record that cannot be claimed delays no other record, in its shard or in
	// another.
	t.Run("one_claim_fails", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.many(t, 300)
		b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
			if call.Name == "Store.Claim" && call.Key == dueKey(ids[100]) {
				return errFlaky
			}
			return next()
		})
		if sweep, err := b.QueueDue(t.Context()); !errors.Is(err, connector.Internal) || sweep.Complete || sweep.Queued != len(ids)-1 {
			t.Errorf("%+v, %v; want %d queued, and the failure told", sweep, err, len(ids)-1)
		}
		if got := b.queued(t); len(got) != len(ids)-1 || slices.Contains(got, ids[100]) {
			t.Errorf("%d ids were queued of %d", len(got), len(ids))
		}
	})

	// Where time is short, no shard waits for the backlog of another.
	t.Run("backlog_in_each_shard", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		want := b.many(t, 200*connector.DueShards)
		var swept []int
		b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
			if call.Name == "Store.Due" {
				swept = append(swept, call.Shard)
			}
			return next()
		})
		if sweep, err := b.QueueDue(t.Context()); err != nil || !sweep.Complete || sweep.Queued != len(want) {
			t.Fatalf("%+v, %v", sweep, err)
		}
		for round := range 2 {
			shards := slices.Clone(swept[round*connector.DueShards:][:connector.DueShards])
			slices.Sort(shards)
			if len(slices.Compact(shards)) != connector.DueShards {
				t.Errorf("round %d read the shards %v", round+1, shards)
			}
		}
	})
}

func TestService_HandleDue(t *testing.T) {
	t.Parallel()

	// A message of the previous release names no kind.
	for name, message := range map[string]func(connector.ID) connector.RecordKey{
		"connection":                             dueKey,
		"connection_in_a_message_without_a_kind": func(id connector.ID) connector.RecordKey { return connector.RecordKey{ID: string(id)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "youtube")
			check := func(what string, want connector.DueResult) {
				t.Helper()
				if got, err := b.HandleDue(t.Context(), message(c.ID)); err != nil || got != want {
					t.Errorf("%s: %s, %v; want %s", what, got, err, want)
				}
			}
			check("fresh", connector.NotDue)
			b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()) + time.Second)
			check("due", connector.Refreshed)
			check("the same message again", connector.NotDue)

			c = b.connection(t, c.ID)
			b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()) + time.Second)
			b.sandbox.Kill("youtube", "", 0)
			check("revoked", connector.MarkedReauth)
			check("marked needs_reauth", connector.NotDue)
			if err := b.Disconnect(t.Context(), c.ID, true); err != nil {
				t.Fatal(err)
			}
			check("purged", connector.Gone)
			if n := b.refreshes("youtube"); n != 2 {
				t.Errorf("%d refreshes, want 2", n)
			}
		})
	}

	t.Run("unknown_kind", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "youtube")
		if got, err := b.HandleDue(t.Context(), connector.RecordKey{Kind: connector.LinkKind, ID: string(id)}); err != nil || got != connector.Gone {
			t.Errorf("%s, %v; want %s", got, err, connector.Gone)
		}
		if n := b.refreshes("youtube"); n != 0 {
			t.Errorf("%d refreshes", n)
		}
	})

	// A failure of the connector itself is on no record, so that the message has to
	// be delivered again.
	t.Run("store_fails", func(t *testing.T) {
		t.Parallel()
		for _, call := range []string{"Store.Breaker", "Store.Connection"} {
			b, id := expired(t, "twitter")
			b.hook(connectortest.Fail(errFlaky, call))
			if _, err := b.HandleDue(t.Context(), dueKey(id)); !errors.Is(err, connector.Internal) {
				t.Errorf("%s: got %v, want %s", call, err, connector.Internal)
			}
		}
	})
}
