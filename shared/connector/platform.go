package connector

import (
	"context"
	"strings"
	"time"
)

// Name names a platform in routes, records and secrets. It consists of
// lower-case letters.
type Name string

// Platform is one social or content service: how it is asked for consent, how
// a code becomes credentials, how they are kept alive. Adding a platform is
// implementing this in one file of shared/platform.
//
// A Platform holds no state, touches no store, starts no goroutine, retries
// nothing, and knows nothing of leases or revisions. Every method that talks
// to the platform returns *Error with the code that says what the caller
// should do, and sets Uncertain where a request may have been acted upon
// without an answer. Nothing that it returns besides Fields and Secrets may
// hold a secret, or text that the platform sent, other than account names.
type Platform interface {
	// Describe returns what is known about the platform before any call.
	Describe() Description

	// AuthorizeURL returns where the browser goes for consent: with the
	// state, the scopes, the redirect URI and the code challenge of a.
	AuthorizeURL(app App, a Authorization) (string, error)

	// AuthorizationError returns the error that the parameters of a redirect without
	// a code describe (RFC 6749, 4.1.2.1), or nil if the platform sends no such
	// parameters. Anybody can send them. The error repeats nothing of them.
	AuthorizationError(r Refusal) *Error

	// Redeem redeems code, once, and returns the credentials. It makes no other call:
	// the code is spent, and the credentials are not stored yet.
	Redeem(ctx context.Context, app App, a Authorization, code Secret) (Credentials, error)

	// Extend returns the lasting form of the credentials that Redeem returned. Accounts
	// and Account take this form. A platform whose code yields lasting credentials
	// returns them unchanged. Extend spends nothing, so that it can be called again
	// after a failure.
	Extend(ctx context.Context, app App, redeemed Credentials) (Credentials, error)

	// Accounts returns a part of the accounts of a consent: one Grant for each account.
	// cursor is empty for the first part, else the Next of the previous part. It spends
	// nothing, so that it can be called again after a failure. A grant that lacks
	// scopes is returned with the scopes that it has. Accounts fails with ScopeMissing
	// if the account cannot be read without a scope that is missing. Beside an error it
	// returns the grants to revoke. They may lack the UserID.
	Accounts(ctx context.Context, app App, consent Credentials, cursor string) (AccountList, error)

	// Account returns the grant of one account that Accounts returned as Incomplete.
	// It fails with ScopeMissing where the consent does not give access to the
	// account.
	Account(ctx context.Context, app App, consent Credentials, g Grant) (Grant, error)

	// Import checks credentials that a person brought and returns their
	// grants. Fields that are missing or unknown are InvalidRequest, naming
	// the field. With verify it asks the platform; without, it makes no call,
	// and a grant whose account the fields do not tell has an empty AccountID.
	// Beside an error it returns the grants whose refresh token the verification
	// spent, with the renewed credentials, which nothing else holds.
	// app may be the zero App where none is configured; credentials that
	// bring their own client keep it.
	Import(ctx context.Context, app App, fields Fields, verify bool) ([]Grant, error)

	// Refresh renews c or, where nothing can be renewed, checks that it still
	// works and returns it as it is. What the platform left out of its answer
	// is carried over. A dead grant is ReauthorizationRequired, a refused app
	// AppMisconfigured. Where the answer names the account of the tokens, or the
	// person who consented, the result has them as AccountID and UserID. c has
	// neither. c has ConsentedAt, where that is known.
	Refresh(ctx context.Context, app App, c Credentials) (Credentials, error)

	// Verify calls the platform's simplest authenticated endpoint. An access
	// token that does not work is ReauthorizationRequired; the caller knows
	// whether a refresh may mend that.
	Verify(ctx context.Context, app App, c Credentials) (Verification, error)

	// Token returns what a caller needs to act for the account: the access
	// token, its type, and public fields. It makes no call.
	Token(app App, c Credentials) (accessToken Secret, tokenType string, public Fields)

	// TokenNeedsApp reports whether Token takes keys of the app for c. Only
	// then is the app read, which costs a call.
	TokenNeedsApp(c Credentials) bool

	// Full returns c exactly in the brief's shape, with what was left out
	// because app holds it. It makes no call.
	Full(app App, c Credentials) Fields

	// AppKey returns the fingerprint of the key of app that calls with c use,
	// such as its client id. It does not depend on the app's secret. It is empty
	// where c brought a client of its own, and where app lacks the key or its
	// secret. A successful Refresh proves that the platform accepts c with this
	// key, except on a platform of the model Extending. An Import that asks the
	// platform sets VerifiedKey if the platform accepted the credentials with this key.
	AppKey(app App, c Credentials) string
}

// Refusal has the parameters, by name, of a redirect without a code.
type Refusal map[string]string

// RefusalParameters returns the names that a Refusal may have. RFC 6749 (4.1.2.1)
// defines error. Some platforms send the others in its place.
func RefusalParameters() []string {
	return []string{"error", "error_code", "error_reason", "error_type", "errCode", "denied"}
}

// Signer is a Platform whose API takes signed requests.
type Signer interface {
	// Sign returns the value of the Authorization header of a request, signed
	// with c and with the keys of app, or with those that c brought. It is
	// InvalidRequest where c cannot sign, or where the request is not one to the
	// platform's API. It is AppNotConfigured where c needs keys that app lacks. It
	// makes no call. Its errors contain no part of the request.
	Sign(app App, c Credentials, r SignatureRequest) (Secret, error)
}

// SignatureRequest is a request to a platform that must be signed.
type SignatureRequest struct {
	Method string
	URL    string
	// Parameters are the parameters of a form, and those of the query that are
	// not in URL.
	Parameters map[string]string
	Nonce      string
	At         time.Time
}

// Revoker is a Platform that can take a grant back. Platforms without it can
// only forget.
type Revoker interface {
	// Revoke ends the grant of c at the platform. One that is dead already is
	// no error.
	Revoke(ctx context.Context, app App, c Credentials, userID string) error
}

// Noticer is a Platform that sends notices. Its Description lists their kinds.
type Noticer interface {
	// CheckNotice refuses what cannot be a notice of that kind, by its form and its
	// time alone. It comes before the app is read, whose secret costs a call. The
	// errors are those of ReadNotice.
	CheckNotice(kind string, raw RawNotice) error

	// ReadNotice verifies that raw, a notice of that kind, comes from the
	// platform, and returns what it means. A notice that app did not sign, or that
	// is too old, is StateInvalid. A kind that the platform does not send is
	// InvalidRequest.
	ReadNotice(app App, kind string, raw RawNotice) (Notice, error)
}

// NoticeKind is one kind of notice that a platform sends.
type NoticeKind struct {
	// Name is the last segment of the route. It consists of lower-case letters
	// and hyphens.
	Name string

	// Deletion says that the notice asks to delete a person's data. Its answer
	// holds a confirmation code, and the URL at which the person can read the
	// status of the deletion.
	Deletion bool
}

// Path returns where platform posts notices of the kind to.
func (k NoticeKind) Path(platform Name) string {
	return "/platforms/" + string(platform) + "/" + k.Name
}

// StatusPath returns where the person reads the status of the deletion that
// has the confirmation code.
func (k NoticeKind) StatusPath(platform Name, code string) string {
	return k.Path(platform) + "/" + code
}

// RawNotice is a notice as it came in. Header names are in lower case.
type RawNotice struct {
	Header map[string]string
	Body   []byte
}

// Notice is what a platform told us.
type Notice struct {
	// ID identifies the notice. Each delivery of a notice has the same ID. A notice
	// that one route accepted is refused at the others. A notice that was applied
	// changes nothing again. The platform's client refuses a notice that is older than
	// NoticeMemory. ID is empty for notices that change nothing.
	ID string
	// UserID is the person that the notice is about, as Grant.UserID. It is
	// empty for notices that change nothing.
	UserID string
	// Revoked says that the grant is gone; Delete that the person wants
	// what is stored about them deleted.
	Revoked, Delete bool
	// Reason goes to the status reason.
	Reason string
	// At is when the platform says it happened; zero where it does not say.
	At time.Time
}

// Description is what is known about a platform before any call.
type Description struct {
	Name  Name
	Title string // the name that people read

	// AuthKind is what the app's credentials are for: "oauth2", or "oauth2
	// and oauth1.0a".
	AuthKind string

	// Scopes are asked for by default. Required are those among them without
	// which the account cannot even be known; they are always asked for.
	Scopes, Required []string

	// Issuers are values of the callback's iss parameter (RFC 9207) that name
	// this platform.
	Issuers []string

	// AccountPerClient says that an account has another id for each client. After the
	// app was replaced, a consent to the former account is then recognized by its
	// StableID. Without one, the other client is enough.
	AccountPerClient bool

	// ClientFields are the fields of credentials that hold the id of their client,
	// where an import brought one.
	ClientFields []string

	// AppFields are the platform's extras of an app.
	AppFields []AppField

	// UncoveredReason is the status reason of a connection if a later consent of the
	// same person left its account out. It is empty on a platform where a consent does
	// not replace the earlier consents of the person.
	UncoveredReason string

	// Notices are the kinds of notices that the platform sends, each with a
	// route of its own. A platform that has any is a Noticer.
	Notices []NoticeKind

	// OtherAccount says how a person selects another account, in words that follow a
	// semicolon. It is empty if the platform's page offers the choice.
	OtherAccount string

	Cadence Cadence
	Guide   Guide
}

// AppField is one platform-specific field of an app.
type AppField struct {
	Name   string
	Secret bool // never shown
	Number bool // a whole number
	// SecretOf names the field of the client that this secret belongs to: another
	// value there needs another secret here. Empty where it belongs to none.
	SecretOf string
}

// Model is how a platform's credentials are renewed.
type Model string

// The models.
const (
	Rotating  Model = "rotating"  // a refresh token works once; each refresh brings the next
	Stable    Model = "stable"    // the refresh token stays
	Extending Model = "extending" // the access token itself is renewed, while it lives, without the app
	Permanent Model = "permanent" // nothing to renew: a health check
)

// Cadence is when a platform's credentials are renewed.
type Cadence struct {
	Model Model

	// Lifetime stands in where the platform does not say how long an access
	// token lives. A token of unknown life is never taken to live forever.
	Lifetime time.Duration

	// MinimumAge is how old an access token is at least when it is renewed; zero
	// for any age. Refresh checks a younger one, and returns it as it is.
	MinimumAge time.Duration

	// CheckEvery is how often credentials that do not expire are checked.
	CheckEvery time.Duration

	// Lapse is how long an unused refresh token lives, where the platform does not
	// say it with each one; zero where it does not lapse, or where that is not
	// known. Every renewal starts it again.
	Lapse time.Duration
}

// Guide tells a person how to get an app from the platform's developer portal.
type Guide struct {
	PortalURL string       `json:"portal_url"`
	Checked   string       `json:"checked"` // the date on which the texts were held against the platform's pages
	Products  []string     `json:"products"`
	Steps     []string     `json:"steps"` // PUBLIC_URL stands for the deployment's own
	Scopes    []GuideScope `json:"scopes"`
	Review    string       `json:"review"`
	Gotchas   []string     `json:"gotchas"`
	// Manual says how to post by hand while the platform reviews the app.
	Manual []string `json:"manual,omitempty"`
	// Sources are the pages that the texts rest on.
	Sources []string `json:"sources"`
}

// of returns the guide with the URLs of one deployment, to be pasted.
func (g Guide) of(publicURL string) Guide {
	steps := make([]string, len(g.Steps))
	for i, step := range g.Steps {
		steps[i] = strings.ReplaceAll(step, "PUBLIC_URL", publicURL)
	}
	g.Steps = steps
	return g
}

// GuideScope says what a scope is for.
type GuideScope struct {
	Name string `json:"name"`
	For  string `json:"for"`
}

// Mode is how far a platform has let an app in.
type Mode string

// The modes.
const (
	Live    Mode = "live"
	Sandbox Mode = "sandbox"
	ByHand  Mode = "manual" // not approved yet
)

// App is the OAuth client that the operator registered with a platform. The
// zero App is "none configured".
type App struct {
	ClientID     string
	ClientSecret Secret
	Mode         Mode

	// PreviousSecret is the client secret that ClientSecret replaced. Until
	// PreviousUntil it is used where the platform refuses ClientSecret.
	PreviousSecret Secret
	PreviousUntil  time.Time

	// Extras are the platform's own fields, as its Description lists them.
	Extras Fields

	// Tier, MonthlyPostLimit and BillingDay describe a plan with a cap.
	// Without a limit nothing is counted. BillingDay is the day of the month,
	// 1 to 31, on which the period starts anew, in UTC.
	Tier             string
	MonthlyPostLimit int
	BillingDay       int

	// Revision is the stored version that the app was read from; empty where none
	// is stored.
	Revision string
}

// Configured reports whether there is an app.
func (a App) Configured() bool { return a.ClientID != "" || a.Mode == ByHand }

// Account is what was authorized on a platform.
type Account struct {
	ID   string
	Name string
}

// Grant is what one account's consent yielded, not yet stored.
type Grant struct {
	Account Account
	// UserID is who consented, see Connection.UserID. An import leaves it empty
	// where the platform did not say.
	UserID string
	// StableID is as in Connection; empty where the platform did not say it.
	StableID    string
	Credentials Credentials
	// ConsentedAt is when the consent began, or the import. A Platform leaves it
	// to its caller.
	ConsentedAt time.Time
	// VerifiedAt is when the platform said that the credentials work; zero
	// where it was not asked. A Platform leaves it to its caller.
	VerifiedAt time.Time
	// Incomplete says that Credentials lack the token of the account, which Account
	// returns. Account.Name may be missing.
	Incomplete bool
	// ScopesUnknown says that Credentials.Scopes are those proven so far, and
	// that more may have been granted.
	ScopesUnknown bool
	// Warning is something the person should know, such as a token that will
	// expire although it should not; it becomes the status reason.
	Warning string
	// erased is when the person last asked for an erasure; nil where they did not.
	erased *erasedAt
	// consentID names the consent of credentials that come from another connection;
	// empty for a new consent.
	consentID string
}

// AccountList is a part of the accounts of a consent.
type AccountList struct {
	// Grants may name an account that an earlier part named. The complete one counts.
	Grants []Grant
	// Next continues the list; empty: this is the last part. It may hold ids of
	// accounts, and no secret.
	Next string
	// Covered are the ids of all accounts that the person's authorization of the app
	// includes after this consent. Only the last part has them. They are nil if the
	// platform does not say, or if a consent does not replace the earlier ones of the
	// person.
	Covered []string
}

// Verification is what a platform said about credentials when asked.
type Verification struct {
	Account Account
	// UserID is who consented, see Connection.UserID; empty where the platform
	// did not say.
	UserID string
	// StableID is as in Connection; empty where the platform did not say it.
	StableID string
	Scopes   []string
	// Warning is as in Grant.
	Warning string
	// Outdated says that public fields of the credentials have changed at the
	// platform. Refresh returns the present fields.
	Outdated bool
}
