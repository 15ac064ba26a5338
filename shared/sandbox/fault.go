package sandbox

import (
	"bytes"
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

// Kind is a way in which a call goes wrong.
type Kind string

// The kinds. Those of the first group refuse: the platform does not act,
// unless Fault.Acts says so. Those of the second spoil what comes after the
// platform has acted.
const (
	Cut         Kind = "cut"          // the connection is closed without an answer
	Throttled   Kind = "throttled"    // too many requests, in the platform's words, with Retry-After
	Quota       Kind = "quota"        // used up for the period, or out of credits
	Outage      Kind = "outage"       // Status, 503 if zero, with the platform's error body
	HTML        Kind = "html"         // a page where JSON belongs; Status, 200 if zero
	Empty       Kind = "empty"        // nothing; Status, 200 if zero
	Elsewhere   Kind = "elsewhere"    // a redirect to Location; Status, 302 if zero
	DeadGrant   Kind = "dead-grant"   // the platform's permanent refusal of the grant
	WrongClient Kind = "wrong-client" // the platform's refusal of the app
	ErrorIn200  Kind = "error-in-200" // the body of DeadGrant, with status 200
	Body        Kind = "body"         // Text as JSON; Status, 200 if zero
	Deep        Kind = "deep"         // JSON nested 100,000 deep

	Slow          Kind = "slow"           // the answer comes after Delay, or when Release is closed
	Oversize      Kind = "oversize"       // the answer with Size more bytes in front
	GzipBomb      Kind = "gzip-bomb"      // the same, as a few compressed bytes
	Truncated     Kind = "truncated"      // the second half is missing, Content-Length says so
	Broken        Kind = "broken"         // the connection is closed halfway through the body
	DuplicateKeys Kind = "duplicate-keys" // access_token stands twice
	Fields        Kind = "fields"         // Set and Omit change the answer's JSON object
)

var refusals = []Kind{Cut, Throttled, Quota, Outage, HTML, Empty, Elsewhere, DeadGrant, WrongClient, ErrorIn200, Body, Deep}
var spoilers = []Kind{Slow, Oversize, GzipBomb, Truncated, Broken, DuplicateKeys, Fields}

// Fault spoils calls. The first fault that fits a call is the one that takes
// it.
type Fault struct {
	Platform string `json:"platform"` // empty: every one
	// Endpoint is as in Count: "token", "token/refresh_token", "me"; empty:
	// every one.
	Endpoint string `json:"endpoint"`
	Kind     Kind   `json:"kind"`
	Times    int    `json:"times"` // 0 is once, negative is always
	// Acts lets the platform act before it refuses: a lost reply is Cut with
	// Acts.
	Acts bool `json:"acts"`

	Status   int    `json:"status"`
	Text     string `json:"text"`     // of Body
	Location string `json:"location"` // of Elsewhere
	Size     int    `json:"size"`     // of Oversize and GzipBomb; 0 is 2 and 16 MiB
	// RetryAfter is in seconds; 0 is 30, negative leaves the header out.
	RetryAfter int           `json:"retry_after"`
	Delay      time.Duration `json:"-"`
	// DelayMS is Delay in milliseconds, for the control surface.
	DelayMS int `json:"delay_ms"`
	// Release ends Slow when it is closed, in place of Delay.
	Release <-chan struct{} `json:"-"`

	// Set and Omit are of Fields: expires_in in every odd form, a scope or a
	// refresh token that is missing.
	Set  map[string]json.RawMessage `json:"set"`
	Omit []string                   `json:"omit"`
}

// Fault arms f. An unknown Kind panics.
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

// ClearFaults disarms every fault.
func (s *Sandbox) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (f *Fault) known() bool {
	return slices.Contains(refusals, f.Kind) || slices.Contains(spoilers, f.Kind)
}

// acts reports whether the platform does what it was asked.
func (f *Fault) acts() bool { return f.Acts || slices.Contains(spoilers, f.Kind) }

// takeFault returns the fault that takes a call, if any, and uses it up.
func (s *Sandbox) takeFault(rt route, c *call) *Fault {
	for i, f := range s.faults {
		if f.Platform != "" && f.Platform != rt.platform ||
			f.Endpoint != "" && f.Endpoint != rt.endpoint && f.Endpoint != detailed(rt, c) {
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

// spoil turns an answer into the spoilt one, as far as that is a matter of
// status, headers and body.
func (f *Fault) spoil(d dialect, endpoint string, a reply) reply {
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
		return text(http.StatusServiceUnavailable, "sandbox: no platform is played there\n")
	}
	kind := f.Kind
	if kind == ErrorIn200 {
		kind = DeadGrant
	}
	a := d.refuse(kind, endpoint)
	switch {
	case f.Status != 0:
		a.status = f.Status
	case f.Kind == ErrorIn200:
		a.status = http.StatusOK
	}
	if f.Kind == Throttled && f.RetryAfter >= 0 {
		a = a.with("Retry-After", strconv.Itoa(orElse(f.RetryAfter, 30)))
	}
	return a
}

func orElse(n, fallback int) int {
	if n == 0 {
		return fallback
	}
	return n
}

// rewrite changes the members of a JSON object. What is none is left alone.
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

// prepend puts a member in front of a JSON object's others.
func prepend(body []byte, member string) []byte {
	rest := bytes.TrimPrefix(bytes.TrimSpace(body), []byte("{"))
	comma := ","
	if bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
		comma = ""
	}
	return append([]byte("{"+member+comma), rest...)
}

// deliver writes an answer, or does not.
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
		deliverPadded(w, w, a, orElse(f.Size, 2<<20))
		return
	case GzipBomb:
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		deliverPadded(w, zip, a, orElse(f.Size, 16<<20))
		_ = zip.Close()
		return
	}
	a.write(w)
}

// wait reports whether the client is still there when the wait is over.
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

// deliverPadded sends a JSON answer with a first member of size bytes, so that
// it is valid JSON for whoever reads it to the end.
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
