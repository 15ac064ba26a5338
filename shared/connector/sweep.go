package connector

import (
	"context"
	"errors"
	"time"
)

// Sweep is what one sweep did.
type Sweep struct {
	Queued   int
	Complete bool // false where time ran out; the next sweep continues
}

// QueueDue is the sweep: it finds what is due and queues it for the workers. It
// queues a batch of each shard in turn, so that no shard waits for another's
// backlog, until all is queued or the time of ctx is nearly over. It claims each
// record first, so that sweeps that overlap do no double work; a claim whose
// message was lost runs out. A shard that fails is left to the next sweep, and
// does not stop the others.
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
			if remaining(ctx) < sweepReserve {
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

// queueShard queues one batch of a shard, to be delivered after a delay. It
// reports whether the batch was full, so that there may be more.
func (s *Service) queueShard(ctx context.Context, shard int, after time.Duration) (queued int, full bool, err error) {
	now := s.Now().UTC()
	due, err := s.Store.Due(ctx, shard, now, sweepBatch)
	if err != nil {
		return 0, false, internal("finding what is due", err)
	}
	claimed, problem := s.claim(ctx, due, now.Add(ClaimLife))
	if len(claimed) == 0 {
		return 0, false, problem
	}
	failed, err := s.Queue.Enqueue(ctx, claimed, after)
	if err != nil {
		return 0, false, errors.Join(problem, internal("queueing what is due", err))
	}
	if len(failed) > 0 {
		s.Log.WarnContext(ctx, "queueing what is due", "failed", len(failed))
	}
	return len(claimed) - len(failed), len(due) == sweepBatch, problem
}

// claim claims a batch, a few records at a time, and returns those that it
// claimed, also beside an error.
func (s *Service) claim(ctx context.Context, due []Due, until time.Time) ([]RecordKey, error) {
	outcomes := make([]error, len(due))
	s.inParallel(len(due), sweepClaims, func(i int) {
		if remaining(ctx) < sweepReserve {
			outcomes[i] = errTimeShort
			return
		}
		outcomes[i] = s.Store.Claim(ctx, due[i], until)
	})

	var claimed []RecordKey
	var problem error
	for i, d := range due {
		switch err := outcomes[i]; {
		case err == nil:
			claimed = append(claimed, d.RecordKey)
		case !errors.Is(err, ErrConflict) && !errors.Is(err, errTimeShort):
			problem = internal("claiming what is due", err)
		}
	}
	return claimed, problem
}

// DueResult is what HandleDue did, for logs and metrics.
type DueResult string

// The results.
const (
	Refreshed    DueResult = "refreshed"
	NotDue       DueResult = "not_due"
	Busy         DueResult = "busy"
	Gone         DueResult = "gone"
	MarkedReauth DueResult = "needs_reauth"
	Failed       DueResult = "failed"
	Expired      DueResult = "expired"   // a consent that was not confirmed in time
	Resting      DueResult = "suspended" // it stays due; the platform was not called
	Erased       DueResult = "erased"    // a run of a data deletion
	Completed    DueResult = "completed" // a consent whose function did not complete it
	Continued    DueResult = "continued" // a consent with more accounts than the time allows; it is queued again
	Sent         DueResult = "sent"      // an event
	Refused      DueResult = "refused"   // an event; it stays due
	Finished     DueResult = "finished"  // an import that crashed
)

// HandleDue does what QueueDue queued: it refreshes a connection that is due,
// finishes a disconnection, ends a pending consent, continues a data deletion, or
// sends an event. A failure that is recorded is a result; an error means that it could not be
// recorded, and that the message should be delivered again.
func (s *Service) HandleDue(ctx context.Context, due RecordKey) (DueResult, error) {
	switch due.Kind {
	case ConnectionKind:
		return s.refreshDue(ctx, ID(due.ID))
	case StateKind:
		return s.continueConsent(ctx, due)
	case PendingKind, UnrecordedKind:
		return s.endPending(ctx, due)
	case ErasureKind:
		return s.eraseDue(ctx, due)
	case EventKind:
		return s.sendDue(ctx, due)
	case "":
		return s.handleUntyped(ctx, due.ID)
	}
	return Gone, nil
}

// handleUntyped handles a message of the previous release, which names no kind.
func (s *Service) handleUntyped(ctx context.Context, id string) (DueResult, error) {
	_, err := s.Store.Connection(ctx, ID(id))
	if !errors.Is(err, ErrNotFound) {
		return s.refreshDue(ctx, ID(id))
	}
	if result, err := s.endPending(ctx, RecordKey{Kind: PendingKind, ID: id}); err != nil || result != Gone {
		return result, err
	}
	return s.endPending(ctx, RecordKey{Kind: UnrecordedKind, ID: id})
}

// refreshDue refreshes a connection if it is due, or finishes its disconnection.
func (s *Service) refreshDue(ctx context.Context, id ID) (DueResult, error) {
	c, err := s.Store.Connection(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Gone, nil
	}
	if err != nil {
		return Failed, internal("reading a connection", err)
	}
	switch {
	case freshness{due: true}.satisfiedBy(c, s.Now()):
		return NotDue, nil
	case c.Status == Disconnected:
		return Gone, s.finishDisconnect(ctx, c)
	case c.Status != Active:
		return Gone, nil
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return Failed, err
	}
	if err := s.checkResting(ctx, c); err != nil {
		return dueResult(c, err)
	}
	return dueResult(s.refresh(ctx, p, c, freshness{due: true}))
}

// dueResult is the result of a refresh that returned c and err. Where a suspension
// rests c, nothing was written, so that it is due again once its claim ran out.
func dueResult(c Connection, err error) (DueResult, error) {
	switch {
	case err == nil:
		return Refreshed, nil
	case errors.Is(err, Suspended):
		return Resting, nil
	case errors.Is(err, errBusy):
		return Busy, nil
	case c.Status == NeedsReauth:
		return MarkedReauth, nil
	case errors.Is(err, Internal):
		return Failed, err
	}
	return Failed, nil
}
