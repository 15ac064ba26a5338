package connector

import (
	"context"
	"errors"
)

// Verify asks the platform whether the credentials still work, and stores the
// answer on the connection. Credentials that need it are refreshed first. A
// connection that was given up, and works after all, is active again.
func (s *Service) Verify(ctx context.Context, id ID) (Verification, error) {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return Verification{}, err
	}
	if c.Status != NeedsReauth {
		if err := s.usable(c); err != nil {
			return Verification{}, err
		}
		if c, err = s.renew(ctx, c, need{since: s.Now()}); err != nil && !servable(c, s.Now()) {
			return Verification{}, err
		}
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return Verification{}, err
	}
	v, err := s.ask(ctx, p, c)
	if errors.Is(err, ReauthorizationRequired) && c.Status == Active {
		// A token that died before its time may be replaced.
		if c, err = s.renew(ctx, c, need{force: true, since: s.Now()}); err != nil {
			return Verification{}, err
		}
		v, err = s.ask(ctx, p, c)
	}
	if err != nil {
		return Verification{}, err
	}
	return v, s.verified(ctx, c, v)
}

// ask calls the platform with the credentials that c points to.
func (s *Service) ask(ctx context.Context, p Platform, c Connection) (Verification, error) {
	creds, err := s.pinnedCredentials(ctx, c)
	if err != nil {
		return Verification{}, err
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return Verification{}, err
	}
	v, err := s.verifyWith(ctx, p, app, creds)
	if err != nil {
		return Verification{}, internal("verifying", err)
	}
	v.CheckedAt = s.Now().UTC()
	return v, nil
}

// verified stores what a verification found.
func (s *Service) verified(ctx context.Context, c Connection, v Verification) error {
	if v.Account.ID != "" && v.Account.ID != c.AccountID && !provisional(c.AccountID) {
		return &Error{Code: AccountMismatch, Message: "the credentials are those of another account"}
	}
	recovered := c.Status == NeedsReauth
	committed, err := s.commit(ctx, c, func(c *Connection) error {
		c.VerifiedAt = v.CheckedAt
		if v.Account.ID != "" {
			if provisional(c.UserID) {
				c.UserID = v.Account.ID
			}
			c.AccountID, c.AccountName = v.Account.ID, v.Account.Name
		}
		if len(v.Scopes) > 0 {
			c.Scopes, c.MissingScopes = v.Scopes, missing(union(c.Scopes, c.MissingScopes), v.Scopes)
		}
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
	case errors.Is(err, errSuperseded):
		return errConnectionNotFound()
	case err != nil:
		return err
	}
	if recovered {
		s.publish(ctx, EventRecovered, committed, reasonVerified)
	}
	return nil
}
