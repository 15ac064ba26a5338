package connector

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// unrecorded is a secret that is about to get its record: the body of the
// ticket by which the sweep finds it, should its writer die in between.
type unrecorded struct {
	ConnectionID ID        `json:"connection_id"`
	Platform     Name      `json:"platform"`
	AccountID    string    `json:"account_id"`
	UserID       string    `json:"user_id,omitempty"`
	Since        time.Time `json:"since"`
}

// recordedWithin is how long the writing of a new connection may take before
// the sweep looks whether there is one.
const recordedWithin = time.Minute

// announce writes the ticket of a secret that comes next, and returns its name.
func (s *Service) announce(ctx context.Context, c Connection, g Grant) (ID, error) {
	ticket, err := NewID(s.Random)
	if err != nil {
		return "", internal("announcing a connection", err)
	}
	err = s.putTicket(ctx, Ticket{
		Kind: UnrecordedTicket, Hash: string(ticket),
		ExpiresAt: c.CreatedAt.Add(pendingLife), DueAt: c.CreatedAt.Add(recordedWithin),
	}, unrecorded{ConnectionID: c.ID, Platform: c.Platform, AccountID: g.Account.ID, UserID: g.UserID, Since: c.CreatedAt})
	return ticket, err
}

// endUnrecorded looks after a secret whose writer did not say that it has its
// record. Without one it is nobody's: what was consented to is revoked, as
// what nobody confirmed is, and the secret deleted.
func (s *Service) endUnrecorded(ctx context.Context, ticket ID) (Outcome, error) {
	kept, err := s.Store.Ticket(ctx, UnrecordedTicket, string(ticket), s.Now())
	if errors.Is(err, ErrNotFound) {
		return Gone, nil
	}
	if err != nil {
		return Failed, internal("reading an announcement", err)
	}
	var left unrecorded
	if err := json.Unmarshal(kept.Body, &left); err != nil {
		return Failed, internal("decoding an announcement", err)
	}
	_, err = s.Store.Connection(ctx, left.ConnectionID)
	switch {
	case err == nil:
		return Gone, s.dropTicket(ctx, UnrecordedTicket, ticket)
	case !errors.Is(err, ErrNotFound):
		return Failed, internal("reading a connection", err)
	}
	err = s.revokeUnrecorded(ctx, left)
	if err != nil && s.Now().Before(left.Since.Add(revokePendingFor)) {
		s.Log.WarnContext(ctx, "revoking what has no record, to be tried again", "platform", string(left.Platform), "error", err)
		return Failed, nil
	}
	if err := s.Vault.Delete(ctx, credentialsName(left.ConnectionID), true); err != nil {
		return Failed, internal("deleting credentials without a record", err)
	}
	return Gone, s.dropTicket(ctx, UnrecordedTicket, ticket)
}

// revokeUnrecorded revokes what a person consented to. What was imported is
// left alone: who brought it still has it. Its error says that it may go better
// later.
func (s *Service) revokeUnrecorded(ctx context.Context, left unrecorded) error {
	value, _, err := s.Vault.Get(ctx, credentialsName(left.ConnectionID), "")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	creds, err := opened(value, err)
	if err != nil || creds.ClientID == "" {
		return err
	}
	return s.revokeHeld(ctx, left.Platform, []Grant{{
		Account: Account{ID: left.AccountID}, UserID: left.UserID, Credentials: creds,
	}})
}
