package connector

import (
	"context"
	"errors"
)

// This file holds the check that renewed tokens belong to the account of their
// connection. The access token and the refresh token of an import may belong to two
// accounts. Only the first exchange shows the account of the refresh token.
//
// The renewed credentials are stored first, and the record refers to them: a grant
// is never lost over this check. AccountOwed is stored with them, so that no
// crash and no write to the table can skip the check. Until the platform has named
// the account, Token hands out nothing in the name of a known account.

// accountOwed reports whether the platform must name the account of creds before
// they are used for the account of c. A connection without a known account claims
// none.
func (c Connection) accountOwed(creds Credentials) bool {
	return creds.AccountOwed && !c.accountUnknown()
}

// accountChanged reports whether the platform named another account for creds than
// that of c.
func (c Connection) accountChanged(creds Credentials) bool {
	return creds.AccountID != "" && !c.accountUnknown() && creds.AccountID != c.AccountID
}

// checkAccount returns the error of credentials that must not be used for the
// account of c.
func (c Connection) checkAccount(creds Credentials) error {
	switch {
	case c.accountChanged(creds):
		return errReauth(ReasonAccountChanged)
	case c.accountOwed(creds):
		return errAccountUnconfirmed(nil)
	}
	return nil
}

func errAccountUnconfirmed(cause *Error) *Error {
	e := &Error{Code: PlatformUnavailable, Reason: reasonAccountUnconfirmed, Message: "the platform has not confirmed the account of the renewed token yet: try again"}
	if cause != nil {
		e.RetryAfter, e.Err = cause.RetryAfter, cause
	}
	return e
}

// markAccountChanged marks c, which has the tokens of another account.
func (c *Connection) markAccountChanged() {
	c.Status, c.StatusReason = NeedsReauth, ReasonAccountChanged
}

// logAccountChanged tells the operator that c was marked.
func (s *Service) logAccountChanged(ctx context.Context, c Connection) {
	s.Log.ErrorContext(ctx, "a refresh returned the tokens of another account", "connection", string(c.ID), "platform", string(c.Platform))
}

// onlyConfirms reports whether the attempt is only to ask the platform for the
// account of the credentials, since they need no renewal.
func (a *attempt) onlyConfirms() bool {
	now := a.Now()
	switch {
	case !a.connection.accountOwed(a.credentials), !a.connection.alive(now):
		return false
	case a.freshness.due:
		return now.Before(a.refreshAt(a.platform.Describe().Cadence, a.credentials))
	}
	return a.freshness.newerThan > 0 && !a.freshness.satisfiedBy(a.connection, now)
}

// askAccount asks the platform for the account of the credentials. It is
// AccountMismatch if they are those of another account.
func (a *attempt) askAccount(ctx context.Context) error {
	v, err := a.verifyWith(ctx, a.platform, a.app, a.credentials)
	switch {
	case errors.Is(err, AccessDenied) && !AsError(err).AccountRefused: // the tokens work, and belong to no account of the platform
		return &Error{Code: AccountMismatch, Message: "the renewed tokens are those of another account", Err: err}
	case err != nil:
		return internal("verifying", err)
	case v.Account.ID == "":
		return &Error{Code: PlatformUnavailable, Message: "the platform did not name the account"}
	case !a.connection.acceptsAccount(v.Account):
		return &Error{Code: AccountMismatch, Message: "the renewed tokens are those of another account"}
	}
	a.account, a.userID = v.Account, v.UserID
	return nil
}

// confirmAccount asks for the account of renewed credentials, to which the record
// refers already. The attempt still has the lease.
func (a *attempt) confirmAccount(ctx context.Context, committed Connection) (Connection, error) {
	a.connection, a.credentials, a.previous = committed, a.renewed, Attempt{}
	if insufficientTime(ctx) {
		return a.recordAccount(ctx, errInsufficientTime())
	}
	return a.recordAccount(ctx, a.askAccount(ctx))
}

// recordAccount records the outcome of askAccount, and releases the lease.
func (a *attempt) recordAccount(ctx context.Context, err error) (Connection, error) {
	switch {
	case err == nil:
		return a.storeConfirmed(ctx)
	case errors.Is(err, AccountMismatch):
		return a.recordAccountChanged(ctx, err)
	case a.connection.accountUnknown():
		a.Log.WarnContext(ctx, "asking for the account of imported credentials", "connection", string(a.connection.ID), "error", err)
		return a.abort(ctx, nil)
	}
	return a.recordFailure(ctx, outcomeTransient, errAccountUnconfirmed(AsError(err)))
}

// storeConfirmed stores the credentials with the account that the platform named.
func (a *attempt) storeConfirmed(ctx context.Context) (Connection, error) {
	c, confirmed := a.connection, a.credentials
	confirmed.AccountID, confirmed.AccountOwed = a.account.ID, false
	confirmed.Generation++
	ref, err := a.putLiving(ctx, c, c.Credentials, confirmed)
	if errors.Is(err, ConnectionNotFound) {
		return a.record(ctx, outcomeLate, err)
	}
	if err != nil {
		return c, err
	}
	committed, err := a.commitCredentials(ctx, c, confirmed, ref, func(c *Connection) error {
		if c.Credentials.Generation >= ref.Generation {
			return errLate
		}
		a.applyCredentials(c, a.platform, confirmed, ref)
		c.setUser(a.userID)
		c.VerifiedAt = a.Now().UTC()
		c.Failures, c.Attempt = 0, Attempt{}
		c.clearDegraded()
		c.Lease.release(a.connection.Lease.Holder)
		return nil
	})
	switch {
	case errors.Is(err, errLate):
		a.renewed = confirmed
		return a.record(ctx, outcomeLate, err)
	case err != nil:
		return c, err
	}
	if err := a.eraseNamed(ctx, committed); err != nil {
		return a.late(ctx, err)
	}
	a.nameOthers(ctx, c, a.userID)
	return a.learnAccount(ctx, a.platform, committed, a.account), nil
}

// recordAccountChanged marks the connection whose credentials are those of another
// account. They stay stored. Only a new consent or an import replaces them.
func (a *attempt) recordAccountChanged(ctx context.Context, cause error) (Connection, error) {
	marked, err := a.release(ctx, func(c *Connection) error {
		if c.Credentials.Generation > a.credentials.Generation {
			return errLate
		}
		c.markAccountChanged()
		c.Attempt = Attempt{}
		return nil
	})
	if errors.Is(err, errLate) {
		return a.late(ctx, nil)
	}
	if err != nil {
		return a.connection, err
	}
	a.logAccountChanged(ctx, marked)
	e := errReauth(ReasonAccountChanged)
	e.Err = cause
	return marked, e
}

// learnAccount records the account of a connection whose account was not known.
// Where the owner has another connection to it, it returns the one that is left of
// the two.
func (s *Service) learnAccount(ctx context.Context, p Platform, c Connection, account Account) Connection {
	if !provisional(c.AccountID) || account.ID == "" {
		return c
	}
	learned, err := s.commit(ctx, c, func(c *Connection) error {
		if !provisional(c.AccountID) {
			return errLate
		}
		c.setAccount(account)
		return nil
	})
	if errors.Is(err, ErrConflict) {
		learned, err = s.mergeStandIn(ctx, p, c, account, s.verify)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "recording the account of imported credentials", "connection", string(c.ID), "error", err)
		return c
	}
	return learned
}
