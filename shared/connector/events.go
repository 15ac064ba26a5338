package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Every event but Connection Refreshed is owed until the bus accepts it: its ticket is
// written in the transaction of the change that it tells of, holds all that is sent,
// and is deleted when the bus has accepted the event. What cannot be sent at once is
// due, and the worker sends it, also where the connection is purged meanwhile. An event
// may be sent twice, and after a later one.

// owedEvent is an event that the bus has not accepted yet: the body of its ticket. The
// event is nested, so that a release that takes the body for a pending consent finds no
// connection in it.
//
//	{"event":{"event_id":…, "type":…, …}, "consented_at":…}
type owedEvent struct {
	Event Event `json:"event"`
	// ConsentedAt is when the consent to the connection began: an erasure spares the
	// events of a later consent.
	ConsentedAt time.Time `json:"consented_at,omitzero"`
	platform    Name
	userID      string
}

// draft is what happened, before it is an event about a connection.
type draft struct {
	kind   EventType
	reason string
}

// draftEvents returns the events of a write of a connection. before is nil where the
// connection is new. The record alone decides, so that no writer can forget an event.
func draftEvents(before *Connection, after Connection) []draft {
	if before == nil {
		return []draft{{EventConnected, ""}}
	}
	became := func(status Status) bool { return after.Status == status && before.Status != status }
	switch {
	case became(Disconnected):
		if reason := after.StatusReason; reason == reasonDataDeletion || reason == reasonSameAccount {
			return []draft{{EventDisconnected, reason}}
		}
		return []draft{{EventDisconnected, ""}}
	case became(NeedsReauth), after.Status == NeedsReauth && after.StatusReason != before.StatusReason:
		return []draft{{EventReauth, reasonWord(after.StatusReason)}}
	case after.Status != Active:
		return nil
	case before.Status == NeedsReauth && after.Credentials.Generation == before.Credentials.Generation:
		return []draft{{EventRecovered, reasonVerified}} // (I7)
	case before.Status == NeedsReauth:
		return []draft{{EventRecovered, ""}}
	case before.Degraded.Code != "" && after.Degraded.Code == "":
		recovered := draft{EventRecovered, ""}
		if after.Credentials.Generation == before.Credentials.Generation {
			recovered.reason = reasonVerified
		}
		return append([]draft{recovered}, draftExpiring(*before, after)...)
	case after.ConsentID != before.ConsentID:
		return []draft{{EventConnected, ""}}
	case after.Degraded.Code != "" && (before.Degraded.Code == "" || after.StatusReason != before.StatusReason):
		return []draft{{EventDegraded, after.StatusReason}}
	}
	return draftExpiring(*before, after)
}

// draftExpiring returns the event of an active connection whose grant ends soon, if a
// write is the first that says so.
func draftExpiring(before, after Connection) []draft {
	if after.ExpiryNoticeDays != 0 && after.ExpiryNoticeDays != before.ExpiryNoticeDays {
		return []draft{{EventExpiring, fmt.Sprintf("expires within %d days", after.ExpiryNoticeDays)}}
	}
	return nil
}

// commitAndTell commits a change of a connection together with the events that tell of
// it, and sends these. A failure to send is no error, since the events are owed.
func (s *Service) commitAndTell(ctx context.Context, change Change) (Connection, error) {
	var owed []owedEvent
	after := *change.After
	after.Revision = 1
	if change.Before != nil {
		after.Revision = change.Before.Revision + 1
	}
	put := change.Put[:len(change.Put):len(change.Put)]
	for _, d := range draftEvents(change.Before, after) {
		id, err := NewID(s.Random)
		if err != nil {
			return Connection{}, internal("naming an event", err)
		}
		e := s.owedEvent(id, after, d.kind, d.reason)
		stored := e
		if d.reason == reasonDataDeletion {
			stored = e.anonymous() // (I14)
		}
		ticket, err := stored.ticket(e.Event.OccurredAt.Add(SendWithin), s.Now())
		if err != nil {
			return Connection{}, err
		}
		owed, put = append(owed, e), append(put, ticket)
	}
	change.Put = put
	committed, err := s.Store.Commit(ctx, change)
	if err == nil {
		s.sendOwed(ctx, owed...)
		if change.Before != nil && provisional(change.Before.UserID) && !provisional(after.UserID) {
			s.namePerson(ctx, committed)
		}
	}
	return committed, err
}

// owedEvent returns an event about c as it is now.
func (s *Service) owedEvent(id ID, c Connection, kind EventType, reason string) owedEvent {
	return owedEvent{
		Event: Event{
			ID: id, Type: kind, ConnectionID: c.ID, Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID,
			Status: c.Status, Reason: reason, Revision: c.Revision, OccurredAt: s.Now().UTC(),
		},
		ConsentedAt: c.consentedAt(),
		platform:    c.Platform,
		userID:      eventPerson(c),
	}
}

// eventPerson is the person under whom an erasure finds the events of c. As long as the
// platform has not named the person, it is one that only stands for that of c.
func eventPerson(c Connection) string {
	if provisional(c.UserID) {
		return unnamedPerson(c.ID)
	}
	return c.UserID
}

func unnamedPerson(id ID) string { return provisionalPrefix + string(id) }

// ticket returns the ticket of e, which is due at the given instant. It names the
// person as long as the event names their account.
func (e owedEvent) ticket(dueAt, now time.Time) (Ticket, error) {
	ticket, err := newTicket(EventKind, string(e.Event.ID), now.Add(owedLife), e)
	ticket.DueAt = dueAt.UTC()
	if e.userID != "" {
		ticket.Platform, ticket.UserID = e.platform, e.userID
	}
	return ticket, err
}

// anonymous returns e without the person and their account. The connection and its owner
// are left.
func (e owedEvent) anonymous() owedEvent {
	e.Event.AccountID, e.userID = "", ""
	return e
}

// publishRefreshed sends the one event that is not owed.
func (s *Service) publishRefreshed(ctx context.Context, c Connection) {
	id, err := NewID(s.Random)
	if err != nil || !s.sendsNow(ctx) {
		return
	}
	ctx, cancel := sendContext(ctx)
	defer cancel()
	s.publish(ctx, s.owedEvent(id, c, EventRefreshed, "").Event)
}

// sendOwed sends events at once, unless too little time is left or the bus did not
// answer a moment ago. What it does not send stays owed.
func (s *Service) sendOwed(ctx context.Context, owed ...owedEvent) {
	if len(owed) == 0 || !s.sendsNow(ctx) {
		return
	}
	sendCtx, cancel := sendContext(ctx)
	defer cancel()
	var events []Event
	for _, e := range owed {
		events = append(events, e.Event)
	}
	accepted := s.publish(sendCtx, events...)
	if len(accepted) == 0 {
		return
	}
	dropCtx, cancel := sendContext(ctx)
	defer cancel()
	if err := s.dropEvents(dropCtx, accepted); err != nil {
		s.Log.WarnContext(ctx, "deleting an event that was sent, to be sent again", "error", err)
	}
}

// sendsNow reports whether events are sent at once.
func (s *Service) sendsNow(ctx context.Context) bool {
	return remaining(ctx) >= StoreBudget+2*sendBudget && time.Now().UnixNano() >= atomic.LoadInt64(&s.busPausedUntil)
}

// sendContext returns a context for the sending of events at once: a caller that goes
// away does not end it.
func sendContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), sendBudget)
}

// publish sends events, and returns the ids of those that the bus accepted. A failure is
// logged. A bus that does not answer is left alone for a while.
func (s *Service) publish(ctx context.Context, events ...Event) []ID {
	accepted, err := s.Events.Publish(ctx, events...)
	if ctx.Err() != nil {
		atomic.StoreInt64(&s.busPausedUntil, time.Now().Add(sendPause).UnixNano())
	}
	if err == nil && len(accepted) == len(events) {
		return accepted
	}
	for _, e := range events {
		s.Log.ErrorContext(ctx, "publishing an event", "event", string(e.Type), "event_id", string(e.ID), "connection", string(e.ConnectionID), "error", err)
	}
	return accepted
}

func (s *Service) dropEvents(ctx context.Context, ids []ID) error {
	var change Change
	for _, id := range ids {
		change.Drop = append(change.Drop, RecordKey{Kind: EventKind, ID: string(id)})
	}
	_, err := s.Store.Commit(ctx, change)
	return err
}

// sendDue sends an event that is owed. Where the bus does not accept it, it is due again
// after as long as it has been owed, within bounds.
func (s *Service) sendDue(ctx context.Context, key RecordKey) (DueResult, error) {
	ticket, owed, err := s.owed(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return Gone, nil
	}
	if err != nil {
		return Failed, err
	}
	sendCtx, cancel := context.WithTimeout(ctx, StoreBudget)
	defer cancel()
	if len(s.publish(sendCtx, owed.Event)) > 0 {
		if err := s.dropEvents(ctx, []ID{ID(key.ID)}); err != nil {
			return Failed, internal("deleting an event that was sent", err)
		}
		return Sent, nil
	}
	now := s.Now()
	wait := min(max(now.Sub(owed.Event.OccurredAt), SendWithin), maxSendBackoff)
	later := ticket
	later.DueAt, later.ExpiresAt = now.Add(wait).UTC(), now.Add(owedLife).UTC()
	return Refused, s.replaceOwed(ctx, ticket, later)
}

// owed reads an event. By our clock it does not expire: however long nothing could send
// it, it is sent.
func (s *Service) owed(ctx context.Context, key RecordKey) (Ticket, owedEvent, error) {
	var owed owedEvent
	ticket, err := s.Store.Ticket(ctx, key, time.Time{})
	if errors.Is(err, ErrNotFound) {
		return ticket, owed, ErrNotFound
	}
	if err != nil {
		return ticket, owed, internal("reading an event", err)
	}
	return ticket, owed, decodeBody(ticket, &owed)
}

// replaceOwed writes the ticket of an event again, unless it was sent or changed
// meanwhile.
func (s *Service) replaceOwed(ctx context.Context, old, changed Ticket) error {
	_, err := s.Store.Commit(ctx, Change{Replace: []Replacement{{Old: old, New: changed}}})
	if err != nil && !errors.Is(err, ErrConflict) {
		return internal("writing an event", err)
	}
	return nil
}

// eraseFromEvent removes the person from an event that is owed, unless they consented to
// the connection later. The event is still sent: with the connection and its owner, and
// without the account.
func (s *Service) eraseFromEvent(ctx context.Context, e erasure, key RecordKey) error {
	return s.anonymizeEvent(ctx, key, func(owed owedEvent) bool { return e.precedes(owed.ConsentedAt) })
}

// eraseFromEvents removes the person from the events of c that are owed and that the
// store has under userID.
func (s *Service) eraseFromEvents(ctx context.Context, c Connection, userID string) error {
	keys, err := s.eventsOf(ctx, c.Platform, userID)
	problems := []error{err}
	for _, key := range keys {
		problems = append(problems, s.anonymizeEvent(ctx, key, func(owed owedEvent) bool { return owed.Event.ConnectionID != c.ID }))
	}
	return errors.Join(problems...)
}

// eventsOf returns the keys of the events of a person that are owed.
func (s *Service) eventsOf(ctx context.Context, platform Name, userID string) ([]RecordKey, error) {
	keys, err := s.Store.UserRecords(ctx, platform, userID)
	if err != nil {
		return nil, internal("finding events", err)
	}
	return slices.DeleteFunc(keys, func(key RecordKey) bool { return key.Kind != EventKind }), nil
}

// namePerson makes the events of c that are owed those of its person, whom the platform
// has just named. A failure is logged.
func (s *Service) namePerson(ctx context.Context, c Connection) {
	if remaining(ctx) < StoreBudget {
		return
	}
	keys, err := s.eventsOf(ctx, c.Platform, unnamedPerson(c.ID))
	problems := []error{err}
	for _, key := range keys {
		ticket, owed, err := s.owed(ctx, key)
		if err == nil {
			var named Ticket
			owed.platform, owed.userID = c.Platform, c.UserID
			if named, err = owed.ticket(ticket.DueAt, s.Now()); err == nil {
				err = s.replaceOwed(ctx, ticket, named)
			}
		}
		if !errors.Is(err, ErrNotFound) {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		s.Log.WarnContext(ctx, "naming the person of events", "connection", string(c.ID), "error", err)
	}
}

// anonymizeEvent removes the person from an event that is owed, unless it is to be spared.
func (s *Service) anonymizeEvent(ctx context.Context, key RecordKey, spares func(owedEvent) bool) error {
	ticket, owed, err := s.owed(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || spares(owed) {
		return err
	}
	anonymous, err := owed.anonymous().ticket(ticket.DueAt, s.Now())
	if err != nil {
		return err
	}
	return s.replaceOwed(ctx, ticket, anonymous)
}
