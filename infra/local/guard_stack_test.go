package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// guardedRoute is one kind of request that a listener answers.
type guardedRoute struct {
	method, path string
	header       string // lines
	body         string
	open         bool // it may come from everywhere
}

func (g guardedRoute) String() string {
	_, operation, _ := strings.Cut(g.header, "X-Amz-Target: ")
	return strings.TrimSpace(g.method + " " + g.path + " " + operation)
}

const jsonHeader = "Content-Type: application/json\r\n"

// routesOf are the requests of each listener, by the name of its field in servers.
func routesOf(s *stack) map[string][]guardedRoute {
	var front, public []guardedRoute
	for _, r := range s.plan.routes {
		path := strings.NewReplacer("{platform}", "youtube", "{link}", "a-link", "{code}", "a-code", "{id}", "00000000-0000-4000-8000-000000000000").Replace(r.Path)
		g := guardedRoute{method: r.Method, path: path, body: "{}", header: jsonHeader, open: r.Auth == blueprint.Public}
		if r.Method == http.MethodGet || r.Method == http.MethodDelete {
			g.body, g.header = "", ""
		}
		if front = append(front, g); g.open {
			public = append(public, g)
		}
	}
	front = append(front,
		guardedRoute{method: "GET", path: "/"}, guardedRoute{method: "GET", path: "/local/start_page.css"}, guardedRoute{method: "GET", path: "/favicon.ico"},
		guardedRoute{method: "POST", path: "/local/connect", body: "platform=youtube&owner=me", header: "Content-Type: application/x-www-form-urlencoded\r\n"},
		guardedRoute{method: "POST", path: "/local/connections/an-id/disconnect"})
	aws := []guardedRoute{{method: "POST", path: "/2015-03-31/functions/token-get/invocations", body: `{"connection_id":"none"}`}}
	for _, operation := range []string{"DynamoDB_20120810.ListTables", "secretsmanager.ListSecrets", "AmazonSQS.ListQueues", "AWSEvents.PutEvents"} {
		aws = append(aws, guardedRoute{method: "POST", path: "/", body: "{}", header: "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: " + operation + "\r\n"})
	}
	aws = append(aws, guardedRoute{method: "POST", path: "/", body: "Action=GetCallerIdentity&Version=2011-06-15", header: "Content-Type: application/x-www-form-urlencoded\r\n"})
	box := []guardedRoute{
		{method: "GET", path: "/"}, {method: "GET", path: "/accounts.google.com/o/oauth2/v2/auth"}, {method: "POST", path: "/accounts.google.com/o/oauth2/v2/auth"},
		{method: "POST", path: "/oauth2.googleapis.com/token"}, {method: "GET", path: "/api.x.com/2/users/me"}, {method: "GET", path: "/_sandbox/"}, {method: "GET", path: "/_sandbox/knobs"},
		{method: "DELETE", path: "/_sandbox/faults"},
	}
	for command, body := range map[string]string{
		"faults": `{"kind":"outage","platform":"none"}`, "expire": `{"platform":"youtube"}`, "kill": `{"platform":"youtube"}`, "advance": "{}", "notice": `{"platform":"facebook"}`,
		"redirect-uris": "{}", "secrets": "{}", "people": "{}",
	} {
		box = append(box, guardedRoute{method: "POST", path: "/_sandbox/" + command, body: body, header: jsonHeader})
	}
	box = append(box, guardedRoute{method: "PATCH", path: "/_sandbox/knobs", body: "{}", header: jsonHeader})
	return map[string][]guardedRoute{
		"front": front, "public": public, "aws": aws, "sandbox": box,
		"runtime": {{method: "GET", path: "/a-token/2018-06-01/runtime/invocation/next"}, {method: "POST", path: "/a-token/2018-06-01/runtime/invocation/an-id/response", body: "{}"}},
	}
}

// listeners returns the addresses of all listeners, by the name of their field.
func listeners(s *stack) map[string]string {
	all := map[string]string{}
	servers := reflect.ValueOf(s.servers)
	for i := range servers.NumField() {
		one := servers.Field(i)
		all[servers.Type().Field(i).Name] = one.Elem().FieldByName("url").String()
	}
	return all
}

// wire sends requests over one connection, byte for byte.
type wire struct {
	t      *testing.T
	addr   string
	conn   net.Conn
	reader *bufio.Reader
}

func newWire(t *testing.T, address string) *wire {
	w := &wire{t: t, addr: strings.TrimPrefix(address, "http://")}
	t.Cleanup(w.close)
	return w
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// send writes a request and returns the status and the body of its answer. It opens
// another connection where the server closed the last one.
func (w *wire) send(request string) (status int, body string) {
	w.t.Helper()
	if w.conn == nil {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			w.t.Fatal(err)
		}
		w.conn, w.reader = conn, bufio.NewReader(conn)
	}
	if _, err := io.WriteString(w.conn, request); err != nil {
		w.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%.60q: %v", request, err)
	}
	b, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if response.Close {
		w.close()
	}
	return response.StatusCode, string(b)
}

// request returns a request on the wire. The lines of extra come first.
func (w *wire) request(g guardedRoute, host, extra string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s%sContent-Length: %d\r\n\r\n%s", g.method, g.path, host, extra, g.header, len(g.body), g.body)
}

// TestGuard_Listeners sends to every route of every listener of the real stack what
// tunnels, proxies and rebound names send.
func TestGuard_Listeners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, func(o *options) { o.public, o.hosts = "127.0.0.1:0", []string{"host.docker.internal"} })
	routes := routesOf(w.s)
	for name, address := range listeners(w.s) {
		if len(routes[name]) == 0 {
			t.Errorf("the listener %s has no row", name)
			continue
		}
		t.Run(name, func(t *testing.T) { testListener(t, newWire(t, address), routes[name]) })
	}
	t.Run("public/no_other_route", func(t *testing.T) {
		c := newWire(t, w.s.servers.public.url)
		for _, g := range routes["front"] {
			if status, body := c.send(c.request(g, "127.0.0.1", "")); !g.open && status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
				t.Errorf("%s: %d %s", g, status, body)
			}
		}
	})
}

// listener is one listener of a stack with its routes.
type listener struct {
	*wire
	routes []guardedRoute
}

func testListener(t *testing.T, c *wire, routes []guardedRoute) {
	l := listener{c, routes}
	t.Run("direct", l.direct)
	t.Run("foreign_host", l.foreignHost)
	t.Run("forwarding_header", l.forwardingHeader)
	t.Run("forms_of_a_header", l.formsOfAHeader)
	t.Run("forms_of_a_request", l.formsOfARequest)
	t.Run("malformed_request", l.malformedRequest)
}

// checkRefused sends a request, which only an open route may answer. A refusal of a
// forwarded request says how to expose the public routes.
func (l listener) checkRefused(t *testing.T, g guardedRoute, host, extra string) {
	t.Helper()
	status, body := l.send(l.request(g, host, extra))
	refused := status == http.StatusForbidden && strings.Contains(body, "Forbidden: ") && strings.Contains(body, "-public 127.0.0.1:8424")
	if refused == g.open {
		t.Errorf("%s with Host %s and %q: %d %s", g, host, extra, status, body)
	}
}

func (l listener) direct(t *testing.T) {
	for _, g := range l.routes {
		for _, host := range []string{"127.0.0.1", "LOCALHOST:8422", "[::1]:8422", "localhost.", "host.docker.internal"} {
			if status, body := l.send(l.request(g, host, "")); status == http.StatusForbidden {
				t.Errorf("%s with Host %s: %d %s", g, host, status, body)
			}
		}
	}
}

func (l listener) foreignHost(t *testing.T) {
	for _, g := range l.routes {
		for _, host := range []string{"evil.example", "evil.example:8422", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1", "127.0.0.1,evil.example", ""} {
			l.checkRefused(t, g, host, "")
		}
	}
}

func (l listener) forwardingHeader(t *testing.T) {
	for _, g := range l.routes {
		for _, pattern := range forwardingHeaders {
			l.checkRefused(t, g, "localhost", spelled(pattern)+": 203.0.113.7\r\n")
		}
	}
}

func (l listener) formsOfAHeader(t *testing.T) {
	for _, extra := range []string{
		"x-forwarded-for: 203.0.113.7\r\n", "X-FORWARDED-FOR: 203.0.113.7\r\n", "X_Forwarded_For: 203.0.113.7\r\n", "x_forwarded-for: 203.0.113.7\r\n",
		"X-Forwarded-For:\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-For: 203.0.113.7\r\n",
		"X-Forwarded-For: 127.0.0.1\r\nConnection: X-Forwarded-For\r\n", "Forwarded: for=127.0.0.1;host=localhost\r\n",
		"Accept: */*\r\nX-Forwarded-Host: localhost\r\n", "X-Forwarded-Anything-New: 1\r\n", "Upgrade: h2c\r\nConnection: Upgrade\r\nVia: 1.1 x\r\n",
	} {
		for _, g := range l.routes {
			l.checkRefused(t, g, "localhost", extra)
		}
	}
}

func (l listener) formsOfARequest(t *testing.T) {
	for _, g := range l.routes {
		whole := l.request(g, "localhost", "")
		for name, request := range map[string]string{
			"absolute target":               strings.Replace(whole, g.path, "http://localhost"+g.path, 1),
			"absolute target, foreign Host": strings.Replace(l.request(g, "evil.example", ""), g.path, "http://localhost"+g.path, 1),
			"HTTP/1.0":                      strings.Replace(whole, "HTTP/1.1", "HTTP/1.0", 1),
		} {
			if status, body := l.send(request); (status == http.StatusForbidden) == g.open {
				t.Errorf("%s, %s: %d %s", g, name, status, body)
			}
		}
	}
}

func (l listener) malformedRequest(t *testing.T) {
	for _, request := range []string{
		"CONNECT localhost:8422 HTTP/1.1\r\nHost: localhost:8422\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /connections HTTP/1.1\r\n\r\n",
		"GET /connections HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
		"GET /connections HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For : 203.0.113.7\r\n\r\n",
		"PROXY TCP4 203.0.113.7 127.0.0.1 1 8422\r\nGET /connections HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		if status, body := l.send(request); status < 400 {
			t.Errorf("%.40q: %d %s", request, status, body)
		}
		l.close()
	}
}

// TestGuard_Tunnel connects an account through a tunnel that leads to the address of
// the public routes. The operator's product calls the stack directly.
func TestGuard_Tunnel(t *testing.T) {
	t.Parallel()
	const public = "https://tunnel.example"
	ready := filepath.Join(t.TempDir(), "ready.json")
	w := newWorld(t, map[string]string{config.PublicURL: public}, func(o *options) { o.public, o.readyFile = "127.0.0.1:0", ready })
	if b, err := os.ReadFile(ready); err != nil || !strings.Contains(string(b), `"public":"`+w.s.servers.public.url+`"`) {
		t.Errorf("the ready file has %s, %v", b, err)
	}
	through := func(target string) *tunnel { return newTunnel(t, "tunnel.example", target) }

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := browser{w, &http.Client{Jar: jar, Transport: through(w.s.servers.public.url), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	callback := b.authorize(w.link(object{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})
	if !strings.HasPrefix(callback, public+"/oauth/youtube/callback?") {
		t.Errorf("the platform redirects to %.40s", callback)
	}
	query := b.followCallback(callback)
	if query.Get("status") != "connected" {
		t.Fatalf("the consent ends with %v", query)
	}
	id := query.Get("connection_id")
	w.token(object{"connection_id": id})

	// The same routes through a tunnel, to the address of the public routes and to
	// that of the whole API. A tunnel can replace the Host header.
	for _, row := range []struct {
		target, host string
		want         int
	}{
		{w.s.servers.public.url, "", http.StatusNotFound},
		{w.s.servers.public.url, "localhost:8422", http.StatusNotFound},
		{w.s.servers.front.url, "", http.StatusForbidden},
		{w.s.servers.front.url, "localhost:8422", http.StatusForbidden},
	} {
		through := through(row.target)
		through.host = row.host
		for _, path := range []string{"/connections", "/connections/" + id, "/connections/" + id + "/token", "/platforms", "/"} {
			response, err := (&http.Client{Transport: through}).Get(public + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != row.want {
				t.Errorf("%s at %s: %s, want %d", path, row.target, response.Status, row.want)
			}
		}
	}
}

// tunnel sends the requests for a public name to a target on this machine, with the
// headers that tunnels add.
type tunnel struct {
	*httptest.Server
	name string
	host string // replaces the Host header, if it is not empty
}

func newTunnel(t *testing.T, name, target string) *tunnel {
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	way := &tunnel{name: name}
	way.Server = httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		if r.Out.Host = way.host; way.host == "" {
			r.Out.Host = name
		}
		r.SetXForwarded()
	}})
	t.Cleanup(way.Close)
	return way
}

// RoundTrip implements http.RoundTripper.
func (w *tunnel) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == w.name {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host, r.Host = "http", strings.TrimPrefix(w.URL, "http://"), w.name
	}
	return http.DefaultTransport.RoundTrip(r)
}

func TestPublicRoutes(t *testing.T) {
	t.Parallel()
	all := blueprint.Routes()
	public := publicRoutes(all)
	if slices.ContainsFunc(public, func(r blueprint.Route) bool { return r.Auth != blueprint.Public }) || len(public) == 0 || len(all) != len(blueprint.Routes()) {
		t.Errorf("%v", public)
	}
}
