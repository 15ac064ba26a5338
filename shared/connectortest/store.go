package connectortest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"platform-api-connector/shared/connector"
)

// Store is a connector.Store in memory. It sweeps nothing.
type Store struct {
	mu          sync.Mutex
	connections map[connector.ID]stored
	ids         []connector.ID // of connections, sorted
	accounts    map[account]connector.ID
	tickets     map[connector.RecordKey]connector.Ticket
	counters    map[string]int
	breakers    map[connector.BreakerKey]connector.Breaker
	suspensions connector.Suspensions
}

// stored is a connection with its place in the index of what is due; a zero
// dueAt is none.
type stored struct {
	connection connector.Connection
	dueAt      time.Time
}

type account struct {
	owner     string
	platform  connector.Name
	accountID string
}

var _ connector.Store = (*Store)(nil)

// NewStore returns an empty Store.
func NewStore() *Store {
	return &Store{
		connections: map[connector.ID]stored{},
		accounts:    map[account]connector.ID{},
		tickets:     map[connector.RecordKey]connector.Ticket{},
		counters:    map[string]int{},
		breakers:    map[connector.BreakerKey]connector.Breaker{},
	}
}

// Connection implements connector.Store.
func (s *Store) Connection(_ context.Context, id connector.ID) (connector.Connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connection(id)
}

func (s *Store) connection(id connector.ID) (connector.Connection, error) {
	r, ok := s.connections[id]
	if !ok {
		return connector.Connection{}, connector.ErrNotFound
	}
	return clone(r.connection), nil
}

// FindAccount implements connector.Store.
func (s *Store) FindAccount(_ context.Context, owner string, platform connector.Name, accountID string) (connector.Connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connection(s.accounts[account{owner, platform, accountID}])
}

// Connections implements connector.Store. The order is that of the ids.
func (s *Store) Connections(_ context.Context, f connector.Filter, cursor string, limit int) ([]connector.Connection, string, error) {
	after, err := decodeCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()

	var page []connector.Connection
	from, _ := slices.BinarySearch(s.ids, after+"\x00")
	for _, id := range s.ids[from:] {
		c := s.connections[id].connection
		if !f.Match(c) {
			continue
		}
		if len(page) == limit {
			return page, encodeCursor(page[limit-1].ID), nil
		}
		page = append(page, clone(c))
	}
	return page, "", nil
}

const cursorPrefix = "after "

func encodeCursor(id connector.ID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix + id))
}

func decodeCursor(cursor string) (connector.ID, error) {
	if cursor == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	id, ok := strings.CutPrefix(string(b), cursorPrefix)
	if err != nil || !ok {
		return "", connector.Invalid("cursor", "not one that a listing returned")
	}
	return connector.ID(id), nil
}

// UserConnections implements connector.Store.
func (s *Store) UserConnections(_ context.Context, platform connector.Name, userID string) ([]connector.Connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []connector.Connection
	for _, id := range slices.Sorted(maps.Keys(s.connections)) {
		c := s.connections[id].connection
		if c.Platform == platform && c.UserID == userID && c.Status != connector.Disconnected {
			found = append(found, clone(c))
		}
	}
	return found, nil
}

// UserRecords implements connector.Store.
func (s *Store) UserRecords(_ context.Context, platform connector.Name, userID string) ([]connector.RecordKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []connector.RecordKey
	for id, r := range s.connections {
		if r.connection.Platform == platform && r.connection.UserID == userID {
			found = append(found, connector.RecordKey{Kind: connector.ConnectionKind, ID: string(id)})
		}
	}
	for key, t := range s.tickets {
		if t.Platform == platform && t.UserID == userID {
			found = append(found, key)
		}
	}
	slices.SortFunc(found, func(a, b connector.RecordKey) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// Commit implements connector.Store.
func (s *Store) Commit(_ context.Context, change connector.Change) (connector.Connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayCommit(change) {
		return connector.Connection{}, connector.ErrConflict
	}
	for _, t := range change.Put {
		s.tickets[t.RecordKey] = clone(t)
	}
	for _, r := range change.Replace {
		s.tickets[r.New.RecordKey] = clone(r.New)
	}
	for _, t := range change.Overwrite {
		s.tickets[t.RecordKey] = clone(t)
	}
	for _, key := range change.Drop {
		delete(s.tickets, key)
	}
	if change.Before != nil {
		s.free(change.Before.ID)
		delete(s.connections, change.Before.ID)
		if at, found := slices.BinarySearch(s.ids, change.Before.ID); found {
			s.ids = slices.Delete(s.ids, at, at+1)
		}
	}
	if change.After == nil {
		return connector.Connection{}, nil
	}
	c := clone(*change.After)
	c.Revision = 1
	if change.Before != nil {
		c.Revision = change.Before.Revision + 1
	}
	if c.Status != connector.Disconnected {
		s.accounts[accountOf(c)] = c.ID
	}
	s.connections[c.ID] = stored{connection: c, dueAt: c.RefreshAt}
	if at, found := slices.BinarySearch(s.ids, c.ID); !found {
		s.ids = slices.Insert(s.ids, at, c.ID)
	}
	return clone(c), nil
}

// mayCommit reports whether the revision is right, whether the id, the account
// and the tickets of a change are free, and whether its other tickets are there.
func (s *Store) mayCommit(change connector.Change) bool {
	if !s.mayCommitTickets(change) {
		return false
	}
	if before := change.Before; before != nil {
		if r, ok := s.connections[before.ID]; !ok || r.connection.Revision != before.Revision {
			return false
		}
	}
	after := change.After
	if after == nil {
		return true
	}
	if _, taken := s.connections[after.ID]; taken && change.Before == nil {
		return false
	}
	holder, held := s.accounts[accountOf(*after)]
	return after.Status == connector.Disconnected || !held || holder == after.ID
}

func (s *Store) mayCommitTickets(change connector.Change) bool {
	for _, t := range change.Put {
		if _, exists := s.tickets[t.RecordKey]; exists {
			return false
		}
	}
	for _, r := range change.Replace {
		if t, ok := s.tickets[r.New.RecordKey]; !ok || !bytes.Equal(t.Body, r.Old.Body) {
			return false
		}
	}
	return true
}

func (s *Store) free(id connector.ID) {
	if a := accountOf(s.connections[id].connection); s.accounts[a] == id {
		delete(s.accounts, a)
	}
}

func accountOf(c connector.Connection) account {
	return account{c.Owner, c.Platform, c.AccountID}
}

// Due implements connector.Store.
func (s *Store) Due(_ context.Context, shard int, now time.Time, limit int) ([]connector.Due, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []connector.Due
	add := func(key connector.RecordKey, dueAt time.Time) {
		if shardOf(key.ID) == shard && !dueAt.IsZero() && !dueAt.After(now) {
			due = append(due, connector.Due{RecordKey: key, DueAt: dueAt})
		}
	}
	for id, r := range s.connections {
		add(connector.RecordKey{Kind: connector.ConnectionKind, ID: string(id)}, r.dueAt)
	}
	for key, t := range s.tickets {
		add(key, t.DueAt)
	}
	slices.SortFunc(due, func(a, b connector.Due) int { return a.DueAt.Compare(b.DueAt) })
	return due[:min(limit, len(due))], nil
}

func shardOf(id string) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % connector.DueShards)
}

// Claim implements connector.Store.
func (s *Store) Claim(_ context.Context, d connector.Due, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	until = until.Round(0).UTC()
	if d.Kind == connector.ConnectionKind {
		id := connector.ID(d.ID)
		r, ok := s.connections[id]
		if !ok || r.dueAt.IsZero() || !r.dueAt.Equal(d.DueAt) {
			return connector.ErrConflict
		}
		r.dueAt = until
		s.connections[id] = r
		return nil
	}
	t, ok := s.tickets[d.RecordKey]
	if !ok || t.DueAt.IsZero() || !t.DueAt.Equal(d.DueAt) {
		return connector.ErrConflict
	}
	t.DueAt = until
	s.tickets[d.RecordKey] = t
	return nil
}

// Ticket implements connector.Store.
func (s *Store) Ticket(_ context.Context, key connector.RecordKey, now time.Time) (connector.Ticket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tickets[key]
	if !ok || !now.Before(t.ExpiresAt) {
		return connector.Ticket{}, connector.ErrNotFound
	}
	return clone(t), nil
}

// TakeTicket implements connector.Store.
func (s *Store) TakeTicket(_ context.Context, key connector.RecordKey, bound string, now time.Time) (connector.Ticket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tickets[key]
	if !ok || !now.Before(t.ExpiresAt) || t.Bound != "" && t.Bound != bound {
		return connector.Ticket{}, connector.ErrNotFound
	}
	delete(s.tickets, key)
	return t, nil
}

// Reserve implements connector.Store.
func (s *Store) Reserve(_ context.Context, counter string, n, limit int, _ time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counters[counter]+n > limit {
		return s.counters[counter], connector.ErrConflict
	}
	s.counters[counter] += n
	return s.counters[counter], nil
}

// Text returns every record as one text, to be searched for what must not be
// stored.
func (s *Store) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, r := range s.connections {
		fmt.Fprintf(&b, "%+v\nsealed: %s\n", r.connection, r.connection.Credentials.Sealed)
	}
	for _, t := range s.tickets {
		fmt.Fprintf(&b, "%+v\nbody: %s\n", t, t.Body)
	}
	fmt.Fprintf(&b, "%+v\n%+v\n%+v\n", s.accounts, s.counters, s.breakers)
	return b.String()
}

// clone returns a copy that shares no memory with v, whose times are as a
// database gives them back: in UTC, and on no monotonic clock.
func clone[T any](v T) T {
	detach(reflect.ValueOf(&v).Elem())
	return v
}

func detach(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(v.Interface().(time.Time).Round(0).UTC()))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			detach(v.Field(i))
		}
	case v.Kind() == reflect.Slice && !v.IsNil():
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(copied, v)
		v.Set(copied)
		for i := range v.Len() {
			detach(v.Index(i))
		}
	}
}
