package sandbox

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The keys of the app, as X's portal shows them. They are the same in every
// sandbox.
const (
	twitterAPIKey    = "sandbox-twitter-api-key"
	twitterAPISecret = "sandbox-twitter-api-secret"
	twitterBearer    = "AAAAsandbox-twitter-app-only-bearer"
)

// oauth1Window is the largest difference between a timestamp and the clock. It is
// assumed.
const oauth1Window = 5 * time.Minute

// UserKey is an OAuth 1.0a access token with its secret, as a person copies it
// from X's portal. It never expires.
type UserKey struct {
	Account           string // Person.ID
	AccessToken       string // begins with the account's id
	AccessTokenSecret string
	Level             string // x-access-level: "read", "read-write", "read-write-directmessages"
}

var twitterKeys = []UserKey{
	{"1500000000000000001", "1500000000000000001-sandboxReadWrite", "sandbox-read-write-token-secret", "read-write"},
	{"1500000000000000002", "1500000000000000002-sandboxReadOnly", "sandbox-read-only-token-secret", "read"},
	{"1500000000000000002", "1500000000000000002-sandboxMessages", "sandbox-messages-token-secret", "read-write-directmessages"},
}

// UserKeys returns the OAuth 1.0a keys that are valid on X: one that may write,
// one that may only read, and one that may also send direct messages.
func (s *Sandbox) UserKeys() []UserKey { return slices.Clone(twitterKeys) }

// verify checks an OAuth 1.0a signature (RFC 5849, 3.2) and returns its key.
func (x *twitter) verify(c *call) (UserKey, *reply) {
	refuse := func(code int, message string) (UserKey, *reply) {
		refused := x.errorReply(DeadGrant, "me")
		if x.knobs().V1Errors || strings.HasPrefix(c.path, "/1.1/") {
			refused = answerJSON(401, object{"errors": []object{{"code": code, "message": message}}})
		}
		return UserKey{}, &refused
	}
	if code := x.knobs().AppRefusal; code != 0 {
		refusal := twitterAppRefusals[code]
		refused := twitterV1Error(refusal.status, code, refusal.message)
		return UserKey{}, &refused
	}
	oauth, ok := oauth1Header(c.header.Get("Authorization"))
	if !ok || oauth["oauth_consumer_key"] != twitterAPIKey || oauth["oauth_signature_method"] != "HMAC-SHA1" ||
		oauth["oauth_nonce"] == "" || oauth["oauth_version"] != "" && oauth["oauth_version"] != "1.0" {
		return refuse(32, "Could not authenticate you.")
	}
	i := slices.IndexFunc(twitterKeys, func(k UserKey) bool { return k.AccessToken == oauth["oauth_token"] })
	if i < 0 || x.dead[twitterKeys[i].AccessToken] {
		return refuse(89, "Invalid or expired token.")
	}
	seconds, err := strconv.ParseInt(oauth["oauth_timestamp"], 10, 64)
	if err != nil || time.Unix(seconds, 0).Sub(c.now).Abs() > oauth1Window {
		return refuse(135, "Timestamp out of bounds.")
	}
	nonce := oauth["oauth_timestamp"] + " " + oauth["oauth_nonce"]
	if _, seen := x.nonces[nonce]; seen || !x.signed(c, oauth, twitterKeys[i]) {
		return refuse(32, "Could not authenticate you.")
	}
	for old, at := range x.nonces {
		if c.now.Sub(at) > 2*oauth1Window {
			delete(x.nonces, old)
		}
	}
	x.nonces[nonce] = c.now
	return twitterKeys[i], nil
}

// signature implements signer. The client is the consumer key.
func (x *twitter) signature(c *call) (client, account string) {
	oauth, ok := oauth1Header(c.header.Get("Authorization"))
	if !ok {
		return "", ""
	}
	for _, key := range twitterKeys {
		if key.AccessToken == oauth["oauth_token"] {
			account = key.Account
		}
	}
	return oauth["oauth_consumer_key"], account
}

// signed reports whether the signature covers the request and one of the URLs that
// TwitterKnobs.SignedURL permits.
func (x *twitter) signed(c *call, oauth map[string]string, key UserKey) bool {
	var urls []string
	if x.knobs().SignedURL != "sent" {
		urls = append(urls, "https://"+c.host+c.path)
	}
	if x.knobs().SignedURL != "real" {
		urls = append(urls, "http://"+strings.ToLower(c.server)+c.url.EscapedPath(), "https://"+strings.ToLower(c.server)+c.url.EscapedPath())
	}
	return slices.ContainsFunc(urls, func(u string) bool {
		want := oauth1Signature(c.method, u, []url.Values{c.query, c.form}, oauth, twitterAPISecret, key.AccessTokenSecret)
		return hmac.Equal([]byte(want), []byte(oauth["oauth_signature"]))
	})
}

// invalidate ends the access token that signs the request.
func (x *twitter) invalidate(c *call) reply {
	key, refused := x.verify(c)
	if refused != nil {
		return *refused
	}
	x.dead[key.AccessToken] = true
	return answerJSON(200, object{"access_token": key.AccessToken})
}

// oauth1Header reads an Authorization header (RFC 5849, 3.5.1). It refuses a
// duplicate parameter.
func oauth1Header(header string) (map[string]string, bool) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "OAuth") {
		return nil, false
	}
	parameters := map[string]string{}
	for pair := range strings.SplitSeq(rest, ",") {
		name, quoted, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
			return nil, false
		}
		value, err := url.PathUnescape(quoted[1 : len(quoted)-1])
		if _, twice := parameters[name]; err != nil || twice {
			return nil, false
		}
		parameters[name] = value
	}
	return parameters, true
}

// oauth1Signature signs as in RFC 5849, 3.4, and as X does: HMAC-SHA1 over method,
// URL without query, and the sorted parameters of query, form and header
// (https://docs.x.com/fundamentals/authentication/oauth-1-0a/creating-a-signature,
// 2026-11-23).
func oauth1Signature(method, rawURL string, values []url.Values, oauth map[string]string, consumerSecret, tokenSecret string) string {
	var pairs []string
	add := func(name, value string) {
		pairs = append(pairs, percentEncode(name)+"="+percentEncode(value))
	}
	for _, v := range values {
		for name, all := range v {
			for _, value := range all {
				add(name, value)
			}
		}
	}
	for name, value := range oauth {
		if name != "oauth_signature" && name != "realm" {
			add(name, value)
		}
	}
	slices.SortFunc(pairs, comparePairs)
	base := strings.ToUpper(method) + "&" + percentEncode(rawURL) + "&" + percentEncode(strings.Join(pairs, "&"))
	mac := hmac.New(sha1.New, []byte(percentEncode(consumerSecret)+"&"+percentEncode(tokenSecret)))
	mac.Write([]byte(base))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// comparePairs orders by encoded name, then by encoded value (RFC 5849,
// 3.4.1.3.2); "=" between them would sort before a longer name's next byte.
func comparePairs(a, b string) int {
	nameA, valueA, _ := strings.Cut(a, "=")
	nameB, valueB, _ := strings.Cut(b, "=")
	if n := strings.Compare(nameA, nameB); n != 0 {
		return n
	}
	return strings.Compare(valueA, valueB)
}

// percentEncode encodes as RFC 3986, 2.1, with upper-case digits. url.QueryEscape
// differs for space, "*" and "~".
func percentEncode(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if unreserved(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
	return b.String()
}
