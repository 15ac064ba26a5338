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
//	 "reason":…, "confirmation":…, "accounts":…, "ended":…}
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
	// Accounts is how many were connected, or wait for the confirmation.
	Accounts int `json:"accounts,omitempty"`
	// Ended says that EndLink was called while the connections were saved.
	Ended bool `json:"ended,omitempty"`
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

// fail records a failure.
func (l *linkStatus) fail(err error) {
	e := AsError(err)
	l.Code, l.Reason, l.Until = e.Code, e.Reason, time.Time{}
}

// ticket returns the ticket of l.
func (l linkStatus) ticket() (Ticket, error) {
	return newTicket(LinkStatusKind, linkID(l.Hash), l.Link.ExpiresAt.Add(linkStatusLife), l)
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

// changeLink writes the status of a link as edit changes it, together with what
// edit adds to the change. It reads again where another writer was first. It
// returns ErrNotFound for a link that has no status: one of the previous release
// that is spent or expired at the given instant. Where edit returns errUnchanged,
// nothing is written.
func (s *Service) changeLink(ctx context.Context, hash string, at time.Time, edit func(l *linkStatus, change *Change) error) error {
	for try := 1; ; try++ {
		l, read, err := s.readLinkStatus(ctx, linkID(hash))
		if errors.Is(err, ErrNotFound) {
			l, err = s.statusOfPreviousRelease(ctx, hash, at)
		}
		if err != nil {
			return err
		}
		var change Change
		err = edit(&l, &change)
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if err != nil {
			return err
		}
		err = s.commitLink(ctx, l, read, change)
		if !errors.Is(err, ErrConflict) || try == linkWrites || ctx.Err() != nil {
			return err
		}
	}
}

// commitLink writes a status together with a change. read is the ticket of the
// status as it was; its zero value: there was none.
func (s *Service) commitLink(ctx context.Context, l linkStatus, read Ticket, change Change) error {
	next, err := l.ticket()
	if err != nil {
		return err
	}
	if read.ID == "" {
		change.Put = append(change.Put, next)
	} else {
		change.Replace = append(change.Replace, Replacement{Old: read, New: next})
	}
	if _, err = s.Store.Commit(ctx, change); err != nil {
		return internal("writing the status of a link", err)
	}
	return nil
}

// statusOfPreviousRelease returns the status of a link that the previous release
// minted, which stored none.
func (s *Service) statusOfPreviousRelease(ctx context.Context, hash string, at time.Time) (linkStatus, error) {
	ticket, err := s.Store.Ticket(ctx, RecordKey{Kind: LinkKind, ID: hash}, at)
	if errors.Is(err, ErrNotFound) {
		return linkStatus{}, ErrNotFound
	}
	if err != nil {
		return linkStatus{}, internal("reading a link", err)
	}
	var link Link
	err = decodeBody(ticket, &link)
	return newLinkStatus(hash, link), err
}

// recordStart records that an authorization began. The authorization works
// without that record.
func (s *Service) recordStart(ctx context.Context, a Authorization) {
	err := s.changeLink(ctx, a.Link, s.Now(), func(l *linkStatus, _ *Change) error {
		// Starts of the same second write the same.
		if l.Phase != linkOpen || l.Code == "" && a.ExpiresAt.Sub(l.Until) < time.Second {
			return errUnchanged
		}
		l.Until, l.Code, l.Reason = a.ExpiresAt, "", ""
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.Log.WarnContext(ctx, "recording the start of a link", "error", err)
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
	err := s.changeLink(ctx, a.Link, s.Now(), func(l *linkStatus, _ *Change) error {
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

// spendLink takes the link that began a, and writes the status of the link as
// edit changes it, in one transaction. The link must not have expired when the
// person opened it; it may have expired while they read the consent page.
func (s *Service) spendLink(ctx context.Context, a Authorization, edit func(l *linkStatus, change *Change)) error {
	began := a.began()
	err := s.changeLink(ctx, a.Link, began, func(l *linkStatus, change *Change) error {
		// Functions of the previous release take links without writing a status.
		if err := s.checkLink(ctx, a); err != nil {
			return err
		}
		if l.Phase != linkOpen {
			return errLinkGone()
		}
		l.Code, l.Reason = "", ""
		edit(l, change)
		change.Take = append(change.Take, Taking{RecordKey: RecordKey{Kind: LinkKind, ID: a.Link}, Now: began})
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return errLinkGone()
	}
	return err
}

// checkLink returns LinkGone if the link that began a was spent or ended, or had
// expired then.
func (s *Service) checkLink(ctx context.Context, a Authorization) error {
	_, err := s.Store.Ticket(ctx, RecordKey{Kind: LinkKind, ID: a.Link}, a.began())
	if errors.Is(err, ErrNotFound) {
		return errLinkGone()
	}
	if err != nil {
		return internal("reading a link", err)
	}
	return nil
}

// savedBy returns the edit of a status by which a consent begins to save its
// connections. by names the consent.
func (s *Service) savedBy(by string) func(*linkStatus, *Change) {
	return func(l *linkStatus, _ *Change) {
		l.Phase, l.By, l.Until, l.Accounts = linkSpent, by, s.Now().Add(linkSaving).UTC(), 0
		l.Code, l.Reason = "", ""
	}
}

// finishLink records what a consent saved after it spent the link. Where nothing
// was saved because of a failure, unsaved sets the phase.
func (c *consent) finishLink(ctx context.Context, saved []Connection, failure error, unsaved func(*linkStatus, *Change) error) {
	hash := c.authorization.Link
	pages, err := pagesOf(hash, saved, c.Now().Add(MaxLinkLife+linkStatusLife))
	for err == nil && len(pages) > linkPages {
		_, err = c.Store.Commit(ctx, Change{Put: pages[:linkPages]})
		pages = pages[linkPages:]
	}
	if err == nil {
		err = c.changeLink(ctx, hash, c.Now(), func(l *linkStatus, change *Change) error {
			if l.Phase != linkSpent || l.By != c.name {
				return errUnchanged
			}
			l.Accounts, l.Until, change.Put = len(saved), time.Time{}, pages
			if failure == nil {
				l.Phase = linkConnected
				return nil
			}
			l.fail(failure)
			if len(saved) > 0 {
				l.Phase = linkFailed
				return nil
			}
			return unsaved(l, change)
		})
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		c.Log.ErrorContext(ctx, "recording what became of a link", "error", err)
	}
}

// reopen makes a link good again, unless EndLink was called meanwhile.
func (l *linkStatus) reopen(change *Change) error {
	if l.Ended {
		l.Phase = linkEnded
		return nil
	}
	l.Phase = linkOpen
	link, err := newTicket(LinkKind, l.Hash, l.Link.ExpiresAt, l.Link)
	change.Put = append(change.Put, link)
	return err
}

// pagesOf returns the tickets that name the connections of a link. An item of
// the table has 400 KB at most
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html,
// read 2026-11-25).
func pagesOf(hash string, saved []Connection, expiresAt time.Time) ([]Ticket, error) {
	var pages []Ticket
	for chunk := range slices.Chunk(saved, linkPage) {
		var ids []ID
		for _, c := range chunk {
			ids = append(ids, c.ID)
		}
		page, err := newTicket(LinkConnectionsKind, pageID(linkID(hash), len(pages)), expiresAt, ids)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
	}
	return pages, nil
}

// pageID is the id of the n-th page of a link's connections.
func pageID(link string, n int) string { return fmt.Sprintf("%s/%d", link, n) }
