package connector_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// limited is a bench whose X app has a cap.
func limited(t *testing.T, limit, day int) (*bench, connector.Connection) {
	t.Helper()
	b := newBench(t)
	app := b.sandbox.AppOf("twitter")
	_, err := b.PutApp(t.Context(), "twitter", connector.App{
		ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret),
		Tier: "free", MonthlyPostLimit: limit, BillingDay: day,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b, b.connect(t, "twitter")
}

func TestService_Reserve(t *testing.T) {
	t.Parallel()

	for _, test := range []struct {
		name        string
		day         int
		now, resets string
	}{
		{"no_day_is_the_first", 0, "2026-11-23T12:00:00Z", "2026-12-01T00:00:00Z"},
		{"day_before_today", 17, "2026-11-23T12:00:00Z", "2026-12-17T00:00:00Z"},
		{"today_at_midnight", 23, "2026-11-23T00:00:00Z", "2026-12-23T00:00:00Z"},
		{"tomorrow", 24, "2026-11-23T23:59:59Z", "2026-11-24T00:00:00Z"},
		{"end_of_a_year", 17, "2026-12-31T12:00:00Z", "2027-01-17T00:00:00Z"},
		{"day_31_after_a_short_month", 31, "2026-11-30T12:00:00Z", "2026-12-31T00:00:00Z"},
		{"day_31_in_february", 31, "2027-02-27T12:00:00Z", "2027-02-28T00:00:00Z"},
		{"day_31_at_the_end_of_february", 31, "2027-02-28T12:00:00Z", "2027-03-31T00:00:00Z"},
		{"day_30_on_a_leap_day", 30, "2028-02-29T12:00:00Z", "2028-03-30T00:00:00Z"},
		{"day_31_at_new_year", 31, "2027-01-01T12:00:00Z", "2027-01-31T00:00:00Z"},
	} {
		t.Run("period_begins_on_the_billing_day/"+test.name, func(t *testing.T) {
			t.Parallel()
			b, c := limited(t, 100, test.day)
			now, err := time.Parse(time.RFC3339, test.now)
			if err != nil {
				t.Fatal(err)
			}
			b.clock.Advance(now.Sub(b.clock.Now()))
			usage, err := b.Reserve(t.Context(), c.ID, 1)
			if got := usage.ResetsAt.Format(time.RFC3339); err != nil || got != test.resets {
				t.Errorf("day %d at %s: resets %s, %v; want %s", test.day, test.now, got, err, test.resets)
			}
		})
	}

	t.Run("never_more_than_the_limit", func(t *testing.T) {
		t.Parallel()
		b, c := limited(t, 100, 17)
		var posts sync.WaitGroup
		var mu sync.Mutex
		reserved := 0
		for range 60 {
			posts.Go(func() {
				_, err := b.Reserve(t.Context(), c.ID, 3)
				mu.Lock()
				defer mu.Unlock()
				switch e := connector.AsError(err); {
				case err == nil:
					reserved += 3
				case !errors.Is(err, connector.QuotaExhausted) || e.ResetsAt.IsZero():
					t.Error(err)
				}
			})
		}
		posts.Wait()
		if reserved != 99 {
			t.Errorf("%d posts of 100 were reserved by threes", reserved)
		}
		if n := len(b.published(connector.EventQuota)); n != 1 {
			t.Errorf("%d events, want one a period", n)
		}
		b.clock.Advance(30 * 24 * time.Hour)
		if usage, err := b.Reserve(t.Context(), c.ID, 3); err != nil || usage.Used != 3 {
			t.Errorf("in the next period: %+v, %v", usage, err)
		}
	})

	t.Run("nothing_is_counted_without_a_limit", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		for range 3 {
			if usage, err := b.Reserve(t.Context(), c.ID, 1000); err != nil || usage != (connector.Usage{}) {
				t.Errorf("got %+v, %v", usage, err)
			}
		}
	})
}
