package connector

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Usage is what was posted in a billing period.
type Usage struct {
	Used     int
	Limit    int       // zero: none, and nothing is counted
	ResetsAt time.Time // zero without a limit
}

// Reserve takes posts, 1 to 1,000, from the app's current billing period, or
// fails with QuotaExhausted and takes none.
func (s *Service) Reserve(ctx context.Context, id ID, posts int) (Usage, error) {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return Usage{}, err
	}
	if c.Status == Disconnected {
		return Usage{}, errConnectionNotFound()
	}
	if posts < 1 || posts > 1000 {
		return Usage{}, Invalid("posts", "not between 1 and 1000")
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return Usage{}, err
	}
	if app.MonthlyPostLimit == 0 {
		return Usage{}, nil
	}
	start, end := billingPeriod(s.Now(), app.BillingDay)
	counter := fmt.Sprintf("posts/%s/%s/%s", c.Platform, hash(NewSecret(app.ClientID))[:16], start.Format(time.DateOnly))
	usage := Usage{Limit: app.MonthlyPostLimit, ResetsAt: end}
	usage.Used, err = s.Store.Reserve(ctx, counter, posts, app.MonthlyPostLimit, end)
	if errors.Is(err, ErrConflict) {
		// One event a period, however many ask.
		if _, err := s.Store.Reserve(ctx, counter+"/exhausted", 1, 1, end); err == nil {
			s.publish(ctx, EventQuota, c, reasonMonthlyPostLimit)
		}
		return usage, &Error{Code: QuotaExhausted, ResetsAt: end,
			Message: fmt.Sprintf("%d of %d posts of this billing period are used", usage.Used, usage.Limit)}
	}
	if err != nil {
		return Usage{}, internal("reserving posts", err)
	}
	return usage, nil
}

// billingPeriod returns the period around now that begins on the given day of
// a month, in UTC; on the month's last day where it is shorter. Day zero is
// the first.
func billingPeriod(now time.Time, day int) (start, end time.Time) {
	day = max(day, 1)
	begins := func(year int, month time.Month) time.Time {
		last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		return time.Date(year, month, min(day, last), 0, 0, 0, 0, time.UTC)
	}
	now = now.UTC()
	start = begins(now.Year(), now.Month())
	if now.Before(start) {
		start = begins(now.Year(), now.Month()-1)
	}
	return start, begins(start.Year(), start.Month()+1)
}
