package connector

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Refresh renews the credentials of one connection now. When it returns nil
// the new credentials are in the vault and the record points to them. On error
// the record still points to what it did before.
func (s *Service) Refresh(ctx context.Context, id ID) (Connection, error) {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return Connection{}, err
	}
	if c.Status == Disconnected {
		return Connection{}, errConnectionNotFound()
	}
	return s.renew(ctx, c, need{force: true, since: s.Now()})
}

// need is for whom, and how urgently, a connection is renewed.
type need struct {
	// force asks for a renewal after since, whatever the token's age.
	force bool
	since time.Time
	// minTTL is the life that the token must have left.
	minTTL time.Duration
	// due is set by the sweep's worker, who renews what is due and waits for
	// nobody.
	due bool
}

// met reports whether c serves the need as it is.
func (n need) met(c Connection, now time.Time) bool {
	switch {
	case n.due:
		return c.RefreshAt.IsZero() || now.Before(c.RefreshAt)
	case n.force:
		return c.LastRefreshedAt.After(n.since)
	}
	return c.freshFor(n.minTTL, now)
}

// errBusy says that somebody else is refreshing the connection.
var errBusy = errors.New("the lease is held")

// renew brings the credentials of c up to what is needed. At most one
// exchange of a connection is under way anywhere: who meets a lease waits for
// its result, and takes it as their own, good or bad.
func (s *Service) renew(ctx context.Context, c Connection, n need) (Connection, error) {
	began := s.Now()
	for try := 0; ; try++ {
		now := s.Now()
		if err := s.usable(c); err != nil {
			return c, err
		}
		if n.met(c, now) {
			return c, nil
		}
		waited := try > 0 && c.Attempt.Code != "" && c.Attempt.At.After(began)
		switch {
		case waited:
			return c, c.Attempt.err(now)
		case c.Lease.Held(now):
			if n.due {
				return c, errBusy
			}
			if s.left(ctx) < storeTime {
				return c, &Error{Code: PlatformUnavailable, Message: "a refresh is under way and took too long: try again", RetryAfter: time.Second}
			}
			if err := s.pause(ctx, try); err != nil {
				return c, internal("waiting for a refresh", err)
			}
		case now.Before(c.Attempt.RetryAt):
			if err := s.waitUntil(ctx, c.Attempt.RetryAt, n, c.Attempt.err(now)); err != nil {
				return c, err
			}
		default:
			breaker, allowed, err := s.enter(ctx, c.Platform, now)
			if err != nil {
				return c, err
			}
			if !allowed {
				if n.due {
					return c, errors.Join(breaker.err(now), s.postpone(ctx, c, breaker.OpenUntil))
				}
				if err := s.waitUntil(ctx, breaker.OpenUntil, n, breaker.err(now)); err != nil {
					return c, err
				}
				break
			}
			renewed, err := s.attempt(ctx, c, n, breaker)
			if !errors.Is(err, ErrConflict) {
				return renewed, err
			}
		}
		var err error
		if c, err = s.Store.Connection(ctx, c.ID); err != nil {
			return c, internal("reading a connection", err)
		}
	}
}

// waitUntil waits, where that is short and leaves time enough for an exchange;
// else it returns cause. The sweep's worker waits for nothing.
func (s *Service) waitUntil(ctx context.Context, at time.Time, n need, cause error) error {
	wait := at.Sub(s.Now())
	if n.due || wait > maxCallerBackoff || s.left(ctx) < wait+exchangeTime+storeTime {
		return cause
	}
	if err := s.Sleep(ctx, max(wait, time.Millisecond)); err != nil {
		return internal("waiting to try again", err)
	}
	return nil
}

// usable returns the error of a connection that has nothing to hand out or
// renew.
func (s *Service) usable(c Connection) error {
	switch c.Status {
	case Active:
		return nil
	case Manual:
		p, err := s.platform(c.Platform)
		if err != nil {
			return err
		}
		return errManualMode(p.Describe())
	case NeedsReauth:
		return errReauth(c.StatusReason)
	}
	return errConnectionNotFound()
}

// err is the failure of an attempt, for those who came to the same
// connection.
func (a Attempt) err(now time.Time) error {
	code := a.Code
	if code == "" {
		code = PlatformUnavailable
	}
	return &Error{Code: code, Message: a.Message, RetryAfter: max(0, a.RetryAt.Sub(now))}
}

// attempt takes the lease of c, reads its credentials again and exchanges
// them. ErrConflict: somebody else moved first.
func (s *Service) attempt(ctx context.Context, c Connection, n need, breaker Breaker) (Connection, error) {
	p, err := s.platform(c.Platform)
	if err != nil {
		return c, err
	}
	if s.tooLate(ctx) {
		return c, errTooLate()
	}
	now := s.Now().UTC()
	if n.force {
		if c.ForcedAt, err = countForced(c.ForcedAt, now); err != nil {
			return c, err
		}
	}
	before := c.Attempt
	if s.holdBack(p, c, now) {
		return c, &Error{Code: PlatformUnavailable, Reason: reasonOutcomeUnknown, RetryAfter: c.ExpiresAt.Sub(now),
			Message: "the answer to the last refresh was lost; the refresh token is not shown again while the access token still works"}
	}
	leased, err := s.takeLease(ctx, c, Attempt{
		Generation: c.Generation,
		At:         now,
		Uncertain:  p.Describe().Traits.RotatesRefreshToken,
	})
	if err != nil {
		if errors.Is(err, ErrConflict) {
			return c, err
		}
		return c, internal("taking the lease", err)
	}

	// From here on somebody may be waiting for the result, and soon the
	// platform will have acted: a caller who goes away changes nothing.
	ctx, cancel := finish(ctx)
	defer cancel()
	return s.exchange(ctx, p, leased, before, n, breaker)
}

// holdBack reports whether a refresh token that may be spent must not be shown
// again yet. Platforms take a second showing for theft and end the whole
// family of tokens (RFC 9700, 4.14.2), so as long as the access token works it
// is worth more than the try. Once it is dead nothing can be lost by trying
// once more.
func (s *Service) holdBack(p Platform, c Connection, now time.Time) bool {
	traits := p.Describe().Traits
	if !c.Attempt.Uncertain || c.Attempt.Generation != c.Generation || !traits.RotatesRefreshToken {
		return false
	}
	return c.alive(now) && now.Sub(c.Attempt.At) >= traits.Cadence.Grace
}

// How many refreshes of one connection callers can force in a while. Every
// one of them rotates a token on some platforms.
const (
	maxForced   = 10
	forcedWhile = 10 * time.Minute
)

// countForced adds a forced refresh at now, or says that it is one too many.
func countForced(forced []time.Time, now time.Time) ([]time.Time, error) {
	recent := slices.DeleteFunc(slices.Clone(forced), func(t time.Time) bool { return now.Sub(t) >= forcedWhile })
	if len(recent) >= maxForced {
		return forced, &Error{Code: RateLimited, Reason: reasonForcedTooOften, Message: "this connection was refreshed by force too often", RetryAfter: recent[0].Add(forcedWhile).Sub(now)}
	}
	return append(recent, now), nil
}
