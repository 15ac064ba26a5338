package platform

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dghubble/oauth1"

	"platform-api-connector/shared/connector"
)

// twitterAPIOrigins are the origins of X's API. The media upload of v1.1 has a host
// of its own. Both hosts have their name of before, too
// (https://docs.x.com/fundamentals/authentication/oauth-1-0a/creating-a-signature
// for api.x.com; the others are those that clients use: no page of X's that lists
// them was seen; read 2026-11-25).
var twitterAPIOrigins = []string{"https://api.x.com", "https://api.twitter.com", "https://upload.x.com", "https://upload.twitter.com"}

// noKeys returns the error for an app without the keys of OAuth 1.0a.
func (x *twitter) noKeys() *connector.Error {
	e := x.noApp()
	e.Message = "the app of X (Twitter) lacks api_key or api_secret: store both"
	return e
}

// Sign implements connector.Signer, for OAuth 1.0a. It signs the URL as it is:
// behind Options.Endpoints callers call another origin than the real one.
func (x *twitter) Sign(app connector.App, c connector.Credentials, r connector.SignatureRequest) (connector.Secret, error) {
	if !isOAuth1(c.Fields) {
		return connector.Secret{}, connector.Invalid("connection_id", "these are OAuth 2.0 tokens of X (Twitter), which sign nothing: send the access token of token-get")
	}
	target, err := x.signedURL(r.URL)
	if err != nil {
		return connector.Secret{}, err
	}
	parameters, err := signedParameters(target, r.Parameters)
	if err != nil {
		return connector.Secret{}, err
	}
	consumer := twitterKeys.client(keysApp(app), c.Fields)
	if consumer.id == "" || consumer.secret.Empty() {
		return connector.Secret{}, x.noKeys()
	}
	target.RawQuery, target.ForceQuery = "", false
	return oauth1Header(consumer, c.Fields, r, target.String(), parameters)
}

// signedURL returns a URL of X's API. It accepts only one spelling of each URL, so
// that no client can read another host or another path in it. A signature for an
// OAuth endpoint could end tokens of the whole app.
func (x *twitter) signedURL(raw string) (*url.URL, error) {
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return nil, connector.Invalid("url", "has a character that is not allowed in a URL: encode it")
	}
	u, err := url.Parse(raw)
	if err != nil || u.String() != raw || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return nil, connector.Invalid("url", "not an absolute URL in its usual form, without user and fragment")
	}
	if !x.isAPI(u) {
		return nil, connector.Invalid("url", "not of X's API: https://api.x.com or https://upload.x.com")
	}
	return u, checkSignedPath(u)
}

func checkSignedPath(u *url.URL) error {
	if !signedPath.MatchString(u.EscapedPath()) {
		return connector.Invalid("url", "has a path with characters other than letters, digits, - . _ ~ and /")
	}
	for segment := range strings.SplitSeq(strings.ToLower(u.Path), "/") {
		switch {
		case segment == ".", segment == "..":
			return connector.Invalid("url", "has a path with . or ..")
		case strings.HasPrefix(segment, "oauth"):
			return connector.Invalid("url", "an OAuth endpoint, which is not signed: disconnect the connection to end its token")
		}
	}
	return nil
}

// signedPath matches the paths of X's API. An encoded path has several readings.
var signedPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`)

// isAPI reports whether u is below an origin of X's API, or below one that
// Options.Endpoints has in its place.
func (x *twitter) isAPI(u *url.URL) bool {
	return slices.ContainsFunc(twitterAPIOrigins, func(origin string) bool {
		below := func(base string) bool { return strings.HasPrefix(u.Scheme+"://"+u.Host+u.EscapedPath(), base+"/") }
		replaced := x.rewriteOrigin(origin + "/")
		return below(origin) || below(strings.TrimSuffix(replaced, "/"))
	})
}

// parameter is a parameter of a request, both parts percent-encoded.
type parameter struct{ name, value string }

// signedParameters returns the parameters of the query and the others. A name that
// is in both would be signed twice, and a name of OAuth would change what is
// signed.
func signedParameters(target *url.URL, others map[string]string) ([]parameter, error) {
	query, err := url.ParseQuery(target.RawQuery)
	if err != nil {
		return nil, connector.Invalid("url", "has a malformed query")
	}
	var all []parameter
	add := func(name, value string) {
		all = append(all, parameter{oauth1.PercentEncode(name), oauth1.PercentEncode(value)})
	}
	for name, values := range query {
		if isOAuthParameter(name) {
			return nil, connector.Invalid("url", "has a parameter that begins with oauth_")
		}
		for _, value := range values {
			add(name, value)
		}
	}
	for name, value := range others {
		switch {
		case isOAuthParameter(name):
			return nil, connector.Invalid("parameters", "has a name that begins with oauth_")
		case query.Has(name):
			return nil, connector.Invalid("parameters", "repeats a parameter of the url")
		}
		add(name, value)
	}
	return all, nil
}

func isOAuthParameter(name string) bool {
	return strings.HasPrefix(strings.ToLower(name), "oauth_")
}

// oauth1Header returns the Authorization header of a request (RFC 5849, 3.4 and
// 3.5.1). The library's own client takes neither clock nor random numbers, and
// loses parameters that repeat; its signer and its encoding are used.
func oauth1Header(consumer client, fields connector.Fields, r connector.SignatureRequest, target string, parameters []parameter) (connector.Secret, error) {
	protocol := []parameter{
		{"oauth_consumer_key", oauth1.PercentEncode(consumer.id)},
		{"oauth_nonce", oauth1.PercentEncode(r.Nonce)},
		{"oauth_signature_method", "HMAC-SHA1"},
		{"oauth_timestamp", strconv.FormatInt(r.At.Unix(), 10)},
		{"oauth_token", oauth1.PercentEncode(fields.Get("access_token"))},
		{"oauth_version", "1.0"},
	}
	base := strings.Join([]string{r.Method, oauth1.PercentEncode(target), oauth1.PercentEncode(normalized(append(parameters, protocol...)))}, "&")
	signer := &oauth1.HMACSigner{ConsumerSecret: consumer.secret.Reveal()}
	signature, err := signer.Sign(fields.Get("access_token_secret"), base)
	if err != nil {
		return connector.Secret{}, &connector.Error{Code: connector.Internal, Message: "the request could not be signed", Err: err}
	}
	protocol = append(protocol, parameter{"oauth_signature", oauth1.PercentEncode(signature)})
	pairs := make([]string, len(protocol))
	for i, p := range protocol {
		pairs[i] = p.name + `="` + p.value + `"`
	}
	return connector.NewSecret("OAuth " + strings.Join(pairs, ", ")), nil
}

// normalized sorts parameters by name, then by value (RFC 5849, 3.4.1.3.2).
func normalized(parameters []parameter) string {
	slices.SortFunc(parameters, func(a, b parameter) int {
		if n := strings.Compare(a.name, b.name); n != 0 {
			return n
		}
		return strings.Compare(a.value, b.value)
	})
	pairs := make([]string, len(parameters))
	for i, p := range parameters {
		pairs[i] = p.name + "=" + p.value
	}
	return strings.Join(pairs, "&")
}
