package platform

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

// shape is the form of a platform's credentials as people import them.
type shape struct {
	id, secret string   // names of the app's id and secret
	required   []string // beside those two
	optional   []string
	public     bool // an app may lack a secret
}

// names returns every field of the shape.
func (s shape) names() []string {
	return slices.Concat([]string{s.id, s.secret}, s.required, s.optional)
}

// needed returns the fields that an import must have where no app is configured.
func (s shape) needed() []string {
	if s.public {
		return append([]string{s.id}, s.required...)
	}
	return append([]string{s.id, s.secret}, s.required...)
}

// parse checks the fields of an import, which a table of names has read, and
// returns a copy. The credentials need not have the id and the secret of a
// configured app. The copy leaves them out if they are those of app, so that a new
// secret of the app applies to the credentials too. The error names every field
// that is missing.
func (s shape) parse(app connector.App, fields connector.Fields) (connector.Fields, error) {
	p := problems{prefix: "credentials."}
	known := s.names()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, name) {
			p.add(name, "not beside the other fields; the fields are "+strings.Join(known, ", "))
		}
	}
	for _, name := range s.required {
		if fields[name].Empty() {
			p.missing = append(p.missing, name)
		}
	}
	parsed := fields.Clone()
	switch id := parsed.Get(s.id); {
	case id == "" && app.ClientID == "":
		if parsed[s.secret].Empty() && !s.public {
			p.missing = append(p.missing, s.secret)
		}
		p.add(s.id, "missing, and no app is configured to take it from")
	case id == "" || id == app.ClientID:
		delete(parsed, s.id)
		delete(parsed, s.secret)
	case parsed[s.secret].Empty() && !s.public:
		p.missing = append(p.missing, s.secret)
	}
	return parsed, p.err()
}

// complete returns fields with every field of the shape and no other. A field
// without a value is empty. Without an app the id and the secret are left out, and
// the secret also where the app has none.
func (s shape) complete(app connector.App, fields connector.Fields) connector.Fields {
	all := connector.Fields{}
	for _, name := range s.names() {
		all[name] = fields[name]
	}
	c := s.client(app, fields)
	if c.id == "" {
		delete(all, s.id)
		delete(all, s.secret)
		return all
	}
	all[s.id], all[s.secret] = connector.NewSecret(c.id), c.secret
	if c.secret.Empty() && fields[s.id].Empty() {
		delete(all, s.secret)
	}
	return all
}

// appKey returns the fingerprint of the app's id, if fields have no id of their
// own. It is empty where the app lacks its id, or a secret that it must have.
func (s shape) appKey(app connector.App, fields connector.Fields) string {
	if !fields[s.id].Empty() || app.ClientID == "" || app.ClientSecret.Empty() && !s.public {
		return ""
	}
	sum := sha256.Sum256([]byte(s.id + "=" + app.ClientID))
	return hex.EncodeToString(sum[:16])
}

// client is the app that credentials belong to.
type client struct {
	id     string
	secret connector.Secret
}

// client returns the app of imported credentials that have one, else the
// configured app.
func (s shape) client(app connector.App, fields connector.Fields) client {
	if id := fields.Get(s.id); id != "" {
		return client{id: id, secret: fields[s.secret]}
	}
	return client{id: app.ClientID, secret: app.ClientSecret}
}

// setTime sets a field to a time in RFC 3339. The zero time removes the field.
func setTime(fields connector.Fields, name string, t time.Time) {
	if t.IsZero() {
		delete(fields, name)
		return
	}
	fields.Set(name, t.UTC().Format(time.RFC3339))
}

// importedTime returns the time of a field that a table of names has read, but none
// after now and the longest life that is documented for it.
func (w wire) importedTime(fields connector.Fields, name string, longest time.Duration) time.Time {
	t, ok := parseInstant(fields.Get(name))
	if !ok || t.IsZero() {
		return time.Time{}
	}
	return earlier(t, w.now().UTC().Add(longest))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// importedTokens returns the credentials of an import with a refresh token. An
// access token without an expiry counts as expired, so that it is refreshed at
// once, and so does an access token that the import lacks. longest is the
// documented life of an access token: no file knows of a longer one.
func (w wire) importedTokens(fields connector.Fields, longest time.Duration) connector.Credentials {
	now := w.now().UTC()
	expires := w.importedTime(fields, "token_expiry", longest)
	if expires.IsZero() || fields["access_token"].Empty() {
		expires = now
	}
	setTime(fields, "token_expiry", expires)
	return connector.Credentials{Fields: fields, IssuedAt: now, ExpiresAt: expires}
}

// verifyImportedTokens looks up the account of imported tokens. It refreshes
// them only if the access token does not work, because a refresh spends the
// refresh token that the person still has. Without a refresh the platform does
// not return the granted scopes. They are provenScopes then: those that the
// lookup needs, and those that the fields imply.
func (w wire) verifyImportedTokens(grant *connector.Grant, provenScopes []string,
	lookUpAccount func(connector.Credentials) (connector.Account, error),
	refresh func(connector.Credentials) (connector.Credentials, error),
) (connector.Account, error) {
	account, err := connector.Account{}, error(w.grantDead("", nil))
	if grant.Credentials.ExpiresAt.After(w.now()) {
		account, err = lookUpAccount(grant.Credentials)
	}
	if err == nil {
		grant.Credentials.Scopes, grant.ScopesUnknown = provenScopes, true
		grant.Warning = "scopes_unknown: " + w.title + " returns the scopes only with a refresh; refresh the connection once"
		return account, nil
	}
	if !errors.Is(err, connector.ReauthorizationRequired) {
		return connector.Account{}, err
	}
	renewed, err := refresh(grant.Credentials)
	if err != nil {
		return connector.Account{}, err
	}
	// If the lookup fails, the grant has the renewed tokens.
	grant.Credentials = renewed
	if account, err = lookUpAccount(grant.Credentials); err != nil {
		return connector.Account{}, markUncertain(err)
	}
	grant.Credentials.AccountID = account.ID
	return account, nil
}

// ifRenewed returns grant if its refresh token is another than the imported one: the
// import spent that.
func ifRenewed(grant connector.Grant, imported connector.Credentials) []connector.Grant {
	if grant.Credentials.Fields["refresh_token"].Equal(imported.Fields["refresh_token"]) {
		return nil
	}
	return []connector.Grant{grant}
}

// markUncertain returns err as Uncertain, for a failure after a refresh token
// that works once was spent. The caller must not send that token again.
func markUncertain(err error) error {
	e := *connector.AsError(err)
	e.Uncertain = true
	return &e
}
