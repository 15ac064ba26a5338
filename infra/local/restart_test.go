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

// The steps of a refresh at which a stack is ended, by the call that stops
// there.
var steps = []struct {
	name  string
	call  string // as callOf has it
	times int    // which of them, from 1
	after bool   // the call has acted, its answer is held back
	lost  bool   // the platform rotated, nothing is durable
	again bool   // the token that was brought home is gone or was never sent for
}{
	{name: "before the lease", call: "PutItem", times: 1, again: true},
	{name: "after the lease", call: "PutItem", times: 1, after: true, again: true},
	{name: "before the platform", call: "refresh_token", times: 1, again: true},
	{name: "after the platform", call: "refresh_token", times: 1, after: true, lost: true},
	{name: "before the vault", call: "PutSecretValue", times: 1, lost: true},
	{name: "after the vault", call: "PutSecretValue", times: 1, after: true},
	{name: "before the record", call: "PutItem", times: 2},
	{name: "after the record", call: "PutItem", times: 2, after: true},
}

// TestStackEnds_during_refreshes ends the command with all its functions
// while refreshes stand at each of their steps, and starts another over the
// same AWS. After SIGTERM nothing is lost. After SIGKILL what the platform had
// rotated and nobody had stored is lost, and named; all else is served, and
// what was in the vault without another exchange.
func TestStackEnds_during_refreshes(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			if signal == syscall.SIGKILL && !proving() {
				t.Skip("waits for leases to run out: CONNECTOR_PROVE=1")
			}
			t.Parallel()
			endDuringRefreshes(t, signal)
		})
	}
}

func endDuringRefreshes(t *testing.T, signal syscall.Signal) {
	gates := newGates(t)
	box := sandbox.New(sandbox.Options{})
	platforms := httptest.NewServer(gates.around(box))
	t.Cleanup(platforms.Close)
	cloud := httptest.NewServer(gates.around(awslocal.New(awslocal.Options{Now: time.Now, Random: rand.Reader})))
	t.Cleanup(cloud.Close)
	environment := map[string]string{
		config.AWSEndpointURL:    cloud.URL,
		config.PlatformEndpoints: encodeEndpoints(sandbox.Endpoints(platforms.URL)),
	}

	// One stack connects, one is ended, one finds out what is left.
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
			go second.ask(id)
		}
	}
	gates.wait(t)
	exchanges := box.Count("twitter", "token/refresh_token") + box.Count("tiktok", "token/refresh_token")
	second.end(t, signal, gates)

	lost, kept, outside := 0, 0, 0
	var asking sync.WaitGroup
	answers := make(chan func(), 2*len(steps))
	for _, platform := range []string{"twitter", "tiktok"} {
		for i, step := range steps {
			asking.Go(func() {
				answer, errorType := first.await(ids[platform][i])
				answers <- func() {
					switch lose := step.lost && signal == syscall.SIGKILL; {
					case lose && errorType != "ReauthorizationRequired":
						t.Errorf("%s, %s: the grant is lost, and token-get answers %q %v", platform, step.name, errorType, answer)
					case lose:
						lost++
					case errorType != "":
						outside++
						t.Errorf("%s, %s: token-get answers %q %v", platform, step.name, errorType, answer)
					default:
						kept++
					}
				}
			})
		}
	}
	asking.Wait()
	close(answers)
	for judge := range answers {
		judge()
	}
	exchanges = box.Count("twitter", "token/refresh_token") + box.Count("tiktok", "token/refresh_token") - exchanges
	if want := gates.exchangesLeft(signal); exchanges != want {
		t.Errorf("%d more exchanges, want %d: none for what was durable", exchanges, want)
	}
	attr(t, "refreshes_under_way", 2*len(steps))
	attr(t, "grants_kept", kept)
	attr(t, "grants_lost_in_window", lost)
	attr(t, "grants_lost_otherwise", outside)
}

// await asks for a token until the answer is final: a dead stack's leases
// have to run out first.
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

// gates hold calls about connections: each connection at one step.
type gates struct {
	test     *testing.T
	released chan struct{}
	dropped  chan struct{} // what is held never acts

	mu    sync.Mutex
	gates map[string]*connectionGate // by connection
	ids   map[string]string          // by the first refresh token
}

type connectionGate struct {
	call    string
	left    int
	after   bool
	reached chan struct{}
	held    bool
}

func newGates(t *testing.T) *gates {
	return &gates{
		test: t, released: make(chan struct{}), dropped: make(chan struct{}),
		gates: map[string]*connectionGate{}, ids: map[string]string{},
	}
}

func (g *gates) arm(id, refreshToken, call string, times int, after bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gates[id] = &connectionGate{call: call, left: times, after: after, reached: make(chan struct{})}
	g.ids[refreshToken] = id
}

// wait returns once every connection stands at its step.
func (g *gates) wait(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	all := g.gates
	g.mu.Unlock()
	for id, gate := range all {
		select {
		case <-gate.reached:
		case <-time.After(time.Minute):
			t.Fatalf("%s never came to its %s", id, gate.call)
		}
	}
}

// exchangesLeft is how many exchanges must follow: one for each refresh token
// that was not shown before the end, or is shown again since nobody knows.
func (g *gates) exchangesLeft(signal syscall.Signal) int {
	left := 0
	for _, step := range steps {
		if step.again || step.lost && signal == syscall.SIGKILL {
			left += 2
		}
	}
	return left
}

// about returns the connection that a call is about, and what the call is:
// the operation of AWS, or the grant type.
func (g *gates) about(r *http.Request, body []byte) (gate *connectionGate, call string) {
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

// around holds the calls of h that come to their gate, and all that follow
// about the same connection.
func (g *gates) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		gate, call := g.about(r, body)
		before, after := g.pass(gate, call)
		if before && !g.hold(gate, r) {
			return
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if after && !g.hold(gate, r) {
			return
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// pass says where a call is to be held.
func (g *gates) pass(gate *connectionGate, call string) (before, after bool) {
	if gate == nil {
		return false, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case gate.held:
		return true, false
	case call != gate.call:
		return false, false
	}
	gate.left--
	gate.held = gate.left == 0
	return gate.held && !gate.after, gate.held && gate.after
}

// hold waits, and reports whether the call goes on.
func (g *gates) hold(gate *connectionGate, r *http.Request) bool {
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

// open ends all holding.
func (g *gates) open(end chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.gates)
	close(end)
}

// commanded is the command in a process of its own.
type commanded struct {
	*running
	urls map[string]string
}

func startCommand(t *testing.T, environment map[string]string, concurrency int) *commanded {
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
	c := &commanded{running: launch(t, command)}
	c.urls = readReady(t, ready, c.running)
	return c
}

// ask asks for a token and cares for no answer.
func (c *commanded) ask(id string) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.urls["aws"]+"/2015-03-31/functions/token-get/invocations",
		bytes.NewReader(encode(object{"connection_id": id})))
	if err != nil {
		return
	}
	if response, err := http.DefaultClient.Do(r); err == nil {
		_ = response.Body.Close()
	}
}

// end ends the command with a signal. What it waits for goes on after
// SIGTERM, and never happens after SIGKILL.
func (c *commanded) end(t *testing.T, signal syscall.Signal, g *gates) {
	t.Helper()
	if err := c.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if signal == syscall.SIGKILL {
		<-c.ended
		g.open(g.dropped)
		return
	}
	waitFor(t, "the end to begin", func() bool { return strings.Contains(c.output.String(), "ending") })
	g.open(g.released)
	if <-c.ended; c.err != nil {
		t.Errorf("the command ended with %v", c.err)
	}
}
