package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// linkStatusLife is how much longer than a link its status can be read.
	linkStatusLife = day
	// linkSaving is how long the saving of a consent's connections may take. It is
	// longer than an invocation.
	linkSaving = time.Minute
	// linkWrites is how often a status is written that others write as well.
	linkWrites = 10
	// linkPage is how many connections one page of a link's connections names.
	linkPage = 100
	// linkPages is how many of those pages one transaction writes.
	linkPages = 50
)

// linkID returns the id of a link: a UUID, version 8 (RFC 9562, 5.8), of the
// first bits of the hash under which the link is stored. It starts nothing: the
// link is the value before the hash. What is no hash is the id of no link.
func linkID(hash string) string {
	if len(hash) < 32 {
		return ""
	}
	return hash[:8] + "-" + hash[8:12] + "-8" + hash[13:16] + "-a" + hash[17:20] + "-" + hash[20:32]
}

// linkStatus is what became of a link: the body of a ticket under the id of the
// link. It is written with the link, and read for a day longer than it:
//
//	{"link":{…}, "hash":…, "phase":…, "by":…, "until":…, "code":…,
//	 "reason":…, "confirmation":…, "accounts":…, "saved":…, "left_out":…, "ended":…, "kept_until":…}
type linkStatus struct {
	Link  Link      `json:"link"`
	Hash  string    `json:"hash"` // the id of the link's own ticket
	Phase linkPhase `json:"phase"`
	By    string    `json:"by,omitempty"` // the consent that spent the link
	// Until is when the phase is over, whatever happens: the last authorization
	// that began, the saving, or the wait for the confirmation. A link that was
	// not opened has none.
	Until time.Time `json:"until,omitzero"`
	// Code and Reason are those of the last failure.
	Code   Code   `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Confirmation is the id of the confirmation's ticket.
	Confirmation string `json:"confirmation,omitempty"`
	// Accounts is how many were connected, are being connected, or wait for the
	// confirmation. Saved is how many of them are connected while the link is spent.
	Accounts int `json:"accounts,omitempty"`
	Saved    int `json:"saved,omitempty"`
	LeftOut  int `json:"left_out,omitempty"` // accounts that the platform did not give
	// Ended says that EndLink was called while the connections were saved.
	Ended bool `json:"ended,omitempty"`
	// KeptUntil is when a consent of the link no longer waits for the operator; zero if
	// none does. The status must be stored until then, because it says whether EndLink
	// was called.
	KeptUntil time.Time `json:"kept_until,omitzero"`
}

// linkPhase is what can happen next.
type linkPhase string

const (
	linkOpen       linkPhase = "open"       // the link can be opened, and spent
	linkSpent      linkPhase = "spent"      // its connections are being saved
	linkConfirming linkPhase = "confirming" // its consent waits for the confirmation
	linkConnected  linkPhase = "connected"
	linkFailed     linkPhase = "failed" // after it was spent
	linkEnded      linkPhase = "ended"  // by EndLink
)

func newLinkStatus(hash string, link Link) linkStatus {
	return linkStatus{Link: link, Hash: hash, Phase: linkOpen}
}

// saved is how many connections the pages of the link name.
func (l linkStatus) saved() int {
	switch l.Phase {
	case linkSpent:
		return l.Saved
	case linkConnected, linkFailed:
		return l.Accounts
	}
	return 0
}

// fail records a failure.
func (l *linkStatus) fail(err error) {
	e := AsError(err)
	l.Code, l.Reason, l.Until = e.Code, e.Reason, time.Time{}
}

// ticket returns the ticket of l.
func (l linkStatus) ticket() (Ticket, error) {
	return newTicket(LinkStatusKind, linkID(l.Hash), later(l.Link.ExpiresAt.Add(linkStatusLife), l.KeptUntil), l)
}

// readLinkStatus returns the status of a link as it is stored, with its ticket.
func (s *Service) readLinkStatus(ctx context.Context, id string) (linkStatus, Ticket, error) {
	ticket, err := s.Store.Ticket(ctx, RecordKey{Kind: LinkStatusKind, ID: id}, s.Now())
	if errors.Is(err, ErrNotFound) {
		return linkStatus{}, Ticket{}, ErrNotFound
	}
	if err != nil {
		return linkStatus{}, Ticket{}, internal("reading the status of a link", err)
	}
	var l linkStatus
	err = decodeBody(ticket, &l)
	return l, ticket, err
}

// linkStatusOf returns the status of the link with that hash, when the link is opened. A
// release before the previous one minted links without a status: their ticket is the
// zero Ticket. Opening a link creates its status, so that no other function needs to
// read such links.
func (s *Service) linkStatusOf(ctx context.Context, hash string) (linkStatus, Ticket, error) {
	l, ticket, err := s.readLinkStatus(ctx, linkID(hash))
	if !errors.Is(err, ErrNotFound) {
		return l, ticket, err
	}
	link, err := ticketBody[Link](ctx, s, RecordKey{Kind: LinkKind, ID: hash})
	return newLinkStatus(hash, link), Ticket{}, err
}

// putLink adds to change the write of a status. read is its ticket as it was read.
func (l linkStatus) putLink(change *Change, read Ticket) error {
	next, err := l.ticket()
	if err != nil {
		return err
	}
	if read.ID == "" {
		change.Put = append(change.Put[:len(change.Put):len(change.Put)], next)
	} else {
		change.Replace = append(change.Replace[:len(change.Replace):len(change.Replace)], Replacement{Old: read, New: next})
	}
	return nil
}

// changeLink writes the status of a link as edit changes it, together with what
// edit adds to the change. It reads again where another writer was first. It
// returns ErrNotFound for a link that has none. Where edit returns errUnchanged,
// nothing is written.
func (s *Service) changeLink(ctx context.Context, hash string, edit func(l *linkStatus, change *Change) error) error {
	err := s.changeLinkWith(ctx, hash, edit, func(change Change) error {
		if _, err := s.Store.Commit(ctx, change); err != nil {
			return internal("writing the status of a link", err)
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// changeLinkWith does what changeLink does, and has write write the change. It
// returns errUnchanged where edit does.
func (s *Service) changeLinkWith(ctx context.Context, hash string, edit func(l *linkStatus, change *Change) error, write func(Change) error) error {
	for try := 1; ; try++ {
		l, read, err := s.readLinkStatus(ctx, linkID(hash))
		if err != nil {
			return err
		}
		var change Change
		if err := edit(&l, &change); err != nil {
			return err
		}
		if err := l.putLink(&change, read); err != nil {
			return err
		}
		err = write(change)
		if !errors.Is(err, ErrConflict) || try == linkWrites || ctx.Err() != nil {
			return err
		}
	}
}

// recordStart records that an authorization began. The authorization works
// without that record.
func (s *Service) recordStart(ctx context.Context, a Authorization) {
	err := s.changeLink(ctx, a.Link, func(l *linkStatus, _ *Change) error {
		// Starts of the same second write the same.
		if l.Phase != linkOpen || l.Code == "" && a.ExpiresAt.Sub(l.Until) < time.Second {
			return errUnchanged
		}
		l.Until, l.Code, l.Reason = a.ExpiresAt, "", ""
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		err = s.createStatus(ctx, a)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.Log.WarnContext(ctx, "recording the start of a link", "error", err)
	}
}

// createStatus creates the status of a link that was minted without one.
func (s *Service) createStatus(ctx context.Context, a Authorization) error {
	l, read, err := s.linkStatusOf(ctx, a.Link)
	if err != nil {
		return err
	}
	l.Until = a.ExpiresAt
	var change Change
	if err := l.putLink(&change, read); err != nil {
		return err
	}
	if _, err := s.Store.Commit(ctx, change); err != nil {
		return internal("writing the status of a link", err)
	}
	return nil
}

// extendLinkStatus lets the status of the link expire only after the longest wait for the
// operator.
func (c *consent) extendLinkStatus(ctx context.Context) {
	until := c.record.RedeemedAt.Add(operatorWait + day)
	err := c.changeLink(ctx, c.record.Link, func(l *linkStatus, _ *Change) error {
		if l.KeptUntil.Equal(until) {
			return errUnchanged
		}
		l.KeptUntil = until
		return nil
	})
	if err != nil {
		c.Log.WarnContext(ctx, "keeping the status of a link", "error", err)
	}
}

// recordFailure records how an authorization failed. The link stays good, unless
// it was spent.
func (s *Service) recordFailure(ctx context.Context, a Authorization, failure error) {
	if failure == nil || errors.Is(failure, LinkGone) {
		return
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	err := s.changeLink(ctx, a.Link, func(l *linkStatus, _ *Change) error {
		if l.Phase != linkOpen {
			return errUnchanged
		}
		l.fail(failure)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.Log.WarnContext(ctx, "recording the failure of a link", "error", err)
	}
}

// recordSaved records what a consent saved. It returns errUnchanged where that was
// recorded before, and LinkGone where another consent has the link.
func (l *linkStatus) recordSaved(by string, accounts int, failure error) error {
	switch {
	case l.By == by && (l.Phase == linkConnected || l.Phase == linkFailed):
		return errUnchanged
	case l.Phase != linkOpen && l.By != by, l.Phase == linkEnded:
		return errLinkGone()
	}
	l.Phase, l.By, l.Accounts, l.Saved, l.Until = linkConnected, by, accounts, 0, time.Time{}
	l.Code, l.Reason = "", ""
	if failure != nil {
		l.Phase = linkFailed
		l.fail(failure)
	}
	return nil
}

// reopen makes a link good again that a consent spent without saving anything,
// unless EndLink was called meanwhile.
func (l *linkStatus) reopen(by string) error {
	if l.Phase != linkSpent || l.By != by {
		return errUnchanged
	}
	l.Phase, l.By, l.Until = linkOpen, "", time.Time{}
	if l.Ended {
		l.Phase = linkEnded
	}
	return nil
}

// putPages writes the pages of a link's connections. The first paged ids are in written
// pages. It returns the last pages unwritten: they fit into the transaction that records
// the saved connections.
func (s *Service) putPages(ctx context.Context, hash string, ids []ID, paged int) ([]Ticket, error) {
	pages, err := s.pagesOf(hash, ids, paged/linkPage)
	for err == nil && len(pages) > linkPages {
		if _, err = s.Store.Commit(ctx, Change{Overwrite: pages[:linkPages]}); err != nil {
			err = internal("writing the connections of a link", err)
		}
		pages = pages[linkPages:]
	}
	return pages, err
}

// pagesOf returns the tickets that name the connections of a link, from page from on. An
// item of the table has 400 KB at most
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html,
// read 2026-11-25).
func (s *Service) pagesOf(hash string, ids []ID, from int) ([]Ticket, error) {
	var pages []Ticket
	for chunk := range slices.Chunk(ids[from*linkPage:], linkPage) {
		page, err := newTicket(LinkConnectionsKind, pageID(linkID(hash), from+len(pages)), s.Now().Add(MaxLinkLife+linkStatusLife), chunk)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
	}
	return pages, nil
}

// pageID is the id of the n-th page of a link's connections.
func pageID(link string, n int) string { return fmt.Sprintf("%s/%d", link, n) }
