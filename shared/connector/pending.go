package connector

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
)

// pending is a consent whose credentials no connection refers to yet: the body
// of its ticket. It waits to be confirmed or, with a ConnectionID, to get the
// record of that connection. The ticket is written before the credentials and
// deleted after them, so that the sweep finds what a crashed writer left (I12,
// I13):
//
//	{"authorization":{…}, "grants":[{"account_id":…, "account_name":…,
//	 "user_id":…, "warning":…, "verified_at":…}], "began":…,
//	 "confirm_before":…, "connection_id":…, "revoke_after":…, "of_consent":…,
//	 "erased":…}
type pending struct {
	id            string
	Authorization Authorization  `json:"authorization"`
	Grants        []pendingGrant `json:"grants"`
	// Began is when the consent began, or the import.
	Began time.Time `json:"began,omitzero"`
	// ConfirmBefore ends the right to confirm. The previous release knows no
	// ConnectionID, and leaves a ticket alone until then.
	ConfirmBefore time.Time `json:"confirm_before"`
	ConnectionID  ID        `json:"connection_id,omitempty"`
	// RevokeAfter is when the sweep may revoke the grants and delete the
	// credentials.
	RevokeAfter time.Time `json:"revoke_after,omitzero"`
	// OfConsent says that a consent has the same credentials, and revokes them if
	// need be.
	OfConsent bool `json:"of_consent,omitempty"`
	// Erased says that the person asked for a data deletion: only what is left is to
	// be deleted.
	Erased bool `json:"erased,omitempty"`
	// Imported says that the credentials came by an import, and that the person may
	// hold nothing newer: the sweep finishes the import. The previous release does
	// not know it, and deletes the credentials.
	Imported bool `json:"imported,omitempty"`
}

// pendingGrant is a Grant without its credentials.
type pendingGrant struct {
	AccountID   string    `json:"account_id"`
	AccountName string    `json:"account_name,omitempty"`
	UserID      string    `json:"user_id,omitempty"`
	Warning     string    `json:"warning,omitempty"`
	VerifiedAt  time.Time `json:"verified_at,omitzero"`
}

// credentialsKey is the key of the n-th grant's credentials.
func (p pending) credentialsKey(n int) CredentialsKey {
	key := CredentialsKey{
		Kind: OfConsent, ID: p.id + "/" + strconv.Itoa(n),
		Owner: p.Authorization.Owner, Platform: p.Authorization.Platform, AccountID: p.Grants[n].AccountID,
	}
	if p.ConnectionID != "" {
		key.Kind, key.ID = OfConnection, string(p.ConnectionID)
	}
	if provisional(key.AccountID) {
		key.AccountID = ""
	}
	return key
}

// began is when the consent began; zero where that is not known.
func (p pending) began() time.Time {
	if p.Began.IsZero() {
		return p.Authorization.began()
	}
	return p.Began
}

// userID is the person who consented; empty where that is not known. All grants of a
// consent are of one person.
func (p pending) userID() string {
	for _, g := range p.Grants {
		if user := cmp.Or(g.UserID, g.AccountID); !provisional(user) {
			return user
		}
	}
	return ""
}

// anonymous returns what is left of p after an erasure: where credentials may be
// stored late, and nothing of the person.
func (p pending) anonymous(now time.Time) pending {
	return pending{
		id: p.id, Authorization: Authorization{Platform: p.Authorization.Platform},
		Grants:        make([]pendingGrant, len(p.Grants)),
		ConfirmBefore: now, ConnectionID: p.ConnectionID, RevokeAfter: now.Add(lateWriterLife), Erased: true,
	}
}

func (p pending) recordKey() RecordKey { return RecordKey{Kind: PendingKind, ID: p.id} }

// putPending writes the ticket of p. expiresAt is when DynamoDB may delete it.
func (s *Service) putPending(ctx context.Context, p pending, expiresAt time.Time) error {
	ticket, err := p.ticket(expiresAt)
	if err != nil {
		return err
	}
	return s.putTicket(ctx, ticket)
}

// ticket returns the ticket of p.
func (p pending) ticket(expiresAt time.Time) (Ticket, error) {
	ticket, err := newTicket(PendingKind, p.id, expiresAt, p)
	ticket.DueAt = p.RevokeAfter.UTC()
	if ticket.UserID = p.userID(); ticket.UserID != "" {
		ticket.Platform = p.Authorization.Platform
	}
	return ticket, err
}

// lateSecretTicket returns the ticket of a connection that is purged: of
// credentials that a late writer may store, and that no record refers to. It names
// neither the account nor the person.
func (s *Service) lateSecretTicket(c Connection) (Ticket, error) {
	id, err := NewID(s.Random)
	if err != nil {
		return Ticket{}, internal("naming a ticket", err)
	}
	now := s.Now().UTC()
	p := pending{
		id:            string(id),
		Authorization: Authorization{Platform: c.Platform},
		Grants:        []pendingGrant{{}},
		ConfirmBefore: now.Add(pendingLife),
		ConnectionID:  c.ID,
		RevokeAfter:   now.Add(lateWriterLife),
	}
	return p.ticket(now.Add(pendingLife))
}

// recordIntent writes the ticket of a connection whose credentials are stored
// next. The transaction that creates the record deletes the ticket.
// Where the credentials are those of a consent, the consent is continued or
// revoked, and what is stored here is only deleted.
func (s *Service) recordIntent(ctx context.Context, c Connection, ofConsent bool) (RecordKey, error) {
	id, err := NewID(s.Random)
	if err != nil {
		return RecordKey{}, internal("naming a consent", err)
	}
	expiresAt := c.CreatedAt.Add(pendingLife)
	p := pending{
		id:            string(id),
		Authorization: Authorization{Platform: c.Platform, Owner: c.Owner},
		Grants:        []pendingGrant{{AccountID: c.AccountID, UserID: c.UserID}},
		Began:         c.ConsentedAt,
		ConfirmBefore: expiresAt,
		ConnectionID:  c.ID,
		RevokeAfter:   c.CreatedAt.Add(recordWithin),
		OfConsent:     ofConsent,
	}
	return p.recordKey(), s.putPending(ctx, p, expiresAt)
}

// pending returns a pending consent, or ErrNotFound.
func (s *Service) pending(ctx context.Context, key RecordKey) (pending, error) {
	if key.Kind == UnrecordedKind {
		return s.unrecorded(ctx, key)
	}
	p, err := ticketBody[pending](ctx, s, key)
	p.id = key.ID
	if p.RevokeAfter.IsZero() {
		p.RevokeAfter = p.ConfirmBefore.Add(confirmationSlack)
	}
	return p, err
}

// unrecorded reads a ticket in the form of the previous release:
//
//	{"connection_id":…, "platform":…, "account_id":…, "user_id":…, "since":…}
func (s *Service) unrecorded(ctx context.Context, key RecordKey) (pending, error) {
	body, err := ticketBody[struct {
		ConnectionID ID        `json:"connection_id"`
		Platform     Name      `json:"platform"`
		AccountID    string    `json:"account_id"`
		UserID       string    `json:"user_id"`
		Since        time.Time `json:"since"`
	}](ctx, s, key)
	return pending{
		id:            key.ID,
		Authorization: Authorization{Platform: body.Platform},
		Grants:        []pendingGrant{{AccountID: body.AccountID, UserID: body.UserID}},
		ConnectionID:  body.ConnectionID,
		RevokeAfter:   body.Since,
	}, err
}

// loadPending returns those grants of a pending consent whose credentials are
// stored.
func (s *Service) loadPending(ctx context.Context, p pending) ([]Grant, error) {
	var grants []Grant
	for n, g := range p.Grants {
		creds, _, err := s.CredentialStore.Latest(ctx, p.credentialsKey(n), CredentialsRef{})
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, internal("reading a pending consent", err)
		}
		grants = append(grants, Grant{Account: Account{ID: g.AccountID, Name: g.AccountName}, UserID: g.UserID, Credentials: creds, ConsentedAt: p.began(), Warning: g.Warning, VerifiedAt: g.VerifiedAt})
	}
	return grants, nil
}

// deletePending deletes the credentials of a pending consent and, last, its
// ticket.
func (s *Service) deletePending(ctx context.Context, p pending, ticket RecordKey) error {
	if err := s.deletePendingCredentials(ctx, p); err != nil {
		return err
	}
	return s.dropTicket(ctx, ticket)
}

func (s *Service) deletePendingCredentials(ctx context.Context, p pending) error {
	for n := range p.Grants {
		if err := s.CredentialStore.Delete(ctx, p.credentialsKey(n), CredentialsRef{}, true); err != nil {
			return internal("deleting a pending consent", err)
		}
	}
	return nil
}

// endPending revokes and deletes a consent that was not confirmed in time, or
// credentials that got no record. A platform that cannot be reached is tried
// again, for a day; then the credentials are deleted without it. Credentials
// whose record exists lose only the ticket. A consent that was confirmed has
// connections, so that only its pending credentials are deleted.
func (s *Service) endPending(ctx context.Context, key RecordKey) (DueResult, error) {
	p, err := s.pending(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return Gone, nil
	}
	if err != nil {
		return Failed, err
	}
	if s.Now().Before(p.RevokeAfter) {
		return NotDue, nil
	}
	result := Expired
	if p.ConnectionID != "" {
		result = Gone
		_, err := s.Store.Connection(ctx, p.ConnectionID)
		if err == nil {
			return Gone, s.dropTicket(ctx, key)
		}
		if !errors.Is(err, ErrNotFound) {
			return Failed, internal("reading a connection", err)
		}
		if p.Imported && !p.Erased {
			return s.endImport(ctx, p)
		}
	}
	err = s.revokePending(ctx, p)
	if err != nil && s.Now().Before(p.RevokeAfter.Add(revokePendingFor)) {
		s.Log.WarnContext(ctx, "revoking a pending consent, to be tried again", "platform", string(p.Authorization.Platform), "error", err)
		return Failed, nil
	}
	if err := s.deletePending(ctx, p, key); err != nil {
		return Failed, err
	}
	return result, nil
}

// revokePending revokes what a person consented to. Imported credentials are
// not revoked: the importer still has them. An error says that it may
// succeed later.
func (s *Service) revokePending(ctx context.Context, pending pending) error {
	if pending.OfConsent {
		return nil
	}
	grants, err := s.loadPending(ctx, pending)
	if err != nil {
		return err
	}
	p, err := s.platform(pending.Authorization.Platform)
	if err != nil {
		return err
	}
	app, err := s.app(ctx, pending.Authorization.Platform)
	if err != nil {
		return err
	}
	consented := slices.DeleteFunc(grants, func(g Grant) bool { return g.Credentials.ClientID == "" })
	for _, g := range onePerPerson(consented) {
		err := s.revokeGrant(ctx, p, app, g)
		if retryable(err) {
			return err
		}
		if err != nil {
			s.Log.WarnContext(ctx, "revoking a pending consent", "platform", string(p.Describe().Name), "error", err)
		}
	}
	return nil
}

// retryable reports whether the same call may succeed later.
func retryable(err error) bool {
	e := AsError(err)
	return e != nil && (e.Code == Internal || e.Code.TryLater())
}

// confirmPending confirms a pending consent of the previous release.
func (s *Service) confirmPending(ctx context.Context, token Secret, owner string) ([]Connection, error) {
	ticket, err := s.Store.TakeTicket(ctx, RecordKey{Kind: ConfirmationKind, ID: hash(token)}, ownerHash(owner), s.Now())
	if errors.Is(err, ErrNotFound) {
		return nil, errNothingToConfirm()
	}
	if err != nil {
		return nil, internal("taking a confirmation", err)
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	connections, err := s.savePending(ctx, ticket)
	if retryable(err) {
		if putErr := s.putTicket(ctx, ticket); putErr != nil {
			s.Log.WarnContext(ctx, "storing a confirmation again", "error", putErr)
		}
	}
	return connections, err
}

// savePending saves the grants of a pending consent of the previous release, which
// stored the credentials of each, and records them with the link.
func (s *Service) savePending(ctx context.Context, ticket Ticket) ([]Connection, error) {
	var named confirmation
	if err := decodeBody(ticket, &named); err != nil {
		return nil, err
	}
	waiting, err := s.pending(ctx, RecordKey{Kind: PendingKind, ID: named.Pending})
	if errors.Is(err, ErrNotFound) {
		return nil, errNothingToConfirm()
	}
	if err != nil {
		return nil, err
	}
	grants, err := s.grantsToConfirm(ctx, waiting)
	if err != nil {
		return nil, err
	}
	p, err := s.platform(waiting.Authorization.Platform)
	if err != nil {
		return nil, err
	}
	err = s.changeLink(ctx, waiting.Authorization.Link, func(l *linkStatus, _ *Change) error {
		if l.Phase == linkEnded {
			return errNothingToConfirm()
		}
		l.By = waiting.id
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	target, selected, err := s.selectGrants(ctx, waiting.Authorization, grants)
	if err != nil {
		return nil, err
	}
	to := destination{owner: waiting.Authorization.Owner, requested: waiting.Authorization.Scopes, target: target}
	var saved []Connection
	for _, g := range selected {
		c, err := s.saveGrant(ctx, p, g, to)
		if err != nil {
			return nil, err
		}
		saved = append(saved, c)
	}
	ids := make([]ID, len(saved))
	for i, c := range saved {
		ids[i] = c.ID
	}
	pages, err := s.putPages(ctx, waiting.Authorization.Link, ids, 0)
	if err == nil {
		err = s.changeLink(ctx, waiting.Authorization.Link, func(l *linkStatus, change *Change) error {
			change.Overwrite = pages
			return l.recordSaved(waiting.id, len(saved), nil)
		})
	}
	if err != nil {
		s.Log.WarnContext(ctx, "recording what became of a link", "error", err)
	}
	if err := s.deletePending(ctx, waiting, waiting.recordKey()); err != nil {
		s.Log.WarnContext(ctx, "deleting a confirmed consent", "error", err)
	}
	return saved, nil
}

// grantsToConfirm returns the grants of a pending consent, with all of their
// credentials. It revokes and deletes those of a person who asked for an erasure after
// the consent began.
func (s *Service) grantsToConfirm(ctx context.Context, waiting pending) ([]Grant, error) {
	grants, err := s.loadPending(ctx, waiting)
	if err != nil {
		return nil, err
	}
	if waiting.Erased || len(grants) < len(waiting.Grants) {
		return nil, errNothingToConfirm()
	}
	err = s.checkErased(ctx, waiting.Authorization.Platform, grants)
	if errors.Is(err, AccessDenied) {
		s.endErased(ctx, waiting)
		return nil, errNothingToConfirm()
	}
	return grants, err
}

// endErased revokes and deletes a pending consent. Where the platform cannot be
// reached, the sweep does it.
func (s *Service) endErased(ctx context.Context, waiting pending) {
	err := s.revokePending(ctx, waiting)
	if err == nil {
		err = s.deletePending(ctx, waiting, waiting.recordKey())
	}
	if err != nil {
		s.Log.WarnContext(ctx, "ending a consent after an erasure, to be tried again", "platform", string(waiting.Authorization.Platform), "error", err)
	}
}
