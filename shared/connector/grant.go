package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// destination is where the grants of one consent or import are saved.
type destination struct {
	owner     string
	requested []string    // scopes; nil where it is not known what was asked for
	target    *Connection // the connection to renew; nil: the one of the account, or a new one
	consent   *consent    // whose grants they are; nil for an import
	newID     ID          // of the connection that an import creates; empty for a consent
}

// saveGrant saves a grant: on the target, or on the connection that the owner
// has to that account, or as a new connection. The credentials are durable
// before the record refers to them (I1). Callback, Confirm and Import use it.
func (s *Service) saveGrant(ctx context.Context, p Platform, g Grant, to destination) (Connection, error) {
	for {
		if err := to.consent.readLink(ctx); err != nil {
			return Connection{}, err
		}
		var c Connection
		var err error
		if to.target != nil {
			c, err = s.Store.Connection(ctx, to.target.ID)
		} else {
			c, err = s.Store.FindAccount(ctx, to.owner, p.Describe().Name, g.Account.ID)
		}
		switch {
		case err == nil && to.consent.savedBefore(c, g):
			return c, nil
		case err == nil:
			if err := to.consent.reserveLink(ctx); err != nil {
				return Connection{}, err
			}
			return s.replaceCredentials(ctx, p, c, g, to)
		case errors.Is(err, ErrNotFound) && (to.target != nil || to.consent.renews()):
			return Connection{}, errConnectionNotFound()
		case !errors.Is(err, ErrNotFound):
			return Connection{}, internal("finding the connection", err)
		}
		c, err = s.createConnection(ctx, p, g, to)
		if !errors.Is(err, ErrConflict) {
			return c, err
		}
		// Another consent connected the same account at the same time, or spent the
		// link.
		if ctx.Err() != nil {
			return Connection{}, internal("storing a connection", ctx.Err())
		}
		if err := to.consent.checkOwn(ctx); err != nil {
			return Connection{}, err
		}
	}
}

// renews reports whether the consent is for existing connections alone.
func (c *consent) renews() bool { return c != nil && c.record.ConnectionID != "" }

// createConnection creates a connection; ErrConflict if the owner has one to
// that account.
func (s *Service) createConnection(ctx context.Context, p Platform, g Grant, to destination) (Connection, error) {
	id, err := to.newID, error(nil)
	if id == "" {
		id, err = NewID(s.Random)
	}
	if err != nil {
		return Connection{}, internal("naming a connection", err)
	}
	consent, err := s.consentID(to)
	if err != nil {
		return Connection{}, err
	}
	now := s.Now().UTC()
	c := Connection{ID: id, Platform: p.Describe().Name, Owner: to.owner, ConsentID: consent, CreatedAt: now, UpdatedAt: now}
	applyGrant(&c, g, to.requested)
	intent, err := s.recordIntentFor(ctx, c, g, to)
	if err != nil {
		return Connection{}, err
	}
	creds := g.Credentials
	creds.Generation, creds.ConsentID = 1, consent
	ref, err := s.CredentialStore.Put(ctx, c.credentialsKey(), CredentialsRef{}, creds)
	if err != nil {
		return Connection{}, internal("storing credentials", err)
	}
	s.applyCredentials(&c, p, creds, ref)
	change := Change{After: &c, Drop: []RecordKey{intent}}
	written, err := to.consent.spendLink(&change, c.ID)
	if err != nil {
		return Connection{}, err
	}
	created, err := s.commitAndTell(ctx, change)
	if err != nil {
		if created, err = s.afterFailedCreate(ctx, c, to, err); err != nil {
			return Connection{}, err
		}
	}
	written()
	return created, nil
}

// consentID returns the ConsentID of what is saved there.
func (s *Service) consentID(to destination) (string, error) {
	if to.consent != nil {
		return to.consent.name(), nil
	}
	return s.newName()
}

// afterFailedCreate returns the connection where its write succeeded although
// the answer was lost. Otherwise it deletes the credentials that no record
// refers to, and returns the cause. What it cannot do is left to the sweep. The
// credentials of an import stay: the platform may have spent those before them, and
// saveImported and endImport still need them.
func (s *Service) afterFailedCreate(ctx context.Context, c Connection, to destination, cause error) (Connection, error) {
	fresh, err := s.Store.Connection(ctx, c.ID)
	switch {
	case err == nil:
		return fresh, nil
	case errors.Is(err, ErrNotFound) && to.newID == "":
		s.deleteOrphan(ctx, c)
	}
	if errors.Is(cause, ErrConflict) {
		return Connection{}, cause
	}
	return Connection{}, internal("storing a connection", cause)
}

// deleteOrphan deletes credentials that no record refers to.
func (s *Service) deleteOrphan(ctx context.Context, c Connection) {
	if err := s.CredentialStore.Delete(ctx, c.credentialsKey(), c.Credentials, true); err != nil {
		s.Log.ErrorContext(ctx, "deleting credentials without a record", "connection", string(c.ID), "error", err)
	}
}

// deleteLate deletes credentials that were stored after their connection ended:
// for good where the connection was purged or its person asked for that. The
// credentials of a connection that has not ended stay.
func (s *Service) deleteLate(ctx context.Context, c Connection) {
	fresh, err := s.Store.Connection(ctx, c.ID)
	disconnected, purged := fresh.ended()
	if err == nil && disconnected || errors.Is(err, ErrNotFound) {
		purge := err != nil || purged
		err = s.CredentialStore.Delete(ctx, c.credentialsKey(), c.Credentials, purge)
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "deleting late credentials", "connection", string(c.ID), "error", err)
	}
}

// replaceCredentials saves a grant on an existing connection. It acquires the
// lease first, so that no refresh of the old grant ends after it. Without a
// lease it still saves the grant, which must not be lost.
func (s *Service) replaceCredentials(ctx context.Context, p Platform, c Connection, g Grant, to destination) (Connection, error) {
	leased, err := s.awaitLease(ctx, c.ID)
	switch {
	case err == nil:
		c = leased
	case errors.Is(err, ErrNotFound):
		return Connection{}, errConnectionNotFound()
	}
	consent, err := g.consentID, error(nil)
	if consent == "" {
		consent, err = s.consentID(to)
	}
	if err != nil {
		return Connection{}, err
	}
	r := replacement{platform: p, grant: g, requested: to.requested, consent: consent, holder: leased.Lease.Holder}
	for {
		saved, err := s.replaceOnce(ctx, c, r)
		if err == nil || !errors.Is(err, errLate) {
			return saved, err
		}
		// Either the write succeeded and its answer was lost, or a refresh of
		// the grant before was committed in between. The new grant comes after
		// that refresh.
		c, err = s.Store.Connection(ctx, c.ID)
		switch {
		case errors.Is(err, ErrNotFound), err == nil && c.Status == Disconnected:
			s.deleteLate(ctx, saved)
			return Connection{}, errConnectionNotFound()
		case err != nil:
			return Connection{}, internal("reading a connection", err)
		case c.ConsentID == consent:
			return c, nil
		}
	}
}

// replacement is a consent for an existing connection.
type replacement struct {
	platform  Platform
	grant     Grant
	requested []string
	consent   string
	holder    string // of the lease; empty where it could not be acquired
}

// replaceOnce stores the grant after the credentials of c, and commits it.
// errLate: c moved meanwhile.
func (s *Service) replaceOnce(ctx context.Context, c Connection, r replacement) (Connection, error) {
	g := s.nextGeneration(ctx, r.platform, c, r.grant)
	g.Credentials.ConsentID = r.consent
	next := c
	applyGrant(&next, g, r.requested)
	ref, err := s.putFor(ctx, c, next, g)
	if err != nil {
		s.releaseOnly(ctx, c, r.holder)
		return Connection{}, err
	}
	next.Credentials = ref
	commit := func(change func(*Connection) error) (Connection, error) {
		return s.commitCredentials(ctx, c, g.Credentials, ref, change)
	}
	if c.changesAccount(g) {
		// A failure loses nothing: the record of the consent has the credentials too.
		commit = func(change func(*Connection) error) (Connection, error) { return s.commit(ctx, c, change) }
	}
	committed, err := commit(func(c *Connection) error {
		if c.Credentials.Generation >= ref.Generation {
			return errLate
		}
		c.ForgetSecret = c.ForgetSecret || c.mustForget(g)
		applyGrant(c, g, r.requested)
		s.applyCredentials(c, r.platform, g.Credentials, ref)
		c.ConsentID = r.consent
		if !c.ForgetSecret { // else startSecret releases it
			c.Lease.release(r.holder)
		}
		return nil
	})
	switch {
	case err == nil:
		return s.startSecret(ctx, r.platform, committed, g.Credentials, r.holder), nil
	case errors.Is(err, ErrConflict):
		if c.Credentials.IsZero() {
			s.deleteOrphan(ctx, next)
		}
		s.releaseOnly(ctx, c, r.holder)
		return Connection{}, errAccountHeld()
	}
	return next, err
}

// putLiving stores credentials that follow on the reference prev of c, and stores
// them anew where their secret was lost. It is ConnectionNotFound, and nothing is
// stored, where the connection was disconnected.
func (s *Service) putLiving(ctx context.Context, c Connection, prev CredentialsRef, creds Credentials) (CredentialsRef, error) {
	ref, err := s.CredentialStore.Put(ctx, c.credentialsKey(), prev, creds)
	if errors.Is(err, ErrGone) {
		fresh, readErr := s.Store.Connection(ctx, c.ID)
		switch {
		case errors.Is(readErr, ErrNotFound), readErr == nil && fresh.Status == Disconnected:
			return CredentialsRef{}, errConnectionNotFound()
		case readErr != nil:
			return CredentialsRef{}, internal("reading a connection", readErr)
		}
		ref, err = s.CredentialStore.Put(ctx, c.credentialsKey(), CredentialsRef{}, creds)
	}
	if err != nil {
		return CredentialsRef{}, internal("storing credentials", err)
	}
	return ref, nil
}

// releaseOnly releases a lease with nothing else changed.
func (s *Service) releaseOnly(ctx context.Context, c Connection, holder string) {
	_, err := s.release(ctx, c, holder, func(*Connection) error { return nil })
	if err != nil && !errors.Is(err, errLate) {
		s.Log.WarnContext(ctx, "releasing a lease", "connection", string(c.ID), "error", err)
	}
}

// commitCredentials commits a change that makes the record refer to creds. If
// the record cannot be written, creds are rescued: reconcile then finds them.
func (s *Service) commitCredentials(ctx context.Context, c Connection, creds Credentials, ref CredentialsRef, change func(*Connection) error) (Connection, error) {
	commitCtx, cancel := rescueContext(ctx)
	defer cancel()
	committed, err := s.commit(commitCtx, c, change)
	if err == nil || errors.Is(err, errLate) || errors.Is(err, ErrConflict) {
		return committed, err
	}
	if rescueErr := s.CredentialStore.Rescue(ctx, c.credentialsKey(), ref, creds); rescueErr != nil {
		s.Log.ErrorContext(ctx, "rescuing credentials without a record", "connection", string(c.ID), "error", rescueErr)
	}
	return committed, err
}

// nextGeneration returns the grant as it follows on the credentials of c: with
// a generation after all others. Where the platform left the refresh token out
// because it gave one before, the grant gets that one, if it is of the same
// client and person. An import of the very credentials of c is its person's.
func (s *Service) nextGeneration(ctx context.Context, p Platform, c Connection, g Grant) Grant {
	old, ref, err := s.CredentialStore.Latest(ctx, c.credentialsKey(), c.Credentials)
	if err != nil {
		g.Credentials.Generation = c.Credentials.Generation + 1
		return g
	}
	g.Credentials.Generation = max(c.Credentials.Generation, ref.Generation) + 1
	if g.UserID == provisionalID(p, old) {
		g.UserID = c.UserID
	}
	if !g.Credentials.renewable() && old.renewable() && c.UserID == userOf(g) && old.ClientID == g.Credentials.ClientID && old.ClientID != "" && !c.accountChanged(old) {
		g.Credentials.Fields = g.Credentials.Fields.Clone()
		g.Credentials.Fields[refreshToken] = old.Fields[refreshToken]
		g.Credentials.GrantExpiresAt = old.GrantExpiresAt
		g.Warning = ""
	}
	return g
}

// applyGrant records a new grant, except for its credentials.
func applyGrant(c *Connection, g Grant, requested []string) {
	c.Status, c.StatusReason = Active, g.Warning
	if g.StableID != "" || c.AccountID != g.Account.ID {
		c.StableID = g.StableID
	}
	c.AccountID = g.Account.ID
	if g.Account.Name != "" {
		c.AccountName = g.Account.Name
	}
	c.UserID = userOf(g)
	c.ConsentedAt = g.ConsentedAt
	c.setScopes(requested, g.Credentials.Scopes)
	c.Attempt = Attempt{}
	c.Failures, c.Degraded = 0, Degradation{}
	c.LastRefreshedAt, c.VerifiedAt = time.Time{}, g.VerifiedAt
}

// userOf returns who authorized a grant; the account itself where the platform
// names no one else.
func userOf(g Grant) string {
	if g.UserID != "" {
		return g.UserID
	}
	return g.Account.ID
}

// applyCredentials makes the record refer to credentials, and sets the times
// that follow from them.
func (s *Service) applyCredentials(c *Connection, p Platform, creds Credentials, ref CredentialsRef) {
	c.Credentials, c.Client = ref, breakerClient(p, c.Owner, creds)
	c.IssuedAt, c.ExpiresAt, c.GrantExpiresAt = creds.IssuedAt, creds.ExpiresAt, creds.GrantExpiresAt
	cadence := p.Describe().Cadence
	if creds.GrantExpiresAt.IsZero() && cadence.Lapse > 0 && creds.renewable() && !creds.IssuedAt.IsZero() {
		c.GrantExpiresAt = creds.IssuedAt.Add(cadence.Lapse)
	}
	c.RefreshAt = s.refreshAt(cadence, creds)
	if s.CredentialStore.Stale(ref) || c.ForgetSecret {
		c.RefreshAt = s.Now().UTC().Add(restoreAfter)
	}
}

// selectGrants returns the grants to save: all of them or, when one connection
// is re-authorized, the one for it, which is then the target. The target may also be the
// connection that has the account under the id that another client saw.
func (s *Service) selectGrants(ctx context.Context, a Authorization, grants []Grant) (target *Connection, selected []Grant, err error) {
	c, err := s.target(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		target, err = s.findByStableID(ctx, a, grants)
		return target, grants, err
	}
	mismatch := errOtherAccount(c.AccountName)
	for _, g := range grants {
		if c.AccountID == g.Account.ID {
			return c, []Grant{g}, nil
		}
		accepted := c.acceptsAccount(g.Account)
		if !accepted {
			if accepted, err = s.acceptsChangedClient(ctx, *c, g); err != nil {
				return nil, nil, err
			}
		}
		if !accepted {
			continue
		}
		held, err := s.Store.FindAccount(ctx, c.Owner, c.Platform, g.Account.ID)
		if errors.Is(err, ErrNotFound) {
			return c, []Grant{g}, nil
		}
		if err != nil {
			return nil, nil, internal("finding the connection", err)
		}
		if c.Status == NeedsReauth && provisional(c.AccountID) {
			return &held, []Grant{g}, nil // endTarget ends c
		}
		mismatch = errAccountHeld()
	}
	return nil, nil, mismatch
}

// target returns the connection to re-authorize, nil where there is none.
func (s *Service) target(ctx context.Context, a Authorization) (*Connection, error) {
	if a.ConnectionID == "" {
		return nil, nil
	}
	c, err := s.Connection(ctx, a.ConnectionID)
	if err == nil && c.StatusReason == reasonSameAccount {
		c, err = s.mergedInto(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	if c.Status == Disconnected || c.Owner != a.Owner {
		return nil, errConnectionNotFound()
	}
	return &c, nil
}

// errNotTheTarget is the cause of every errOtherAccount.
var errNotTheTarget = errors.New("the account is not that of the connection")

// errOtherAccount says which account to choose. It does not, where the name is not
// known any more.
func errOtherAccount(name string) *Error {
	e := &Error{Code: AccountMismatch, Message: "the consent was given for another account than the one to be re-authorized", Err: errNotTheTarget}
	if name != "" {
		e.Message += ": choose " + name
	}
	return e
}

func errAccountHeld() *Error {
	return &Error{Code: AccountMismatch, Message: "the owner has another connection to that account"}
}

// onePerPerson returns the first grant of each person. Its revocation ends all
// that the person gave in the same consent, which may be thousands of accounts.
func onePerPerson(grants []Grant) []Grant {
	var first []Grant
	seen := map[string]bool{}
	for _, g := range grants {
		if user := userOf(g); user == "" || !seen[user] {
			seen[user] = true
			first = append(first, g)
		}
	}
	return first
}

// revokeUnused revokes grants that no connection will use.
func (s *Service) revokeUnused(ctx context.Context, p Platform, app App, grants []Grant) {
	for _, g := range onePerPerson(grants) {
		if err := s.revokeGrant(ctx, p, app, g); err != nil {
			s.Log.WarnContext(ctx, "revoking an unused grant", "platform", string(p.Describe().Name), "error", err)
		}
	}
}

// revokeGrant revokes a grant, unless another connection of the same person
// exists, or may come of a consent: most platforms end every grant that the person
// gave to the app. It also leaves the grant alone where the platform does not say who
// the person is.
func (s *Service) revokeGrant(ctx context.Context, p Platform, app App, g Grant) error {
	revoker, ok := p.(Revoker)
	if !ok {
		return nil
	}
	user := userOf(g)
	if user == "" {
		v, err := s.verifyWith(ctx, p, app, g.Credentials)
		if err != nil {
			return fmt.Errorf("reading who gave the grant: %w", err)
		}
		user = cmp.Or(v.UserID, v.Account.ID)
	}
	others, err := s.Store.UserConnections(ctx, p.Describe().Name, user)
	if err != nil || len(others) > 0 {
		return err
	}
	if waits, err := s.hasConsent(ctx, p.Describe().Name, user); err != nil || waits {
		return err
	}
	return s.revokeWith(ctx, revoker, app, g.Credentials, user)
}

// hasConsent reports whether a consent of the person may still lead to a connection.
// If it does not, it revokes the grant itself.
func (s *Service) hasConsent(ctx context.Context, platform Name, user string) (bool, error) {
	keys, err := s.Store.UserRecords(ctx, platform, user)
	if err != nil {
		return false, internal("finding consents of the same person", err)
	}
	for _, key := range keys {
		if key.Kind != StateKind {
			continue
		}
		c, err := s.readConsent(ctx, key.ID)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return false, err
		case c.record.Phase != consentDone:
			return true, nil
		}
	}
	return false, nil
}

// The scopes of a connection are computed here alone.

// maxMissing bounds the missing scopes of a record. A platform that names other
// scopes each time would fill it.
const maxMissing = 100

// setScopes records the scopes that a consent granted, and which of the
// requested ones it lacks.
func (c *Connection) setScopes(requested, granted []string) {
	c.Scopes = slices.Clone(granted)
	lacking := missing(requested, granted)
	c.MissingScopes = lacking[:min(len(lacking), maxMissing)]
}

// updateScopes records the scopes that the platform named since the consent.
// A scope that the connection had or lacked before, and that is not among
// them, is missing. A platform that names none has said nothing.
func (c *Connection) updateScopes(granted []string) {
	if len(granted) > 0 {
		c.setScopes(union(c.Scopes, c.MissingScopes), granted)
	}
}

// missing returns the requested scopes that are not granted, in their order.
func missing(requested, granted []string) []string {
	var lacking []string
	for _, scope := range requested {
		if !slices.Contains(granted, scope) {
			lacking = append(lacking, scope)
		}
	}
	return lacking
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, scope := range b {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}
