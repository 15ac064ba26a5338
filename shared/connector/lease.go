package connector

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStale says that a result came too late: newer credentials are recorded,
// another holder has the lease, or the connection is gone. It never leaves the
// service.
var errStale = errors.New("stale")

// acquireLease acquires the sole right to refresh c, as it was read, and
// writes the mark of the exchange with it. ErrConflict: another writer was
// first.
func (s *Service) acquireLease(ctx context.Context, c Connection, mark Attempt) (Connection, error) {
	holder, err := randomToken(s.Random)
	if err != nil {
		return Connection{}, err
	}
	life := leaseLife
	if _, ok := ctx.Deadline(); ok {
		life = remaining(ctx) + LeaseMargin
	}
	next := c
	next.Lease = Lease{Holder: holder.Reveal()[:16], Until: s.Now().UTC().Add(life)}
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

// awaitLease acquires the lease of a connection as soon as no holder has it and
// the store answers. It gives up with StoreBudget left before the deadline of
// ctx, and where the connection is gone.
func (s *Service) awaitLease(ctx context.Context, id ID) (Connection, error) {
	for try := 0; ; try++ {
		c, err := s.Store.Connection(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return Connection{}, err
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
// returns errStale, and writes nothing, if holder lost the lease meanwhile: the
// outcome is then the next holder's to record. Failing to release is harmless: a
// lease runs out.
func (s *Service) release(ctx context.Context, c Connection, holder string, change func(*Connection) error) (Connection, error) {
	return s.commit(ctx, c, func(c *Connection) error {
		if c.Lease.lostBy(holder) {
			return errStale
		}
		c.Lease = Lease{}
		return change(c)
	})
}

// commit applies change to c and writes it. If the record moved meanwhile,
// change is applied to the record as it is now, and decides again: it returns
// errStale where it has nothing more to write. A store that fails is tried
// again until ctx ends, since what should be written has already happened.
// ErrConflict: another connection of the owner has the account.
func (s *Service) commit(ctx context.Context, c Connection, change func(*Connection) error) (Connection, error) {
	for try := 0; ; try++ {
		next := c
		if next.Status == Disconnected {
			return c, errStale
		}
		if err := change(&next); err != nil {
			return c, err
		}
		if next.Status == NeedsReauth {
			next.RefreshAt = time.Time{} // nothing is due, whatever a late writer computed
		}
		next.UpdatedAt = s.Now().UTC()
		committed, err := s.Store.Commit(ctx, Change{Before: &c, After: &next})
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
			return c, errStale
		case readErr == nil && errors.Is(err, ErrConflict) && fresh.Revision == c.Revision:
			return c, fmt.Errorf("claiming the account: %w", ErrConflict) // the revision was right
		case readErr == nil:
			c = fresh
		}
	}
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
	return &Error{Code: PlatformUnavailable, Message: "too little time was left to store what the platform would give: try again", RetryAfter: time.Second}
}

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
