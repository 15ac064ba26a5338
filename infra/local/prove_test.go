package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

// proving reports whether the tests run for `make prove`. They then run more
// rounds and wait until leases expire.
func proving() bool { return os.Getenv("CONNECTOR_PROVE") != "" }

// seedOf returns the seed of a random test, CONNECTOR_SEED where it is set.
// The seed determines the kills and their times. The rest depends on the machine.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CONNECTOR_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("CONNECTOR_SEED: %v", err)
		}
	}
	t.Logf("replay with CONNECTOR_SEED=%d", seed)
	return seed
}

// attr adds a figure to the output of go test -json.
func attr(t *testing.T, name string, value int) { t.Attr(name, strconv.Itoa(value)) }

// TestKill9 ends workers with SIGKILL at random steps while they refresh
// connections of X and TikTok, which accept a refresh token once. A grant may be
// lost in one way only: its worker was killed after the platform rotated the token
// and before the vault stored it. The test counts these grants.
func TestKill9(t *testing.T) {
	if !onLinux() {
		t.Skip("finds the process behind a socket in /proc")
	}
	t.Parallel()
	connections, kills := 40, 10
	if proving() {
		connections, kills = 200, 150
	}
	seed := seedOf(t)
	k := &killTest{
		random: rand.New(rand.NewPCG(seed, 1)),
		first:  map[string]string{}, killed: map[int]bool{}, killedRounds: map[int]bool{},
	}
	k.recordingProxy = newRecordingProxy(t, seed, 15*time.Millisecond, k.workers)
	k.world = k.recordingProxy.world(t, nil)
	// The shortest timeout in which a worker starts a refresh, so that the leases
	// of killed workers expire soon.
	k.s.pools["refresh-worker"].function.Timeout = workerTimeout
	k.setLifetime(t, 1)
	for i := range connections {
		id := k.connect([]string{"twitter", "tiktok"}[i%2], fmt.Sprintf("owner-%d", i), sandbox.Choice{})[0]
		k.ids = append(k.ids, id)
		k.first[id] = k.storedRefreshToken(id)
	}
	k.waitForExpiry(k.ids[len(k.ids)-1])
	for rounds := 0; len(k.killed) < kills && !t.Failed(); rounds++ {
		if rounds == 100*kills {
			t.Fatalf("%d kills in %d batches", len(k.killed), rounds)
		}
		k.killDuringBatch(t)
	}
	if proving() {
		time.Sleep(workerTimeout + 6*time.Second) // the last leases expire
	}
	k.setLifetime(t, 7200)
	refreshes, hit := k.counts()
	lost := 0
	for _, id := range k.ids {
		if k.check(t, id) {
			lost++
		}
	}
	if refreshes < kills {
		t.Errorf("%d refreshes for %d kills are too few", refreshes, kills)
	}
	attr(t, "connections", connections)
	attr(t, "kills", len(k.killed))
	attr(t, "refreshes", refreshes)
	attr(t, "rotations_in_the_moment_of_a_kill", hit)
	attr(t, "grants_lost_in_window", lost-k.outside)
	attr(t, "grants_lost_otherwise", k.outside)
	t.Logf("%d connections, %d kills, %d refreshes; of %d rotations in a batch that was killed %d were lost in the window",
		connections, len(k.killed), refreshes, hit, lost)
}

const workerTimeout = 22 * time.Second

type killTest struct {
	*world
	*recordingProxy
	random       *rand.Rand
	ids          []string
	first        map[string]string // the first refresh token of each connection
	killed       map[int]bool      // by process id
	next         []int             // indexes of the next connections
	killedRounds map[int]bool      // rounds in which a worker was killed
	outside      int               // grants lost outside the window
}

// counts returns the number of exchanges, and the number of those in batches
// whose worker was killed.
func (k *killTest) counts() (all, hit int) {
	rotations := k.exchanges().rotations
	for _, r := range rotations {
		if k.killedRounds[r.round] {
			hit++
		}
	}
	return len(rotations), hit
}

// lives sets the lifetime of new access tokens, in seconds.
func (k *killTest) setLifetime(t *testing.T, seconds int) {
	t.Helper()
	k.recordingProxy.box.Tune(func(knobs *sandbox.Knobs) {
		knobs.Twitter().AccessSeconds, knobs.TikTok().AccessSeconds = seconds, seconds
		knobs.Twitter().UsersMeLimit = 10_000 // one person has all connections
	})
}

// killDuringBatch sends the next connections to a warm worker, and kills the
// worker after a random number of steps of their exchanges. If the number exceeds
// the steps of the batch, the worker survives. The result does not depend on the
// speed of the machine.
func (k *killTest) killDuringBatch(t *testing.T) {
	t.Helper()
	// The last kill may have hit a worker that had just finished.
	for tries := 0; ; tries++ {
		answer, errorType := k.invoke("refresh-worker", object{"Records": []object{}})
		if errorType == "" {
			break
		}
		if tries == 10 {
			t.Fatalf("an empty batch: %v", answer)
		}
	}
	var batch []object
	for len(batch) < killBatch {
		if len(k.next) == 0 {
			k.next = k.random.Perm(len(k.ids))
		}
		batch = append(batch, object{"messageId": fmt.Sprint(k.next[0]), "body": `{"connection_id":"` + k.ids[k.next[0]] + `"}`})
		k.next = k.next[1:]
	}
	steps := k.random.IntN(killBatch*exchangeSteps + exchangeSteps)
	moment := time.Duration(k.random.Int64N(int64(8 * time.Millisecond)))
	round, reached := k.begin(steps)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.invoke("refresh-worker", object{"Records": batch})
	}()
	select {
	case <-reached:
		time.Sleep(moment) // a random delay, to kill between two steps
		for _, pid := range k.workers() {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				k.killed[pid], k.killedRounds[round] = true, true
			}
		}
	case <-done:
	}
	<-done
}

// killBatch is the number of connections that a worker refreshes concurrently.
const killBatch = 5

func (k *killTest) workers() (pids []int) {
	p := k.s.pools["refresh-worker"]
	p.mu.Lock()
	defer p.mu.Unlock()
	for process := range p.processes {
		pids = append(pids, process.command.Process.Pid)
	}
	return pids
}

// check compares the stored refresh token of a connection with the platform's
// newest one, and reports whether the grant was lost.
func (k *killTest) check(t *testing.T, id string) (lost bool) {
	t.Helper()
	stored, recorded := k.storedRefreshToken(id), k.exchanges()
	newest := recorded.newest(k.first[id])
	if stored != newest {
		lost = true
		exchange := recorded.exchangeOf(newest)
		switch {
		case recorded.newest(stored) != newest || recorded.parents[newest] != stored:
			k.outside++
			t.Errorf("%s: the stored refresh token is not the predecessor of the newest one", id)
		case exchange.pid != 0 && !k.killed[exchange.pid]:
			k.outside++
			t.Errorf("%s: process %d, which was not killed, lost a refresh token", id, exchange.pid)
		}
	}
	if slices.Contains(recorded.rejected, stored) && !lost {
		t.Errorf("%s: the platform refused a valid refresh token", id)
	}
	if !proving() {
		return lost // the leases of killed workers have not expired yet
	}
	answer, errorType := k.invoke("token-get", object{"connection_id": id})
	recorded = k.exchanges()
	exchange := recorded.exchangeOf(recorded.newest(k.first[id]))
	switch {
	case lost && errorType != "ReauthorizationRequired":
		t.Errorf("%s: the grant is lost, and token-get returns %q %v", id, errorType, answer)
	case lost:
		if c := k.must(http.MethodGet, "/connections/"+id, nil); c["status_reason"] != "rotation_lost" {
			t.Errorf("%s: the grant is lost, and the reason is %v, want rotation_lost", id, c["status_reason"])
		}
	case errorType != "":
		t.Errorf("%s: the grant is stored, and token-get returns %q %v", id, errorType, answer)
	case answer["access_token"] != exchange.accessToken:
		t.Errorf("%s: token-get returns another token than the platform's newest", id)
	}
	return lost
}

// TestConcurrentTokenGets requests one expired token from 200 concurrent
// callers, over as many processes as the function may have.
func TestConcurrentTokenGets(t *testing.T) {
	t.Parallel()
	const callers = 200
	w := newWorld(t, nil)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds, k.TikTok().AccessSeconds = 1, 1 })
	ids := map[string]string{}
	for _, platform := range []string{"twitter", "tiktok"} {
		ids[platform] = w.connect(platform, "acme", sandbox.Choice{})[0]
	}
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds, k.TikTok().AccessSeconds = 7200, 7200 })
	for platform, id := range ids {
		w.waitForExpiry(id)
		var requests sync.WaitGroup
		tokens := make([]any, callers)
		for i := range callers {
			requests.Go(func() {
				answer, errorType := w.invoke("token-get", object{"connection_id": id})
				if errorType != "" || answer["degraded"] == true {
					t.Errorf("%s: %v", platform, answer)
				}
				tokens[i] = answer["access_token"]
			})
		}
		requests.Wait()
		if different := slices.Compact(tokens); len(different) != 1 {
			t.Errorf("%s: %d different tokens", platform, len(different))
		}
		exchanges := w.box.Count(platform, "token/refresh_token")
		if exchanges != 1 {
			t.Errorf("%s: %d exchanges, want 1", platform, exchanges)
		}
		attr(t, platform+"_exchanges", exchanges)
	}
	p := w.s.pools["token-get"]
	p.mu.Lock()
	processes := len(p.processes)
	p.mu.Unlock()
	if processes < 2 {
		t.Errorf("%d process, want 2 at least", processes)
	}
	attr(t, "callers", callers)
	attr(t, "processes", processes)
}

// TestCallerDisconnects disconnects a caller after the platform has exchanged the
// token and before it has answered. The new grant must still be stored.
func TestCallerDisconnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 1 })
	survived := 0
	for i, newRequest := range []func(id string) (*http.Request, error){
		func(id string) (*http.Request, error) {
			return http.NewRequest(http.MethodPost, w.s.servers.aws.url+"/2015-03-31/functions/token-get/invocations", bytes.NewReader(encode(object{"connection_id": id})))
		},
		func(id string) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, w.s.servers.front.url+"/connections/"+id+"/token", nil)
		},
	} {
		w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 1 })
		id := w.connect("twitter", fmt.Sprintf("owner-%d", i), sandbox.Choice{})[0]
		w.waitForExpiry(id)
		w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 7200 })
		release, before := make(chan struct{}), w.box.Count("twitter", "token/refresh_token")
		w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token/refresh_token", Kind: sandbox.Slow, Release: release})

		r, err := newRequest(id)
		if err != nil {
			t.Fatal(err)
		}
		ctx, disconnect := context.WithCancel(t.Context())
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if response, err := http.DefaultClient.Do(r.WithContext(ctx)); err == nil {
				_ = response.Body.Close()
			}
		}()
		waitFor(t, "the request at the platform", func() bool { return w.box.Count("twitter", "token/refresh_token") > before })
		disconnect()
		<-closed
		close(release)

		w.token(object{"connection_id": id})
		if n := w.box.Count("twitter", "token/refresh_token") - before; n != 1 {
			t.Errorf("%d exchanges, want 1", n)
		} else {
			survived++
		}
	}
	attr(t, "callers_gone", 2)
	attr(t, "grants_survived", survived)
}

// encode returns v as JSON.
func encode(v any) []byte {
	b, _ := json.Marshal(v) // the values of the tests always encode
	return b
}
