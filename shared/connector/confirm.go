package connector

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

const (
	// confirmationLife is how long a consent waits to be confirmed.
	confirmationLife = 10 * time.Minute
	// confirmationSlack is how much later it may be ended: longer than a
	// Confirm that came in time can take.
	confirmationSlack = time.Minute
	// revokePendingFor is how long it is tried to revoke what nobody confirmed.
	revokePendingFor = 24 * time.Hour
	// pendingLife is how long a consent that was not confirmed is known at most.
	pendingLife = 7 * 24 * time.Hour
)

// pending is a consent that waits to be confirmed: the body of its ticket. The
// credentials are in the vault, the n-th under "pending/<id>/<n>":
//
//	{"authorization":{…}, "grants":[{"account_id":…, "account_name":…,
//	 "user_id":…, "warning":…, "verified_at":…}], "confirm_before":…}
type pending struct {
	Authorization Authorization  `json:"authorization"`
	Grants        []pendingGrant `json:"grants"`
	ConfirmBefore time.Time      `json:"confirm_before"`
}

// pendingGrant is a Grant without its credentials.
type pendingGrant struct {
	AccountID   string    `json:"account_id"`
	AccountName string    `json:"account_name,omitempty"`
	UserID      string    `json:"user_id,omitempty"`
	Warning     string    `json:"warning,omitempty"`
	VerifiedAt  time.Time `json:"verified_at,omitzero"`
}

// confirmed is what a confirmation stands for: the body of its ticket.
type confirmed struct {
	Pending ID `json:"pending"`
}

func pendingName(id ID, n int) string { return "pending/" + string(id) + "/" + strconv.Itoa(n) }

// holdGrants keeps what a consent yielded until it is confirmed, spends the
// link, and returns the confirmation. Nothing is connected yet.
func (s *Service) holdGrants(ctx context.Context, p Platform, app App, a Authorization, grants []Grant) (Secret, error) {
	_, fit, err := s.fitting(ctx, a, grants)
	var id ID
	if err == nil {
		id, err = s.putPending(ctx, a, fit)
	}
	if err != nil {
		s.giveBack(ctx, p, app, grants)
		return Secret{}, err
	}
	// What fails from here on leaves the grants to the sweep. To revoke them
	// at once could end what another consent of the same person waits for.
	if err := s.spendLink(ctx, a); err != nil {
		return Secret{}, err
	}
	confirmation, err := randomToken(s.Random)
	if err != nil {
		return Secret{}, internal("making a confirmation", err)
	}
	err = s.putTicket(ctx, Ticket{
		Kind: ConfirmationTicket, Hash: hash(confirmation), Bound: ownerMark(a.Owner), ExpiresAt: s.Now().Add(confirmationLife).UTC(),
	}, confirmed{Pending: id})
	return confirmation, err
}

// ownerMark is what a confirmation is bound to.
func ownerMark(owner string) string { return hash(NewSecret(owner)) }

// putPending stores grants outside of any connection. The ticket, by which the
// sweep finds them, comes before the secrets, so that none can be forgotten.
func (s *Service) putPending(ctx context.Context, a Authorization, grants []Grant) (ID, error) {
	id, err := NewID(s.Random)
	if err != nil {
		return "", internal("naming a consent", err)
	}
	now := s.Now().UTC()
	waiting := pending{Authorization: a, ConfirmBefore: now.Add(confirmationLife)}
	for _, g := range grants {
		waiting.Grants = append(waiting.Grants, pendingGrant{AccountID: g.Account.ID, AccountName: g.Account.Name, UserID: g.UserID, Warning: g.Warning, VerifiedAt: g.VerifiedAt})
	}
	err = s.putTicket(ctx, Ticket{
		Kind: PendingTicket, Hash: string(id), ExpiresAt: now.Add(pendingLife),
		DueAt: waiting.ConfirmBefore.Add(confirmationSlack),
	}, waiting)
	if err != nil {
		return "", err
	}
	for n, g := range grants {
		value, err := g.Credentials.encode()
		if err != nil {
			return "", internal("holding a consent", err)
		}
		if _, err := s.Vault.Put(ctx, pendingName(id, n), value); err != nil {
			return "", internal("holding a consent", err)
		}
	}
	return id, nil
}

// Confirm makes connections of a consent whose link asked for confirmation,
// once the operator's backend knows that the person who is logged in there is
// the owner's. A confirmation works once, for its owner, within ten minutes;
// only where the connector itself failed it can be shown again.
//
// It fails with ConnectionNotFound for a confirmation that is unknown, used,
// too late or another owner's, without telling which; and, for a
// re-authorization, where its connection is gone.
func (s *Service) Confirm(ctx context.Context, confirmation Secret, owner string) ([]Connection, error) {
	if confirmation.Empty() {
		return nil, Invalid("confirmation", "missing")
	}
	if err := checkOwner(owner); err != nil {
		return nil, err
	}
	if !wellFormedToken(confirmation) || !mayActFor(ctx, owner) {
		return nil, errNothingToConfirm()
	}
	ticket, err := s.Store.TakeTicket(ctx, ConfirmationTicket, hash(confirmation), ownerMark(owner), s.Now())
	if errors.Is(err, ErrNotFound) {
		return nil, errNothingToConfirm()
	}
	if err != nil {
		return nil, internal("taking a confirmation", err)
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	connections, err := s.confirm(ctx, ticket)
	if goesBetterLater(err) {
		if putErr := s.Store.PutTicket(ctx, ticket); putErr != nil {
			s.Log.WarnContext(ctx, "putting a confirmation back", "error", putErr)
		}
	}
	return connections, err
}

// confirm stores what the taken confirmation stands for.
func (s *Service) confirm(ctx context.Context, ticket Ticket) ([]Connection, error) {
	var of confirmed
	if err := json.Unmarshal(ticket.Body, &of); err != nil {
		return nil, internal("decoding a confirmation", err)
	}
	waiting, err := s.pending(ctx, of.Pending)
	if errors.Is(err, ErrNotFound) {
		return nil, errNothingToConfirm()
	}
	if err != nil {
		return nil, err
	}
	grants, err := s.heldGrants(ctx, of.Pending, waiting)
	if err != nil {
		return nil, err
	}
	if len(grants) < len(waiting.Grants) {
		return nil, errNothingToConfirm()
	}
	p, err := s.platform(waiting.Authorization.Platform)
	if err != nil {
		return nil, err
	}
	target, grants, err := s.fitting(ctx, waiting.Authorization, grants)
	if err != nil {
		return nil, err
	}
	connections, err := s.storeGrants(ctx, p, waiting.Authorization, grants, target)
	if err != nil {
		return nil, err
	}
	if err := s.forgetPending(ctx, of.Pending, waiting); err != nil {
		s.Log.WarnContext(ctx, "forgetting a confirmed consent", "error", err)
	}
	return connections, nil
}

func errNothingToConfirm() error {
	return &Error{Code: ConnectionNotFound, Message: "nothing to confirm: the confirmation is unknown, used, expired or of another owner; mint a new link"}
}

// pending returns a consent that waits, or ErrNotFound.
func (s *Service) pending(ctx context.Context, id ID) (pending, error) {
	ticket, err := s.Store.Ticket(ctx, PendingTicket, string(id), s.Now())
	if errors.Is(err, ErrNotFound) {
		return pending{}, err
	}
	if err != nil {
		return pending{}, internal("reading a consent", err)
	}
	var waiting pending
	if err := json.Unmarshal(ticket.Body, &waiting); err != nil {
		return pending{}, internal("decoding a consent", err)
	}
	return waiting, nil
}

// heldGrants returns those grants of a consent that are in the vault.
func (s *Service) heldGrants(ctx context.Context, id ID, waiting pending) ([]Grant, error) {
	var grants []Grant
	for n, g := range waiting.Grants {
		value, _, err := s.Vault.Get(ctx, pendingName(id, n), "")
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, internal("reading what waits to be confirmed", err)
		}
		creds, err := decodeCredentials(value)
		if err != nil {
			return nil, internal("reading what waits to be confirmed", err)
		}
		grants = append(grants, Grant{Account: Account{ID: g.AccountID, Name: g.AccountName}, UserID: g.UserID, Credentials: creds, Warning: g.Warning, VerifiedAt: g.VerifiedAt})
	}
	return grants, nil
}

// forgetPending deletes the secrets of a consent and, last, its ticket.
func (s *Service) forgetPending(ctx context.Context, id ID, waiting pending) error {
	for n := range waiting.Grants {
		if err := s.Vault.Delete(ctx, pendingName(id, n), true); err != nil {
			return internal("deleting what waited to be confirmed", err)
		}
	}
	return s.dropTicket(ctx, PendingTicket, id)
}

// endPending revokes and deletes a consent that nobody confirmed in time. A
// platform that cannot be reached is tried again, for a day; by then the
// secret is deleted all the same. What was confirmed and not forgotten is
// forgotten here: its connections keep it from being revoked.
func (s *Service) endPending(ctx context.Context, id ID) (Outcome, error) {
	waiting, err := s.pending(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return s.endUnrecorded(ctx, id)
	}
	if err != nil {
		return Failed, err
	}
	ended := waiting.ConfirmBefore.Add(confirmationSlack)
	if s.Now().Before(ended) {
		return NotDue, nil
	}
	grants, err := s.heldGrants(ctx, id, waiting)
	if err != nil {
		return Failed, err
	}
	err = s.revokeHeld(ctx, waiting.Authorization.Platform, grants)
	if err != nil && s.Now().Before(ended.Add(revokePendingFor)) {
		s.Log.WarnContext(ctx, "revoking what was not confirmed, to be tried again", "platform", string(waiting.Authorization.Platform), "error", err)
		return Failed, nil
	}
	if err := s.forgetPending(ctx, id, waiting); err != nil {
		return Failed, err
	}
	return Expired, nil
}

// goesBetterLater reports whether the same may succeed another time.
func goesBetterLater(err error) bool {
	e := AsError(err)
	return e != nil && (e.Code == Internal || e.Code.TryLater())
}

// revokeHeld revokes grants. Its error says that it may go better later.
func (s *Service) revokeHeld(ctx context.Context, name Name, grants []Grant) error {
	p, err := s.platform(name)
	if err != nil {
		return err
	}
	app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	for _, g := range grants {
		err := s.giveOneBack(ctx, p, app, g)
		if goesBetterLater(err) {
			return err
		}
		if err != nil {
			s.Log.WarnContext(ctx, "revoking what was not confirmed", "platform", string(name), "error", err)
		}
	}
	return nil
}
