package connector

import (
	"context"
	"errors"
	"sync"
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
	// sweepClaims is how many connections are claimed at once.
	sweepClaims = 8
	// sweepPace is how many connections a second a sweep gives the workers: as
	// many as Secrets Manager takes writes, which no quota raises
	// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html,
	// read 2026-11-23). Where more are due than fit into sweepSpread, which the
	// tokens of an hour can wait besides a sweep, it is a multiple.
	sweepPace   = 50
	sweepSpread = 2 * time.Minute
	// sweepReserve is the time that a sweep keeps for its end.
	sweepReserve = 5 * time.Second
)

// QueueDue finds what is due and queues it, a batch of each shard at a time so
// that none waits for another's backlog, until all is queued or the time of ctx
// is nearly up. Each connection is claimed first, so that sweeps that overlap do
// no double work; a claim whose message was lost runs out. A shard that fails
// is left to the next sweep, and does not keep the others from being swept.
func (s *Service) QueueDue(ctx context.Context) (Sweep, error) {
	var sweep Sweep
	var problems []error
	first := int(s.jitter(DueShards))
	var shards []int
	for i := range DueShards {
		shards = append(shards, (first+i)%DueShards)
	}
	for len(shards) > 0 {
		var more []int
		for _, shard := range shards {
			if s.left(ctx) < sweepReserve {
				return sweep, errors.Join(problems...)
			}
			after := time.Duration(sweep.Queued/sweepPace) * time.Second % sweepSpread
			queued, full, err := s.queueShard(ctx, shard, after)
			sweep.Queued += queued
			if err != nil {
				problems = append(problems, err)
			} else if full && queued > 0 {
				more = append(more, shard)
			}
		}
		shards = more
	}
	sweep.Complete = len(problems) == 0
	return sweep, errors.Join(problems...)
}

// queueShard queues one batch of a shard, for after a while, and reports whether
// it was a full one, behind which there may be more.
func (s *Service) queueShard(ctx context.Context, shard int, after time.Duration) (queued int, full bool, err error) {
	now := s.Now().UTC()
	due, err := s.Store.Due(ctx, shard, now, sweepBatch)
	if err != nil {
		return 0, false, internal("finding what is due", err)
	}
	ids, problem := s.claim(ctx, due, now.Add(claimLife))
	if len(ids) == 0 {
		return 0, false, problem
	}
	failed, err := s.Queue.Enqueue(ctx, ids, after)
	if err != nil {
		return 0, false, errors.Join(problem, internal("queueing what is due", err))
	}
	if len(failed) > 0 {
		s.Log.WarnContext(ctx, "queueing what is due", "failed", len(failed))
	}
	return len(ids) - len(failed), len(due) == sweepBatch, problem
}

// claim claims a batch, a few at a time, and returns what is now the caller's
// to queue, also beside an error.
func (s *Service) claim(ctx context.Context, due []Due, until time.Time) ([]ID, error) {
	outcomes := make([]error, len(due))
	slots := make(chan struct{}, sweepClaims)
	var running sync.WaitGroup
	for i, d := range due {
		slots <- struct{}{}
		if s.left(ctx) < sweepReserve {
			due = due[:i]
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			outcomes[i] = s.Store.Claim(ctx, d, until)
		})
	}
	running.Wait()

	var ids []ID
	var problem error
	for i, d := range due {
		switch err := outcomes[i]; {
		case err == nil:
			ids = append(ids, d.ID)
		case !errors.Is(err, ErrConflict):
			problem = internal("claiming what is due", err)
		}
	}
	return ids, problem
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
// that of a consent that nobody confirmed, or of a secret that got no record,
// ends that. A failure that is recorded on the connection is an outcome; an
// error means that it could not be recorded, and that the message should come
// again.
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
