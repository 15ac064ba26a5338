package connector

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// deletionLife is how long the status of a data deletion can be asked for.
const deletionLife = 90 * 24 * time.Hour

// Deletion is what became of a data deletion.
type Deletion struct {
	RequestedAt time.Time `json:"requested_at"`
	Deleted     int       `json:"deleted"` // connections
}

// NoticeResult is what a notice led to.
type NoticeResult struct {
	Affected int // connections
	// DeletionCode and StatusURL are set for data deletions.
	DeletionCode Secret
	StatusURL    Secret
}

// TakeNotice verifies what a platform sent on its own and acts on it: a
// revoked grant marks every connection of that person needs_reauth, a data
// deletion purges them. A notice that comes again changes nothing more.
//
// It fails with StateInvalid if the notice is not signed by the app,
// AppNotConfigured if there is none, and InvalidRequest where the platform
// sends no such notice.
func (s *Service) TakeNotice(ctx context.Context, name Name, kind string, raw RawNotice) (NoticeResult, error) {
	p, err := s.platform(name)
	if err != nil {
		return NoticeResult{}, err
	}
	noticer, ok := p.(Noticer)
	if !ok {
		return NoticeResult{}, Invalid("platform", "sends no notices")
	}
	app, err := s.app(ctx, name)
	if err != nil {
		return NoticeResult{}, err
	}
	if app.ClientSecret.Empty() {
		return NoticeResult{}, errAppNotConfigured(p.Describe())
	}
	notice, err := withEither(ctx, s, app, notSigned, func(app App) (Notice, error) {
		return noticer.ReadNotice(app, kind, raw)
	})
	if err != nil {
		return NoticeResult{}, internal("reading a notice", err)
	}
	if notice.Delete {
		return s.delete(ctx, name, kind, app, notice)
	}
	var result NoticeResult
	if notice.UserID != "" && notice.Revoked {
		if result.Affected, err = s.act(ctx, name, notice); err != nil {
			return NoticeResult{}, err
		}
	}
	return result, nil
}

// delete carries a data deletion out, once: the same request again gets the
// same answer, and leaves alone what was connected since.
func (s *Service) delete(ctx context.Context, name Name, kind string, app App, notice Notice) (NoticeResult, error) {
	code, err := s.deletionCode(app, notice)
	if err != nil {
		return NoticeResult{}, internal("naming a data deletion", err)
	}
	result := NoticeResult{
		DeletionCode: code,
		StatusURL:    NewSecret(s.PublicURL + NoticeKind{Name: kind}.StatusPath(name, code.Reveal())),
	}
	if _, err := s.DeletionStatus(ctx, code); err == nil {
		return result, nil
	}
	if result.Affected, err = s.act(ctx, name, notice); err != nil {
		return NoticeResult{}, err
	}
	now := s.Now().UTC()
	body := Deletion{RequestedAt: now, Deleted: result.Affected}
	err = s.putTicket(ctx, Ticket{Kind: DeletionTicket, Hash: hash(code), ExpiresAt: now.Add(deletionLife)}, body)
	if err != nil && !errors.Is(err, ErrConflict) { // a conflict: the same request, at the same time
		return NoticeResult{}, err
	}
	return result, nil
}

// deletionCode names a data deletion: the same for the same request, and known
// to nobody else. One that does not say when it was made is always new.
func (s *Service) deletionCode(app App, notice Notice) (Secret, error) {
	if notice.At.IsZero() {
		return randomToken(s.Random)
	}
	request := fmt.Sprintf("data deletion of %s at %d", notice.UserID, notice.At.Unix())
	key, err := hkdf.Key(sha256.New, []byte(app.ClientSecret.Reveal()), nil, request, 32)
	if err != nil {
		return Secret{}, err
	}
	return NewSecret(base64.RawURLEncoding.EncodeToString(key)), nil
}

// act carries a notice out on every connection of its person, and returns how
// many changed.
func (s *Service) act(ctx context.Context, name Name, notice Notice) (int, error) {
	connections, err := s.Store.UserConnections(ctx, name, notice.UserID)
	if err != nil {
		return 0, internal("finding a person's connections", err)
	}
	changed := 0
	for _, c := range connections {
		acted, err := s.actOn(ctx, c, notice)
		if err != nil {
			return changed, err
		}
		if acted {
			changed++
		}
	}
	return changed, nil
}

// actOn carries a notice out on one connection, and reports whether it
// concerned it.
func (s *Service) actOn(ctx context.Context, c Connection, notice Notice) (bool, error) {
	if notice.Delete {
		return s.erase(ctx, c, notice)
	}
	marked, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Status != Active || notice.precedes(*c) {
			return errSuperseded
		}
		c.Status, c.StatusReason = NeedsReauth, notice.Reason
		c.RefreshAt = time.Time{}
		return nil
	})
	if errors.Is(err, errSuperseded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.publish(ctx, EventReauth, marked, notice.Reason)
	return true, nil
}

// precedes reports whether the consent behind c was given after the notice was
// sent, and thus stands. Platforms tell whole seconds.
func (n Notice) precedes(c Connection) bool {
	return !n.At.IsZero() && c.IssuedAt.Truncate(time.Second).After(n.At)
}

// erase removes a connection whose person asked for it: record, secret and
// all. The platform has ended the grant already. Should we fail or die in
// between, nobody finds the connection by its person any more, so it is left
// to the sweep first.
func (s *Service) erase(ctx context.Context, c Connection, notice Notice) (bool, error) {
	marked, err := s.commit(ctx, c, func(c *Connection) error {
		if notice.precedes(*c) {
			return errSuperseded
		}
		disconnect(c)
		c.StatusReason, c.RefreshAt = reasonDataDeletion, s.Now().UTC().Add(endedWithin)
		return nil
	})
	if errors.Is(err, errSuperseded) {
		marked, err = s.Store.Connection(ctx, c.ID)
		if errors.Is(err, ErrNotFound) || err == nil && marked.Status != Disconnected {
			return false, nil
		}
	}
	if err != nil {
		return false, internal("disconnecting", err)
	}
	if err := s.purge(ctx, marked); err != nil {
		return false, err
	}
	s.publish(ctx, EventDisconnected, marked, reasonDataDeletion)
	return true, nil
}

// DeletionStatus returns what became of a data deletion, by its confirmation
// code; ConnectionNotFound where there is none.
func (s *Service) DeletionStatus(ctx context.Context, code Secret) (Deletion, error) {
	gone := &Error{Code: ConnectionNotFound, Message: "no such data deletion"}
	if !wellFormedToken(code) {
		return Deletion{}, gone
	}
	ticket, err := s.Store.Ticket(ctx, DeletionTicket, hash(code), s.Now())
	if errors.Is(err, ErrNotFound) {
		return Deletion{}, gone
	}
	if err != nil {
		return Deletion{}, internal("reading a data deletion", err)
	}
	var d Deletion
	if err := json.Unmarshal(ticket.Body, &d); err != nil {
		return Deletion{}, internal("decoding a data deletion", err)
	}
	return d, nil
}
