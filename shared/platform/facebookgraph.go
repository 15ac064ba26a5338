package platform

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

// get reads a node or edge of the graph into v.
func (f *facebook) get(ctx context.Context, c client, token connector.Secret, path string, q url.Values, v any) error {
	r, err := f.call(ctx, http.MethodGet, c, token, path, q)
	if err != nil {
		return err
	}
	if err := decode(r.body, v); err != nil {
		return f.malformed(http.MethodGet, err.Error())
	}
	return nil
}

// call makes one call to the graph with appsecret_proof, which proves that the
// app of the token makes the call. An app can require it. Facebook reads it in
// the query alone
// (https://developers.facebook.com/docs/graph-api/guides/secure-requests, read
// 2026-11-23).
func (f *facebook) call(ctx context.Context, method string, c client, token connector.Secret, path string, q url.Values) (reply, error) {
	with := url.Values{}
	for name, values := range q {
		with[name] = values
	}
	if !c.secret.Empty() {
		with.Set("appsecret_proof", appSecretProof(c.secret, token))
	}
	// A status of 500 hides the error of the body from the caller of do.
	tooMuch, decodeError := false, f.apiError(false)
	answered, err := f.do(ctx, call{method: method, url: facebookGraph + path, query: with, bearer: token}, func(r reply) *connector.Error {
		e := decodeError(r)
		tooMuch = e != nil && errors.Is(e, errTooMuchData)
		return e
	})
	if tooMuch {
		connector.AsError(err).Err = errTooMuchData
	}
	return answered, err
}

// errTooMuchData is the cause of the error for a list that Facebook answers only with
// a smaller limit.
var errTooMuchData = errors.New("the list is too large for one answer")

func appSecretProof(secret, token connector.Secret) string {
	return hex.EncodeToString(signature(secret, []byte(token.Reveal())))
}

// appToken is the app's own access token
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/debugging,
// read 2026-11-23).
func (c client) appToken() connector.Secret {
	return connector.NewSecret(c.id + "|" + c.secret.Reveal())
}

// me returns the person or the Page of a token.
func (f *facebook) me(ctx context.Context, c client, token connector.Secret) (connector.Account, error) {
	var me struct {
		ID   identifier `json:"id"`
		Name string     `json:"name"`
	}
	if err := f.get(ctx, c, token, "me", query("fields", "id,name"), &me); err != nil {
		return connector.Account{}, err
	}
	found, err := account(string(me.ID), me.Name)
	if err != nil {
		return connector.Account{}, f.malformed(http.MethodGet, err.Error())
	}
	return found, nil
}

// permissions returns the list of permissions that the person granted
// (https://developers.facebook.com/docs/graph-api/reference/user/permissions/,
// read 2026-11-23).
func (f *facebook) permissions(ctx context.Context, c client, user connector.Secret) ([]string, error) {
	var answer struct {
		Data []struct{ Permission, Status string }
	}
	if err := f.get(ctx, c, user, "me/permissions", nil, &answer); err != nil {
		return nil, err
	}
	granted := []string{}
	for _, p := range answer.Data {
		if p.Status == "granted" && scopePattern.MatchString(p.Permission) && len(granted) < maxScopes {
			granted = append(granted, p.Permission)
		}
	}
	return granted, nil
}

// page is a row of a list of Pages.
type page struct {
	ID        identifier       `json:"id"`
	Name      string           `json:"name"`
	Token     connector.Secret `json:"access_token"`
	Instagram struct {
		ID identifier `json:"id"`
	} `json:"instagram_business_account"`
	// Tasks are what the person may do on the Page; nil where Facebook does not say.
	Tasks []string `json:"tasks"`
}

// hasToken reports whether the row has a token.
func (p page) hasToken() bool { return !p.Token.Empty() && isCredential(p.Token.Reveal()) }

// instagram returns the id of the Page's Instagram account, or "".
func (p page) instagram() string { return p.Instagram.ID.orEmpty() }

// rows reads one page of the list of the stage, and returns the parameters of the
// request for the next one; empty: this was the last. paging.next is a URL with the
// token in it. rows uses its cursor alone, so that an answer cannot decide where the
// token is sent (https://developers.facebook.com/docs/graph-api/results, read
// 2026-11-23).
func (f *facebook) rows(ctx context.Context, c client, user connector.Secret, l *pageList) (rows []page, after string, err error) {
	path, fields := "me/"+l.Stage, pageFields
	switch l.Stage {
	case stageAccounts:
		fields = accountFields
	case stageBusinesses:
		// An unknown field makes the whole call fail.
		fields = "id,name"
	default:
		path = url.PathEscape(l.Portfolios[0]) + "/" + l.Stage
	}
	q, err := url.ParseQuery(l.After)
	if err != nil {
		return nil, "", f.malformed(http.MethodGet, "a cursor that is no query")
	}
	q.Set("fields", fields)
	q.Set("limit", strconv.Itoa(l.Limit))
	var answer struct {
		Data   []page
		Paging struct {
			Next    string
			Cursors struct{ After string }
		}
	}
	if err := f.get(ctx, c, user, path, q, &answer); err != nil {
		return nil, "", err
	}
	if l.Rows += max(len(answer.Data), 1); l.Rows > maxRows {
		return nil, "", f.malformed(http.MethodGet, "a list without an end")
	}
	if answer.Paging.Next == "" {
		return answer.Data, "", nil
	}
	next := url.Values{}
	if cursor := answer.Paging.Cursors.After; cursor != "" {
		next.Set("after", cursor)
	} else if u, err := url.Parse(answer.Paging.Next); err == nil {
		for _, name := range []string{"after", "offset", "__paging_token", "until"} {
			if value := u.Query().Get(name); value != "" {
				next.Set(name, value)
			}
		}
	}
	if after = next.Encode(); after == "" || after == l.After {
		return nil, "", f.malformed(http.MethodGet, "a list without an end")
	}
	return answer.Data, after, nil
}

// inspection is Facebook's description of a token.
type inspection struct {
	known   bool
	userID  string
	granted grantMap
	tokenTimes
}

// tokenTimes is when a token ends.
type tokenTimes struct {
	ExpiresAt       time.Time `json:"expires_at"` // zero: never
	DataAccessUntil time.Time `json:"data_access_until"`
}

// warning returns the warning for a Page token that expires, or "".
func (t tokenTimes) warning() string {
	if t.ExpiresAt.IsZero() {
		return ""
	}
	return "page_token_expires: the Page token ends on " + t.ExpiresAt.Format(time.DateOnly) +
		"; connect through a link to get one that does not"
}

// inspect returns Facebook's description of a token
// (https://developers.facebook.com/docs/graph-api/reference/debug_token/, read
// 2026-11-23). Facebook reads the token in the query alone. The app's token,
// which authorizes the call, is in the header.
func (f *facebook) inspect(ctx context.Context, c client, token connector.Secret) (inspection, error) {
	var answer struct {
		Data struct {
			IsValid *bool           `json:"is_valid"`
			UserID  identifier      `json:"user_id"`
			Scopes  []string        `json:"scopes"`
			Expires json.RawMessage `json:"expires_at"`
			Data    json.RawMessage `json:"data_access_expires_at"`
			// Granular has the ids for which the scopes hold.
			Granular []struct {
				Scope   string       `json:"scope"`
				Targets []identifier `json:"target_ids"`
			} `json:"granular_scopes"`
			Error graphErrorBody `json:"error"`
		}
	}
	err := f.get(ctx, c, c.appToken(), "debug_token", query("input_token", token.Reveal()), &answer)
	if e := connector.AsError(err); e != nil && e.Code.GrantDead() {
		// This error is about the app's token. An answer describes the other.
		return inspection{}, f.clientRefused("check its id and secret", e.Err)
	}
	if err != nil {
		return inspection{}, err
	}
	if answer.Data.IsValid == nil {
		return inspection{}, f.malformed(http.MethodGet, "debug_token without is_valid")
	}
	if !*answer.Data.IsValid {
		if e := f.tokenRefused(answer.Data.Error, http.StatusOK, nil); e != nil && e.Code.GrantDead() {
			return inspection{}, e
		}
		return inspection{}, f.grantDead("", nil)
	}
	granted := grantMap{Scopes: splitScopes(strings.Join(answer.Data.Scopes, ","))}
	for _, g := range answer.Data.Granular {
		if g.Targets != nil && slices.Contains(granted.Scopes, g.Scope) {
			ids := make([]string, len(g.Targets))
			for i, id := range g.Targets {
				ids[i] = id.orEmpty()
			}
			granted.add(g.Scope, ids)
		}
	}
	return inspection{
		known:   true,
		userID:  answer.Data.UserID.orEmpty(),
		granted: granted,
		tokenTimes: tokenTimes{
			ExpiresAt:       f.boundedEnd(answer.Data.Expires, facebookTokenLife),
			DataAccessUntil: f.boundedEnd(answer.Data.Data, facebookDataAccess),
		},
	}, nil
}

// boundedEnd returns the end of a token that works, in seconds since 1970: not later
// than longest from now, and zero for 0, which means that it has none. Facebook has no
// life that is longer, so that a larger number is a mistake, such as milliseconds. It
// must not make a token live forever, and no more must a value that is no time.
func (f *facebook) boundedEnd(raw json.RawMessage, longest time.Duration) time.Time {
	n, err := strconv.ParseFloat(stringOrNumber(raw), 64)
	if !isPresent(raw) || err == nil && n == 0 {
		return time.Time{}
	}
	last, end := f.now().UTC().Add(longest), parseUnixTime(raw)
	if end.IsZero() {
		return last
	}
	return earlier(end, last)
}

// graphError is an error of the Graph API without its message, which is
// untrusted text.
type graphError struct {
	code, subcode, status int
	nothing               bool // the message says that the resource does not exist
}

func (e graphError) Error() string {
	return fmt.Sprintf("Graph error %d/%d, HTTP status %d", e.code, e.subcode, e.status)
}

// graphErrorBody is an error of the Graph API. debug_token calls the subcode by
// another name.
type graphErrorBody struct {
	Message      string          `json:"message"`
	Code         json.RawMessage `json:"code"`
	Subcode      json.RawMessage `json:"error_subcode"`
	DebugSubcode json.RawMessage `json:"subcode"`
	IsTransient  bool            `json:"is_transient"`
}

// apiError reads an error of the Graph API
// (https://developers.facebook.com/docs/graph-api/guides/error-handling, read
// 2026-11-23).
func (m meta) apiError(tokenEndpoint bool) errorDecoder {
	return func(r reply) *connector.Error {
		var body struct {
			Error json.RawMessage `json:"error"`
		}
		if decode(r.body, &body) != nil || !isPresent(body.Error) {
			return nil
		}
		var e graphErrorBody
		if json.Unmarshal(body.Error, &e) != nil {
			return m.unavailable("refused the request in a way that we do not know", statusError(r.status))
		}
		known := graphError{code: parseInt(e.Code), subcode: parseInt(e.Subcode), status: r.status}
		switch {
		case tokenEndpoint && strings.Contains(strings.ToLower(e.Message), "validating client secret"):
			// Its code is 1, which means an outage elsewhere. On Instagram's host
			// the same text has code 100.
			return m.clientRefused("check its secret", known)
		case strings.Contains(e.Message, "appsecret_proof"):
			return m.clientRefused("the token is of another app, or the app secret is wrong", known)
		case e.IsTransient:
			return m.unavailable("has a passing trouble", known)
		case known.code == 1 && strings.Contains(e.Message, "reduce the amount of data"):
			return m.unavailable("has more data than it returns at once", errTooMuchData)
		case known.code == 200 && strings.Contains(e.Message, "API access blocked"),
			strings.Contains(e.Message, "API access disrupted"):
			// Public reports of 2026 have the first answer for an app that Facebook
			// restricted, with HTTP status 400. The second one asks for the Data Use
			// Checkup of the app
			// (https://github.com/genxbe/kirby3-instagram/issues/8 and
			// https://github.com/codingbadger/instant-tokens.com/issues/27, read
			// 2026-11-25, without the code). No page of Facebook's that lists them
			// was found (2026-11-25).
			blocked := m.appRefused("it is blocked; see its alerts and required actions in the App Dashboard", known)
			blocked.Reason = "api_access_blocked"
			return blocked
		case known.code == 200 && strings.Contains(e.Message, "Cannot call API"):
			return m.personExcluded(known)
		case strings.Contains(e.Message, "Error validating application"):
			// The app was deleted
			// (https://github.com/facebookarchive/php-graph-sdk/issues/770, read
			// 2026-11-25). Code 190 would end the grant of each Page.
			return m.appRefused("check its id, and that it was not deleted", known)
		case known.code == 15:
			// https://github.com/ThatGuySam/facebook-live-embed-php/issues/3, read
			// 2026-11-25.
			return m.appRefused("its advanced settings say that its secret is embedded in a client: turn that off", known)
		case tokenEndpoint && known.code == 100 && known.subcode == 0:
			// https://github.com/laravel/socialite/issues/385, read 2026-11-25.
			if refused := m.codeMessage(e.Message, known); refused != nil {
				return refused
			}
		}
		return m.tokenRefused(e, r.status, r.header)
	}
}

// personExcluded returns the error for a person whom Facebook does not let use the app.
// A restriction of the app to some countries was the cause in
// https://github.com/facebook/facebook-java-business-sdk/issues/272. Another report is
// https://github.com/SocialiteProviders/Providers/issues/659 (both read 2026-11-25).
// Another consent does not help.
func (m meta) personExcluded(cause error) *connector.Error {
	return &connector.Error{
		Code:           connector.AccessDenied,
		Message:        m.title + " does not let this person use the app: check the app's restrictions of country and age, and that the person's account is in order",
		Reason:         "person_excluded",
		AccountRefused: true,
		Err:            cause,
	}
}

// tokenRefused returns what an error means that Facebook returns for a token, in an
// answer or in debug_token.
func (m meta) tokenRefused(e graphErrorBody, status int, header http.Header) *connector.Error {
	known := graphError{code: parseInt(e.Code), subcode: cmp.Or(parseInt(e.Subcode), parseInt(e.DebugSubcode)), status: status}
	known.nothing = strings.Contains(e.Message, "requested resource does not exist")
	if known.code == 190 && known.subcode == 0 && strings.Contains(e.Message, "before impersonating a user's page") {
		// https://github.com/gitroomhq/postiz-app/pull/1912, read 2026-11-25.
		gone := m.grantDead(reasonPageNotGranted, known)
		gone.Message = pageNotGranted
		return gone
	}
	if known.code == 190 && strings.Contains(e.Message, "belongs to a Page that ") {
		// It "is not accessible" in https://github.com/microsoft/BotFramework-Services/issues/36,
		// and "has been deleted" in the code of https://github.com/snarfed/webutil (both read
		// 2026-11-25).
		gone := m.grantDead(reasonPageNotAccessible, known)
		gone.Message = "Facebook says that the Page is not accessible: see on Facebook whether it still exists and is not restricted, then connect again"
		return gone
	}
	if known.code == 190 && known.subcode == 0 && strings.Contains(e.Message, "must be an administrator of the page") {
		// https://github.com/snarfed/bridgy/issues/596, read 2026-11-25.
		known.subcode = 492
	}
	if known.code == 190 && known.subcode == 0 && checkpointWords(e.Message) {
		known.subcode = 459
	}
	return m.graphError(known, header)
}

// checkpointWords reports whether a message is about an account that has to pass a
// checkpoint on the platform's own site. Instagram sends these messages
// (https://github.com/gitroomhq/postiz-app/pull/2054, read 2026-11-25).
func checkpointWords(message string) bool {
	return strings.Contains(message, "cannot access the app till you log in") ||
		strings.Contains(message, "malformed because of invalid user id")
}

// sessionErrors are the subcodes of tokens that have ended, with a word for those
// that a person should know
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/debugging,
// read 2026-11-23).
var sessionErrors = map[int]string{
	456: "", 457: "",
	458: "app_removed", 459: "checkpoint", 460: "password_changed",
	461: "", 462: "", 463: "expired", 464: "user_not_confirmed", 465: "", 466: "",
	467: "logged_out", 468: "",
	// https://github.com/facebook/facebook-python-business-sdk/issues/525 and
	// https://github.com/mautrix/facebook/issues/226, read 2026-11-25.
	490: "checkpoint",
	493: "data_access_expired",
	// The person has no appropriate role on the Page
	// (https://developers.facebook.com/docs/graph-api/guides/error-handling, read
	// 2026-11-25).
	492: reasonRoleLost,
}

// graphError returns what an error of the Graph API means.
func (m meta) graphError(e graphError, header http.Header) *connector.Error {
	if reason, dead := sessionErrors[cmp.Or(e.subcode, e.code)]; dead {
		gone := m.grantDead(reason, e)
		switch reason {
		case "checkpoint":
			gone.Message = m.title + " wants the person to log in on " + strings.ToLower(m.title) + ".com first, then to connect again"
		case reasonRoleLost:
			gone.Message = "the person has no role on this Page any more; a person with a role must connect it"
		}
		return gone
	}
	// No page of Facebook's that lists these, or the last two of the codes
	// below, was seen. They come from public code and bug reports (read
	// 2026-11-23).
	switch e.subcode {
	case 36007, 36009:
		return m.codeRejected(e)
	case 36008:
		return m.appRefused("the redirect URI is not the one that the app lists", e)
	case 33:
		missing := m.scopeMissing(nil, e)
		missing.Reason = reasonNotVisible
		return missing
	case 1404078:
		return m.grantDead("page_publishing_authorization", e)
	case 4854002:
		return m.actionRequired("identity_confirmation", m.title+" wants the person to confirm their identity in its app", e)
	}
	switch code := e.code; {
	case code == 190, code == 102,
		// The token is of no person and no Page, such as that of an app
		// (https://github.com/jgorset/facepy/issues/135 and
		// https://github.com/pitchtarget/ember-cli-facebook-js-sdk/pull/32, read
		// 2026-11-25).
		code == 2500:
		return m.grantDead("", e)
	case code == 3, code == 10, code >= 200 && code <= 299:
		return m.scopeMissing(nil, e)
	case code == 415:
		// A Page or portfolio whose portfolio requires a second factor. A new consent
		// did not help (https://github.com/facebook/facebook-python-business-sdk/issues/516
		// and https://github.com/facebook/facebook-java-business-sdk/issues/438, read
		// 2026-11-25).
		protected := m.scopeMissing(nil, e)
		protected.Reason = "two_factor_required"
		protected.Message = "the business portfolio requires two-factor authentication: the person has to pass it in the business settings on facebook.com"
		return protected
	case code == 5:
		// https://github.com/jaredhanson/passport-facebook/issues/36 and
		// https://github.com/pdaddyo/soundbounce/issues/292, read 2026-11-25.
		unlisted := m.appRefused("its settings list the servers that may call it, and this one is not among them; see Server IP allowlist under Settings, Advanced", e)
		unlisted.Reason = "server_not_listed"
		return unlisted
	case code == 101, code == 191:
		return m.appRefused("check its id and redirect URI", e)
	case code == 1, code == 2:
		return m.unavailable("has a passing trouble", e)
	case code == 4, code == 17, code == 32, code == 341, code == 613, code >= 80000 && code <= 80014:
		return &connector.Error{
			Code:       connector.RateLimited,
			Message:    m.title + " limits the requests; try again later",
			RetryAfter: regainAccess(header),
			Err:        e,
		}
	case code == 368:
		return m.actionRequired("blocked_for_policy", m.title+" has blocked this for a while for breaking its rules", e)
	case code == 1404078:
		return m.grantDead("page_publishing_authorization", e)
	case code == 4854002:
		return m.actionRequired("identity_confirmation", m.title+" wants the person to confirm their identity in its app", e)
	}
	return m.unavailable("refused the request in a way that we do not know", e)
}

// regainAccess returns the time until the throttle ends. It is in minutes in
// X-Business-Use-Case-Usage
// (https://developers.facebook.com/docs/graph-api/overview/rate-limiting, read
// 2026-11-23).
func regainAccess(header http.Header) time.Duration {
	var usage map[string][]struct {
		Minutes json.RawMessage `json:"estimated_time_to_regain_access"`
	}
	if json.Unmarshal([]byte(header.Get("X-Business-Use-Case-Usage")), &usage) != nil {
		return 0
	}
	var longest time.Duration
	for _, rows := range usage {
		for _, row := range rows {
			longest = max(longest, parseSeconds(row.Minutes)*60)
		}
	}
	return min(longest, maxRetryAfter)
}
