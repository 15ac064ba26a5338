package connectortest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// due returns what is due among keys, in the order of its shard, and checks that
// each key is in one shard only.
func (s storeCheck) due(t *testing.T, now time.Time, keys ...connector.RecordKey) []connector.Due {
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
			if !slices.Contains(keys, d.RecordKey) {
				continue
			}
			if slices.ContainsFunc(found, func(f connector.Due) bool { return f.RecordKey == d.RecordKey }) {
				t.Errorf("%v is due twice", d.RecordKey)
			}
			found = append(found, d)
		}
	}
	return found
}

func (s storeCheck) wantDue(t *testing.T, now time.Time, key connector.RecordKey, want ...time.Time) {
	t.Helper()
	eventually(t, func() string {
		var got []time.Time
		for _, d := range s.due(t, now, key) {
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
	s.wantDue(t, c.RefreshAt.Add(-time.Millisecond), keyOf(c.ID))
	s.wantDue(t, c.RefreshAt, keyOf(c.ID), c.RefreshAt)

	// With 3 times as many as shards, some shard has to put them in order.
	keys := []connector.RecordKey{keyOf(c.ID)}
	for n := range 3 * connector.DueShards {
		another := s.connection(t, fmt.Sprint(n))
		another.RefreshAt = s.now.Add(-time.Duration(n*n%47) * time.Second)
		keys = append(keys, keyOf(s.create(t, another).ID))
	}
	eventually(t, func() string {
		if got := s.due(t, s.now, keys...); len(got) != len(keys) {
			return fmt.Sprintf("%d are due, want %d", len(got), len(keys))
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
	c = s.update(t, c, func(c *connector.Connection) { c.RefreshAt = s.now.Add(time.Hour) })
	s.wantDue(t, s.now, keyOf(c.ID))
	s.wantDue(t, s.now.Add(time.Hour), keyOf(c.ID), c.RefreshAt)
}

func notDueWithoutRefreshAt(t *testing.T, s storeCheck) {
	for _, status := range []connector.Status{connector.Manual, connector.NeedsReauth} {
		c := s.connection(t, string(status))
		c.Status, c.RefreshAt = status, time.Time{}
		c = s.create(t, c)
		s.wantDue(t, s.now, keyOf(c.ID))
		wantError(t, "Claim", s.Claim(t.Context(), dueOf(c), s.now), connector.ErrConflict)
		s.wantStored(t, c)
	}
	gone := s.connection(t, "gone")
	gone.Status = connector.Disconnected
	gone = s.create(t, gone)
	s.wantDue(t, s.now, keyOf(gone.ID), gone.RefreshAt)

	for _, end := range []connector.Status{connector.NeedsReauth, connector.Disconnected} {
		c := s.create(t, s.connection(t, "was active, now "+string(end)))
		s.wantDue(t, s.now, keyOf(c.ID), c.RefreshAt)
		c = s.update(t, c, func(c *connector.Connection) { c.Status, c.RefreshAt = end, time.Time{} })
		s.wantDue(t, s.now, keyOf(c.ID))
		c = s.update(t, c, func(c *connector.Connection) { c.Status, c.RefreshAt = connector.Active, s.now })
		s.wantDue(t, s.now, keyOf(c.ID), s.now)
	}
}

func notDueAfterDeletion(t *testing.T, s storeCheck) {
	stays := s.create(t, s.connection(t, "stays"))
	for n := range 4 {
		c := s.create(t, s.connection(t, fmt.Sprint(n)))
		if n%2 == 0 {
			c = s.update(t, c, func(c *connector.Connection) { c.RefreshAt = time.Time{} })
		}
		s.delete(t, c)
		s.wantDue(t, s.now, keyOf(c.ID))
	}
	s.wantDue(t, s.now, keyOf(stays.ID), stays.RefreshAt)
}

func claimMovesDueAt(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	until := s.now.Add(10 * time.Minute)
	if err := s.Claim(t.Context(), dueOf(c), until); err != nil {
		t.Fatalf("Claim: %v", err)
	}
	s.wantStored(t, c)
	s.wantDue(t, s.now, keyOf(c.ID))
	s.wantDue(t, until, keyOf(c.ID), until)
	wantError(t, "Claim again", s.Claim(t.Context(), dueOf(c), until), connector.ErrConflict)
}

// commitEndsAClaim checks that a commit sets when a record is due, also where it
// does not change RefreshAt.
func commitEndsAClaim(t *testing.T, s storeCheck) {
	until := s.now.Add(10 * time.Minute)
	for name, edit := range map[string]func(*connector.Connection){
		"later":     func(c *connector.Connection) { c.RefreshAt = s.now.Add(time.Minute) },
		"unchanged": func(c *connector.Connection) { c.AccountName = "name" },
		"cleared":   func(c *connector.Connection) { c.RefreshAt = time.Time{} },
	} {
		c := s.create(t, s.connection(t, name))
		if err := s.Claim(t.Context(), dueOf(c), until); err != nil {
			t.Fatalf("Claim: %v", err)
		}
		c = s.update(t, c, edit)
		if c.RefreshAt.IsZero() {
			s.wantDue(t, until, keyOf(c.ID))
		} else {
			s.wantDue(t, until, keyOf(c.ID), c.RefreshAt)
		}
	}
}

func claimAfterACommitIsRefused(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	seen := dueOf(c)
	c = s.update(t, c, func(c *connector.Connection) { c.RefreshAt = s.now.Add(time.Hour) })
	wantError(t, "Claim", s.Claim(t.Context(), seen, s.now.Add(time.Minute)), connector.ErrConflict)
	s.wantDue(t, c.RefreshAt, keyOf(c.ID), c.RefreshAt)
	absent := connector.Due{RecordKey: keyOf(newID(t)), DueAt: s.now}
	wantError(t, "Claim of an absent connection", s.Claim(t.Context(), absent, s.now), connector.ErrConflict)
}
