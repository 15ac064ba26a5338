package connector

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"
)

// ID names a connection: a UUID, version 4.
type ID string

var idPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// Valid reports whether id has the form of an ID.
func (id ID) Valid() bool { return idPattern.MatchString(string(id)) }

// NewID returns a random ID from random, which is crypto/rand.Reader outside
// tests.
func NewID(random io.Reader) (ID, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return ID(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])), nil
}

// Status says what a connection is good for.
type Status string

// The statuses.
const (
	Active       Status = "active"
	NeedsReauth  Status = "needs_reauth" // only a person can mend it
	Manual       Status = "manual"       // no credentials: posts by hand
	Disconnected Status = "disconnected"
)

// Statuses lists every status.
func Statuses() []Status { return []Status{Active, NeedsReauth, Manual, Disconnected} }

// Connection is one account of one owner, authorized for one app. It points
// to credentials and holds no secret.
//
// Zero times mean "never" or "not known".
type Connection struct {
	ID            ID
	Platform      Name
	Owner         string
	AccountID     string
	AccountName   string
	Scopes        []string // granted
	MissingScopes []string // requested, not granted
	Status        Status
	StatusReason  string

	ExpiresAt       time.Time // when the access token dies; zero: it does not
	GrantExpiresAt  time.Time // when the whole grant dies and only a person can mend it
	RefreshAt       time.Time // when the scheduler should act; says nothing about validity
	LastRefreshedAt time.Time
	Failures        int // refreshes failed in a row
	VerifiedAt      time.Time
	CreatedAt       time.Time
	UpdatedAt       time.Time

	// Revision moves on each committed change; every write is conditional on
	// the one that was read.
	Revision int64

	// UserID is who consented, as the platform's notices name them; often the
	// account itself. Where nobody asked the platform it stands for nobody, so
	// that an import cannot claim to be somebody's. It is not shown.
	UserID string

	// ConsentID names the consent that the credentials descend from, through
	// all their renewals.
	ConsentID string

	// CredentialsVersion is the vault's version that this record points to,
	// and Generation the one inside it. Both are empty for manual connections.
	CredentialsVersion string
	Generation         int64
	IssuedAt           time.Time // when the access token was issued

	// Sealed holds the credentials of Generation, encrypted, while the vault
	// could not take them. CredentialsVersion is then that of older ones.
	Sealed []byte

	// Lease is the sole right to refresh, until an instant.
	Lease Lease

	// Attempt is what is known of the last exchange that did not end well.
	Attempt Attempt

	// ForcedAt holds the instants of recent forced refreshes, newest last; it
	// bounds how fast a caller can make us rotate tokens.
	ForcedAt []time.Time

	// Warned is of how many days before GrantExpiresAt the owner was warned
	// last; zero: not yet.
	Warned int
}

// Lease is the sole right to refresh one connection until an instant.
type Lease struct {
	Holder string
	Until  time.Time
}

// Held reports whether somebody holds the lease at now.
func (l Lease) Held(now time.Time) bool { return l.Holder != "" && now.Before(l.Until) }

// Attempt is the write-ahead mark of an exchange, and what came of it. It is
// written with the lease, before anything is sent, and cleared when the new
// credentials are committed.
type Attempt struct {
	// Generation is that of the credentials that were presented.
	Generation int64
	// At is when the lease for it was taken.
	At time.Time
	// Uncertain says that a single-use refresh token of this generation may
	// have been spent: it was, or was about to be, presented, and no answer
	// is known. It is what a crashed holder leaves behind.
	Uncertain bool
	// Code and Message are how it failed; empty while it is under way.
	Code    Code
	Message string
	// RetryAt is when the next attempt may be made.
	RetryAt time.Time
}

// Filter selects connections of a listing. Empty fields select all; without a
// Status, disconnected ones are left out.
type Filter struct {
	Owner    string
	Platform Name
	Status   Status
	// Within are the owners that who asks may act for.
	Within Owners
}

// Match reports whether c is selected by f.
func (f Filter) Match(c Connection) bool {
	switch {
	case f.Owner != "" && f.Owner != c.Owner,
		!f.Within.Has(c.Owner),
		f.Platform != "" && f.Platform != c.Platform,
		f.Status != "" && f.Status != c.Status,
		f.Status == "" && c.Status == Disconnected:
		return false
	}
	return true
}

// missing returns those of wanted that are not granted, in wanted's order.
func missing(wanted, granted []string) []string {
	var out []string
	for _, scope := range wanted {
		if !slices.Contains(granted, scope) {
			out = append(out, scope)
		}
	}
	return out
}

// checkOwner holds an owner against the contract: 1 to 128 characters, and
// none that could forge a log line or a page.
func checkOwner(owner string) error {
	return checkText("owner", owner, 128)
}

func checkText(field, text string, most int) error {
	switch {
	case text == "":
		return Invalid(field, "missing")
	case !utf8.ValidString(text):
		return Invalid(field, "not valid UTF-8")
	case utf8.RuneCountInString(text) > most:
		return Invalid(field, fmt.Sprintf("longer than %d characters", most))
	}
	for _, r := range text {
		// What was no character became U+FFFD on the way here, and two names
		// that differ in it alone would be taken for one.
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return Invalid(field, "has a character that cannot be printed")
		}
	}
	return nil
}
