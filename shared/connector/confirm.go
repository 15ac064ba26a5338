package connector

import (
	"context"
	"errors"
)

// confirmation is what the right to confirm stands for: the body of its ticket.
type confirmation struct {
	Pending string `json:"pending"` // the id of the pending consent
}

// awaitConfirmation stores what a consent yielded until it is confirmed, spends
// the link, and returns the confirmation. Nothing is connected yet (I12).
func (c *consent) awaitConfirmation(ctx context.Context, grants []Grant) (Secret, error) {
	target, selected, err := c.selectGrants(ctx, c.authorization, grants)
	var reserved charge
	if err == nil {
		err = c.checkLink(ctx, c.authorization)
	}
	if errors.Is(err, LinkGone) {
		c.deferRevocation(ctx, grants)
		return Secret{}, err
	}
	if err == nil {
		reserved, err = c.spendAccounts(ctx, c.authorization.Platform, selected, c.destination(target))
	}
	var waiting pending
	if err == nil {
		waiting, err = c.storePending(ctx, c.authorization, selected)
	}
	if err != nil {
		c.refundUnused(ctx, reserved, nil)
		c.revokeUnused(ctx, grants)
		return Secret{}, err
	}
	// A failure from here on leaves the grants to the sweep. Revoking them at
	// once could end another pending consent of the same person.
	token, err := randomToken(c.Random)
	if err != nil {
		return Secret{}, internal("making a confirmation", err)
	}
	ticket, err := newTicket(ConfirmationKind, hash(token), waiting.ConfirmBefore, confirmation{Pending: waiting.id})
	if err != nil {
		return Secret{}, err
	}
	ticket.Bound = ownerHash(c.authorization.Owner)
	err = c.spendLink(ctx, c.authorization, func(l *linkStatus, change *Change) {
		l.Phase, l.Until, l.Accounts, l.Confirmation = linkConfirming, waiting.ConfirmBefore, len(selected), ticket.ID
		change.Put = append(change.Put, ticket)
	})
	if err != nil {
		c.refundUnused(ctx, reserved, nil)
		return Secret{}, err
	}
	return token, nil
}

// ownerHash is what a confirmation is bound to.
func ownerHash(owner string) string { return hash(NewSecret(owner)) }

// Confirm creates the connections of a consent whose link asked for
// confirmation, once the operator's backend knows that the person who is logged
// in there acts for the owner. A confirmation works once, for its owner, within
// ten minutes; only where the connector itself failed can it be sent again.
//
// It fails with ConnectionNotFound for a confirmation that is unknown, used,
// too late or another owner's, without telling which; and, for a
// re-authorization, where its connection is gone.
func (s *Service) Confirm(ctx context.Context, token Secret, owner string) ([]Connection, error) {
	if token.Empty() {
		return nil, Invalid("confirmation", "missing")
	}
	if err := checkOwner(owner); err != nil {
		return nil, err
	}
	if !wellFormedToken(token) || !mayActFor(ctx, owner) {
		return nil, errNothingToConfirm()
	}
	key := RecordKey{Kind: ConfirmationKind, ID: hash(token)}
	ticket, err := s.Store.TakeTicket(ctx, key, ownerHash(owner), s.Now())
	if errors.Is(err, ErrNotFound) {
		return nil, errNothingToConfirm()
	}
	if err != nil {
		return nil, internal("taking a confirmation", err)
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	connections, err := s.confirm(ctx, ticket)
	if retryable(err) {
		if putErr := s.putTicket(ctx, ticket); putErr != nil {
			s.Log.WarnContext(ctx, "storing a confirmation again", "error", putErr)
		}
	}
	return connections, err
}

// confirm saves the grants of the pending consent.
func (s *Service) confirm(ctx context.Context, ticket Ticket) ([]Connection, error) {
	var taken confirmation
	if err := decodeBody(ticket, &taken); err != nil {
		return nil, err
	}
	waiting, err := s.pending(ctx, RecordKey{Kind: PendingKind, ID: taken.Pending})
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
	c := &consent{Service: s, name: waiting.id, platform: p, authorization: waiting.Authorization}
	connections, err := c.saveConfirmed(ctx, waiting, grants)
	if err != nil {
		return nil, err
	}
	if err := s.deletePending(ctx, waiting, waiting.recordKey()); err != nil {
		s.Log.WarnContext(ctx, "deleting a confirmed consent", "error", err)
	}
	return connections, nil
}

// saveConfirmed saves the grants of a pending consent, and records it with the
// link.
func (c *consent) saveConfirmed(ctx context.Context, waiting pending, grants []Grant) ([]Connection, error) {
	if err := c.beginConfirming(ctx); err != nil {
		return nil, err
	}
	target, grants, err := c.selectGrants(ctx, c.authorization, grants)
	var saved []Connection
	if err == nil {
		saved, err = c.saveInTime(ctx, grants, c.destination(target))
	}
	recorded := saved
	if retryable(err) {
		recorded = nil // another Confirm saves them all again
	}
	c.finishLink(ctx, recorded, err, func(l *linkStatus, _ *Change) error {
		switch {
		case l.Ended:
			l.Phase = linkEnded
		case retryable(err):
			l.Phase, l.Until, l.Accounts = linkConfirming, waiting.ConfirmBefore, len(waiting.Grants)
		default:
			l.Phase = linkFailed
		}
		return nil
	})
	return saved, err
}

// beginConfirming records that the consent is being saved, unless EndLink was
// called. The previous release records nothing of its links.
func (c *consent) beginConfirming(ctx context.Context) error {
	err := c.changeLink(ctx, c.authorization.Link, c.Now(), func(l *linkStatus, change *Change) error {
		if l.Phase == linkEnded || l.Ended {
			return errNothingToConfirm()
		}
		c.savedBy(c.name)(l, change)
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
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

func errNothingToConfirm() error {
	return &Error{Code: ConnectionNotFound, Message: "nothing to confirm: the confirmation is unknown, used, expired or of another owner; mint a new link"}
}
