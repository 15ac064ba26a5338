package connector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// provisionalPrefix begins the user id, and where they do not tell it the
// account id, of credentials that were imported without asking the platform.
// The first verification puts the real ones in their place.
const provisionalPrefix = "unverified-"

func provisional(accountID string) bool { return strings.HasPrefix(accountID, provisionalPrefix) }

// keep stores a grant: on the connection that the owner has to that account
// already, or on target, or as a new one. wanted are the scopes that were
// asked for. The credentials are durable before the record points to them.
func (s *Service) keep(ctx context.Context, p Platform, owner string, g Grant, wanted []string, target *Connection) (Connection, error) {
	name := p.Describe().Name
	for {
		var c Connection
		var err error
		if target != nil {
			c, err = s.Store.Connection(ctx, target.ID)
		} else {
			c, err = s.Store.FindAccount(ctx, owner, name, g.Account.ID)
		}
		switch {
		case err == nil:
			return s.keepOn(ctx, p, c, g, wanted)
		case !errors.Is(err, ErrNotFound) || target != nil:
			return Connection{}, internal("finding the connection", err)
		}
		c, err = s.keepNew(ctx, p, owner, g, wanted)
		if !errors.Is(err, ErrConflict) {
			return c, err
		}
		// Somebody connected the same account in this moment: join them.
		if ctx.Err() != nil {
			return Connection{}, internal("storing a connection", ctx.Err())
		}
	}
}

// keepNew makes a connection; ErrConflict if the owner has one to that
// account.
func (s *Service) keepNew(ctx context.Context, p Platform, owner string, g Grant, wanted []string) (Connection, error) {
	id, err := NewID(s.Random)
	if err != nil {
		return Connection{}, internal("naming a connection", err)
	}
	now := s.Now().UTC()
	c := Connection{ID: id, Platform: p.Describe().Name, Owner: owner, CreatedAt: now, UpdatedAt: now}
	if c.ConsentID, err = s.newConsentID(); err != nil {
		return Connection{}, err
	}
	ticket, err := s.announce(ctx, c, g)
	if err != nil {
		return Connection{}, err
	}
	g.Credentials.Generation = 1
	version, err := s.putCredentials(ctx, id, g.Credentials)
	if err != nil {
		return Connection{}, err
	}
	s.settle(&c, p, g, wanted, safekept{version: version})
	created, err := s.Store.Create(ctx, c)
	if err != nil {
		// The write may have got through although its answer did not.
		stands, readErr := s.Store.Connection(ctx, id)
		switch {
		case readErr == nil:
			created = stands
		case errors.Is(readErr, ErrNotFound):
			s.deleteUnrecorded(ctx, id)
			fallthrough
		default:
			if errors.Is(err, ErrConflict) {
				return Connection{}, err
			}
			return Connection{}, internal("storing a connection", err)
		}
	}
	// A ticket that stays is the sweep's to take.
	if err := s.dropTicket(ctx, UnrecordedTicket, ticket); err != nil {
		s.Log.WarnContext(ctx, "storing a connection", "connection", string(id), "error", err)
	}
	s.publish(ctx, EventConnected, created, "")
	return created, nil
}

// deleteUnrecorded deletes credentials that no record points to.
func (s *Service) deleteUnrecorded(ctx context.Context, id ID) {
	if err := s.Vault.Delete(ctx, credentialsName(id), true); err != nil {
		s.Log.ErrorContext(ctx, "deleting credentials without a record", "connection", string(id), "error", err)
	}
}

// newConsentID names a consent.
func (s *Service) newConsentID() (string, error) {
	name, err := randomToken(s.Random)
	if err != nil {
		return "", internal("naming a consent", err)
	}
	return name.Reveal()[:16], nil
}

// keepOn puts a grant on a connection that stands. It takes the lease first,
// so that no refresh of the old grant ends on top of the new one; but a grant
// in hand is worth more than the wait, so it goes on without if it must.
func (s *Service) keepOn(ctx context.Context, p Platform, c Connection, g Grant, wanted []string) (Connection, error) {
	leased, err := s.awaitLease(ctx, c.ID)
	switch {
	case err == nil:
		c = leased
	case errors.Is(err, ErrNotFound):
		return Connection{}, errConnectionNotFound()
	}
	holder := leased.Lease.Holder
	consent, err := s.newConsentID()
	if err != nil {
		return Connection{}, err
	}
	id, was := c.ID, c.Status
	for {
		g, generation := s.succeed(ctx, c, g)
		g.Credentials.Generation = generation
		kept, err := s.putDurably(ctx, c, g.Credentials)
		if errors.Is(err, errSuperseded) {
			return Connection{}, errConnectionNotFound()
		}
		if err != nil {
			s.release(ctx, c, holder)
			return Connection{}, err
		}
		committed, err := s.commit(ctx, c, func(c *Connection) error {
			if c.Generation >= generation {
				return errSuperseded
			}
			s.settle(c, p, g, wanted, kept)
			c.ConsentID = consent
			endLease(c, holder)
			return nil
		})
		if err == nil {
			s.publish(ctx, connectedEvent(was), committed, "")
			return committed, nil
		}
		if errors.Is(err, ErrConflict) {
			if committed.Generation == 0 {
				s.deleteUnrecorded(ctx, id)
			}
			s.release(ctx, c, holder)
			return Connection{}, errAccountHeld()
		}
		if !errors.Is(err, errSuperseded) {
			return Connection{}, err
		}
		// Either the write got through and its answer was lost, or a refresh
		// of the grant before was committed in between: then what the person
		// gave just now comes after it.
		c, err = s.Store.Connection(ctx, c.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			s.deleteUnrecorded(ctx, id)
			return Connection{}, errConnectionNotFound()
		case err != nil:
			return Connection{}, internal("reading a connection", err)
		case c.Status == Disconnected:
			return Connection{}, errConnectionNotFound()
		case c.ConsentID == consent:
			s.publish(ctx, connectedEvent(was), c, "")
			return c, nil
		}
	}
}

func connectedEvent(was Status) EventType {
	if was == NeedsReauth {
		return EventRecovered
	}
	return EventConnected
}

// succeed returns the grant as it follows on what c has: with a generation
// after all others and, where the platform left the refresh token out because
// it knows that we have one, with that one, if it is of the same client.
func (s *Service) succeed(ctx context.Context, c Connection, g Grant) (Grant, int64) {
	old, _, err := s.currentCredentials(ctx, c)
	if err != nil {
		return g, c.Generation + 1
	}
	if !g.Credentials.renewable() && old.renewable() && old.ClientID == g.Credentials.ClientID && old.ClientID != "" {
		g.Credentials.Fields = g.Credentials.Fields.Clone()
		g.Credentials.Fields[refreshToken] = old.Fields[refreshToken]
		g.Credentials.GrantExpiresAt = old.GrantExpiresAt
		g.Warning = ""
	}
	return g, max(c.Generation, old.Generation) + 1
}

// settle writes a fresh grant into the record.
func (s *Service) settle(c *Connection, p Platform, g Grant, wanted []string, kept safekept) {
	c.Status, c.StatusReason = Active, g.Warning
	c.AccountID = g.Account.ID
	if g.Account.Name != "" {
		c.AccountName = g.Account.Name
	}
	if user := userOf(g); c.UserID == "" || !provisional(user) {
		c.UserID = user
	}
	c.Scopes = slices.Clone(g.Credentials.Scopes)
	c.MissingScopes = missing(wanted, c.Scopes)
	c.Attempt = Attempt{}
	c.Failures = 0
	c.LastRefreshedAt, c.VerifiedAt = time.Time{}, g.VerifiedAt
	s.adopt(c, p, g.Credentials, kept)
}

// userOf is who stands behind a grant; the account itself where the platform
// knows nobody else.
func userOf(g Grant) string {
	if g.UserID != "" {
		return g.UserID
	}
	return g.Account.ID
}

// unsealAfter is when sealed credentials are moved into the vault.
const unsealAfter = time.Minute

// adopt makes the record point to credentials that are durable.
func (s *Service) adopt(c *Connection, p Platform, creds Credentials, kept safekept) {
	c.CredentialsVersion, c.Sealed, c.Generation = kept.version, kept.sealed, creds.Generation
	c.IssuedAt, c.ExpiresAt, c.GrantExpiresAt = creds.IssuedAt, creds.ExpiresAt, creds.GrantExpiresAt
	cadence := p.Describe().Traits.Cadence
	if creds.GrantExpiresAt.IsZero() && cadence.Lapse > 0 && creds.renewable() && !creds.IssuedAt.IsZero() {
		c.GrantExpiresAt = creds.IssuedAt.Add(cadence.Lapse)
	}
	c.RefreshAt = s.refreshAt(cadence, creds)
	if len(kept.sealed) > 0 {
		c.RefreshAt = s.Now().UTC().Add(unsealAfter)
	}
}
