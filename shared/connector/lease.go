package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Lease is the sole right to refresh one connection until an instant.
type Lease struct {
	Holder string
	Until  time.Time
}

// Held reports whether a holder has the lease at now.
func (l Lease) Held(now time.Time) bool { return l.Holder != "" && now.Before(l.Until) }

// lostBy reports whether holder no longer has the lease: another holder
// acquired it, and may have released it since. A failure of holder's exchange is
// then discarded; new credentials are recorded if they are the newest. A lease
// that ran out and that no other holder acquired is not lost.
func (l Lease) lostBy(holder string) bool { return l.Holder != holder }

// release ends the lease if holder has it. The lease of another holder stays.
func (l *Lease) release(holder string) {
	if l.Holder == holder {
		*l = Lease{}
	}
}

// Attempt is the write-ahead mark of an exchange, and how the exchange failed.
// It is written with the lease, before anything is sent, and cleared when the
// new credentials are committed.
type Attempt struct {
	// Generation is that of the credentials that were presented.
	Generation int64
	// At is when the lease for it was acquired.
	At time.Time
	// Uncertain says that a single-use refresh token of this generation may
	// be spent: it was presented, or was about to be, and no answer is known.
	// A holder that crashes leaves this mark.
	Uncertain bool
	// Code and Message are how it failed; empty while it is under way.
	Code    Code
	Message string
	// RetryAt is when the next attempt may be made.
	RetryAt time.Time
}

// err is the failure of the attempt, for other callers of the same connection.
func (a Attempt) err(now time.Time) error {
	return &Error{Code: cmp.Or(a.Code, PlatformUnavailable), Message: a.Message, RetryAfter: max(0, a.RetryAt.Sub(now))}
}

// errLate says that a result is late: newer credentials are recorded, another
// holder acquired the lease, or the connection is gone. It never leaves the
// service but as the cause of another error.
var errLate = errors.New("late")

// errUnchanged is what a change returns where there is nothing to write. It never
// leaves the service.
var errUnchanged = errors.New("unchanged")

// acquireLease acquires the sole right to refresh c, as it was read, and
// writes the mark of the exchange with it. ErrConflict: another writer was
// first.
func (s *Service) acquireLease(ctx context.Context, c Connection, mark Attempt) (Connection, error) {
	holder, err := s.newName()
	if err != nil {
		return Connection{}, err
	}
	next := c
	next.Lease = Lease{Holder: holder, Until: s.leaseEnd(ctx)}
	next.Attempt = mark
	leased, err := s.Store.Commit(ctx, Change{Before: &c, After: &next})
	if err == nil {
		return leased, nil
	}
	// The write may have succeeded although its answer was lost.
	if fresh, readErr := s.Store.Connection(ctx, c.ID); readErr == nil && fresh.Lease == next.Lease {
		return fresh, nil
	}
	return Connection{}, err
}

// leaseEnd returns until when a caller with that context holds what it acquires now:
// until it can do no more.
func (s *Service) leaseEnd(ctx context.Context) time.Time {
	life := leaseLife
	if _, ok := ctx.Deadline(); ok {
		life = remaining(ctx) + LeaseMargin
	}
	return s.Now().UTC().Add(life)
}

// awaitTurn reports whether an attempt may begin now: no holder has the lease,
// the connection does not back off, and the breaker allows a call. Otherwise it
// waits, or returns the error of a caller that must not wait that long.
func (s *Service) awaitTurn(ctx context.Context, c Connection, f freshness, try int) (t turn, ready bool, err error) {
	now := s.Now()
	switch {
	case c.Lease.Held(now) && f.due:
		return turn{}, false, errBusy
	case c.Lease.Held(now):
		if remaining(ctx) < StoreBudget {
			return turn{}, false, &Error{Code: PlatformUnavailable, Message: "a refresh is under way and took too long: try again", RetryAfter: time.Second}
		}
		if err := s.pause(ctx, try); err != nil {
			return turn{}, false, internal("waiting for a refresh", err)
		}
		return turn{}, false, nil
	case now.Before(c.Attempt.RetryAt):
		return turn{}, false, s.waitUntil(ctx, c.Attempt.RetryAt, f, c.Attempt.err(now))
	}
	t, shut, err := s.allow(ctx, c.breakerKey(), c.Owner, now)
	if err != nil || shut == nil {
		return t, err == nil, err
	}
	if f.due {
		return t, false, errors.Join(shut.err(now), s.postpone(ctx, c, shut.OpenUntil))
	}
	return t, false, s.waitUntil(ctx, shut.OpenUntil, f, shut.err(now))
}

// waitUntil waits, where that is short and leaves time enough for an exchange;
// else it returns cause. The worker waits for nothing.
func (s *Service) waitUntil(ctx context.Context, at time.Time, f freshness, cause error) error {
	wait := at.Sub(s.Now())
	if f.due || wait > maxCallerBackoff || remaining(ctx) < wait+ExchangeBudget+StoreBudget {
		return cause
	}
	if err := s.Sleep(ctx, max(wait, time.Millisecond)); err != nil {
		return internal("waiting to try again", err)
	}
	return nil
}

// postpone moves a due connection to the time after an outage, spread so that
// the delayed connections are not all refreshed at once.
func (s *Service) postpone(ctx context.Context, c Connection, until time.Time) error {
	_, err := s.commit(ctx, c, func(c *Connection) error {
		c.RefreshAt = until.Add(s.jitter(drainOver)).UTC()
		return nil
	})
	if err != nil && !errors.Is(err, errLate) {
		return err
	}
	return nil
}

// awaitLease acquires the lease of a connection as soon as no holder has it and
// the store answers. It gives up with StoreBudget left before the deadline of
// ctx. ErrNotFound: the connection is gone, or was disconnected.
func (s *Service) awaitLease(ctx context.Context, id ID) (Connection, error) {
	for try := 0; ; try++ {
		c, err := s.Store.Connection(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return Connection{}, err
		}
		if err == nil && c.Status == Disconnected {
			return Connection{}, ErrNotFound
		}
		if err == nil && !c.Lease.Held(s.Now()) {
			if leased, err := s.acquireLease(ctx, c, c.Attempt); err == nil {
				return leased, nil
			}
		}
		if remaining(ctx) < StoreBudget {
			return Connection{}, errors.New("the lease could not be acquired in time")
		}
		if err := s.pause(ctx, try); err != nil {
			return Connection{}, err
		}
	}
}

// release ends the lease of holder, and writes with it what change does. It
// returns errLate, and writes nothing, if holder lost the lease meanwhile: the
// outcome is then the next holder's to record. Failing to release is harmless: a
// lease runs out.
func (s *Service) release(ctx context.Context, c Connection, holder string, change func(*Connection) error) (Connection, error) {
	return s.commit(ctx, c, func(c *Connection) error {
		if c.Lease.lostBy(holder) {
			return errLate
		}
		c.Lease = Lease{}
		return change(c)
	})
}

// commit applies change to c, and writes it with the events that tell of it. If
// the record moved meanwhile, change is applied to the record as it is now, and
// decides again: it returns errLate where it has nothing more to write. A store
// that fails is tried again until ctx ends, since what should be written has
// already happened.
// ErrConflict: another connection of the owner has the account.
func (s *Service) commit(ctx context.Context, c Connection, change func(*Connection) error) (Connection, error) {
	return s.write(ctx, c, func(c Connection) (Connection, error) { return s.changed(c, change) })
}

// write writes what change makes of c, as commit does. change gets disconnected
// records too. Beside an error of change it returns the record as it was last read.
func (s *Service) write(ctx context.Context, c Connection, change func(Connection) (Connection, error)) (Connection, error) {
	for try := 0; ; try++ {
		next, err := change(c)
		if err != nil {
			return c, err
		}
		committed, err := s.commitAndTell(ctx, Change{Before: &c, After: &next})
		if err == nil {
			return committed, nil
		}
		if ctx.Err() != nil {
			return c, internal("writing a connection", err)
		}
		if !errors.Is(err, ErrConflict) && s.pause(ctx, try) != nil {
			return c, internal("writing a connection", err)
		}
		fresh, readErr := s.Store.Connection(ctx, c.ID)
		switch {
		case errors.Is(readErr, ErrNotFound):
			return c, errLate
		case readErr == nil && errors.Is(err, ErrConflict) && fresh.Revision == c.Revision:
			return c, fmt.Errorf("claiming the account: %w", ErrConflict) // the revision was right
		case readErr == nil:
			c = fresh
		}
	}
}

// changed returns c as change leaves it.
func (s *Service) changed(c Connection, change func(*Connection) error) (Connection, error) {
	if c.Status == Disconnected {
		return c, errLate
	}
	if err := change(&c); err != nil {
		return c, err
	}
	if c.Status == NeedsReauth {
		c.RefreshAt = time.Time{} // nothing is due, whatever a late writer computed
		c.Degraded = Degradation{}
	}
	c.UpdatedAt = s.Now().UTC()
	return c, nil
}

// pause waits a little, longer at each try. The wait is random, so that those
// who wait for one lease do not all read at once.
func (s *Service) pause(ctx context.Context, try int) error {
	longest := min(250*time.Millisecond, 20*time.Millisecond<<min(try, 4))
	return s.Sleep(ctx, longest/2+s.jitter(longest/2))
}

// remaining is how much time ctx has left.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Hour
	}
	return time.Until(deadline)
}

// insufficientTime reports whether ctx leaves less time than the platform and
// the storing of its answer could need.
func insufficientTime(ctx context.Context) bool {
	return remaining(ctx) < ExchangeBudget+StoreBudget
}

func errInsufficientTime() error {
	return &Error{Code: PlatformUnavailable, Message: "too little time was left to store what the platform would give: try again", RetryAfter: time.Second, Err: errTimeShort}
}

// errTimeShort is the cause of an error if the caller has too little time left. The
// worker has more.
var errTimeShort = errors.New("the time of the caller is too short")

// exchangeContext returns a context for the exchange of a code or an import.
// It ends while there is time left to store the result.
func exchangeContext(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if insufficientTime(ctx) {
		return nil, nil, errInsufficientTime()
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(detachedBudget)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-StoreBudget))
	return ctx, cancel, nil
}

// exchangeInTime calls the platform by do, as withCurrentOrPreviousSecret does, in a
// context that leaves time to store the result.
func exchangeInTime[T any](ctx context.Context, s *Service, app App, do func(context.Context, App) (T, error)) (T, error) {
	return withCurrentOrPreviousSecret(ctx, s, app, clientRefused, func(app App) (result T, err error) {
		ctx, cancel, err := exchangeContext(ctx)
		if err != nil {
			return result, err
		}
		defer cancel()
		return do(ctx, app)
	})
}

// readInTime calls do, a call of the platform that spends nothing. It leaves AnswerReserve
// to the caller, and fails with errTimeShort if less is left.
func readInTime[T any](ctx context.Context, s *Service, app App, do func(context.Context, App) (T, error)) (T, error) {
	return withCurrentOrPreviousSecret(ctx, s, app, clientRefused, func(app App) (result T, err error) {
		if remaining(ctx) < AnswerReserve {
			return result, errInsufficientTime()
		}
		within, cancel := context.WithTimeout(ctx, min(remaining(ctx)-AnswerReserve+time.Second, ExchangeBudget))
		defer cancel()
		result, err = do(within, app)
		if err != nil && remaining(ctx) < AnswerReserve {
			err = errInsufficientTime()
		}
		return result, err
	})
}

// detachedContext returns a context for work that must be done once a platform
// has acted: it outlives a caller who goes away, but not the deadline of ctx.
func detachedContext(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(context.WithoutCancel(ctx), detachedBudget)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), deadline)
}

// rescueContext returns a context for the commit of new credentials. It ends
// early enough to rescue them where the store does not answer.
func rescueContext(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-rescueBudget))
}
