package connector_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// many makes n connections that are due, and returns their ids.
func (b *bench) many(t *testing.T, n int) []connector.ID {
	t.Helper()
	var ids []connector.ID
	for range n {
		id, err := connector.NewID(b.Random)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.store.Create(t.Context(), connector.Connection{
			ID: id, Platform: "youtube", Owner: "acme", AccountID: string(id), Status: connector.Active,
			RefreshAt: b.clock.Now().Add(-time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func TestQueueDue_SweepsThatOverlapDoNoDoubleWork(t *testing.T) {
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
	got := b.queue.Drain()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d ids were queued for %d that are due", len(got), len(want))
	}
	if sweep, err := b.QueueDue(t.Context()); err != nil || sweep.Queued != 0 || !sweep.Complete {
		t.Errorf("the next sweep: %+v, %v", sweep, err)
	}
}

// overlappedStore is a store in which something happens between the first read
// of what is due and the claims that follow.
type overlappedStore struct {
	connector.Store
	between func()
}

func (s *overlappedStore) Due(ctx context.Context, shard int, now time.Time, limit int) ([]connector.Due, error) {
	due, err := s.Store.Due(ctx, shard, now, limit)
	if len(due) > 0 && s.between != nil {
		s.between()
		s.between = nil
	}
	return due, err
}

// The conditional claim holds I2: a sweep that comes too late changes nothing.
func TestService_QueueDue(t *testing.T) {
	t.Parallel()
	t.Run("another_sweep_claims_first", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.many(t, 20)
		late := *b.Service
		late.Store = &overlappedStore{Store: b.store, between: func() {
			if sweep, err := b.QueueDue(t.Context()); err != nil || sweep.Queued != 20 {
				t.Errorf("the first sweep: %+v, %v; want 20 queued", sweep, err)
			}
		}}
		if sweep, err := late.QueueDue(t.Context()); err != nil || sweep.Queued != 0 {
			t.Errorf("the late sweep: %+v, %v; want none queued", sweep, err)
		}
	})
}

func TestQueueDue_LostMessagesComeAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := b.many(t, 20)
	if _, err := b.QueueDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.queue.Drain() // and nobody works on them
	b.clock.Advance(20 * time.Minute)
	if _, err := b.QueueDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.queue.Drain(); len(got) != len(want) {
		t.Errorf("%d ids came again, of %d", len(got), len(want))
	}
}

func TestQueueDue_StopsInTimeAndGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := b.many(t, 50)
	hurried, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than a sweep keeps for its end
	defer cancel()
	sweep, err := b.QueueDue(hurried)
	if err != nil || sweep.Complete || sweep.Queued != 0 {
		t.Errorf("with no time: %+v, %v", sweep, err)
	}
	sweep, err = b.QueueDue(t.Context())
	if err != nil || !sweep.Complete || sweep.Queued != len(want) {
		t.Errorf("the next sweep: %+v, %v", sweep, err)
	}
}

// sweptStore is a store that notes which shards are looked into, and does not
// let one connection be claimed.
type sweptStore struct {
	connector.Store
	shards    []int
	unclaimed connector.ID
}

func (s *sweptStore) Due(ctx context.Context, shard int, now time.Time, limit int) ([]connector.Due, error) {
	s.shards = append(s.shards, shard)
	return s.Store.Due(ctx, shard, now, limit)
}

func (s *sweptStore) Claim(ctx context.Context, d connector.Due, until time.Time) error {
	if d.ID == s.unclaimed {
		return errFlaky
	}
	return s.Store.Claim(ctx, d, until)
}

// One that cannot be claimed holds up nobody else, in its shard or another.
func TestQueueDue_OneThatFailsHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ids := b.many(t, 300)
	b.Store = &sweptStore{Store: b.store, unclaimed: ids[100]}
	if sweep, err := b.QueueDue(t.Context()); !errors.Is(err, connector.Internal) || sweep.Complete || sweep.Queued != len(ids)-1 {
		t.Errorf("%+v, %v; want %d queued, and the failure told", sweep, err, len(ids)-1)
	}
	if got := b.queue.Drain(); len(got) != len(ids)-1 || slices.Contains(got, ids[100]) {
		t.Errorf("%d ids were queued of %d", len(got), len(ids))
	}
}

// Where time is short, no shard waits for the backlog of another.
func TestQueueDue_NoShardWaitsForTheBacklogOfAnother(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := b.many(t, 200*connector.DueShards)
	swept := &sweptStore{Store: b.store}
	b.Store = swept
	if sweep, err := b.QueueDue(t.Context()); err != nil || !sweep.Complete || sweep.Queued != len(want) {
		t.Fatalf("%+v, %v", sweep, err)
	}
	for round := 0; round < 2; round++ {
		shards := slices.Clone(swept.shards[round*connector.DueShards:][:connector.DueShards])
		slices.Sort(shards)
		if len(slices.Compact(shards)) != connector.DueShards {
			t.Errorf("round %d looked into the shards %v", round+1, shards)
		}
	}
}

func TestRefreshDue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "youtube")
	check := func(what string, want connector.Outcome) {
		t.Helper()
		if got, err := b.RefreshDue(t.Context(), c.ID); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", what, got, err, want)
		}
	}
	check("fresh", connector.NotDue)
	b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()) + time.Second)
	check("due", connector.Refreshed)
	check("the same message again", connector.NotDue)

	c, _ = b.Connection(t.Context(), c.ID)
	b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()) + time.Second)
	b.sandbox.Kill("youtube", "", 0)
	check("revoked", connector.Condemned)
	check("condemned", connector.NotDue)
	if err := b.Disconnect(t.Context(), c.ID, true); err != nil {
		t.Fatal(err)
	}
	check("purged", connector.Gone)
	if n := b.refreshes("youtube"); n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
}

func TestRefreshDue_IsWellBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"youtube", "twitter", "tiktok"} {
		b := newBench(t)
		seen := map[time.Time]bool{}
		c := b.connect(t, name)
		for range 8 {
			life := c.ExpiresAt.Sub(c.IssuedAt)
			if left := c.ExpiresAt.Sub(c.RefreshAt); left > life/6 || left < life/12 {
				t.Errorf("%s: due %v before the end of %v", name, left, life)
			}
			seen[c.RefreshAt.Add(-c.IssuedAt.Sub(noon))] = true
			b.clock.Advance(time.Hour)
			var err error
			if c, err = b.Refresh(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
		}
		if len(seen) < 4 {
			t.Errorf("%s: no jitter: %v", name, seen)
		}
	}
}

func TestRefreshDue_PagesAreCheckedWeekly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "facebook")
	if days := c.RefreshAt.Sub(noon).Hours() / 24; !c.ExpiresAt.IsZero() || days < 6 || days > 7 {
		t.Fatalf("expires %v, checked after %.1f days", c.ExpiresAt, days)
	}
	b.clock.Advance(7 * 24 * time.Hour)
	if got, err := b.RefreshDue(t.Context(), c.ID); err != nil || got != connector.Refreshed {
		t.Fatalf("got %s, %v", got, err)
	}
	after, err := b.Connection(t.Context(), c.ID)
	if err != nil || after.VerifiedAt.IsZero() || after.CredentialsVersion != c.CredentialsVersion {
		t.Errorf("verified %v, the secret was written anew: %v, %v", after.VerifiedAt, after.CredentialsVersion != c.CredentialsVersion, err)
	}
}

// The 90 days of Facebook's data access are an end that only a person can
// prevent.
func TestExpiring_IsToldAt14And7And1Days(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "facebook")
	if c.GrantExpiresAt.IsZero() {
		t.Fatal("the grant has no end")
	}
	var told []int
	for b.clock.Now().Before(c.GrantExpiresAt) {
		after, err := b.Connection(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		next := after.RefreshAt
		if !next.After(b.clock.Now()) {
			next = b.clock.Now().Add(time.Hour)
		}
		b.clock.Advance(next.Sub(b.clock.Now()))
		before := len(b.expiring(c.ID))
		if _, err := b.RefreshDue(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if len(b.expiring(c.ID)) > before {
			left := c.GrantExpiresAt.Sub(b.clock.Now())
			told = append(told, int((left+23*time.Hour).Hours()/24))
		}
		if len(told) == 3 {
			break
		}
	}
	if !slices.Equal(told, []int{14, 7, 1}) {
		t.Errorf("told %v days before the end, want 14, 7, 1", told)
	}
}

func (b *bench) expiring(id connector.ID) []connector.Event {
	return slices.DeleteFunc(b.events.All(), func(e connector.Event) bool {
		return e.Type != connector.EventExpiring || e.Connection.ID != id
	})
}

// A refresh token that nobody could use for months lapses, although every
// renewal begins its time anew.
func TestExpiring_ALapseIsTold(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"youtube", "twitter"} {
		b := newBench(t)
		c := b.connect(t, name)
		b.clock.Advance(time.Hour)
		renewed, err := b.Refresh(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !renewed.GrantExpiresAt.Equal(c.GrantExpiresAt.Add(time.Hour)) || c.GrantExpiresAt.IsZero() {
			t.Errorf("%s: the lapse moved from %v to %v with a renewal an hour later", name, c.GrantExpiresAt, renewed.GrantExpiresAt)
		}
	}
}

// paced is a platform with another cadence.
type paced struct {
	connector.Platform
	cadence connector.Cadence
}

func (p paced) Describe() connector.Description {
	d := p.Platform.Describe()
	d.Traits.Cadence = p.cadence
	return d
}

func TestRefreshDue_TheCadenceIsData(t *testing.T) {
	t.Parallel()
	const hour = time.Hour // of Google's access tokens, less a second
	tests := []struct {
		name      string
		cadence   connector.Cadence
		from, to  time.Duration // after the token was issued
		unrefresh bool          // without a refresh token
	}{
		{"the last sixth", connector.Cadence{Model: connector.Stable}, 50 * time.Minute, 52*time.Minute + 30*time.Second, false},
		{"extending, from a quarter to a sixth", connector.Cadence{Model: connector.Extending, Early: 0.25, Late: 1.0 / 6}, 45 * time.Minute, 50 * time.Minute, false},
		{"extending needs no refresh token", connector.Cadence{Model: connector.Extending, Early: 0.25, Late: 1.0 / 6}, 45 * time.Minute, 50 * time.Minute, true},
		{"not before its time", connector.Cadence{Model: connector.Extending, Early: 0.9, Late: 0.8, MinInterval: 30 * time.Minute}, 30 * time.Minute, 30 * time.Minute, false},
		{"nothing to renew with", connector.Cadence{Model: connector.Stable}, hour, hour, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			if test.unrefresh {
				b.sandbox.Tune(func(k *sandbox.Knobs) { k.YouTube.OmitRefreshToken = true })
			}
			for i, p := range b.Platforms {
				if p.Describe().Name == "youtube" {
					b.Platforms[i] = paced{p, test.cadence}
				}
			}
			c := b.connect(t, "youtube")
			if age := c.RefreshAt.Sub(c.IssuedAt); age < test.from-2*time.Second || age > test.to {
				t.Errorf("due after %v, want %v to %v", age, test.from, test.to)
			}
		})
	}
}
