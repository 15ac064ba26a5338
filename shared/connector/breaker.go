package connector

import (
	"context"
	"errors"
	"time"
)

// Breaker is what all connections of a platform's app have met together. When
// the platform fails, or refuses the app, asking for each connection anew
// helps nobody: the breaker opens, and one call at a time finds out whether it
// is over.
type Breaker struct {
	Platform Name
	Failures int // in a row, over all connections
	Openings int // in a row
	// Code and Message are the last failure.
	Code    Code
	Message string
	// OpenUntil is until when nobody asks. After that one caller tries.
	OpenUntil time.Time
	Revision  int64
}

const (
	breakerThreshold = 5
	breakerFirst     = time.Second
	breakerMost      = 2 * time.Minute
	// breakerProbe is how long a caller has to find out whether it is over.
	breakerProbe = exchangeTime + 2*time.Second
	// drainOver is over how long the connections that an outage held up are
	// spread once it ends.
	drainOver = 10 * time.Minute
)

// err is the failure that opened the breaker.
func (b Breaker) err(now time.Time) *Error {
	return &Error{Code: b.Code, Message: b.Message, RetryAfter: max(0, b.OpenUntil.Sub(now))}
}

// enter returns the breaker of a platform if a call may be made: it is closed,
// or open no longer and the caller is the one who tries. Else allowed is
// false, and the breaker says until when.
func (s *Service) enter(ctx context.Context, name Name, now time.Time) (b Breaker, allowed bool, err error) {
	b, err = s.Store.Breaker(ctx, name)
	if err != nil {
		return b, false, internal("reading a breaker", err)
	}
	b.Platform = name
	if b.Openings == 0 {
		return b, true, nil
	}
	if now.Before(b.OpenUntil) {
		return b, false, nil
	}
	trying := b
	trying.OpenUntil = now.Add(breakerProbe).UTC()
	tried, err := s.Store.PutBreaker(ctx, trying)
	if errors.Is(err, ErrConflict) {
		b.OpenUntil = now.Add(time.Second).UTC()
		return b, false, nil
	}
	if err != nil {
		return b, false, internal("writing a breaker", err)
	}
	return tried, true, nil
}

// report tells the breaker how a call went that it let through. A failure to
// write is logged: the breaker spares calls, nothing depends on it.
func (s *Service) report(ctx context.Context, b Breaker, outcome error) {
	e := AsError(outcome)
	failed := e != nil && (e.Code == PlatformUnavailable || e.Code == RateLimited || e.Code == AppMisconfigured && e.Reason != reasonAppReplaced)
	if !failed && b.Failures == 0 {
		return
	}
	if failed {
		b.Failures++
		b.Code, b.Message = e.Code, e.Message
		if b.Failures >= breakerThreshold || e.Code == AppMisconfigured {
			d := min(breakerFirst<<min(b.Openings, 10), breakerMost)
			b.Openings++
			b.OpenUntil = s.Now().Add(d/2 + s.jitter(d/2)).UTC()
		}
	} else {
		b = Breaker{Platform: b.Platform, Revision: b.Revision}
	}
	if _, err := s.Store.PutBreaker(ctx, b); err != nil && !errors.Is(err, ErrConflict) {
		s.Log.WarnContext(ctx, "writing a breaker", "platform", string(b.Platform), "error", err)
	}
}

// passOn lets the next caller try at once, where what this one met says nothing
// of the app.
func (s *Service) passOn(ctx context.Context, b Breaker) {
	if b.Openings == 0 {
		return
	}
	b.OpenUntil = s.Now().UTC()
	if _, err := s.Store.PutBreaker(ctx, b); err != nil && !errors.Is(err, ErrConflict) {
		s.Log.WarnContext(ctx, "writing a breaker", "platform", string(b.Platform), "error", err)
	}
}

// closeBreaker forgets what a platform's app met, when the operator stores
// another.
func (s *Service) closeBreaker(ctx context.Context, name Name) error {
	for {
		b, err := s.Store.Breaker(ctx, name)
		if err != nil {
			return internal("reading a breaker", err)
		}
		if b.Failures == 0 {
			return nil
		}
		_, err = s.Store.PutBreaker(ctx, Breaker{Platform: name, Revision: b.Revision})
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// postpone moves a due connection to the time after an outage, spread so that
// those it held up do not all come at once.
func (s *Service) postpone(ctx context.Context, c Connection, until time.Time) error {
	_, err := s.commit(ctx, c, func(c *Connection) error {
		c.RefreshAt = until.Add(s.jitter(drainOver)).UTC()
		return nil
	})
	if err != nil && !errors.Is(err, errSuperseded) {
		return err
	}
	return nil
}
