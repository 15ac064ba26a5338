package sandbox

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	googleYouTube      = "https://www.googleapis.com/auth/youtube"
	googleAuthority    = "https://accounts.google.com"
	googleRefreshLimit = 100 // live refresh tokens of one account for one client; assumed, older texts say 25 and 50
)

// googleScopes are the scopes that the app may request. The value tells whether
// the scope alone permits channels.list. youtube.upload does not
// (https://developers.google.com/youtube/v3/docs/channels/list,
// 2026-11-23).
var googleScopes = map[string]bool{
	googleYouTube:                                           true,
	googleYouTube + ".readonly":                             true,
	googleYouTube + ".force-ssl":                            true,
	googleYouTube + "partner":                               true,
	googleYouTube + ".upload":                               false,
	"https://www.googleapis.com/auth/yt-analytics.readonly": false,
	"https://www.googleapis.com/auth/userinfo.profile":      false,
	"https://www.googleapis.com/auth/userinfo.email":        false,
	"openid":  false,
	"email":   false,
	"profile": false,
}

// googleNames are the names with which Google answers for scopes that it takes
// under a shorter name. For either of them it also answers with openid
// (googleapis/google-api-python-client#1088, 2026-11-25).
var googleNames = map[string]string{
	"email":   "https://www.googleapis.com/auth/userinfo.email",
	"profile": "https://www.googleapis.com/auth/userinfo.profile",
}

// answeredScopes returns the scopes under the names with which Google answers.
func answeredScopes(scopes []string) []string {
	var answered []string
	for _, scope := range scopes {
		name, short := googleNames[scope]
		if !short {
			name = scope
		}
		answered = union(answered, []string{name})
		if short {
			answered = union(answered, []string{"openid"})
		}
	}
	return answered
}

// YouTube is the name of the platform.
const YouTube = "youtube"

// YouTubeKnobs change how Google behaves.
type YouTubeKnobs struct {
	CodeSeconds   int `json:"code_seconds"`
	AccessSeconds int `json:"access_seconds"`

	// Testing is an app whose consent screen is in Testing. Its refresh tokens
	// expire after 7 days, which the answer contains
	// (https://developers.google.com/identity/protocols/oauth2#expiration,
	// 2026-11-23).
	Testing bool `json:"testing"`
	// OmitGrantEnd leaves refresh_token_expires_in out of the answers. Google
	// documents it for time-based access alone
	// (https://developers.google.com/identity/protocols/oauth2/web-server#exchange-authorization-code,
	// 2026-11-25).
	OmitGrantEnd bool `json:"omit_grant_end"`
	// TimeLimitSeconds is time-based access: the person allows the app so many
	// seconds. An answer for 180 days has 15551999
	// (google/GoogleSignIn-iOS#565, 2026-11-25). Zero means no limit.
	TimeLimitSeconds int `json:"time_limit_seconds"`
	// TestUsers are the only people that can use a Testing app. Empty means
	// everyone.
	TestUsers []string `json:"test_users"`
	// OmitRefreshToken leaves the refresh token out of every answer.
	OmitRefreshToken bool `json:"omit_refresh_token"`
	// IdleDays is the time after which an unused refresh token ends.
	IdleDays int `json:"idle_days"`
	// DailyUnits is the project's quota, which is reset at midnight Pacific time.
	// channels.list costs one unit
	// (https://developers.google.com/youtube/v3/determine_quota_cost,
	// 2026-11-23).
	DailyUnits int `json:"daily_units"`
	// SessionControl refuses every refresh as a Workspace policy does:
	// invalid_grant with the subtype invalid_rapt.
	SessionControl bool `json:"session_control"`
	// PolicyRefusal is the error with which the token endpoint refuses every code and
	// every refresh: admin_policy_enforced, that of a Workspace's administrator
	// (dust-tt/dust#31975, 2026-11-25), policy_enforced, that of an account in Advanced
	// Protection (twentyhq/twenty#25148, 2026-11-25), or access_denied, that of an
	// account which Google restricted (closeio/sync-engine#1014, 2026-11-25). The status
	// and the text are assumed. Empty means none.
	PolicyRefusal string `json:"policy_refusal"`
	// AccountRefusal is the reason with which the Data API refuses the account
	// of every token with status 403: authenticatedUserAccountClosed,
	// authenticatedUserAccountSuspended, authenticatedUserNotChannel,
	// channelClosed, channelNotFound or channelSuspended
	// (https://developers.google.com/youtube/v3/docs/errors, 2026-11-25). Empty
	// means none.
	AccountRefusal string `json:"account_refusal"`
	// ProjectRefusal is the reason with which the Data API refuses every token of the
	// project: CONSUMER_SUSPENDED (google/generative-ai-docs#356, of another API of
	// Google, 2026-11-25) or CONSUMER_INVALID, which is a deleted project
	// (googleapis/google-api-php-client#2422, 2026-11-25). Empty means none.
	ProjectRefusal string `json:"project_refusal"`
}

func defaultYouTubeKnobs() YouTubeKnobs {
	return YouTubeKnobs{CodeSeconds: 600, AccessSeconds: 3599, IdleDays: 183, DailyUnits: 10_000}
}

const googleTestingSeconds = 604799

type youtube struct {
	*platform
	units map[string]int // by Pacific day
}

// pacific has no daylight saving time, which the sandbox does not need.
var pacific = time.FixedZone("PST", -8*3600)

func newYouTube(s *Sandbox) dialect {
	knobs := defaultYouTubeKnobs()
	p := newPlatform(s, YouTube, "Google", &knobs,
		App{ClientID: "sandbox-youtube-client", ClientSecret: "sandbox-youtube-secret"},
		&Person{ID: "100000000000000000001", Name: "Sandbox Channel One", Username: "one@sandbox.example", Channel: "UCsandbox-channel-one-01", ChannelTitle: "Sandbox Channel One",
			BrandChannels: []Channel{{"UCsandbox-brand-one-0001", "Sandbox Brand One"}, {"UCsandbox-brand-two-0001", "Sandbox Brand Two"}}},
		&Person{ID: "100000000000000000002", Name: "Sandbox Channel Two", Username: "two@sandbox.example", Channel: "UCsandbox-channel-two-02", ChannelTitle: "Sandbox Channel Two"},
		&Person{ID: "100000000000000000003", Name: "Somebody without a channel", Username: "none@sandbox.example"},
	)
	p.aliases = map[string]string{"youtube.googleapis.com": "www.googleapis.com"}
	return &youtube{p, map[string]int{}}
}

func (y *youtube) routes() []route {
	return []route{
		{endpoint: "authorize", method: "GET", host: "accounts.google.com", path: "/o/oauth2/v2/auth", handle: showConsent(y)},
		{endpoint: "consent", method: "POST", host: "accounts.google.com", path: "/o/oauth2/v2/auth", handle: acceptConsent(y)},
		{endpoint: "token", method: "POST", host: "oauth2.googleapis.com", path: "/token", handle: y.token},
		{endpoint: "revoke", method: "POST", host: "oauth2.googleapis.com", path: "/revoke", handle: y.revoke},
		{endpoint: "tokeninfo", method: "GET POST", host: "oauth2.googleapis.com", path: "/tokeninfo", handle: y.tokeninfo},
		{endpoint: "channels", method: "GET", host: "www.googleapis.com", path: "/youtube/v3/channels", handle: y.channels},
	}
}

// YouTube returns the knobs of Google.
func (k *Knobs) YouTube() *YouTubeKnobs { return k.byPlatform[YouTube].(*YouTubeKnobs) }

func (y *youtube) knobs() *YouTubeKnobs { return y.sandbox.knobs.YouTube() }

// checkAuthorize checks as Google's authorize page does. Its errors are pages, not
// redirects (https://developers.google.com/identity/protocols/oauth2/web-server
// #authorization-errors, 2026-11-23).
func (y *youtube) checkAuthorize(c *call) (consentRequest, *reply) {
	refuse := func(status int, code, why string) (consentRequest, *reply) {
		page := errorPage(status, errorText{y.title, "Error " + strconv.Itoa(status) + ": " + code, why})
		return consentRequest{}, &page
	}
	q := c.query
	for name, values := range q {
		if len(values) > 1 {
			return refuse(400, "invalid_request", "OAuth 2 parameters can only have a single value: "+name)
		}
	}
	scopes := strings.Fields(q.Get("scope"))
	challenge, method := q.Get("code_challenge"), q.Get("code_challenge_method")
	switch {
	case q.Get("client_id") == "":
		return refuse(400, "invalid_request", "Missing required parameter: client_id")
	case q.Get("client_id") != y.app.ClientID:
		return refuse(401, "invalid_client", "The OAuth client was not found.")
	case q.Get("redirect_uri") == "":
		return refuse(400, "invalid_request", "Missing required parameter: redirect_uri")
	case !slices.Contains(y.app.RedirectURIs, q.Get("redirect_uri")):
		return refuse(400, "redirect_uri_mismatch", "The redirect URI in the request is not registered for this client.")
	case q.Get("response_type") != "code":
		return refuse(400, "unsupported_response_type", "Only response_type=code is played here.")
	case len(scopes) == 0:
		return refuse(400, "invalid_request", "Missing required parameter: scope")
	case q.Has("access_type") && q.Get("access_type") != "offline" && q.Get("access_type") != "online":
		return refuse(400, "invalid_request", "Invalid parameter value for access_type")
	case !validPrompt(q.Get("prompt")):
		return refuse(400, "invalid_request", "Invalid parameter value for prompt")
	case method != "" && method != "S256" && method != "plain":
		return refuse(400, "invalid_request", "Invalid code_challenge_method")
	case method != "" && challenge == "", challenge != "" && !isVerifier(challenge), method == "S256" && len(challenge) != 43:
		return refuse(400, "invalid_request", "Invalid code_challenge")
	}
	for _, scope := range scopes {
		if _, known := googleScopes[scope]; !known {
			return refuse(400, "invalid_scope", "Some requested scopes were invalid: "+scope)
		}
	}
	return consentRequest{
		scopes: scopes, redirectURI: q.Get("redirect_uri"), state: q.Get("state"), query: q,
		// Without select_account Google takes the account that was selected last, and
		// shows neither the accounts nor the channels of their brand accounts
		// (gitroomhq/postiz-app#1239, #1872, 2026-11-25). prompt is a list with spaces
		// (https://developers.google.com/identity/protocols/oauth2/web-server, 2026-11-25).
		channels: slices.Contains(strings.Fields(q.Get("prompt")), "select_account"),
	}, nil
}

func validPrompt(prompt string) bool {
	for _, value := range strings.Fields(prompt) {
		if value != "consent" && value != "select_account" {
			return false
		}
	}
	return true
}

// redirect issues a refresh token only for offline access, and only if Google
// showed the consent: with prompt=consent, or if the person had not granted all
// scopes before
// (https://developers.google.com/identity/protocols/oauth2/web-server#offline,
// 2026-11-23; zquestz/omniauth-google-oauth2#467). Success and denial have the
// issuer (RFC 9207).
func (y *youtube) redirect(q consentRequest, p *Person, choice Choice) string {
	k := y.knobs()
	tester := !k.Testing || len(k.TestUsers) == 0 || slices.Contains(k.TestUsers, p.ID)
	if choice.Deny || !tester {
		return redirectTo(q.redirectURI, "error", "access_denied", "state", q.state, "iss", googleAuthority)
	}
	before, requested := y.allowed(p), answeredScopes(q.scopes)
	shown := slices.Contains(strings.Fields(q.query.Get("prompt")), "consent") || !containsAll(before, requested)
	granted := answeredScopes(q.granted(choice))
	if !shown {
		granted = requested
	}
	if len(granted) == 0 {
		return redirectTo(q.redirectURI, "error", "access_denied", "state", q.state, "iss", googleAuthority)
	}
	if q.query.Get("include_granted_scopes") == "true" {
		granted = union(granted, before)
	}
	now := y.sandbox.now()
	g := y.newGrant(p, granted, now)
	for _, channel := range p.channels() {
		if g.channel == (Channel{}) || channel.ID == choice.Channel {
			g.channel = channel
		}
	}
	value := y.newCode(y.sandbox.newSecret("4/sandbox-"), code{
		grant: g, redirectURI: q.redirectURI,
		challenge: q.query.Get("code_challenge"), method: q.query.Get("code_challenge_method"),
		offline: shown && q.query.Get("access_type") == "offline" && !k.OmitRefreshToken,
		expires: expiresAfter(now, k.CodeSeconds),
	})
	return redirectTo(q.redirectURI, "state", q.state, "iss", googleAuthority, "code", value,
		"scope", strings.Join(granted, " "), "authuser", "0", "prompt", "consent")
}

// allowed returns the scopes that p granted so far.
func (y *youtube) allowed(p *Person) []string {
	var scopes []string
	for _, g := range y.grants {
		if g.person == p && !g.dead {
			scopes = union(scopes, g.scopes)
		}
	}
	return scopes
}

func (y *youtube) token(c *call) reply {
	switch name := c.duplicateParameter(); {
	case c.form == nil:
		return oauthError(400, "invalid_request", "Missing required parameter: grant_type")
	case name != "":
		return oauthError(400, "invalid_request", "OAuth 2 parameters can only have a single value: "+name)
	}
	if refused := y.authenticate(c); refused != nil {
		return *refused
	}
	if refusal := y.knobs().PolicyRefusal; refusal != "" {
		return oauthError(400, refusal, "The account's policy does not allow this.")
	}
	switch c.form.Get("grant_type") {
	case "authorization_code":
		return y.redeem(c)
	case "refresh_token":
		return y.refresh(c)
	case "":
		return oauthError(400, "invalid_request", "Missing required parameter: grant_type")
	}
	return oauthError(400, "unsupported_grant_type", "Invalid grant_type: "+c.form.Get("grant_type"))
}

// authenticate reads the client's id and secret from parameters or from Basic.
func (y *youtube) authenticate(c *call) *reply {
	id, secret := c.form.Get("client_id"), c.form.Get("client_secret")
	if user, password, ok := c.basic(); ok {
		id, secret = user, password
	}
	var refused reply
	switch {
	case id == "":
		refused = oauthError(400, "invalid_request", "Could not determine client ID from request.")
	case id != y.app.ClientID:
		refused = oauthError(401, "invalid_client", "The OAuth client was not found.")
	case secret == "":
		refused = oauthError(400, "invalid_request", "client_secret is missing.")
	case !y.acceptsSecret(secret):
		refused = y.errorReply(WrongClient, "token")
	default:
		return nil
	}
	return &refused
}

// redeem exchanges a code. The texts of the errors come from the issues
// panva/oauth4webapi#119 and googleapis/google-api-nodejs-client#3680 (read
// 2026-11-23), as far as they have them.
func (y *youtube) redeem(c *call) reply {
	granted, ok := y.codes[c.form.Get("code")]
	verifier := c.form.Get("code_verifier")
	switch {
	case c.form.Get("code") == "":
		return oauthError(400, "invalid_request", "Missing required parameter: code")
	case !ok:
		return oauthError(400, "invalid_grant", "Malformed auth code.")
	case granted.used || !c.now.Before(granted.expires) || granted.grant.dead:
		return oauthError(400, "invalid_grant", "Bad Request")
	case c.form.Get("redirect_uri") != granted.redirectURI:
		return oauthError(400, "redirect_uri_mismatch", "Bad Request")
	case granted.challenge != "" && verifier == "":
		return oauthError(400, "invalid_grant", "Missing code verifier.")
	case granted.challenge == "" && verifier != "":
		return oauthError(400, "invalid_grant", "code_verifier or verifier is not needed.")
	case !matchesChallenge(granted, verifier):
		return oauthError(400, "invalid_grant", "Invalid code verifier.")
	}
	granted.used = true
	answer := y.issue(granted.grant, c.now)
	if granted.offline {
		k := y.knobs()
		t := token{kind: refresh, grant: granted.grant, issued: c.now, used: c.now}
		seconds := k.TimeLimitSeconds
		if k.Testing {
			seconds = googleTestingSeconds
		}
		if t.expires = expiresAfter(c.now, seconds); seconds > 0 && !k.OmitGrantEnd {
			answer["refresh_token_expires_in"] = seconds
		}
		answer["refresh_token"] = y.newToken("1//sandbox-", t)
		y.evict(granted.grant.person)
	}
	return answerJSON(200, answer)
}

func (y *youtube) issue(g *grant, now time.Time) object {
	seconds := y.knobs().AccessSeconds
	return object{
		"access_token": y.newToken("ya29.sandbox-", token{kind: access, grant: g, issued: now, expires: expiresAfter(now, seconds)}),
		"expires_in":   seconds,
		"scope":        strings.Join(g.scopes, " "),
		"token_type":   "Bearer",
	}
}

// evict ends the oldest refresh tokens beyond the limit without an error.
func (y *youtube) evict(p *Person) {
	var alive []*token
	for _, t := range y.tokens {
		if t.kind == refresh && t.grant.person == p && !t.spent && !t.grant.dead {
			alive = append(alive, t)
		}
	}
	slices.SortStableFunc(alive, func(a, b *token) int { return a.serial - b.serial })
	for len(alive) > googleRefreshLimit {
		alive[0].spent = true
		alive = alive[1:]
	}
}

// refresh answers without a refresh token. The one that was sent stays valid.
func (y *youtube) refresh(c *call) reply {
	k := y.knobs()
	t := y.find(c.form.Get("refresh_token"), refresh, c.now)
	idle := time.Duration(k.IdleDays) * 24 * time.Hour
	switch {
	case c.form.Get("refresh_token") == "":
		return oauthError(400, "invalid_request", "Missing required parameter: refresh_token")
	case t == nil || c.now.Sub(t.used) > idle:
		return y.errorReply(DeadGrant, "token")
	case t.grant.client != y.app.ClientID:
		// taylorwilsdon/google_workspace_mcp#933 and prasmussen/gdrive#375, 2026-11-25
		return oauthError(401, "unauthorized_client", "Unauthorized")
	case k.SessionControl:
		return answerJSON(400, object{"error": "invalid_grant", "error_description": "reauth related error (invalid_rapt)", "error_subtype": "invalid_rapt"})
	}
	t.used = c.now
	answer := y.issue(t.grant, c.now)
	if !t.expires.IsZero() && !k.OmitGrantEnd {
		answer["refresh_token_expires_in"] = secondsUntil(c.now, t.expires)
	}
	return answerJSON(200, answer)
}

// revoke reads an access or a refresh token in the form or the query, and ends
// every grant of its person
// (https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke,
// 2026-11-23).
func (y *youtube) revoke(c *call) reply {
	t := y.tokens[c.parameter("token")]
	if t == nil || t.spent || t.grant.dead || t.expired(c.now) {
		return oauthError(400, "invalid_token", "Token expired or revoked")
	}
	y.kill(t.grant.person.ID, 0)
	return answerJSON(200, object{})
}

// tokeninfo returns numbers and booleans as strings
// (https://pkg.go.dev/go.chromium.org/luci/common/gcloud/googleoauth,
// 2026-11-23).
func (y *youtube) tokeninfo(c *call) reply {
	t := y.find(c.parameter("access_token"), access, c.now)
	if t == nil {
		return oauthError(400, "invalid_token", "Invalid Value")
	}
	return answerJSON(200, object{
		"azp": y.app.ClientID, "aud": y.app.ClientID, "sub": t.grant.person.ID,
		"scope": strings.Join(t.grant.scopes, " "), "access_type": "offline",
		"exp":        strconv.FormatInt(t.expires.Unix(), 10),
		"expires_in": strconv.Itoa(secondsUntil(c.now, t.expires)),
	})
}

func (y *youtube) channels(c *call) reply {
	t := y.find(c.bearer(), access, c.now)
	switch {
	case t == nil:
		return y.errorReply(DeadGrant, "channels")
	case !slices.ContainsFunc(t.grant.scopes, func(s string) bool { return googleScopes[s] }):
		return googleError(403, "insufficientPermissions", "PERMISSION_DENIED", "Request had insufficient authentication scopes.").
			with("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="insufficient_scope"`)
	case c.query.Get("part") == "":
		return googleError(400, "missingRequiredParameter", "INVALID_ARGUMENT", "No part selected.")
	case c.query.Get("mine") != "true":
		return googleError(400, "missingRequiredParameter", "INVALID_ARGUMENT", "No filter selected. Expected one of: mine")
	}
	if reason := y.knobs().ProjectRefusal; reason != "" {
		return answerJSON(403, object{"error": object{
			"code": 403, "message": "The project cannot be used.", "status": "PERMISSION_DENIED",
			"errors":  []object{{"message": "The project cannot be used.", "domain": "global", "reason": "forbidden"}},
			"details": []object{{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}},
		}})
	}
	if reason := y.knobs().AccountRefusal; reason != "" {
		return googleError(403, reason, "PERMISSION_DENIED", "The account cannot be used.")
	}
	day := c.now.In(pacific).Format(time.DateOnly)
	if y.units[day]++; y.units[day] > y.knobs().DailyUnits {
		return y.errorReply(Quota, "channels")
	}
	// Without a channel, items are missing and the status is 200.
	answer := object{"kind": "youtube#channelListResponse", "etag": "sandbox", "pageInfo": object{"totalResults": 0, "resultsPerPage": 5}}
	if t.grant.channel != (Channel{}) {
		answer["pageInfo"] = object{"totalResults": 1, "resultsPerPage": 5}
		answer["items"] = []object{channelItem(t.grant.channel, strings.Split(c.query.Get("part"), ","))}
	}
	return answerJSON(200, answer)
}

// channelItem returns the requested parts. It always has the id.
func channelItem(channel Channel, parts []string) object {
	item := object{"kind": "youtube#channel", "etag": "sandbox", "id": channel.ID}
	if slices.Contains(parts, "snippet") {
		item["snippet"] = object{"title": channel.Title, "description": "", "customUrl": "@" + strings.ToLower(strings.ReplaceAll(channel.Title, " ", "")), "thumbnails": object{}}
	}
	return item
}

// errorReply returns an error of the token endpoint or, for any other endpoint,
// of the Data API.
func (y *youtube) errorReply(kind Kind, endpoint string) reply {
	if endpoint == "channels" {
		switch kind {
		case Throttled:
			return googleError(403, "rateLimitExceeded", "RESOURCE_EXHAUSTED", "Rate limit exceeded.")
		case Quota:
			return googleError(403, "quotaExceeded", "RESOURCE_EXHAUSTED", "The request cannot be completed because you have exceeded your quota.")
		case WrongClient:
			return googleError(403, "accessNotConfigured", "PERMISSION_DENIED", "The API has not been used in this project before or it is disabled.")
		case Outage:
			return googleError(503, "backendError", "UNAVAILABLE", "Backend Error")
		}
		return googleError(401, "authError", "UNAUTHENTICATED", "Request had invalid authentication credentials.").
			with("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
	}
	switch kind {
	case Throttled, Quota:
		return oauthError(429, "rate_limit_exceeded", "Rate limit exceeded.")
	case WrongClient:
		return oauthError(401, "invalid_client", "Unauthorized")
	case Outage:
		return oauthError(503, "internal_failure", "Backend Error")
	}
	return oauthError(400, "invalid_grant", "Token has been expired or revoked.")
}

// googleError is the Data API's error
// (https://developers.google.com/youtube/v3/docs/errors, 2026-11-23).
func googleError(status int, reason, name, message string) reply {
	return answerJSON(status, object{"error": object{
		"code": status, "message": message, "status": name,
		"errors": []object{{"message": message, "domain": googleDomain(reason), "reason": reason}},
	}})
}

func googleDomain(reason string) string {
	switch reason {
	case "quotaExceeded":
		return "youtube.quota"
	case "rateLimitExceeded", "accessNotConfigured":
		return "usageLimits"
	}
	return "global"
}
