package connector

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// This file decides which credentials the keys of the app may be handed out with.
// It decides each time a token is handed out, and from what is stored with the
// credentials: a record, and who can write one, proves nothing.

// appProven reports whether the platform accepted creds with the key that app has
// now, or whether the importer knew the secret that app has now.
func (s *Service) appProven(p Platform, app App, creds Credentials) bool {
	key := p.AppKey(app, creds)
	switch {
	case key == "":
		return false
	case creds.VerifiedKey == key:
		return true
	case creds.ClientID != "":
		return creds.ClientID == app.ClientID // a consent was given to this very client
	}
	return creds.KnownSecret != "" && creds.KnownSecret == secretFingerprint(app)
}

// proofOwed reports whether the platform should be asked whether it accepts creds
// with the app's key: the previous release, which stored no proof, recorded that
// the platform verified the connection. The record is only a reason to ask. An
// import that was never verified is not asked for here, so that nobody spends the
// app's calls on it.
func (s *Service) proofOwed(p Platform, app App, c Connection, creds Credentials) bool {
	imported := creds.ClientID == ""
	return imported && refreshProvesKey(p) && creds.VerifiedKey == "" && !c.VerifiedAt.IsZero() && p.AppKey(app, creds) != "" && !s.appProven(p, app, creds)
}

// appToHandOut returns what may be handed out of app with creds: all or nothing.
func (s *Service) appToHandOut(p Platform, app App, creds Credentials) App {
	if s.WithholdAppKeys || !s.appProven(p, app, creds) {
		return App{}
	}
	return app
}

// withoutAppKeys returns fields without those that have a value of app, where the
// deployment keeps the keys of its apps. An import can have brought them before
// the app was stored.
func (s *Service) withoutAppKeys(app App, fields Fields) Fields {
	if !s.WithholdAppKeys {
		return fields
	}
	keys := []Secret{app.ClientSecret, app.PreviousSecret}
	for _, extra := range app.Extras {
		keys = append(keys, extra)
	}
	kept := Fields{}
	for name, value := range fields {
		if value.Empty() || !slices.ContainsFunc(keys, value.Equal) {
			kept[name] = value
		}
	}
	return kept
}

// secretFingerprint identifies the client secret of an app.
func secretFingerprint(app App) string {
	if app.ClientSecret.Empty() {
		return ""
	}
	return hash(NewSecret(app.ClientID + "\x00" + app.ClientSecret.Reveal()))
}

// knowsSecret reports whether imported fields contain the client secret of app.
func knowsSecret(app App, fields Fields) bool {
	for _, value := range fields {
		given := NewSecret(strings.TrimSpace(value.Reveal()))
		if !app.ClientSecret.Empty() && given.Equal(app.ClientSecret) {
			return true
		}
	}
	return false
}

// verifiedWithAnotherKey reports whether the platform accepted the credentials with
// another key than the one that the stored app has now.
func (a *attempt) verifiedWithAnotherKey() bool {
	key := a.platform.AppKey(a.app, a.credentials)
	return key != "" && a.credentials.VerifiedKey != "" && key != a.credentials.VerifiedKey
}

// withProofs returns renewed credentials with what their exchange proved, and what
// the credentials before them had proved.
func (a *attempt) withProofs(renewed Credentials) Credentials {
	before := a.credentials
	renewed.VerifiedKey, renewed.KnownSecret = before.VerifiedKey, before.KnownSecret
	if key := a.platform.AppKey(a.app, before); key != "" && before.ClientID == "" && refreshProvesKey(a.platform) {
		renewed.VerifiedKey, renewed.KnownSecret = key, ""
	}
	if renewed.AccountID != "" {
		renewed.AccountOwed = false
		return renewed
	}
	renewed.AccountID = before.AccountID
	imported := before.ClientID == ""
	renewed.AccountOwed = before.AccountOwed || imported && before.AccountID == "" && !renewed.Fields.Equal(before.Fields)
	return renewed
}

// refreshProvesKey reports whether a refresh takes the key of the app. On a platform of
// the model Extending the access token alone is enough.
func refreshProvesKey(p Platform) bool { return p.Describe().Cadence.Model != Extending }

// mustStore reports whether the renewed credentials differ from those before, or
// prove something else.
func (a *attempt) mustStore() bool {
	return !a.onlyChecked() || a.renewed.VerifiedKey != a.credentials.VerifiedKey || a.connection.accountChanged(a.renewed)
}

// onlyChecked reports whether the exchange returned the credentials as they were.
func (a *attempt) onlyChecked() bool { return a.renewed.Fields.Equal(a.credentials.Fields) }

// readCredentials returns the credentials that c refers to.
func (s *Service) readCredentials(ctx context.Context, c Connection) (Credentials, error) {
	creds, err := s.CredentialStore.Get(ctx, c.credentialsKey(), c.Credentials)
	if errors.Is(err, ErrNotFound) {
		creds, _, err = s.CredentialStore.Latest(ctx, c.credentialsKey(), c.Credentials)
	}
	if err != nil {
		return Credentials{}, s.credentialsError(ctx, c, err)
	}
	return creds, nil
}

// usableCredentials returns c with credentials that may be used for its account.
// Where the platform must still be asked for the account, it is asked now.
func (s *Service) usableCredentials(ctx context.Context, p Platform, c Connection) (Connection, Credentials, error) {
	creds, err := s.readCredentials(ctx, c)
	if err == nil && c.accountOwed(creds) {
		c, creds, err = s.prove(ctx, p, c, creds)
	}
	if err != nil {
		return c, Credentials{}, err
	}
	return c, creds, c.checkAccount(creds)
}

// prove has the platform prove what creds have not proved yet, by a refresh, and
// returns c with the credentials after it. Beside an error it returns those before.
func (s *Service) prove(ctx context.Context, p Platform, c Connection, creds Credentials) (Connection, Credentials, error) {
	proven, err := s.refresh(ctx, p, c, freshness{newerThan: creds.Generation})
	if err == nil {
		err = proven.usable(p)
	}
	if err != nil {
		return proven, creds, err
	}
	renewed, err := s.readCredentials(ctx, proven)
	if err != nil {
		return proven, creds, err
	}
	return proven, renewed, proven.checkAccount(renewed)
}

// refreshOnlyChecks reports whether a refresh of creds renews nothing.
func refreshOnlyChecks(p Platform, creds Credentials) bool {
	return p.Describe().Cadence.Model == Permanent || creds.ExpiresAt.IsZero()
}
