package connector

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// LinkStatus says what became of a link.
type LinkStatus string

// The statuses of a link.
const (
	LinkOpen      LinkStatus = "open"
	LinkUnderWay  LinkStatus = "under_way"            // a person is on the platform's pages, or connections are being saved
	LinkPending   LinkStatus = "pending_confirmation" // a consent waits for Confirm
	LinkConnected LinkStatus = "connected"
	LinkFailed    LinkStatus = "failed" // the last authorization; the link is good, unless accounts were connected
	LinkEnded     LinkStatus = "ended"  // and nothing can come of it
)

// LinkStatuses lists every status of a link.
func LinkStatuses() []LinkStatus {
	return []LinkStatus{LinkOpen, LinkUnderWay, LinkPending, LinkConnected, LinkFailed, LinkEnded}
}

// LinkState is a link with what became of it.
type LinkState struct {
	ID     string
	Link   Link
	Status LinkStatus
	// Failure is the code of the last authorization that failed; empty where none
	// did since another began.
	Failure Code
	// Reason is that of the failure, or says why the link ended.
	Reason string
	// Accounts is how many were connected, are being connected, or wait for the
	// confirmation. Connected is how many are connected. LeftOut is how many more
	// accounts the consent named although the platform does not give access to them.
	Accounts, Connected, LeftOut int
	// ConfirmBefore is set while a consent waits for the confirmation.
	ConfirmBefore time.Time
	// Connections are those of one page that are still stored, in the order in
	// which they were saved, and Next continues after them.
	Connections []Connection
	Next        string
}

var linkIDPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$`)

// ShowLink returns what became of a link, and a page of up to limit of its
// connections, 1 to 100, after cursor. It can be asked until a day after the
// link expired, also where the link was spent or ended before.
//
// It fails with ConnectionNotFound for an unknown link and for another owner's.
func (s *Service) ShowLink(ctx context.Context, id, cursor string, limit int) (LinkState, error) {
	if limit < 1 || limit > maxPage {
		return LinkState{}, Invalid("limit", fmt.Sprintf("not between 1 and %d", maxPage))
	}
	from, err := linkPosition(cursor, id)
	if err != nil {
		return LinkState{}, err
	}
	l, err := s.ownLink(ctx, id)
	if err != nil {
		return LinkState{}, err
	}
	state := LinkState{ID: id, Link: l.Link, Failure: l.Code, Reason: l.Reason, Accounts: l.Accounts, Connected: l.saved(), LeftOut: l.LeftOut}
	s.judgeLink(l, &state)
	if l.saved() > 0 {
		to := min(from+limit, l.saved())
		if state.Connections, err = s.linkConnections(ctx, id, from, to); err != nil {
			return LinkState{}, err
		}
		if to < l.saved() {
			state.Next = writeCursor(linkCursor{id, to})
		}
	}
	return state, nil
}

// EndLink ends a link: nobody can open it any more, an authorization that is
// under way ends in LinkGone, and a consent that waits for its confirmation
// cannot be confirmed. What was connected stays, and of a consent with many accounts
// the worker connects no more. To end a link twice is no error.
//
// It fails with ConnectionNotFound for an unknown link and for another owner's.
func (s *Service) EndLink(ctx context.Context, id string) error {
	l, err := s.ownLink(ctx, id)
	if err != nil {
		return err
	}
	err = s.changeLink(ctx, l.Hash, func(l *linkStatus, change *Change) error {
		switch {
		case l.Phase == linkSpent && !l.Ended:
			l.Ended = true
			return nil
		case l.Phase == linkOpen:
			change.Drop = append(change.Drop, RecordKey{Kind: LinkKind, ID: l.Hash})
		case l.Phase == linkConfirming:
			change.Drop = append(change.Drop, RecordKey{Kind: ConsentConfirmationKind, ID: l.Confirmation}, RecordKey{Kind: ConfirmationKind, ID: l.Confirmation})
		default:
			return errUnchanged
		}
		l.Phase, l.Until = linkEnded, time.Time{}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return errNoSuchLink()
	}
	return err
}

// ownLink returns the status of a link whose owner the caller may act for.
func (s *Service) ownLink(ctx context.Context, id string) (linkStatus, error) {
	if !linkIDPattern.MatchString(id) {
		return linkStatus{}, errNoSuchLink()
	}
	l, _, err := s.readLinkStatus(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !mayActFor(ctx, l.Link.Owner) {
		return linkStatus{}, errNoSuchLink()
	}
	return l, err
}

// errLinkEnded says that EndLink was called while the accounts of a consent were saved.
func errLinkEnded() error {
	return &Error{Code: LinkGone, Reason: reasonEndedByOperator, Message: "this link was ended: ask for a new one"}
}

func errNoSuchLink() error { return &Error{Code: ConnectionNotFound, Message: "no such link"} }

// judgeLink sets the status of a link, and why it ended.
func (s *Service) judgeLink(l linkStatus, state *LinkState) {
	waiting := s.Now().Before(l.Until)
	ended := func(reason string) { state.Status, state.Reason = LinkEnded, reason }
	switch l.Phase {
	case linkConnected:
		state.Status = LinkConnected
	case linkFailed:
		state.Status = LinkFailed
	case linkEnded:
		ended(reasonEndedByOperator)
	case linkConfirming:
		if state.Status, state.ConfirmBefore = LinkPending, l.Until; !waiting {
			state.ConfirmBefore = time.Time{}
			ended(reasonNotConfirmed)
		}
	case linkSpent:
		state.Status = LinkUnderWay // the sweep completes it where its function crashed
	default:
		s.judgeOpenLink(l, state)
	}
}

// judgeOpenLink sets the status of a link that was not spent.
func (s *Service) judgeOpenLink(l linkStatus, state *LinkState) {
	now := s.Now()
	switch {
	case now.Before(l.Until):
		state.Status = LinkUnderWay
	case !now.Before(l.Link.ExpiresAt):
		state.Status, state.Reason = LinkEnded, reasonLinkExpired
	case l.Code != "":
		state.Status = LinkFailed
	default:
		state.Status = LinkOpen
	}
}

// linkConnections returns the connections of a link from one number to another,
// as far as they are stored.
func (s *Service) linkConnections(ctx context.Context, id string, from, to int) ([]Connection, error) {
	var found []Connection
	var ids []ID
	for n := from; n < to; n++ {
		if n == from || n%linkPage == 0 {
			var err error
			ids, err = ticketBody[[]ID](ctx, s, RecordKey{Kind: LinkConnectionsKind, ID: pageID(id, n/linkPage)})
			if err != nil {
				return nil, internal("reading the connections of a link", err)
			}
		}
		c, err := s.Connection(ctx, ids[n%linkPage])
		if errors.Is(err, ConnectionNotFound) {
			continue // it was purged
		}
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

// linkCursor is a position among the connections of one link.
type linkCursor struct {
	Link string `json:"link"`
	At   int    `json:"at"`
}

// linkPosition reads a cursor of the link.
func linkPosition(cursor, id string) (at int, err error) {
	if cursor == "" {
		return 0, nil
	}
	var position linkCursor
	if !readCursor(cursor, &position) || position.Link != id || position.At < 0 {
		return 0, Invalid("cursor", "not one that this link returned")
	}
	return position.At, nil
}
