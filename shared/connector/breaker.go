package connector

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Breaker is what the calls of one client of a platform had in common. When the
// platform fails, or refuses the client, a call for each connection is useless:
// the breaker opens, and one call at a time probes whether calls succeed again.
//
// It has a circuit for everybody, and one for each owner whose calls failed. The
// calls of one owner open the circuit of that owner alone: the platform may refuse
// or throttle one person. Failures of several owners in a row open the circuit for
// everybody, and so does a refusal of the client.
type Breaker struct {
	BreakerKey
	Circuit
	// FailedOwners are the hashes of the owners whose calls failed since the last
	// call that succeeded, up to breakerThreshold.
	FailedOwners []string
	// Owners are the circuits of owners, up to maxOwnerCircuits.
	Owners   []OwnerCircuit
	Revision int64
}

// BreakerKey names a breaker.
type BreakerKey struct {
	Platform Name
	// Client is empty for the operator's app. Otherwise it is the hash of an owner
	// and of the client that this owner's import brought: whatever the platform
	// answers to it says nothing about the app, and nothing about other owners.
	Client string
}

// Circuit counts failures, and is closed, open, or waits for a probe.
type Circuit struct {
	Failures         int // in a row; of a Breaker, the number of its FailedOwners
	ConsecutiveTrips int // zero: closed
	// Code and Message are the last failure.
	Code    Code
	Message string
	// OpenUntil is when the next probe may be sent. No call is made before.
	OpenUntil time.Time
}

// OwnerCircuit is the circuit of one owner, who is named by a hash.
type OwnerCircuit struct {
	Owner string
	Circuit
}

// err is the failure that opened the circuit.
func (c Circuit) err(now time.Time) *Error {
	return &Error{Code: c.Code, Message: c.Message, RetryAfter: max(0, c.OpenUntil.Sub(now))}
}

func (c Circuit) open(now time.Time) bool { return c.ConsecutiveTrips > 0 && now.Before(c.OpenUntil) }

// turn is the right to make one call.
type turn struct {
	breaker Breaker
	owner   string // hash
}

// circuits returns the tripped circuits that a call of the turn's owner has to
// pass.
func (t *turn) circuits() []*Circuit {
	var tripped []*Circuit
	if t.breaker.ConsecutiveTrips > 0 {
		tripped = append(tripped, &t.breaker.Circuit)
	}
	if i := t.ownerIndex(); i >= 0 && t.breaker.Owners[i].ConsecutiveTrips > 0 {
		tripped = append(tripped, &t.breaker.Owners[i].Circuit)
	}
	return tripped
}

func (t *turn) ownerIndex() int {
	return slices.IndexFunc(t.breaker.Owners, func(o OwnerCircuit) bool { return o.Owner == t.owner })
}

// breakerKey is the key of the breaker that the calls for c have to pass.
func (c Connection) breakerKey() BreakerKey {
	return BreakerKey{Platform: c.Platform, Client: c.Client}
}

// breakerClient is the Client of the breaker for creds, see BreakerKey.
func breakerClient(p Platform, owner string, creds Credentials) string {
	if creds.ClientID != "" {
		return "" // a consent to the operator's app
	}
	var brought string
	for _, name := range p.Describe().ClientFields {
		brought += creds.Fields.Get(name) + "\n"
	}
	return hash(NewSecret(owner + "\n" + brought))[:32]
}

// allow reports whether a call may be made for an owner: the circuits are closed,
// or the caller is the one that probes. Otherwise the circuit that is open says
// until when.
func (s *Service) allow(ctx context.Context, key BreakerKey, owner string, now time.Time) (t turn, shut *Circuit, err error) {
	b, err := s.Store.Breaker(ctx, key)
	if err != nil {
		return turn{}, nil, internal("reading a breaker", err)
	}
	b.BreakerKey = key
	t = turn{breaker: b, owner: ownerHash(owner)}
	tripped := t.circuits()
	for _, c := range tripped {
		if c.open(now) {
			return t, c, nil
		}
	}
	if len(tripped) == 0 {
		return t, nil, nil
	}
	for _, c := range tripped {
		c.OpenUntil = now.Add(breakerProbe).UTC()
	}
	probed, err := s.Store.PutBreaker(ctx, t.breaker)
	if errors.Is(err, ErrConflict) {
		tripped[0].OpenUntil = now.Add(time.Second).UTC()
		return t, tripped[0], nil
	}
	if err != nil {
		return t, nil, internal("writing a breaker", err)
	}
	t.breaker = probed
	return t, nil, nil
}

// recordCall records how a call went that the breaker allowed. A failure to write
// is logged: the breaker saves calls, and nothing depends on it. A lasting failure counts
// as a success of the client, because it concerns one account.
func (s *Service) recordCall(ctx context.Context, t turn, outcome error) {
	e := AsError(outcome)
	if e != nil && !e.lasting() && (e.Code == PlatformUnavailable || e.Code == RateLimited || e.Code == AppMisconfigured) {
		s.recordFailedCall(&t, e)
	} else if !t.recordSuccess() {
		return
	}
	s.putBreaker(ctx, t.breaker)
}

// recordSuccess reports whether it changed the breaker.
func (t *turn) recordSuccess() bool {
	i := t.ownerIndex()
	if i < 0 && len(t.breaker.FailedOwners) == 0 && t.breaker.ConsecutiveTrips == 0 {
		return false
	}
	if i >= 0 {
		t.breaker.Owners = slices.Delete(t.breaker.Owners, i, i+1)
	}
	t.breaker.Circuit, t.breaker.FailedOwners = Circuit{}, nil
	return true
}

func (s *Service) recordFailedCall(t *turn, e *Error) {
	own := t.ownCircuit(s.Now())
	troubled := own.ConsecutiveTrips > 0
	own.Failures++
	if own.Failures >= breakerThreshold {
		s.trip(own, e)
	}
	b := &t.breaker
	if !slices.Contains(b.FailedOwners, t.owner) && len(b.FailedOwners) < breakerThreshold {
		b.FailedOwners = append(b.FailedOwners, t.owner)
	}
	b.Failures = len(b.FailedOwners)
	switch {
	case b.ConsecutiveTrips > 0 && troubled && e.Code != AppMisconfigured:
		// The failed probe of an owner who fails anyway says little about the
		// others: the next caller may probe soon.
		b.OpenUntil = s.Now().Add(breakerFirst).UTC()
	case b.ConsecutiveTrips > 0, b.Failures >= breakerThreshold, e.Code == AppMisconfigured:
		s.trip(&b.Circuit, e)
	}
}

// ownCircuit returns the circuit of the turn's owner, a new one if there is none.
// The one that opens first gives way to it where there are too many.
func (t *turn) ownCircuit(now time.Time) *Circuit {
	i := t.ownerIndex()
	if i < 0 {
		owners := &t.breaker.Owners
		if len(*owners) >= maxOwnerCircuits {
			first := slices.MinFunc(*owners, func(a, b OwnerCircuit) int { return a.OpenUntil.Compare(b.OpenUntil) })
			*owners = slices.DeleteFunc(*owners, func(o OwnerCircuit) bool { return o.Owner == first.Owner })
		}
		*owners = append(*owners, OwnerCircuit{Owner: t.owner, Circuit: Circuit{OpenUntil: now.UTC()}})
		i = len(*owners) - 1
	}
	return &t.breaker.Owners[i].Circuit
}

// trip opens a circuit, each time for longer.
func (s *Service) trip(c *Circuit, e *Error) {
	d := min(breakerFirst<<min(c.ConsecutiveTrips, 10), breakerMost)
	c.ConsecutiveTrips++
	c.Code, c.Message = e.Code, e.Message
	c.OpenUntil = s.Now().Add(d/2 + s.jitter(d/2)).UTC()
}

func (s *Service) putBreaker(ctx context.Context, b Breaker) {
	if _, err := s.Store.PutBreaker(ctx, b); err != nil && !errors.Is(err, ErrConflict) {
		s.Log.WarnContext(ctx, "writing a breaker", "platform", string(b.Platform), "error", err)
	}
}

// releaseProbe lets the next caller probe at once, where the result of this one
// says nothing about the client.
func (s *Service) releaseProbe(ctx context.Context, t turn) {
	tripped := t.circuits()
	if len(tripped) == 0 {
		return
	}
	for _, c := range tripped {
		c.OpenUntil = s.Now().UTC()
	}
	s.putBreaker(ctx, t.breaker)
}

// closeBreaker closes the breaker of a platform's app when the operator stores
// another app.
func (s *Service) closeBreaker(ctx context.Context, name Name) error {
	key := BreakerKey{Platform: name}
	for {
		b, err := s.Store.Breaker(ctx, key)
		if err != nil {
			return internal("reading a breaker", err)
		}
		if b.Failures == 0 && b.ConsecutiveTrips == 0 && len(b.Owners) == 0 {
			return nil
		}
		_, err = s.Store.PutBreaker(ctx, Breaker{BreakerKey: key, Revision: b.Revision})
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}
