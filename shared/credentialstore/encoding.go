package credentialstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"platform-api-connector/shared/connector"
)

// notes is what is stored beside the platform's fields. Whose credentials they
// are is in it: they are bound to that connection, and cannot be passed off as
// another's by a change of its record. Releases before that stored unbound
// credentials, which do not have the fields from consent_id on.
//
//	{"client_id":…, "access_token":…, "stored": {"generation":3, "scopes":[…],
//	 "issued_at":…, "expires_at":…, "grant_expires_at":…, "consent_id":…,
//	 "verified_key":…, "known_secret":…, "confirmed_account":…, "account_owed":true,
//	 "kind":"connection", "id":…, "owner":…, "platform":…, "account_id":…}}
type notes struct {
	Generation     int64     `json:"generation"`
	ClientID       string    `json:"client_id,omitempty"`
	Scopes         []string  `json:"scopes,omitempty"`
	IssuedAt       time.Time `json:"issued_at,omitzero"`
	ExpiresAt      time.Time `json:"expires_at,omitzero"`
	GrantExpiresAt time.Time `json:"grant_expires_at,omitzero"`
	ConsentID      string    `json:"consent_id,omitempty"`

	VerifiedKey      string `json:"verified_key,omitempty"`
	KnownSecret      string `json:"known_secret,omitempty"`
	ConfirmedAccount string `json:"confirmed_account,omitempty"` // Credentials.AccountID
	AccountOwed      bool   `json:"account_owed,omitempty"`

	Kind      connector.CredentialsKind `json:"kind,omitempty"`
	ID        string                    `json:"id,omitempty"`
	Owner     string                    `json:"owner,omitempty"`
	Platform  connector.Name            `json:"platform,omitempty"`
	AccountID string                    `json:"account_id,omitempty"`
}

const notesField = "stored"

// encode is the only way from credentials to a secret. Times are in UTC.
func encode(key connector.CredentialsKey, c connector.Credentials) (connector.Secret, error) {
	object := make(map[string]any, len(c.Fields)+1)
	for name, value := range c.Fields.Reveal() {
		object[name] = value
	}
	object[notesField] = notes{
		Generation: c.Generation, ClientID: c.ClientID, Scopes: c.Scopes, ConsentID: c.ConsentID,
		IssuedAt: c.IssuedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(), GrantExpiresAt: c.GrantExpiresAt.UTC(),
		VerifiedKey: c.VerifiedKey, KnownSecret: c.KnownSecret, ConfirmedAccount: c.AccountID, AccountOwed: c.AccountOwed,
		Kind: key.Kind, ID: key.ID, Owner: key.Owner, Platform: key.Platform, AccountID: key.AccountID,
	}
	b, err := marshal(object)
	if err != nil {
		return connector.Secret{}, fmt.Errorf("encoding credentials: %w", err)
	}
	return connector.NewSecret(string(b)), nil
}

// marshal encodes without the escapes of HTML, which make six bytes of one. A secret
// has 64 KiB at most.
func marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// decode returns the credentials of a secret, and whether they are bound. It
// returns ErrMismatch if they are bound to another key. No error holds a part of
// the secret.
func decode(key connector.CredentialsKey, secret connector.Secret) (creds connector.Credentials, bound bool, err error) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(secret.Reveal()), &object) != nil {
		return connector.Credentials{}, false, errors.New("decoding credentials: not a JSON object")
	}
	var n notes
	if raw, ok := object[notesField]; ok && json.Unmarshal(raw, &n) != nil {
		return connector.Credentials{}, false, fmt.Errorf("decoding credentials: %q is malformed", notesField)
	}
	bound = n.ID != ""
	if bound && !n.matches(key) {
		return connector.Credentials{}, true, connector.ErrMismatch
	}
	c := connector.Credentials{
		Fields: connector.Fields{}, Scopes: n.Scopes, Generation: n.Generation, ClientID: n.ClientID, ConsentID: n.ConsentID,
		IssuedAt: n.IssuedAt.UTC(), ExpiresAt: n.ExpiresAt.UTC(), GrantExpiresAt: n.GrantExpiresAt.UTC(),
		VerifiedKey: n.VerifiedKey, KnownSecret: n.KnownSecret, AccountID: n.ConfirmedAccount, AccountOwed: n.AccountOwed,
	}
	for name, raw := range object {
		var value string
		if name == notesField {
			continue
		}
		if json.Unmarshal(raw, &value) != nil {
			return connector.Credentials{}, bound, fmt.Errorf("decoding credentials: %q is not a string", name)
		}
		c.Fields.Set(name, value)
	}
	return c, bound, nil
}

// matches reports whether the notes name the key, as far as both are known: an
// account may not be known yet, and tickets of the previous release name no owner.
func (n notes) matches(key connector.CredentialsKey) bool {
	return n.Kind == key.Kind && n.ID == key.ID && n.Platform == key.Platform &&
		(n.Owner == key.Owner || key.Owner == "") &&
		(n.AccountID == key.AccountID || n.AccountID == "" || key.AccountID == "")
}
