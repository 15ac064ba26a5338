package connector

import (
	"context"
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
}

// Import stores credentials in one of the brief's shapes, after the platform
// said that they work. On a platform whose app is in manual mode, an import
// without credentials makes a connection that posts by hand.
//
// It fails with InvalidRequest naming the field, with RateLimited where a budget
// is used up, and with what the platform answers; then nothing is stored.
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
	grants, err := withCurrentOrPreviousSecret(ctx, s, app, clientRefused, func(app App) ([]Grant, error) {
		ctx, cancel, err := exchangeContext(ctx)
		if err != nil {
			return nil, err
		}
		defer cancel()
		return p.Import(ctx, app, r.Credentials, !r.SkipVerify)
	})
	if err != nil {
		return Imported{}, internal("importing credentials", err)
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	s.completeImported(p, app, r, grants, began)
	return s.saveImported(ctx, p, r, grants)
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
	c, err := s.createManual(ctx, p, r.Owner, r.AccountName)
	if err != nil {
		return Imported{}, err
	}
	return Imported{Connections: []Connection{c}}, nil
}

// check checks what does not depend on the platform.
func (r ImportRequest) check() error {
	if err := checkOwner(r.Owner); err != nil {
		return err
	}
	if r.AccountName != "" {
		if err := checkText("account_name", r.AccountName, maxAccountName); err != nil {
			return err
		}
	}
	return nil
}

// completeImported adds to the grants of an import what a platform leaves to its
// caller, or could not tell.
func (s *Service) completeImported(p Platform, app App, r ImportRequest, grants []Grant, began time.Time) {
	for i := range grants {
		g := &grants[i]
		g.ConsentedAt = began
		if !r.SkipVerify {
			g.VerifiedAt = s.Now().UTC()
			if g.Credentials.VerifiedKey == "" && p.AppKey(app, g.Credentials) != "" && knowsSecret(app, r.Credentials) {
				g.Credentials.KnownSecret = secretFingerprint(app)
			}
		}
		if r.SkipVerify || g.UserID == "" {
			g.UserID = provisionalID(p, g.Credentials) // a claim without proof reaches no other connection
		}
		if g.Account.ID == "" {
			g.Account.ID = provisionalID(p, g.Credentials)
		}
		if g.Account.Name == "" {
			g.Account.Name = r.AccountName
		}
	}
}

// saveImported saves the grants that a platform made of the credentials of r.
func (s *Service) saveImported(ctx context.Context, p Platform, r ImportRequest, grants []Grant) (Imported, error) {
	if err := s.checkErased(ctx, p.Describe().Name, grants); err != nil {
		return Imported{}, err
	}
	reserved, err := s.spendAccounts(ctx, r.Platform, grants, destination{owner: r.Owner})
	if err != nil {
		return Imported{}, err
	}
	var imported Imported
	defer func() { s.refundUnused(ctx, reserved, imported.Connections) }()
	for _, g := range grants {
		requested := p.Describe().Scopes
		if g.ScopesUnknown || len(g.Credentials.Scopes) == 0 {
			requested = nil // what is missing is not known
		}
		c, err := s.saveGrant(ctx, p, g, destination{owner: r.Owner, requested: requested})
		if err != nil {
			return Imported{}, err
		}
		imported.Connections = append(imported.Connections, c)
		if g.Warning != "" {
			imported.Warnings = append(imported.Warnings, c.AccountName+": "+g.Warning)
		}
	}
	return imported, nil
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
func (s *Service) createManual(ctx context.Context, p Platform, owner, accountName string) (Connection, error) {
	account := "manual"
	if accountName != "" {
		account += ":" + accountName
	}
	if c, err := s.Store.FindAccount(ctx, owner, p.Describe().Name, account); err == nil {
		return c, nil
	}
	id, err := NewID(s.Random)
	if err != nil {
		return Connection{}, internal("naming a connection", err)
	}
	now := s.Now().UTC()
	c, err := s.Store.Commit(ctx, Change{After: &Connection{
		ID: id, Platform: p.Describe().Name, Owner: owner, AccountID: account, AccountName: accountName,
		Status: Manual, StatusReason: reasonAppNotApproved, CreatedAt: now, UpdatedAt: now,
	}})
	if err != nil {
		return Connection{}, internal("storing a connection", err)
	}
	s.publish(ctx, EventConnected, c, "")
	return c, nil
}
