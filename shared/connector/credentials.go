package connector

import (
	"maps"
	"time"
)

// Fields is platform-shaped credentials: the flat JSON object of the brief,
// each value a secret until someone needs it.
type Fields map[string]Secret

// Set stores a value under name; an empty one removes the name.
func (f Fields) Set(name, value string) {
	if value == "" {
		delete(f, name)
		return
	}
	f[name] = NewSecret(value)
}

// Get returns the plain value under name, "" where there is none.
func (f Fields) Get(name string) string { return f[name].Reveal() }

// Clone returns a copy that can be changed.
func (f Fields) Clone() Fields { return maps.Clone(f) }

// Equal reports whether both hold the same values.
func (f Fields) Equal(other Fields) bool { return maps.EqualFunc(f, other, Secret.Equal) }

// Reveal returns the plain object, for a credential store, or for a caller who
// may have it.
func (f Fields) Reveal() map[string]string {
	plain := make(map[string]string, len(f))
	for name, value := range f {
		plain[name] = value.Reveal()
	}
	return plain
}

// Credentials is what proves one authorization, with what the platform said
// about it. The times repeat what the fields say in the platform's own form,
// so that only the platform needs to know that form.
type Credentials struct {
	Fields Fields
	Scopes []string // granted

	IssuedAt       time.Time
	ExpiresAt      time.Time // of the access token; zero: it does not expire
	GrantExpiresAt time.Time // of the refresh token, or of the consent; zero: unknown or never

	// Generation orders the credentials of one connection: each renewal is
	// one more than what it renewed.
	Generation int64

	// ClientID is the app that a consent was given to; empty where the
	// credentials brought their own client, or where it is not known. The
	// refusal of an app that replaced it says nothing about the grant.
	ClientID string

	// UserID is who consented, where the answer to a Refresh named them. It is
	// not stored with the credentials.
	UserID string

	// ConsentID is that of Connection: it tells a renewal from a new consent.
	// It is empty in credentials that the previous release stored.
	ConsentID string

	// ConsentedAt is when the consent began that the credentials descend from; zero
	// for those of an import. Refresh gets it. It is not stored with the credentials.
	ConsentedAt time.Time

	// VerifiedKey is the fingerprint of the app's key with which the platform
	// accepted imported credentials: see Platform.AppKey. It is empty where the
	// platform was not asked, and in credentials that the previous release stored.
	VerifiedKey string

	// KnownSecret is the fingerprint of the app's client secret, if the importer
	// sent that secret and the platform accepted the tokens. It is replaced by
	// VerifiedKey once a call with the app's key succeeds.
	KnownSecret string

	// AccountID is the account that the platform named after an exchange of these
	// credentials; empty where it named none.
	AccountID string

	// AccountOwed says that an exchange replaced imported tokens, and that the
	// platform must still be asked for their account.
	AccountOwed bool
}

// refreshToken is the field that the brief gives the refresh token on every
// platform that has one.
const refreshToken = "refresh_token"

// renewable reports whether c holds a refresh token.
func (c Credentials) renewable() bool { return !c.Fields[refreshToken].Empty() }
