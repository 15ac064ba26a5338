package platform

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"platform-api-connector/shared/connector"
)

// The bounds of a call. Facebook's lists of Pages are the largest answers,
// about 50 KiB for 100 Pages.
const (
	callTimeout    = 10 * time.Second
	connectTimeout = 5 * time.Second
	maxBody        = 1 << 20
	maxHeader      = 64 << 10
)

// maxRetryAfter bounds the wait that a header asks for.
const maxRetryAfter = 24 * time.Hour

var errTooLarge = errors.New("answer larger than 1 MiB")

// wire sends requests to one platform.
type wire struct {
	title      string
	getClient  *http.Client
	postClient *http.Client // for every other method, too
	endpoints  map[string]string
	timeout    time.Duration
	now        func() time.Time
	random     io.Reader
}

func newWire(title string, o Options) wire {
	w := wire{title: title, timeout: o.Timeout, now: o.Now, random: o.Random, endpoints: make(map[string]string, len(o.Endpoints))}
	for from, to := range o.Endpoints {
		w.endpoints[strings.ToLower(strings.TrimRight(from, "/"))] = strings.TrimRight(to, "/")
	}
	if w.timeout == 0 {
		w.timeout = callTimeout
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.random == nil {
		w.random = rand.Reader
	}
	if o.HTTP != nil && o.HTTP.Transport != nil {
		w.getClient, w.postClient = newClient(o.HTTP.Transport), newClient(o.HTTP.Transport)
	} else {
		w.getClient, w.postClient = newClient(newTransport(true)), newClient(newTransport(false))
	}
	return w
}

// newTransport returns a transport. A connection that is kept alive may have
// been closed while the Lambda was frozen. net/http then sends a GET again. It cannot
// know whether a POST arrived, so a POST uses a new connection.
func newTransport(keepAlive bool) *http.Transport {
	return &http.Transport{
		// Proxy is nil because an environment variable must not decide where
		// codes and secrets go.
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        30 * time.Second,
		DisableKeepAlives:      !keepAlive,
	}
}

// newClient returns a client that follows no redirects. A token endpoint that
// redirects would receive the code and the secret at a place of its choice (RFC
// 9700, 4.12).
func newClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// rewriteOrigin returns a real URL of the platform with its origin replaced by
// the one that Options.Endpoints has for it, if any. Calls and authorize URLs
// go through it.
func (w wire) rewriteOrigin(real string) string {
	scheme, rest, _ := strings.Cut(real, "://")
	host, path, _ := strings.Cut(rest, "/")
	if base, ok := w.endpoints[scheme+"://"+host]; ok {
		return base + "/" + path
	}
	return real
}

// issuers returns the values of iss (RFC 9207) that name the platform: the real
// ones, and the origins that Options.Endpoints has for them.
func (w wire) issuers(real ...string) []string {
	issuers := real
	for _, issuer := range real {
		base, ok := w.endpoints[issuer]
		if !ok {
			continue
		}
		issuers = append(issuers, base)
		if u, err := url.Parse(base); err == nil && u.Path != "" {
			issuers = append(issuers, u.Scheme+"://"+u.Host)
		}
	}
	return issuers
}

// call is one request. Secrets belong into form, bearer, user and password,
// because servers on the way log the query of a URL.
type call struct {
	method         string
	url            string // with the real origin
	query          url.Values
	form           url.Values
	bearer         connector.Secret
	user, password string           // HTTP Basic
	authorization  connector.Secret // the whole header; empty for the others
}

// reply is an answer with any status and its whole body.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) ok() bool { return r.status >= 200 && r.status <= 299 }

// errorDecoder returns the error that an answer means, or nil where the answer
// is none of the platform's errors.
type errorDecoder func(reply) *connector.Error

// do makes one call and returns its successful answer. An error is the one that
// decodeError returns. Where decodeError returns nil, the HTTP status decides.
//
// The error is Uncertain where the platform may have processed a POST or DELETE
// without a usable answer: time ran out after the request was sent, the
// connection broke, the answer was malformed, or the status was a 5xx other
// than 503. A server sends 503 and 429 before it acts. A gateway's 502 and 504
// say nothing about the server behind it. A 500 may come after the token was
// rotated.
func (w wire) do(ctx context.Context, c call, decodeError errorDecoder) (reply, error) {
	r, err := w.send(ctx, c)
	if err != nil {
		return reply{}, err
	}
	// A server that fails says nothing reliable about a grant or an app.
	if e := decodeError(r); e != nil && r.status < 500 {
		if e.RetryAfter == 0 && (e.Code == connector.RateLimited || e.Code == connector.PlatformUnavailable) {
			e.RetryAfter = w.retryAfter(r.header)
		}
		return reply{}, e
	}
	switch {
	case r.ok():
		return r, nil
	case r.status == http.StatusTooManyRequests:
		return reply{}, &connector.Error{
			Code:       connector.RateLimited,
			Message:    w.title + " asks us to slow down",
			RetryAfter: w.retryAfter(r.header),
			Err:        statusError(r.status),
		}
	case r.status >= 500:
		e := w.unavailable("failed", statusError(r.status))
		e.RetryAfter = w.retryAfter(r.header)
		e.Uncertain = c.method != http.MethodGet && r.status != http.StatusServiceUnavailable
		return reply{}, e
	case r.status >= 300 && r.status <= 399:
		return reply{}, w.unavailable("answered with a redirect, which is not followed", statusError(r.status))
	default:
		return reply{}, w.unavailable("refused the request in a way that we do not know", statusError(r.status))
	}
}

// send makes one call and reads the whole answer.
func (w wire) send(ctx context.Context, c call) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, w.unavailable("was not asked: time was up", err)
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()

	// A transport other than net/http's reports nothing to the trace. Its
	// requests count as sent.
	var dialing, connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { dialing.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	sent := func() bool { return c.method != http.MethodGet && (connected.Load() || !dialing.Load()) }

	request, err := w.request(ctx, c)
	if err != nil {
		return reply{}, err
	}
	client := w.getClient
	if c.method != http.MethodGet {
		client = w.postClient
	}
	response, err := client.Do(request)
	if err != nil {
		e := w.unavailable("did not answer", sanitize(err))
		e.Uncertain = sent()
		return reply{}, e
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = errTooLarge
	}
	if err != nil {
		e := w.unavailable("sent an answer that could not be read", sanitize(err))
		e.Uncertain = sent()
		return reply{}, e
	}
	return reply{status: response.StatusCode, header: response.Header, body: body}, nil
}

func (w wire) request(ctx context.Context, c call) (*http.Request, error) {
	target := w.rewriteOrigin(c.url)
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	var body io.Reader
	if c.form != nil {
		body = strings.NewReader(c.form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, c.method, target, body)
	if err != nil {
		return nil, &connector.Error{Code: connector.Internal, Message: "a request to " + w.title + " could not be built"}
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "platform-api-connector")
	if c.form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Cache-Control", "no-cache")
	}
	if !c.bearer.Empty() {
		request.Header.Set("Authorization", "Bearer "+c.bearer.Reveal())
	}
	if c.user != "" {
		request.SetBasicAuth(c.user, c.password)
	}
	if !c.authorization.Empty() {
		request.Header.Set("Authorization", c.authorization.Reveal())
	}
	return request, nil
}

// unavailable returns PlatformUnavailable with the message "<platform> <problem>".
func (w wire) unavailable(problem string, cause error) *connector.Error {
	return &connector.Error{Code: connector.PlatformUnavailable, Message: w.title + " " + problem, Err: cause}
}

// malformed returns the error for a success whose body is not as the platform
// documents it. The platform may have processed the request.
func (w wire) malformed(method, problem string) *connector.Error {
	e := w.unavailable("sent an answer that makes no sense", errors.New(problem))
	e.Uncertain = method != http.MethodGet
	return e
}

// retryAfter returns the wait that the headers ask for, or zero.
func (w wire) retryAfter(header http.Header) time.Duration {
	now := w.now()
	var wait time.Duration
	if value := strings.TrimSpace(header.Get("Retry-After")); value != "" {
		if n, ok := parseNumber(value); ok {
			wait = time.Duration(min(n, maxRetryAfter.Seconds())) * time.Second
		} else if end, err := http.ParseTime(value); err == nil {
			wait = end.Sub(now)
		}
	} else if end := windowEnd(header); !end.IsZero() {
		wait = end.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// windowEnd returns when the last window of X ends that has nothing left, or the zero
// time. X sends the window of 15 minutes with every answer, and those of a day for
// the app and for the user with some
// (https://github.com/plhery/node-twitter-api-v2/issues/495 and
// https://github.com/plhery/node-twitter-api-v2/issues/553, read 2026-11-25). A
// window with something left did not refuse the request, however soon it ends. One
// that does not say what is left counts as exhausted.
func windowEnd(header http.Header) time.Time {
	var last time.Time
	for _, window := range []string{"X-Rate-Limit", "X-App-Limit-24hour", "X-User-Limit-24hour"} {
		left := strings.TrimSpace(header.Get(window + "-Remaining"))
		seconds, err := strconv.ParseInt(header.Get(window+"-Reset"), 10, 64)
		if err != nil || left != "" && left != "0" {
			continue
		}
		if end := time.Unix(seconds, 0); end.After(last) {
			last = end
		}
	}
	return last
}

type statusError int

func (s statusError) Error() string { return "HTTP status " + strconv.Itoa(int(s)) }

// sanitize returns an error of the transport without text that may hold a URL or
// a secret. *url.Error repeats the whole URL.
func sanitize(err error) error {
	var timeout interface{ Timeout() bool }
	var dns *net.DNSError
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return context.DeadlineExceeded
	case errors.As(err, &dns):
		return errors.New("host name not resolved")
	case errors.As(err, &certificate):
		return errors.New("certificate not trusted")
	case errors.As(err, &op):
		return errors.New("network: " + op.Op + " failed")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, errTooLarge):
		return errTooLarge
	}
	return errors.New("connection broke")
}
