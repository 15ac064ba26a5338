package connector

import (
	"cmp"
	"context"
	"errors"
)

// Verify asks the platform whether the credentials still work, and returns the
// connection with the answer on it. Credentials that need it are refreshed
// first. A connection that was marked needs_reauth, and works after all, is
// active again. What it finds that does not pass by itself, such as an account that is
// gone, degrades the connection. It fails with RateLimited where the owner's connections
// were verified too often.
func (s *Service) Verify(ctx context.Context, id ID) (Connection, error) {
	c, err := s.unresting(ctx, id)
	if err != nil {
		return Connection{}, err
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return Connection{}, err
	}
	if err := s.spendVerification(ctx, p, c); err != nil {
		return Connection{}, err
	}
	verified, err := s.verify(ctx, p, c)
	if err == nil && provisional(c.UserID) && !provisional(verified.UserID) {
		s.nameStandIns(ctx, p, c.Owner, s.verify) // others may be of the same person
	}
	return verified, err
}

// verify is Verify of a connection that may be verified.
func (s *Service) verify(ctx context.Context, p Platform, c Connection) (_ Connection, err error) {
	if c.Status != NeedsReauth {
		if c, err = s.refresh(ctx, p, c, freshness{since: s.Now()}); err != nil && !servable(c, s.Now()) {
			return Connection{}, err
		}
		if c, err = s.proveForVerify(ctx, p, c); err != nil {
			return Connection{}, err
		}
	}
	v, err := s.callVerify(ctx, p, c)
	if errors.Is(err, ReauthorizationRequired) && c.Status == Active {
		// A refresh can replace a token that was revoked before its expiry.
		if c, err = s.refresh(ctx, p, c, freshness{force: true, since: s.Now()}); err != nil {
			return Connection{}, err
		}
		v, err = s.callVerify(ctx, p, c)
	}
	if err == nil && v.Outdated && c.Status == Active {
		c, err = s.refresh(ctx, p, c, freshness{force: true, since: s.Now()})
	}
	if err != nil {
		s.tellQuotaOf(ctx, p, c, AsError(err))
		return Connection{}, s.recordFinding(ctx, c, err)
	}
	return s.storeVerified(ctx, p, c, v, s.verify)
}

// verifier asks the platform whether the credentials of a connection work, as verify
// does.
type verifier func(ctx context.Context, p Platform, c Connection) (Connection, error)

// lookUp is verify without a refresh: of an access token that lives. The callback uses it,
// which refreshes nothing, so that it can reach fewer records.
func (s *Service) lookUp(ctx context.Context, p Platform, c Connection) (Connection, error) {
	if !c.alive(s.Now()) {
		return Connection{}, &Error{Code: PlatformUnavailable, Message: "the access token has expired, and is not refreshed here"}
	}
	v, err := s.callVerify(ctx, p, c)
	if err != nil {
		return Connection{}, err
	}
	return s.storeVerified(ctx, p, c, v, s.lookUp)
}

// proveForVerify has the platform prove what the credentials have not proved, where
// that spends no refresh token.
func (s *Service) proveForVerify(ctx context.Context, p Platform, c Connection) (Connection, error) {
	creds, err := s.readCredentials(ctx, c)
	if err != nil {
		return c, err
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return c, err
	}
	unproven := refreshOnlyChecks(p, creds) && p.AppKey(app, creds) != "" && !s.appProven(p, app, creds)
	if unproven || c.accountOwed(creds) {
		c, _, err = s.prove(ctx, p, c, creds)
	}
	return c, err
}

// spendVerification reserves the verification of a connection, if it can be
// verified.
func (s *Service) spendVerification(ctx context.Context, p Platform, c Connection) error {
	if c.Status != NeedsReauth {
		if err := c.usable(p); err != nil {
			return err
		}
	}
	return s.spend(ctx, s.chargeOwner(VerificationsPerOwner, c.Owner, 1))
}

// callVerify calls the platform with the credentials that c refers to.
func (s *Service) callVerify(ctx context.Context, p Platform, c Connection) (Verification, error) {
	creds, err := s.CredentialStore.Get(ctx, c.credentialsKey(), c.Credentials)
	if err != nil {
		return Verification{}, s.credentialsError(ctx, c, err)
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return Verification{}, err
	}
	v, err := s.verifyWith(ctx, p, app, creds)
	if err != nil {
		return Verification{}, internal("verifying", err)
	}
	return v, nil
}

// storeVerified stores what a verification found. Where another connection of the
// owner has the account that the platform named for a stand-in, it returns the one
// that is left of the two. It asks about the other one with ask.
func (s *Service) storeVerified(ctx context.Context, p Platform, c Connection, v Verification, ask verifier) (Connection, error) {
	if v.isOfAnother(c) {
		return Connection{}, s.recordFinding(ctx, c, &Error{Code: AccountMismatch, Message: "the credentials are those of another account"})
	}
	recovered, consent := c.Status == NeedsReauth, c.ConsentID
	verified, err := s.commit(ctx, c, func(c *Connection) error {
		if c.ConsentID != consent {
			return errUnchanged // it is about credentials that others replaced
		}
		c.VerifiedAt = s.Now().UTC()
		c.setAccount(v.Account)
		c.setUser(v.UserID)
		c.StableID = cmp.Or(v.StableID, c.StableID)
		c.updateScopes(v.Scopes)
		c.clearVerified(p, v.Warning)
		if recovered {
			c.StatusReason = v.Warning
		}
		if recovered {
			c.Status, c.RefreshAt = Active, c.VerifiedAt
		}
		return nil
	})
	if err == nil {
		err = s.eraseNamed(ctx, verified)
	}
	switch {
	case errors.Is(err, errUnchanged):
		return verified, nil
	case errors.Is(err, ErrConflict):
		return s.mergeStandIn(ctx, p, c, v.Account, ask)
	case errors.Is(err, errLate):
		return Connection{}, errConnectionNotFound()
	case err != nil:
		return Connection{}, err
	}
	s.nameOthers(ctx, c, v.UserID)
	return verified, nil
}

// isOfAnother reports whether the platform named another account than that of c.
func (v Verification) isOfAnother(c Connection) bool {
	return v.Account.ID != "" && v.Account.ID != c.AccountID && !provisional(c.AccountID)
}

// setAccount records the account that the platform named.
func (c *Connection) setAccount(account Account) {
	if account.ID == "" {
		return
	}
	c.AccountID = account.ID
	if account.Name != "" {
		c.AccountName = account.Name
	}
}

// setUser records the person that the platform named, who may differ from the one
// that was recorded: an import does not prove whose its credentials are.
func (c *Connection) setUser(userID string) {
	if userID != "" {
		c.UserID = userID
	}
}
