package connector

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code names what went wrong by what the caller should do about it. It is
// itself an error, so errors.Is(err, connector.StateInvalid) is the one test
// anyone writes.
type Code string

// The codes. Each has one HTTP status and one line of advice, see
// shared/handler/problem.go.
const (
	InvalidRequest          Code = "InvalidRequest"
	StateInvalid            Code = "StateInvalid"
	AccessDenied            Code = "AccessDenied"
	ScopeMissing            Code = "ScopeMissing"
	AccountMismatch         Code = "AccountMismatch"
	ConnectionNotFound      Code = "ConnectionNotFound"
	AmbiguousConnection     Code = "AmbiguousConnection"
	ReauthorizationRequired Code = "ReauthorizationRequired"
	ManualMode              Code = "ManualMode"
	AppNotConfigured        Code = "AppNotConfigured"
	AppMisconfigured        Code = "AppMisconfigured"
	LinkGone                Code = "LinkGone"
	QuotaExhausted          Code = "QuotaExhausted"
	RateLimited             Code = "RateLimited"
	PlatformUnavailable     Code = "PlatformUnavailable"
	Suspended               Code = "Suspended"
	Internal                Code = "Internal"
)

// Codes lists every code, in the order of the README's table.
func Codes() []Code {
	return []Code{
		InvalidRequest, StateInvalid, AccessDenied, ScopeMissing, AccountMismatch,
		ConnectionNotFound, AmbiguousConnection, ReauthorizationRequired, ManualMode,
		AppNotConfigured, AppMisconfigured, LinkGone, QuotaExhausted, RateLimited,
		PlatformUnavailable, Suspended, Internal,
	}
}

// Error implements error.
func (c Code) Error() string { return string(c) }

// GrantDead reports whether c says that the authorization itself is gone, so
// that only a person can mend the connection.
func (c Code) GrantDead() bool { return c == ReauthorizationRequired }

// AppRefused reports whether c says that the platform refuses the app. Such a
// failure says nothing about any connection and must not change one.
func (c Code) AppRefused() bool { return c == AppMisconfigured || c == AppNotConfigured }

// TryLater reports whether c passes by itself.
func (c Code) TryLater() bool {
	return c == PlatformUnavailable || c == RateLimited || c == QuotaExhausted
}

// The reasons that the domain gives; platforms add their own. A reason stands
// in Error.Reason, in a connection's status reason, or in an event.
const (
	// ReasonAccountChanged says that a refresh returned the tokens of another
	// account.
	ReasonAccountChanged = "account_changed"

	reasonAccountGone        = "account_gone"        // the tokens work, and belong to no account of the platform
	reasonAccountUnconfirmed = "account_unconfirmed" // the platform has not named the account of renewed tokens yet
	reasonAppNotApproved     = "app_not_approved"    // posts by hand until the platform approves the app
	reasonAppReplaced        = "app_replaced"        // the stored app is not the one that was consented to
	reasonBudgetExceeded     = "budget_exceeded"     // of a link, a consent or an owner
	reasonClientRefused      = "client_refused"      // the one that an import brought
	reasonCredentialsMissing = "credentials_missing" // the vault has lost them
	reasonDataDeletion       = "data_deletion"       // the person asked for it, through the platform
	reasonEndedByOperator    = "ended_by_operator"   // a link
	reasonForcedTooOften     = "forced_too_often"    // by callers, in a while
	reasonGrantRefused       = "grant_refused"       // by the platform, which did not say why
	reasonLinkExpired        = "expired"             // before anything was connected
	reasonMonthlyPostLimit   = "monthly_post_limit"  // of the app's plan
	reasonNoAccount          = "no_account"          // was given by the platform, of those that a consent named
	reasonNoRefreshToken     = "no_refresh_token"    // the platform gave none
	reasonNotChosen          = "not_chosen"          // in time
	reasonNotConfirmed       = "not_confirmed"       // in time
	reasonOutcomeUnknown     = "outcome_unknown"     // of the last exchange: its answer was lost; of a link: its function crashed
	reasonQuotaExhausted     = "quota_exhausted"     // of the app, at the platform
	reasonRevocationPending  = "revocation_pending"  // the platform could not be asked to end the grant yet
	reasonRotationLost       = "rotation_lost"       // the answer with the new refresh token was
	reasonSameAccount        = "same_account"        // another connection of the owner has the account
	reasonScopeMissing       = "scope_missing"       // the grant lacks what its own check needs
	reasonTooManyAccounts    = "too_many_accounts"   // for one consent
	reasonUnfinished         = "unfinished"          // a consent: it is continued
	reasonVerified           = "verified"            // it works after all
)

// Error is the one error type that leaves the service and the platforms.
// It unwraps to its Code and to its cause.
type Error struct {
	Code Code

	// Message is safe to show to the caller and says what to do. It never
	// holds a secret or text that a platform or a browser sent.
	Message string

	// Reason is a short stable word for programs and for a connection's
	// status_reason, such as "rotation_lost"; often empty. A platform gives one with
	// PlatformUnavailable only where the failure does not pass by itself: a person has
	// to act at the platform, as for a locked account.
	Reason string

	// Remedy says what to do beside what the code says, as an imperative; often
	// empty. It never holds what Message may not hold. In a connection's
	// status_reason it follows Reason.
	Remedy string

	// MissingScopes is set with ScopeMissing.
	MissingScopes []string

	// ConnectionIDs is set with AmbiguousConnection.
	ConnectionIDs []ID

	// RetryAfter is how long to wait, with RateLimited and
	// PlatformUnavailable; zero where the platform did not say.
	RetryAfter time.Duration

	// ResetsAt is when the quota starts anew, with QuotaExhausted; zero where
	// waiting does not help.
	ResetsAt time.Time

	// Uncertain says that the request may have reached the platform and have
	// been acted upon, although no answer came. A single-use token that was
	// in it may be spent.
	Uncertain bool

	// ClientRefused is set with AppMisconfigured where the platform refused
	// the client id or secret itself, before it looked at anything else in the
	// request: nothing in it is spent.
	ClientRefused bool

	// AccountRefused is set with AccessDenied where the platform does not let the
	// account act, because it is suspended or closed. It says nothing about which
	// account it is.
	AccountRefused bool

	// Err is the cause. It goes to logs only.
	Err error
}

// Error returns code, message and cause, for logs. What callers see is
// rendered from the fields, in shared/handler.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Code))
	if e.Message != "" {
		b.WriteString(": ")
		b.WriteString(e.Message)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap makes errors.Is and errors.As see both the code and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

// AsError returns err as an *Error. What carries no code is Internal: unknown
// errors never count as a dead grant.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Internal, Message: "something failed inside the connector", Err: err}
}

// Invalid returns an InvalidRequest that names the field and says what is
// wrong with it.
func Invalid(field, problem string) *Error {
	return &Error{Code: InvalidRequest, Message: field + ": " + problem}
}

// The sentinels of the ports. They never leave the service.
var (
	// ErrNotFound is what a Store or CredentialStore returns for what
	// does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict is what a Store returns when a condition failed: the
	// revision moved, or the account is taken.
	ErrConflict = errors.New("conflict")
	// ErrMalformed is what an AppStore returns for an app that was written by
	// hand and cannot be read.
	ErrMalformed = errors.New("malformed")
	// ErrGone is what a CredentialStore returns for credentials that were
	// deleted and that it must not create again.
	ErrGone = errors.New("gone")
	// ErrMismatch is what a CredentialStore returns for credentials that
	// belong to another key.
	ErrMismatch = errors.New("the credentials belong to another connection")
)
