package connector

import (
	"context"
	"errors"
	"time"
)

// Verify asks the platform whether the credentials still work, and stores the
// answer on the connection. Credentials that need it are refreshed first. A
// connection that was marked needs_reauth, and works after all, is active again.
func (s *Service) Verify(ctx context.Context, id ID) (Verified, error) {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return Verified{}, err
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return Verified{}, err
	}
	if c.Status != NeedsReauth {
		if err := c.usable(p); err != nil {
			return Verified{}, err
		}
		if c, err = s.refresh(ctx, p, c, freshness{since: s.Now()}); err != nil && !servable(c, s.Now()) {
			return Verified{}, err
		}
	}
	v, err := s.callVerify(ctx, p, c)
	if errors.Is(err, ReauthorizationRequired) && c.Status == Active {
		// A token that died before its time can be replaced by a refresh.
		if c, err = s.refresh(ctx, p, c, freshness{force: true, since: s.Now()}); err != nil {
			return Verified{}, err
		}
		v, err = s.callVerify(ctx, p, c)
	}
	if err != nil {
		return Verified{}, err
	}
	return v, s.storeVerified(ctx, c, v)
}

// Verified is the answer of a platform, and when it came.
type Verified struct {
	Verification
	CheckedAt time.Time
}

// callVerify calls the platform with the credentials that c refers to.
func (s *Service) callVerify(ctx context.Context, p Platform, c Connection) (Verified, error) {
	creds, err := s.CredentialStore.Get(ctx, c.credentialsKey(), c.Credentials)
	if err != nil {
		return Verified{}, credentialsError(err)
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return Verified{}, err
	}
	v, err := s.verifyWith(ctx, p, app, creds)
	if err != nil {
		return Verified{}, internal("verifying", err)
	}
	return Verified{Verification: v, CheckedAt: s.Now().UTC()}, nil
}

// storeVerified stores what a verification found.
func (s *Service) storeVerified(ctx context.Context, c Connection, v Verified) error {
	if v.Account.ID != "" && v.Account.ID != c.AccountID && !provisional(c.AccountID) {
		return &Error{Code: AccountMismatch, Message: "the credentials are those of another account"}
	}
	recovered := c.Status == NeedsReauth
	committed, err := s.commit(ctx, c, func(c *Connection) error {
		c.VerifiedAt = v.CheckedAt
		c.setAccount(v.Account)
		c.updateScopes(v.Scopes)
		if v.Warning != "" || recovered {
			c.StatusReason = v.Warning
		}
		if recovered {
			c.Status, c.RefreshAt = Active, s.Now().UTC()
		}
		return nil
	})
	switch {
	case errors.Is(err, ErrConflict):
		return errAccountHeld()
	case errors.Is(err, errStale):
		return errConnectionNotFound()
	case err != nil:
		return err
	}
	if recovered {
		s.publish(ctx, EventRecovered, committed, reasonVerified)
	}
	return nil
}

// setAccount records the account that the platform named. It is the person, too,
// where none was known.
func (c *Connection) setAccount(account Account) {
	if account.ID == "" {
		return
	}
	if provisional(c.UserID) {
		c.UserID = account.ID
	}
	c.AccountID, c.AccountName = account.ID, account.Name
}
