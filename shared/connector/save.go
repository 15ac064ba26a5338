package connector

import (
	"context"
	"errors"
	"slices"
	"time"
)

// This file saves the accounts of a consent. A consent with many accounts is saved in
// parts. Each part is recorded, so that the worker can continue when the time of a caller
// ends.

// saveAccounts saves the selected grants in their order. It returns errUnfinished if the
// time is too short.
func (c *consent) saveAccounts(ctx context.Context, grants []Grant, target *Connection) error {
	many := c.record.Selected || len(grants) > saveRate
	for len(grants) > 0 {
		part := grants[:min(len(grants), saveRate)]
		if remaining(ctx) < AnswerReserve {
			return errUnfinished()
		}
		began := c.Now()
		if err := c.savePart(ctx, part, target, many); err != nil {
			return err
		}
		grants, target = grants[len(part):], nil
		if !many {
			continue
		}
		c.record.Selected, c.record.Left = true, accountIDs(grants)
		if len(grants) == 0 {
			continue
		}
		if err := c.recordProgress(ctx); err != nil {
			return err
		}
		if err := c.sleepUntil(ctx, began.Add(time.Second)); err != nil {
			return internal("saving the accounts of a consent", err)
		}
	}
	return nil
}

func (s *Service) sleepUntil(ctx context.Context, t time.Time) error {
	wait := t.Sub(s.Now())
	if wait <= 0 {
		return nil
	}
	return s.Sleep(ctx, wait)
}

func accountIDs(grants []Grant) []string {
	ids := make([]string, len(grants))
	for i, g := range grants {
		ids[i] = g.Account.ID
	}
	return ids
}

// savePart saves one part. It saves the first grant of a consent alone, because that one
// spends the link. It leaves out an account that the platform does not give access to,
// and an account whose connection ended meanwhile. Connections that it saved count also
// if it returns an error.
func (c *consent) savePart(ctx context.Context, part []Grant, target *Connection, many bool) error {
	saved, problems := make([]Connection, len(part)), make([]error, len(part))
	save := func(i int, target *Connection) {
		saved[i], problems[i] = c.saveInTime(ctx, part[i], c.destination(target))
		if target == nil && errors.Is(problems[i], ConnectionNotFound) {
			problems[i] = errDisconnected
		}
	}
	skipped := func(i int) bool { return leavesOut(part[i], problems[i]) || errors.Is(problems[i], errDisconnected) }
	alone, began := 0, c.Now()
	for alone < len(part) && (!many || !c.record.Spent) {
		save(alone, target)
		if problems[alone] != nil && !skipped(alone) {
			break
		}
		alone, target = alone+1, nil
	}
	if many && c.record.Spent {
		c.inParallel(len(part)-alone, saveSlots, func(i int) {
			i += alone
			if problems[i] = c.sleepUntil(ctx, began.Add(time.Duration(i)*time.Second/saveRate)); problems[i] == nil {
				save(i, nil)
			}
		})
	}
	for i, connection := range saved {
		switch {
		case leavesOut(part[i], problems[i]):
			c.record.LeftOut++
			c.Log.WarnContext(ctx, "an account of a consent was left out", "platform", string(c.record.Platform), "error", problems[i])
			problems[i] = nil
		case errors.Is(problems[i], errDisconnected):
			c.record.Accounts, c.selected = c.record.Accounts-1, c.selected-1
			c.disconnected, problems[i] = errConnectionNotFound(), nil
		case problems[i] == nil && connection.ID != "":
			c.addSaved(connection)
		}
	}
	return first(problems)
}

// errDisconnected says that the operator ended the connection of an account while a
// consent was being saved on it: what is deleted stays deleted (I10). The other accounts
// are saved. It never leaves the service.
var errDisconnected = errors.New("the connection ended meanwhile")

// leavesOut reports whether err says that the platform does not give access to an account
// that the list of accounts named.
func leavesOut(g Grant, err error) bool { return g.Incomplete && errors.Is(err, ScopeMissing) }

// saveInTime saves a grant, and leaves time to record it.
func (c *consent) saveInTime(ctx context.Context, g Grant, to destination) (Connection, error) {
	if g.Incomplete {
		var err error
		if g, err = c.completeGrant(ctx, g); err != nil {
			return Connection{}, err
		}
	}
	ctx, cancel := rescueContext(ctx)
	defer cancel()
	return c.saveGrant(ctx, c.platform, g, to)
}

// completeGrant asks the platform for what an incomplete grant lacks.
func (c *consent) completeGrant(ctx context.Context, g Grant) (Grant, error) {
	complete, err := readInTime(ctx, c.Service, c.app, func(ctx context.Context, app App) (Grant, error) {
		return c.platform.Account(ctx, app, c.credentials, g)
	})
	if err != nil {
		return Grant{}, internal("asking for an account", err)
	}
	complete = c.granted(complete)
	complete.erased = g.erased
	return complete, nil
}

// addSaved adds a saved connection to the results. The first revision is a new
// connection, which uses one of the reserved ones.
func (c *consent) addSaved(connection Connection) {
	c.saved, c.progressed = append(c.saved, connection), true
	if !slices.Contains(c.savedIDs, connection.ID) {
		c.savedIDs = append(c.savedIDs, connection.ID)
	}
	if connection.Revision == 1 && c.record.Reserved > 0 {
		c.record.Reserved--
	}
}

// recordProgress records the saved connections, in one transaction with the link.
// It fails with LinkGone if EndLink was called.
func (c *consent) recordProgress(ctx context.Context) error {
	next := c.record
	next.Person = c.person()
	pages, err := c.putPages(ctx, c.record.Link, c.savedIDs, c.paged)
	if err != nil {
		return err
	}
	err = c.changeLinkWith(ctx, c.record.Link, func(l *linkStatus, change *Change) error {
		if l.By != c.id || l.Phase != linkSpent {
			return errUnchanged
		}
		if l.Ended {
			return errLinkEnded()
		}
		change.Overwrite = pages
		l.Accounts, l.Saved, l.LeftOut = c.record.Accounts-c.record.LeftOut, len(c.savedIDs), c.record.LeftOut
		return nil
	}, func(change Change) error { return c.write(ctx, next, change) })
	if errors.Is(err, ErrNotFound) || errors.Is(err, errUnchanged) { // the link expired long ago
		err = c.write(ctx, next, Change{Overwrite: pages})
	}
	if err == nil {
		c.paged = len(c.savedIDs)
	}
	return err
}

// readProgress reads the ids of the connections that earlier callers saved.
func (c *consent) readProgress(ctx context.Context) error {
	if !c.record.Selected || !c.record.Spent || len(c.savedIDs) > 0 {
		return nil
	}
	l, _, err := c.readLinkStatus(ctx, linkID(c.record.Link))
	if errors.Is(err, ErrNotFound) || err == nil && l.By != c.id {
		return nil
	}
	if err != nil {
		return err
	}
	for n := 0; n*linkPage < l.Saved; n++ {
		ids, err := ticketBody[[]ID](ctx, c.Service, RecordKey{Kind: LinkConnectionsKind, ID: pageID(linkID(l.Hash), n)})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		c.savedIDs = append(c.savedIDs, ids...)
	}
	c.paged = len(c.savedIDs)
	return nil
}

// handOver leaves the rest of the consent to the worker. If the queue refuses the message,
// the sweep continues the consent. handOver returns errUnfinished if nothing was saved
// yet. A consent that was continued and neither listed nor saved an account is postponed:
// otherwise a slow platform would be asked without end.
func (c *consent) handOver(ctx context.Context) error {
	if c.resumed && !c.progressed {
		return c.postpone(ctx, errUnfinished())
	}
	err := c.readProgress(ctx)
	if err != nil {
		return err
	}
	c.record.Holder, c.record.Until, c.record.RetryAt = "", c.Now().UTC(), time.Time{}
	if c.record.Spent {
		err = c.recordProgress(ctx)
	} else {
		err = c.write(ctx, c.record, Change{})
	}
	if errors.Is(err, LinkGone) {
		return c.lose(ctx)
	}
	if err != nil {
		return err
	}
	c.continued = true
	failed, err := c.Queue.Enqueue(ctx, []RecordKey{consentKey(c.id)}, handOverDelay)
	if err != nil || len(failed) > 0 {
		c.Log.WarnContext(ctx, "queueing the rest of a consent: the sweep continues it", "platform", string(c.record.Platform), "error", err)
	}
	if len(c.savedIDs) == 0 {
		return errUnfinished()
	}
	return nil
}
