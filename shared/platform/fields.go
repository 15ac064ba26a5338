package platform

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

// shape is the form in which people have a platform's credentials.
type shape struct {
	id, secret string   // names of the app's id and secret
	required   []string // beside those two
	optional   []string
	public     bool // an app may have no secret
}

// names returns every field of the shape.
func (s shape) names() []string {
	return slices.Concat([]string{s.id, s.secret}, s.required, s.optional)
}

// fieldPattern is what may be a field's name. Secrets, pasted in its place, have
// digits or are longer.
var fieldPattern = regexp.MustCompile(`^[a-z][a-z_]{0,31}$`)

// take checks credentials that a person brought and returns a copy of what is
// in them. The app's id and secret may be left out where app holds them; where
// they name the same app they are left out of the copy, so that a new secret
// of the app reaches these credentials too.
func (s shape) take(app connector.App, fields connector.Fields) (connector.Fields, error) {
	known := s.names()
	taken := connector.Fields{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := strings.TrimSpace(fields.Get(name))
		switch {
		case !slices.Contains(known, name) && !fieldPattern.MatchString(name):
			return nil, connector.Invalid("credentials", "has a field that is none of "+strings.Join(known, ", "))
		case !slices.Contains(known, name):
			return nil, connector.Invalid("credentials."+name, "unknown; the fields are "+strings.Join(known, ", "))
		case !credible(value):
			return nil, connector.Invalid("credentials."+name, "longer than 8 KiB, or has characters that no such value has")
		}
		taken.Set(name, value)
	}
	for _, name := range s.required {
		if taken.Get(name) == "" {
			return nil, connector.Invalid("credentials."+name, "missing")
		}
	}
	if id := taken.Get(s.id); id == "" || id == app.ClientID {
		if app.ClientID == "" {
			return nil, connector.Invalid("credentials."+s.id, "missing, and no app is configured to take it from")
		}
		delete(taken, s.id)
		delete(taken, s.secret)
	} else if taken.Get(s.secret) == "" && !s.public {
		return nil, connector.Invalid("credentials."+s.secret, "missing")
	}
	return taken, nil
}

// full returns fields in the form in which people have them: every field of
// the shape and no other, empty where there is nothing.
func (s shape) full(app connector.App, fields connector.Fields) connector.Fields {
	whole := connector.Fields{}
	for _, name := range s.names() {
		whole[name] = fields[name]
	}
	c := s.client(app, fields)
	whole[s.id], whole[s.secret] = connector.NewSecret(c.id), c.secret
	return whole
}

// client is the app that credentials belong to.
type client struct {
	id     string
	secret connector.Secret
}

// client returns the app of credentials: the one that they brought, or the
// configured one.
func (s shape) client(app connector.App, fields connector.Fields) client {
	if id := fields.Get(s.id); id != "" {
		return client{id: id, secret: fields[s.secret]}
	}
	return client{id: app.ClientID, secret: app.ClientSecret}
}

// pastedTime reads an instant that a person brought: RFC 3339, what Python's
// datetime.isoformat prints (without a zone: UTC), or seconds since 1970.
func pastedTime(fields connector.Fields, name string) (time.Time, error) {
	value := fields.Get(name)
	if value == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, value); err == nil && t.Year() > 1970 && t.Year() < 2200 {
			return t.UTC(), nil
		}
	}
	n, err := strconv.ParseFloat(value, 64)
	if err == nil && n > 0 && n < 7258118400 { // 2200-01-01
		return time.Unix(int64(n), 0).UTC(), nil
	}
	return time.Time{}, connector.Invalid("credentials."+name, "neither RFC 3339 nor seconds since 1970")
}

// setTime writes an instant as credentials hold it; a zero one removes it.
func setTime(fields connector.Fields, name string, t time.Time) {
	if t.IsZero() {
		delete(fields, name)
		return
	}
	fields.Set(name, t.UTC().Format(time.RFC3339))
}

// broughtTokens returns the credentials of an import with a refresh token. An
// access token whose end nobody tells is due at once.
func (w wire) broughtTokens(fields connector.Fields) (connector.Credentials, error) {
	expires, err := pastedTime(fields, "token_expiry")
	if err != nil {
		return connector.Credentials{}, err
	}
	now := w.now().UTC()
	if expires.IsZero() {
		expires = now
	}
	setTime(fields, "token_expiry", expires)
	return connector.Credentials{Fields: fields, IssuedAt: now, ExpiresAt: expires}, nil
}

// verifyBrought asks whose account the tokens of an import are for. It refreshes
// them only if the access token does not work: that spends the refresh token
// which the person still has. Without a refresh the platform does not say what
// was granted, and the scopes are those in proven: what asking needs, and what
// the fields themselves show.
func (w wire) verifyBrought(grant *connector.Grant, proven []string,
	whose func(connector.Credentials) (connector.Account, error),
	refresh func(connector.Credentials) (connector.Credentials, error),
) (connector.Account, error) {
	account, err := connector.Account{}, error(w.grantDead("", nil))
	if grant.Credentials.ExpiresAt.After(w.now()) {
		account, err = whose(grant.Credentials)
	}
	if err == nil {
		grant.Credentials.Scopes, grant.ScopesUnknown = proven, true
		grant.Warning = "scopes_unknown: " + w.title + " says what was granted only when it renews; refresh once to learn it"
		return account, nil
	}
	if !errors.Is(err, connector.ReauthorizationRequired) {
		return connector.Account{}, err
	}
	if grant.Credentials, err = refresh(grant.Credentials); err != nil {
		return connector.Account{}, err
	}
	if account, err = whose(grant.Credentials); err != nil {
		return connector.Account{}, spent(err)
	}
	return account, nil
}

// spent marks a failure that came after a single-use refresh token was
// redeemed, so that nobody presents that token again.
func spent(err error) error {
	e := *connector.AsError(err)
	e.Uncertain = true
	return &e
}
