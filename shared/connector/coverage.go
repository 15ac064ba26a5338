package connector

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A platform that has one authorization per person and app replaces it by each consent:
// a person who selects fewer accounts ends the tokens of the others, of all owners.
// This file finds those connections after a consent.

// markUncovered marks the other connections of the person that the consent ended. Those
// of which the platform did not say it are queued, so that a worker asks.
func (c *consent) markUncovered(ctx context.Context, theirs []Connection) error {
	reason := c.platform.Describe().UncoveredReason
	if reason == "" {
		return nil
	}
	covered, known := c.listed.covered, c.listed.covered != nil
	if !known {
		covered = accountIDs(c.listed.grants)
	}
	ids := map[string]bool{}
	for _, id := range covered {
		ids[id] = true
	}
	gone := slices.DeleteFunc(slices.Clone(theirs), func(other Connection) bool {
		return ids[other.AccountID] || !c.mayHaveEnded(other)
	})
	if len(gone) == 0 {
		return nil
	}
	if remaining(ctx) < AnswerReserve {
		return errUnfinished()
	}
	notice := Notice{Revoked: true, Reason: reason, At: c.record.RedeemedAt}
	problems := inParallel(len(gone), func(i int) error {
		if !known {
			return c.checkSoon(ctx, gone[i])
		}
		_, err := c.applyNoticeTo(ctx, gone[i], notice)
		return err
	})
	if !known {
		c.enqueueChecks(ctx, gone)
	}
	return problems
}

// mayHaveEnded reports whether the consent can have ended the tokens of a connection:
// they are of the operator's app, and of an earlier consent.
func (c *consent) mayHaveEnded(other Connection) bool {
	return other.Status == Active && other.Client == breakerClient(c.platform, other.Owner, c.credentials) &&
		other.ConsentID != c.name() && other.consentedAt().Before(c.record.began())
}

// checkSoon makes a connection due.
func (s *Service) checkSoon(ctx context.Context, c Connection) error {
	_, err := s.commit(ctx, c, func(c *Connection) error {
		now := s.Now().UTC()
		if c.Status != Active || !c.RefreshAt.IsZero() && !c.RefreshAt.After(now) {
			return errUnchanged
		}
		c.RefreshAt = now
		return nil
	})
	if err == nil || err == errUnchanged {
		return nil
	}
	return err
}

// enqueueChecks queues connections that are due. What the queue does not take, the
// sweep does.
func (c *consent) enqueueChecks(ctx context.Context, due []Connection) {
	keys := make([]RecordKey, len(due))
	for i, connection := range due {
		keys[i] = RecordKey{Kind: ConnectionKind, ID: string(connection.ID)}
	}
	failed, err := c.Queue.Enqueue(ctx, keys, time.Second)
	if err != nil || len(failed) > 0 {
		c.Log.WarnContext(ctx, "queueing checks after a consent, which the sweep does", "failed", len(failed), "error", err)
	}
}

// inParallel calls do for 0 to n-1, a few at once where they are many, and returns the
// first error.
func inParallel(n int, do func(i int) error) error {
	problems := make([]error, n)
	slots := make(chan struct{}, saveSlots)
	var running sync.WaitGroup
	for i := range n {
		if n <= saveRate {
			problems[i] = do(i)
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			problems[i] = do(i)
		})
	}
	running.Wait()
	for _, err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}
