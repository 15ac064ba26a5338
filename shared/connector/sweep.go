package connector

import (
	"context"
	"errors"
	"time"
)

// Sweep is what one sweep did.
type Sweep struct {
	Queued   int
	Complete bool // false where time ran out first; the next sweep goes on
}

const (
	// claimLife is how long a queued connection is left alone by later
	// sweeps. A message that got lost costs that much.
	claimLife  = 12 * time.Minute
	sweepBatch = 100
	// sweepReserve is the time that a sweep keeps for its end.
	sweepReserve = 5 * time.Second
)

// QueueDue finds what is due and queues it, shard by shard, until all is
// queued or the time of ctx is nearly up. Each connection is claimed first, so
// that sweeps that overlap do no double work; a claim whose message was lost
// runs out.
func (s *Service) QueueDue(ctx context.Context) (Sweep, error) {
	var sweep Sweep
	first := int(s.jitter(DueShards))
	for i := range DueShards {
		shard := (first + i) % DueShards
		for {
			if s.left(ctx) < sweepReserve {
				return sweep, nil
			}
			now := s.Now().UTC()
			due, err := s.Store.Due(ctx, shard, now, sweepBatch)
			if err != nil {
				return sweep, internal("finding what is due", err)
			}
			queued, err := s.queue(ctx, due, now.Add(claimLife))
			sweep.Queued += queued
			if err != nil {
				return sweep, err
			}
			if len(due) < sweepBatch || queued == 0 {
				break
			}
		}
	}
	sweep.Complete = true
	return sweep, nil
}

// queue claims and queues a batch.
func (s *Service) queue(ctx context.Context, due []Due, until time.Time) (int, error) {
	var ids []ID
	for _, d := range due {
		switch err := s.Store.Claim(ctx, d, until); {
		case err == nil:
			ids = append(ids, d.ID)
		case !errors.Is(err, ErrConflict):
			return 0, internal("claiming what is due", err)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	failed, err := s.Queue.Enqueue(ctx, ids)
	if err != nil {
		return 0, internal("queueing what is due", err)
	}
	if len(failed) > 0 {
		s.Log.WarnContext(ctx, "queueing what is due", "failed", len(failed))
	}
	return len(ids) - len(failed), nil
}

// Outcome is what RefreshDue did, for logs and metrics.
type Outcome string

// The outcomes.
const (
	Refreshed Outcome = "refreshed"
	NotDue    Outcome = "not_due"
	Busy      Outcome = "busy"
	Gone      Outcome = "gone"
	Condemned Outcome = "needs_reauth"
	Failed    Outcome = "failed"
	Expired   Outcome = "expired" // a consent that nobody confirmed
)

// RefreshDue does what QueueDue queued: it renews the connection with that id
// if it is due, finishes what a disconnection left undone or, where the id is
// that of a consent that nobody confirmed, ends the consent. A failure that is
// recorded on the connection is an outcome; an error means that it could not be
// recorded, and that the message should come again.
func (s *Service) RefreshDue(ctx context.Context, id ID) (Outcome, error) {
	c, err := s.Store.Connection(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return s.endPending(ctx, id)
	case err != nil:
		return Failed, internal("reading a connection", err)
	}
	now := s.Now()
	switch {
	case c.RefreshAt.IsZero() || now.Before(c.RefreshAt):
		return NotDue, nil
	case c.Status == Disconnected && c.StatusReason == reasonDataDeletion:
		return Gone, s.purge(ctx, c)
	case c.Status == Disconnected:
		return Gone, s.end(ctx, c)
	case c.Status != Active:
		return Gone, nil
	}
	c, err = s.renew(ctx, c, need{due: true})
	switch {
	case err == nil:
		return Refreshed, nil
	case errors.Is(err, errBusy):
		return Busy, nil
	case c.Status == NeedsReauth:
		return Condemned, nil
	case errors.Is(err, Internal):
		return Failed, err
	}
	return Failed, nil
}
