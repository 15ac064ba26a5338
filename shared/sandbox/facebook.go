package sandbox

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// facebookScopes are the scopes that the app may request.
var facebookScopes = []string{
	"public_profile", "email", "pages_show_list", "pages_read_engagement", "pages_manage_posts", "pages_manage_engagement",
	"pages_manage_metadata", "pages_read_user_content", "business_management", "read_insights",
	"instagram_basic", "instagram_content_publish", "instagram_manage_comments", "instagram_manage_insights",
}

// facebookConfiguration is the id of the app's Login for Business configuration.
const facebookConfiguration = "900000000000001"

var facebookConfigured = []string{
	"pages_show_list", "pages_read_engagement", "pages_manage_posts", "business_management", "instagram_basic", "instagram_content_publish",
}

// The supported versions. v21.0 ends on 2027-01-21, v26.0 is the latest
// (https://developers.facebook.com/docs/graph-api/changelog, 2026-11-23).
const facebookOldest, facebookLatest = 21, 26

// Facebook is the name of the platform.
const Facebook = "facebook"

// FacebookKnobs change how Facebook behaves.
type FacebookKnobs struct {
	CodeSeconds  int `json:"code_seconds"`
	ShortSeconds int `json:"short_seconds"` // of the token for a code: 1 to 2 hours
	LongSeconds  int `json:"long_seconds"`  // of an exchanged one: about 60 days
	// DataAccessDays is how long after the consent the app may read
	// (https://developers.facebook.com/documentation/facebook-login/auth-vs-data,
	// 2026-11-23).
	DataAccessDays int `json:"data_access_days"`

	// OmitExpiresIn leaves expires_in out of token answers.
	OmitExpiresIn bool `json:"omit_expires_in"`
	// LongAtOnce issues a token of 60 days for a code.
	LongAtOnce bool `json:"long_at_once"`
	// NoExtension exchanges a long-lived token for one with the same expiry.
	NoExtension bool `json:"no_extension"`
	// RequireProof is "Require App Secret": every call with a token needs
	// appsecret_proof.
	RequireProof bool `json:"require_proof"`
	// BusinessTokens puts access_token into the rows of owned_pages and
	// client_pages, where it may be missing.
	BusinessTokens bool `json:"business_tokens"`
	// PageSize is how many Pages a listing holds where no limit is asked.
	PageSize int `json:"page_size"`
	// MaxRows is the largest limit that a listing answers; zero: any.
	MaxRows int `json:"max_rows"`
	// Blocked refuses the app's calls with the tokens of people and Pages, as
	// Facebook does to an app that it restricted.
	Blocked bool `json:"blocked"`
	// OmitCodeSubcodes leaves error_subcode out of the errors for a code, so that the
	// message alone tells them apart. Reports show code 100 and the message, and do
	// not say whether there was a subcode (laravel/socialite#385 and
	// facebook-csharp-sdk/facebook-csharp-sdk#388, 2026-11-25).
	OmitCodeSubcodes bool `json:"omit_code_subcodes"`
	// UnlistedServer refuses every call, as for an app whose settings list the
	// servers that may call
	// (https://github.com/jaredhanson/passport-facebook/issues/36, 2026-11-25).
	UnlistedServer bool `json:"unlisted_server"`
	// NextOrigin is put before the path of paging.next in place of
	// https://graph.facebook.com.
	NextOrigin string `json:"next_origin"`
}

func defaultFacebookKnobs() FacebookKnobs {
	return FacebookKnobs{CodeSeconds: 600, ShortSeconds: 5400, LongSeconds: 5183944, DataAccessDays: 90, PageSize: 25}
}

// pageToken is the kind of a Facebook Page token; access is a user token.
const pageToken kind = "page"

type facebook struct {
	*platform
	// declined has the scopes that each person refused at their last consent.
	declined map[string][]string
	// pageTokens are the issued Page tokens.
	pageTokens map[pageTokenKey]string
	notices    int // that were signed
}

// assets are the Pages and Instagram accounts of a consent.
type assets struct {
	general   bool
	pages     map[string]bool
	untick    map[string][]string // scopes that were refused for a Page
	instagram map[string]bool
}

// includes reports whether the consent has a scope for a Page.
func (a assets) includes(scope string, page Page) bool {
	return a.general || a.pages[page.ID] && !slices.Contains(a.untick[page.ID], scope)
}

// includesInstagram reports whether the consent has the Instagram account of a Page.
func (a assets) includesInstagram(page Page) bool {
	return page.InstagramID != "" && (a.general || a.instagram[page.InstagramID])
}

func newFacebook(s *Sandbox) dialect {
	knobs := defaultFacebookKnobs()
	p := newPlatform(s, Facebook, "Facebook", &knobs,
		App{ClientID: "100000000000000", ClientSecret: "sandbox-facebook-secret", Extras: map[string]string{"config_id": facebookConfiguration}},
		&Person{ID: "100000000000001", Name: "Sandbox Person One", Pages: []Page{
			{ID: "200000000000001", Name: "Sandbox Bakery", Username: "sandbox.bakery", InstagramID: "17841400000000001", InstagramUsername: "sandbox_bakery"},
			{ID: "200000000000002", Name: "Sandbox Cycles", Username: "sandbox.cycles"},
			{ID: "200000000000003", Name: "Sandbox Gallery", Username: "sandbox.gallery", Business: "300000000000001"},
		}},
		&Person{ID: "100000000000002", Name: "Sandbox Person Two", Pages: []Page{
			{ID: "200000000000004", Name: "Sandbox Library", Username: "sandbox.library", InstagramID: "17841400000000004", InstagramUsername: "sandbox_library"},
		}},
		&Person{ID: "100000000000003", Name: "Somebody without Pages"},
	)
	p.refusals = map[string][]string{
		// An app in development mode (jaredhanson/passport-oauth#16 and
		// omniauth/omniauth-oauth2#39, read 2026-11-25).
		"development mode": {"error_code", "901", "error_message", "This app is in sandbox mode. Edit the app configuration at http://developers.facebook.com/apps to make the app publicly visible."},
		// A fault of Facebook (simi/omniauth-facebook#116, read 2026-11-25; its code is
		// assumed).
		"fault": {"error_code", "2", "error_message", "An error occurred while processing this request. Please try again later."},
		// A person who said no (omniauth/omniauth#58, read 2026-11-25).
		"reason alone": {"error_reason", "user_denied"},
	}
	return &facebook{p, map[string][]string{}, map[pageTokenKey]string{}, 0}
}

func (f *facebook) routes() []route {
	graph := func(endpoint, method, path string, handle func(*call) reply) route {
		return route{endpoint: endpoint, method: method, host: "graph.facebook.com", path: "/{version}" + path, handle: f.versioned(handle)}
	}
	return []route{
		{endpoint: "authorize", method: "GET", host: "www.facebook.com", path: "/{version}/dialog/oauth", handle: showConsent(f)},
		{endpoint: "consent", method: "POST", host: "www.facebook.com", path: "/{version}/dialog/oauth", handle: acceptConsent(f)},
		graph("token", "GET POST", "/oauth/access_token", f.token),
		graph("debug_token", "GET", "/debug_token", f.debugToken),
		graph("accounts", "GET", "/{id}/accounts", f.authorized(f.accounts)),
		graph("permissions", "GET", "/{id}/permissions", f.authorized(f.permissions)),
		graph("revoke", "DELETE", "/{id}/permissions", f.revokeByAnyone),
		graph("businesses", "GET", "/{id}/businesses", f.authorized(f.businesses)),
		graph("owned_pages", "GET", "/{id}/owned_pages", f.authorized(f.portfolio(false))),
		graph("client_pages", "GET", "/{id}/client_pages", f.authorized(f.portfolio(true))),
		graph("node", "GET", "/{id}", f.authorized(f.node)),
	}
}

// Facebook returns the knobs of Facebook.
func (k *Knobs) Facebook() *FacebookKnobs { return k.byPlatform[Facebook].(*FacebookKnobs) }

func (f *facebook) knobs() *FacebookKnobs { return f.sandbox.knobs.Facebook() }

// checkAuthorize checks as the login dialog does
// (https://developers.facebook.com/documentation/facebook-login/guides/advanced/manual-flow,
// 2026-03-10). Permissions that the person declined before are not shown again
// without auth_type=rerequest.
func (f *facebook) checkAuthorize(c *call) (consentRequest, *reply) {
	q := c.query
	scopes := slices.DeleteFunc(strings.Split(q.Get("scope"), ","), func(s string) bool { return s == "" })
	configured := q.Has("config_id")
	why := ""
	switch {
	case !isSupported(c.pathValues["version"]):
		why = "The Graph API version " + c.pathValues["version"] + " is not available."
	case q.Get("client_id") != f.app.ClientID:
		why = "Invalid App ID: the provided app ID does not look like a valid app ID."
	case !slices.Contains(f.app.RedirectURIs, q.Get("redirect_uri")):
		why = "URL blocked: the redirect URI is not among the app's Valid OAuth Redirect URIs."
	case q.Has("response_type") && q.Get("response_type") != "code":
		why = "This sandbox supports only response_type=code."
	case configured && (q.Get("config_id") != facebookConfiguration || q.Has("scope")):
		why = "The config_id is unknown, or the request also has a scope."
	case !containsAll(facebookScopes, scopes):
		why = "Invalid Scopes: " + q.Get("scope")
	}
	if why != "" {
		page := errorPage(400, errorText{f.title, "Sorry, something went wrong", why})
		return consentRequest{}, &page
	}
	fixed := []string{"public_profile"}
	if configured {
		// Login for Business is all or nothing
		// (https://developers.facebook.com/documentation/facebook-login/facebook-login-for-business, 2026-05-05).
		scopes = facebookConfigured
		fixed = scopes
	}
	return consentRequest{scopes: union([]string{"public_profile"}, scopes), fixed: append(fixed, "public_profile"), redirectURI: q.Get("redirect_uri"), state: q.Get("state"), query: q, pages: true}, nil
}

// isSupported reports whether a version is one that Facebook still answers.
func isSupported(version string) bool {
	major, ok := strings.CutSuffix(version, ".0")
	number, err := strconv.Atoi(strings.TrimPrefix(major, "v"))
	return ok && err == nil && strings.HasPrefix(version, "v") && number >= facebookOldest && number <= facebookLatest
}

// redirect adds the permissions of this consent to those that the person granted
// before: a person grants a permission to the app, once, and not to one login
// (https://developers.facebook.com/documentation/facebook-login/guides/permissions
// and https://developers.facebook.com/documentation/facebook-login/web/permissions,
// read 2026-11-25). It appends "#_=_" to every redirect. Browsers do not send a fragment
// (assumed).
func (f *facebook) redirect(q consentRequest, p *Person, choice Choice) string {
	if choice.Deny {
		return redirectTo(q.redirectURI, "error", "access_denied", "error_code", "200", "error_description", "Permissions error", "error_reason", "user_denied", "state", q.state) + "#_=_"
	}
	granted := q.granted(choice)
	if f.latest(p) != nil && q.query.Get("auth_type") != "rerequest" {
		granted = slices.DeleteFunc(granted, func(s string) bool { return slices.Contains(f.declined[p.ID], s) })
	}
	declined := slices.DeleteFunc(slices.Clone(q.scopes), func(s string) bool { return slices.Contains(granted, s) })
	f.declined[p.ID] = declined
	if before := f.latest(p); before != nil && !q.query.Has("config_id") {
		granted = union(granted, slices.DeleteFunc(slices.Clone(before.scopes), func(s string) bool { return slices.Contains(declined, s) }))
	}

	k, now := f.knobs(), f.sandbox.now()
	g := f.newGrant(p, granted, now)
	g.assets = selectedAssets(p, choice)
	value := f.newCode(f.sandbox.newSecret("AQsandbox-"), code{grant: g, redirectURI: q.redirectURI, expires: expiresAfter(now, k.CodeSeconds)})
	parameters := []string{"code", value, "state", q.state}
	if q.query.Get("return_scopes") == "true" {
		parameters = append(parameters, "granted_scopes", strings.Join(granted, ","), "denied_scopes", strings.Join(declined, ","))
	}
	return redirectTo(q.redirectURI, parameters...) + "#_=_"
}

// selectedAssets returns what the person selected. A consent replaces the Pages of
// the consents before.
func selectedAssets(p *Person, choice Choice) assets {
	selected := assets{general: choice.InGeneral, pages: map[string]bool{}, untick: choice.PageUntick, instagram: map[string]bool{}}
	for _, id := range choice.Pages {
		selected.pages[id] = true
	}
	for _, id := range choice.Instagram {
		selected.instagram[id] = true
	}
	for _, page := range p.Pages {
		if choice.Pages == nil {
			selected.pages[page.ID] = true
		}
		if choice.Instagram == nil && selected.pages[page.ID] {
			selected.instagram[page.InstagramID] = true
		}
	}
	return selected
}

// latest returns the last consent of p. Its scopes and Pages are those of the
// tokens of earlier ones, too.
func (f *facebook) latest(p *Person) *grant {
	var last *grant
	for _, g := range f.grants {
		if g.person == p && !g.dead {
			last = g
		}
	}
	return last
}

// token exchanges a code or a user token. The parameters are in the query or in a
// form.
func (f *facebook) token(c *call) reply {
	switch id, secret := c.parameter("client_id"), c.parameter("client_secret"); {
	case id == "":
		return graphError(400, 101, 0, "Missing client_id parameter.")
	case id != f.app.ClientID:
		return graphError(400, 101, 0, "Error validating application. Cannot get application info due to a system error.")
	case secret == "":
		return graphError(400, 1, 0, "Missing client_secret parameter.")
	case !f.acceptsSecret(secret):
		return f.errorReply(WrongClient, "token")
	}
	switch grantType := c.parameter("grant_type"); grantType {
	case "", "authorization_code":
		return f.redeem(c)
	case "fb_exchange_token":
		return f.exchange(c)
	}
	return graphError(400, 100, 0, "Invalid grant_type")
}

// redeem answers the subcodes 36007 to 36009 for a code that has expired, belongs to
// another redirect URI, or was used.
func (f *facebook) redeem(c *call) reply {
	granted, ok := f.codes[c.parameter("code")]
	refuse := func(subcode int, message string) reply {
		if f.knobs().OmitCodeSubcodes {
			subcode = 0
		}
		return graphError(400, 100, subcode, message)
	}
	switch {
	case c.parameter("redirect_uri") == "":
		return graphError(400, 191, 0, "Missing redirect_uri parameter.")
	case !ok:
		return refuse(36007, "Invalid verification code format.")
	case granted.used:
		return refuse(36009, "This authorization code has been used.")
	case granted.grant.dead || !c.now.Before(granted.expires):
		return refuse(36007, "This authorization code has expired.")
	case c.parameter("redirect_uri") != granted.redirectURI:
		return refuse(36008, "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request")
	}
	granted.used = true
	k := f.knobs()
	end, long := expiresAfter(c.now, k.ShortSeconds), false
	if k.LongAtOnce {
		end, long = expiresAfter(c.now, k.LongSeconds), true
	}
	return f.issue(granted.grant, end, long, c.now)
}

// exchange issues a long-lived token for a valid user token
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived,
// 2026-11-23). The short-lived one stays valid until it expires.
func (f *facebook) exchange(c *call) reply {
	t, refused := f.live(c.parameter("fb_exchange_token"), c.now)
	if refused != nil {
		return *refused
	}
	if t.kind != access {
		return graphError(400, 100, 0, "The access token is not a user token.")
	}
	end := expiresAfter(c.now, f.knobs().LongSeconds)
	if t.long && f.knobs().NoExtension {
		end = t.expires
	}
	return f.issue(t.grant, end, true, c.now)
}

func (f *facebook) issue(g *grant, end time.Time, long bool, now time.Time) reply {
	answer := object{
		"access_token": f.newToken("EAAsandbox", token{kind: access, grant: g, issued: now, expires: end, long: long}),
		"token_type":   "bearer",
	}
	if !f.knobs().OmitExpiresIn {
		answer["expires_in"] = secondsUntil(now, end)
	}
	return answerJSON(200, answer)
}

// live returns a valid user or Page token, or the error with the subcode for an
// invalid one.
func (f *facebook) live(value string, now time.Time) (*token, *reply) {
	t := f.tokens[value]
	code, subcode, message := 0, 0, ""
	switch {
	case value == "":
		code, message = 104, "An access token is required to request this resource."
	case t == nil:
		code, message = 190, "Invalid OAuth access token - Cannot parse access token"
	case t.grant.dead:
		code, subcode, message = 190, cmp.Or(t.grant.reason, 458), "Error validating access token: The session is no longer valid."
	case t.expired(now):
		code, subcode, message = 190, 463, "Error validating access token: Session has expired."
	case now.Sub(f.lastConsentAt(t.grant.person)) >= time.Duration(f.knobs().DataAccessDays)*24*time.Hour:
		code, subcode, message = 190, 493, "Error validating access token: The user has not engaged with the app for longer than 90 days."
	case t.kind == pageToken && f.pageOf(t).RoleLost:
		code, subcode, message = 190, 492, roleLost
	case t.kind == pageToken && !f.impersonates(t, f.pageOf(t)):
		code, message = 190, notImpersonated
	default:
		return t, nil
	}
	refused := graphError(400, code, subcode, message)
	return nil, &refused
}

// The refusals of Page tokens. 492 is that of a lost role
// (https://developers.facebook.com/docs/graph-api/guides/error-handling,
// 2026-11-25). Code 190 without a subcode is that of a Page which the person did not
// select for any of these permissions, or on which their role is too small
// (https://github.com/gitroomhq/postiz-app/pull/1912, 2026-11-25).
const (
	roleLost        = "Error validating access token: The user associated with the Page access token does not have an appropriate role on the Page."
	notImpersonated = "Any of the pages_read_engagement, pages_manage_metadata, pages_read_user_content, pages_manage_ads, pages_show_list or pages_messaging permission(s) must be granted before impersonating a user's page."
)

// impersonating are the permissions that notImpersonated names.
var impersonating = []string{"pages_read_engagement", "pages_manage_metadata", "pages_read_user_content", "pages_manage_ads", "pages_show_list", "pages_messaging"}

// impersonates reports whether a person can have the token of a Page.
func (f *facebook) impersonates(t *token, page Page) bool {
	return slices.ContainsFunc(impersonating, func(scope string) bool { return f.allowsPage(t, scope, page) })
}

// pageOf returns the Page of a Page token.
func (f *facebook) pageOf(t *token) Page {
	for _, page := range t.grant.person.Pages {
		if page.ID == t.page {
			return page
		}
	}
	return Page{RoleLost: true}
}

// lastConsentAt returns the time of the person's last consent.
func (f *facebook) lastConsentAt(p *Person) time.Time {
	if g := f.latest(p); g != nil {
		return g.at
	}
	return time.Time{}
}

// versioned refuses versions that Facebook no longer serves.
func (f *facebook) versioned(handle func(*call) reply) func(*call) reply {
	return func(c *call) reply {
		if !isSupported(c.pathValues["version"]) {
			return graphError(400, 2635, 0, "You are calling a deprecated version of the Ads API. Please update to the latest version: v"+strconv.Itoa(facebookLatest)+".0.")
		}
		if f.knobs().UnlistedServer {
			return graphError(400, 5, 0, "(#5) Unauthorized source IP address")
		}
		return handle(c).
			with("facebook-api-version", c.pathValues["version"]).
			with("x-app-usage", `{"call_count":1,"total_time":1,"total_cputime":1}`)
	}
}

// authorized requires a valid token, as a header or a parameter, and its
// appsecret_proof where one is sent or required. It reads the proof in the query
// alone (ScribeJava PR #1070, read 2026-11-23).
func (f *facebook) authorized(handle func(*call, *token) reply) func(*call) reply {
	return func(c *call) reply {
		value := sentToken(c)
		t, refused := f.live(value, c.now)
		if refused != nil {
			return *refused
		}
		proof := c.query.Get("appsecret_proof")
		switch {
		case f.knobs().Blocked:
			// Public reports of 2026 have this answer for an app that Facebook
			// restricted. No page of Facebook's that lists it was found (2026-11-25).
			return graphError(400, 200, 0, "API access blocked.")
		case proof == "" && f.knobs().RequireProof:
			return graphError(400, 100, 0, "API calls from the server require an appsecret_proof argument")
		case proof != "" && !f.isSecretProof(proof, value):
			return graphError(400, 100, 0, "Invalid appsecret_proof provided in the API argument")
		}
		return handle(c, t)
	}
}

// isSecretProof reports whether proof is the hex HMAC-SHA256 of a token under one of
// the app's secrets
// (https://developers.facebook.com/docs/graph-api/guides/secure-requests,
// 2026-11-23).
func (f *facebook) isSecretProof(proof, accessToken string) bool {
	return slices.ContainsFunc(append([]string{f.app.ClientSecret}, f.retired...), func(secret string) bool {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(accessToken))
		return hmac.Equal([]byte(proof), []byte(hex.EncodeToString(mac.Sum(nil))))
	})
}

// allows reports whether the person's last consent has a permission.
func (f *facebook) allows(t *token, permission string) bool {
	return slices.Contains(f.latest(t.grant.person).scopes, permission)
}

// allowsPage reports whether the person's last consent has a permission for a Page.
func (f *facebook) allowsPage(t *token, permission string, page Page) bool {
	return f.allows(t, permission) && f.latest(t.grant.person).assets.includes(permission, page)
}

// isSelf reports whether an id is that of the person of a user token.
func isSelf(id string, t *token) bool {
	return t.kind == access && (id == "me" || id == t.grant.person.ID)
}

func (f *facebook) permissions(c *call, t *token) reply {
	if !isSelf(c.pathValues["id"], t) {
		return notVisible(c.pathValues["id"])
	}
	data := []object{}
	for _, scope := range f.latest(t.grant.person).scopes {
		data = append(data, object{"permission": scope, "status": "granted"})
	}
	for _, scope := range f.declined[t.grant.person.ID] {
		data = append(data, object{"permission": scope, "status": "declined"})
	}
	return answerJSON(200, object{"data": data})
}

// revokeByAnyone also accepts the app's own token, for any person.
func (f *facebook) revokeByAnyone(c *call) reply {
	if !f.isApp(c) {
		return f.authorized(f.revoke)(c)
	}
	if f.person(c.pathValues["id"]) == nil {
		return notVisible(c.pathValues["id"])
	}
	f.kill(c.pathValues["id"], 458)
	return answerJSON(200, object{"success": true})
}

// isApp reports whether a call carries the app's own token: id, bar, secret.
func (f *facebook) isApp(c *call) bool {
	id, secret, _ := strings.Cut(sentToken(c), "|")
	return id == f.app.ClientID && f.acceptsSecret(secret)
}

// sentToken returns the token of the header, or else of the parameter.
func sentToken(c *call) string {
	if token := c.bearer(); token != "" {
		return token
	}
	return c.parameter("access_token")
}

// revoke removes the app for the person
// (https://developers.facebook.com/docs/facebook-login/permissions/requesting-and-revoking,
// 2026-11-23; the answer is assumed).
func (f *facebook) revoke(c *call, t *token) reply {
	if !isSelf(c.pathValues["id"], t) {
		return notVisible(c.pathValues["id"])
	}
	f.kill(t.grant.person.ID, 458)
	return answerJSON(200, object{"success": true})
}

// debugToken answers 200 for an invalid token too
// (https://developers.facebook.com/docs/facebook-login/guides/%20access-tokens/debugging,
// 2026-11-23). It requires the app's own token, id|secret.
func (f *facebook) debugToken(c *call) reply {
	if !f.isApp(c) {
		return graphError(400, 190, 0, "Invalid OAuth access token signature.")
	}
	value := c.query.Get("input_token")
	if value == "" {
		return graphError(400, 100, 0, "(#100) The parameter input_token is required")
	}
	t, refused := f.live(value, c.now)
	if refused != nil {
		var body struct{ Error object }
		_ = json.Unmarshal(refused.body, &body)
		return answerJSON(200, object{"data": object{
			"error":    object{"code": body.Error["code"], "message": body.Error["message"], "subcode": body.Error["error_subcode"]},
			"is_valid": false, "scopes": []string{},
		}})
	}
	return answerJSON(200, object{"data": f.describe(t)})
}

func (f *facebook) describe(t *token) object {
	g := f.latest(t.grant.person)
	data := object{
		"app_id": f.app.ClientID, "application": "Sandbox", "type": "USER", "is_valid": true,
		"expires_at": 0, "data_access_expires_at": g.at.AddDate(0, 0, f.knobs().DataAccessDays).Unix(),
		"scopes": g.scopes, "user_id": g.person.ID,
	}
	if !t.expires.IsZero() {
		data["expires_at"] = t.expires.Unix()
	}
	if t.long {
		data["issued_at"] = t.issued.Unix()
	}
	if t.kind == pageToken {
		data["type"], data["profile_id"] = "PAGE", t.page
	}
	data["granular_scopes"] = granularScopes(g)
	return data
}

// granularScopes says for which Pages, Instagram accounts and portfolios each
// permission holds
// (https://developers.facebook.com/docs/facebook-login/access-tokens/debugging-and-error-handling,
// 2026-11-25). target_ids is missing where the person granted the permission in
// general (https://github.com/restfb/restfb/pull/1191, 2026-11-25). Which ids the
// permissions of Instagram and of portfolios have is assumed, and that target_ids is
// missing too for a person who has nothing of that kind.
func granularScopes(g *grant) []object {
	granular := []object{}
	for _, scope := range g.scopes {
		targets, listed, any := []string{}, map[string]bool{"": true}, false
		for _, page := range g.person.Pages {
			target, selected := page.ID, g.assets.includes(scope, page)
			switch {
			case strings.HasPrefix(scope, "instagram_"):
				target, selected = page.InstagramID, g.assets.includesInstagram(page)
			case scope == "business_management":
				target = page.Business
			case !strings.HasPrefix(scope, "pages_") && scope != "read_insights":
				target = ""
			}
			any = any || target != ""
			if selected && !listed[target] {
				listed[target] = true
				targets = append(targets, target)
			}
		}
		entry := object{"scope": scope}
		if any && !g.assets.general {
			entry["target_ids"] = targets
		}
		if scope != "public_profile" && scope != "email" {
			granular = append(granular, entry)
		}
	}
	return granular
}

func (f *facebook) errorReply(kind Kind, _ string) reply {
	switch kind {
	case Throttled, Quota:
		// Throttling is an ordinary error with code 4, not status 429
		// (https://developers.facebook.com/docs/graph-api/overview/rate-limiting, 2026-11-23).
		return graphError(403, 4, 0, "(#4) Application request limit reached").
			with("x-app-usage", `{"call_count":100,"total_time":100,"total_cputime":100}`)
	case WrongClient:
		return graphError(400, 1, 0, "Error validating client secret.")
	case Outage:
		return answerJSON(http.StatusServiceUnavailable, object{"error": object{
			"message": "An unexpected error has occurred. Please retry your request later.", "type": "OAuthException", "code": 2, "is_transient": true, "fbtrace_id": "sandbox",
		}})
	}
	return graphError(400, 190, 458, "Error validating access token: The user has not authorized application "+f.app.ClientID+".")
}

// graphError is the Graph API's error
// (https://developers.facebook.com/docs/graph-api/guides/error-handling,
// 2026-11-23).
func graphError(status, code, subcode int, message string) reply {
	inner := object{"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "sandbox"}
	if subcode != 0 {
		inner["error_subcode"] = subcode
	}
	return answerJSON(status, object{"error": inner}).
		with("WWW-Authenticate", `OAuth "Facebook Platform" "invalid_code" "`+strings.ReplaceAll(message, `"`, "'")+`"`)
}

// notVisible returns the error for an object that does not exist, or that the
// token may not read.
func notVisible(id string) reply {
	return graphError(400, 100, 33, "Unsupported get request. Object with ID '"+id+"' does not exist, cannot be loaded due to missing permissions, or does not support this operation.")
}

// SignedRequest returns the signed_request that Facebook posts to the
// deauthorize and data-deletion callbacks: base64url of the HMAC-SHA256 under
// the app's secret over the base64url payload, a dot, the payload. No two are equal;
// whether Facebook's own differ within a second is not documented
// (https://developers.facebook.com/docs/development/create-an-app/app-dashboard/data-deletion-callback,
// 2026-11-23).
func (s *Sandbox) SignedRequest(userID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialect(Facebook).(*facebook).signedRequest(userID)
}

// notice implements noticer. Facebook signs every notice alike.
func (f *facebook) notice(_, userID string) Notice {
	f.notices++
	return signedNotice(f.app.ClientSecret, userID, f.notices, f.sandbox.now())
}

func (f *facebook) signedRequest(userID string) string {
	f.notices++
	return signedRequest(f.app.ClientSecret, userID, f.notices, f.sandbox.now())
}

// signedNotice is a notice of one of Meta's platforms.
func signedNotice(secret, userID string, serial int, now time.Time) Notice {
	return Notice{ContentType: "application/x-www-form-urlencoded", Body: []byte("signed_request=" + signedRequest(secret, userID, serial, now))}
}

func signedRequest(secret, userID string, serial int, now time.Time) string {
	payload, err := json.Marshal(object{
		"algorithm": "HMAC-SHA256", "issued_at": now.Unix(), "user_id": userID,
		"sandbox_notice": serial,
	})
	if err != nil {
		panic("sandbox: encoding a notice: " + err.Error())
	}
	encoded := base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(encoded))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + encoded
}
