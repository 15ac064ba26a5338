package connector

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
)

// Authorization is one attempt in flight, from the connect link to the
// callback. Two random values of it live in the browser alone: the state in
// the URL, another one in a cookie. The store knows their hashes, and the code
// verifier is derived from both, so that neither a stolen URL nor a read of the
// table can redeem a code.
type Authorization struct {
	Platform     Name      `json:"platform"`
	Owner        string    `json:"owner"`
	Link         string    `json:"link"` // hash of the connect link that began it
	ConnectionID ID        `json:"connection_id,omitempty"`
	Scopes       []string  `json:"scopes"`
	ReturnURL    string    `json:"return_url,omitempty"`
	RedirectURI  string    `json:"redirect_uri"`
	Confirm      bool      `json:"confirm,omitempty"`
	Choose       bool      `json:"choose,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`

	State    Secret `json:"-"`
	Verifier Secret `json:"-"`
}

// began is when the person came to the platform's pages; zero where there was none.
func (a Authorization) began() time.Time {
	if a.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return a.ExpiresAt.Add(-authorizationLife)
}

// randomToken returns 256 random bits in base64url: 43 characters.
func randomToken(random io.Reader) (Secret, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Secret{}, fmt.Errorf("reading randomness: %w", err)
	}
	return NewSecret(base64.RawURLEncoding.EncodeToString(b[:])), nil
}

// wellFormedToken reports whether t has the form that randomToken gives, so
// that nothing else reaches the store.
func wellFormedToken(t Secret) bool {
	b, err := base64.RawURLEncoding.DecodeString(t.Reveal())
	return err == nil && len(b) == 32 && len(t.Reveal()) == 43 // the decoder skips line ends
}

// hash returns the SHA-256 of s in hexadecimal: what is stored in place of
// links, states and confirmations. Those have 256 bits of randomness, so that
// no salt is needed; of what can be guessed, such as an owner, it hides
// nothing.
func hash(s Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// platformHash returns the hash that stands, in the table, for a value that differs
// between platforms: an id of a person or of a notice, or a refresh token.
func platformHash(platform Name, value string) string {
	return hash(NewSecret(string(platform) + "#" + value))
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

// BrowserCookie returns the name of the cookie that binds an authorization to
// the browser that began it. It differs for each state, so that a person can
// have two consents open in two tabs. With secure, the name has the __Host-
// prefix (RFC 6265bis, 4.1.3.2), which browsers keep from being set over plain
// HTTP or for other hosts.
func BrowserCookie(state Secret, secure bool) string {
	return browserCookiePrefix(secure) + hash(state)[:16]
}

// IsBrowserCookie reports whether name is one that BrowserCookie gives.
func IsBrowserCookie(name string, secure bool) bool {
	digits, ours := strings.CutPrefix(name, browserCookiePrefix(secure))
	return ours && len(digits) == 16 && !strings.ContainsFunc(digits, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'f')
	})
}

func browserCookiePrefix(secure bool) string {
	if secure {
		return "__Host-connect-"
	}
	return "connect-"
}
