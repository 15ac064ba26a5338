package connectortest

import (
	"context"
	"errors"
	"sync"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// Ports are the ports of a service: usually those of this package, in memory.
// Several services over the same Ports are several processes.
type Ports struct {
	Store  connector.Store
	Vault  credentialstore.Vault
	Sealer credentialstore.Sealer
	Queue  connector.Queue
	Events connector.Events
}

// Call is one call of a port.
type Call struct {
	// Name is the port and the method, such as "Store.Connection" or
	// "Vault.Put". A Commit is named after what it writes: "Store.Create",
	// "Store.Update" and "Store.Delete" of a connection, "Store.PutTicket",
	// "Store.ReplaceTicket", "Store.OverwriteTicket" and "Store.DropTicket" where it writes no connection.
	Name string
	// N counts the calls of that name since Wire, from 1.
	N int
	// Change is what a Commit writes. Shard is where Due looks, and Key is what
	// Claim moves. Secret is the name of a secret of the vault, and Value what is
	// stored there.
	Change connector.Change
	Shard  int
	Key    connector.RecordKey
	Secret string
	Value  connector.Secret
	// Counter is the name of a counter, and Items what is put into the queue.
	Counter string
	Items   []connector.RecordKey
	// Events are what is published.
	Events []connector.Event
}

// Hook stands between a service and its ports. next makes the call. The hook
// may act before it and after it, leave it out, or return an error although it
// succeeded, as if the answer had been lost; the caller then gets zero values.
type Hook func(ctx context.Context, call Call, next func() error) error

// On returns a Hook that runs act around the calls of one name, and no others.
func On(name string, act func(n int, next func() error) error) Hook {
	return func(_ context.Context, call Call, next func() error) error {
		if call.Name != name {
			return next()
		}
		return act(call.N, next)
	}
}

// Fail returns a Hook that fails every call of these names with err, before it
// reaches the port.
func Fail(err error, names ...string) Hook {
	return func(_ context.Context, call Call, next func() error) error {
		for _, name := range names {
			if call.Name == name {
				return err
			}
		}
		return next()
	}
}

// Chain returns a Hook that runs each of the hooks, the first one outermost.
func Chain(hooks ...Hook) Hook {
	return func(ctx context.Context, call Call, next func() error) error {
		for i := len(hooks) - 1; i >= 0; i-- {
			if hook, inner := hooks[i], next; hook != nil {
				next = func() error { return hook(ctx, call, inner) }
			}
		}
		return next()
	}
}

// Wire connects s to the ports, with hook around each call; nil is none. The
// credential store and the apps of s are the real ones, over vault and sealer. s must
// have its Now, Sleep and Log. If it has a SuspensionCache, it gets a new one, since
// no two processes share one.
func (p Ports) Wire(s *connector.Service, hook Hook, o credentialstore.Options) {
	if hook != nil {
		f := &faults{hook: hook, calls: map[string]int{}}
		p = Ports{faultyStore{p.Store, f}, faultyVault{p.Vault, f}, faultySealer{p.Sealer, f}, faultyQueue{p.Queue, f}, faultyEvents{p.Events, f}}
	}
	o.Now, o.Sleep, o.Log = s.Now, s.Sleep, s.Log
	s.Store, s.Apps, s.Queue, s.Events = p.Store, credentialstore.NewApps(p.Vault), p.Queue, p.Events
	s.CredentialStore = credentialstore.NewSecrets(p.Vault, p.Sealer, o)
	if s.SuspensionCache != nil {
		s.SuspensionCache = &connector.SuspensionCache{}
	}
}

type faults struct {
	hook  Hook
	mu    sync.Mutex
	calls map[string]int
}

// around makes a call through the hook.
func around[T any](ctx context.Context, f *faults, call Call, act func() (T, error)) (T, error) {
	f.mu.Lock()
	f.calls[call.Name]++
	call.N = f.calls[call.Name]
	f.mu.Unlock()
	var result, zero T
	err := f.hook(ctx, call, func() (err error) {
		result, err = act()
		return err
	})
	if err != nil {
		return zero, err
	}
	return result, nil
}

func aroundError(ctx context.Context, f *faults, call Call, act func() error) error {
	_, err := around(ctx, f, call, func() (struct{}, error) { return struct{}{}, act() })
	return err
}

type faultyStore struct {
	connector.Store
	*faults
}

func (s faultyStore) Connection(ctx context.Context, id connector.ID) (connector.Connection, error) {
	return around(ctx, s.faults, Call{Name: "Store.Connection"}, func() (connector.Connection, error) {
		return s.Store.Connection(ctx, id)
	})
}

func (s faultyStore) FindAccount(ctx context.Context, owner string, platform connector.Name, accountID string) (connector.Connection, error) {
	return around(ctx, s.faults, Call{Name: "Store.FindAccount"}, func() (connector.Connection, error) {
		return s.Store.FindAccount(ctx, owner, platform, accountID)
	})
}

func (s faultyStore) Connections(ctx context.Context, f connector.Filter, cursor string, limit int) ([]connector.Connection, string, error) {
	var next string
	page, err := around(ctx, s.faults, Call{Name: "Store.Connections"}, func() (page []connector.Connection, err error) {
		page, next, err = s.Store.Connections(ctx, f, cursor, limit)
		return page, err
	})
	return page, next, err
}

func (s faultyStore) UserConnections(ctx context.Context, platform connector.Name, userID string) ([]connector.Connection, error) {
	return around(ctx, s.faults, Call{Name: "Store.UserConnections"}, func() ([]connector.Connection, error) {
		return s.Store.UserConnections(ctx, platform, userID)
	})
}

func (s faultyStore) UserRecords(ctx context.Context, platform connector.Name, userID string) ([]connector.RecordKey, error) {
	return around(ctx, s.faults, Call{Name: "Store.UserRecords"}, func() ([]connector.RecordKey, error) {
		return s.Store.UserRecords(ctx, platform, userID)
	})
}

func (s faultyStore) Commit(ctx context.Context, change connector.Change) (connector.Connection, error) {
	return around(ctx, s.faults, Call{Name: commitName(change), Change: change}, func() (connector.Connection, error) {
		return s.Store.Commit(ctx, change)
	})
}

func commitName(change connector.Change) string {
	switch {
	case change.Before != nil && change.After != nil:
		return "Store.Update"
	case change.After != nil:
		return "Store.Create"
	case change.Before != nil:
		return "Store.Delete"
	case len(change.Put) > 0:
		return "Store.PutTicket"
	case len(change.Replace) > 0:
		return "Store.ReplaceTicket"
	case len(change.Overwrite) > 0:
		return "Store.OverwriteTicket"
	}
	return "Store.DropTicket"
}

func (s faultyStore) Due(ctx context.Context, shard int, now time.Time, limit int) ([]connector.Due, error) {
	return around(ctx, s.faults, Call{Name: "Store.Due", Shard: shard}, func() ([]connector.Due, error) {
		return s.Store.Due(ctx, shard, now, limit)
	})
}

func (s faultyStore) Claim(ctx context.Context, d connector.Due, until time.Time) error {
	return aroundError(ctx, s.faults, Call{Name: "Store.Claim", Key: d.RecordKey}, func() error { return s.Store.Claim(ctx, d, until) })
}

func (s faultyStore) Ticket(ctx context.Context, key connector.RecordKey, now time.Time) (connector.Ticket, error) {
	return around(ctx, s.faults, Call{Name: "Store.Ticket"}, func() (connector.Ticket, error) {
		return s.Store.Ticket(ctx, key, now)
	})
}

func (s faultyStore) TakeTicket(ctx context.Context, key connector.RecordKey, bound string, now time.Time) (connector.Ticket, error) {
	return around(ctx, s.faults, Call{Name: "Store.TakeTicket"}, func() (connector.Ticket, error) {
		return s.Store.TakeTicket(ctx, key, bound, now)
	})
}

func (s faultyStore) Reserve(ctx context.Context, counter string, n, limit int, expiresAt time.Time) (int, error) {
	var sum int // comes with ErrConflict, too
	_, err := around(ctx, s.faults, Call{Name: "Store.Reserve", Counter: counter}, func() (_ int, err error) {
		sum, err = s.Store.Reserve(ctx, counter, n, limit, expiresAt)
		return sum, err
	})
	if err != nil && !errors.Is(err, connector.ErrConflict) {
		return 0, err
	}
	return sum, err
}

func (s faultyStore) Breaker(ctx context.Context, key connector.BreakerKey) (connector.Breaker, error) {
	return around(ctx, s.faults, Call{Name: "Store.Breaker"}, func() (connector.Breaker, error) {
		return s.Store.Breaker(ctx, key)
	})
}

func (s faultyStore) PutBreaker(ctx context.Context, b connector.Breaker) (connector.Breaker, error) {
	return around(ctx, s.faults, Call{Name: "Store.PutBreaker"}, func() (connector.Breaker, error) {
		return s.Store.PutBreaker(ctx, b)
	})
}

func (s faultyStore) Suspensions(ctx context.Context) (connector.Suspensions, error) {
	return around(ctx, s.faults, Call{Name: "Store.Suspensions"}, func() (connector.Suspensions, error) {
		return s.Store.Suspensions(ctx)
	})
}

func (s faultyStore) PutSuspensions(ctx context.Context, all connector.Suspensions) (connector.Suspensions, error) {
	return around(ctx, s.faults, Call{Name: "Store.PutSuspensions"}, func() (connector.Suspensions, error) {
		return s.Store.PutSuspensions(ctx, all)
	})
}

type faultyVault struct {
	credentialstore.Vault
	*faults
}

func (v faultyVault) Put(ctx context.Context, name string, value connector.Secret) (string, error) {
	return around(ctx, v.faults, Call{Name: "Vault.Put", Secret: name, Value: value}, func() (string, error) {
		return v.Vault.Put(ctx, name, value)
	})
}

// PutVersion is named "Vault.Put" as well: both write a version.
func (v faultyVault) PutVersion(ctx context.Context, name string, value connector.Secret) (string, error) {
	return around(ctx, v.faults, Call{Name: "Vault.Put", Secret: name, Value: value}, func() (string, error) {
		return v.Vault.PutVersion(ctx, name, value)
	})
}

// Replace is named "Vault.Put" as well.
func (v faultyVault) Replace(ctx context.Context, name, version string, value connector.Secret) (string, error) {
	return around(ctx, v.faults, Call{Name: "Vault.Put", Secret: name, Value: value}, func() (string, error) {
		return v.Vault.Replace(ctx, name, version, value)
	})
}

func (v faultyVault) Get(ctx context.Context, name, version string) (connector.Secret, string, error) {
	var current string
	value, err := around(ctx, v.faults, Call{Name: "Vault.Get", Secret: name}, func() (value connector.Secret, err error) {
		value, current, err = v.Vault.Get(ctx, name, version)
		return value, err
	})
	return value, current, err
}

func (v faultyVault) Delete(ctx context.Context, name string, purge bool) error {
	return aroundError(ctx, v.faults, Call{Name: "Vault.Delete", Secret: name}, func() error {
		return v.Vault.Delete(ctx, name, purge)
	})
}

type faultySealer struct {
	credentialstore.Sealer
	*faults
}

func (s faultySealer) Prepare(ctx context.Context) error {
	return aroundError(ctx, s.faults, Call{Name: "Sealer.Prepare"}, func() error { return s.Sealer.Prepare(ctx) })
}

func (s faultySealer) Seal(ctx context.Context, plain connector.Secret, purpose string) ([]byte, error) {
	return around(ctx, s.faults, Call{Name: "Sealer.Seal", Value: plain}, func() ([]byte, error) {
		return s.Sealer.Seal(ctx, plain, purpose)
	})
}

func (s faultySealer) Open(ctx context.Context, sealed []byte, purpose string) (connector.Secret, error) {
	return around(ctx, s.faults, Call{Name: "Sealer.Open"}, func() (connector.Secret, error) {
		return s.Sealer.Open(ctx, sealed, purpose)
	})
}

type faultyQueue struct {
	connector.Queue
	*faults
}

func (q faultyQueue) Enqueue(ctx context.Context, items []connector.RecordKey, after time.Duration) ([]connector.RecordKey, error) {
	return around(ctx, q.faults, Call{Name: "Queue.Enqueue", Items: items}, func() ([]connector.RecordKey, error) {
		return q.Queue.Enqueue(ctx, items, after)
	})
}

type faultyEvents struct {
	connector.Events
	*faults
}

func (e faultyEvents) Publish(ctx context.Context, events ...connector.Event) ([]connector.ID, error) {
	var accepted []connector.ID // comes with an error of the bus, too
	var refused error
	err := aroundError(ctx, e.faults, Call{Name: "Events.Publish", Events: events}, func() error {
		accepted, refused = e.Events.Publish(ctx, events...)
		return refused
	})
	if !errors.Is(err, refused) {
		return nil, err
	}
	return accepted, err
}
