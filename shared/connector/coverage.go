package connector

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// Some platforms have one authorization per person and app. Each consent replaces it. If
// the person selects fewer accounts than before, the tokens of the other accounts end,
// for all owners. This file finds the connections of those accounts after a consent.

// markUncovered marks the other connections of the person whose tokens the consent ended.
// If the platform did not return the covered accounts, it queues the connections: a
// worker then asks the platform about each.
func (c *consent) markUncovered(ctx context.Context, theirs []Connection) error {
	if c.platform.Describe().UncoveredReason == "" {
		return nil
	}
	listed := cmp.Or(c.listed, &accounts{}) // a consent without an account lists none
	covered, known := listed.covered, listed.covered != nil
	if !known {
		covered = accountIDs(listed.grants)
	}
	ids := map[string]bool{}
	for _, id := range covered {
		ids[id] = true
	}
	gone := slices.DeleteFunc(slices.Clone(theirs), func(other Connection) bool {
		return ids[other.AccountID] || !c.mayHaveEnded(other)
	})
	problems, slots := make([]error, len(gone)), 1
	if len(gone) > saveRate {
		slots = saveSlots
	}
	asked := make([]bool, len(gone))
	c.inParallel(len(gone), slots, func(i int) {
		if remaining(ctx) < AnswerReserve {
			problems[i] = errUnfinished()
			return
		}
		asked[i], problems[i] = c.markEnded(ctx, gone[i], known)
	})
	if err := first(problems); err != nil {
		return err
	}
	var due []Connection
	for i, other := range gone {
		if asked[i] {
			due = append(due, other)
		}
	}
	c.enqueueChecks(ctx, due)
	return nil
}

// markEnded marks a connection that the consent ended, where the platform said so, or
// makes it due. asked reports the latter. A consent to an app that the operator replaced
// since is another authorization, which stays.
func (c *consent) markEnded(ctx context.Context, other Connection, known bool) (asked bool, err error) {
	if !known || other.Client != "" {
		return true, c.makeDue(ctx, other)
	}
	creds, _, err := c.CredentialStore.Latest(ctx, other.credentialsKey(), other.Credentials)
	switch {
	case errors.Is(err, ErrNotFound):
		return true, c.makeDue(ctx, other)
	case err != nil:
		return false, internal("reading credentials", err)
	case creds.ClientID != c.credentials.ClientID:
		return false, nil
	}
	_, err = c.applyNoticeTo(ctx, other, c.replaced())
	return false, err
}

// checkPerson marks the connections of a person after a consent that gave access to no
// account: that consent replaced the earlier ones, too.
func (c *consent) checkPerson(ctx context.Context, grants []Grant) error {
	if c.platform.Describe().UncoveredReason == "" || len(grants) == 0 || userOf(grants[0]) == "" {
		return nil
	}
	theirs, err := c.personConnections(ctx, grants)
	if err != nil {
		return err
	}
	return c.markUncovered(ctx, theirs)
}

// mayHaveEnded reports whether the consent can have ended the tokens of a connection. It
// can if they belong to the operator's app, as far as the record tells, and if they were
// issued before the code was redeemed.
func (c *consent) mayHaveEnded(other Connection) bool {
	imported := breakerClient(c.platform, other.Owner, Credentials{}) // without a client of its own
	return other.Status == Active && (other.Client == "" || other.Client == imported) &&
		other.ConsentID != c.name() && !c.replaced().precedes(other)
}

// replaced is the notice that the consent replaced what the person granted before.
func (c *consent) replaced() Notice {
	return Notice{Revoked: true, Reason: c.platform.Describe().UncoveredReason, At: c.record.RedeemedAt}
}

// makeDue makes a connection due.
func (s *Service) makeDue(ctx context.Context, c Connection) error {
	_, err := s.commit(ctx, c, func(c *Connection) error {
		now := s.Now().UTC()
		if c.Status != Active || !c.RefreshAt.IsZero() && !c.RefreshAt.After(now) {
			return errUnchanged
		}
		c.RefreshAt = now
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// enqueueChecks queues connections that are due. The sweep queues those that the queue
// refuses.
func (c *consent) enqueueChecks(ctx context.Context, due []Connection) {
	if len(due) == 0 {
		return
	}
	keys := make([]RecordKey, len(due))
	for i, connection := range due {
		keys[i] = RecordKey{Kind: ConnectionKind, ID: string(connection.ID)}
	}
	failed, err := c.Queue.Enqueue(ctx, keys, time.Second)
	if err != nil || len(failed) > 0 {
		c.Log.WarnContext(ctx, "queueing checks after a consent: the sweep queues them", "failed", len(failed), "error", err)
	}
}
