package connector

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// An erasure deletes everything of a person: connections, disconnected ones whose
// secret can be recovered, and consents that no connection refers to yet. It leaves
// three tickets:
//
//	erasure   the erasure itself, with the id of the person, until it is complete.
//	          It is due: first to finish what a crash or a failure left, then once
//	          more after lateWriterLife, since the index of persons lags and
//	          writers that began before may end later
//	erased    when the person asked, under a hash of their id: a consent that began
//	          before is refused, and so is an import whose person becomes known late
//	deletion  what became of it, under a hash of the confirmation code

// erasedAt is when a person asked for an erasure.
type erasedAt struct {
	At         time.Time `json:"at,omitzero"` // as the platform says, in whole seconds
	ReceivedAt time.Time `json:"received_at"` // by our clock
}

// precedes reports whether a consent began after the person asked, so that the
// erasure is not about it.
func (e erasedAt) precedes(consented time.Time) bool {
	return consented.After(e.ReceivedAt) || !e.At.IsZero() && consented.Truncate(time.Second).After(e.At)
}

// later reports whether e is the later of the two.
func (e erasedAt) later(other erasedAt) bool {
	asked := func(e erasedAt) time.Time {
		if e.At.IsZero() {
			return e.ReceivedAt
		}
		return e.At
	}
	return asked(e).After(asked(other))
}

// erasure is the body of the ticket of an erasure.
type erasure struct {
	id       string
	Platform Name   `json:"platform"`
	UserID   string `json:"user_id"`
	Status   string `json:"status"` // the id of the ticket that says what became of it
	erasedAt
}

// Deletion is what became of a data deletion.
type Deletion struct {
	RequestedAt time.Time `json:"requested_at"`
	Deleted     int       `json:"deleted"`            // connections
	Consents    int       `json:"consents,omitempty"` // that no connection referred to yet
	// InProgress says that the records of the person will be searched once more.
	// The previous release wrote neither this nor CompletedAt.
	InProgress  bool      `json:"in_progress,omitempty"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
}

// erased is what an erasure deleted.
type erased struct{ connections, consents int }

// deleteUserData carries out a data deletion, once: the same request again gets
// the same answer, and does not delete what was connected since. Once it is
// recorded the sweep finishes it, so that a failure from then on is only logged.
func (s *Service) deleteUserData(ctx context.Context, name Name, kind string, app App, notice Notice) (NoticeResult, error) {
	code, err := s.deletionCode(app, notice)
	if err != nil {
		return NoticeResult{}, internal("naming a data deletion", err)
	}
	result := NoticeResult{
		DeletionCode: code,
		StatusURL:    NewSecret(s.PublicURL + NoticeKind{Name: kind}.StatusPath(name, code.Reveal())),
	}
	id, err := NewID(s.Random)
	if err != nil {
		return NoticeResult{}, internal("naming a data deletion", err)
	}
	e := erasure{
		id: string(id), Platform: name, UserID: notice.UserID, Status: hash(code),
		erasedAt: erasedAt{At: notice.At.UTC(), ReceivedAt: s.Now().UTC()},
	}
	if err := s.recordErasure(ctx, e); errors.Is(err, ErrConflict) {
		return result, nil // the same request came before, or at the same time
	} else if err != nil {
		return NoticeResult{}, internal("storing a data deletion", err)
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	deleted, err := s.erase(ctx, e)
	if err == nil {
		err = s.recordErased(ctx, e, deleted, e.ReceivedAt.Add(lateWriterLife))
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "deleting a person's data, to be continued", "platform", string(name), "error", err)
	}
	result.Affected = deleted.connections
	return result, nil
}

// deletionCode names a data deletion. It is the same for the same request, and
// only the app's secret tells it. A request without a time is always a new one.
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

// DeletionStatus returns what became of a data deletion, by its confirmation
// code; ConnectionNotFound where there is none.
func (s *Service) DeletionStatus(ctx context.Context, code Secret) (Deletion, error) {
	gone := &Error{Code: ConnectionNotFound, Message: "no such data deletion"}
	if !wellFormedToken(code) {
		return Deletion{}, gone
	}
	d, err := ticketBody[Deletion](ctx, s, RecordKey{Kind: DeletionKind, ID: hash(code)})
	if errors.Is(err, ErrNotFound) {
		return Deletion{}, gone
	}
	return d, err
}

// recordErasure writes the tickets of an erasure before anything is deleted, so that
// a consent that ends meanwhile finds them. ErrConflict: the request was recorded
// before.
func (s *Service) recordErasure(ctx context.Context, e erasure) error {
	work, err := e.ticket(s.Now().Add(disconnectWithin))
	if err != nil {
		return err
	}
	status, err := newTicket(DeletionKind, e.Status, e.ReceivedAt.Add(deletionLife), Deletion{RequestedAt: e.ReceivedAt, InProgress: true})
	if err != nil {
		return err
	}
	change := Change{Put: []Ticket{status, work}}
	key := erasedKey(e.Platform, e.UserID)
	before, err := ticketBody[erasedAt](ctx, s, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil || e.later(before) {
		mark, err := newTicket(ErasedKind, key.ID, e.ReceivedAt.Add(deletionLife), e.erasedAt)
		if err != nil {
			return err
		}
		change.Overwrite = []Ticket{mark}
	}
	_, err = s.Store.Commit(ctx, change)
	return err
}

// ticket returns the ticket of e, which is due at the given instant.
func (e erasure) ticket(dueAt time.Time) (Ticket, error) {
	ticket, err := newTicket(ErasureKind, e.id, e.ReceivedAt.Add(deletionLife), e)
	ticket.DueAt = dueAt.UTC()
	return ticket, err
}

// erasedKey is the key of the ticket that says when a person asked for an erasure.
func erasedKey(platform Name, userID string) RecordKey {
	return RecordKey{Kind: ErasedKind, ID: platformHash(platform, userID)}
}

// eraseDue continues an erasure. It is complete after a run without a failure that
// began lateWriterLife after the request.
func (s *Service) eraseDue(ctx context.Context, key RecordKey) (DueResult, error) {
	e, err := ticketBody[erasure](ctx, s, key)
	if errors.Is(err, ErrNotFound) {
		return Gone, nil
	}
	if err != nil {
		return Failed, err
	}
	e.id = key.ID
	now, again := s.Now(), e.ReceivedAt.Add(lateWriterLife)
	if !now.Before(again) {
		again = time.Time{}
	}
	deleted, err := s.erase(ctx, e)
	if errors.Is(err, errTimeRanOut) {
		again, err = s.Now().Add(disconnectWithin), nil
	}
	if err != nil {
		return Failed, err
	}
	if err := s.recordErased(ctx, e, deleted, again); err != nil {
		return Failed, err
	}
	return Erased, nil
}

// recordErased adds what a run deleted to the status. The erasure is due again at the
// given instant; at the zero instant it is complete, and its ticket is deleted.
func (s *Service) recordErased(ctx context.Context, e erasure, deleted erased, again time.Time) error {
	var change Change
	status := RecordKey{Kind: DeletionKind, ID: e.Status}
	d, err := ticketBody[Deletion](ctx, s, status)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	d.Deleted += deleted.connections
	d.Consents += deleted.consents
	work, ticketErr := e.ticket(again)
	if ticketErr != nil {
		return ticketErr
	}
	if again.IsZero() {
		d.InProgress, d.CompletedAt = false, s.Now().UTC()
		change.Drop = []RecordKey{work.RecordKey}
	} else {
		change.Overwrite = []Ticket{work}
	}
	if err == nil {
		ticket, err := newTicket(DeletionKind, e.Status, d.RequestedAt.Add(deletionLife), d)
		if err != nil {
			return err
		}
		change.Overwrite = append(change.Overwrite, ticket)
	}
	if _, err := s.Store.Commit(ctx, change); err != nil {
		return internal("storing a data deletion", err)
	}
	return nil
}

// errTimeRanOut says that an erasure has more to delete than its time allows. It
// never leaves the service.
var errTimeRanOut = errors.New("the time ran out")

// erase deletes every record that the index of persons shows. One that fails does
// not keep the others.
func (s *Service) erase(ctx context.Context, e erasure) (erased, error) {
	var deleted erased
	keys, err := s.Store.UserRecords(ctx, e.Platform, e.UserID)
	if err != nil {
		return deleted, internal("finding a person's records", err)
	}
	var problems []error
	for _, key := range keys {
		if remaining(ctx) < StoreBudget {
			return deleted, errors.Join(append(problems, errTimeRanOut)...)
		}
		if key.Kind == ConnectionKind {
			done, err := s.eraseConnectionOf(ctx, e, ID(key.ID))
			if done {
				deleted.connections++
			}
			problems = append(problems, err)
			continue
		}
		if key.Kind == EventKind {
			problems = append(problems, s.eraseFromEvent(ctx, e, key))
			continue
		}
		erase := s.erasePending
		if key.Kind == StateKind {
			erase = s.eraseConsent
		}
		done, err := erase(ctx, e, key)
		if done {
			deleted.consents++
		}
		problems = append(problems, err)
	}
	return deleted, errors.Join(problems...)
}

func (s *Service) eraseConnectionOf(ctx context.Context, e erasure, id ID) (bool, error) {
	c, err := s.Store.Connection(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, internal("reading a connection", err)
	}
	return s.eraseConnection(ctx, e, c)
}

// eraseConnection deletes a connection of the person for good, disconnected or not,
// unless they consented to it later. The platform has ended the grant already. The
// record becomes due first: the sweep finishes a deletion that failed or crashed.
func (s *Service) eraseConnection(ctx context.Context, e erasure, c Connection) (bool, error) {
	marked, err := s.write(ctx, c, func(c Connection) (Connection, error) {
		if c.Platform != e.Platform || c.UserID != e.UserID || e.precedes(c.consentedAt()) {
			return c, errUnchanged
		}
		disconnect(&c)
		c.StatusReason, c.Purge = reasonDataDeletion, true
		c.RefreshAt = s.Now().UTC().Add(disconnectWithin)
		c.UpdatedAt = s.Now().UTC()
		return c, nil
	})
	if errors.Is(err, errUnchanged) || errors.Is(err, errLate) {
		return false, nil
	}
	if err != nil {
		return false, internal("disconnecting", err)
	}
	if err := s.purge(ctx, marked); err != nil {
		return false, err
	}
	return true, nil
}

// erasePending deletes the credentials of a consent that no connection refers to yet,
// unless it began later. A ticket without the person stays in its place: it can no
// longer be confirmed, and by it the sweep deletes what a late writer stores.
func (s *Service) erasePending(ctx context.Context, e erasure, key RecordKey) (bool, error) {
	p, err := s.pending(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, s.dropTicket(ctx, key)
	}
	if err != nil {
		return false, err
	}
	if e.precedes(p.began()) {
		return false, nil
	}
	if done, recorded, err := s.eraseRecorded(ctx, e, p); recorded || err != nil {
		return done, err
	}
	if err := s.deletePendingCredentials(ctx, p); err != nil {
		return false, err
	}
	anonymous, err := p.anonymous(s.Now().UTC()).ticket(s.Now().Add(pendingLife))
	if err != nil {
		return false, err
	}
	if _, err := s.Store.Commit(ctx, Change{Overwrite: []Ticket{anonymous}}); err != nil {
		return false, internal("deleting a pending consent", err)
	}
	return !p.OfConsent, nil // that consent counts
}

// eraseConsent deletes what the code of a consent yielded, unless the consent began
// later. The consent then fails: it can no longer be confirmed or continued.
func (s *Service) eraseConsent(ctx context.Context, e erasure, key RecordKey) (bool, error) {
	c, err := s.readConsent(ctx, key.ID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if c.record.Credentials == nil || e.precedes(c.record.began()) {
		return false, nil
	}
	next := c.record
	next.Phase, next.Failure = consentDone, newConsentFailure(errErased())
	next.Credentials, next.Person = nil, ""
	if err := c.writeFailed(ctx, next); err != nil {
		return false, internal("deleting a consent", err)
	}
	s.recordFailure(ctx, c.record.Authorization, errErased())
	if err := s.CredentialStore.Delete(ctx, c.credentialsKey(), CredentialsRef{}, true); err != nil {
		return false, internal("deleting what a code yielded", err)
	}
	return true, nil
}

func errErased() *Error {
	return &Error{Code: AccessDenied, Reason: reasonDataDeletion,
		Message: "the person asked, through the platform, for the deletion of their data after this authorization began: start again"}
}

// eraseRecorded deletes the connection to which the credentials of p belong, if it got
// its record.
func (s *Service) eraseRecorded(ctx context.Context, e erasure, p pending) (done, recorded bool, err error) {
	if p.ConnectionID == "" {
		return false, false, nil
	}
	c, err := s.Store.Connection(ctx, p.ConnectionID)
	if errors.Is(err, ErrNotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, internal("reading a connection", err)
	}
	if done, err = s.eraseConnection(ctx, e, c); err != nil || !done {
		return false, true, err
	}
	return true, true, s.dropTicket(ctx, p.recordKey())
}

// checkErased returns the error for grants of a person who asked for an erasure after
// the consent began. It notes an erasure from before with the grants.
func (s *Service) checkErased(ctx context.Context, platform Name, grants []Grant) error {
	asked := map[string]*erasedAt{}
	for i, g := range grants {
		user := userOf(g)
		at, checked := asked[user]
		if !checked {
			var err error
			if at, err = s.erasureOf(ctx, platform, user); err != nil {
				return err
			}
			asked[user] = at
		}
		if at != nil && !at.precedes(g.ConsentedAt) {
			return errErased()
		}
		grants[i].erased = at
	}
	return nil
}

// erasureOf returns when a person last asked for an erasure, nil where they did not.
func (s *Service) erasureOf(ctx context.Context, platform Name, userID string) (*erasedAt, error) {
	if userID == "" || provisional(userID) {
		return nil, nil
	}
	at, err := ticketBody[erasedAt](ctx, s, erasedKey(platform, userID))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &at, nil
}

// eraseNamed deletes a connection whose person the platform has just named, if they
// asked for an erasure after the consent began: the erasure could not find it.
// ConnectionNotFound: it was deleted.
func (s *Service) eraseNamed(ctx context.Context, c Connection) error {
	at, err := s.erasureOf(ctx, c.Platform, c.UserID)
	if err != nil || at == nil || at.precedes(c.consentedAt()) {
		return err
	}
	if _, err := s.eraseConnection(ctx, erasure{Platform: c.Platform, UserID: c.UserID, erasedAt: *at}, c); err != nil {
		return err
	}
	if err := s.eraseFromEvents(ctx, c, c.UserID); err != nil {
		return err
	}
	return errConnectionNotFound()
}
