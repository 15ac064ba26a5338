package connector

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"time"
)

// Authorization is one attempt in flight, from the connect link to the
// callback. Its secrets live in the browser alone: State in the URL, Browser
// in a cookie. The store knows their hashes, and the code verifier is derived
// from both, so that neither a stolen URL nor a read of the table can redeem
// a code.
type Authorization struct {
	Platform     Name      `json:"platform"`
	Owner        string    `json:"owner"`
	Link         string    `json:"link"` // hash of the connect link that began it
	ConnectionID ID        `json:"connection_id,omitempty"`
	Scopes       []string  `json:"scopes"`
	ReturnURL    string    `json:"return_url,omitempty"`
	RedirectURI  string    `json:"redirect_uri"`
	Confirm      bool      `json:"confirm,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`

	State    Secret `json:"-"`
	Verifier Secret `json:"-"`
}

// Link is what a connect link stands for.
type Link struct {
	Platform     Name      `json:"platform"`
	Owner        string    `json:"owner"`
	ConnectionID ID        `json:"connection_id,omitempty"`
	Scopes       []string  `json:"scopes"`
	ReturnURL    string    `json:"return_url,omitempty"`
	Confirm      bool      `json:"confirm,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// randomToken returns 256 random bits in base64url: 43 characters.
func randomToken(random io.Reader) (Secret, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Secret{}, fmt.Errorf("reading randomness: %w", err)
	}
	return NewSecret(base64.RawURLEncoding.EncodeToString(b[:])), nil
}

// codeVerifier derives the PKCE code verifier (RFC 7636, 4.1) of one
// authorization: 43 characters of base64url.
func codeVerifier(state, browser Secret) (Secret, error) {
	key, err := hkdf.Key(sha256.New, []byte(browser.Reveal()), []byte(state.Reveal()), "code verifier", 32)
	if err != nil {
		return Secret{}, fmt.Errorf("deriving the code verifier: %w", err)
	}
	return NewSecret(base64.RawURLEncoding.EncodeToString(key)), nil
}

// CodeChallenge returns the S256 challenge of a code verifier (RFC 7636, 4.2).
func CodeChallenge(verifier Secret) string {
	sum := sha256.Sum256([]byte(verifier.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// BrowserCookie returns the name of the cookie that binds an authorization to
// the browser that began it. It differs for each state, so that a person can
// have two consents open in two tabs. With secure, the name has the __Host-
// prefix (RFC 6265bis, 4.1.3.2), which browsers keep from being set over plain
// HTTP or for other hosts.
func BrowserCookie(state Secret, secure bool) string {
	name := "connect-" + hash(state)[:16]
	if secure {
		return "__Host-" + name
	}
	return name
}
