package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// steps are the steps of a refresh at which a stack is ended. A step is before or
// after one call of the refresh.
var steps = []struct {
	name  string
	call  string // as gates.identify returns it
	times int    // counts the calls of this kind, from 1
	after bool   // the call has its effect, and its answer is delayed
	lost  bool   // the platform has rotated the token, and no store has it
	again bool   // the refresh token has not been exchanged
}{
	{name: "before the lease", call: "UpdateItem", times: 1, again: true},
	{name: "after the lease", call: "UpdateItem", times: 1, after: true, again: true},
	{name: "before the platform", call: "refresh_token", times: 1, again: true},
	{name: "after the platform", call: "refresh_token", times: 1, after: true, lost: true},
	{name: "before the vault", call: "PutSecretValue", times: 1, lost: true},
	{name: "after the vault", call: "PutSecretValue", times: 1, after: true},
	{name: "before the record", call: "UpdateItem", times: 2},
	{name: "after the record", call: "UpdateItem", times: 2, after: true},
}

// TestCommand_Restart ends the command and all its functions while a refresh is
// paused at each step, and starts another stack over the same AWS. SIGTERM loses
// no grant. SIGKILL loses only the grants that the platform had rotated and no
// store had yet. Token-get then answers ReauthorizationRequired. All other tokens
// are served, and those in the vault without another exchange.
func TestCommand_Restart(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			if signal == syscall.SIGKILL && !proving() {
				t.Skip("waits until leases expire: CONNECTOR_PROVE=1")
			}
			t.Parallel()
			restartDuringRefreshes(t, signal)
		})
	}
}

func restartDuringRefreshes(t *testing.T, signal syscall.Signal) {
	gates := newGates(t)
	box := sandbox.New(sandbox.Options{})
	platforms := httptest.NewServer(gates.wrap(box))
	t.Cleanup(platforms.Close)
	cloud := httptest.NewServer(gates.wrap(awslocal.New(awslocal.Options{Now: time.Now, Random: rand.Reader})))
	t.Cleanup(cloud.Close)
	environment := map[string]string{
		config.AWSEndpointURL:    cloud.URL,
		config.PlatformEndpoints: encodeEndpoints(sandbox.Endpoints(platforms.URL)),
	}

	// The first stack connects the accounts. The second stack is ended during the
	// refreshes. The first one then reads the tokens.
	first := newWorld(t, environment)
	first.box = box
	if err := seed(t.Context(), first.s.caller, box); err != nil {
		t.Fatal(err)
	}
	box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds, k.TikTok().AccessSeconds = 1, 1 })
	ids := map[string][]string{}
	for _, platform := range []string{"twitter", "tiktok"} {
		for _, step := range steps {
			ids[platform] = append(ids[platform], first.connect(platform, step.name, sandbox.Choice{})[0])
		}
	}
	for _, platform := range []string{"twitter", "tiktok"} {
		for i, step := range steps {
			id := ids[platform][i]
			gates.arm(id, first.storedRefreshToken(id), step.call, step.times, step.after)
			first.waitForExpiry(id)
		}
	}
	box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds, k.TikTok().AccessSeconds = 7200, 7200 })

	second := startCommand(t, environment, 2*len(steps))
	for _, platform := range []string{"twitter", "tiktok"} {
		for _, id := range ids[platform] {
			go second.requestToken(id)
		}
	}
	gates.wait(t)
	exchanges := box.Count("twitter", "token/refresh_token") + box.Count("tiktok", "token/refresh_token")
	second.end(t, signal, gates)

	lost, survived, outside := 0, 0, 0
	var requests sync.WaitGroup
	checks := make(chan func(), 2*len(steps))
	for _, platform := range []string{"twitter", "tiktok"} {
		for i, step := range steps {
			requests.Go(func() {
				answer, errorType := first.await(ids[platform][i])
				checks <- func() {
					switch lose := step.lost && signal == syscall.SIGKILL; {
					case lose && errorType != "ReauthorizationRequired":
						t.Errorf("%s, %s: the grant is lost: got %q %v", platform, step.name, errorType, answer)
					case lose:
						lost++
					case errorType != "":
						outside++
						t.Errorf("%s, %s: token-get returns %q %v", platform, step.name, errorType, answer)
					default:
						survived++
					}
				}
			})
		}
	}
	requests.Wait()
	close(checks)
	for check := range checks {
		check()
	}
	exchanges = box.Count("twitter", "token/refresh_token") + box.Count("tiktok", "token/refresh_token") - exchanges
	if want := gates.remainingExchanges(signal); exchanges != want {
		t.Errorf("%d more exchanges, want %d: none for stored credentials", exchanges, want)
	}
	attr(t, "refreshes_under_way", 2*len(steps))
	attr(t, "grants_survived", survived)
	attr(t, "grants_lost_in_window", lost)
	attr(t, "grants_lost_otherwise", outside)
}

// await requests a token until the answer is final. The leases of a killed stack
// must expire first.
func (w *world) await(id string) (answer object, errorType string) {
	deadline := time.Now().Add(90 * time.Second)
	for {
		answer, errorType = w.invoke("token-get", object{"connection_id": id})
		if errorType != "PlatformUnavailable" || time.Now().After(deadline) {
			return answer, errorType
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// gates pause the calls of each connection at one step of its refresh.
type gates struct {
	test     *testing.T
	released chan struct{} // closed to continue the paused calls
	dropped  chan struct{} // closed to end the paused calls without an effect

	mu    sync.Mutex
	gates map[string]*connectionGate // by connection id
	ids   map[string]string          // connection ids by the first refresh token
}

type connectionGate struct {
	call    string
	left    int // remaining calls until the step
	after   bool
	reached chan struct{} // closed when the step is reached
	paused  bool
}

func newGates(t *testing.T) *gates {
	return &gates{
		test: t, released: make(chan struct{}), dropped: make(chan struct{}),
		gates: map[string]*connectionGate{}, ids: map[string]string{},
	}
}

// arm pauses the refresh of a connection at a step.
func (g *gates) arm(id, refreshToken, call string, times int, after bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gates[id] = &connectionGate{call: call, left: times, after: after, reached: make(chan struct{})}
	g.ids[refreshToken] = id
}

// wait waits until every connection has reached its step.
func (g *gates) wait(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	all := g.gates
	g.mu.Unlock()
	for id, gate := range all {
		select {
		case <-gate.reached:
		case <-time.After(time.Minute):
			t.Fatalf("%s did not reach its %s", id, gate.call)
		}
	}
}

// remainingExchanges returns the number of exchanges after the restart: one for
// each refresh token that was not exchanged before, or whose exchange has no known
// outcome.
func (g *gates) remainingExchanges(signal syscall.Signal) int {
	left := 0
	for _, step := range steps {
		if step.again || step.lost && signal == syscall.SIGKILL {
			left += 2
		}
	}
	return left
}

// identify returns the connection of a call, and the kind of the call: the
// operation of AWS, or the grant type.
func (g *gates) identify(r *http.Request, body []byte) (gate *connectionGate, call string) {
	_, call, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	g.mu.Lock()
	defer g.mu.Unlock()
	if call == "" {
		form, _ := url.ParseQuery(string(body))
		return g.gates[g.ids[form.Get("refresh_token")]], form.Get("grant_type")
	}
	for id, gate := range g.gates {
		if bytes.Contains(body, []byte(id)) {
			return gate, call
		}
	}
	return nil, call
}

// wrap returns h with the calls of each connection paused from its step on.
func (g *gates) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		gate, call := g.identify(r, body)
		before, after := g.pauseAt(gate, call)
		if before && !g.pause(gate, r) {
			return
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if after && !g.pause(gate, r) {
			return
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// pauseAt reports whether a call is paused before or after its effect.
func (g *gates) pauseAt(gate *connectionGate, call string) (before, after bool) {
	if gate == nil {
		return false, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case gate.paused:
		return true, false
	case call != gate.call:
		return false, false
	}
	gate.left--
	gate.paused = gate.left == 0
	return gate.paused && !gate.after, gate.paused && gate.after
}

// pause blocks a call, and reports whether the call continues.
func (g *gates) pause(gate *connectionGate, r *http.Request) bool {
	g.mu.Lock()
	select {
	case <-gate.reached:
	default:
		close(gate.reached)
	}
	g.mu.Unlock()
	select {
	case <-g.released:
		return r.Context().Err() == nil
	case <-g.dropped:
	case <-r.Context().Done():
	case <-g.test.Context().Done():
	}
	return false
}

// open ends all pauses by closing released or dropped.
func (g *gates) open(end chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.gates)
	close(end)
}

// commandProcess is the command in a process of its own.
type commandProcess struct {
	*running
	urls map[string]string
}

func startCommand(t *testing.T, environment map[string]string, concurrency int) *commandProcess {
	t.Helper()
	binary, err := commandOnce()
	if err != nil {
		t.Fatal(err)
	}
	functions, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	ready := filepath.Join(t.TempDir(), "ready.json")
	command := exec.Command(binary, "-addr", "127.0.0.1:0", "-aws", "127.0.0.1:0",
		"-build", functions, "-ready-file", ready, "-concurrency", fmt.Sprint(concurrency))
	command.Env = os.Environ()
	for name, value := range environment {
		command.Env = append(command.Env, name+"="+value)
	}
	c := &commandProcess{running: launch(t, command)}
	c.urls = readReady(t, ready, c.running)
	return c
}

// requestToken requests a token and ignores the answer.
func (c *commandProcess) requestToken(id string) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.urls["aws"]+"/2015-03-31/functions/token-get/invocations",
		bytes.NewReader(encode(object{"connection_id": id})))
	if err != nil {
		return
	}
	if response, err := http.DefaultClient.Do(r); err == nil {
		_ = response.Body.Close()
	}
}

// end ends the command with a signal. The paused calls continue after SIGTERM, and
// have no effect after SIGKILL.
func (c *commandProcess) end(t *testing.T, signal syscall.Signal, g *gates) {
	t.Helper()
	if err := c.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if signal == syscall.SIGKILL {
		<-c.ended
		g.open(g.dropped)
		return
	}
	waitFor(t, "the shutdown to begin", func() bool { return strings.Contains(c.output.String(), "ending") })
	g.open(g.released)
	if <-c.ended; c.err != nil {
		t.Errorf("the command ended with %v", c.err)
	}
}
