package connector

import (
	"context"
	"errors"
)

// confirmation is what the right to confirm stands for: the body of its ticket.
type confirmation struct {
	Consent string `json:"consent,omitempty"` // its id
	// Pending is the id of a pending consent of the previous release.
	Pending string `json:"pending,omitempty"`
}

// ownerHash is what a confirmation is bound to.
func ownerHash(owner string) string { return hash(NewSecret(owner)) }

// Confirm creates the connections of a consent whose link asked for
// confirmation, once the operator's backend knows that the person who is logged
// in there acts for the owner. A confirmation works once, for its owner, within
// ten minutes; only where the connector or the platform failed can it be sent
// again. The sweep then completes the consent by itself, too. With ids of accounts,
// Confirm connects only these. Each must be one that the person gave access to and, if
// the link has a choice, that the person chose.
//
// It fails with ConnectionNotFound for a confirmation that is unknown, used,
// too late or another owner's, without telling which; and, for a
// re-authorization, if its connection is gone. It fails with InvalidRequest if an id is
// not that of such an account. The confirmation then stays good.
func (s *Service) Confirm(ctx context.Context, token Secret, owner string, accounts ...string) (Saved, error) {
	c, err := s.consentToConfirm(ctx, token, owner)
	if errors.Is(err, ErrNotFound) {
		if len(accounts) > 0 {
			return Saved{}, errNothingToConfirm() // the previous release knew no choice
		}
		connections, err := s.confirmPending(ctx, token, owner)
		return Saved{Connections: connections, Connected: len(connections), Accounts: len(connections)}, err
	}
	if err != nil {
		return Saved{}, err
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	err = c.confirm(ctx, accounts)
	switch {
	case errors.Is(err, errLate), errors.Is(err, LinkGone), errors.Is(err, AccessDenied) && AsError(err).Reason == reasonDataDeletion:
		return Saved{}, errNothingToConfirm()
	case err != nil:
		return Saved{}, err
	}
	return c.savedResult(), nil
}

// Confirmable returns the accounts that Confirm would connect, and spends nothing. It
// fails as Confirm does.
func (s *Service) Confirmable(ctx context.Context, token Secret, owner string) ([]AccountChoice, error) {
	c, err := s.consentToConfirm(ctx, token, owner)
	if errors.Is(err, ErrNotFound) || err == nil && (c.record.Phase != consentWaiting || !s.Now().Before(c.record.ConfirmBefore)) {
		return nil, errNothingToConfirm()
	}
	if err != nil {
		return nil, err
	}
	return c.choices(ctx)
}

// consentToConfirm returns the consent of a confirmation. ErrNotFound: there is no
// such confirmation.
func (s *Service) consentToConfirm(ctx context.Context, token Secret, owner string) (*consent, error) {
	if token.Empty() {
		return nil, Invalid("confirmation", "missing")
	}
	if err := checkOwner(owner); err != nil {
		return nil, err
	}
	if !wellFormedToken(token) || !mayActFor(ctx, owner) {
		return nil, errNothingToConfirm()
	}
	ticket, err := s.Store.Ticket(ctx, RecordKey{Kind: ConsentConfirmationKind, ID: hash(token)}, s.Now())
	if errors.Is(err, ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, internal("reading a confirmation", err)
	}
	var named confirmation
	if err := decodeBody(ticket, &named); err != nil {
		return nil, err
	}
	if ticket.Bound != ownerHash(owner) {
		return nil, errNothingToConfirm()
	}
	c, err := s.readConsent(ctx, named.Consent)
	if errors.Is(err, ErrNotFound) || err == nil && c.record.Owner != owner {
		return nil, errNothingToConfirm()
	}
	return c, err
}

// confirm saves the grants of a consent that waits, or that a Confirm before could
// not save: those of the accounts with these ids, or all. errLate: there is nothing to
// confirm.
func (c *consent) confirm(ctx context.Context, accounts []string) error {
	now := c.Now()
	switch {
	case !now.Before(c.record.ConfirmBefore):
		return errLate
	case c.record.Phase == consentRedeemed && c.record.Confirmed && !now.Before(c.record.Until):
		return c.resume(ctx)
	case c.record.Phase != consentWaiting:
		return errLate
	}
	if len(accounts) > 0 {
		if err := c.selectByID(ctx, "account_ids", accounts); err != nil {
			return err
		}
	}
	held, err := c.held(ctx, c.record)
	if err != nil {
		return err
	}
	held.Phase, held.Confirmed = consentRedeemed, true
	if err = c.readLink(ctx); err == nil {
		err = c.writeWithLink(ctx, Change{}, func(next *consentRecord, l *linkStatus) {
			*next = held
			l.Phase, l.Until, l.Accounts, l.Saved = linkSpent, now.Add(linkSaving).UTC(), held.Accounts, 0
		})
	}
	if err != nil {
		return err // the sweep revokes what was granted
	}
	if err := c.openRedeemed(ctx); err != nil {
		return c.postpone(ctx, err)
	}
	return c.complete(ctx)
}

func errNothingToConfirm() error {
	return &Error{Code: ConnectionNotFound, Message: "nothing to confirm: the confirmation is unknown, used, expired or of another owner; mint a new link"}
}
