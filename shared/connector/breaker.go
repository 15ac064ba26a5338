package connector

import (
	"context"
	"errors"
	"time"
)

// Breaker is what the calls for all connections of a platform's app had in
// common. When the platform fails, or refuses the app, a call for each
// connection is useless: the breaker opens, and one call at a time probes
// whether calls succeed again.
type Breaker struct {
	Platform         Name
	Failures         int // in a row, over all connections
	ConsecutiveTrips int
	// Code and Message are the last failure.
	Code    Code
	Message string
	// OpenUntil is when the next probe may be sent. No call is made before.
	OpenUntil time.Time
	Revision  int64
}

// err is the failure that opened the breaker.
func (b Breaker) err(now time.Time) *Error {
	return &Error{Code: b.Code, Message: b.Message, RetryAfter: max(0, b.OpenUntil.Sub(now))}
}

// allow reports whether a call may be made: the breaker is closed, or the caller
// is the one that probes. Otherwise the breaker says until when it is open.
func (s *Service) allow(ctx context.Context, name Name, now time.Time) (b Breaker, allowed bool, err error) {
	b, err = s.Store.Breaker(ctx, name)
	if err != nil {
		return b, false, internal("reading a breaker", err)
	}
	b.Platform = name
	if b.ConsecutiveTrips == 0 {
		return b, true, nil
	}
	if now.Before(b.OpenUntil) {
		return b, false, nil
	}
	probe := b
	probe.OpenUntil = now.Add(breakerProbe).UTC()
	probe, err = s.Store.PutBreaker(ctx, probe)
	if errors.Is(err, ErrConflict) {
		b.OpenUntil = now.Add(time.Second).UTC()
		return b, false, nil
	}
	if err != nil {
		return b, false, internal("writing a breaker", err)
	}
	return probe, true, nil
}

// recordCall records how a call went that the breaker allowed. A failure to write
// is logged: the breaker saves calls, and nothing depends on it.
func (s *Service) recordCall(ctx context.Context, b Breaker, outcome error) {
	e := AsError(outcome)
	failed := e != nil && (e.Code == PlatformUnavailable || e.Code == RateLimited || e.Code == AppMisconfigured)
	if !failed && b.Failures == 0 {
		return
	}
	if failed {
		b.Failures++
		b.Code, b.Message = e.Code, e.Message
		if b.Failures >= breakerThreshold || e.Code == AppMisconfigured {
			d := min(breakerFirst<<min(b.ConsecutiveTrips, 10), breakerMost)
			b.ConsecutiveTrips++
			b.OpenUntil = s.Now().Add(d/2 + s.jitter(d/2)).UTC()
		}
	} else {
		b = Breaker{Platform: b.Platform, Revision: b.Revision}
	}
	s.putBreaker(ctx, b)
}

func (s *Service) putBreaker(ctx context.Context, b Breaker) {
	if _, err := s.Store.PutBreaker(ctx, b); err != nil && !errors.Is(err, ErrConflict) {
		s.Log.WarnContext(ctx, "writing a breaker", "platform", string(b.Platform), "error", err)
	}
}

// releaseProbe lets the next caller probe at once, where the result of this one
// says nothing about the app.
func (s *Service) releaseProbe(ctx context.Context, b Breaker) {
	if b.ConsecutiveTrips == 0 {
		return
	}
	b.OpenUntil = s.Now().UTC()
	s.putBreaker(ctx, b)
}

// closeBreaker closes the breaker of a platform's app when the operator stores
// another app.
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
