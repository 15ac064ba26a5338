package connector

import (
	"context"
	"time"
)

// Store keeps connections, tickets and counters. Its writes are conditional;
// it knows nothing of what they mean. All times are UTC, with millisecond
// precision at least.
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
	// InvalidRequest. Writes of the last moment may not show yet.
	Connections(ctx context.Context, f Filter, cursor string, limit int) (page []Connection, next string, err error)

	// UserConnections returns every connection, of all owners, that a
	// platform's user stands behind, but disconnected ones.
	UserConnections(ctx context.Context, platform Name, userID string) ([]Connection, error)

	// Create adds c with revision 1 and returns it. If the owner has a
	// connection to that account already, or the id is taken, it returns
	// ErrConflict. Of concurrent calls for one account exactly one succeeds.
	Create(ctx context.Context, c Connection) (Connection, error)

	// Update replaces the connection with c if it still has c.Revision, and
	// returns it with the next one; else ErrConflict, also where it is gone.
	// With another AccountID the new account is claimed as Create claims it.
	// A connection that becomes Disconnected frees its account, and vanishes
	// DisconnectedFor later.
	Update(ctx context.Context, c Connection) (Connection, error)

	// Delete removes the connection at once, if it still has the revision.
	Delete(ctx context.Context, id ID, revision int64) error

	// Due returns up to limit connections and tickets of one shard, 0 to
	// DueShards-1, whose DueAt is not after now, longest due first. A
	// connection's DueAt is the RefreshAt of the last Update, or what Claim
	// set since; without a RefreshAt it is in no shard, whatever its status.
	// A ticket with a DueAt is in a shard from PutTicket to TakeTicket.
	Due(ctx context.Context, shard int, now time.Time, limit int) ([]Due, error)

	// Claim puts the DueAt of d off until the given instant if nobody else
	// changed it, else returns ErrConflict. A connection's revision does not
	// move.
	Claim(ctx context.Context, d Due, until time.Time) error

	// PutTicket adds a ticket. An existing one of the same kind and hash is
	// ErrConflict.
	PutTicket(ctx context.Context, t Ticket) error

	// Ticket returns a ticket that has not expired at now, or ErrNotFound.
	Ticket(ctx context.Context, kind TicketKind, hash string, now time.Time) (Ticket, error)

	// TakeTicket returns the ticket and removes it. Of any number of
	// concurrent calls exactly one gets it; the others get ErrNotFound. A
	// ticket that expired at now, or that is bound to something else, is
	// ErrNotFound and stays.
	TakeTicket(ctx context.Context, kind TicketKind, hash, bound string, now time.Time) (Ticket, error)

	// Reserve adds n to the counter if that keeps it at or under limit, and
	// returns the sum; else ErrConflict and the sum as it stands. The counter
	// vanishes some time after expiresAt.
	Reserve(ctx context.Context, counter string, n, limit int, expiresAt time.Time) (int, error)

	// Breaker returns the breaker of a platform's app, the zero Breaker where
	// none was written.
	Breaker(ctx context.Context, platform Name) (Breaker, error)

	// PutBreaker replaces the breaker if it still has b.Revision, zero where
	// there is none, and returns it with the next one; else ErrConflict.
	PutBreaker(ctx context.Context, b Breaker) (Breaker, error)
}

// DueShards is over how many partitions the index of what is due is spread.
// One partition takes about 1,000 writes a second.
const DueShards = 16

// DisconnectedFor is how long the record of a disconnected connection can
// still be seen: as long as its secret can be recovered.
const DisconnectedFor = 7 * 24 * time.Hour

// Due is a connection whose time has come, or a ticket.
type Due struct {
	ID ID
	// Ticket is the ticket's kind, and ID then its hash; empty for a
	// connection.
	Ticket TicketKind
	DueAt  time.Time
}

// TicketKind is what a ticket is for.
type TicketKind string

// The kinds of ticket.
const (
	LinkTicket     TicketKind = "link"     // a connect link; Body is a Link
	StateTicket    TicketKind = "state"    // an authorization in flight; Body is an Authorization
	DeletionTicket TicketKind = "deletion" // the status of a data deletion, read many times

	ConfirmationTicket TicketKind = "confirmation" // the right to confirm a pending consent, bound to its owner
	PendingTicket      TicketKind = "pending"      // a consent that is not confirmed yet, under its id in place of a hash

	UnrecordedTicket TicketKind = "unrecorded" // a secret that has no record yet, under an id in place of a hash
)

// Ticket is a record that stands for a random value that somebody else holds:
// kept under its hash, expiring, and taken once.
type Ticket struct {
	Kind TicketKind
	Hash string
	// Bound is the hash of a second value that must be shown to take it;
	// empty where none is asked for.
	Bound     string
	Body      []byte // JSON, no secrets
	ExpiresAt time.Time
	// DueAt is when the sweep should act; zero means never.
	DueAt time.Time
}

// Vault keeps secrets in versions under names such as "connections/<id>",
// "apps/<platform>" and "pending/<id>/<n>".
type Vault interface {
	// Put makes value the current version under name and returns that
	// version once it is durable.
	Put(ctx context.Context, name string, value Secret) (version string, err error)

	// Get returns a version of the secret, the current one if version is
	// empty, or ErrNotFound. It sees every Put that returned before.
	Get(ctx context.Context, name, version string) (value Secret, current string, err error)

	// Delete schedules the secret for deletion after seven days or, with
	// purge, deletes it at once. What is not there is no error.
	Delete(ctx context.Context, name string, purge bool) error
}

// Sealer encrypts what must be kept outside the vault for a while.
type Sealer interface {
	// Prepare makes sure that Seal can work without any other service. It is
	// called before each exchange and is cheap when nothing is to be done.
	Prepare(ctx context.Context) error

	// Seal encrypts plain and binds it to purpose: only Open with the same
	// purpose returns it.
	Seal(ctx context.Context, plain Secret, purpose string) ([]byte, error)
	Open(ctx context.Context, sealed []byte, purpose string) (Secret, error)
}

// Queue is where the worker's batches come from.
type Queue interface {
	// Enqueue adds ids, for the worker to get after a while of up to 15
	// minutes, and returns those that it could not add.
	Enqueue(ctx context.Context, ids []ID, after time.Duration) (failed []ID, err error)
}

// Events tells the operator's product what happened.
type Events interface {
	// Publish sends events. They are notices, not records: what fails to be
	// sent is logged and never undoes what happened.
	Publish(ctx context.Context, events ...Event) error
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
)

// Event is one thing that happened to one connection.
type Event struct {
	Type       EventType
	Connection Connection
	Reason     string
}
