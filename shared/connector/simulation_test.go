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

// TestSimulation runs many random schedules of the refresh protocol in virtual
// time. Several workers use a few connections of one platform. The platform
// rotates its refresh tokens, and ends the whole grant when it receives a spent
// one. Workers crash at any step, pause until the timeout of Lambda, and have
// clocks that differ. Requests and replies get lost. The vault and the store fail
// before or after their effect. People consent, and reload. Holders whose lease has
// expired are in the tests of the lease and of the outcomes. Each schedule checks that
//
//   - at most one exchange of a refresh token is in flight;
//   - a worker that does not crash loses no grant;
//   - a connection with a valid, stored refresh token is not marked needs_reauth;
//   - no expired access token is returned;
//   - every connection with a valid grant works after the faults;
//   - a consent whose code was redeemed has a connection in the end, unless it was lost
//     between the platform's answer and the first write, and then its link works;
//   - an event tells of every change, once the faults end: of a bus that is down at
//     times, that refuses single events, and whose answers get lost.
//
// CONNECTOR_SCHEDULES is the number of schedules. CONNECTOR_SEED is the seed of
// the first one.
func TestSimulation(t *testing.T) {
	schedules, first := number(t, "CONNECTOR_SCHEDULES", 300), number(t, "CONNECTOR_SEED", 1)
	var sum counts
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
			sum.add(w.counts)
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
	attr(t, "old_files_imported", sum.imports)
	attr(t, "grants_lost_in_window", sum.lostInWindow)
	attr(t, "grants_lost_by_lost_replies", sum.lostReplies)
	attr(t, "grants_lost_otherwise", 0)
	attr(t, "consents", sum.consents)
	attr(t, "consents_lost_in_window", sum.consentsInWindow)
	attr(t, "consents_lost_by_lost_replies", sum.consentReplies)
	attr(t, "consents_lost_otherwise", 0)
	attr(t, "links_lost", 0)
	attr(t, "events", sum.events)
	attr(t, "events_sent_late", sum.lateEvents)
	attr(t, "events_lost", 0)
	t.Logf("schedules %d, exchanges %d, crashes %d, faults %d, long pauses %d; grants lost in the window between rotation and durable write: %d, by lost replies: %d, otherwise: 0; events %d, sent late %d, lost 0",
		schedules, sum.exchanges, sum.crashes, sum.faults, sum.pauses, sum.lostInWindow, sum.lostReplies, sum.events, sum.lateEvents)
	t.Logf("consents %d, lost in the window: %d, by lost replies: %d, otherwise: 0", sum.consents, sum.consentsInWindow, sum.consentReplies)
	if sum.consents == 0 || sum.crashes == 0 || sum.faults == 0 || sum.exchanges == 0 || sum.lateEvents == 0 {
		t.Errorf("the simulation had no consent, no crash, no fault, no exchange or no late event: %+v", sum)
	}
}

// attr adds a figure to the output of go test -json.
func attr(t *testing.T, name string, value int) { t.Attr(name, strconv.Itoa(value)) }

// number returns the number in a variable, or a default.
func number(t *testing.T, name string, defaultValue uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return defaultValue
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// counts are the figures of one schedule, or of all.
type counts struct {
	exchanges, crashes, faults, pauses int
	lostInWindow, lostReplies          int
	events, lateEvents                 int
	imports                            int // of files that were imported or handed out before
	consents                           int // that led to a connection
	consentsInWindow, consentReplies   int // consents that were lost
}

func (n *counts) add(other counts) {
	n.exchanges += other.exchanges
	n.crashes += other.crashes
	n.faults += other.faults
	n.pauses += other.pauses
	n.lostInWindow += other.lostInWindow
	n.lostReplies += other.lostReplies
	n.events += other.events
	n.lateEvents += other.lateEvents
	n.imports += other.imports
	n.consents += other.consents
	n.consentsInWindow += other.consentsInWindow
	n.consentReplies += other.consentReplies
}

const (
	simulatedLifetime = 10 * time.Minute // of an access token
	simulatedSkew     = 2 * time.Second  // the maximum difference of a clock, in both directions
	simulatedFaults   = 90 * time.Minute // of virtual time with faults
)

// world is one schedule: the platform, the shared ports, and the results.
type world struct {
	seed     uint64
	store    *connectortest.Store
	vault    *connectortest.Vault
	queue    *connectortest.Queue
	events   *connectortest.Events
	written  *transitions
	platform *rotating
	ids      []connector.ID

	began time.Time

	mu        sync.Mutex
	faultless bool               // no port and no network fails
	durable   map[string]bool    // refresh tokens that a store has
	files     []connector.Fields // that were imported or handed out
	people    []string           // who have not consented yet
	consents  []simulatedConsent
	problems  []string
	counts    counts
}

func newWorld(seed uint64) *world {
	w := &world{
		seed: seed, store: connectortest.NewStore(), vault: connectortest.NewVault(), durable: map[string]bool{}, began: time.Now(),
		queue: connectortest.NewQueue(), events: connectortest.NewEvents(), written: &transitions{},
	}
	w.platform = &rotating{world: w, lifetime: simulatedLifetime, grants: map[string]*simulatedGrant{}, names: seed%2 == 0}
	return w
}

func (w *world) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) addFile(fields connector.Fields) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files = append(w.files, fields)
}

func (w *world) file(random *rand.Rand) connector.Fields {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.files[random.IntN(len(w.files))].Clone()
}

func (w *world) isDurable(token string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable[token]
}

func (w *world) count(f func(*counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.counts)
}

// vaultDown reports whether the vault refuses writes: for three minutes of every
// twenty.
func (w *world) vaultDown() bool {
	return w.faulty() && time.Since(w.began)%(20*time.Minute) > 17*time.Minute
}

// busDown reports whether the bus refuses everything: for five minutes of every
// twenty-five. busSilent reports whether it does not answer: for the last of the five.
func (w *world) busDown() bool {
	return w.faulty() && time.Since(w.began)%(25*time.Minute) > 20*time.Minute
}

func (w *world) busSilent() bool {
	return w.faulty() && time.Since(w.began)%(25*time.Minute) > 24*time.Minute
}

func (w *world) faulty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.faultless
}

func (w *world) run(t *testing.T) {
	setup := w.worker(0, 0)
	setup.faultless = true
	for i := range 3 {
		account := fmt.Sprintf("account-%d", i)
		fields := w.platform.consent(account)
		imported, err := setup.service.Import(t.Context(), connector.ImportRequest{Platform: "rotating", Owner: "owner", Credentials: fields})
		if err != nil {
			t.Fatal(err)
		}
		w.addFile(fields)
		w.ids = append(w.ids, imported.Connections[0].ID)
	}

	if _, err := setup.service.PutApp(t.Context(), "rotating", connector.App{ClientID: "client", ClientSecret: connector.NewSecret("made-up-secret")}); err != nil {
		t.Fatal(err)
	}
	w.meetPeople()

	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() { w.worker(uint64(i+1), simulatedFaults).run(t) })
	}
	workers.Wait()

	w.mu.Lock()
	w.faultless = true
	w.mu.Unlock()
	// Wait until every reply has arrived and every access token has expired.
	time.Sleep(simulatedLifetime + time.Minute)
	w.checkRecovery(t)
	w.checkEvents(t)
	w.checkConsents(t.Context())
}

// checkEvents checks that an event tells of every change, once the sweep ran a few
// times.
func (w *world) checkEvents(t *testing.T) {
	k := w.worker(98, 0)
	for range 3 {
		time.Sleep(2 * time.Hour)
		k.sendOwed(t.Context())
	}
	events := w.events.All()
	lost, told := w.written.lost(events)
	for _, transition := range lost {
		w.problem("nobody was told of %+v", transition)
	}
	if strings.Contains(w.store.Text(), `"event":{`) {
		w.problem("an event is still owed")
	}
	w.count(func(n *counts) { n.events += told })
}

// sendOwed has a sweep and a worker send the events that are owed, and continue the
// consents.
func (k *worker) sendOwed(ctx context.Context) {
	k.service.QueueDue(ctx)
	for _, item := range k.world.queue.Drain() {
		if !isSimulatedDue(item) {
			continue
		}
		result, _ := k.service.HandleDue(ctx, item)
		k.exchanging = nil
		if result == connector.Sent {
			k.world.count(func(n *counts) { n.lateEvents++ })
		}
	}
}

// checkRecovery checks that each connection works after the faults, or reports
// that its grant is lost.
func (w *world) checkRecovery(t *testing.T) {
	s := w.worker(99, 0).service
	for i, id := range w.ids {
		account := fmt.Sprintf("account-%d", i)
		g := w.platform.grants[account]
		g.mu.Lock()
		brought, held := g.brought, g.brought != nil && g.brought.Get("refresh_token") == g.current
		g.mu.Unlock()
		if held {
			ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
			if _, err := s.Import(ctx, connector.ImportRequest{Platform: "rotating", Owner: "owner", Credentials: brought}); err != nil {
				w.problem("%s: the import of what the person still has: %v", account, err)
			}
			cancel()
		}
		g.mu.Lock()
		valid, current, delivered, crashed := !g.dead, g.current, g.delivered, g.crashed
		g.mu.Unlock()
		recoverable := valid && w.isDurable(current)

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
			w.problem("%s: the refresh token is valid and stored, and token-get returns %v", account, err)
		case !recoverable && valid && delivered && !crashed:
			w.problem("%s: a worker that did not crash lost the refresh token", account)
		case !recoverable && err == nil:
			w.problem("%s: the grant is lost, and token-get returns a token", account)
		case !recoverable && !errors.Is(err, connector.ReauthorizationRequired):
			w.problem("%s: the grant is lost, and token-get returns %v, want ReauthorizationRequired", account, err)
		}
		if !recoverable {
			w.count(func(n *counts) {
				if delivered {
					n.lostInWindow++
				} else {
					n.lostReplies++
				}
			})
		}
	}
}

// token requests a token as token-get does, and checks the token.
func (w *world) token(ctx context.Context, s *connector.Service, id connector.ID) (connector.Token, error) {
	token, err := s.Token(ctx, connector.TokenRequest{ConnectionID: id, MinTTL: connector.DefaultMinTTL})
	if err == nil && !w.platform.accepts(token.AccessToken.Reveal()) {
		w.problem("an expired access token was returned (degraded: %v)", token.Degraded)
	}
	return token, err
}

// worker is one Lambda function with its own clock and its own faults.
type worker struct {
	world     *world
	random    *rand.Rand
	service   *connector.Service
	until     time.Time
	faultless bool // its ports and its network do not fail

	// deadline is when Lambda ends the invocation.
	deadline time.Time

	// exchanging is the grant that this worker exchanges, until its new refresh
	// token is stored.
	exchanging *simulatedGrant
}

func (w *world) worker(n uint64, lifetime time.Duration) *worker {
	k := &worker{world: w, random: rand.New(rand.NewPCG(w.seed, n)), until: time.Now().Add(lifetime)}
	skew := time.Duration(k.random.Int64N(int64(2*simulatedSkew))) - simulatedSkew
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], w.seed)
	binary.LittleEndian.PutUint64(seed[8:], n)
	k.service = &connector.Service{
		Platforms: []connector.Platform{&simulatedPlatform{rotating: w.platform, worker: k}},
		Now:       func() time.Time { return time.Now().Add(skew) },
		Random:    rand.NewChaCha8(seed),
		AllowFull: true,
		Sleep:     connector.Sleep,
		Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
		PublicURL: "https://connect.example",
	}
	ports := connectortest.Ports{Store: w.store, Vault: w.vault, Sealer: connectortest.Sealer{}, Queue: w.queue, Events: w.events}
	ports.Wire(k.service, connectortest.Chain(k.hook, w.written.hook), credentialstore.Options{})
	return k
}

// run runs one invocation after another until the faults end. After a crash it
// starts again.
func (k *worker) run(t *testing.T) {
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
			k.world.count(func(n *counts) { n.crashes++ })
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
	case action < 16:
		k.importFile(ctx)
	case action < 18:
		k.takeFull(ctx, id)
	case action < 20:
		k.sendOwed(ctx)
	case action == 70:
		k.consent(ctx)
	case action == 71 || action == 72:
		k.reload(ctx)
	case action >= 20 && action < 70:
		k.service.HandleDue(ctx, dueKey(id))
	default:
		k.world.token(ctx, k.service, id)
	}
	if time.Now().After(k.deadline) {
		panic(crash{}) // Lambda has ended the invocation
	}
	if time.Until(k.deadline) < simulatedSkew {
		k.ranOutOfTime()
	}
	k.exchanging = nil
}

// ranOutOfTime treats as a crash that neither the vault nor the store took the new
// credentials until the deadline: a long pause can use up the time for that.
func (k *worker) ranOutOfTime() {
	g := k.exchanging
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !k.world.isDurable(g.current) {
		g.crashed = true
	}
}

// reauthorize simulates a new consent of a person, which ends the previous grant.
func (k *worker) reauthorize(ctx context.Context) {
	r := k.world.platform
	account := fmt.Sprintf("account-%d", k.random.IntN(len(k.world.ids)))
	g := r.grants[account]
	if !g.person.TryLock() {
		return // another consent is running
	}
	defer g.person.Unlock()
	g.mu.Lock()
	g.consents++
	fields := r.rotate(g)
	g.delivered, g.dead = true, false
	consent := g.consents
	g.brought = nil
	g.mu.Unlock()
	k.exchanging = g
	_, err := k.service.Import(ctx, connector.ImportRequest{Platform: "rotating", Owner: "owner", Credentials: fields})
	if err != nil {
		// The person sees the error, has the tokens still, and tries again after the
		// faults.
		g.mu.Lock()
		if g.consents == consent {
			g.brought = fields
		}
		g.mu.Unlock()
		return
	}
	k.world.addFile(fields)
}

// takeFull takes a copy of a connection's credentials, as a backup.
func (k *worker) takeFull(ctx context.Context, id connector.ID) {
	token, err := k.service.Token(ctx, connector.TokenRequest{ConnectionID: id, Full: true, MinTTL: connector.DefaultMinTTL})
	if err == nil {
		k.world.addFile(token.Full.Clone())
	}
}

// importFile imports a file once more, verified or not.
func (k *worker) importFile(ctx context.Context) {
	file := k.world.file(k.random)
	_, err := k.service.Import(ctx, connector.ImportRequest{Platform: "rotating", Owner: "owner", Credentials: file, SkipVerify: k.random.IntN(2) == 0})
	if err == nil {
		k.world.count(func(n *counts) { n.imports++ })
	}
}

// step simulates the time and the faults of one call to a port. It reports whether
// the call fails before or after its effect.
func (k *worker) step() (before, after bool) {
	time.Sleep(time.Duration(k.random.Int64N(int64(60*time.Millisecond))) + time.Microsecond)
	if k.faultless || !k.world.faulty() {
		return false, false
	}
	if time.Now().After(k.deadline) {
		panic(crash{}) // Lambda ends the invocation
	}
	switch luck := k.random.IntN(1000); {
	case luck < 12:
		panic(crash{})
	case luck < 16:
		k.world.count(func(n *counts) { n.pauses++ })
		pause := 20*time.Second + time.Duration(k.random.Int64N(int64(20*time.Second)))
		if left := time.Until(k.deadline); pause > left {
			time.Sleep(left)
			panic(crash{})
		}
		time.Sleep(pause)
	case luck < 46:
		k.world.count(func(n *counts) { n.faults++ })
		return true, false
	case luck < 66:
		k.world.count(func(n *counts) { n.faults++ })
		return false, true
	}
	return false, false
}

// hook adds faults to the ports that the protocol uses.
func (k *worker) hook(ctx context.Context, call connectortest.Call, next func() error) error {
	switch call.Name {
	case "Events.Publish":
		return k.publish(ctx, next)
	case "Store.Create", "Vault.Delete", "Store.DropTicket", "Store.ReplaceTicket":
		before, after := k.step()
		if before {
			return errFlaky
		}
		err := next()
		if err == nil && call.Name == "Store.ReplaceTicket" {
			k.recordConsent()
		}
		if err != nil || !after {
			return err
		}
		return errFlaky
	case "Store.Connection", "Store.Ticket", "Store.FindAccount", "Vault.Get":
		if before, _ := k.step(); before {
			return errFlaky
		}
		return next()
	case "Store.PutTicket": // what is remembered of refresh tokens
		before, after := k.step()
		if before {
			return errFlaky
		}
		if err := next(); err != nil || !after {
			return err
		}
		return errFlaky
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
		k.recordDurable(call.Value.Reveal())
	} else {
		k.recordDurable(string(call.Change.After.Credentials.Sealed))
	}
	if after {
		return errFlaky
	}
	return nil
}

// publish adds the faults of the bus. It throttles one event in ten.
func (k *worker) publish(ctx context.Context, next func() error) error {
	before, after := k.step()
	switch {
	case k.world.busSilent():
		<-ctx.Done()
		return ctx.Err()
	case before, k.world.busDown(), k.world.faulty() && !k.faultless && k.random.IntN(10) == 0:
		return errFlaky
	}
	if err := next(); err != nil || !after {
		return err
	}
	return errFlaky
}

// recordDurable records that the refresh token in text, if there is one, is stored.
func (k *worker) recordDurable(text string) {
	_, rest, found := strings.Cut(text, `"refresh_token":"`)
	if !found {
		return
	}
	token, _, _ := strings.Cut(rest, `"`)
	k.world.mu.Lock()
	defer k.world.mu.Unlock()
	k.world.durable[token] = true
}
