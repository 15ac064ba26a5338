package platform

import (
	"context"
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

// The bounds of a call. No platform's answer that we read comes near the
// size; Facebook's page lists are the largest, about 50 KiB for 100 Pages.
const (
	callTimeout    = 10 * time.Second
	connectTimeout = 5 * time.Second
	maxBody        = 1 << 20
	mostHeader     = 64 << 10
)

// longestRetryAfter is the longest wait that a header can talk us into.
const longestRetryAfter = 24 * time.Hour

var errTooLarge = errors.New("answer larger than 1 MiB")

// wire is the way out to one platform.
type wire struct {
	title     string
	reading   *http.Client // for GET
	changing  *http.Client // for all else
	endpoints map[string]string
	timeout   time.Duration
	now       func() time.Time
}

func newWire(title string, o Options) wire {
	w := wire{title: title, timeout: o.Timeout, now: o.Now, endpoints: make(map[string]string, len(o.Endpoints))}
	for from, to := range o.Endpoints {
		w.endpoints[strings.ToLower(strings.TrimRight(from, "/"))] = strings.TrimRight(to, "/")
	}
	if w.timeout == 0 {
		w.timeout = callTimeout
	}
	if w.now == nil {
		w.now = time.Now
	}
	if o.HTTP != nil && o.HTTP.Transport != nil {
		w.reading, w.changing = clientOver(o.HTTP.Transport), clientOver(o.HTTP.Transport)
	} else {
		w.reading, w.changing = clientOver(ownTransport(true)), clientOver(ownTransport(false))
	}
	return w
}

// ownTransport returns a transport. One that keeps connections may meet one
// that died while the Lambda was frozen; a GET is then sent anew, but of a
// POST nobody could tell whether it arrived, so those do without.
func ownTransport(keepsConnections bool) *http.Transport {
	return &http.Transport{
		// Proxy stays nil: an environment variable must not decide where
		// codes and secrets go.
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: mostHeader,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        30 * time.Second,
		DisableKeepAlives:      !keepsConnections,
	}
}

// clientOver returns a client that follows no redirects: a token endpoint that
// redirects would make us send code and secret to wherever it says (RFC 9700,
// 4.12).
func clientOver(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// at returns where a real URL of the platform is to be found: the URL itself,
// or the same path under what Endpoints says for its origin. It serves calls
// and authorize URLs alike.
func (w wire) at(real string) string {
	scheme, rest, _ := strings.Cut(real, "://")
	host, path, _ := strings.Cut(rest, "/")
	if base, ok := w.endpoints[scheme+"://"+host]; ok {
		return base + "/" + path
	}
	return real
}

// issuers returns the values of iss (RFC 9207) that may name a platform whose
// real ones are given: those, and the origins that stand in for them.
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

// call is one request. Secrets go in form, bearer, user and password: the
// query of a URL ends up in logs on the way.
type call struct {
	method         string
	url            string // with the real origin
	query          url.Values
	form           url.Values
	bearer         connector.Secret
	user, password string            // HTTP Basic
	transport      http.RoundTripper // signs; nil for the ordinary one
}

// reply is what came back: any status, the whole body.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) ok() bool { return r.status >= 200 && r.status <= 299 }

// refuse reads a platform's answer and returns the error that it stands for,
// nil where it is none that the platform's dialect knows.
type refuse func(reply) *connector.Error

// do makes one call and returns its answer, which is a success. What the
// platform refused is what refuse says it is; what refuse does not know is
// judged by the HTTP status.
//
// Uncertain is set where a POST or DELETE may have been acted upon without a
// usable answer: the request left us and then time was up, the connection
// broke, the answer was garbled, or the status was a 5xx other than 503. A
// 503, like a 429, is a server that declines before it acts; a gateway's 502
// and 504 say nothing about what the server behind it did, and a 500 may come
// after the token was rotated.
func (w wire) do(ctx context.Context, c call, refuse refuse) (reply, error) {
	r, err := w.send(ctx, c)
	if err != nil {
		return reply{}, err
	}
	// Nothing that a failing server says condemns a grant or an app.
	if e := refuse(r); e != nil && r.status < 500 {
		if e.RetryAfter == 0 && (e.Code == connector.RateLimited || e.Code == connector.PlatformUnavailable) {
			e.RetryAfter = w.retryAfter(r.header)
		}
		return reply{}, e
	}
	changing := c.method != http.MethodGet
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
		e.Uncertain = changing && r.status != http.StatusServiceUnavailable
		return reply{}, e
	case r.status >= 300 && r.status <= 399:
		return reply{}, w.unavailable("answered with a redirect, which is not followed", statusError(r.status))
	default:
		return reply{}, w.unavailable("refused the request in a way that we do not know", statusError(r.status))
	}
}

// send makes one call and reads its answer whole.
func (w wire) send(ctx context.Context, c call) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, w.unavailable("was not asked: time was up", err)
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()

	// A transport that is not net/http's own reports nothing to the trace;
	// its requests count as sent.
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
	client := w.reading
	switch {
	case c.transport != nil:
		client = clientOver(c.transport)
	case c.method != http.MethodGet:
		client = w.changing
	}
	response, err := client.Do(request)
	if err != nil {
		e := w.unavailable("did not answer", cause(err))
		e.Uncertain = sent()
		return reply{}, e
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = errTooLarge
	}
	if err != nil {
		e := w.unavailable("sent an answer that could not be read", cause(err))
		e.Uncertain = sent()
		return reply{}, e
	}
	return reply{status: response.StatusCode, header: response.Header, body: body}, nil
}

func (w wire) request(ctx context.Context, c call) (*http.Request, error) {
	target := w.at(c.url)
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
	return request, nil
}

// unavailable returns PlatformUnavailable; what completes "<platform> …".
func (w wire) unavailable(what string, cause error) *connector.Error {
	return &connector.Error{Code: connector.PlatformUnavailable, Message: w.title + " " + what, Err: cause}
}

// garbled is a success that is not what the platform documents. The platform
// may well have acted.
func (w wire) garbled(method, what string) *connector.Error {
	e := w.unavailable("sent an answer that makes no sense", errors.New(what))
	e.Uncertain = method != http.MethodGet
	return e
}

// retryAfter returns how long the headers ask us to wait, zero where they do
// not say.
func (w wire) retryAfter(header http.Header) time.Duration {
	now := w.now()
	var wait time.Duration
	if value := strings.TrimSpace(header.Get("Retry-After")); value != "" {
		if n, err := strconv.ParseInt(value, 10, 32); err == nil {
			wait = time.Duration(n) * time.Second
		} else if at, err := http.ParseTime(value); err == nil {
			wait = at.Sub(now)
		}
	} else if n, err := strconv.ParseInt(header.Get("X-Rate-Limit-Reset"), 10, 64); err == nil {
		wait = time.Unix(n, 0).Sub(now)
	}
	return min(max(wait, 0), longestRetryAfter)
}

type statusError int

func (s statusError) Error() string { return "HTTP status " + strconv.Itoa(int(s)) }

// cause keeps of an error what cannot hold a URL or a secret: *url.Error
// repeats the whole URL, and what a transport says is not ours to vouch for.
func cause(err error) error {
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
