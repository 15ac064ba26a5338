package connectortest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// due returns what is due among ids, in the order in which its shard has it,
// and checks that each comes from one shard only.
func (s storeCheck) due(t *testing.T, now time.Time, ids ...connector.ID) []connector.Due {
	t.Helper()
	var found []connector.Due
	for shard := range connector.DueShards {
		due, err := s.Due(t.Context(), shard, now, 1000)
		if err != nil {
			t.Fatalf("Due: %v", err)
		}
		for n, d := range due {
			if n > 0 && d.DueAt.Before(due[n-1].DueAt) {
				t.Errorf("shard %d: %v comes after %v", shard, d, due[n-1])
			}
			if !slices.Contains(ids, d.ID) {
				continue
			}
			if slices.ContainsFunc(found, func(f connector.Due) bool { return f.ID == d.ID }) {
				t.Errorf("%v is due twice", d.ID)
			}
			found = append(found, d)
		}
	}
	return found
}

func (s storeCheck) wantDue(t *testing.T, now time.Time, id connector.ID, want ...time.Time) {
	t.Helper()
	eventually(t, func() string {
		var got []time.Time
		for _, d := range s.due(t, now, id) {
			got = append(got, d.DueAt)
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			return fmt.Sprintf("due at %v: %v, want %v", now, got, want)
		}
		return ""
	})
}

func dueInOrderAndInTime(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	s.wantDue(t, c.RefreshAt.Add(-time.Millisecond), c.ID)
	s.wantDue(t, c.RefreshAt, c.ID, c.RefreshAt)

	// With 3 times as many as shards, some shard has to put them in order.
	ids := []connector.ID{c.ID}
	for n := range 3 * connector.DueShards {
		another := s.connection(t, fmt.Sprint(n))
		another.RefreshAt = s.now.Add(-time.Duration(n*n%47) * time.Second)
		ids = append(ids, s.create(t, another).ID)
	}
	eventually(t, func() string {
		if got := s.due(t, s.now, ids...); len(got) != len(ids) {
			return fmt.Sprintf("%d are due, want %d", len(got), len(ids))
		}
		return ""
	})
	for shard := range connector.DueShards {
		all, err := s.Due(t.Context(), shard, s.now, 1000)
		if err != nil {
			t.Fatal(err)
		}
		first, err := s.Due(t.Context(), shard, s.now, 1)
		if err != nil || len(first) != min(1, len(all)) {
			t.Errorf("shard %d with limit 1: %v, %v", shard, first, err)
		}
	}
	c.RefreshAt = s.now.Add(time.Hour)
	s.update(t, c)
	s.wantDue(t, s.now, c.ID)
	s.wantDue(t, s.now.Add(time.Hour), c.ID, c.RefreshAt)
}

func notDueWithoutRefreshAt(t *testing.T, s storeCheck) {
	for _, status := range []connector.Status{connector.Manual, connector.NeedsReauth} {
		c := s.connection(t, string(status))
		c.Status, c.RefreshAt = status, time.Time{}
		c = s.create(t, c)
		s.wantDue(t, s.now, c.ID)
		wantError(t, "Claim", s.Claim(t.Context(), connector.Due{ID: c.ID}, s.now), connector.ErrConflict)
		s.wantStored(t, c)
	}
	gone := s.connection(t, "gone")
	gone.Status = connector.Disconnected
	gone = s.create(t, gone)
	s.wantDue(t, s.now, gone.ID, gone.RefreshAt)

	for _, end := range []connector.Status{connector.NeedsReauth, connector.Disconnected} {
		c := s.create(t, s.connection(t, "was active, now "+string(end)))
		s.wantDue(t, s.now, c.ID, c.RefreshAt)
		c.Status, c.RefreshAt = end, time.Time{}
		c = s.update(t, c)
		s.wantDue(t, s.now, c.ID)
		c.Status, c.RefreshAt = connector.Active, s.now
		s.update(t, c)
		s.wantDue(t, s.now, c.ID, s.now)
	}
}

func notDueAfterDeletion(t *testing.T, s storeCheck) {
	stays := s.create(t, s.connection(t, "stays"))
	for n := range 4 {
		c := s.create(t, s.connection(t, fmt.Sprint(n)))
		if n%2 == 0 {
			c.RefreshAt = time.Time{}
			c = s.update(t, c)
		}
		if err := s.Delete(t.Context(), c.ID, c.Revision); err != nil {
			t.Fatal(err)
		}
		s.wantDue(t, s.now, c.ID)
	}
	s.wantDue(t, s.now, stays.ID, stays.RefreshAt)
}

func claimPutsOff(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	until := s.now.Add(10 * time.Minute)
	if err := s.Claim(t.Context(), connector.Due{ID: c.ID, DueAt: c.RefreshAt}, until); err != nil {
		t.Fatalf("Claim: %v", err)
	}
	s.wantStored(t, c)
	s.wantDue(t, s.now, c.ID)
	s.wantDue(t, until, c.ID, until)

	// The claim neither keeps the record from being written nor outlives that.
	c.RefreshAt = s.now.Add(time.Minute)
	s.update(t, c)
	s.wantDue(t, c.RefreshAt, c.ID, c.RefreshAt)
}

func claimOfWhatMovedIsRefused(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	seen := connector.Due{ID: c.ID, DueAt: c.RefreshAt}
	c.RefreshAt = s.now.Add(time.Hour)
	c = s.update(t, c)
	wantError(t, "Claim", s.Claim(t.Context(), seen, s.now.Add(time.Minute)), connector.ErrConflict)
	s.wantDue(t, c.RefreshAt, c.ID, c.RefreshAt)
	wantError(t, "Claim of nothing", s.Claim(t.Context(), connector.Due{ID: newID(t), DueAt: s.now}, s.now), connector.ErrConflict)
}
