package connector

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// ImportRequest brings credentials that a person has already.
type ImportRequest struct {
	Platform    Name
	Owner       string
	AccountName string // where the platform does not tell a name
	Credentials Fields
	SkipVerify  bool // store without asking the platform
}

// Imported is what came of an import.
type Imported struct {
	Connections []Connection
	Warnings    []string
	// Stored says that a connection was created, or its credentials replaced. Without
	// it the connections are as they were.
	Stored bool
}

// Import stores credentials in one of the brief's shapes, after the platform
// said that they work. On a platform whose app is in manual mode, an import
// without credentials makes a connection that posts by hand.
//
// An import ends nothing that lives. A refresh token that came in by an import before,
// or was handed out, is neither sent nor stored again while its connection stands: that
// connection is returned. An import replaces the credentials of an active connection
// only where the platform said that they are newer, or that those of the connection no
// longer work.
//
// It fails with InvalidRequest naming the field, also for a refresh token of another
// owner's connection; with RateLimited where a budget is used up; with
// PlatformUnavailable where the same credentials are being imported; and with what the
// platform answers. Then nothing is changed.
func (s *Service) Import(ctx context.Context, r ImportRequest) (Imported, error) {
	p, err := s.platform(r.Platform)
	if err != nil {
		return Imported{}, err
	}
	if err := r.check(); err != nil {
		return Imported{}, err
	}
	if !mayActFor(ctx, r.Owner) {
		return Imported{}, errConnectionNotFound()
	}
	if r.Credentials, err = readCredentials(p, r.Credentials); err != nil {
		return Imported{}, err
	}
	began := s.Now().UTC()
	app, err := s.app(ctx, r.Platform)
	if err != nil {
		return Imported{}, err
	}
	if len(r.Credentials) == 0 {
		if app.Mode != ByHand {
			return Imported{}, Invalid("credentials", "missing")
		}
		return s.importManual(ctx, p, r)
	}
	if err := s.CredentialStore.Prepare(ctx); err != nil {
		return Imported{}, internal("preparing the credential store", err)
	}
	if err := s.spendImport(ctx, r); err != nil {
		return Imported{}, err
	}
	i := &importing{Service: s, platform: p, app: app, request: r, began: began}
	return i.run(ctx)
}

// importing is an import under way.
type importing struct {
	*Service
	platform Platform
	app      App
	request  ImportRequest
	began    time.Time
	brought  Grant        // as the fields tell it; zero where only the platform can
	token    *tokenImport // the right to send the refresh token; nil where there is none
	reserved charge       // for the connections that the import may create
	newID    ID           // of the connection that it may create
	intended bool         // a ticket says that credentials may be stored for newID
	unnamed  bool         // the platform renewed the credentials, and did not confirm their account
	imported Imported
}

func (i *importing) run(ctx context.Context) (Imported, error) {
	if err := i.readBrought(ctx); err != nil {
		return Imported{}, err
	}
	if token := i.brought.Credentials.Fields[refreshToken]; !token.Empty() {
		claimed, standing, err := i.claimToken(ctx, i.platform, i.request.Owner, token)
		if err != nil {
			return Imported{}, err
		}
		if standing != nil {
			stored, err := i.storedToken(ctx, *standing)
			if err != nil {
				return Imported{}, err
			}
			if stored.Equal(token) || i.rotates(i.brought) {
				return i.returnStanding(ctx, *standing, stored.Equal(token), claimed.shared)
			}
			// Nothing is spent: the platform may be asked, for the account that is known.
			i.brought.Account = Account{ID: standing.AccountID, Name: standing.AccountName}
		} else {
			i.token, i.newID = claimed, claimed.claim.ID
		}
	}
	c, stands, err := i.standsBeforeSending(ctx)
	if err != nil || stands {
		i.token.unused(ctx)
		return i.imported.with(c, stands), err
	}
	if i.token != nil {
		// One grant comes of it. Once its refresh token is spent no budget may refuse it.
		if i.reserved, err = i.spendAccounts(ctx, i.request.Platform, []Grant{i.brought}, destination{owner: i.request.Owner}); err != nil {
			i.token.unused(ctx)
			return Imported{}, err
		}
	}
	err = i.intendRenewal(ctx)
	var grants []Grant
	if err == nil {
		grants, err = i.ask(ctx)
	}
	if err != nil {
		i.dropIntent(ctx)
		i.token.unused(ctx)
		i.refundUnused(ctx, i.reserved, nil)
		return Imported{}, err
	}
	// The refresh token may be spent: the work is done even if the caller has gone.
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	i.storeRenewed(ctx, grants)
	i.completeImported(grants)
	if err := i.saveImported(ctx, grants); err != nil {
		i.token.failed(ctx)
		return Imported{}, err
	}
	return i.imported, nil
}

// readBrought reads what the fields tell without the platform. Some fields only the
// platform can tell anything about; none of them is a refresh token.
func (i *importing) readBrought(ctx context.Context) error {
	grants, err := i.platform.Import(ctx, i.app, i.request.Credentials, false)
	switch {
	case err != nil && (i.request.SkipVerify || !i.request.Credentials[refreshToken].Empty()):
		return internal("importing credentials", err)
	case err == nil && len(grants) > 0:
		i.brought = grants[0]
	}
	return nil
}

// storedToken returns the refresh token that c has now; the empty Secret where the vault
// lost it.
func (i *importing) storedToken(ctx context.Context, c Connection) (Secret, error) {
	creds, _, err := i.CredentialStore.Latest(ctx, c.credentialsKey(), c.Credentials)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Secret{}, internal("reading credentials", err)
	}
	return creds.Fields[refreshToken], nil
}

// returnStanding returns the connection that the refresh token belongs to. Where it is
// still the one that is stored, the connection is verified by the protocol that all
// refreshes follow.
func (i *importing) returnStanding(ctx context.Context, c Connection, current, shared bool) (_ Imported, err error) {
	switch {
	case !current:
		i.warn(c, "the connector had this refresh token before, and its connection has newer credentials: it was neither sent nor stored")
	case !i.request.SkipVerify:
		switch err := i.checkResting(ctx, c); {
		case errors.Is(err, Suspended):
			i.warn(c, "it is suspended, and was not verified")
		case err != nil:
			return Imported{}, err
		default:
			if c, err = i.verify(ctx, i.platform, c); err != nil {
				return Imported{}, err
			}
		}
	}
	if shared {
		i.warnShared(c)
	}
	if c.Status == NeedsReauth {
		i.warn(c, errReauth(c.StatusReason).Message)
	}
	return i.imported.with(c, true), nil
}

// standsBeforeSending looks for the connection to the account before the refresh token
// is sent, where the fields tell the account. It asks for the accounts of stand-ins, one
// of which may be a connection to the account that the platform is going to name.
func (i *importing) standsBeforeSending(ctx context.Context) (Connection, bool, error) {
	if !i.request.SkipVerify {
		i.nameStandIns(ctx, i.platform, i.request.Owner, i.verify)
	}
	if i.brought.Account.ID == "" {
		return Connection{}, false, nil
	}
	c, err := i.Store.FindAccount(ctx, i.request.Owner, i.platform.Describe().Name, i.brought.Account.ID)
	if errors.Is(err, ErrNotFound) {
		return Connection{}, false, nil
	}
	if err != nil {
		return Connection{}, false, internal("finding the connection", err)
	}
	if !i.request.SkipVerify && !i.rotates(i.brought) {
		return Connection{}, false, nil // the platform accepts both
	}
	return i.stands(ctx, c, i.brought)
}

// stands reports whether c keeps its credentials, and g is not stored: where c is
// active, unless the platform has said that g is newer. It says so by renewing g, and
// by accepting g where no refresh spends anything. Otherwise the platform is asked
// whether the credentials of c work.
func (i *importing) stands(ctx context.Context, c Connection, g Grant) (Connection, bool, error) {
	switch {
	case c.Status != Active, i.renewed(g):
		return c, false, nil
	case i.request.SkipVerify:
		i.warn(c, "the account has an active connection, which only a verified import replaces: nothing was changed")
		return c, true, nil
	case !i.rotates(g):
		return c, false, nil
	}
	err := i.checkResting(ctx, c)
	var verified Connection
	if err == nil {
		verified, err = i.verify(ctx, i.platform, c)
	}
	switch {
	case err == nil:
		i.warn(verified, "the account has a connection that works: nothing was changed")
		return verified, true, nil
	case errors.Is(err, ReauthorizationRequired), errors.Is(err, AccountMismatch), errors.Is(err, ConnectionNotFound):
		return c, false, nil
	}
	e := *AsError(err)
	e.Message, e.Err = "nothing was changed, since the account has a connection and it is not known whether it works: "+e.Message, err
	return c, false, &e
}

// rotates reports whether a refresh of g spends its refresh token.
func (i *importing) rotates(g Grant) bool { return rotates(i.platform, g.Credentials.ExpiresAt) }

// renewed reports whether the verification spent the refresh token of the import.
func (i *importing) renewed(g Grant) bool {
	return g.Credentials.renewable() && !g.Credentials.Fields[refreshToken].Equal(i.brought.Credentials.Fields[refreshToken])
}

// ask asks the platform about the credentials. Where it renewed them and then failed, they
// are returned nevertheless, since nothing else holds them.
func (i *importing) ask(ctx context.Context) ([]Grant, error) {
	if i.request.SkipVerify {
		return []Grant{i.brought}, nil
	}
	grants, err := exchangeInTime(ctx, i.Service, i.app, func(ctx context.Context, app App) ([]Grant, error) {
		return i.platform.Import(ctx, app, i.request.Credentials, true)
	})
	if err != nil && len(grants) > 0 {
		i.Log.WarnContext(ctx, "the account of renewed credentials of an import is not known", "platform", string(i.platform.Describe().Name), "error", err)
		i.unnamed = true
		return grants, nil
	}
	if err != nil {
		return nil, internal("importing credentials", err)
	}
	return grants, nil
}

// with returns the imported with a connection that stands.
func (i Imported) with(c Connection, stands bool) Imported {
	if !stands {
		return Imported{}
	}
	i.Connections = append(i.Connections, c)
	return i
}

func (i *importing) warn(c Connection, warning string) {
	i.imported.Warnings = append(i.imported.Warnings, cmp.Or(c.AccountName, string(c.ID))+": "+warning)
}

func (i *importing) warnShared(c Connection) {
	i.warn(c, "the refresh token is also that of another connection: if one of them is disconnected, the other may end too")
}

// spendImport reserves an import, and the verification that it asks for.
func (s *Service) spendImport(ctx context.Context, r ImportRequest) error {
	charges := []charge{s.chargeOwner(ImportsPerOwner, r.Owner, 1)}
	if !r.SkipVerify {
		charges = append(charges, s.chargeOwner(VerificationsPerOwner, r.Owner, 1))
	}
	return s.spend(ctx, charges...)
}

// importManual makes a connection that posts by hand.
func (s *Service) importManual(ctx context.Context, p Platform, r ImportRequest) (Imported, error) {
	if err := s.spend(ctx, s.chargeOwner(ImportsPerOwner, r.Owner, 1)); err != nil {
		return Imported{}, err
	}
	c, created, err := s.createManual(ctx, p, r.Owner, r.AccountName)
	if err != nil {
		return Imported{}, err
	}
	return Imported{Connections: []Connection{c}, Stored: created}, nil
}

// check checks what does not depend on the platform.
func (r ImportRequest) check() error {
	if err := checkOwner(r.Owner); err != nil {
		return err
	}
	if r.AccountName != "" {
		if err := checkClean("account_name", r.AccountName, maxAccountName, AccountName); err != nil {
			return err
		}
	}
	return nil
}

// completeImported adds to the grants of an import what a platform leaves to its
// caller, or could not tell.
func (i *importing) completeImported(grants []Grant) {
	r := i.request
	verified := !r.SkipVerify && !i.unnamed
	for n := range grants {
		g := &grants[n]
		g.ConsentedAt = i.began
		if verified {
			g.VerifiedAt = i.Now().UTC()
			if g.Credentials.VerifiedKey == "" && i.platform.AppKey(i.app, g.Credentials) != "" && knowsSecret(i.app, r.Credentials) {
				g.Credentials.KnownSecret = secretFingerprint(i.app)
			}
		}
		if i.unnamed {
			// The answer to the renewal may have named the account.
			g.Account = Account{ID: g.Credentials.AccountID}
			g.UserID = g.Credentials.UserID
			g.Credentials.AccountOwed = g.Credentials.AccountID == ""
			g.Warning = "not_verified: the platform renewed the tokens, and did not confirm their account yet"
		}
		if r.SkipVerify || g.UserID == "" {
			g.UserID = provisionalID(i.platform, g.Credentials) // a claim without proof reaches no other connection
		}
		if g.Account.ID == "" {
			g.Account.ID = provisionalID(i.platform, g.Credentials)
		}
		if g.Account.Name == "" {
			g.Account.Name = r.AccountName
		}
	}
}

// saveImported saves the grants that a platform made of the credentials.
func (i *importing) saveImported(ctx context.Context, grants []Grant) (err error) {
	name := i.platform.Describe().Name
	var saved []Connection
	defer func() { i.refundUnused(ctx, i.reserved, saved) }()
	if err := i.retrySave(ctx, func() error { return i.checkErased(ctx, name, grants) }); err != nil {
		return err
	}
	to := destination{owner: i.request.Owner}
	if i.token == nil {
		if i.reserved, err = i.spendAccounts(ctx, name, grants, to); err != nil {
			return err
		}
	}
	for _, g := range grants {
		to.requested = i.platform.Describe().Scopes
		if g.ScopesUnknown || len(g.Credentials.Scopes) == 0 {
			to.requested = nil // what is missing is not known
		}
		var c Connection
		var stored bool
		err := i.retrySave(ctx, func() (err error) {
			c, stored, err = i.saveOne(ctx, g, to)
			return err
		})
		if err != nil {
			return err
		}
		i.imported.Connections = append(i.imported.Connections, c)
		if !stored {
			continue
		}
		i.imported.Stored, saved = true, append(saved, c)
		if g.Warning != "" {
			i.warn(c, g.Warning)
		}
		if i.token != nil && i.token.shared {
			i.warnShared(c)
		}
	}
	return nil
}

// retrySave tries again where a port failed, as long as there is time: the refresh token of
// the grant may be the only one that lives.
func (i *importing) retrySave(ctx context.Context, save func() error) error {
	for try := 0; ; try++ {
		err := save()
		if i.token == nil || !errors.Is(err, Internal) || try == persistTries || remaining(ctx) < rescueBudget || i.pause(ctx, try) != nil {
			return err
		}
	}
}

// saveOne saves a grant as saveGrant does, unless the connection to its account keeps
// its credentials: then it returns that one, and reports that nothing was stored.
func (i *importing) saveOne(ctx context.Context, g Grant, to destination) (c Connection, stored bool, err error) {
	if to.newID = i.newID; to.newID == "" {
		if to.newID, err = NewID(i.Random); err != nil {
			return Connection{}, false, internal("naming a connection", err)
		}
	}
	for {
		c, err = i.Store.FindAccount(ctx, to.owner, i.platform.Describe().Name, g.Account.ID)
		switch {
		case err == nil:
			c, stored, err = i.saveOn(ctx, c, g, to.requested)
			if errors.Is(err, ConnectionNotFound) && ctx.Err() == nil {
				continue // it was disconnected meanwhile
			}
			if err == nil {
				i.dropIntent(ctx)
			}
			return c, stored, err
		case !errors.Is(err, ErrNotFound):
			return Connection{}, false, internal("finding the connection", err)
		}
		if err := i.token.savesOn(ctx, to.newID); err != nil {
			return Connection{}, false, err
		}
		c, err = i.createConnection(ctx, i.platform, g, to)
		if err == nil {
			i.token.saved(ctx, c)
		}
		if !errors.Is(err, ErrConflict) {
			return c, err == nil, err
		}
		// Another consent connected the same account at the same time.
		if i.newID, i.intended = to.newID, true; ctx.Err() != nil {
			return Connection{}, false, internal("storing a connection", ctx.Err())
		}
	}
}

// saveOn saves a grant on a connection to its account, unless that keeps its
// credentials.
func (i *importing) saveOn(ctx context.Context, c Connection, g Grant, requested []string) (Connection, bool, error) {
	if i.token != nil {
		// A try before this one may have stored the grant although it failed.
		stored, err := i.storedToken(ctx, c)
		if err != nil {
			return Connection{}, false, err
		}
		if stored.Equal(g.Credentials.Fields[refreshToken]) {
			i.token.saved(ctx, c)
			return c, true, nil
		}
	}
	kept, stands, err := i.stands(ctx, c, g)
	if err != nil {
		return Connection{}, false, err
	}
	if stands {
		i.token.unused(ctx)
		return kept, false, nil
	}
	if err := i.token.savesOn(ctx, c.ID); err != nil {
		return Connection{}, false, err
	}
	saved, err := i.replaceCredentials(ctx, i.platform, c, g, destination{requested: requested})
	if err == nil {
		i.token.saved(ctx, saved)
	}
	return saved, err == nil, err
}

// provisionalID stands for an account or a person that no platform has named
// yet. It is the same for the same credentials.
func provisionalID(p Platform, creds Credentials) string {
	proof := creds.Fields[refreshToken]
	if proof.Empty() {
		proof, _, _ = p.Token(App{}, creds)
	}
	return provisionalPrefix + hash(proof)[:16]
}

// createManual creates a connection without credentials, for an owner who posts
// by hand until the platform approves the app.
func (s *Service) createManual(ctx context.Context, p Platform, owner, accountName string) (c Connection, created bool, err error) {
	account := "manual"
	if accountName != "" {
		account += ":" + accountName
	}
	if c, err := s.Store.FindAccount(ctx, owner, p.Describe().Name, account); err == nil {
		return c, false, nil
	}
	id, err := NewID(s.Random)
	if err != nil {
		return Connection{}, false, internal("naming a connection", err)
	}
	now := s.Now().UTC()
	c, err = s.commitAndTell(ctx, Change{After: &Connection{
		ID: id, Platform: p.Describe().Name, Owner: owner, AccountID: account, AccountName: accountName,
		Status: Manual, StatusReason: reasonAppNotApproved, CreatedAt: now, UpdatedAt: now,
	}})
	if err != nil {
		return Connection{}, false, internal("storing a connection", err)
	}
	return c, true, nil
}
