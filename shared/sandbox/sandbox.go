package sandbox

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxBody bounds the body of a request.
const maxBody = 1 << 20

// Options configure a Sandbox. The zero Options are valid.
type Options struct {
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Random is the source of codes and tokens. It must not repeat itself. Nil
	// means crypto/rand.
	Random io.Reader
	// RedirectURIs are the redirect URIs that are registered with each
	// platform's app. The platform compares them byte by byte. See also
	// SetRedirectURIs.
	RedirectURIs map[string][]string
}

// Sandbox is all platforms of the registry. It is safe for concurrent use.
type Sandbox struct {
	mu       sync.Mutex
	clock    func() time.Time
	advanced time.Duration
	random   io.Reader
	knobs    Knobs
	routes   []route
	aliases  map[string]string
	dialects []dialect // in the order of the registry
	faults   []*Fault
	log      callLog
}

// dialect is the part of a platform that differs from the others.
type dialect interface {
	common() *platform
	routes() []route

	// checkAuthorize checks an authorize request. A reply that is not nil is the
	// platform's error page.
	checkAuthorize(c *call) (consentRequest, *reply)

	// redirect records the choice of the person and returns the URL that the
	// browser is sent to.
	redirect(q consentRequest, p *Person, choice Choice) string

	// errorReply returns the platform's own form of an error at an endpoint.
	errorReply(kind Kind, endpoint string) reply
}

// New returns a Sandbox with its default apps, people and knobs.
func New(o Options) *Sandbox {
	s := &Sandbox{clock: o.Now, random: o.Random, knobs: Knobs{map[string]any{}}, aliases: map[string]string{}}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.random == nil {
		s.random = rand.Reader
	}
	for _, newDialect := range registry {
		d := newDialect(s)
		p := d.common()
		s.dialects = append(s.dialects, d)
		s.knobs.byPlatform[p.name] = p.knobs
		maps.Copy(s.aliases, p.aliases)
		p.app.RedirectURIs = slices.Clone(o.RedirectURIs[p.name])
		for _, r := range d.routes() {
			r.platform = p.name
			s.routes = append(s.routes, r)
		}
	}
	return s
}

// Endpoints returns PLATFORM_ENDPOINTS for a Sandbox that is served at base:
// from each real origin to its place under base.
func Endpoints(base string) map[string]string {
	endpoints := map[string]string{}
	for _, host := range New(Options{}).hosts() {
		endpoints["https://"+host] = strings.TrimRight(base, "/") + "/" + host
	}
	return endpoints
}

// hosts returns the real hosts of the platforms, those of aliases too.
func (s *Sandbox) hosts() []string {
	hosts := slices.Collect(maps.Keys(s.aliases))
	for _, r := range s.routes {
		hosts = append(hosts, r.host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// SetRedirectURIs registers the redirect URIs of a platform's app in place of
// those it had.
func (s *Sandbox) SetRedirectURIs(platform string, uris ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialect(platform).common().app.RedirectURIs = slices.Clone(uris)
}

// SetSecrets sets the client secret of an app to current. AppOf returns it, and
// notices are signed with it. The platform still accepts the retired ones.
func (s *Sandbox) SetSecrets(platform, current string, retired ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.dialect(platform).common()
	p.app.ClientSecret, p.retired = current, retired
}

// SetClient replaces the app that is registered with a platform by another one with
// the same redirect URIs, as an operator does who goes from TikTok's sandbox to the
// live app. What was issued to the former app stays valid, and only the new app can
// call with its id and secret.
func (s *Sandbox) SetClient(platform, id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.dialect(platform).common()
	p.app.ClientID, p.app.ClientSecret, p.retired = id, secret, nil
}

// Advance moves the sandbox's clock forward by d, beyond Options.Now.
func (s *Sandbox) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advanced += d
}

// Tune changes knobs. The change applies to every later request.
func (s *Sandbox) Tune(change func(*Knobs)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.knobs)
}

// dialect returns the platform of that name. It panics for an unknown name,
// because then the test is wrong.
func (s *Sandbox) dialect(platform string) dialect {
	d := s.lookUp(platform)
	if d == nil {
		panic(fmt.Sprintf("sandbox: no platform %q", platform))
	}
	return d
}

// lookUp returns the platform of that name, or nil.
func (s *Sandbox) lookUp(platform string) dialect {
	for _, d := range s.dialects {
		if d.common().name == platform {
			return d
		}
	}
	return nil
}

func (s *Sandbox) now() time.Time { return s.clock().Add(s.advanced) }

// newSecret returns 192 random bits in base64url after prefix.
func (s *Sandbox) newSecret(prefix string) string {
	var b [24]byte
	if _, err := io.ReadFull(s.random, b[:]); err != nil {
		panic(fmt.Sprintf("sandbox: reading randomness: %v", err))
	}
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// ServeHTTP answers as the platform whose host is the first segment of the path.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if path == "/" || strings.HasPrefix(path, controlPath) {
		s.serveControl(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "request body too large or cut off", http.StatusRequestEntityTooLarge)
		return
	}
	answer, fault := s.handleCall(r, path, body)
	if fault != nil {
		fault.deliver(w, r, answer)
		return
	}
	answer.write(w)
}

// handleCall lets the platform process a request, under the lock. It returns the
// reply and the fault that applies to its delivery.
func (s *Sandbox) handleCall(r *http.Request, path string, body []byte) (reply, *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rt, c := s.match(r, path)
	c.read(body)
	fault := s.takeFault(rt, c)
	var answer reply
	if fault == nil || fault.acts() {
		answer = rt.handle(c)
	}
	if fault != nil {
		answer = fault.corrupt(s.lookUp(rt.platform), rt.endpoint, answer)
	}
	s.log.add(rt, c, answer.status, fault)
	return answer, fault
}

// route is one method and path of a platform.
type route struct {
	platform string
	endpoint string
	method   string // several methods are separated by a space
	host     string
	path     string // a segment in braces matches any segment
	handle   func(*call) reply
}

// call is one parsed request.
type call struct {
	now        time.Time
	method     string
	host       string // the real host that was called
	path       string // below the host, as sent
	url        url.URL
	server     string // the Host header
	header     http.Header
	pathValues map[string]string
	query      url.Values
	body       []byte
	// form is the body, where it says that it is a form, else nil.
	form url.Values
}

// read sets the body, and parses it if it is a form.
func (c *call) read(body []byte) {
	c.body = body
	media, _, err := mime.ParseMediaType(c.header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return
	}
	if form, err := url.ParseQuery(string(body)); err == nil {
		c.form = form
	}
}

// parameter returns a parameter of the form, or else of the query.
func (c *call) parameter(name string) string {
	if c.form.Has(name) {
		return c.form.Get(name)
	}
	return c.query.Get(name)
}

// duplicateParameter returns the name of a form field that occurs more than
// once, which RFC 6749, 3.2, forbids.
func (c *call) duplicateParameter() string {
	for name, values := range c.form {
		if len(values) > 1 {
			return name
		}
	}
	return ""
}

// bearer returns the token of an Authorization header.
func (c *call) bearer() string {
	scheme, token, _ := strings.Cut(c.header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// basic reads HTTP Basic credentials.
func (c *call) basic() (user, password string, ok bool) {
	return (&http.Request{Header: c.header}).BasicAuth()
}

// match returns the route of a request. Where there is none, it returns one that
// answers 404, or 405 if the method alone is wrong.
func (s *Sandbox) match(r *http.Request, escaped string) (route, *call) {
	host, path, _ := strings.Cut(strings.TrimPrefix(escaped, "/"), "/")
	c := &call{
		now: s.now(), method: r.Method, host: host, path: "/" + path, url: *r.URL, server: r.Host,
		header: r.Header, query: r.URL.Query(),
	}
	if newer, ok := s.aliases[host]; ok {
		host = newer
	}
	missing := route{endpoint: "unknown", handle: noSuchRoute}
	for _, rt := range s.routes {
		if rt.host != host {
			continue
		}
		missing.platform = rt.platform
		values, ok := rt.matches("/" + path)
		if !ok {
			continue
		}
		if !slices.Contains(strings.Fields(rt.method), r.Method) {
			missing.handle = wrongMethod
			continue
		}
		c.pathValues = values
		return rt, c
	}
	return missing, c
}

func (rt route) matches(path string) (map[string]string, bool) {
	want, got := strings.Split(rt.path, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	values := map[string]string{}
	for i, segment := range want {
		value, err := url.PathUnescape(got[i])
		if err != nil {
			return nil, false
		}
		if name, ok := strings.CutPrefix(segment, "{"); ok && value != "" {
			values[strings.TrimSuffix(name, "}")] = value
		} else if segment != value {
			return nil, false
		}
	}
	return values, true
}

func noSuchRoute(c *call) reply {
	return text(http.StatusNotFound, "sandbox: "+c.method+" "+c.host+c.path+" is not an endpoint of a platform here\n")
}

func wrongMethod(c *call) reply {
	return text(http.StatusMethodNotAllowed, "sandbox: "+c.host+c.path+" does not take "+c.method+"\n")
}

// reply is an answer of a platform.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (a reply) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = io.Copy(w, bytes.NewReader(a.body))
}

// with sets a header of the reply. It does not change the case of the name.
func (a reply) with(name, value string) reply {
	a.header[name] = []string{value}
	return a
}

func text(status int, body string) reply {
	return reply{status, http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}, []byte(body)}
}

// containsAll reports whether have contains every element of want.
func containsAll(have, want []string) bool {
	for _, s := range want {
		if !slices.Contains(have, s) {
			return false
		}
	}
	return true
}

// union returns the elements of a, and those of b that are not in a.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
