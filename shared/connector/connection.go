package connector

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
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
	NeedsReauth  Status = "needs_reauth" // a person has to mend it: by a consent or an import; or Verify finds that it works
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

	ExpiresAt       time.Time // when the access token expires; zero: it does not
	GrantExpiresAt  time.Time // when the whole grant ends, unless the person consents again
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
	// account itself. Where the platform was not asked, or did not say, it is a
	// provisional id, so that an import cannot claim to be another person's. It is
	// not shown.
	UserID string

	// StableID is the id of the account that is the same for each client of the
	// operator, on a platform where AccountID is not; empty where the platform did
	// not say it. It is not shown.
	StableID string

	// ConsentID names the consent that the credentials descend from, through
	// all their renewals.
	ConsentID string
	// ConsentedAt is when that consent began, or the import. It is zero in
	// records that the previous release wrote.
	ConsentedAt time.Time

	// Client is that of the credentials' BreakerKey.
	Client string

	// Credentials is the reference to the credentials, with their generation.
	// It is zero for manual connections.
	Credentials CredentialsRef
	IssuedAt    time.Time // when the access token was issued

	// Lease is the sole right to refresh, until an instant.
	Lease Lease

	// Attempt is what is known of the last exchange that did not succeed.
	Attempt Attempt

	// Degraded is what keeps an active connection from working, and does not pass by
	// itself.
	Degraded Degradation

	// ExpiryNoticeDays is how many days before GrantExpiresAt the last
	// Connection Expiring was about; zero: none was sent.
	ExpiryNoticeDays int

	// ForgetSecret says that the secret may hold credentials, as former versions, of
	// another person or from before an erasure: it is deleted for good before credentials are stored there
	// again.
	ForgetSecret bool

	// Purge says that the credentials and the record of a disconnected
	// connection are to be deleted for good.
	Purge bool
}

// provisionalPrefix begins the user id of credentials that were imported without
// the platform saying who consented, and their account id where the fields do not
// tell it. The first verification or check that names them replaces both.
const provisionalPrefix = "unverified-"

func provisional(id string) bool { return strings.HasPrefix(id, provisionalPrefix) }

// accountUnknown reports whether no platform has said yet which account c is
// a connection to.
func (c Connection) accountUnknown() bool { return c.Status == Manual || provisional(c.AccountID) }

// consentedAt is when the consent to c began. The previous release recorded only
// when the access token was issued.
func (c Connection) consentedAt() time.Time {
	if c.ConsentedAt.IsZero() {
		return c.IssuedAt
	}
	return c.ConsentedAt
}

// acceptsAccount reports whether a grant for account may be saved on c.
func (c Connection) acceptsAccount(account Account) bool {
	return c.AccountID == account.ID || c.accountUnknown()
}

// credentialsKey is the key of c's credentials.
func (c Connection) credentialsKey() CredentialsKey {
	key := CredentialsKey{Kind: OfConnection, ID: string(c.ID), Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID}
	if c.accountUnknown() {
		key.AccountID = ""
	}
	return key
}

// Filter selects connections of a listing. Empty fields select all; without a
// Status, disconnected ones are left out.
type Filter struct {
	Owner    string
	Platform Name
	Status   Status
	// Within are the owners that the caller may act for.
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
