package connector

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"time"
)

// This file writes what a consent does to its link: the first connection spends it, a
// consent that waits holds it, and a consent that is saved says so on it. Each write is
// one transaction of the consent's record and the link's status.

// readLink reads the link, which the next connection will spend. LinkGone: the
// link was spent by another consent, it was ended, or it had expired when the
// person opened it.
func (c *consent) readLink(ctx context.Context) error {
	if c == nil || c.record.Spent {
		return nil
	}
	l, ticket, err := c.readLinkStatus(ctx, linkID(c.record.Link))
	switch {
	case errors.Is(err, ErrNotFound):
		return errLinkGone()
	case err != nil:
		return err
	case l.Phase == linkOpen && c.record.began().Before(l.Link.ExpiresAt):
	case (l.Phase == linkConfirming || l.Phase == linkSpent) && l.By == c.id && !l.Ended:
	default:
		return errLinkGone()
	}
	c.link, c.linkTicket = l, ticket
	return nil
}

// checkOwn returns errLate if another caller continued the consent.
func (c *consent) checkOwn(ctx context.Context) error {
	if c == nil {
		return nil
	}
	fresh, err := c.Store.Ticket(ctx, consentKey(c.id), c.Now())
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !bytes.Equal(fresh.Body, c.ticket.Body):
		return errLate
	case err != nil:
		return internal("reading a consent", err)
	}
	return nil
}

// spendLink adds to the transaction that saves the first connection of the consent
// that the link is spent by it. The only connection also ends the consent. written
// is called once the transaction succeeded.
func (c *consent) spendLink(change *Change, id ID) (written func(), err error) {
	if c == nil || c.record.Spent || c.record.Phase == consentDone {
		return func() {}, nil
	}
	next, l := c.spent()
	if c.selected == 1 {
		l.Phase, l.Accounts, l.Until = linkConnected, 1, time.Time{}
		pages, err := c.pagesOf(l.Hash, []ID{id}, 0)
		if err != nil {
			return nil, err
		}
		change.Overwrite = append(change.Overwrite, pages...)
		next.Phase, next.Credentials = consentDone, nil
	}
	if err := l.putLink(change, c.linkTicket); err != nil {
		return nil, err
	}
	added, ticket, err := c.changeTo(next, *change)
	if err != nil {
		return nil, err
	}
	*change = added
	return func() { c.wrote(next, ticket) }, nil
}

// reserveLink spends the link before credentials of an existing connection are
// replaced: where another consent has the link, nothing is to be stored. The
// consent is continued until it is done.
func (c *consent) reserveLink(ctx context.Context) error {
	if c == nil || c.record.Spent {
		return nil
	}
	return c.writeWithLink(ctx, Change{}, func(next *consentRecord, l *linkStatus) { *next, *l = c.spent() })
}

// writeWithLink writes the record and the status of the link, as edit changes them, in
// one transaction with more. It reads the link again where another writer was first, and
// fails as readLink does.
func (c *consent) writeWithLink(ctx context.Context, more Change, edit func(next *consentRecord, l *linkStatus)) error {
	for {
		next, l, change := c.record, c.link, more
		edit(&next, &l)
		if err := l.putLink(&change, c.linkTicket); err != nil {
			return err
		}
		err := c.write(ctx, next, change)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := c.readLink(ctx); err != nil {
			return err
		}
	}
}

// spent returns the record and the link as they are once the consent has the link.
func (c *consent) spent() (consentRecord, linkStatus) {
	next, l := c.record, c.link
	next.Spent, next.Accounts, next.Person = true, c.selected, c.person()
	l.Phase, l.By, l.Until, l.Accounts, l.Saved = linkSpent, c.id, c.Now().Add(linkSaving).UTC(), c.selected, 0
	l.Code, l.Reason = "", ""
	return next, l
}

// wait makes the consent wait for Confirm, and the link with it. Nothing is
// connected yet (I12).
func (c *consent) wait(ctx context.Context) error {
	before := c.Now().UTC().Add(confirmationLife)
	ticket, err := newTicket(ConsentConfirmationKind, c.record.Confirmation, before, confirmation{Consent: c.id})
	if err != nil {
		return err
	}
	ticket.Bound = ownerHash(c.record.Owner)
	return c.writeWithLink(ctx, Change{Put: []Ticket{ticket}}, func(next *consentRecord, l *linkStatus) {
		next.Phase, next.Accounts, next.Person, next.ConfirmBefore = consentWaiting, c.selected, c.person(), before
		l.Phase, l.By, l.Until, l.Accounts, l.Confirmation, l.Code, l.Reason = linkConfirming, c.id, before, c.selected, ticket.ID, "", ""
	})
}

// recordSaved records the saved connections, and postpones the consent if the write
// fails. failure is the error of the accounts that were not saved, or nil. LinkGone:
// another consent has the link.
func (c *consent) recordSaved(ctx context.Context, failure error) error {
	err := c.writeSaved(ctx, failure)
	if err != nil && !errors.Is(err, LinkGone) && !errors.Is(err, errLate) {
		return c.postpone(ctx, err)
	}
	return cmp.Or(err, failure)
}

// writeSaved writes the saved connections, to the consent and to the link.
func (c *consent) writeSaved(ctx context.Context, failure error) error {
	next := c.record
	next.Phase, next.Credentials, next.Spent, next.Accounts = consentDone, nil, true, len(c.savedIDs)
	next.Person = c.person()
	if failure != nil {
		next.Failure = newConsentFailure(failure)
	}
	pages, err := c.putPages(ctx, c.record.Link, c.savedIDs, c.paged)
	if err != nil {
		return err
	}
	err = c.changeLinkWith(ctx, c.record.Link, func(l *linkStatus, change *Change) error {
		change.Overwrite = pages
		l.LeftOut = next.LeftOut
		return l.recordSaved(c.id, len(c.savedIDs), failure)
	}, func(change Change) error { return c.write(ctx, next, change) })
	if errors.Is(err, ErrNotFound) || errors.Is(err, errUnchanged) { // the link expired long ago, or says it already
		return c.write(ctx, next, Change{})
	}
	return err
}
