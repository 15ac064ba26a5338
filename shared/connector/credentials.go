package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"time"
)

// Fields is platform-shaped credentials: the flat JSON object of the brief,
// each value a secret until someone needs it.
type Fields map[string]Secret

// UnmarshalJSON takes a flat object. Numbers and booleans become their
// literal text, null is left out; anything nested is refused, naming the
// field.
func (f *Fields) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return Invalid("credentials", "not a JSON object")
	}
	*f = make(Fields, len(raw))
	for name, value := range raw {
		switch value = bytes.TrimSpace(value); {
		case bytes.Equal(value, []byte("null")):
		case value[0] == '"':
			var s string
			if err := json.Unmarshal(value, &s); err != nil {
				return notText(name)
			}
			(*f)[name] = NewSecret(s)
		case value[0] == '{' || value[0] == '[':
			return notText(name)
		default:
			(*f)[name] = NewSecret(string(value))
		}
	}
	return nil
}

// fieldName is what may be a field's name. Secrets have digits or are longer.
var fieldName = regexp.MustCompile(`^[a-z][a-z_]{0,31}$`)

// notText names a field that is no string, unless something else was pasted in
// the name's place.
func notText(name string) error {
	if !fieldName.MatchString(name) {
		return Invalid("credentials", "has a field that no platform has")
	}
	return Invalid("credentials."+name, "not a string")
}

// Set puts a value under name; an empty one removes the name.
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

// Reveal returns the plain object, for a vault, or for a caller who may have
// it.
func (f Fields) Reveal() map[string]string {
	plain := make(map[string]string, len(f))
	for name, value := range f {
		plain[name] = value.Reveal()
	}
	return plain
}

// Credentials is what proves one authorization, with what the platform said
// about it. The times repeat what the fields say in the platform's own
// manner, so that nobody but the platform needs to know that manner.
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
	// credentials brought their own client, or nobody knows. It keeps a
	// replaced app from condemning connections that it never had.
	ClientID string
}

// refreshToken is the field that the brief gives the refresh token on every
// platform that has one.
const refreshToken = "refresh_token"

// renewable reports whether c holds a refresh token.
func (c Credentials) renewable() bool { return !c.Fields[refreshToken].Empty() }

// storedNotes is what is kept beside the platform's fields:
//
//	{"client_id":…, "access_token":…, "stored": {"generation":3, "scopes":[…],
//	 "issued_at":…, "expires_at":…, "grant_expires_at":…}}
type storedNotes struct {
	Generation     int64      `json:"generation"`
	ClientID       string     `json:"client_id,omitempty"`
	Scopes         []string   `json:"scopes,omitempty"`
	IssuedAt       *time.Time `json:"issued_at,omitempty"`
	ExpiresAt      *time.Time `json:"expires_at,omitempty"`
	GrantExpiresAt *time.Time `json:"grant_expires_at,omitempty"`
}

const storedKey = "stored"

// encode is the one way from credentials to a vault. Any time is written in
// UTC.
func (c Credentials) encode() (Secret, error) {
	object := make(map[string]any, len(c.Fields)+1)
	for name, value := range c.Fields.Reveal() {
		object[name] = value
	}
	object[storedKey] = storedNotes{
		Generation:     c.Generation,
		ClientID:       c.ClientID,
		Scopes:         c.Scopes,
		IssuedAt:       timeOrNil(c.IssuedAt),
		ExpiresAt:      timeOrNil(c.ExpiresAt),
		GrantExpiresAt: timeOrNil(c.GrantExpiresAt),
	}
	b, err := json.Marshal(object)
	if err != nil {
		return Secret{}, fmt.Errorf("encoding credentials: %w", err)
	}
	return NewSecret(string(b)), nil
}

func decodeCredentials(s Secret) (Credentials, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s.Reveal()), &object); err != nil {
		return Credentials{}, fmt.Errorf("decoding credentials: not a JSON object")
	}
	var notes storedNotes
	if raw, ok := object[storedKey]; ok {
		if err := json.Unmarshal(raw, &notes); err != nil {
			return Credentials{}, fmt.Errorf("decoding credentials: %q is malformed", storedKey)
		}
	}
	c := Credentials{Fields: Fields{}, Scopes: notes.Scopes, Generation: notes.Generation, ClientID: notes.ClientID}
	for name, raw := range object {
		var value string
		if name == storedKey {
			continue
		}
		if err := json.Unmarshal(raw, &value); err != nil {
			return Credentials{}, fmt.Errorf("decoding credentials: %q is not a string", name)
		}
		c.Fields.Set(name, value)
	}
	c.IssuedAt, c.ExpiresAt, c.GrantExpiresAt = timeOf(notes.IssuedAt), timeOf(notes.ExpiresAt), timeOf(notes.GrantExpiresAt)
	return c, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
