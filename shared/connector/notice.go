package connector

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// NoticeResult is what a notice led to.
type NoticeResult struct {
	Affected int // connections
	// DeletionCode and StatusURL are set for data deletions.
	DeletionCode Secret
	StatusURL    Secret
}

// TakeNotice verifies what a platform sent on its own and applies it: a
// revoked grant marks every connection of that person needs_reauth, a data
// deletion deletes everything of theirs. A notice that comes again changes nothing
// more.
//
// Its form, size and time are checked before anything is read. It fails with
// StateInvalid if the notice is not signed by the app, is too old, or was taken as
// one of another kind; AppNotConfigured if there is no app; and InvalidRequest where
// the platform sends no such notice.
func (s *Service) TakeNotice(ctx context.Context, name Name, kind string, raw RawNotice) (NoticeResult, error) {
	p, err := s.platform(name)
	if err != nil {
		return NoticeResult{}, err
	}
	noticer, ok := p.(Noticer)
	if !ok {
		return NoticeResult{}, Invalid("platform", "sends no notices")
	}
	app, notice, err := s.readNotice(ctx, p, noticer, kind, raw)
	if err != nil {
		return NoticeResult{}, internal("reading a notice", err)
	}
	applied, err := s.takeOnce(ctx, name, kind, notice)
	if err != nil || applied {
		return NoticeResult{}, err
	}
	if notice.Delete {
		return s.deleteUserData(ctx, name, kind, app, notice)
	}
	var result NoticeResult
	if notice.UserID != "" && notice.Revoked {
		if result.Affected, err = s.applyNotice(ctx, name, notice); err != nil {
			return NoticeResult{}, err
		}
	}
	if result.Affected > 0 {
		s.recordApplied(ctx, name, kind, notice)
	}
	return result, nil
}

// readNotice checks a notice, and only then reads the app that must have signed it.
func (s *Service) readNotice(ctx context.Context, p Platform, noticer Noticer, kind string, raw RawNotice) (App, Notice, error) {
	if len(raw.Body) > maxNotice {
		return App{}, Notice{}, Invalid("body", fmt.Sprintf("longer than %d bytes", maxNotice))
	}
	if err := noticer.CheckNotice(kind, raw); err != nil {
		return App{}, Notice{}, err
	}
	app, err := s.app(ctx, p.Describe().Name)
	if err != nil {
		return App{}, Notice{}, err
	}
	if app.ClientSecret.Empty() {
		return App{}, Notice{}, errAppNotConfigured(p.Describe())
	}
	notice, err := withCurrentOrPreviousSecret(ctx, s, app, notSigned, func(app App) (Notice, error) {
		return noticer.ReadNotice(app, kind, raw)
	})
	return app, notice, err
}

// takenNotice is the body of the ticket of a notice.
type takenNotice struct {
	Kind string `json:"kind"`
	// Applied says that the notice changed connections, so that it changes none again.
	Applied bool `json:"applied,omitempty"`
}

func (s *Service) takenTicket(name Name, notice Notice, body takenNotice) (Ticket, error) {
	return newTicket(TakenNoticeKind, platformHash(name, notice.ID), s.Now().Add(NoticeMemory), body)
}

// recordApplied records that a notice changed connections. A failure is logged: if the
// notice comes again, it marks the active connections without newer credentials again.
func (s *Service) recordApplied(ctx context.Context, name Name, kind string, notice Notice) {
	if notice.ID == "" {
		return
	}
	ticket, err := s.takenTicket(name, notice, takenNotice{Kind: kind, Applied: true})
	if err == nil {
		_, err = s.Store.Commit(ctx, Change{Overwrite: []Ticket{ticket}})
	}
	if err != nil {
		s.Log.WarnContext(ctx, "recording that a notice was applied", "platform", string(name), "kind", kind, "error", err)
	}
}

// takeOnce records the kind as which a notice is taken. Where the platform signs
// kinds alike, whoever has a notice of one kind could send it as one of another.
// applied says that it changed connections before. StateInvalid: it was taken as one of
// another kind.
func (s *Service) takeOnce(ctx context.Context, name Name, kind string, notice Notice) (applied bool, err error) {
	if notice.ID == "" {
		return false, nil
	}
	ticket, err := s.takenTicket(name, notice, takenNotice{Kind: kind})
	if err != nil {
		return false, err
	}
	if err := s.putTicket(ctx, ticket); !errors.Is(err, ErrConflict) {
		return false, err
	}
	taken, err := ticketBody[takenNotice](ctx, s, ticket.RecordKey)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	if err == nil && taken.Kind == kind {
		return taken.Applied, nil
	}
	s.Log.WarnContext(ctx, "a notice was refused: it was taken as one of another kind before; where a person says that they sent it, purge their connections", "platform", string(name), "kind", kind, "taken_as", taken.Kind)
	return false, &Error{Code: StateInvalid, Message: "the notice was taken as one of another kind"}
}

// applyNotice applies a notice to every connection of its person that may hold a
// grant, and returns how many it changed.
func (s *Service) applyNotice(ctx context.Context, name Name, notice Notice) (int, error) {
	connections, err := s.Store.UserConnections(ctx, name, notice.UserID)
	if err != nil {
		return 0, internal("finding a person's connections", err)
	}
	changed := 0
	for _, c := range connections {
		applied, err := s.applyNoticeTo(ctx, c, notice)
		if err != nil {
			return changed, err
		}
		if applied {
			changed++
		}
	}
	return changed, nil
}

// applyNoticeTo applies a notice to one connection, and reports whether it
// concerned the connection.
func (s *Service) applyNoticeTo(ctx context.Context, c Connection, notice Notice) (bool, error) {
	_, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Status != Active || notice.precedes(*c) {
			return errLate
		}
		c.Status, c.StatusReason = NeedsReauth, notice.Reason
		c.RefreshAt = time.Time{}
		return nil
	})
	if errors.Is(err, errLate) {
		return false, nil
	}
	return err == nil, err
}

// precedes reports whether the access token of c was issued after the notice was
// sent, so that the notice is about an earlier one. Platforms send whole
// seconds.
func (n Notice) precedes(c Connection) bool {
	return !n.At.IsZero() && c.IssuedAt.Truncate(time.Second).After(n.At)
}
