package connector

import (
	"context"
	"errors"
)

// This file finds the connection of an account after the operator replaced the app. On
// some platforms each client sees another id of an account (Description.AccountPerClient).

// acceptsChangedClient reports whether a consent may be saved on c although the account
// of the consent has another id. If the platform returned the stable ids of both, they
// must be equal. If it did not, the consent must be to another client than that of c.
func (s *Service) acceptsChangedClient(ctx context.Context, c Connection, g Grant) (bool, error) {
	p, err := s.platform(c.Platform)
	if err != nil || !p.Describe().AccountPerClient {
		return false, err
	}
	if c.StableID != "" && g.StableID != "" {
		return c.StableID == g.StableID, nil
	}
	creds, _, err := s.CredentialStore.Latest(ctx, c.credentialsKey(), c.Credentials)
	if errors.Is(err, ErrNotFound) {
		return false, nil // the former client is not known
	}
	if err != nil {
		return false, s.credentialsError(ctx, c, err)
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return false, err
	}
	return creds.ofOtherClient(p, app, g.Credentials.ClientID), nil
}

// ofOtherClient reports whether creds are known to belong to another client than
// clientID, the client of app.
func (creds Credentials) ofOtherClient(p Platform, app App, clientID string) bool {
	if creds.ClientID != "" {
		return creds.ClientID != clientID
	}
	for _, name := range p.Describe().ClientFields {
		if brought := creds.Fields.Get(name); brought != "" {
			return brought != clientID
		}
	}
	return creds.VerifiedKey != "" && creds.VerifiedKey != p.AppKey(app, creds)
}

// findByStableID returns the connection of the owner to the account of the only grant, if
// the record has the id that another client saw. It returns nil if there is none, or if
// the owner has a connection under the new id.
func (s *Service) findByStableID(ctx context.Context, a Authorization, grants []Grant) (*Connection, error) {
	if len(grants) != 1 || grants[0].StableID == "" {
		return nil, nil
	}
	g := grants[0]
	_, err := s.Store.FindAccount(ctx, a.Owner, a.Platform, g.Account.ID)
	if !errors.Is(err, ErrNotFound) {
		if err != nil {
			err = internal("finding the connection", err)
		}
		return nil, err
	}
	for c, err := range s.firstConnections(ctx, a.Owner, a.Platform) {
		if err != nil {
			return nil, internal("finding the connection", err)
		}
		if c.StableID == g.StableID {
			return &c, nil
		}
	}
	return nil, nil
}
