package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// newEvent returns the event that an HTTP API sends to a function for r, in
// payload format 2.0.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
func newEvent(r *http.Request, m match, body []byte, at time.Time) events.APIGatewayV2HTTPRequest {
	requestID := newGatewayID()
	path := decodedPath(r.URL)
	sourceIP, _, _ := net.SplitHostPort(r.RemoteAddr)
	domain := hostname(r.Host)
	event := events.APIGatewayV2HTTPRequest{
		Version:               "2.0",
		RouteKey:              m.route.Key(),
		RawPath:               path,
		RawQueryString:        r.URL.RawQuery,
		Cookies:               cookies(r.Header),
		Headers:               headers(r, sourceIP),
		QueryStringParameters: joined(r.URL.Query()),
		PathParameters:        m.parameters,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey:     m.route.Key(),
			AccountID:    account,
			Stage:        "$default",
			RequestID:    requestID,
			APIID:        "local",
			DomainName:   domain,
			DomainPrefix: strings.Split(domain, ".")[0],
			Time:         at.UTC().Format("02/Jan/2006:15:04:05 -0700"),
			TimeEpoch:    at.UnixMilli(),
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method:    r.Method,
				Path:      path,
				Protocol:  r.Proto,
				SourceIP:  sourceIP,
				UserAgent: r.UserAgent(),
			},
		},
	}
	if m.signed() {
		event.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{IAM: localCaller()}
	}
	event.Body, event.IsBase64Encoded = encodeBody(r.Header.Get("Content-Type"), body)
	return event
}

// decodedPath returns the path that an HTTP API matches with routes and sends as
// rawPath. It is percent-decoded and ends at a decoded question mark. Seen in the
// captures of https://github.com/hotsock/voker/pull/8, of 2026.
func decodedPath(u *url.URL) string {
	path, _, _ := strings.Cut(u.Path, "?")
	return path
}

// localCaller is the principal of every request. Requests on loopback are not
// signed.
func localCaller() *events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription {
	return &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{
		AccountID: account,
		CallerID:  "AIDALOCALCALLER",
		UserARN:   "arn:aws:iam::" + account + ":user/local",
		UserID:    "AIDALOCALCALLER",
	}
}

// cookies returns each cookie as name=value. Format 2.0 has no Cookie header.
func cookies(h http.Header) []string {
	var all []string
	for _, line := range h.Values("Cookie") {
		for cookie := range strings.SplitSeq(line, ";") {
			if cookie = strings.TrimSpace(cookie); cookie != "" {
				all = append(all, cookie)
			}
		}
	}
	return all
}

// headers returns the headers with names in lower case, and those that the
// gateway adds. Repeated headers are joined by commas.
func headers(r *http.Request, sourceIP string) map[string]string {
	all := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		if name != "Cookie" {
			all[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	if r.ContentLength >= 0 {
		all["content-length"] = fmt.Sprint(r.ContentLength)
	}
	_, port, _ := net.SplitHostPort(r.Host)
	all["x-forwarded-for"] = appended(all["x-forwarded-for"], sourceIP)
	all["x-forwarded-port"] = port
	all["x-forwarded-proto"] = "http"
	all["x-amzn-trace-id"] = traceID(newRequestID())
	return all
}

func appended(list, item string) string {
	if list == "" {
		return item
	}
	return list + ", " + item
}

// joined returns decoded values. Values of one name are joined by commas.
func joined(query url.Values) map[string]string {
	if len(query) == 0 {
		return nil
	}
	all := make(map[string]string, len(query))
	for name, values := range query {
		all[name] = strings.Join(values, ",")
	}
	return all
}

// encodeBody encodes a body in base64, unless its type is one of the few that an
// HTTP API treats as text. It also encodes forms and bodies without a type:
// measured on AWS in https://github.com/ministackorg/ministack/pull/766, of
// 2026-06-01.
func encodeBody(contentType string, body []byte) (encoded string, isBase64 bool) {
	if len(body) == 0 {
		return "", false
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	switch {
	case strings.HasPrefix(kind, "text/"),
		kind == "application/json", kind == "application/xml", kind == "application/javascript":
		return string(body), false
	}
	return base64.StdEncoding.EncodeToString(body), true
}

// reply is an HTTP answer of a function or of the gateway.
type reply struct {
	status  int
	header  http.Header
	cookies []string
	body    []byte
}

var errMalformedReply = errors.New("the HTTP API does not accept the answer of the function")

// readReply reads the answer of a function in payload format 2.0. An answer without
// a statusCode is a JSON body.
func readReply(payload []byte) (reply, error) {
	if !json.Valid(payload) {
		return reply{}, errMalformedReply
	}
	var answer struct {
		StatusCode      json.Number       `json:"statusCode"`
		Headers         map[string]string `json:"headers"`
		Cookies         []string          `json:"cookies"`
		Body            string            `json:"body"`
		IsBase64Encoded bool              `json:"isBase64Encoded"`
	}
	err := json.Unmarshal(payload, &answer)
	if answer.StatusCode == "" {
		return reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: payload}, nil
	}
	status, notNumber := answer.StatusCode.Int64()
	if err != nil || notNumber != nil || status < 100 || status > 599 {
		return reply{}, errMalformedReply
	}
	out := reply{status: int(status), header: http.Header{}, cookies: answer.Cookies, body: []byte(answer.Body)}
	if answer.IsBase64Encoded {
		if out.body, err = base64.StdEncoding.DecodeString(answer.Body); err != nil {
			return reply{}, errMalformedReply
		}
	}
	for name, value := range answer.Headers {
		out.header.Set(name, value)
	}
	if len(out.body) > 0 && out.header.Get("Content-Type") == "" {
		out.header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	return out, nil
}

// gatewayError is an answer of the gateway itself.
func gatewayError(status int, message string) reply {
	b, _ := json.Marshal(map[string]string{"message": message})
	return reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: b}
}

func (a reply) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	for _, cookie := range a.cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// readBody reads a request's body, at most limit bytes.
func readBody(r *http.Request, limit int64) (body []byte, tooLarge bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r.Body, limit+1))
	return body, int64(len(body)) > limit, err
}
