package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// TestConsent_Kill9 kills oauth-callback with SIGKILL at each call that it makes to a
// platform or to AWS during a consent, before the call has its effect or after it, and
// lets the sweep continue. A consent may lose its grant in one way only: its process was
// killed after the platform redeemed the code and before the first write. Its link can
// then be opened again. No consent is without a connection and without its link, and of
// each connection an event tells.
//
// For `make prove` each call is hit, and the sweep runs once the time of the killed
// processes is over. Otherwise some calls are hit, and the links are opened at once.
func TestConsent_Kill9(t *testing.T) {
	t.Parallel()
	k := newConsentKiller(t)
	for _, platform := range sandbox.Platforms() {
		for _, after := range []bool{false, true} {
			step := 1
			if !proving() {
				step = 7
			}
			for n := step; k.consent(platform, n, after); n += step {
				if n > 200 {
					t.Fatalf("%s: a consent has no end", platform)
				}
			}
		}
	}
	killed, redeemed := 0, 0
	for _, c := range k.consents {
		if c.killedAt == "" {
			continue
		}
		killed++
		if c.redeemed {
			redeemed++
		}
	}
	if killed == 0 || redeemed < killed/4 {
		t.Errorf("%d consents were killed, and %d codes were redeemed", killed, redeemed)
	}
	if proving() {
		k.sweep()
	}
	window, grants, links, events, owed, eventsLost := 0, 0, 0, 0, 0, 0
	for _, c := range k.consents {
		connected := k.connectionsOf(c)
		if len(connected) == 0 {
			if status, _ := k.browser().visit(c.link); status != http.StatusFound {
				links++
				t.Errorf("%s: redeemed %v, no connection, and the link answers %d", c, c.redeemed, status)
			}
			switch {
			case c.redeemed && !c.stored:
				window++
			case c.redeemed && proving():
				grants++
				t.Errorf("%s: the code was redeemed and stored, and there is no connection", c)
			}
		}
		if len(connected) > 0 && proving() {
			if query := c.browser.followCallback(c.callback); query.Get("status") != "connected" {
				t.Errorf("%s: there is a connection, and the callback leads to %v", c, query)
			}
		}
		for _, id := range connected {
			switch {
			case k.told(id):
				events++
			case slices.ContainsFunc(k.itemsWith(id), func(key string) bool { return strings.HasPrefix(key, "ticket#event#") }):
				owed++ // until a minute is over
			default:
				eventsLost++
				t.Errorf("%s: nobody was told of %s, and nobody will be", c, id)
			}
		}
	}
	attr(t, "consents", len(k.consents))
	attr(t, "kills", killed)
	attr(t, "codes_redeemed_before_the_kill", redeemed)
	attr(t, "grants_lost_in_window", window)
	attr(t, "grants_lost_otherwise", grants)
	attr(t, "links_lost", links)
	attr(t, "events_sent", events)
	attr(t, "events_still_owed", owed)
	attr(t, "events_lost", eventsLost)
	t.Logf("%d consents, %d kills, %d codes redeemed before: %d grants lost in the window, %d otherwise, %d links lost; %d events sent, %d owed, %d lost",
		len(k.consents), killed, redeemed, window, grants, links, events, owed, eventsLost)
}

// consentKiller is a stack whose oauth-callback is killed, and what came of its
// consents. Only one consent is under way at a time.
type consentKiller struct {
	*world
	t *testing.T

	consents []*killedConsent

	mu        sync.Mutex
	current   *killedConsent // whose calls are counted
	connected map[string]bool
}

// killedConsent is a consent whose process is killed at its n-th call.
type killedConsent struct {
	platform, owner, link, callback string
	browser                         browser
	n                               int
	after                           bool
	codes                           int // that the platform had redeemed before

	calls            int
	killedAt         string // the call; empty if the consent makes fewer calls
	redeemed, stored bool   // before the process was killed
}

func (c *killedConsent) String() string {
	return fmt.Sprintf("%s, call %d (%s, after its effect: %v)", c.platform, c.n, c.killedAt, c.after)
}

func newConsentKiller(t *testing.T) *consentKiller {
	k := &consentKiller{t: t, connected: map[string]bool{}}
	box := sandbox.New(sandbox.Options{})
	platforms := httptest.NewServer(k.wrap(box))
	t.Cleanup(platforms.Close)
	cloud := httptest.NewServer(k.wrap(awslocal.New(awslocal.Options{Now: time.Now, Random: rand.Reader, OnEvent: k.note})))
	t.Cleanup(cloud.Close)
	k.world = newWorld(t, map[string]string{
		config.AWSEndpointURL:    cloud.URL,
		config.PlatformEndpoints: encodeEndpoints(sandbox.Endpoints(platforms.URL)),
		config.LogLevel:          "error",
	})
	k.box = box
	if err := seed(t.Context(), k.s.caller, box); err != nil {
		t.Fatal(err)
	}
	box.Tune(func(knobs *sandbox.Knobs) { knobs.Twitter().UsersMeLimit = 10_000 }) // one person consents each time
	// The shortest timeout in which a code is redeemed, so that the time of the killed
	// processes is over soon.
	k.s.pools["oauth-callback"].function.Timeout = workerTimeout
	return k
}

// consent plays a consent whose process is killed at its n-th call, and reports whether
// there is one.
func (k *consentKiller) consent(platform string, n int, after bool) (killed bool) {
	k.t.Helper()
	c := &killedConsent{
		platform: platform, owner: fmt.Sprintf("owner-%d", len(k.consents)), n: n, after: after,
		browser: k.browser(), codes: k.codes(platform),
	}
	c.link = k.world.link(object{"platform": platform, "owner": c.owner})
	c.callback = c.browser.authorize(c.link, sandbox.Choice{})
	k.consents = append(k.consents, c)
	k.mu.Lock()
	k.current = c
	k.mu.Unlock()
	c.browser.visit(c.callback)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = nil
	if c.killedAt == "" {
		c.redeemed, c.stored = true, true
	}
	return c.killedAt != ""
}

func (k *consentKiller) codes(platform string) int {
	return k.box.Count(platform, "token/authorization_code")
}

// wrap returns h with the process killed at the n-th call of the current consent.
func (k *consentKiller) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c, turn, call := k.count(r)
		if turn && !c.after {
			k.kill(c, call)
			panic(http.ErrAbortHandler)
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if c != nil {
			k.noteEffect(c, call, answer.Code)
		}
		if turn {
			k.kill(c, call)
			panic(http.ErrAbortHandler)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// count counts a call of the current consent. Only the stack itself uses the queue
// meanwhile.
func (k *consentKiller) count(r *http.Request) (c *killedConsent, turn bool, call string) {
	service, call, isAWS := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if !isAWS {
		call = r.Method + " " + r.URL.Path
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if c = k.current; c == nil || service == "AmazonSQS" {
		return nil, false, call
	}
	c.calls++
	return c, c.calls == c.n, call
}

// noteEffect notes what a call did before the process is killed.
func (k *consentKiller) noteEffect(c *killedConsent, call string, status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != c {
		return
	}
	writes := slices.Contains([]string{"PutItem", "TransactWriteItems", "CreateSecret", "PutSecretValue"}, call)
	if c.redeemed && writes && status == http.StatusOK {
		c.stored = true
	}
	c.redeemed = c.redeemed || k.codes(c.platform) > c.codes
}

// kill kills the processes of oauth-callback, and waits until they have ended.
func (k *consentKiller) kill(c *killedConsent, call string) {
	k.mu.Lock()
	c.killedAt, k.current = call, nil
	k.mu.Unlock()
	p := k.s.pools["oauth-callback"]
	p.mu.Lock()
	var processes []*process
	for process := range p.processes {
		processes = append(processes, process)
	}
	p.mu.Unlock()
	for _, process := range processes {
		if err := syscall.Kill(process.command.Process.Pid, syscall.SIGKILL); err == nil {
			<-process.exited
		}
	}
}

// sweep runs the sweep until each consent that stored what its code yielded has its
// connections, or for as long as it could take.
func (k *consentKiller) sweep() {
	deadline := time.Now().Add(workerTimeout + 25*time.Second)
	for time.Now().Before(deadline) {
		if answer, errorType := k.invoke("refresh", object{}); errorType != "" {
			k.t.Fatalf("the sweep: %v", answer)
		}
		if !slices.ContainsFunc(k.consents, func(c *killedConsent) bool { return c.stored && len(k.connectionsOf(c)) == 0 }) {
			return
		}
		time.Sleep(time.Second)
	}
}

func (k *consentKiller) connectionsOf(c *killedConsent) (ids []string) {
	list, _ := k.must(http.MethodGet, "/connections?owner="+c.owner, nil)["connections"].([]any)
	for _, connection := range list {
		id, _ := connection.(object)["id"].(string)
		ids = append(ids, id)
	}
	return ids
}

// note notes of which connections an event told that they are connected.
func (k *consentKiller) note(e awslocal.Event) {
	var detail struct {
		ConnectionID string `json:"connection_id"`
	}
	if e.DetailType == "Connection Connected" && json.Unmarshal(e.Detail, &detail) == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.connected[detail.ConnectionID] = true
	}
}

func (k *consentKiller) told(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.connected[id]
}
