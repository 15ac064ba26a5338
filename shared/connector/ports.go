package connector

import (
	"context"
	"time"
)

// Store holds connections, tickets, counters, breakers and suspensions. Its writes are
// conditional; it knows nothing of what they mean. All times are UTC, with
// millisecond precision at least. A write that reached the database although
// its answer was lost may be sent again without a second effect.
type Store interface {
	// Connection returns the connection, or ErrNotFound. The read is
	// consistent: it sees every write that returned before.
	Connection(ctx context.Context, id ID) (Connection, error)

	// FindAccount returns the connection of one account of one owner, or
	// ErrNotFound. Disconnected ones are not found.
	FindAccount(ctx context.Context, owner string, platform Name, accountID string) (Connection, error)

	// Connections lists up to limit connections that f selects, in a stable
	// order, after cursor, which is empty or came from a call with the same
	// f. next is empty on the last page. A malformed cursor is an
	// InvalidRequest. The latest writes may be missing.
	Connections(ctx context.Context, f Filter, cursor string, limit int) (page []Connection, next string, err error)

	// UserConnections returns every connection, of all owners, that a
	// platform's user authorized, except disconnected ones: those that may hold
	// a grant. The latest writes may be missing.
	UserConnections(ctx context.Context, platform Name, userID string) ([]Connection, error)

	// UserRecords returns the keys of every record of a platform's user: of all
	// their connections, disconnected ones too, and of the tickets that name
	// them. The latest writes may be missing, and a key may be that of a record
	// that is gone.
	UserRecords(ctx context.Context, platform Name, userID string) ([]RecordKey, error)

	// Commit writes all of the change in one transaction, or nothing. It
	// returns the connection as it now stands, with its next revision.
	Commit(ctx context.Context, change Change) (Connection, error)

	// Due returns up to limit records of one shard, 0 to DueShards-1, whose
	// DueAt is not after now, longest due first. A connection's DueAt is the
	// RefreshAt of its last Commit, or what Claim set since; without a
	// RefreshAt it is in no shard, whatever its status. A ticket with a DueAt
	// is in a shard until it is taken or deleted.
	Due(ctx context.Context, shard int, now time.Time, limit int) ([]Due, error)

	// Claim moves the DueAt of d to the given instant if nothing else changed
	// it, else it returns ErrConflict. A connection's revision does not move.
	Claim(ctx context.Context, d Due, until time.Time) error

	// Ticket returns a ticket that has not expired at now, or ErrNotFound.
	Ticket(ctx context.Context, key RecordKey, now time.Time) (Ticket, error)

	// TakeTicket returns the ticket and removes it. Of any number of
	// concurrent calls exactly one gets it; the others get ErrNotFound. A
	// ticket that expired at now, or that is bound to another value, is
	// ErrNotFound and stays.
	TakeTicket(ctx context.Context, key RecordKey, bound string, now time.Time) (Ticket, error)

	// Reserve adds n to the counter if that keeps it at or under limit, and
	// returns the sum; else ErrConflict and the present sum. A negative n
	// refunds what was reserved. The counter is deleted some time after
	// expiresAt. Callers at once do not fail each other.
	Reserve(ctx context.Context, counter string, n, limit int, expiresAt time.Time) (int, error)

	// Breaker returns the breaker of a client, the zero Breaker where none was
	// written. That of an import's client may be deleted some days after its last
	// write.
	Breaker(ctx context.Context, key BreakerKey) (Breaker, error)

	// PutBreaker replaces the breaker if it still has b.Revision, zero where
	// there is none, and returns it with the next one; else ErrConflict.
	PutBreaker(ctx context.Context, b Breaker) (Breaker, error)

	// Suspensions returns every suspension, the zero Suspensions where none was
	// written. The read is consistent.
	Suspensions(ctx context.Context) (Suspensions, error)

	// PutSuspensions replaces the suspensions if they still have s.Revision,
	// zero where none was written, and returns them with the next one; else
	// ErrConflict.
	PutSuspensions(ctx context.Context, s Suspensions) (Suspensions, error)
}

// Change is what one transaction writes. Any of its parts may be missing.
//
// Commit returns ErrConflict, and writes nothing, if the connection's revision
// moved, if its id or its account is taken by another connection, if a ticket of
// Put exists, or if one of Replace is not as it was read.
type Change struct {
	// Before is the connection as it was read, After as it shall be. Without
	// Before, After is created with revision 1. Without After, Before is
	// deleted. Otherwise the attributes that differ are written; attributes
	// that this version of the code does not know stay.
	//
	// A connection holds the claim to its account, and at most one connection
	// of an owner can. A connection that becomes Disconnected frees its
	// account, and is deleted DisconnectedFor later.
	Before, After *Connection

	Put       []Ticket
	Replace   []Replacement
	Overwrite []Ticket    // tickets to write whether or not there is one of that key
	Drop      []RecordKey // tickets to delete; one that is gone is no error
}

// Replacement writes New over a ticket that still has the body of Old, which
// was read. Both have one key. It does not matter whether Old has expired.
type Replacement struct{ Old, New Ticket }

// DueShards is over how many partitions the index of what is due is spread.
// One partition takes about 1,000 writes a second.
const DueShards = 16

// DisconnectedFor is how long the record of a disconnected connection can
// still be read after its last change: as long as its secret can be recovered.
const DisconnectedFor = 7 * 24 * time.Hour

// RecordKey names a connection or a ticket: in the store, among what is due,
// and in the messages of the queue.
type RecordKey struct {
	Kind Kind
	// ID is a connection's id. For a ticket it is the hash of the random value
	// that someone else holds, or an id of its own where there is no such value.
	ID string
}

// Kind is what a record is.
type Kind string

// The kinds of record.
const (
	ConnectionKind   Kind = "connection"
	LinkKind         Kind = "link"         // a connect link; Body is a Link
	LinkStatusKind   Kind = "link_status"  // what became of a connect link, under the link's id
	StateKind        Kind = "state"        // an authorization, with what became of it: a consent
	DeletionKind     Kind = "deletion"     // the status of a data deletion, read many times
	ErasureKind      Kind = "erasure"      // a data deletion that is not complete
	ErasedKind       Kind = "erased"       // when a person asked for a data deletion, under a hash of their id
	ConfirmationKind Kind = "confirmation" // the right to confirm a pending consent of the previous release, bound to its owner
	// ConsentConfirmationKind is the right to confirm a consent, bound to its owner.
	ConsentConfirmationKind Kind = "consent_confirmation"
	// ConsentAccountsKind is the accounts of a consent that were listed so far, under the
	// id of the consent. The platform needs more time for the list than one caller has.
	ConsentAccountsKind Kind = "consent_accounts"
	PendingKind         Kind = "pending" // credentials that no connection refers to yet
	// LinkConnectionsKind is a page of the connections of a link: a list of ids,
	// under the id of the link and the number of the page.
	LinkConnectionsKind Kind = "link_connections"
	TakenNoticeKind     Kind = "notice" // at which route a notice was taken
	EventKind           Kind = "event"  // an event that the bus has not accepted yet, under its id
	// RefreshTokenKind is a refresh token that somebody else holds too, under a hash
	// of it: which connections it belongs to.
	RefreshTokenKind Kind = "refresh_token"
	// StandInKind is a connection that was ended because another one has its
	// account, under its id: which one.
	StandInKind Kind = "stand_in"
	// UnrecordedKind is a pending consent of one connection, in the form of the
	// previous release. This release reads it and writes none.
	UnrecordedKind Kind = "unrecorded"
)

// Due is a connection or a ticket that the sweep should see to.
type Due struct {
	RecordKey
	DueAt time.Time
}

// Ticket is a record that expires. Most stand for a random value that someone
// else holds, and are taken once.
type Ticket struct {
	RecordKey
	// Bound is the hash of a second value that must be shown to take it;
	// empty where none is asked for.
	Bound string
	Body  []byte // JSON, no secrets
	// Platform and UserID name the person of the ticket, for UserRecords. They
	// are empty where there is none.
	Platform  Name
	UserID    string
	ExpiresAt time.Time
	// DueAt is when the sweep should act; zero means never.
	DueAt time.Time
}

// CredentialStore stores the credentials of connections and of consents that
// no connection refers to yet. Where they lie is its own business.
type CredentialStore interface {
	// Prepare makes sure that the next Put will succeed whatever else fails.
	// It is called before each exchange.
	Prepare(ctx context.Context) error

	// Put stores c and returns the reference to it, which the caller writes
	// into the record: then c is durable. prev is the reference in the record,
	// the zero reference for new credentials. Where prev was deleted meanwhile
	// Put returns ErrGone and stores nothing.
	Put(ctx context.Context, key CredentialsKey, prev CredentialsRef, c Credentials) (CredentialsRef, error)

	// Hold returns a reference that holds c itself, as Put does where it cannot
	// store: what is stored under key can then be deleted.
	Hold(ctx context.Context, key CredentialsKey, c Credentials) (CredentialsRef, error)

	// Rescue stores c where Latest finds it although no record refers to it.
	// It is called where ref, which Put returned, could not be written into
	// the record.
	Rescue(ctx context.Context, key CredentialsKey, ref CredentialsRef, c Credentials) error

	// Get returns the very credentials that ref names. It returns ErrNotFound
	// if they are gone, and ErrMismatch if they belong to another key.
	Get(ctx context.Context, key CredentialsKey, ref CredentialsRef) (Credentials, error)

	// Latest returns the credentials with the highest generation and their
	// reference: those that ref names, or newer ones whose writer crashed before
	// it wrote the record. Errors are as Get's.
	Latest(ctx context.Context, key CredentialsKey, ref CredentialsRef) (Credentials, CredentialsRef, error)

	// Stale reports whether the credentials of ref should be stored again: they
	// are sealed into the record for want of a better place, do not name their
	// connection yet, or lie in the store that was configured before.
	Stale(ref CredentialsRef) bool

	// Delete deletes the credentials: for good with purge, else so that they
	// can be recovered for a while. What is not there is no error.
	Delete(ctx context.Context, key CredentialsKey, ref CredentialsRef, purge bool) error
}

// CredentialsKey is whose credentials are meant. It is stored with them, so
// that a changed record cannot name the credentials of another connection.
type CredentialsKey struct {
	Kind     CredentialsKind
	ID       string // of the connection; of the consent with the number of its grant
	Owner    string
	Platform Name
	// AccountID is empty where the account is not known yet; it then matches
	// any.
	AccountID string
}

// CredentialsKind is what credentials belong to.
type CredentialsKind string

// The kinds of credentials.
const (
	OfConnection CredentialsKind = "connection"
	OfConsent    CredentialsKind = "consent" // that no connection refers to yet
)

// CredentialsRef is where credentials are. Only a CredentialStore interprets
// it, except for the generation, which orders the credentials of one
// connection.
type CredentialsRef struct {
	Generation int64
	Version    string // of a secret
	Sealed     []byte // the encrypted credentials themselves
	// Bound says that the stored credentials name their connection.
	Bound bool
}

// IsZero reports whether ref refers to nothing.
func (ref CredentialsRef) IsZero() bool { return ref.Version == "" && len(ref.Sealed) == 0 }

// AppStore stores the operator's apps.
type AppStore interface {
	// App returns the app of a platform, the zero App where there is none. Where
	// what is stored is not an app it returns ErrMalformed, and its revision
	// alone. It sees every PutApp that returned before.
	App(ctx context.Context, name Name) (App, error)

	// PutApp stores the app of a platform in place of the one with
	// app.Revision, empty where there is none; else it returns ErrConflict. A
	// writer that knows no revisions, such as a person in the console, may still
	// write between the read and PutApp.
	PutApp(ctx context.Context, name Name, app App) error
}

// Queue is where the worker's batches come from.
type Queue interface {
	// Enqueue adds items, which the worker gets after a delay of up to 15
	// minutes, and returns those that it could not add.
	Enqueue(ctx context.Context, items []RecordKey, after time.Duration) (failed []RecordKey, err error)
}

// Events tells the operator's product what happened.
type Events interface {
	// Publish sends events, and returns the ids of those that the bus accepted,
	// also beside an error. Where it is not known whether the bus accepted an event,
	// its id is not among them: the event is sent again.
	Publish(ctx context.Context, events ...Event) (accepted []ID, err error)
}

// EventType is what happened, in the words of the bus.
type EventType string

// The types of event.
const (
	EventConnected    EventType = "Connection Connected"
	EventRefreshed    EventType = "Connection Refreshed"
	EventReauth       EventType = "Reauthorization Required"
	EventRecovered    EventType = "Connection Recovered"
	EventDisconnected EventType = "Connection Disconnected"
	EventQuota        EventType = "Quota Exhausted"
	EventExpiring     EventType = "Connection Expiring"
	EventDegraded     EventType = "Connection Degraded"
)

// Event is one thing that happened to one connection. The bus may get it more than
// once, and after a later one.
type Event struct {
	ID           ID        `json:"event_id"` // the same each time that the event is sent
	Type         EventType `json:"type"`
	ConnectionID ID        `json:"connection_id"`
	Owner        string    `json:"owner"`
	Platform     Name      `json:"platform"`
	// AccountID is empty where the person asked for the deletion of their data
	// before the bus accepted the event.
	AccountID  string    `json:"account_id"`
	Status     Status    `json:"status"`
	Reason     string    `json:"reason,omitempty"`
	Revision   int64     `json:"revision"` // of the record; orders the events of one connection
	OccurredAt time.Time `json:"occurred_at"`
}
