package connector

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
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
		s.tellExhausted(ctx, c, counter, reasonMonthlyPostLimit, end)
		return usage, &Error{Code: QuotaExhausted, ResetsAt: end,
			Message: fmt.Sprintf("%d of %d posts of this billing period are used", usage.Used, usage.Limit)}
	}
	if err != nil {
		return Usage{}, internal("reserving posts", err)
	}
	return usage, nil
}

// tellPlatformQuota tells that the platform refused a call because the quota or the
// credits of the client are used up: once until the quota starts anew, or once a day
// where waiting does not help.
func (s *Service) tellPlatformQuota(ctx context.Context, p Platform, c Connection, app App, creds Credentials, e *Error) {
	if e.Code != QuotaExhausted {
		return
	}
	end := e.ResetsAt.UTC()
	if end.IsZero() {
		end = s.Now().UTC().Truncate(day).Add(day)
	}
	client := hash(NewSecret(app.ClientID))[:16]
	if bringsClient(p, creds) {
		client = breakerClient(p, c.Owner, creds)
	}
	reason := cmp.Or(e.Reason, reasonQuotaExhausted)
	s.tellExhausted(ctx, c, fmt.Sprintf("quota/%s/%s/%s/%d", c.Platform, client, reason, end.Unix()), reason, end)
}

// tellQuotaOf reads the credentials of the connection and calls tellPlatformQuota. A
// failure to read them is logged.
func (s *Service) tellQuotaOf(ctx context.Context, p Platform, c Connection, e *Error) {
	if e.Code != QuotaExhausted {
		return
	}
	creds, err := s.readCredentials(ctx, c)
	var app App
	if err == nil {
		app, err = s.app(ctx, c.Platform)
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "telling that a quota is exhausted, to be tried again", "platform", string(c.Platform), "error", err)
		return
	}
	s.tellPlatformQuota(ctx, p, c, app, creds, e)
}

// tellExhausted sends one event a period, for any number of callers. It sets the marker
// of the period after the event is owed, so that no crash loses the event. A failure is
// logged: the next caller tries again.
func (s *Service) tellExhausted(ctx context.Context, c Connection, counter, reason string, end time.Time) {
	marker := counter + "/exhausted"
	told, err := s.Store.Reserve(ctx, marker, 0, 1, end)
	if err == nil && told == 0 {
		err = s.tellExhaustedOnce(ctx, c, marker, reason, end)
	}
	if err != nil && !errors.Is(err, ErrConflict) {
		s.Log.ErrorContext(ctx, "telling that a quota is exhausted, to be tried again", "platform", string(c.Platform), "error", err)
	}
}

// tellExhaustedOnce owes the event and sets the marker. ErrConflict: another caller owes
// it already.
func (s *Service) tellExhaustedOnce(ctx context.Context, c Connection, marker, reason string, end time.Time) error {
	owed, err := s.oweExhausted(ctx, c, marker, reason)
	if err != nil {
		return err
	}
	_, err = s.Store.Reserve(ctx, marker, 1, 1, end)
	if errors.Is(err, ErrConflict) {
		return s.dropEvents(ctx, []ID{owed.Event.ID}) // it was told before
	}
	if err == nil {
		s.sendOwed(ctx, owed)
	}
	return err
}

// oweExhausted writes the ticket of the event of a period. ErrConflict: another caller
// wrote it. The id is that of the period, so that two of them are one event.
func (s *Service) oweExhausted(ctx context.Context, c Connection, marker, reason string) (owedEvent, error) {
	sum := sha256.Sum256([]byte(marker))
	id, err := NewID(bytes.NewReader(sum[:]))
	if err != nil {
		return owedEvent{}, err
	}
	owed := s.owedEvent(id, c, EventQuota, reason)
	ticket, err := owed.ticket(owed.Event.OccurredAt.Add(SendWithin), s.Now())
	if err != nil {
		return owedEvent{}, err
	}
	_, err = s.Store.Commit(ctx, Change{Put: []Ticket{ticket}})
	return owed, err
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
