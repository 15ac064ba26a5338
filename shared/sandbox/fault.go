package sandbox

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is the way in which a call fails.
type Kind string

// The kinds. Those of the first group refuse the call. The platform does not
// process it, unless Fault.Acts is set. Those of the second group corrupt the
// answer after the platform has processed the call.
const (
	Cut         Kind = "cut"          // the connection is closed without an answer
	Throttled   Kind = "throttled"    // too many requests, in the platform's words, with Retry-After
	Quota       Kind = "quota"        // no quota left for the period, or no credits
	Outage      Kind = "outage"       // Status, 503 if zero, with the platform's error body
	HTML        Kind = "html"         // a page in place of JSON; Status, 200 if zero
	Empty       Kind = "empty"        // an empty body; Status, 200 if zero
	Elsewhere   Kind = "elsewhere"    // a redirect to Location; Status, 302 if zero
	DeadGrant   Kind = "dead-grant"   // the platform's permanent refusal of the grant
	WrongClient Kind = "wrong-client" // the platform's refusal of the app
	ErrorIn200  Kind = "error-in-200" // the body of DeadGrant, with status 200
	Body        Kind = "body"         // Text as JSON; Status, 200 if zero
	Deep        Kind = "deep"         // JSON nested 100,000 deep

	Slow          Kind = "slow"           // the answer is sent after Delay, or when Release is closed
	Oversize      Kind = "oversize"       // the answer with Size more bytes in front
	GzipBomb      Kind = "gzip-bomb"      // the same, as a few compressed bytes
	Truncated     Kind = "truncated"      // the second half is missing, Content-Length says so
	Broken        Kind = "broken"         // the connection is closed halfway through the body
	DuplicateKeys Kind = "duplicate-keys" // the answer has access_token twice
	Fields        Kind = "fields"         // Set and Omit change the answer's JSON object
)

var refusals = []Kind{Cut, Throttled, Quota, Outage, HTML, Empty, Elsewhere, DeadGrant, WrongClient, ErrorIn200, Body, Deep}
var corruptions = []Kind{Slow, Oversize, GzipBomb, Truncated, Broken, DuplicateKeys, Fields}

// Fault makes calls fail. The first fault that matches a call applies to it.
type Fault struct {
	Platform string `json:"platform"` // empty: every platform
	// Endpoint is as in Count: "token", "token/refresh_token", "me". Empty means
	// every endpoint.
	Endpoint string `json:"endpoint"`
	// Client limits the fault to the calls of one client: those that name this
	// client id, known or not, or have a token that was issued to it. A call with
	// an OAuth 1.0a signature names its consumer key. Empty means every client.
	Client string `json:"client"`
	// Account limits the fault to the calls that have a code, token or key of the
	// person with this id. Empty means every person.
	Account string `json:"account"`
	Kind    Kind   `json:"kind"`
	Times   int    `json:"times"` // 0: once; negative: always
	// Acts lets the platform process the call before it refuses it. Cut with
	// Acts is a lost reply.
	Acts bool `json:"acts"`

	Status   int    `json:"status"`
	Text     string `json:"text"`     // of Body
	Location string `json:"location"` // of Elsewhere
	Size     int    `json:"size"`     // of Oversize and GzipBomb; 0: 2 and 16 MiB
	// RetryAfter is in seconds. 0 means 30. A negative value leaves out the
	// header.
	RetryAfter int           `json:"retry_after"`
	Delay      time.Duration `json:"-"`
	// DelayMS is Delay in milliseconds, for JSON.
	DelayMS int `json:"delay_ms"`
	// Release, if it is not nil, replaces Delay. Slow ends when it is closed.
	Release <-chan struct{} `json:"-"`

	// Set and Omit belong to Fields. They change and remove members of the
	// answer.
	Set  map[string]json.RawMessage `json:"set"`
	Omit []string                   `json:"omit"`
}

// Fault adds f. It panics for an unknown Kind.
func (s *Sandbox) Fault(f Fault) {
	if !f.known() {
		panic(fmt.Sprintf("sandbox: no fault %q", f.Kind))
	}
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults removes every fault.
func (s *Sandbox) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (f *Fault) known() bool {
	return slices.Contains(refusals, f.Kind) || slices.Contains(corruptions, f.Kind)
}

// acts reports whether the platform processes the call.
func (f *Fault) acts() bool { return f.Acts || slices.Contains(corruptions, f.Kind) }

// takeFault returns the fault that applies to a call, or nil, and counts its use.
func (s *Sandbox) takeFault(rt route, c *call) *Fault {
	var client, account string
	if d := s.lookUp(rt.platform); d != nil {
		client, account = identify(d, c)
	}
	for i, f := range s.faults {
		if !f.matches(rt, c) || f.Client != "" && f.Client != client || f.Account != "" && f.Account != account {
			continue
		}
		if f.Times > 0 {
			f.Times--
		}
		taken := *f
		if f.Times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return &taken
	}
	return nil
}

// matches reports whether f is for the endpoint of a call.
func (f *Fault) matches(rt route, c *call) bool {
	return (f.Platform == "" || f.Platform == rt.platform) &&
		(f.Endpoint == "" || f.Endpoint == rt.endpoint || f.Endpoint == detailedEndpoint(rt, c))
}

// corrupt returns the answer with the status, headers and body of the fault.
func (f *Fault) corrupt(d dialect, endpoint string, a reply) reply {
	switch f.Kind {
	case Throttled, Quota, Outage, DeadGrant, WrongClient, ErrorIn200:
		a = f.refusal(d, endpoint)
	case HTML:
		a = f.plain(http.StatusOK, "text/html; charset=utf-8", "<!doctype html><title>Sandbox</title><p>Something went wrong.")
	case Empty:
		a = f.plain(http.StatusOK, "application/json", "")
	case Body:
		a = f.plain(http.StatusOK, "application/json", f.Text)
	case Deep:
		a = f.plain(http.StatusOK, "application/json", `{"access_token":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}")
	case Elsewhere:
		a = f.plain(http.StatusFound, "text/html", "").with("Location", f.Location)
	case Truncated:
		a.body = a.body[:len(a.body)/2]
	case DuplicateKeys:
		a.body = prepend(a.body, `"access_token":"sandbox-first-of-two"`)
	case Fields:
		a.body = f.rewrite(a.body)
	}
	return a
}

func (f *Fault) plain(status int, contentType, body string) reply {
	if f.Status != 0 {
		status = f.Status
	}
	return reply{status, http.Header{"Content-Type": {contentType}}, []byte(body)}
}

func (f *Fault) refusal(d dialect, endpoint string) reply {
	if d == nil {
		return text(http.StatusServiceUnavailable, "sandbox: no platform has this endpoint\n")
	}
	kind := f.Kind
	if kind == ErrorIn200 {
		kind = DeadGrant
	}
	a := d.errorReply(kind, endpoint)
	switch {
	case f.Status != 0:
		a.status = f.Status
	case f.Kind == ErrorIn200:
		a.status = http.StatusOK
	}
	if f.Kind == Throttled && f.RetryAfter >= 0 {
		a = a.with("Retry-After", strconv.Itoa(cmp.Or(f.RetryAfter, 30)))
	}
	return a
}

// rewrite changes the members of a JSON object. It returns any other body as it
// is.
func (f *Fault) rewrite(body []byte) []byte {
	members := map[string]json.RawMessage{}
	if json.Unmarshal(body, &members) != nil {
		return body
	}
	for name, value := range f.Set {
		members[name] = value
	}
	for _, name := range f.Omit {
		delete(members, name)
	}
	rewritten, err := json.Marshal(members)
	if err != nil {
		return body
	}
	return rewritten
}

// prepend adds a member to a JSON object before the others.
func prepend(body []byte, member string) []byte {
	rest := bytes.TrimPrefix(bytes.TrimSpace(body), []byte("{"))
	comma := ","
	if bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
		comma = ""
	}
	return append([]byte("{"+member+comma), rest...)
}

// deliver writes the answer, unless the fault prevents it.
func (f *Fault) deliver(w http.ResponseWriter, r *http.Request, a reply) {
	switch f.Kind {
	case Cut:
		panic(http.ErrAbortHandler)
	case Slow:
		if !f.wait(r) {
			return
		}
	case Broken:
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		a.body = a.body[:len(a.body)/2]
		a.write(w)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case Oversize:
		deliverPadded(w, w, a, cmp.Or(f.Size, 2<<20))
		return
	case GzipBomb:
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		deliverPadded(w, zip, a, cmp.Or(f.Size, 16<<20))
		_ = zip.Close()
		return
	}
	a.write(w)
}

// wait waits and reports whether the client is still connected afterwards.
func (f *Fault) wait(r *http.Request) bool {
	var after <-chan time.Time
	if f.Release == nil {
		timer := time.NewTimer(f.Delay + time.Duration(f.DelayMS)*time.Millisecond)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-f.Release:
		return true
	case <-after:
		return true
	case <-r.Context().Done():
		return false
	}
}

// deliverPadded writes a JSON answer with a first member of size bytes. The
// answer is valid JSON for a client that reads all of it.
func deliverPadded(w http.ResponseWriter, body io.Writer, a reply, size int) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(body, `{"padding":"`)
	block := bytes.Repeat([]byte("a"), 32<<10)
	for size > 0 {
		n, err := body.Write(block[:min(size, len(block))])
		if err != nil {
			return
		}
		size -= n
	}
	_, _ = body.Write(bytes.TrimPrefix(prepend(a.body, `"padding":""`), []byte(`{"padding":"`)))
}
