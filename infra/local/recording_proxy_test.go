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

// recordingProxy is a proxy between the functions and the sandbox. It records
// the result of each exchange of a refresh token, and the process that sent it.
type recordingProxy struct {
	*httptest.Server
	box     *sandbox.Sandbox
	latency time.Duration // the maximum delay before and after an exchange
	clients func() []int  // the processes that may send a request

	mu      sync.Mutex
	current int           // round of the test
	steps   int           // remaining steps of the exchanges of the round
	reached chan struct{} // closed when no step remains
	random  *rand.Rand
	record  exchanges
}

// exchanges are the recorded exchanges of refresh tokens.
type exchanges struct {
	rotations map[string]rotation // by the refresh token that was sent
	parents   map[string]string   // a refresh token to its predecessor
	rejected  []string            // refresh tokens that the platform refused
}

// rotation is a successful exchange.
type rotation struct {
	refreshToken, accessToken string
	pid                       int // 0 if the process ended before it was found
	round                     int // of the test
}

func newRecordingProxy(t testing.TB, seed uint64, latency time.Duration, clients func() []int) *recordingProxy {
	p := &recordingProxy{
		box: sandbox.New(sandbox.Options{}), latency: latency, clients: clients,
		random: rand.New(rand.NewPCG(seed, 0)), record: exchanges{rotations: map[string]rotation{}, parents: map[string]string{}},
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, ownerKey{}, sync.OnceValue(func() int { return socketOwner(c, clients()) }))
	}
	p.Start()
	t.Cleanup(p.Close)
	return p
}

// environment returns the variables that send the functions to the proxy.
func (p *recordingProxy) environment() map[string]string {
	return map[string]string{config.PlatformEndpoints: encodeEndpoints(sandbox.Endpoints(p.URL)), config.LogLevel: "error"}
}

// world starts a stack that reaches its platforms through the proxy.
func (p *recordingProxy) world(t *testing.T, environment map[string]string, change ...func(*options)) *world {
	t.Helper()
	merged := p.environment()
	for name, value := range environment {
		merged[name] = value
	}
	started := newWorld(t, merged, change...)
	started.box = p.box
	if err := seed(t.Context(), started.s.caller, p.box); err != nil {
		t.Fatal(err)
	}
	return started
}

func (p *recordingProxy) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	sent := form.Get("refresh_token")
	if form.Get("grant_type") != "refresh_token" {
		p.box.ServeHTTP(w, r)
		return
	}
	pid := r.Context().Value(ownerKey{}).(func() int)()
	round := p.round()
	p.step(round)
	p.delay()
	answer := httptest.NewRecorder()
	p.box.ServeHTTP(answer, r)
	p.add(sent, pid, round, answer.Body.Bytes())
	p.step(round)
	p.delay()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
	_ = http.NewResponseController(w).Flush()
	p.step(round)
}

// exchangeSteps is the number of steps of an exchange: request received,
// exchanged, answer sent.
const exchangeSteps = 3

// begin begins a round of the test. It closes reached after that many steps of
// the exchanges of the round.
func (p *recordingProxy) begin(steps int) (round int, reached <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current++
	p.steps, p.reached = steps, make(chan struct{})
	if steps == 0 {
		close(p.reached)
	}
	return p.current, p.reached
}

func (p *recordingProxy) step(round int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if round != p.current || p.steps == 0 {
		return
	}
	if p.steps--; p.steps == 0 {
		close(p.reached)
	}
}

func (p *recordingProxy) round() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

func (p *recordingProxy) delay() {
	if p.latency > 0 {
		p.mu.Lock()
		d := time.Duration(p.random.Int64N(int64(p.latency)))
		p.mu.Unlock()
		time.Sleep(d)
	}
}

func (p *recordingProxy) add(sent string, pid, round int, answer []byte) {
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(answer, &got)
	p.mu.Lock()
	defer p.mu.Unlock()
	if got.RefreshToken == "" {
		p.record.rejected = append(p.record.rejected, sent)
		return
	}
	p.record.rotations[sent] = rotation{got.RefreshToken, got.AccessToken, pid, round}
	p.record.parents[got.RefreshToken] = sent
}

// exchanges returns the exchanges until now. A request of a process that was
// killed may still arrive later.
func (p *recordingProxy) exchanges() exchanges {
	p.mu.Lock()
	defer p.mu.Unlock()
	return exchanges{maps.Clone(p.record.rotations), maps.Clone(p.record.parents), slices.Clone(p.record.rejected)}
}

// newest returns the newest successor of a refresh token.
func (e exchanges) newest(token string) string {
	for {
		next, rotated := e.rotations[token]
		if !rotated {
			return token
		}
		token = next.refreshToken
	}
}

// exchangeOf returns the exchange that returned a refresh token.
func (e exchanges) exchangeOf(token string) rotation { return e.rotations[e.parents[token]] }

// storedRefreshToken returns the refresh token of a connection in the vault.
func (w *world) storedRefreshToken(id string) string {
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
		w.t.Fatal("the credentials in the vault are not JSON")
	}
	return credentials.RefreshToken
}

type ownerKey struct{}

// socketOwner returns which of the processes is the client of a loopback
// connection, or 0 if none of them is.
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
