package connector

import (
	"context"
	"time"
)

// LinkRequest asks for a connect link.
type LinkRequest struct {
	Platform     Name
	Owner        string
	ConnectionID ID            // re-authorize this connection; empty: a new one
	Scopes       []string      // empty: the platform's default
	ReturnURL    string        // empty: a page of ours
	ExpiresIn    time.Duration // zero: one hour
}

// MintedLink is a new connect link.
type MintedLink struct {
	URL       Secret
	ExpiresAt time.Time
}

// MintLink
func (s *Service) MintLink(ctx context.Context, r LinkRequest) (MintedLink, error) { panic("stub") }

// Started is an authorization that began: where the browser goes, and the cookie that binds it.
type Started struct {
	URL          Secret // holds the state
	CookieName   string
	CookieValue  Secret
	CookieMaxAge time.Duration
	Secure       bool // the cookie's Secure attribute
}

// Start opens an authorization for a connect link.
func (s *Service) Start(ctx context.Context, link Secret) (Started, error) { panic("stub") }

// CallbackRequest is what the browser brought back from the platform.
type CallbackRequest struct {
	Platform    Name
	State, Code Secret
	Browser     func(cookieName string) Secret // reads a cookie; empty where it is absent
	Error       string                         // the error parameter, as the platform sent it
	ErrorReason string
	Issuer      string
}

// CallbackResult is what became of it. ReturnURL is set, also beside an error,
// once the state was good and the link has one; nothing is added to it yet.
type CallbackResult struct {
	ReturnURL   string
	Platform    Name
	Connections []Connection
	CookieName  string // to be cleared; empty where the state was unknown
}

// Callback
func (s *Service) Callback(ctx context.Context, r CallbackRequest) (CallbackResult, error) {
	panic("stub")
}

// TokenRequest selects a connection by ID, or by Owner and Platform and, where
// there are several, AccountID.
type TokenRequest struct {
	ConnectionID ID
	Owner        string
	Platform     Name
	AccountID    string
	MinTTL       time.Duration // default DefaultMinTTL is the handler's duty to set
	Scopes       []string
	ForceRefresh bool
	Full         bool
}

// DefaultMinTTL is how long a handed out token lives at least where the caller does not say.
const DefaultMinTTL = 300 * time.Second

// Token
func (s *Service) Token(ctx context.Context, r TokenRequest) (Token, error) { panic("stub") }

// Refresh renews the credentials of one connection now.
func (s *Service) Refresh(ctx context.Context, id ID) (Connection, error) { panic("stub") }

// RefreshDue renews one connection if it is due; the worker's job. nil where it is not due (any more), or where the failure is recorded on the connection. An error means: deliver the message again.
func (s *Service) RefreshDue(ctx context.Context, id ID) (Outcome, error) { panic("stub") }

// Outcome is what RefreshDue did, for logs: "refreshed", "checked", "not_due", "failed", "needs_reauth", "gone", "busy"
type Outcome string

// Sweep is what QueueDue did.
type Sweep struct {
	Queued   int
	Complete bool
}

// QueueDue finds what is due and queues it, until everything is or ctx nears its deadline.
func (s *Service) QueueDue(ctx context.Context) (Sweep, error) { panic("stub") }

// ImportRequest brings credentials that a person already has.
type ImportRequest struct {
	Platform    Name
	Owner       string
	AccountName string
	Credentials Fields
	SkipVerify  bool
}

// Imported is what came of it.
type Imported struct {
	Connections []Connection
	Warnings    []string
}

// Import
func (s *Service) Import(ctx context.Context, r ImportRequest) (Imported, error) { panic("stub") }

// Verify asks the platform whether the credentials still work, and stores the answer.
func (s *Service) Verify(ctx context.Context, id ID) (Verification, error) { panic("stub") }

// Connection returns one connection.
func (s *Service) Connection(ctx context.Context, id ID) (Connection, error) { panic("stub") }

// Connections lists connections.
func (s *Service) Connections(ctx context.Context, f Filter, cursor string, limit int) ([]Connection, string, error) {
	panic("stub")
}

// Usage is a billing period's posts.
type Usage struct {
	Used, Limit int // Limit 0: none, nothing counted
	ResetsAt    time.Time
}

// Reserve takes posts from the app's current billing period.
func (s *Service) Reserve(ctx context.Context, id ID, posts int) (Usage, error) { panic("stub") }

// Disconnect revokes and deletes.
func (s *Service) Disconnect(ctx context.Context, id ID, purge bool) error { panic("stub") }

// PlatformStatus is a platform with its app.
type PlatformStatus struct {
	Description Description
	App         App // never revealed
	RedirectURI string
}

// PlatformStatuses returns every platform with its app.
func (s *Service) PlatformStatuses(ctx context.Context) ([]PlatformStatus, error) { panic("stub") }

// PlatformStatus returns one.
func (s *Service) PlatformStatus(ctx context.Context, name Name) (PlatformStatus, error) {
	panic("stub")
}

// PutApp stores the operator's app of a platform.
func (s *Service) PutApp(ctx context.Context, name Name, app App) (PlatformStatus, error) {
	panic("stub")
}

// NoticeResult is what a notice led to.
type NoticeResult struct {
	Affected     int
	DeletionCode string // for data deletions
	StatusURL    string
}

// TakeNotice verifies a platform's notice and acts on it. kind is "deauthorize", "data-deletion" or "webhook".
func (s *Service) TakeNotice(ctx context.Context, name Name, kind string, raw RawNotice) (NoticeResult, error) {
	panic("stub")
}

// Deletion is the state of a data deletion.
type Deletion struct {
	RequestedAt time.Time
	Deleted     int
}

// DeletionStatus returns what became of a data deletion, by its confirmation code.
func (s *Service) DeletionStatus(ctx context.Context, code Secret) (Deletion, error) { panic("stub") }
