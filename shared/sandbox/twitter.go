package sandbox

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// twitterScopes are the scopes that the app may request
// (https://docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code,
// 2026-11-23).
var twitterScopes = []string{
	"tweet.read", "tweet.write", "tweet.moderate.write", "users.read", "users.email",
	"follows.read", "follows.write", "media.write", "like.read", "like.write", "offline.access",
}

// Twitter is the name of the platform.
const Twitter = "twitter"

// TwitterKnobs change how X behaves.
type TwitterKnobs struct {
	// CodeSeconds is 30: X's glossary (https://docs.x.com/fundamentals/
	// authentication/oauth-2-0/overview, 2026-11-23).
	CodeSeconds    int `json:"code_seconds"`
	AccessSeconds  int `json:"access_seconds"`
	RefreshSeconds int `json:"refresh_seconds"`

	// PublicClient is an app of type Native or Single page: client_id in the
	// form and no secret.
	PublicClient bool `json:"public_client"`
	// UsersMeLimit is how often a user may call users/me in 15 minutes.
	UsersMeLimit int `json:"users_me_limit"`
	// UserDayLimit and AppDayLimit are how often a user, and the app for all users,
	// may call users/me in 24 hours. Zero means no limit, and no header of it
	// (plhery/node-twitter-api-v2#553 and #495, read 2026-11-25).
	UserDayLimit int `json:"user_day_limit"`
	AppDayLimit  int `json:"app_day_limit"`
	// Suspended and Locked are the ids of people with such an account. A suspended
	// one gets a problem (akrherz/iembot#156, read 2026-11-25) or, with V1Errors,
	// code 64 (tg-z/web-clip#1029, a copy of X's former page of codes, read
	// 2026-11-25). A locked one gets code 326 (zaydek/100xcode#4, read 2026-11-25).
	// Whether the token endpoint refuses them is not known; it does not here.
	Suspended []string `json:"suspended"`
	Locked    []string `json:"locked"`
	// PrepaidReads is the number of user reads that are paid for, one a user and
	// UTC day. A negative number means no limit. At zero the answer is 402.
	PrepaidReads int `json:"prepaid_reads"`
	// UsageCapped answers 429 for the month's cap, NotEnrolled 403 for an app in the
	// wrong package or environment (https://docs.x.com/tools/mcp, read 2026-11-25).
	UsageCapped bool `json:"usage_capped"`
	NotEnrolled bool `json:"not_enrolled"`
	// AppRefusal is the code of the older API with which X refuses every OAuth 1.0a
	// signature of the app: 416 for a suspended app (tg-z/web-clip#1029, read
	// 2026-11-25), with status 401; 215 for unknown keys, with status 400
	// (pajbot/pajbot2#96, read 2026-11-25); 261 for an app that may not write
	// (saadmanrafat/twitivity#6, read 2026-11-25) and 453 for one in the wrong package
	// (socioboard/Socioboard-5.0#440, read 2026-11-25), with status 403. That users/me of
	// v2 has them, too, is assumed. Zero means none.
	AppRefusal int `json:"app_refusal"`
	// V1Errors refuses an OAuth 1.0a signature with the codes 32, 89 and 135 of
	// the older API on users/me, too.
	V1Errors bool `json:"v1_errors"`
	// SignedURL is the URL that an OAuth 1.0a signature must cover: "real" is
	// the platform's own, "sent" the one of the request. Empty means either.
	SignedURL string `json:"signed_url"`
}

func defaultTwitterKnobs() TwitterKnobs {
	return TwitterKnobs{CodeSeconds: 30, AccessSeconds: 7200, RefreshSeconds: 183 * 24 * 3600, UsersMeLimit: 75, PrepaidReads: -1}
}

const (
	twitterWindow = 15 * time.Minute
	twitterDay    = 24 * time.Hour
)

type twitter struct {
	*platform
	nonces map[string]time.Time // timestamps of the nonces with a valid signature
	used   windows              // of users/me, by user
	billed map[string]string    // user to the last UTC day paid for
	dead   map[string]bool      // OAuth 1.0a access tokens invalidated
}

func newTwitter(s *Sandbox) dialect {
	knobs := defaultTwitterKnobs()
	p := newPlatform(s, Twitter, "X", &knobs,
		App{ClientID: "sandbox-twitter-client", ClientSecret: "sandbox-twitter-secret", Extras: map[string]string{
			"api_key": twitterAPIKey, "api_secret": twitterAPISecret, "bearer_token": twitterBearer,
		}},
		&Person{ID: "1500000000000000001", Name: "Sandbox One", Username: "sandbox_one"},
		&Person{ID: "1500000000000000002", Name: "Sandbox Two", Username: "sandbox_two"},
	)
	p.aliases = map[string]string{"twitter.com": "x.com", "api.twitter.com": "api.x.com", "upload.twitter.com": "upload.x.com"}
	p.secrets = []string{twitterAPISecret, twitterBearer}
	// A person who cancels the page of OAuth 1.0a comes back with the request token
	// alone (omab/python-social-auth#242, read 2026-11-25).
	p.refusals = map[string][]string{"denied": {"denied", "sandbox-request-token"}}
	for _, key := range twitterKeys {
		p.secrets = append(p.secrets, key.AccessToken, key.AccessTokenSecret)
	}
	return &twitter{p, map[string]time.Time{}, windows{}, map[string]string{}, map[string]bool{}}
}

func (x *twitter) routes() []route {
	return []route{
		{endpoint: "authorize", method: "GET", host: "x.com", path: "/i/oauth2/authorize", handle: showConsent(x)},
		{endpoint: "consent", method: "POST", host: "x.com", path: "/i/oauth2/authorize", handle: acceptConsent(x)},
		{endpoint: "token", method: "POST", host: "api.x.com", path: "/2/oauth2/token", handle: x.token},
		{endpoint: "revoke", method: "POST", host: "api.x.com", path: "/2/oauth2/revoke", handle: x.revoke},
		{endpoint: "me", method: "GET", host: "api.x.com", path: "/2/users/me", handle: x.me},
		{endpoint: "invalidate", method: "POST", host: "api.x.com", path: "/1.1/oauth/invalidate_token.json", handle: x.invalidate},
		{endpoint: "upload", method: "POST", host: "upload.x.com", path: "/1.1/media/upload.json", handle: x.upload},
	}
}

// Twitter returns the knobs of X.
func (k *Knobs) Twitter() *TwitterKnobs { return k.byPlatform[Twitter].(*TwitterKnobs) }

func (x *twitter) knobs() *TwitterKnobs { return x.sandbox.knobs.Twitter() }

// checkAuthorize checks as X's authorize page does. PKCE and state are mandatory.
// Every error shows the same page.
func (x *twitter) checkAuthorize(c *call) (consentRequest, *reply) {
	q := c.query
	scopes := strings.Fields(q.Get("scope"))
	challenge, method := q.Get("code_challenge"), q.Get("code_challenge_method")
	why := ""
	switch {
	case q.Get("response_type") != "code":
		why = "response_type must be code."
	case q.Get("client_id") != x.app.ClientID:
		why = "The client_id is unknown."
	case !slices.Contains(x.app.RedirectURIs, q.Get("redirect_uri")):
		why = "The redirect_uri is not registered."
	case q.Get("state") == "" || len(q.Get("state")) > 500:
		why = "A state of 1 to 500 characters is required."
	case len(scopes) == 0 || !containsAll(twitterScopes, scopes):
		why = "The scope is missing or unknown."
	case method != "S256" && method != "plain":
		why = "code_challenge_method must be S256 or plain."
	case !isVerifier(challenge) || method == "S256" && len(challenge) != 43:
		why = "The code_challenge is missing or malformed."
	}
	for name, values := range q {
		if len(values) > 1 {
			why = name + " occurs more than once."
		}
	}
	if why != "" {
		page := errorPage(400, errorText{x.title, "Something went wrong", "You weren't able to give access to the App. " + why})
		return consentRequest{}, &page
	}
	// The person cannot refuse single scopes.
	return consentRequest{scopes: scopes, fixed: scopes, redirectURI: q.Get("redirect_uri"), state: q.Get("state"), query: q}, nil
}

func (x *twitter) redirect(q consentRequest, p *Person, choice Choice) string {
	if choice.Deny {
		return redirectTo(q.redirectURI, "error", "access_denied", "state", q.state)
	}
	now := x.sandbox.now()
	value := x.newCode(x.sandbox.newSecret("sandbox-x-code-"), code{
		grant: x.newGrant(p, q.scopes, now), redirectURI: q.redirectURI,
		challenge: q.query.Get("code_challenge"), method: q.query.Get("code_challenge_method"),
		offline: slices.Contains(q.scopes, "offline.access"),
		expires: expiresAfter(now, x.knobs().CodeSeconds),
	})
	return redirectTo(q.redirectURI, "state", q.state, "code", value)
}

// The texts of token errors are those in unasuke/omniauth-twitter2#4,
// PLhery/node-twitter-api-v2#496 and thephpleague/oauth2-client#1023 (read
// 2026-11-23). X uses invalid_request where RFC 6749 has invalid_grant.
func (x *twitter) token(c *call) reply {
	if refused := x.authenticate(c); refused != nil {
		return *refused
	}
	switch c.form.Get("grant_type") {
	case "authorization_code":
		return x.redeem(c)
	case "refresh_token":
		return x.refresh(c)
	case "":
		return missingParameter("grant_type")
	}
	return oauthError(400, "unsupported_grant_type", "Value passed for the grant_type was invalid.")
}

func missingParameter(name string) reply {
	return oauthError(400, "invalid_request", "Missing required parameter ["+name+"].")
}

func (x *twitter) authenticate(c *call) *reply {
	user, password, withHeader := c.basic()
	var refused reply
	switch name := c.duplicateParameter(); {
	case c.form == nil:
		refused = oauthError(400, "invalid_request", "The content type has to be application/x-www-form-urlencoded.")
	case name != "":
		refused = oauthError(400, "invalid_request", "Duplicate parameter ["+name+"].")
	case x.knobs().PublicClient:
		if c.form.Get("client_id") == x.app.ClientID {
			return nil
		}
		refused = oauthError(401, "invalid_client", "Value passed for the client id was invalid.")
	case !withHeader:
		refused = x.errorReply(WrongClient, "token")
	case user != x.app.ClientID || !x.acceptsSecret(password):
		refused = oauthError(401, "invalid_client", "Value passed for the client was invalid.")
	default:
		return nil
	}
	return &refused
}

func (x *twitter) redeem(c *call) reply {
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if c.form.Get(name) == "" {
			return missingParameter(name)
		}
	}
	granted, ok := x.codes[c.form.Get("code")]
	switch {
	case !ok || granted.used || granted.grant.dead || !c.now.Before(granted.expires):
		return oauthError(400, "invalid_request", "Value passed for the authorization code was invalid.")
	case c.form.Get("redirect_uri") != granted.redirectURI:
		return oauthError(400, "invalid_request", "Value passed for the redirect uri did not match the uri of the authorization code.")
	case !matchesChallenge(granted, c.form.Get("code_verifier")):
		return oauthError(400, "invalid_request", "Value passed for the code verifier did not match the code challenge.")
	}
	granted.used = true
	return x.issue(granted.grant, granted.offline, c.now)
}

// refresh rotates. The refresh token that was sent is spent. A client that sends a
// spent one ends the whole grant (trypostit/trypost#126, read 2026-11-23).
func (x *twitter) refresh(c *call) reply {
	value := c.form.Get("refresh_token")
	if value == "" {
		return missingParameter("refresh_token")
	}
	if t := x.find(value, refresh, c.now); t != nil {
		t.spent = true
		return x.issue(t.grant, true, c.now)
	}
	if t := x.tokens[value]; t != nil && t.spent {
		t.grant.dead = true
	}
	return x.errorReply(DeadGrant, "token")
}

func (x *twitter) issue(g *grant, offline bool, now time.Time) reply {
	k := x.knobs()
	answer := object{
		"token_type": "bearer", "expires_in": k.AccessSeconds, "scope": strings.Join(g.scopes, " "),
		"access_token": x.newToken("sandbox-x-access-", token{kind: access, grant: g, issued: now, expires: expiresAfter(now, k.AccessSeconds)}),
	}
	if offline {
		answer["refresh_token"] = x.newToken("sandbox-x-refresh-", token{kind: refresh, grant: g, issued: now, expires: expiresAfter(now, k.RefreshSeconds)})
	}
	return answerJSON(200, answer)
}

// revoke ends one access token, or with a refresh token the grant. An unknown
// token is no error (RFC 7009, 2.2). The body is assumed.
func (x *twitter) revoke(c *call) reply {
	if refused := x.authenticate(c); refused != nil {
		return *refused
	}
	value := c.form.Get("token")
	if value == "" {
		return missingParameter("token")
	}
	if t := x.tokens[value]; t != nil {
		t.spent = true
		if t.kind == refresh {
			t.grant.dead = true
		}
	}
	return answerJSON(200, object{"revoked": true})
}

// me takes an OAuth 2.0 user token or an OAuth 1.0a signature.
func (x *twitter) me(c *call) reply {
	var person *Person
	level := ""
	switch bearer := c.bearer(); {
	case bearer == twitterBearer:
		return twitterProblem(403, "Unsupported Authentication", "/2/problems/unsupported-authentication",
			"Authenticating with OAuth 2.0 Application-Only is forbidden for this endpoint. Supported authentication types are OAuth 1.0a User Context and OAuth 2.0 User Context.")
	case bearer != "":
		t := x.find(bearer, access, c.now)
		if t == nil {
			return x.errorReply(DeadGrant, "me")
		}
		// users/me needs both scopes (X's openapi.json v2.167, 2026-08-22).
		if !containsAll(t.grant.scopes, []string{"tweet.read", "users.read"}) {
			return twitterProblem(403, "Forbidden", "", "Forbidden")
		}
		person = t.grant.person
	default:
		key, refused := x.verify(c)
		if refused != nil {
			return *refused
		}
		person, level = x.person(key.Account), key.Level
	}
	return x.meter(person, level, c.now)
}

// upload begins an upload in chunks. It takes a form that is signed (https://
// github.com/dghubble/go-twitter/issues/133, read 2026-11-25). The body of the
// answer is assumed.
func (x *twitter) upload(c *call) reply {
	if _, refused := x.verify(c); refused != nil {
		return *refused
	}
	if c.form.Get("command") != "INIT" || c.form.Get("media_type") == "" || c.form.Get("total_bytes") == "" {
		return answerJSON(400, object{"request": c.path, "error": "Missing or malformed parameter."})
	}
	return answerJSON(202, object{"media_id_string": "710511363345354753", "expires_after_secs": 86400})
}

// meter counts a call of users/me against the rate limits and the credits, and
// answers it.
func (x *twitter) meter(p *Person, level string, now time.Time) reply {
	k := x.knobs()
	limits := []struct {
		header, key string
		most        int
		length      time.Duration
	}{
		{"x-rate-limit", p.ID, k.UsersMeLimit, twitterWindow},
		{"x-user-limit-24hour", p.ID + " day", k.UserDayLimit, twitterDay},
		{"x-app-limit-24hour", "app day", k.AppDayLimit, twitterDay},
	}
	throttled, headers := false, map[string]string{}
	for _, limit := range limits {
		if limit.most == 0 && limit.length == twitterDay {
			continue
		}
		w := x.used.count(limit.key, now, limit.length)
		throttled = throttled || w.calls > limit.most
		headers[limit.header+"-limit"] = strconv.Itoa(limit.most)
		headers[limit.header+"-remaining"] = strconv.Itoa(max(0, limit.most-w.calls))
		headers[limit.header+"-reset"] = strconv.FormatInt(w.start.Add(limit.length).Unix(), 10)
	}
	answer := x.read(p, throttled, now)
	if level != "" {
		answer = answer.with("x-access-level", level)
	}
	for name, value := range headers {
		answer = answer.with(name, value)
	}
	return answer
}

func (x *twitter) read(p *Person, throttled bool, now time.Time) reply {
	k, day := x.knobs(), now.UTC().Format(time.DateOnly)
	switch {
	case throttled:
		return x.errorReply(Throttled, "me")
	case slices.Contains(k.Suspended, p.ID) && k.V1Errors:
		return twitterV1Error(403, 64, "Your account is suspended and is not permitted to access this feature.")
	case slices.Contains(k.Suspended, p.ID):
		return twitterProblem(403, "Forbidden", "/2/problems/user-suspended", "The user used for authentication is suspended")
	case slices.Contains(k.Locked, p.ID):
		return twitterV1Error(403, 326, "To protect our users from spam and other malicious activity, this account is temporarily locked. Please log in to https://twitter.com to unlock your account.")
	case k.NotEnrolled:
		return x.errorReply(WrongClient, "me")
	case k.UsageCapped:
		return twitterUsageCapped()
	case k.PrepaidReads == 0 && x.billed[p.ID] != day:
		return x.errorReply(Quota, "me")
	}
	if x.billed[p.ID] != day && k.PrepaidReads > 0 {
		x.knobs().PrepaidReads--
	}
	x.billed[p.ID] = day
	return answerJSON(200, object{"data": object{"id": p.ID, "name": p.Name, "username": p.Username}})
}

// twitterV1Error is an error of API v1.1.
func twitterV1Error(status, code int, message string) reply {
	return answerJSON(status, object{"errors": []object{{"code": code, "message": message}}})
}

// twitterAppRefusals are the answers of AppRefusal by its code.
var twitterAppRefusals = map[int]struct {
	status  int
	message string
}{
	215: {400, "Bad Authentication data."},
	261: {403, "Application cannot perform write actions. Contact Twitter Platform Operations through https://help.twitter.com/forms/platform."},
	416: {401, "Invalid / suspended application"},
	453: {403, "You currently have access to a subset of X API V2 endpoints and limited v1.1 endpoints (e.g. media post, oauth) only."},
}

// twitterUsageCapped leaves x-rate-limit-remaining high, as X does
// (xdevplatform/xdk#25, read 2026-11-23).
func twitterUsageCapped() reply {
	return answerJSON(http.StatusTooManyRequests, object{
		"account_id": 1, "product_name": "standard-basic", "title": "UsageCapExceeded", "period": "Monthly", "scope": "Product",
		"detail": "Usage cap exceeded: Monthly product cap", "type": "https://api.twitter.com/2/problems/usage-capped",
	})
}

func (x *twitter) errorReply(kind Kind, endpoint string) reply {
	tokenEndpoint := endpoint == "token" || endpoint == "revoke"
	switch {
	case kind == Throttled:
		return twitterProblem(429, "Too Many Requests", "/2/problems/rate-limit-exceeded", "Too Many Requests").
			with("x-rate-limit-remaining", "0").
			with("x-rate-limit-reset", strconv.FormatInt(x.sandbox.now().Add(twitterWindow).Unix(), 10))
	case kind == Quota:
		return answerJSON(http.StatusPaymentRequired, object{
			"account_id": 1, "title": "CreditsDepleted", "detail": "Your enrolled account does not have any credits to fulfill this request.",
			"type": "https://api.twitter.com/2/problems/credits",
		})
	case kind == Outage:
		return twitterProblem(503, "Service Unavailable", "", "Service Unavailable")
	case kind == WrongClient && tokenEndpoint:
		return oauthError(401, "unauthorized_client", "Missing valid authorization header")
	case kind == WrongClient:
		return answerJSON(403, object{
			"title": "Client Forbidden", "status": 403, "reason": "client-not-enrolled", "required_enrollment": "Appropriate Level of API Access",
			"detail": "The client's app is not attached to a project.", "type": "https://api.twitter.com/2/problems/client-forbidden",
		})
	case tokenEndpoint:
		return oauthError(400, "invalid_request", "Value passed for the token was invalid.")
	}
	return twitterProblem(401, "Unauthorized", "", "Unauthorized")
}

// twitterProblem is API v2's error. Its types are URLs on api.twitter.com
// (https://docs.x.com/x-api/fundamentals/response-codes-and-errors,
// 2026-11-23); an empty type is about:blank.
func twitterProblem(status int, title, kind, detail string) reply {
	if kind == "" {
		kind = "about:blank"
	} else {
		kind = "https://api.twitter.com" + kind
	}
	return answerJSON(status, object{"title": title, "type": kind, "status": status, "detail": detail})
}
