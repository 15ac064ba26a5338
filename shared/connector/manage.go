package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const maxPage = 100

// Connection returns one connection, also one that was disconnected in the
// last days; ConnectionNotFound otherwise.
func (s *Service) Connection(ctx context.Context, id ID) (Connection, error) {
	if !id.Valid() {
		return Connection{}, errConnectionNotFound()
	}
	c, err := s.Store.Connection(ctx, id)
	if err != nil {
		return Connection{}, notFound(err)
	}
	if !mayActFor(ctx, c.Owner) {
		return Connection{}, errConnectionNotFound()
	}
	return c, nil
}

func notFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return errConnectionNotFound()
	}
	return internal("reading a connection", err)
}

// Connections lists up to limit connections, 1 to 100, after cursor. next is
// empty on the last page.
func (s *Service) Connections(ctx context.Context, f Filter, cursor string, limit int) (page []Connection, next string, err error) {
	if limit < 1 || limit > maxPage {
		return nil, "", Invalid("limit", fmt.Sprintf("not between 1 and %d", maxPage))
	}
	if f.Owner != "" {
		if err := checkOwner(f.Owner); err != nil {
			return nil, "", err
		}
	}
	if f.Platform != "" {
		if _, err := s.platform(f.Platform); err != nil {
			return nil, "", err
		}
	}
	if f.Status != "" && !slices.Contains(Statuses(), f.Status) {
		return nil, "", Invalid("status", "none of active, needs_reauth, manual, disconnected")
	}
	f.Within = ownersIn(ctx)
	if f.Within.none() {
		return nil, "", nil
	}
	if f.Owner == "" {
		f.Owner = f.Within.only()
	}
	page, next, err = s.Store.Connections(ctx, f, cursor, limit)
	if err != nil {
		return nil, "", internal("listing connections", err)
	}
	return page, next, nil
}

// Verify asks the platform whether the credentials still work, and stores the
// answer on the connection. Credentials that need it are refreshed first. A
// connection that was given up, and works after all, is active again.
func (s *Service) Verify(ctx context.Context, id ID) (Verification, error) {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return Verification{}, err
	}
	if c.Status != NeedsReauth {
		if err := s.usable(c); err != nil {
			return Verification{}, err
		}
		if c, err = s.renew(ctx, c, need{since: s.Now()}); err != nil && !servable(c, s.Now()) {
			return Verification{}, err
		}
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return Verification{}, err
	}
	v, c, err := s.ask(ctx, p, c)
	if errors.Is(err, ReauthorizationRequired) && c.Status == Active {
		// A token that died before its time may be replaced.
		if c, err = s.renew(ctx, c, need{force: true, since: s.Now()}); err != nil {
			return Verification{}, err
		}
		v, c, err = s.ask(ctx, p, c)
	}
	if err != nil {
		return Verification{}, err
	}
	return v, s.verified(ctx, c, v)
}

// ask calls the platform with the credentials that c points to.
func (s *Service) ask(ctx context.Context, p Platform, c Connection) (Verification, Connection, error) {
	creds, err := s.pinnedCredentials(ctx, c)
	if err != nil {
		return Verification{}, c, err
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return Verification{}, c, err
	}
	v, err := s.verifyWith(ctx, p, app, creds)
	if err != nil {
		return Verification{}, c, internal("verifying", err)
	}
	v.CheckedAt = s.Now().UTC()
	return v, c, nil
}

// verified stores what a verification found.
func (s *Service) verified(ctx context.Context, c Connection, v Verification) error {
	if v.Account.ID != "" && v.Account.ID != c.AccountID && !provisional(c.AccountID) {
		return &Error{Code: AccountMismatch, Message: "the credentials are those of another account"}
	}
	recovered := c.Status == NeedsReauth
	committed, err := s.commit(ctx, c, func(c *Connection) error {
		c.VerifiedAt = v.CheckedAt
		if v.Account.ID != "" {
			if provisional(c.AccountID) && c.UserID == c.AccountID {
				c.UserID = v.Account.ID
			}
			c.AccountID, c.AccountName = v.Account.ID, v.Account.Name
		}
		if len(v.Scopes) > 0 {
			c.Scopes, c.MissingScopes = v.Scopes, missing(union(c.Scopes, c.MissingScopes), v.Scopes)
		}
		if v.Warning != "" || recovered {
			c.StatusReason = v.Warning
		}
		if recovered {
			c.Status, c.RefreshAt = Active, s.Now().UTC()
		}
		return nil
	})
	switch {
	case errors.Is(err, ErrConflict):
		return &Error{Code: AccountMismatch, Message: "the owner has another connection to that account"}
	case errors.Is(err, errSuperseded):
		return errConnectionNotFound()
	case err != nil:
		return err
	}
	if recovered {
		s.publish(ctx, EventRecovered, committed, "verified")
	}
	return nil
}

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
			s.publish(ctx, EventQuota, c, "monthly_post_limit")
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
