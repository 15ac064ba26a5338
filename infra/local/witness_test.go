package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// witness stands between the functions and the sandbox. It sees what each
// refresh token was exchanged for, and which process asked.
type witness struct {
	*httptest.Server
	box     *sandbox.Sandbox
	latency time.Duration // the most before and after an exchange
	askers  func() []int  // the processes that may ask

	mu      sync.Mutex
	current int           // round of the test
	steps   int           // that the exchanges of the round have yet to come
	reached chan struct{} // closed when they have
	random  *rand.Rand
	seen    exchanges
}

// exchanges is what became of refresh tokens.
type exchanges struct {
	rotations map[string]rotation // by the refresh token that was shown
	parents   map[string]string   // a refresh token to the one before
	rejected  []string            // refresh tokens that the platform did not take
}

// rotation is an exchange that the platform made.
type rotation struct {
	refreshToken, accessToken string
	pid                       int // 0: the process was gone at once
	round                     int // of the test
}

func newWitness(t testing.TB, seed uint64, latency time.Duration, askers func() []int) *witness {
	w := &witness{
		box: sandbox.New(sandbox.Options{}), latency: latency, askers: askers,
		random: rand.New(rand.NewPCG(seed, 0)), seen: exchanges{rotations: map[string]rotation{}, parents: map[string]string{}},
	}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, ownerKey{}, sync.OnceValue(func() int { return socketOwner(c, askers()) }))
	}
	w.Start()
	t.Cleanup(w.Close)
	return w
}

// environment points functions to the witness.
func (w *witness) environment() map[string]string {
	return map[string]string{config.PlatformEndpoints: encodeEndpoints(sandbox.Endpoints(w.URL)), config.LogLevel: "error"}
}

// world starts a stack whose platforms are the witness's.
func (w *witness) world(t *testing.T, environment map[string]string, change ...func(*options)) *world {
	t.Helper()
	merged := w.environment()
	for name, value := range environment {
		merged[name] = value
	}
	started := newWorld(t, merged, change...)
	started.box = w.box
	if err := seed(t.Context(), started.s.caller, w.box); err != nil {
		t.Fatal(err)
	}
	return started
}

func (w *witness) serve(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	shown := form.Get("refresh_token")
	if form.Get("grant_type") != "refresh_token" {
		w.box.ServeHTTP(rw, r)
		return
	}
	pid := r.Context().Value(ownerKey{}).(func() int)()
	round := w.round()
	w.step(round)
	w.dawdle()
	answer := httptest.NewRecorder()
	w.box.ServeHTTP(answer, r)
	w.note(shown, pid, round, answer.Body.Bytes())
	w.step(round)
	w.dawdle()
	for name, values := range answer.Header() {
		rw.Header()[name] = values
	}
	rw.WriteHeader(answer.Code)
	_, _ = rw.Write(answer.Body.Bytes())
	_ = http.NewResponseController(rw).Flush()
	w.step(round)
}

// exchangeSteps is how many steps an exchange has: asked for, made, answered.
const exchangeSteps = 3

// begin begins a round of the test. What it returns is closed when the
// exchanges of the round have come so many steps.
func (w *witness) begin(steps int) (round int, reached <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current++
	w.steps, w.reached = steps, make(chan struct{})
	if steps == 0 {
		close(w.reached)
	}
	return w.current, w.reached
}

func (w *witness) step(round int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if round != w.current || w.steps == 0 {
		return
	}
	if w.steps--; w.steps == 0 {
		close(w.reached)
	}
}

func (w *witness) round() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

func (w *witness) dawdle() {
	if w.latency > 0 {
		w.mu.Lock()
		d := time.Duration(w.random.Int64N(int64(w.latency)))
		w.mu.Unlock()
		time.Sleep(d)
	}
}

func (w *witness) note(shown string, pid, round int, answer []byte) {
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(answer, &got)
	w.mu.Lock()
	defer w.mu.Unlock()
	if got.RefreshToken == "" {
		w.seen.rejected = append(w.seen.rejected, shown)
		return
	}
	w.seen.rotations[shown] = rotation{got.RefreshToken, got.AccessToken, pid, round}
	w.seen.parents[got.RefreshToken] = shown
}

// exchanges returns what was seen until now. What a dead process had sent may
// still arrive.
func (w *witness) exchanges() exchanges {
	w.mu.Lock()
	defer w.mu.Unlock()
	return exchanges{maps.Clone(w.seen.rotations), maps.Clone(w.seen.parents), slices.Clone(w.seen.rejected)}
}

// newest returns the newest refresh token that descends from one.
func (e exchanges) newest(token string) string {
	for {
		next, rotated := e.rotations[token]
		if !rotated {
			return token
		}
		token = next.refreshToken
	}
}

// made returns the exchange that a refresh token came of.
func (e exchanges) made(token string) rotation { return e.rotations[e.parents[token]] }

// stored returns the refresh token that the vault of a stack holds.
func (w *world) stored(id string) string {
	w.t.Helper()
	client := secretsmanager.NewFromConfig(newCloud(w.s.settings, w.s.endpoint).config)
	out, err := client.GetSecretValue(w.t.Context(), &secretsmanager.GetSecretValueInput{
		SecretId: aws.String(w.s.settings.values[config.SecretPrefix] + "/connections/" + id),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var credentials struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.SecretString)), &credentials); err != nil {
		w.t.Fatal("the credentials in the vault are no JSON")
	}
	return credentials.RefreshToken
}

type ownerKey struct{}

// socketOwner returns which of some processes is at the other end of a
// connection over loopback, or 0 where it is gone.
func socketOwner(c net.Conn, processes []int) int {
	local, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0
	}
	ends := fmt.Sprintf("0100007F:%04X 0100007F:%04X", remote.Port, local.Port)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[1]+" "+fields[2] != ends {
			continue
		}
		for _, pid := range processes {
			open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
			for _, path := range open {
				if target, _ := os.Readlink(path); target == "socket:["+fields[9]+"]" {
					return pid
				}
			}
		}
	}
	return 0
}
