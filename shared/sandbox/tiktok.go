package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tiktokFields are the fields of user/info by the scope that each needs
// (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info, 2026-11-23).
var tiktokFields = map[string]string{
	"open_id": "user.info.basic", "union_id": "user.info.basic", "avatar_url": "user.info.basic",
	"avatar_url_100": "user.info.basic", "avatar_large_url": "user.info.basic", "display_name": "user.info.basic",
	"username": "user.info.profile", "bio_description": "user.info.profile", "profile_deep_link": "user.info.profile", "is_verified": "user.info.profile",
	"follower_count": "user.info.stats", "following_count": "user.info.stats", "likes_count": "user.info.stats", "video_count": "user.info.stats",
}

var tiktokScopes = []string{"user.info.basic", "user.info.profile", "user.info.stats", "video.list", "video.upload", "video.publish"}

// TikTok is the name of the platform.
const TikTok = "tiktok"

// TikTokKnobs change how TikTok behaves.
type TikTokKnobs struct {
	CodeSeconds int `json:"code_seconds"`
	// AccessSeconds and RefreshSeconds are 2 hours and 180 days
	// (https://developers.tiktok.com/docs/en/oauth-refresh-a-user-access-token,
	// 2026-11-05); before, they were 86400 and 31536000, see Legacy.
	AccessSeconds  int `json:"access_seconds"`
	RefreshSeconds int `json:"refresh_seconds"`
	// RestartRefresh issues each refresh token with a full lifetime. TikTok does
	// not document whether it does.
	RestartRefresh bool `json:"restart_refresh"`
	// KeepRefreshToken returns the same refresh token, as the older documents
	// allow.
	KeepRefreshToken bool `json:"keep_refresh_token"`

	// PKCE is "required", or "optional" as the documents have it for the
	// web. A challenge is the lower-case hex of the verifier's SHA-256 unless
	// Base64Challenge is set.
	PKCE            string `json:"pkce"`
	Base64Challenge bool   `json:"base64_challenge"`
	// OmitUnionID leaves union_id out of user/info.
	OmitUnionID bool `json:"omit_union_id"`
	// ErrorsIn200 sends errors of the token endpoint with status 200.
	ErrorsIn200 bool `json:"errors_in_200"`
	// TargetUsers are the only people that can use an app in TikTok's own
	// sandbox. Anyone else is refused with non_sandbox_target
	// (OmegaNetwork-source/creator_os, SANDBOX_SETUP.md at 60aa472, read 2026-11-25).
	// That this is error_type, beside access_denied, is assumed. Empty means everyone.
	TargetUsers []string `json:"target_users"`
	// UserInfoPerMinute limits the app, CreatorPerMinute one access token
	// (https://developers.tiktok.com/doc/tiktok-api-v2-rate-limit,
	// 2026-11-23).
	UserInfoPerMinute int `json:"user_info_per_minute"`
	CreatorPerMinute  int `json:"creator_per_minute"`
	// UserCapReached refuses creator_info for the day.
	UserCapReached bool `json:"user_cap_reached"`
}

func defaultTikTokKnobs() TikTokKnobs {
	return TikTokKnobs{CodeSeconds: 600, AccessSeconds: 7200, RefreshSeconds: 15552000, PKCE: "required", UserInfoPerMinute: 600, CreatorPerMinute: 20}
}

// Legacy sets the lifetimes that TikTok had before November 2026: 24 hours and
// 365 days.
func (k *TikTokKnobs) Legacy() { k.AccessSeconds, k.RefreshSeconds = 86400, 31536000 }

type tiktok struct {
	*platform
	used windows
	// first is the client id whose open_ids are the ids of the people.
	first string
	// session is the person who consented last, and is signed in in the browser.
	session *Person
}

func newTikTok(s *Sandbox) dialect {
	knobs := defaultTikTokKnobs()
	app := App{ClientID: "sandbox-tiktok-client", ClientSecret: "sandbox-tiktok-secret"}
	p := newPlatform(s, TikTok, "TikTok", &knobs,
		app,
		&Person{ID: "-000sandbox-open-id-one", UnionID: "sandbox-union-id-one", Name: "Sandbox Creator One", Username: "sandbox.creator.one"},
		&Person{ID: "-000sandbox-open-id-two", UnionID: "sandbox-union-id-two", Name: "Sandbox Creator Two", Username: "sandbox.creator.two", Private: true},
	)
	p.refusals = map[string][]string{
		// The codes of the former form are those of tiktok/tiktok-opensdk-android#29 and
		// Lg0gs/react-native-tiktok#9 (read 2026-11-25). That they come in the redirect
		// and without error is assumed.
		"code of a denial":    {"errCode", "-2"},
		"code of a wrong app": {"errCode", "10006"},
		"type alone":          {"error_type", "redirect_uri", "errCode", "10006"},
	}
	return &tiktok{platform: p, used: windows{}, first: app.ClientID}
}

// openID returns the id that a client sees of a person. Each client of a developer
// sees another one, and all see the same union_id
// (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info, 2026-11-25). A sandbox
// has a client key of its own
// (https://developers.tiktok.com/doc/add-a-sandbox/, 2026-11-25).
func (t *tiktok) openID(p *Person, client string) string {
	if client == t.first {
		return p.ID
	}
	sum := sha256.Sum256([]byte(client + " " + p.ID))
	return "-000" + hex.EncodeToString(sum[:12])
}

// OpenID returns the open_id of a person for the app that is registered with TikTok.
func (s *Sandbox) OpenID(account string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.dialect(TikTok).(*tiktok)
	return t.openID(t.person(account), t.app.ClientID)
}

// skip implements skipper. With disable_auto_auth=1 TikTok always shows the page. With 0
// it skips the page for a valid session
// (https://developers.tiktok.com/doc/login-kit-web, 2026-11-25): of a person who granted
// these scopes to the app before. Assumed: 0 is what it takes where the parameter is
// missing.
func (t *tiktok) skip(q consentRequest) *Person {
	if q.query.Get("disable_auto_auth") == "1" || t.session == nil {
		return nil
	}
	for _, g := range t.grants {
		if g.person == t.session && !g.dead && g.client == t.app.ClientID && containsAll(g.scopes, q.scopes) {
			return t.session
		}
	}
	return nil
}

func (t *tiktok) routes() []route {
	return []route{
		{endpoint: "authorize", method: "GET", host: "www.tiktok.com", path: "/v2/auth/authorize/", handle: showConsent(t)},
		{endpoint: "consent", method: "POST", host: "www.tiktok.com", path: "/v2/auth/authorize/", handle: acceptConsent(t)},
		{endpoint: "token", method: "POST", host: "open.tiktokapis.com", path: "/v2/oauth/token/", handle: t.token},
		{endpoint: "revoke", method: "POST", host: "open.tiktokapis.com", path: "/v2/oauth/revoke/", handle: t.revoke},
		{endpoint: "me", method: "GET", host: "open.tiktokapis.com", path: "/v2/user/info/", handle: t.userInfo},
		{endpoint: "creator", method: "POST", host: "open.tiktokapis.com", path: "/v2/post/publish/creator_info/query/", handle: t.creatorInfo},
	}
}

// TikTok returns the knobs of TikTok.
func (k *Knobs) TikTok() *TikTokKnobs { return k.byPlatform[TikTok].(*TikTokKnobs) }

func (t *tiktok) knobs() *TikTokKnobs { return t.sandbox.knobs.TikTok() }

// checkAuthorize checks as TikTok's authorize page does
// (https://developers.tiktok.com/doc/login-kit-web, 2026-11-23).
func (t *tiktok) checkAuthorize(c *call) (consentRequest, *reply) {
	q := c.query
	scopes := slices.DeleteFunc(strings.Split(q.Get("scope"), ","), func(s string) bool { return s == "" })
	challenge := q.Get("code_challenge")
	code, why := "", ""
	switch {
	case q.Get("client_key") != t.app.ClientID:
		code, why = "client_key", "The client_key is missing or unknown."
	case !slices.Contains(t.app.RedirectURIs, q.Get("redirect_uri")):
		code, why = "redirect_uri", "The redirect_uri is not registered."
	case q.Get("response_type") != "code":
		code, why = "unsupported_response_type", "response_type must be code."
	case !slices.Contains(scopes, "user.info.basic") || !containsAll(tiktokScopes, scopes):
		code, why = "scope", "The scope list, separated by commas, lacks user.info.basic or names an unknown scope."
	case t.knobs().PKCE == "required" && challenge == "":
		code, why = "code_challenge", "A code_challenge is required."
	case !slices.Contains([]string{"", "0", "1"}, q.Get("disable_auto_auth")):
		code, why = "disable_auto_auth", "disable_auto_auth must be 0 or 1."
	case challenge != "" && q.Get("code_challenge_method") != "S256":
		code, why = "code_challenge_method", "code_challenge_method must be S256."
	}
	if why != "" {
		page := errorPage(400, errorText{t.title, "Something went wrong", why + " (" + code + ")"})
		return consentRequest{}, &page
	}
	return consentRequest{scopes: scopes, fixed: []string{"user.info.basic"}, redirectURI: q.Get("redirect_uri"), state: q.Get("state"), query: q}, nil
}

// redirect issues a code with characters that have to be percent-encoded. A client
// that encodes the code twice sends another code (https://developers.tiktok.com/
// doc/oauth-user-access-token-management, 2026-11-23; the characters are
// assumed).
func (t *tiktok) redirect(q consentRequest, p *Person, choice Choice) string {
	k := t.knobs()
	if len(k.TargetUsers) > 0 && !slices.Contains(k.TargetUsers, p.ID) {
		return redirectTo(q.redirectURI, "error", "access_denied", "error_type", "non_sandbox_target", "state", q.state)
	}
	if choice.Deny {
		return redirectTo(q.redirectURI, "error", "access_denied", "error_description", "User cancelled the authorization.", "errCode", "-2", "state", q.state)
	}
	t.session = p
	now, scopes := t.sandbox.now(), q.granted(choice)
	value := t.newCode(t.sandbox.newSecret("sandbox-tiktok-code-")+"*v!1", code{
		grant: t.newGrant(p, scopes, now), redirectURI: q.redirectURI,
		challenge: q.query.Get("code_challenge"), expires: expiresAfter(now, k.CodeSeconds),
	})
	return redirectTo(q.redirectURI, "code", value, "scopes", strings.Join(scopes, ","), "state", q.state)
}

func (t *tiktok) token(c *call) reply {
	if refused := t.authenticate(c); refused != nil {
		return *refused
	}
	switch c.form.Get("grant_type") {
	case "authorization_code":
		return t.redeem(c)
	case "refresh_token":
		return t.refresh(c)
	}
	return t.error("unsupported_grant_type", "The grant_type is missing or not supported.")
}

// authenticate requires client_key and client_secret in a form. It refuses
// client_id and Basic (better-auth/better-auth#10696, read 2026-11-23).
func (t *tiktok) authenticate(c *call) *reply {
	_, _, withHeader := c.basic()
	var refused reply
	switch name := c.duplicateParameter(); {
	case c.form == nil:
		refused = t.error("invalid_request", "Only `application/x-www-form-urlencoded` is supported as Content-Type.")
	case name != "":
		refused = t.error("invalid_request", "The parameter "+name+" occurs more than once.")
	case c.form.Get("client_key") == "" || c.form.Has("client_id") || withHeader:
		refused = t.error("invalid_request", "The request parameters are malformed: client_key.")
	case c.form.Get("client_key") != t.app.ClientID || !t.acceptsSecret(c.form.Get("client_secret")):
		refused = t.errorReply(WrongClient, "token")
	default:
		return nil
	}
	return &refused
}

func (t *tiktok) redeem(c *call) reply {
	granted, ok := t.codes[c.form.Get("code")]
	switch {
	case !ok || granted.used || granted.grant.dead || granted.grant.client != t.app.ClientID || !c.now.Before(granted.expires):
		return t.error("invalid_grant", "Authorization code is expired.")
	case c.form.Get("redirect_uri") != granted.redirectURI:
		return t.error("invalid_request", "Redirect_uri is not matched with the uri when requesting code.")
	case !t.matchesChallenge(granted, c.form.Get("code_verifier")):
		return t.error("invalid_request", "Code verifier or code challenge is invalid.")
	}
	granted.used = true
	end := expiresAfter(c.now, t.knobs().RefreshSeconds)
	return t.issue(granted.grant, t.newRefresh(granted.grant, c.now, end), end, c.now)
}

// matchesChallenge compares the verifier with TikTok's form of the challenge: hex,
// not RFC 7636's base64url (https://developers.tiktok.com/doc/login-kit-desktop,
// 2026-11-23; mystery-man/passport-tiktok#9).
func (t *tiktok) matchesChallenge(c *code, verifier string) bool {
	switch {
	case c.challenge == "":
		return true
	case !isVerifier(verifier):
		return false
	case t.knobs().Base64Challenge:
		return challengeS256(verifier) == c.challenge
	}
	return challengeHex(verifier) == c.challenge
}

// refresh rotates strictly. The old refresh token ends when the new one is
// issued. One that was issued to another client is invalid_grant
// (https://developers.tiktok.com/doc/oauth-error-handling, 2026-11-25).
func (t *tiktok) refresh(c *call) reply {
	k, value := t.knobs(), c.form.Get("refresh_token")
	old := t.find(value, refresh, c.now)
	if old == nil || old.grant.client != t.app.ClientID {
		return t.errorReply(DeadGrant, "token")
	}
	end := old.expires
	if k.RestartRefresh {
		end = expiresAfter(c.now, k.RefreshSeconds)
	}
	if k.KeepRefreshToken {
		old.expires = end
	} else {
		old.spent = true
		value = t.newRefresh(old.grant, c.now, end)
	}
	return t.issue(old.grant, value, end, c.now)
}

func (t *tiktok) newRefresh(g *grant, now, end time.Time) string {
	return t.newToken("rft.sandbox-", token{kind: refresh, grant: g, issued: now, expires: end})
}

// issue answers without the envelope of the API
// (https://developers.tiktok.com/doc/oauth-get-a-user-access-token, 2026-11-02).
func (t *tiktok) issue(g *grant, refreshToken string, end, now time.Time) reply {
	seconds := t.knobs().AccessSeconds
	return answerJSON(200, object{
		"access_token": t.newToken("act.sandbox-", token{kind: access, grant: g, issued: now, expires: expiresAfter(now, seconds)}),
		"expires_in":   seconds, "open_id": t.openID(g.person, g.client),
		"refresh_token": refreshToken, "refresh_expires_in": secondsUntil(now, end),
		"scope": strings.Join(g.scopes, ","), "token_type": "Bearer",
	})
}

// revoke ends the grant. The app disappears from the person's list
// (https://developers.tiktok.com/docs/en/oauth-revoke-a-user-access-token,
// 2026-11-23). The answer for a dead token is assumed.
func (t *tiktok) revoke(c *call) reply {
	if refused := t.authenticate(c); refused != nil {
		return *refused
	}
	found := t.tokens[c.form.Get("token")]
	if found == nil || found.spent || found.grant.dead {
		return t.error("invalid_request", "The token is invalid.")
	}
	t.kill(found.grant.person.ID, 0)
	return answerJSON(200, object{})
}

// userInfo fails if the scope of one field is missing.
func (t *tiktok) userInfo(c *call) reply {
	found := t.find(c.bearer(), access, c.now)
	if found == nil {
		return t.errorReply(DeadGrant, "me")
	}
	if t.used.count("user info", c.now, time.Minute).calls > t.knobs().UserInfoPerMinute {
		return t.errorReply(Throttled, "me")
	}
	fields := strings.Split(c.query.Get("fields"), ",")
	user := object{}
	for _, field := range fields {
		scope, known := tiktokFields[field]
		switch {
		case !known:
			return t.apiError(400, "invalid_params", "Fields is required, with known names.")
		case !slices.Contains(found.grant.scopes, scope):
			return t.apiError(401, "scope_not_authorized", "The user did not authorize the scope required for completing this request.")
		}
		user[field] = tiktokField(found.grant.person, field)
	}
	if _, asked := user["open_id"]; asked {
		user["open_id"] = t.openID(found.grant.person, found.grant.client)
	}
	if t.knobs().OmitUnionID {
		delete(user, "union_id")
	}
	return t.apiOK(object{"user": user})
}

func tiktokField(p *Person, field string) any {
	switch field {
	case "union_id":
		return p.UnionID
	case "display_name":
		return p.Name
	case "username":
		return p.Username
	case "is_verified":
		return false
	}
	if strings.HasSuffix(field, "_count") {
		return 0
	}
	return ""
}

// creatorInfo returns what the creator may post
// (https://developers.tiktok.com/doc/content-posting-api-reference-query-creator-info,
// 2026-11-23).
func (t *tiktok) creatorInfo(c *call) reply {
	media, _, _ := mime.ParseMediaType(c.header.Get("Content-Type"))
	found := t.find(c.bearer(), access, c.now)
	switch {
	case found == nil:
		return t.errorReply(DeadGrant, "creator")
	case media != "application/json":
		return t.apiError(400, "invalid_params", "Content-Type has to be application/json; charset=UTF-8.")
	case !slices.Contains(found.grant.scopes, "video.publish"):
		return t.apiError(401, "scope_not_authorized", "The user did not authorize the scope required for completing this request.")
	case t.used.count(c.bearer(), c.now, time.Minute).calls > t.knobs().CreatorPerMinute:
		return t.errorReply(Throttled, "creator")
	case t.knobs().UserCapReached:
		return t.errorReply(Quota, "creator")
	}
	p, audience := found.grant.person, "PUBLIC_TO_EVERYONE"
	if p.Private {
		audience = "FOLLOWER_OF_CREATOR"
	}
	return t.apiOK(object{
		"creator_avatar_url": "", "creator_username": p.Username, "creator_nickname": p.Name,
		"privacy_level_options": []string{audience, "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY"},
		"comment_disabled":      false, "duet_disabled": false, "stitch_disabled": false, "max_video_post_duration_sec": 600,
	})
}

func (t *tiktok) errorReply(kind Kind, endpoint string) reply {
	if endpoint == "token" || endpoint == "revoke" {
		switch kind {
		case WrongClient:
			return t.error("invalid_client", "Client key or secret is incorrect.")
		case Throttled, Quota:
			a := t.error("rate_limit_exceeded", "The API rate limit was exceeded.")
			a.status = 429
			return a
		case Outage:
			a := t.error("server_error", "Something went wrong.")
			a.status = 503
			return a
		}
		return t.error("invalid_grant", "Refresh token is invalid or expired.")
	}
	switch kind {
	case Throttled:
		return t.apiError(429, "rate_limit_exceeded", "The API rate limit was exceeded.")
	case Quota:
		return t.apiError(403, "reached_active_user_cap", "The daily quota for active publishing users from your client is reached.")
	case Outage:
		return t.apiError(500, "internal_error", "Something went wrong.")
	}
	return t.apiError(401, "access_token_invalid", "The access token is invalid or not found in the request.")
}

// error returns an error of the token endpoint (https://developers.tiktok.com/doc/
// oauth-error-handling, 2026-11-23). The status is not documented. It is 400 in
// fixtures, and 200 in bug reports.
func (t *tiktok) error(code, description string) reply {
	status := 400
	if t.knobs().ErrorsIn200 {
		status = 200
	}
	return answerJSON(status, object{"error": code, "error_description": description, "log_id": t.logID()})
}

func (t *tiktok) logID() string {
	return t.sandbox.now().UTC().Format("20060102150405") + "SANDBOX"
}

// apiError is the envelope of the API
// (https://developers.tiktok.com/doc/tiktok-api-v2-error-handling, 2026-11-23).
func (t *tiktok) apiError(status int, code, message string) reply {
	return answerJSON(status, object{"data": object{}, "error": object{"code": code, "message": message, "log_id": t.logID()}})
}

func (t *tiktok) apiOK(data object) reply {
	return answerJSON(200, object{"data": data, "error": object{"code": "ok", "message": "", "log_id": t.logID()}})
}

// TikTokNotice returns a webhook's body and its TikTok-Signature header, signed
// as TikTok does: hex HMAC-SHA256 under the client secret over the time, a dot
// and the body (https://developers.tiktok.com/doc/webhooks-verification,
// 2026-11-23). The event authorization.removed concerns openID. Its
// content is JSON in a string.
func (s *Sandbox) TikTokNotice(event, openID string) (body []byte, signature string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialect(TikTok).(*tiktok).webhook(event, openID)
}

// notice implements noticer.
func (t *tiktok) notice(event, openID string) Notice {
	if event == "" {
		event = "authorization.removed"
	}
	body, signature := t.webhook(event, openID)
	return Notice{ContentType: "application/json", Header: map[string]string{"TikTok-Signature": signature}, Body: body}
}

func (t *tiktok) webhook(event, openID string) (body []byte, signature string) {
	body, err := json.Marshal(object{
		"client_key": t.app.ClientID, "event": event, "create_time": t.sandbox.now().Unix(),
		"user_openid": openID, "content": `{"reason":1}`,
	})
	if err != nil {
		panic("sandbox: encoding a notice: " + err.Error())
	}
	return body, t.sign(body)
}

// TikTokSignature returns the TikTok-Signature header of a body that is sent now. TikTok
// retries a webhook for 72 hours
// (https://developers.tiktok.com/doc/webhooks-overview/, 2026-11-25). It does not say
// whether a retry has the time and the signature of the first delivery, or its own.
func (s *Sandbox) TikTokSignature(body []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialect(TikTok).(*tiktok).sign(body)
}

func (t *tiktok) sign(body []byte) string {
	now := strconv.FormatInt(t.sandbox.now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(t.app.ClientSecret))
	mac.Write([]byte(now + "." + string(body)))
	return "t=" + now + ",s=" + hex.EncodeToString(mac.Sum(nil))
}
