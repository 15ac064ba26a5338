package connector

import (
	"context"
	"errors"
	"iter"
	"time"
)

// A stand-in is a connection whose account no platform has named yet: an import
// without verification. The owner may also have, or get, another connection to the
// same account, so that the account would have two. They end as one:
//
//   - Before the code of a consent is redeemed, and before a verified import, the
//     platform is asked for the accounts of the owner's stand-ins. The grant is then
//     saved on the one that has its account, which keeps its id. The callback asks with
//     access tokens that live, and refreshes nothing.
//   - Where both exist when the platform names the account, the connection that has it
//     already remains, and the stand-in is disconnected. Its grant is not revoked: the
//     grant of the other one may be the same, or end with it.
//
// The credentials of the connection that remains stay if they work, which the platform
// is asked. If it says that they do not, that connection gets those of the stand-in,
// which have just worked. If it does not answer, nothing changes.

// standIn is the body of the ticket of a stand-in that was merged.
type standIn struct {
	ConnectionID ID `json:"connection_id"` // of the connection that remains
}

// nameStandIns asks the platform for the accounts of the stand-ins of an owner, and for
// the persons where those are not known: a notice reaches no connection without its
// person. What fails is left to a verification or a refresh.
func (s *Service) nameStandIns(ctx context.Context, p Platform, owner string, ask verifier) {
	asked := 0
	for c, err := range s.firstConnections(ctx, owner, p.Describe().Name) {
		if err != nil {
			s.Log.WarnContext(ctx, "finding connections without a known account", "error", err)
			return
		}
		if !c.unnamed() {
			continue
		}
		if asked == maxStandIns || remaining(ctx) < 2*ExchangeBudget+StoreBudget {
			return
		}
		asked++
		if err := s.nameStandIn(ctx, p, c.ID, ask); err != nil {
			s.Log.InfoContext(ctx, "asking for the account of a connection", "connection", string(c.ID), "error", err)
		}
	}
}

// firstConnections returns the connections of an owner on a platform, maxStandInPages
// pages of them at most. It ends after an error.
func (s *Service) firstConnections(ctx context.Context, owner string, platform Name) iter.Seq2[Connection, error] {
	return func(yield func(Connection, error) bool) {
		cursor := ""
		for range maxStandInPages {
			page, next, err := s.Store.Connections(ctx, Filter{Owner: owner, Platform: platform, Within: ownersIn(ctx)}, cursor, maxPage)
			if err != nil {
				yield(Connection{}, err)
				return
			}
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
			}
			if cursor = next; cursor == "" {
				return
			}
		}
	}
}

// unnamed reports whether no platform has said yet which account or whose c is.
func (c Connection) unnamed() bool { return provisional(c.AccountID) || provisional(c.UserID) }

func (s *Service) nameStandIn(ctx context.Context, p Platform, id ID, ask verifier) error {
	c, err := s.unresting(ctx, id)
	if err == nil && c.unnamed() {
		_, err = ask(ctx, p, c)
	}
	return err
}

// mergeStandIn ends the stand-in c, whose account the platform has named and of which
// the owner has another connection, and returns the connection that remains.
func (s *Service) mergeStandIn(ctx context.Context, p Platform, c Connection, account Account, ask verifier) (Connection, error) {
	known, err := s.Store.FindAccount(ctx, c.Owner, c.Platform, account.ID)
	if errors.Is(err, ErrNotFound) {
		return Connection{}, &Error{Code: PlatformUnavailable, RetryAfter: time.Second, Message: "the other connection to that account has just ended: try again"}
	}
	if err != nil {
		return Connection{}, internal("finding the connection", err)
	}
	if known.ID == c.ID {
		return known, nil
	}
	if !provisional(c.AccountID) {
		return Connection{}, errAccountHeld()
	}
	if known.Status == Active {
		err = s.checkResting(ctx, known)
		if err == nil {
			_, err = ask(ctx, p, known)
		}
		if errors.Is(err, ReauthorizationRequired) {
			// It is dead only if it was marked: a refused access token may be renewed.
			if fresh, readErr := s.Store.Connection(ctx, known.ID); readErr == nil && fresh.Status == NeedsReauth {
				err = nil
			}
		}
		if err != nil {
			return Connection{}, err
		}
	}
	ended, err := s.endStandIn(ctx, c.ID, known, account)
	if err != nil {
		return Connection{}, err
	}
	if err := s.finishDisconnect(ctx, ended); err != nil {
		s.Log.WarnContext(ctx, "ending a connection whose account another one has, to be continued", "connection", string(c.ID), "error", err)
	}
	if fresh, err := s.Connection(ctx, known.ID); err == nil {
		known = fresh
	}
	return known, nil
}

// endStandIn disconnects a stand-in. The record becomes due, so that the sweep moves
// its credentials, where known needs them, if this caller does not.
func (s *Service) endStandIn(ctx context.Context, id ID, known Connection, account Account) (Connection, error) {
	// No refresh of it may be under way: the newest credentials are to be moved.
	c, err := s.awaitLease(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Connection{}, errConnectionNotFound()
	}
	if err != nil {
		return Connection{}, internal("acquiring the lease", err)
	}
	ticket, err := s.mergeTicket(id, known.ID)
	if err != nil {
		return Connection{}, err
	}
	for {
		next := c
		disconnect(&next)
		next.StatusReason = reasonSameAccount
		next.AccountID = account.ID
		if provisional(next.UserID) {
			next.UserID = known.UserID // so that a data deletion finds the secret
		}
		next.UpdatedAt = s.Now().UTC()
		next.RefreshAt = next.UpdatedAt.Add(disconnectWithin)
		ended, err := s.commitAndTell(ctx, Change{Before: &c, After: &next, Overwrite: []Ticket{ticket}})
		if err == nil {
			return ended, nil
		}
		fresh, readErr := s.Store.Connection(ctx, id)
		switch {
		case errors.Is(readErr, ErrNotFound):
			return Connection{}, errConnectionNotFound()
		case readErr == nil && fresh.Status == Disconnected && fresh.StatusReason == reasonSameAccount:
			return fresh, nil // the answer was lost, or another caller did the same
		case readErr == nil && fresh.Status == Disconnected:
			return Connection{}, errConnectionNotFound()
		case readErr != nil || !errors.Is(err, ErrConflict) || fresh.Lease != c.Lease:
			return Connection{}, internal("ending a connection", err)
		}
		c = fresh
	}
}

// mergeTicket returns the ticket that says which connection remains of two.
func (s *Service) mergeTicket(ended, remaining ID) (Ticket, error) {
	return newTicket(StandInKind, string(ended), s.Now().Add(maxTokenLife), standIn{ConnectionID: remaining})
}

func (s *Service) recordMerge(ctx context.Context, ended, remaining ID) error {
	ticket, err := s.mergeTicket(ended, remaining)
	if err != nil {
		return err
	}
	if _, err := s.Store.Commit(ctx, Change{Overwrite: []Ticket{ticket}}); err != nil {
		return internal("storing which connection remains", err)
	}
	return nil
}

// moveCredentials gives the credentials of a stand-in that was merged to the connection
// that has its account, once, if that one needs them.
func (s *Service) moveCredentials(ctx context.Context, c Connection) error {
	known, err := s.mergedInto(ctx, c)
	if errors.Is(err, ConnectionNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	moved := "merged-" + string(c.ID)
	if known.Status != NeedsReauth || known.ConsentID == moved || known.ConsentedAt.After(c.UpdatedAt) {
		return nil
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return err
	}
	creds, _, err := s.CredentialStore.Latest(ctx, c.credentialsKey(), c.Credentials)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return internal("reading credentials", err)
	}
	user := c.UserID
	if provisional(user) {
		user = known.UserID
	}
	_, err = s.replaceCredentials(ctx, p, known, Grant{
		Account: Account{ID: c.AccountID}, UserID: user, Credentials: creds,
		ConsentedAt: c.consentedAt(), VerifiedAt: c.VerifiedAt, consentID: moved,
	}, destination{requested: union(c.Scopes, c.MissingScopes)})
	return err
}

// endTarget ends the stand-in that a link re-authorizes, where the consent was saved on
// another connection: the platform refused the credentials of the stand-in, and the
// person consented to an account that the other one has. What fails is logged: the
// consent is saved.
func (c *consent) endTarget(ctx context.Context, saved []Connection) {
	id := c.authorization.ConnectionID
	if id == "" || len(saved) != 1 || saved[0].ID == id {
		return
	}
	target, err := c.Store.Connection(ctx, id)
	if err != nil || target.Status == Disconnected || !provisional(target.AccountID) {
		return
	}
	ended, err := c.endStandIn(ctx, id, saved[0], Account{ID: saved[0].AccountID})
	if err == nil {
		err = c.finishDisconnect(ctx, ended)
	}
	if err != nil {
		c.Log.WarnContext(ctx, "ending a connection whose account another one has", "connection", string(id), "error", err)
	}
}

// mergedInto returns the connection that remains of those that c was merged with;
// ConnectionNotFound where there is none.
func (s *Service) mergedInto(ctx context.Context, c Connection) (Connection, error) {
	known, stands, err := s.standing(ctx, c.ID)
	if err == nil && !stands {
		err = errConnectionNotFound()
	}
	return known, err
}

// nameOthers records the person of c, whom the platform has named, with the other
// connections of the same imported credentials: their provisional person is the same.
func (s *Service) nameOthers(ctx context.Context, c Connection, userID string) {
	if userID == "" || !provisional(c.UserID) || userID == c.UserID {
		return
	}
	others, err := s.Store.UserConnections(ctx, c.Platform, c.UserID)
	if err != nil {
		s.Log.WarnContext(ctx, "finding connections of the same person", "error", err)
		return
	}
	for _, other := range others {
		named, err := s.commit(ctx, other, func(other *Connection) error {
			if other.UserID != c.UserID {
				return errLate
			}
			other.setUser(userID)
			return nil
		})
		if err == nil {
			err = s.eraseNamed(ctx, named)
		}
		if err != nil && !errors.Is(err, errLate) && !errors.Is(err, ConnectionNotFound) {
			s.Log.WarnContext(ctx, "recording the person of a connection", "connection", string(other.ID), "error", err)
		}
	}
}
