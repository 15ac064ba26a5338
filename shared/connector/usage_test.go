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

func TestReserve_PeriodsBeginOnTheBillingDay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		day         int
		now, resets string
	}{
		{0, "2026-11-23T12:00:00Z", "2026-12-01T00:00:00Z"},
		{17, "2026-11-23T12:00:00Z", "2026-12-17T00:00:00Z"},
		{23, "2026-11-23T00:00:00Z", "2026-12-23T00:00:00Z"},
		{24, "2026-11-23T23:59:59Z", "2026-11-24T00:00:00Z"},
		{17, "2026-12-31T12:00:00Z", "2027-01-17T00:00:00Z"},
		{31, "2026-11-30T12:00:00Z", "2026-12-31T00:00:00Z"},
		{31, "2027-02-27T12:00:00Z", "2027-02-28T00:00:00Z"},
		{31, "2027-02-28T12:00:00Z", "2027-03-31T00:00:00Z"},
		{30, "2028-02-29T12:00:00Z", "2028-03-30T00:00:00Z"},
		{31, "2027-01-01T12:00:00Z", "2027-01-31T00:00:00Z"},
	}
	for _, test := range tests {
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
	}
}

func TestReserve_NeverMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	b, c := limited(t, 100, 17)
	var posts sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 60 {
		posts.Go(func() {
			_, err := b.Reserve(t.Context(), c.ID, 3)
			mu.Lock()
			defer mu.Unlock()
			switch e := connector.AsError(err); {
			case err == nil:
				taken += 3
			case !errors.Is(err, connector.QuotaExhausted) || e.ResetsAt.IsZero():
				t.Error(err)
			}
		})
	}
	posts.Wait()
	if taken != 99 {
		t.Errorf("%d posts of 100 were given out by threes", taken)
	}
	exhausted := 0
	for _, e := range b.events.All() {
		if e.Type == connector.EventQuota {
			exhausted++
		}
	}
	if exhausted != 1 {
		t.Errorf("%d events, want one a period", exhausted)
	}
	b.clock.Advance(30 * 24 * time.Hour)
	if usage, err := b.Reserve(t.Context(), c.ID, 3); err != nil || usage.Used != 3 {
		t.Errorf("in the next period: %+v, %v", usage, err)
	}
}

func TestReserve_WithoutALimitNothingIsCounted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "twitter")
	for range 3 {
		if usage, err := b.Reserve(t.Context(), c.ID, 1000); err != nil || usage != (connector.Usage{}) {
			t.Errorf("got %+v, %v", usage, err)
		}
	}
}
