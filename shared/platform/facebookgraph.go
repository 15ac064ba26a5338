package platform

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
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
	return f.do(ctx, call{method: method, url: facebookGraph + path, query: with, bearer: token}, f.apiError(false))
}

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

// granted returns the permissions that the person granted. Where Facebook
// returns no list, it reads the scopes of the token.
func (f *facebook) granted(ctx context.Context, c client, user connector.Secret) ([]string, error) {
	scopes, err := f.permissions(ctx, c, user)
	if err == nil {
		return scopes, nil
	}
	if code := connector.AsError(err).Code; code.GrantDead() || code == connector.RateLimited {
		return nil, err
	}
	if inspected, inspectErr := f.inspect(ctx, c, user); inspectErr == nil && len(inspected.scopes) > 0 {
		return inspected.scopes, nil
	}
	return nil, err
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
}

// instagram returns the id of the Page's Instagram account, or "".
func (p page) instagram() string { return p.Instagram.ID.orEmpty() }

// pages returns the Pages of a user token, with their tokens. Pages of a business
// portfolio are in the lists of the portfolio alone, sometimes without a token.
// The Page itself has the token then
// (https://github.com/trypostit/trypost/pull/301, read 2026-11-23). An error in
// those lists loses no Page of the ordinary list.
func (f *facebook) pages(ctx context.Context, c client, user connector.Secret, businesses bool) ([]page, error) {
	rows, err := f.list(ctx, c, user, "me/accounts")
	if err != nil {
		return nil, err
	}
	if businesses {
		rows = append(rows, f.businessPages(ctx, c, user)...)
	}
	var pages []page
	index := map[identifier]int{}
	for _, row := range rows {
		if i, known := index[row.ID]; !known {
			index[row.ID] = len(pages)
			pages = append(pages, row)
		} else if pages[i].Token.Empty() {
			pages[i] = row
		}
	}
	for i, p := range pages {
		if !p.Token.Empty() || !accountPattern.MatchString(string(p.ID)) {
			continue
		}
		var node page
		err := f.get(ctx, c, user, url.PathEscape(string(p.ID)), query("fields", pageFields), &node)
		if err == nil && node.ID == p.ID {
			pages[i] = node
		}
	}
	return slices.DeleteFunc(pages, func(p page) bool {
		return p.Token.Empty() || !isCredential(p.Token.Reveal())
	}), nil
}

func (f *facebook) businessPages(ctx context.Context, c client, user connector.Secret) []page {
	businesses, err := f.list(ctx, c, user, "me/businesses")
	if err != nil {
		return nil
	}
	var rows []page
	for _, business := range businesses[:min(len(businesses), maxBusinesses)] {
		if !accountPattern.MatchString(string(business.ID)) {
			continue
		}
		for _, edge := range []string{"/owned_pages", "/client_pages"} {
			more, err := f.list(ctx, c, user, url.PathEscape(string(business.ID))+edge)
			if err == nil {
				rows = append(rows, more...)
			}
		}
	}
	return rows
}

// list reads all pages of an edge. paging.next is a URL with the token in it. list
// uses its cursor alone, so that an answer cannot decide where the token is sent
// (https://developers.facebook.com/docs/graph-api/results, read 2026-11-23).
func (f *facebook) list(ctx context.Context, c client, user connector.Secret, path string) ([]page, error) {
	fields := pageFields
	if path == "me/businesses" {
		fields = "id,name"
	}
	next := query("fields", fields, "limit", strconv.Itoa(graphPage))
	var rows []page
	for range maxGraphPages {
		var answer struct {
			Data   []page
			Paging struct {
				Next    string
				Cursors struct{ After string }
			}
		}
		if err := f.get(ctx, c, user, path, next, &answer); err != nil {
			return nil, err
		}
		if rows = append(rows, answer.Data...); len(rows) > maxGraphPages*graphPage {
			break
		}
		if answer.Paging.Next == "" {
			return rows, nil
		}
		after := query("fields", fields, "limit", strconv.Itoa(graphPage))
		if cursor := answer.Paging.Cursors.After; cursor != "" {
			after.Set("after", cursor)
		} else if u, err := url.Parse(answer.Paging.Next); err == nil {
			for _, name := range []string{"after", "offset", "__paging_token", "until"} {
				if value := u.Query().Get(name); value != "" {
					after.Set(name, value)
				}
			}
		}
		if after.Encode() == next.Encode() {
			break
		}
		next = after
	}
	return nil, f.malformed(http.MethodGet, "a list without an end")
}

// inspection is Facebook's description of a token.
type inspection struct {
	known           bool
	userID          string
	scopes          []string
	expiresAt       time.Time // zero: never
	dataAccessUntil time.Time
}

// warning returns the warning for a Page token that expires, or "".
func (i inspection) warning() string {
	if i.expiresAt.IsZero() {
		return ""
	}
	return "page_token_expires: the Page token ends on " + i.expiresAt.Format(time.DateOnly) +
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
		return inspection{}, f.grantDead("", nil)
	}
	return inspection{
		known:           true,
		userID:          answer.Data.UserID.orEmpty(),
		scopes:          splitScopes(strings.Join(answer.Data.Scopes, ",")),
		expiresAt:       f.boundedEnd(answer.Data.Expires, facebookTokenLife),
		dataAccessUntil: f.boundedEnd(answer.Data.Data, facebookDataAccess),
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
type graphError struct{ code, subcode, status int }

func (e graphError) Error() string {
	return fmt.Sprintf("Graph error %d/%d, HTTP status %d", e.code, e.subcode, e.status)
}

// apiError reads an error of the Graph API
// (https://developers.facebook.com/docs/graph-api/guides/error-handling, read
// 2026-11-23).
func (f *facebook) apiError(tokenEndpoint bool) errorDecoder {
	return func(r reply) *connector.Error {
		var body struct {
			Error json.RawMessage `json:"error"`
		}
		if decode(r.body, &body) != nil || !isPresent(body.Error) {
			return nil
		}
		var e struct {
			Message     string          `json:"message"`
			Code        json.RawMessage `json:"code"`
			Subcode     json.RawMessage `json:"error_subcode"`
			IsTransient bool            `json:"is_transient"`
		}
		if json.Unmarshal(body.Error, &e) != nil {
			return f.unavailable("refused the request in a way that we do not know", statusError(r.status))
		}
		known := graphError{code: parseInt(e.Code), subcode: parseInt(e.Subcode), status: r.status}
		switch {
		case tokenEndpoint && strings.Contains(strings.ToLower(e.Message), "validating client secret"):
			// Its code is 1, which means an outage elsewhere. On Instagram's host
			// the same text has code 100.
			return f.clientRefused("check its secret", known)
		case strings.Contains(e.Message, "appsecret_proof"):
			return f.clientRefused("the token is of another app, or the app secret is wrong", known)
		case e.IsTransient:
			return f.unavailable("has a passing trouble", known)
		}
		return f.graphError(known, r.header)
	}
}

// sessionErrors are the subcodes of tokens that have ended, with a word for those
// that a person should know
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/debugging,
// read 2026-11-23).
var sessionErrors = map[int]string{
	456: "", 457: "",
	458: "app_removed", 459: "checkpoint", 460: "password_changed",
	461: "", 462: "", 463: "expired", 464: "user_not_confirmed", 465: "", 466: "",
	467: "logged_out", 468: "", 493: "data_access_expired",
}

// graphError returns what an error of the Graph API means.
func (f *facebook) graphError(e graphError, header http.Header) *connector.Error {
	if reason, dead := sessionErrors[cmp.Or(e.subcode, e.code)]; dead {
		gone := f.grantDead(reason, e)
		if reason == "checkpoint" {
			gone.Message = "Facebook wants the person to log in on facebook.com first, then to connect again"
		}
		return gone
	}
	// No page of Facebook's that lists these, or the last two of the codes
	// below, was seen. 492 is assumed. The others come from public code and bug
	// reports (read 2026-11-23).
	switch e.subcode {
	case 492:
		missing := f.scopeMissing(nil, e)
		missing.Reason, missing.Message = "role_lost", "the person has no role on this Page any more; a person with a role must connect it"
		return missing
	case 36007, 36009:
		return f.codeRejected(e)
	case 36008:
		return f.appRefused("the redirect URI is not the one that the app lists", e)
	case 33:
		missing := f.scopeMissing(nil, e)
		missing.Reason = "not_visible"
		return missing
	case 1404078:
		return f.grantDead("page_publishing_authorization", e)
	case 4854002:
		return f.actionRequired("identity_confirmation", "Facebook wants the person to confirm their identity in its app", e)
	}
	switch code := e.code; {
	case code == 190, code == 102:
		return f.grantDead("", e)
	case code == 3, code == 10, code >= 200 && code <= 299:
		return f.scopeMissing(nil, e)
	case code == 101, code == 191:
		return f.appRefused("check its id and redirect URI", e)
	case code == 1, code == 2:
		return f.unavailable("has a passing trouble", e)
	case code == 4, code == 17, code == 32, code == 341, code == 613, code >= 80000 && code <= 80014:
		return &connector.Error{
			Code:       connector.RateLimited,
			Message:    "Facebook limits the requests; try again later",
			RetryAfter: regainAccess(header),
			Err:        e,
		}
	case code == 368:
		return f.actionRequired("blocked_for_policy", "Facebook has blocked this for a while for breaking its rules", e)
	case code == 1404078:
		return f.grantDead("page_publishing_authorization", e)
	case code == 4854002:
		return f.actionRequired("identity_confirmation", "Facebook wants the person to confirm their identity in its app", e)
	}
	return f.unavailable("refused the request in a way that we do not know", e)
}

// actionRequired returns the error for a condition that the person has to correct
// on Facebook. Another consent does not help. A retry succeeds once the person
// has acted.
func (f *facebook) actionRequired(reason, message string, cause error) *connector.Error {
	return &connector.Error{Code: connector.PlatformUnavailable, Message: message, Reason: reason, Err: cause}
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
