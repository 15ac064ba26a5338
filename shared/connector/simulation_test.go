package connector_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
)

// TestSimulation runs the refresh protocol in virtual time, over and over,
// with several workers on a few connections of a platform that rotates its
// refresh tokens and ends the whole grant when a spent one is shown. Workers
// crash at any step, stall for as long as Lambda lets them, and have clocks
// that differ; requests and replies get lost; the vault and the store fail
// before or after they act. The tests of the lease and of the outcomes have the
// holders that come too late. What must hold is checked all along:
//
//   - never two exchanges of one refresh token in flight;
//   - never a grant lost that a worker got which did not crash;
//   - never a connection marked needs_reauth whose refresh token is live and durable;
//   - never an expired access token handed out;
//   - everything live works again once the faults stop.
//
// CONNECTOR_SCHEDULES sets how many schedules are run, CONNECTOR_SEED the
// first of them, to replay one.
func TestSimulation(t *testing.T) {
	schedules, first := number(t, "CONNECTOR_SCHEDULES", 300), number(t, "CONNECTOR_SEED", 1)
	var sum tally
	for seed := first; seed < first+schedules; seed++ {
		if done := seed - first; done > 0 && done%1000 == 0 {
			t.Logf("%d of %d schedules", done, schedules)
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(seed)
			w.run(t)
			for _, problem := range w.problems {
				t.Errorf("seed %d: %s", seed, problem)
			}
			sum.add(w.tally)
		})
		if t.Failed() {
			t.Fatalf("replay with CONNECTOR_SEED=%d CONNECTOR_SCHEDULES=1", seed)
		}
	}
	attr(t, "schedules", int(schedules))
	attr(t, "exchanges", sum.exchanges)
	attr(t, "crashes", sum.crashes)
	attr(t, "faults", sum.faults)
	attr(t, "long_pauses", sum.pauses)
	attr(t, "grants_lost_in_window", sum.lostInWindow)
	attr(t, "grants_lost_by_lost_replies", sum.lostReplies)
	attr(t, "grants_lost_otherwise", 0)
	t.Logf("schedules %d, exchanges %d, crashes %d, faults %d, long pauses %d; grants lost in the window between rotation and durable write: %d, by lost replies: %d, otherwise: 0",
		schedules, sum.exchanges, sum.crashes, sum.faults, sum.pauses, sum.lostInWindow, sum.lostReplies)
	if sum.crashes == 0 || sum.faults == 0 || sum.exchanges == 0 {
		t.Errorf("the simulation tried nothing: %+v", sum)
	}
}

// attr tells a figure to whoever reads the output of go test -json.
func attr(t *testing.T, name string, value int) { t.Attr(name, strconv.Itoa(value)) }

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

type tally struct {
	exchanges, crashes, faults, pauses int
	lostInWindow, lostReplies          int
}

func (t *tally) add(other tally) {
	t.exchanges += other.exchanges
	t.crashes += other.crashes
	t.faults += other.faults
	t.pauses += other.pauses
	t.lostInWindow += other.lostInWindow
	t.lostReplies += other.lostReplies
}

const (
	simulatedLife   = 10 * time.Minute // of an access token
	simulatedSkew   = 2 * time.Second  // of each clock, either way
	simulatedFaults = 90 * time.Minute // of virtual time with faults
)

// world is one schedule: the platform, the shared ports, and what happened.
type world struct {
	seed     uint64
	store    *connectortest.Store
	vault    *connectortest.Vault
	platform *rotating
	ids      []connector.ID

	began time.Time

	mu       sync.Mutex
	calm     bool // no more faults
	durable  map[string]bool
	problems []string
	tally    tally
}

func newWorld(seed uint64) *world {
	w := &world{seed: seed, store: connectortest.NewStore(), vault: connectortest.NewVault(), durable: map[string]bool{}, began: time.Now()}
	w.platform = &rotating{world: w, life: simulatedLife, grants: map[string]*simulatedGrant{}}
	return w
}

func (w *world) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) isDurable(token string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable[token]
}

func (w *world) count(f func(*tally)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.tally)
}

// vaultDown reports whether the vault takes no writes: for three minutes of
// every twenty.
func (w *world) vaultDown() bool {
	return w.faulty() && time.Since(w.began)%(20*time.Minute) > 17*time.Minute
}

func (w *world) faulty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm
}

func (w *world) run(t *testing.T) {
	setup := w.worker(0, 0)
	setup.calm = true
	for i := range 3 {
		account := fmt.Sprintf("account-%d", i)
		imported, err := setup.service.Import(t.Context(), connector.ImportRequest{
			Platform: "rotating", Owner: "owner", Credentials: w.platform.consent(account),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.ids = append(w.ids, imported.Connections[0].ID)
	}

	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() { w.worker(uint64(i+1), simulatedFaults).live(t) })
	}
	workers.Wait()

	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	time.Sleep(simulatedLife + time.Minute) // the platform's last late replies, and every access token, are over
	w.settle(t)
}

// settle checks that everything that can still live does, now that the faults
// are over.
func (w *world) settle(t *testing.T) {
	s := w.worker(99, 0).service
	for i, id := range w.ids {
		account := fmt.Sprintf("account-%d", i)
		g := w.platform.grants[account]
		g.mu.Lock()
		live, current, delivered, crashed := !g.dead, g.current, g.delivered, g.crashed
		g.mu.Unlock()
		recoverable := live && w.isDurable(current)

		var err error
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
			_, err = w.token(ctx, s, id)
			cancel()
			if err == nil || errors.Is(err, connector.ReauthorizationRequired) {
				break
			}
			time.Sleep(time.Minute)
		}
		switch {
		case recoverable && err != nil:
			w.problem("%s: its refresh token is live and durable, yet: %v", account, err)
		case !recoverable && live && delivered && !crashed:
			w.problem("%s: a worker that lived on lost its refresh token", account)
		case !recoverable && err == nil:
			w.problem("%s: its grant is lost, and yet a token was handed out", account)
		case !recoverable && !errors.Is(err, connector.ReauthorizationRequired):
			w.problem("%s: its grant is lost, which should be named, but: %v", account, err)
		}
		if !recoverable {
			w.count(func(t *tally) {
				if delivered {
					t.lostInWindow++
				} else {
					t.lostReplies++
				}
			})
		}
	}
}

// token asks for a token as token-get does, and checks what it gets.
func (w *world) token(ctx context.Context, s *connector.Service, id connector.ID) (connector.Token, error) {
	token, err := s.Token(ctx, connector.TokenRequest{ConnectionID: id, MinTTL: connector.DefaultMinTTL})
	if err == nil && !w.platform.alive(token.AccessToken.Reveal()) {
		w.problem("an expired access token was handed out as good (degraded: %v)", token.Degraded)
	}
	return token, err
}

// worker is one Lambda: its own clock, its own luck.
type worker struct {
	world   *world
	random  *rand.Rand
	service *connector.Service
	until   time.Time
	calm    bool

	// deadline is when Lambda ends the invocation, whatever it is doing.
	deadline time.Time

	// exchanging is the grant whose refresh token this worker presents, or
	// has in hand and not yet made durable.
	exchanging *simulatedGrant
}

func (w *world) worker(n uint64, life time.Duration) *worker {
	k := &worker{world: w, random: rand.New(rand.NewPCG(w.seed, n)), until: time.Now().Add(life)}
	skew := time.Duration(k.random.Int64N(int64(2*simulatedSkew))) - simulatedSkew
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], w.seed)
	binary.LittleEndian.PutUint64(seed[8:], n)
	k.service = &connector.Service{
		Platforms: []connector.Platform{&simulatedPlatform{rotating: w.platform, worker: k}},
		Now:       func() time.Time { return time.Now().Add(skew) },
		Random:    rand.NewChaCha8(seed),
		Sleep:     connector.Sleep,
		Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
		PublicURL: "https://connect.example",
	}
	ports := connectortest.Ports{Store: w.store, Vault: w.vault, Sealer: connectortest.Sealer{}, Queue: connectortest.NewQueue(), Events: connectortest.NewEvents()}
	ports.Wire(k.service, k.hook, credentialstore.Options{})
	return k
}

// live runs one invocation after another, crashes and starts again, until the
// faults end.
func (k *worker) live(t *testing.T) {
	for time.Now().Before(k.until) {
		time.Sleep(time.Duration(k.random.Int64N(int64(40 * time.Second))))
		k.invoke(t)
	}
}

func (k *worker) invoke(t *testing.T) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			k.world.count(func(t *tally) { t.crashes++ })
			if k.exchanging != nil {
				k.exchanging.mu.Lock()
				k.exchanging.crashed = true
				k.exchanging.mu.Unlock()
				k.exchanging = nil
			}
		}
	}()
	id := k.world.ids[k.random.IntN(len(k.world.ids))]
	timeout := 29 * time.Second
	action := k.random.IntN(100)
	if action >= 20 && action < 70 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	k.deadline = time.Now().Add(timeout)
	switch {
	case action < 10:
		k.service.Refresh(ctx, id)
	case action < 13:
		k.reauthorize(ctx)
	case action >= 20 && action < 70:
		k.service.HandleDue(ctx, dueKey(id))
	default:
		k.world.token(ctx, k.service, id)
	}
	if time.Now().After(k.deadline) {
		panic(crash{}) // Lambda has ended it
	}
	k.exchanging = nil
}

// reauthorize plays a person who gives consent anew, which ends the grant before.
func (k *worker) reauthorize(ctx context.Context) {
	r := k.world.platform
	account := fmt.Sprintf("account-%d", k.random.IntN(len(k.world.ids)))
	g := r.grants[account]
	if !g.person.TryLock() {
		return // one consent at a time
	}
	defer g.person.Unlock()
	g.mu.Lock()
	g.consents++
	fields := r.renew(g)
	g.delivered, g.dead = true, false
	g.mu.Unlock()
	k.exchanging = g
	_, err := k.service.Import(ctx, connector.ImportRequest{Platform: "rotating", Owner: "owner", Credentials: fields})
	if err != nil {
		// The person was told, and would try again: no grant of theirs is
		// taken to be safe.
		g.mu.Lock()
		if g.current == fields.Get("refresh_token") {
			g.crashed = true
		}
		g.mu.Unlock()
	}
}

// step is one contact with the world outside: it takes time, and things
// happen. It reports whether the call fails before and after it acts.
func (k *worker) step() (before, after bool) {
	time.Sleep(time.Duration(k.random.Int64N(int64(60*time.Millisecond))) + time.Microsecond)
	if k.calm || !k.world.faulty() {
		return false, false
	}
	if time.Now().After(k.deadline) {
		panic(crash{}) // Lambda ends what runs too long
	}
	switch luck := k.random.IntN(1000); {
	case luck < 12:
		panic(crash{})
	case luck < 16:
		k.world.count(func(t *tally) { t.pauses++ })
		pause := 20*time.Second + time.Duration(k.random.Int64N(int64(20*time.Second)))
		if left := time.Until(k.deadline); pause > left {
			time.Sleep(left)
			panic(crash{})
		}
		time.Sleep(pause)
	case luck < 46:
		k.world.count(func(t *tally) { t.faults++ })
		return true, false
	case luck < 66:
		k.world.count(func(t *tally) { t.faults++ })
		return false, true
	}
	return false, false
}

// hook fails around the ports that the protocol depends on.
func (k *worker) hook(_ context.Context, call connectortest.Call, next func() error) error {
	switch call.Name {
	case "Store.Connection", "Vault.Get":
		if before, _ := k.step(); before {
			return errFlaky
		}
		return next()
	case "Store.Update", "Vault.Put":
	default:
		return next()
	}
	before, after := k.step()
	if before || call.Name == "Vault.Put" && k.world.vaultDown() {
		return errFlaky
	}
	err := next()
	if err != nil {
		return err
	}
	if call.Name == "Vault.Put" {
		k.noteDurable(call.Value.Reveal())
	} else {
		k.noteDurable(string(call.Change.After.Credentials.Sealed))
	}
	if after {
		return errFlaky
	}
	return nil
}

// noteDurable notes that the refresh token in text, if there is one, is durable.
func (k *worker) noteDurable(text string) {
	_, rest, found := strings.Cut(text, `"refresh_token":"`)
	if !found {
		return
	}
	token, _, _ := strings.Cut(rest, `"`)
	k.world.mu.Lock()
	defer k.world.mu.Unlock()
	k.world.durable[token] = true
}

// rotating is the platform of the simulation.
type rotating struct {
	world  *world
	life   time.Duration // of an access token
	grants map[string]*simulatedGrant

	mu     sync.Mutex
	access map[string]time.Time
	outage bool
	calls  []time.Time
}

func (r *rotating) setOutage(outage bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage = outage
}

// called notes a call, and reports whether the platform is down.
func (r *rotating) called() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, time.Now())
	return r.outage
}

// busiest is the most calls in any window of that width since an instant.
func (r *rotating) busiest(since time.Time, width time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	most, first := 0, 0
	for i, at := range r.calls {
		for at.Sub(r.calls[first]) > width || r.calls[first].Before(since) && first < i {
			first++
		}
		if !at.Before(since) {
			most = max(most, i-first+1)
		}
	}
	return most
}

type simulatedGrant struct {
	person   sync.Mutex
	mu       sync.Mutex
	account  string
	consents int
	serial   int
	current  string
	dead     bool
	inFlight map[string]int
	// delivered says that the reply with current reached its worker, crashed
	// that this worker crashed before current was durable.
	delivered, crashed bool
}

func (r *rotating) consent(account string) connector.Fields {
	g := &simulatedGrant{account: account, inFlight: map[string]int{}}
	r.grants[account] = g
	fields := r.renew(g)
	g.delivered = true
	return fields
}

// family is what the refresh tokens of one consent begin with.
func (g *simulatedGrant) family() string {
	return fmt.Sprintf("refresh-%s-%d-", g.account, g.consents)
}

// renew issues a new pair of tokens.
func (r *rotating) renew(g *simulatedGrant) connector.Fields {
	g.serial++
	g.current = fmt.Sprintf("%s%d", g.family(), g.serial)
	g.delivered, g.crashed = false, false
	fields := connector.Fields{}
	fields.Set("account", g.account)
	fields.Set("refresh_token", g.current)
	fields.Set("access_token", r.issue(g))
	return fields
}

func (r *rotating) issue(g *simulatedGrant) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.access == nil {
		r.access = map[string]time.Time{}
	}
	token := fmt.Sprintf("access-%s-%d", g.account, g.serial)
	r.access[token] = time.Now().Add(r.life)
	return token
}

// alive reports whether an access token still works; clocks may differ by the
// skew of the workers.
func (r *rotating) alive(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.access[token].Add(2 * simulatedSkew).Add(time.Second))
}

// present is the token endpoint: it acts at once.
func (r *rotating) present(g *simulatedGrant, token string) (connector.Fields, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.HasPrefix(token, g.family()) {
		return nil, &connector.Error{Code: connector.ReauthorizationRequired} // of a consent before
	}
	if token != g.current {
		if !g.dead && (r.world.isDurable(g.current) || g.delivered && !g.crashed) {
			r.world.problem("%s: a live grant was ended by showing a spent refresh token", g.account)
		}
		g.dead = true
	}
	if g.dead {
		return nil, &connector.Error{Code: connector.ReauthorizationRequired}
	}
	return r.renew(g), nil
}

// simulatedPlatform is the platform as one worker reaches it.
type simulatedPlatform struct {
	*rotating
	worker *worker
}

func (p *simulatedPlatform) Describe() connector.Description {
	return connector.Description{Name: "rotating", Title: "Rotating", Cadence: connector.Cadence{Model: connector.Rotating, Lifetime: p.life}}
}

// Refresh shows the refresh token over a network that loses requests and
// replies, and delays them.
func (p *simulatedPlatform) Refresh(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Credentials, error) {
	k, g := p.worker, p.grants[c.Fields.Get("account")]
	token := c.Fields.Get("refresh_token")
	p.world.count(func(t *tally) { t.exchanges++ })

	g.mu.Lock()
	g.inFlight[token]++
	if n := g.inFlight[token]; n > 1 {
		p.world.problem("%s: %d exchanges of one refresh token in flight", g.account, n)
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.inFlight[token]--
		g.mu.Unlock()
	}()

	if p.called() {
		if k.random.IntN(2) == 0 {
			return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Message: "refused"}
		}
		connector.Sleep(ctx, time.Minute)
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Err: ctx.Err()}
	}
	luck := 1000
	if p.world.faulty() && !k.calm {
		luck = k.random.IntN(1000)
	}
	if err := connector.Sleep(ctx, time.Duration(k.random.Int64N(int64(300*time.Millisecond)))); err != nil {
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Err: err}
	}
	switch {
	case luck < 40:
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Message: "refused before it was sent"}
	case luck < 60:
		return connector.Credentials{}, &connector.Error{Code: connector.RateLimited, RetryAfter: time.Duration(luck) * time.Second}
	case luck < 80:
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Message: "lost on the way there"}
	case luck < 90:
		return connector.Credentials{}, &connector.Error{Code: connector.AppMisconfigured, Message: "a wrong client secret, for a while"}
	case luck < 100:
		connector.Sleep(ctx, time.Minute)
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Err: ctx.Err()}
	}
	fields, err := p.present(g, token)
	if err != nil {
		return connector.Credentials{}, err
	}
	if luck < 120 {
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Message: "lost on the way back"}
	}
	g.mu.Lock()
	g.delivered = true
	g.mu.Unlock()
	k.exchanging = g
	if luck < 130 {
		panic(crash{})
	}
	now := k.service.Now()
	return connector.Credentials{Fields: fields, IssuedAt: now, ExpiresAt: now.Add(p.life)}, nil
}

func (p *simulatedPlatform) Import(_ context.Context, _ connector.App, fields connector.Fields, _ bool) ([]connector.Grant, error) {
	p.mu.Lock()
	expires := p.access[fields.Get("access_token")]
	p.mu.Unlock()
	return []connector.Grant{{
		Account:     connector.Account{ID: fields.Get("account"), Name: fields.Get("account")},
		Credentials: connector.Credentials{Fields: fields, IssuedAt: expires.Add(-p.life), ExpiresAt: expires},
	}}, nil
}

func (p *simulatedPlatform) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	return c.Fields["access_token"], "Bearer", connector.Fields{}
}

func (p *simulatedPlatform) TokenNeedsApp(connector.Credentials) bool { return false }

func (p *simulatedPlatform) Full(_ connector.App, c connector.Credentials) connector.Fields {
	return c.Fields
}

func (p *simulatedPlatform) AuthorizeURL(connector.App, connector.Authorization) (string, error) {
	return "", errors.ErrUnsupported
}

func (p *simulatedPlatform) AuthorizationError(string) *connector.Error {
	return &connector.Error{Code: connector.Internal, Message: "no browser here"}
}

func (p *simulatedPlatform) Exchange(context.Context, connector.App, connector.Authorization, connector.Secret) ([]connector.Grant, error) {
	return nil, errors.ErrUnsupported
}

func (p *simulatedPlatform) Verify(context.Context, connector.App, connector.Credentials) (connector.Verification, error) {
	return connector.Verification{}, errors.ErrUnsupported
}
