package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// LongLivedKnobs change the behaviour of Instagram and Threads, whose access token is
// refreshed without a refresh token.
type LongLivedKnobs struct {
	CodeSeconds int `json:"code_seconds"` // an hour
	// ShortSeconds is the life of the token for a code: an hour. LongSeconds is the life
	// of the long-lived token: 60 days less 56 seconds
	// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login
	// and https://developers.facebook.com/docs/threads/get-started/long-lived-tokens/,
	// 2026-11-25).
	ShortSeconds int `json:"short_seconds"`
	LongSeconds  int `json:"long_seconds"`
	// RefreshAgeSeconds is how old a long-lived token must be to be refreshed: 24
	// hours, on the same pages.
	RefreshAgeSeconds int `json:"refresh_age_seconds"`
	// SameToken refreshes a token without a change of its string. The pages do not
	// say whether it changes.
	SameToken bool `json:"same_token"`
	// LongAtOnce issues a token of 60 days for a code.
	LongAtOnce bool `json:"long_at_once"`
	// ListAnswer returns the answer for a code as a list in data, as Instagram documents
	// it (the same page). Answers that were seen are an object.
	ListAnswer bool `json:"list_answer"`
	// TextIDs returns the user_id of that answer as a string, as documented, and its
	// permissions as a string. Answers that were seen have a number above 2^53 and a
	// list.
	TextIDs bool `json:"text_ids"`
	// OmitPermissions leaves the permissions out of that answer.
	OmitPermissions bool `json:"omit_permissions"`
	// Testers are the only people that can use the app, because it is in
	// development. Empty means everyone. The others get an error for their code.
	Testers []string `json:"testers"`
	// GoneInWords answers for a token that has ended with code 100 and "The requested
	// resource does not exist", in place of code 190
	// (https://github.com/trypostit/trypost/pull/254, 2026-11-25, of Threads).
	GoneInWords bool `json:"gone_in_words"`
	// VagueRefresh answers the refresh of a token that has ended as a wrong request, with
	// code 100, in place of 190
	// (https://github.com/in2code-de/instagram/issues/41 and
	// https://github.com/stevenschobert/instafeed.js/issues/654, 2026-11-25). The profile
	// has 190 still.
	VagueRefresh bool `json:"vague_refresh"`
	// Roles are the only people that a published app with standard access may serve.
	// Empty means everyone. The others get a token for their code, and the graph
	// refuses every call with it
	// (https://github.com/diwenne/openreply/pull/17, 2026-11-25, of Instagram).
	Roles []string `json:"roles"`
}

func defaultLongLivedKnobs() *LongLivedKnobs {
	return &LongLivedKnobs{CodeSeconds: 3600, ShortSeconds: 3600, LongSeconds: 5183944, RefreshAgeSeconds: 86400}
}

// longLived is a platform of Meta whose access token is refreshed without a refresh
// token: Instagram and Threads.
type longLived struct {
	*platform
	longLivedAPI
	notices int // how many were signed
}

// longLivedAPI is what differs between these platforms.
type longLivedAPI struct {
	authorize, redeem string // host and path
	graph             string // host
	mePath            string
	prefix            string // of tokens
	extendGrant       string
	refreshGrant      string
	scopes            []string // that the app may request; the first is always needed
	// optional says that the person can refuse scopes, and that the answer for a
	// code names the granted ones.
	optional bool
	errType  string // of errors of the graph
	// profile returns the fields that a person has.
	profile func(p *Person) object
	// authorizeError returns the page for a request that is refused.
	authorizeError func(code int, why string) reply
	// codeError returns the error for a code.
	codeError func(message string) reply
}

func (l *longLived) knobs() *LongLivedKnobs {
	return l.sandbox.knobs.byPlatform[l.name].(*LongLivedKnobs)
}

func (l *longLived) routes() []route {
	host, path := splitHost(l.authorize)
	tokenHost, tokenPath := splitHost(l.redeem)
	return []route{
		{endpoint: "authorize", method: "GET", host: host, path: path, handle: showConsent(l)},
		{endpoint: "consent", method: "POST", host: host, path: path, handle: acceptConsent(l)},
		{endpoint: "token", method: "POST", host: tokenHost, path: tokenPath, handle: l.token},
		{endpoint: "extend", method: "GET", host: l.graph, path: "/access_token", handle: l.extend},
		{endpoint: "refresh", method: "GET", host: l.graph, path: "/refresh_access_token", handle: l.refresh},
		{endpoint: "me", method: "GET", host: l.graph, path: l.mePath, handle: l.me},
	}
}

// accountCheckpoint is the reason of a grant whose person has to pass a checkpoint first:
// Facebook's subcode for it
// (https://developers.facebook.com/docs/graph-api/guides/error-handling, 2026-11-25).
const accountCheckpoint = 459

func splitHost(place string) (host, path string) {
	host, path, _ = strings.Cut(place, "/")
	return host, "/" + path
}

// The codes of errors of Threads' authorize page
// (https://github.com/fbsamples/threads_api/issues/13 and /17, 2026-11-25).
const (
	wrongAppID    = 1349026
	wrongRedirect = 1349168
)

// checkAuthorize checks as the authorize page does. A list of scopes has commas or
// spaces
// (https://developers.facebook.com/documentation/instagram-platform/reference/oauth-authorize,
// 2026-11-25).
func (l *longLived) checkAuthorize(c *call) (consentRequest, *reply) {
	q := c.query
	scopes := strings.FieldsFunc(q.Get("scope"), func(r rune) bool { return r == ',' || r == ' ' })
	code, why := 1, ""
	switch {
	case q.Get("client_id") != l.app.ClientID:
		code, why = wrongAppID, "Invalid platform app"
	case !slices.Contains(l.app.RedirectURIs, q.Get("redirect_uri")):
		code, why = wrongRedirect, "Invalid redirect_uri"
	case q.Get("response_type") != "code":
		why = "Invalid response_type"
	case !slices.Contains(scopes, l.scopes[0]) || !containsAll(l.scopes, scopes):
		why = "Invalid scope: " + q.Get("scope")
	}
	if why != "" {
		page := l.authorizeError(code, why)
		return consentRequest{}, &page
	}
	fixed := l.scopes[:1:1]
	if !l.optional {
		fixed = scopes
	}
	return consentRequest{scopes: scopes, fixed: fixed, redirectURI: q.Get("redirect_uri"), state: q.Get("state"), query: q}, nil
}

// redirect appends "#_" to the redirect with a code
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login
// and
// https://developers.facebook.com/documentation/threads/get-started/get-access-tokens-and-permissions,
// 2026-11-25).
func (l *longLived) redirect(q consentRequest, p *Person, choice Choice) string {
	if choice.Deny {
		return redirectTo(q.redirectURI, "error", "access_denied", "error_reason", "user_denied", "error_description", "The user denied your request", "state", q.state)
	}
	now := l.sandbox.now()
	value := l.newCode(l.sandbox.newSecret("AQsandbox-"), code{
		grant: l.newGrant(p, q.granted(choice), now), redirectURI: q.redirectURI, expires: expiresAfter(now, l.knobs().CodeSeconds),
	})
	return redirectTo(q.redirectURI, "code", value, "state", q.state) + "#_"
}

// token exchanges a code. The answer has no expires_in.
func (l *longLived) token(c *call) reply {
	granted, ok := l.codes[c.form.Get("code")]
	k := l.knobs()
	switch {
	case c.form.Get("client_id") != l.app.ClientID:
		return l.codeError("Invalid platform app")
	case !l.acceptsSecret(c.form.Get("client_secret")):
		return l.errorReply(WrongClient, "token")
	case c.form.Get("grant_type") != "authorization_code":
		return l.codeError("Invalid grant_type")
	case !ok || granted.used || granted.grant.dead || !c.now.Before(granted.expires):
		return l.codeError("Matching code was not found or was already used")
	case c.form.Get("redirect_uri") != granted.redirectURI:
		// chatwoot/chatwoot#11403 (2026-11-25).
		return l.codeError("Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request")
	case len(k.Testers) > 0 && !slices.Contains(k.Testers, granted.grant.person.ID):
		return l.codeError("Insufficient developer role")
	}
	granted.used = true
	g := granted.grant
	seconds := k.ShortSeconds
	if k.LongAtOnce {
		seconds = k.LongSeconds
	}
	answer := object{"access_token": l.issue(g, c.now, seconds, k.LongAtOnce), "user_id": json.Number(g.person.ID)}
	if l.optional && !k.OmitPermissions {
		answer["permissions"] = g.scopes
	}
	if k.TextIDs {
		answer["user_id"] = g.person.ID
		answer["permissions"] = strings.Join(g.scopes, ",")
	}
	if k.ListAnswer {
		answer = object{"data": []object{answer}}
	}
	return answerJSON(200, answer)
}

func (l *longLived) issue(g *grant, now time.Time, seconds int, long bool) string {
	return l.newToken(l.prefix, token{kind: access, grant: g, issued: now, expires: expiresAfter(now, seconds), long: long})
}

// extend exchanges a short-lived token. Code 452 was seen for one that is long-lived
// already (a note in a public repository, 2026-11-25; its message is assumed).
func (l *longLived) extend(c *call) reply {
	t, refused := l.live(c)
	switch {
	case c.query.Get("grant_type") != l.extendGrant:
		return l.error(400, 100, 0, "Unsupported request - method type: get")
	case !l.acceptsSecret(c.query.Get("client_secret")):
		return l.errorReply(WrongClient, "extend")
	case refused != nil:
		return *refused
	case t.long:
		return l.error(400, 452, 0, "Session key invalid. This could be because the session key has an incorrect format, or because the user has revoked this session")
	}
	seconds := l.knobs().LongSeconds
	return l.longAnswer(l.issue(t.grant, c.now, seconds, true), seconds)
}

// refresh refreshes a long-lived token that is old enough. The error for one that is
// not is assumed. The token before stays valid until it expires (assumed).
func (l *longLived) refresh(c *call) reply {
	t, refused := l.live(c)
	k := l.knobs()
	switch {
	case c.query.Get("grant_type") != l.refreshGrant, refused != nil && k.VagueRefresh:
		return l.error(400, 100, 0, "Unsupported request - method type: get")
	case refused != nil:
		return *refused
	case !t.long, c.now.Sub(t.issued) < time.Duration(k.RefreshAgeSeconds)*time.Second:
		return l.error(400, 100, 0, "The access token cannot be refreshed yet")
	}
	if k.SameToken {
		t.issued, t.expires = c.now, expiresAfter(c.now, k.LongSeconds)
		return l.longAnswer(sentToken(c), k.LongSeconds)
	}
	return l.longAnswer(l.issue(t.grant, c.now, k.LongSeconds, true), k.LongSeconds)
}

func (l *longLived) longAnswer(value string, seconds int) reply {
	return answerJSON(200, object{"access_token": value, "token_type": "bearer", "expires_in": seconds})
}

// live returns the token of a call, or the error for an invalid one. A session that
// has ended has code 190 and the subcode 0
// (https://github.com/Msameim181/n8n-nodes-instagram-integrations/issues/8,
// 2026-11-25).
func (l *longLived) live(c *call) (*token, *reply) {
	t := l.tokens[sentToken(c)]
	subcode, message := 0, ""
	switch {
	case t != nil && (t.grant.dead || t.expired(c.now)) && l.knobs().GoneInWords:
		refused := l.error(400, 100, 0, "The requested resource does not exist")
		return nil, &refused
	case t == nil:
		message = "Invalid OAuth access token - Cannot parse access token"
	case t.grant.dead && t.grant.reason == accountCheckpoint:
		// gitroomhq/postiz-app#2054 has the message, without a subcode (2026-11-25).
		host, _, _ := strings.Cut(l.authorize, "/")
		message = "Error validating access token: You cannot access the app till you log in to " + host + " and follow the instructions given."
	case t.grant.dead:
		subcode, message = t.grant.reason, "Error validating access token: The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons."
	case t.expired(c.now):
		message = "Error validating access token: Session has expired."
	case !l.serves(t.grant.person):
		refused := l.error(400, 100, 0, "Unsupported request - method type: get")
		return nil, &refused
	default:
		return t, nil
	}
	refused := l.error(400, 190, subcode, message)
	return nil, &refused
}

// serves reports whether the app may serve a person.
func (l *longLived) serves(p *Person) bool {
	roles := l.knobs().Roles
	return len(roles) == 0 || slices.Contains(roles, p.ID)
}

// me returns the requested fields of the profile, and leaves out those without a
// value.
func (l *longLived) me(c *call) reply {
	t, refused := l.live(c)
	if refused != nil {
		return *refused
	}
	profile, answer := l.profile(t.grant.person), object{"id": t.grant.person.ID}
	for _, field := range strings.Split(c.query.Get("fields"), ",") {
		value, known := profile[field]
		if !known {
			return l.error(400, 100, 0, "Tried accessing nonexisting field ("+field+")")
		}
		if value != "" {
			answer[field] = value
		}
	}
	return answerJSON(200, answer)
}

func (l *longLived) errorReply(kind Kind, endpoint string) reply {
	switch kind {
	case WrongClient:
		if endpoint == "token" {
			return l.codeError("Error validating client secret.")
		}
		return l.error(400, 100, 0, "Error validating client secret.")
	case Throttled, Quota:
		return l.error(403, 4, 0, "(#4) Application request limit reached")
	case Outage:
		return l.error(http.StatusServiceUnavailable, 2, 0, "An unexpected error has occurred. Please retry your request later.")
	}
	if endpoint == "token" {
		return l.codeError("Matching code was not found or was already used")
	}
	return l.error(400, 190, 460, "Error validating access token: The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons.")
}

// error is an error of the graph. Its type is one of two
// (https://github.com/restfb/restfb/issues/1558, 2026-11-25).
func (l *longLived) error(status, code, subcode int, message string) reply {
	inner := object{"message": message, "type": l.errType, "code": code, "error_subcode": subcode, "fbtrace_id": "sandbox"}
	if code == 190 {
		inner["type"] = "OAuthException"
	}
	return answerJSON(status, object{"error": inner})
}

// notice implements noticer. A signed request has the id of the account for the app
// (https://developers.facebook.com/docs/development/create-an-app/app-dashboard/data-deletion-callback,
// 2026-11-25), and is signed with the secret of the platform's own app (assumed).
func (l *longLived) notice(_, userID string) Notice {
	l.notices++
	return signedNotice(l.app.ClientSecret, userID, l.notices, l.sandbox.now())
}
