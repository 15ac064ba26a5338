package connector

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How the time of a refresh is divided: exchangeTime is for the platform,
// storeTime for what must follow, and no exchange begins with less than both.
const (
	exchangeTime = 10 * time.Second
	storeTime    = 5 * time.Second
)

// A lease lasts until its holder can do no more: to the deadline of its
// context, at which Lambda ends the process, and a bit for clocks that differ.
// A holder who was merely slow is thus never taken for dead. leaseLife is for
// contexts without a deadline.
const (
	leaseLife  = 20 * time.Second
	leaseExtra = 5 * time.Second
)

// errSuperseded says that a result came too late: newer credentials stand, or
// the connection is gone.
var errSuperseded = errors.New("superseded")

// takeLease takes the sole right to refresh c, as it was read, and writes the
// mark of the exchange ahead of it. ErrConflict: somebody else moved first.
func (s *Service) takeLease(ctx context.Context, c Connection, attempt Attempt) (Connection, error) {
	holder, err := randomToken(s.Random)
	if err != nil {
		return Connection{}, err
	}
	life := leaseLife
	if _, ok := ctx.Deadline(); ok {
		life = s.left(ctx) + leaseExtra
	}
	c.Lease = Lease{Holder: holder.Reveal()[:16], Until: s.Now().UTC().Add(life)}
	c.Attempt = attempt
	leased, err := s.Store.Update(ctx, c)
	if err == nil {
		return leased, nil
	}
	// A write whose answer was lost may have got through, and when it is sent
	// again it conflicts with itself.
	if fresh, readErr := s.Store.Connection(ctx, c.ID); readErr == nil && fresh.Lease == c.Lease {
		return fresh, nil
	}
	return leased, err
}

// awaitLease takes the lease of a connection as soon as nobody holds it, and
// the store lets it. It gives up with storeTime left before the deadline of
// ctx, or where the connection is gone.
func (s *Service) awaitLease(ctx context.Context, id ID) (Connection, error) {
	for try := 0; ; try++ {
		c, err := s.Store.Connection(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return Connection{}, err
		}
		if err == nil && !c.Lease.Held(s.Now()) {
			if leased, err := s.takeLease(ctx, c, c.Attempt); err == nil {
				return leased, nil
			}
		}
		if s.left(ctx) < storeTime {
			return Connection{}, errors.New("the lease was not to be had")
		}
		if err := s.pause(ctx, try); err != nil {
			return Connection{}, err
		}
	}
}

// pause waits a little, longer each time, so that those who wait for one
// lease do not ask all at once.
func (s *Service) pause(ctx context.Context, try int) error {
	most := min(250*time.Millisecond, 20*time.Millisecond<<min(try, 4))
	return s.Sleep(ctx, most/2+s.jitter(most/2))
}

// left is how much time ctx gives.
func (s *Service) left(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Hour
	}
	return time.Until(deadline)
}

// tooLate reports whether ctx gives less time than the platform and the storing
// of what it gives could need.
func (s *Service) tooLate(ctx context.Context) bool { return s.left(ctx) < exchangeTime+storeTime }

// beforeStoring returns a context that ends while there is time left to store
// what came of the work.
func (s *Service) beforeStoring(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if s.tooLate(ctx) {
		return nil, nil, errTooLate()
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(finishTime)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-storeTime))
	return ctx, cancel, nil
}

// finishTime is what finish gives to a context without a deadline.
const finishTime = 20 * time.Second

// finish returns a context for work that must be done once a platform has
// acted: it outlives a caller who goes away, but not the deadline, nor
// finishTime where there is none.
func finish(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), deadline)
}

// another reports whether somebody else than holder has taken the lease, who
// was thus taken for dead: what has come of the exchange is theirs to say.
func (l Lease) another(holder string) bool { return l.Holder != "" && l.Holder != holder }

// endLease gives the lease up if holder still has it. Another's is left
// alone.
func endLease(c *Connection, holder string) {
	if c.Lease.Holder == holder {
		c.Lease = Lease{}
	}
}

// release gives a lease up with nothing changed. Failing to is harmless: it
// runs out.
func (s *Service) release(ctx context.Context, c Connection, holder string) {
	_, err := s.commit(ctx, c, func(c *Connection) error {
		endLease(c, holder)
		return nil
	})
	if err != nil && !errors.Is(err, errSuperseded) {
		s.Log.WarnContext(ctx, "giving a lease up", "connection", string(c.ID), "error", err)
	}
}

// commit applies change to c and writes it. If the record moved meanwhile,
// change is applied to what it is now, and decides again: it returns
// errSuperseded where it has nothing more to say. A store that fails is tried
// again until ctx is done, since what is to be written has already happened.
func (s *Service) commit(ctx context.Context, c Connection, change func(*Connection) error) (Connection, error) {
	for try := 0; ; try++ {
		next := c
		if next.Status == Disconnected {
			return c, errSuperseded
		}
		if err := change(&next); err != nil {
			return c, err
		}
		if next.Status == NeedsReauth {
			next.RefreshAt = time.Time{} // for whatever ended late: there is nothing to do
		}
		next.UpdatedAt = s.Now().UTC()
		updated, err := s.Store.Update(ctx, next)
		if err == nil {
			return updated, nil
		}
		if ctx.Err() != nil {
			return c, internal("writing a connection", err)
		}
		if !errors.Is(err, ErrConflict) {
			if pauseErr := s.pause(ctx, try); pauseErr != nil {
				return c, internal("writing a connection", err)
			}
		}
		fresh, readErr := s.Store.Connection(ctx, c.ID)
		switch {
		case errors.Is(readErr, ErrNotFound):
			return c, errSuperseded
		case readErr == nil && errors.Is(err, ErrConflict) && fresh.Revision == c.Revision:
			// Not the revision: the account is somebody else's.
			return c, fmt.Errorf("claiming the account: %w", ErrConflict)
		case readErr == nil:
			c = fresh
		}
	}
}
