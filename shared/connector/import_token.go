package connector

import (
	"context"
	"errors"
	"slices"
	"time"
)

// This file remembers the refresh tokens that somebody outside holds too: those that
// an import brought, and those that token-get handed out with full. A refresh token
// of a platform that rotates works once, and a platform that sees a spent one again
// may end the whole grant. A file that is imported a second time must therefore not
// be sent or stored once its refresh token was spent.
//
// The memory is one ticket for each such token, under a hash of platform and token.
// It holds no secret. The renewals of a connection are not remembered: nobody
// outside holds their tokens.

// knownToken is the body of the ticket of a refresh token:
//
//	{"connections":[{"id":…, "owner":…}], "import":{"holder":…, "id":…, "owner":…, "until":…}}
type knownToken struct {
	// Connections are those that the token belongs to, or to whose credentials before.
	Connections []tokenConnection `json:"connections,omitempty"`
	// Import is the import that is under way, or that crashed.
	Import *tokenClaim `json:"import,omitempty"`
}

type tokenConnection struct {
	ID    ID     `json:"id"`
	Owner string `json:"owner"`
}

// tokenClaim is the sole right to send a refresh token with an import.
type tokenClaim struct {
	Holder string    `json:"holder"`
	ID     ID        `json:"id"` // of the connection that gets the credentials
	Owner  string    `json:"owner"`
	Until  time.Time `json:"until"`
}

// maxTokenConnections bounds a ticket. Only a platform whose refresh token stays has
// more than one connection for a token.
const maxTokenConnections = 20

// add adds a connection, in place of the oldest where there are too many.
func (k *knownToken) add(c tokenConnection) {
	if slices.Contains(k.Connections, c) {
		return
	}
	k.Connections = append(k.Connections, c)
	k.Connections = k.Connections[max(0, len(k.Connections)-maxTokenConnections):]
}

// tokenKey is the key of the ticket of a refresh token.
func tokenKey(platform Name, token Secret) RecordKey {
	return RecordKey{Kind: RefreshTokenKind, ID: platformHash(platform, token.Reveal())}
}

// tokenLife is how long a refresh token is remembered after it was last seen: as long
// as it can live.
func tokenLife(p Platform) time.Duration { return max(p.Describe().Cadence.Lapse, maxTokenLife) }

// changeToken changes what is remembered of a refresh token. change reports whether
// there is anything to write. It may be called several times, each time with what is
// stored then. ends is when the memory ends; zero where there is none.
func (s *Service) changeToken(ctx context.Context, p Platform, key RecordKey, change func(known *knownToken, ends time.Time) (write bool, err error)) error {
	failed := false
	for try := 0; ; try++ {
		// An expired ticket is read as well: the store may delete it days later, and
		// nothing can be put in its place before.
		old, err := s.Store.Ticket(ctx, key, time.Time{})
		found := err == nil
		if err != nil && !errors.Is(err, ErrNotFound) {
			return internal("reading a refresh token's memory", err)
		}
		var known knownToken
		if found && s.Now().Before(old.ExpiresAt) {
			if err := decodeBody(old, &known); err != nil {
				return err
			}
		}
		write, err := change(&known, old.ExpiresAt)
		if err != nil || !write {
			return err
		}
		ticket, err := newTicket(key.Kind, key.ID, s.Now().Add(tokenLife(p)), known)
		if err != nil {
			return err
		}
		written := Change{Put: []Ticket{ticket}}
		if found {
			written = Change{Replace: []Replacement{{Old: old, New: ticket}}}
		}
		_, err = s.Store.Commit(ctx, written)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil || failed && !errors.Is(err, ErrConflict):
			return internal("remembering a refresh token", err)
		}
		// A write that failed may have been made: change decides on what is there now.
		failed = failed || !errors.Is(err, ErrConflict)
		if err := s.pause(ctx, try); err != nil {
			return internal("remembering a refresh token", err)
		}
	}
}

// rememberHandedOut remembers that the refresh token of creds is handed out.
func (s *Service) rememberHandedOut(ctx context.Context, p Platform, c Connection, creds Credentials) error {
	token := creds.Fields[refreshToken]
	if token.Empty() {
		return nil
	}
	of := tokenConnection{ID: c.ID, Owner: c.Owner}
	return s.changeToken(ctx, p, tokenKey(c.Platform, token), func(known *knownToken, ends time.Time) (bool, error) {
		if slices.Contains(known.Connections, of) && ends.Sub(s.Now()) > tokenLife(p)/2 {
			return false, nil
		}
		known.add(of)
		return true, nil
	})
}

// tokenImport is an import that has the sole right to send a refresh token. The zero
// tokenImport is one without a refresh token.
type tokenImport struct {
	*Service
	platform Platform
	key      RecordKey
	claim    tokenClaim
	shared   bool // another owner has a connection with the token
}

// errImportUnderWay says that another import of the same refresh token has the right
// to send it.
func errImportUnderWay() error {
	return &Error{Code: PlatformUnavailable, RetryAfter: time.Second,
		Message: "another import of the same credentials is under way, or has just failed: try again"}
}

func errTokenOfAnother(p Platform) error {
	return Invalid("credentials.refresh_token", "in use by another connection, and a refresh token of "+p.Describe().Title+" works once: send the person a connect link")
}

// claimToken acquires the sole right to send the refresh token of an import, before
// the platform sees it. Where the owner has a connection that the token belongs to, it
// returns that one, and no right. It waits for another import of the same token, and
// finishes one that crashed.
//
// It fails with InvalidRequest where another owner has such a connection and the token
// cannot be shared, and with PlatformUnavailable where the other import takes too long
// or failed.
func (s *Service) claimToken(ctx context.Context, p Platform, owner string, token Secret) (t *tokenImport, standing *Connection, err error) {
	holder, err := s.newName()
	if err != nil {
		return nil, nil, err
	}
	id, err := NewID(s.Random)
	if err != nil {
		return nil, nil, internal("naming a connection", err)
	}
	t = &tokenImport{Service: s, platform: p, key: tokenKey(p.Describe().Name, token)}
	t.claim = tokenClaim{Holder: holder, ID: id, Owner: owner, Until: s.leaseEnd(ctx)}
	for try, waited := 0, false; ; try++ {
		standing, wait, err := t.claimOnce(ctx, waited)
		switch {
		case err != nil || !wait:
			return t, standing, err
		case remaining(ctx) < StoreBudget:
			return nil, nil, errImportUnderWay()
		}
		waited = true
		if err := s.pause(ctx, try); err != nil {
			return nil, nil, internal("waiting for an import", err)
		}
	}
}

// claimOnce tries once. wait says that another import is under way.
func (t *tokenImport) claimOnce(ctx context.Context, waited bool) (standing *Connection, wait bool, err error) {
	err = t.changeToken(ctx, t.platform, t.key, func(known *knownToken, _ time.Time) (bool, error) {
		standing, wait = nil, false
		if other := known.Import; other != nil {
			switch {
			case other.Holder == t.claim.Holder:
				return false, nil // the answer to the write was lost
			case t.Now().Before(other.Until):
				wait = true
				return false, nil
			}
			if err := t.finishCrashed(ctx, known); err != nil {
				return false, err
			}
		} else if waited && len(known.Connections) == 0 {
			return false, errImportUnderWay() // it failed, and may have sent the token
		}
		var living []tokenConnection
		for _, of := range known.Connections {
			c, stands, err := t.standing(ctx, of.ID)
			switch {
			case err != nil:
				return false, err
			case !stands:
				continue
			case c.Owner == t.claim.Owner:
				standing = &c
			default:
				t.shared = true
			}
			living = append(living, tokenConnection{ID: c.ID, Owner: c.Owner})
		}
		known.Connections = living
		switch {
		case standing != nil:
			return true, nil
		case t.shared && t.platform.Describe().Cadence.Model == Rotating:
			return false, errTokenOfAnother(t.platform)
		}
		claim := t.claim
		known.Import = &claim
		return true, nil
	})
	return standing, wait, err
}

// finishCrashed makes the connection of an import that crashed one of known, if there
// is one, or if the credentials of the import were stored.
func (t *tokenImport) finishCrashed(ctx context.Context, known *knownToken) error {
	crashed := *known.Import
	known.Import = nil
	c, found, err := t.finishImport(ctx, crashed.ID)
	if err == nil && found {
		known.add(tokenConnection{ID: c.ID, Owner: c.Owner})
	}
	return err
}

// standing returns the connection of an id, or the one that it was merged into. Without
// one that lives it reports false.
func (s *Service) standing(ctx context.Context, id ID) (Connection, bool, error) {
	for range maxMerges {
		c, err := s.Store.Connection(ctx, id)
		switch {
		case err == nil && c.Status != Disconnected:
			return c, true, nil
		case err != nil && !errors.Is(err, ErrNotFound):
			return Connection{}, false, internal("reading a connection", err)
		}
		merged, err := ticketBody[standIn](ctx, s, RecordKey{Kind: StandInKind, ID: string(id)})
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return Connection{}, false, err
		}
		id = merged.ConnectionID
	}
	return Connection{}, false, nil
}

// savesOn records which connection gets the credentials, before they are stored there: the
// next import of the token must find it although this one crashes.
func (t *tokenImport) savesOn(ctx context.Context, id ID) error {
	if t == nil || t.claim.ID == id {
		return nil
	}
	claim := t.claim
	claim.ID = id
	if err := t.change(ctx, func(known *knownToken) { known.Import = &claim }); err != nil {
		return err
	}
	t.claim = claim
	return nil
}

// saved records that the token belongs to a connection.
func (t *tokenImport) saved(ctx context.Context, c Connection) {
	t.endClaim(ctx, func(known *knownToken) {
		known.Import = nil
		known.add(tokenConnection{ID: c.ID, Owner: c.Owner})
	})
}

// unused ends an import whose token was not stored.
func (t *tokenImport) unused(ctx context.Context) {
	t.endClaim(ctx, func(known *knownToken) { known.Import = nil })
}

// failed ends an import whose credentials may be stored although it failed. The next
// import of the token looks for them.
func (t *tokenImport) failed(ctx context.Context) {
	t.endClaim(ctx, func(known *knownToken) { known.Import.Until = t.Now().UTC() })
}

// endClaim writes what change makes of the claim of t. A failure is logged: the claim runs out,
// and names the connection.
func (t *tokenImport) endClaim(ctx context.Context, change func(*knownToken)) {
	if t == nil {
		return
	}
	if err := t.change(ctx, change); err != nil {
		t.Log.WarnContext(ctx, "remembering an imported refresh token", "platform", string(t.platform.Describe().Name), "error", err)
	}
}

// change writes what change makes of the claim of t, unless another import acquired it
// meanwhile.
func (t *tokenImport) change(ctx context.Context, change func(*knownToken)) error {
	return t.changeToken(ctx, t.platform, t.key, func(known *knownToken, _ time.Time) (bool, error) {
		if known.Import == nil || known.Import.Holder != t.claim.Holder {
			return false, nil
		}
		change(known)
		return true, nil
	})
}
