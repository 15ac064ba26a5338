package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Suspension withholds the tokens of one connection, of one owner, of one
// platform, or of all, until it is deleted. It revokes nothing and changes no
// connection, so that its deletion undoes it.
type Suspension struct {
	ID ID
	SuspensionTarget
	Reason string
	// Rest says that the platform is not called for these connections either:
	// they are neither refreshed nor verified.
	Rest      bool
	CreatedAt time.Time
	CreatedBy string // the ARN of the caller; empty where AWS names none
}

// SuspensionTarget is what a suspension covers. Exactly one field is set.
type SuspensionTarget struct {
	ConnectionID ID
	Owner        string
	Platform     Name
	All          bool
}

// covers reports whether c is covered.
func (t SuspensionTarget) covers(c Connection) bool {
	switch {
	case t.All:
		return true
	case t.ConnectionID != "":
		return t.ConnectionID == c.ID
	case t.Owner != "":
		return t.Owner == c.Owner
	}
	return t.Platform != "" && t.Platform == c.Platform
}

// Suspensions are all suspensions, which are one record.
type Suspensions struct {
	List     []Suspension // the oldest first
	Revision int64
}

// SuspensionRequest asks for a suspension.
type SuspensionRequest struct {
	SuspensionTarget
	Reason    string // which callers of token-get are shown
	Rest      bool
	CreatedBy string
}

const maxReason = 256 // characters of a suspension's reason

// Suspend creates a suspension. Every process observes it within two seconds.
//
// It fails with InvalidRequest, also for a caller that is confined to some
// owners and where there are too many suspensions, and with ConnectionNotFound.
func (s *Service) Suspend(ctx context.Context, r SuspensionRequest) (Suspension, error) {
	if err := cmp.Or(checkUnconfined(ctx), s.checkSuspension(r)); err != nil {
		return Suspension{}, err
	}
	if r.ConnectionID != "" {
		if _, err := s.Connection(ctx, r.ConnectionID); err != nil {
			return Suspension{}, err
		}
	}
	id, err := NewID(s.Random)
	if err != nil {
		return Suspension{}, internal("naming a suspension", err)
	}
	created := Suspension{
		ID: id, SuspensionTarget: r.SuspensionTarget, Reason: r.Reason, Rest: r.Rest,
		CreatedAt: s.Now().UTC(), CreatedBy: r.CreatedBy,
	}
	err = s.changeSuspensions(ctx, func(list []Suspension, _ bool) ([]Suspension, error) {
		if slices.ContainsFunc(list, created.is) {
			return nil, errUnchanged // an answer was lost
		}
		if err := checkRoom(list, created); err != nil {
			return nil, err
		}
		return append(slices.Clone(list), created), nil
	})
	if err != nil {
		return Suspension{}, err
	}
	return created, nil
}

// DeleteSuspension ends a suspension. What it withheld is handed out again
// within two seconds.
//
// It fails with InvalidRequest for a caller that is confined to some owners, and
// with ConnectionNotFound where there is no such suspension.
func (s *Service) DeleteSuspension(ctx context.Context, id ID) error {
	if err := checkUnconfined(ctx); err != nil {
		return err
	}
	return s.changeSuspensions(ctx, func(list []Suspension, again bool) ([]Suspension, error) {
		left := slices.DeleteFunc(slices.Clone(list), Suspension{ID: id}.is)
		switch {
		case len(left) < len(list):
			return left, nil
		case again:
			return nil, errUnchanged // an answer was lost, or another caller deleted it
		}
		return nil, errNoSuspension()
	})
}

// ListSuspensions returns every suspension, the oldest first. It fails with
// InvalidRequest for a caller that is confined to some owners.
func (s *Service) ListSuspensions(ctx context.Context) ([]Suspension, error) {
	if err := checkUnconfined(ctx); err != nil {
		return nil, err
	}
	all, err := s.Store.Suspensions(ctx)
	if err != nil {
		return nil, internal("reading the suspensions", err)
	}
	return all.List, nil
}

// Suspension returns one suspension. Its failures are those of DeleteSuspension.
func (s *Service) Suspension(ctx context.Context, id ID) (Suspension, error) {
	list, err := s.ListSuspensions(ctx)
	if err != nil {
		return Suspension{}, err
	}
	i := slices.IndexFunc(list, Suspension{ID: id}.is)
	if i < 0 {
		return Suspension{}, errNoSuspension()
	}
	return list[i], nil
}

// SuspensionOf returns the oldest suspension that covers c, and whether there is
// one.
func (s *Service) SuspensionOf(ctx context.Context, c Connection) (Suspension, bool, error) {
	return s.suspensionOf(ctx, c, func(x Suspension) bool { return true })
}

// checkSuspended returns Suspended where the tokens of c are withheld. Whatever
// hands out a token, or uses it for a caller, asks it last. Where the suspensions
// cannot be read it fails: no token is handed out on a state that is not known.
func (s *Service) checkSuspended(ctx context.Context, c Connection) error {
	x, covered, err := s.SuspensionOf(ctx, c)
	if err != nil || !covered {
		return err
	}
	return errSuspended(x)
}

// checkResting returns Suspended where the platform must not be called for c.
func (s *Service) checkResting(ctx context.Context, c Connection) error {
	x, covered, err := s.suspensionOf(ctx, c, func(x Suspension) bool { return x.Rest })
	if err != nil || !covered {
		return err
	}
	return errSuspended(x)
}

// unresting returns a connection for which the platform may be called.
func (s *Service) unresting(ctx context.Context, id ID) (Connection, error) {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return Connection{}, err
	}
	if c.Status == Disconnected {
		return Connection{}, errConnectionNotFound()
	}
	if err := s.checkResting(ctx, c); err != nil {
		return Connection{}, err
	}
	return c, nil
}

func (s *Service) suspensionOf(ctx context.Context, c Connection, counts func(Suspension) bool) (Suspension, bool, error) {
	list, err := s.suspensions(ctx)
	if err != nil {
		return Suspension{}, false, err
	}
	for _, x := range list {
		if x.covers(c) && counts(x) {
			return x, true, nil
		}
	}
	return Suspension{}, false, nil
}

func (s *Service) checkSuspension(r SuspensionRequest) error {
	set := 0
	for _, is := range []bool{r.ConnectionID != "", r.Owner != "", r.Platform != "", r.All} {
		if is {
			set++
		}
	}
	if set != 1 {
		return Invalid("connection_id", "give exactly one of connection_id, owner, platform, and all with the value true")
	}
	if r.Owner != "" {
		if err := checkOwner(r.Owner); err != nil {
			return err
		}
	}
	if r.Platform != "" {
		if _, err := s.platform(r.Platform); err != nil {
			return err
		}
	}
	return checkText("reason", r.Reason, maxReason)
}

// checkRoom checks that the record has room for one more suspension.
func checkRoom(list []Suspension, next Suspension) error {
	number, size := maxSuspensions, maxSuspensionSize
	if next.All {
		number, size = number+moreForAll, size+moreForAll*maxAllSize
	}
	used := next.size()
	for _, x := range list {
		used += x.size()
	}
	if len(list) >= number || used > size {
		return Invalid("suspensions", fmt.Sprintf("there are %d already, which is as many as can be: delete some, or suspend an owner, a platform or all in their place", len(list)))
	}
	return nil
}

// size is at least what the suspension takes of the record, in bytes.
func (x Suspension) size() int {
	const names = 200 // the names of the attributes, and the values of fixed length
	return names + len(x.ConnectionID) + len(x.Owner) + len(x.Platform) + len(x.Reason) + len(x.CreatedBy)
}

// is reports whether other has the same id.
func (x Suspension) is(other Suspension) bool { return x.ID == other.ID }

// changeSuspensions writes what change makes of the list, unless it returns
// errUnchanged. Where the record moved, or the answer to a write was lost, change is
// called again, with again set.
func (s *Service) changeSuspensions(ctx context.Context, change func(list []Suspension, again bool) ([]Suspension, error)) error {
	defer s.SuspensionCache.forget()
	var failure error
	for try := range suspensionWrites {
		if try > 0 {
			if err := s.pause(ctx, try); err != nil {
				return internal("writing the suspensions", err)
			}
		}
		before, err := s.Store.Suspensions(ctx)
		if err != nil {
			return internal("reading the suspensions", errors.Join(failure, err))
		}
		list, err := change(before.List, try > 0)
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if err != nil {
			return err
		}
		_, failure = s.Store.PutSuspensions(ctx, Suspensions{List: list, Revision: before.Revision})
		if failure == nil {
			return nil
		}
	}
	return internal("writing the suspensions", failure)
}

func errNoSuspension() error {
	return &Error{Code: ConnectionNotFound, Message: "no such suspension"}
}

func errSuspended(x Suspension) error {
	what := "all connections"
	switch {
	case x.ConnectionID != "":
		what = "this connection"
	case x.Owner != "":
		what = "this owner"
	case x.Platform != "":
		what = "this platform"
	}
	return &Error{Code: Suspended, Message: "the operator suspended " + what + ": " + x.Reason}
}

// SuspensionCache is what one process knows of the suspensions. The zero
// SuspensionCache knows nothing. Its users share it by its address, and may use
// it from any goroutine.
type SuspensionCache struct {
	mu    sync.Mutex
	known []Suspension // shared by callers, which do not change it
	// began is when the read of known began; zero where nothing is known.
	began time.Time
	// reading is closed at the end of the read that is under way; nil if none is.
	reading chan struct{}
}

// forget makes the next check read the suspensions.
func (c *SuspensionCache) forget() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Time{}
}

// fresh reports whether what is known at now is recent enough to hand out
// tokens. The caller holds the lock. Lambda freezes a process between
// invocations, and a monotonic clock does not count the time of a machine that is
// suspended (https://man7.org/linux/man-pages/man2/clock_gettime.2.html, read
// 2026-11-25), so the age is the larger of what both clocks say.
func (c *SuspensionCache) fresh(now time.Time) bool {
	age, onWall := now.Sub(c.began), now.Round(0).Sub(c.began.Round(0))
	return !c.began.IsZero() && min(age, onWall) >= 0 && max(age, onWall) < suspensionLife
}

// lookup returns what is known at now, if that is fresh. Otherwise it returns the
// end of the read that is under way, or nil where the caller must read; begin and
// end then enclose its read.
func (c *SuspensionCache) lookup(now time.Time) (known []Suspension, fresh bool, reading <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fresh(now) {
		return c.known, true, nil
	}
	if c.reading != nil {
		return nil, false, c.reading
	}
	c.reading = make(chan struct{})
	return nil, false, nil
}

// end ends the read of the caller, which began at that time. A read that failed
// leaves what was known.
func (c *SuspensionCache) end(began time.Time, list []Suspension, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.known, c.began = list, began
	}
	close(c.reading)
	c.reading = nil
}

// suspensions returns the suspensions as they were at most suspensionBudget ago.
// A process reads them at most once in suspensionLife, however many callers ask.
func (s *Service) suspensions(ctx context.Context) ([]Suspension, error) {
	cache := s.SuspensionCache
	if cache == nil {
		cache = &SuspensionCache{}
	}
	failure := errors.New("other callers read them and failed")
	for range suspensionReads {
		known, fresh, reading := cache.lookup(s.Now())
		switch {
		case fresh:
			return known, nil
		case reading == nil:
			list, err := s.readSuspensions(ctx, cache)
			if err == nil {
				return list, nil
			}
			failure = err
		default:
			select {
			case <-reading:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return nil, internal("reading the suspensions", ctx.Err())
		}
	}
	return nil, internal("reading the suspensions", failure)
}

var errSlowSuspensions = errors.New("the read took too long")

// readSuspensions reads the suspensions into cache.
func (s *Service) readSuspensions(ctx context.Context, cache *SuspensionCache) (list []Suspension, err error) {
	ctx, cancel := context.WithTimeout(ctx, suspensionBudget)
	defer cancel()
	began := s.Now()
	err = errors.New("the read did not return")
	defer func() { cache.end(began, list, err) }()
	all, err := s.Store.Suspensions(ctx)
	if err != nil {
		return nil, err
	}
	if s.Now().Sub(began) > suspensionBudget {
		return nil, errSlowSuspensions
	}
	return all.List, nil
}

// prefetchSuspensions starts to read the suspensions beside what the caller reads
// meanwhile, unless they are known. The caller must call join, which waits for the
// end of that read. Whether it succeeded is for the next check to find out.
func (s *Service) prefetchSuspensions(ctx context.Context) (join func()) {
	cache := s.SuspensionCache
	if cache == nil {
		return func() {}
	}
	cache.mu.Lock()
	fresh := cache.fresh(s.Now())
	cache.mu.Unlock()
	if fresh {
		return func() {}
	}
	ended := make(chan any, 1)
	go func() {
		defer func() { ended <- recover() }()
		_, _ = s.suspensions(ctx)
	}()
	return func() {
		if panicked := <-ended; panicked != nil {
			panic(panicked)
		}
	}
}
