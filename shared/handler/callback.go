package handler

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

const (
	maxState     = 128
	maxCode      = 4 << 10
	maxParameter = 2 << 10
)

// OAuthCallback returns the function of GET /oauth/{platform}/callback. It
// completes an authorization and shows the result at the link's return URL or
// on a page.
func (h *Handler) OAuthCallback() Function {
	return h.serve("oauth-callback", true, routes{
		"GET /oauth/{platform}/callback":  h.callback,
		"HEAD /oauth/{platform}/callback": h.callback,
		chooseRoute:                       h.choose,
	})
}

// chooseRoute takes a form of a page, so that its errors are pages, too.
const chooseRoute = "POST /oauth/{platform}/choose"

func (h *Handler) callback(ctx context.Context, c *call, r *request) (answer, error) {
	if r.isPreview() {
		return answerPreview(r), nil
	}
	callback, err := readCallback(r)
	if err != nil {
		return answer{}, err
	}
	result, err := h.service.Callback(ctx, callback)
	return h.consented(c, r, callback, result, err)
}

// choose takes the accounts that a person chose. The body is the form of the page, or
// JSON.
func (h *Handler) choose(ctx context.Context, c *call, r *request) (answer, error) {
	callback, chosen, err := readChoice(r)
	if err != nil {
		return answer{}, err
	}
	result, err := h.service.Choose(ctx, callback, chosen)
	if errors.Is(err, connector.InvalidRequest) && r.wantsPage() && result.Choices != nil {
		_, problem, _ := strings.Cut(connector.AsError(err).Message, ": ") // without the name of the field
		return h.choicePage(http.StatusBadRequest, r, callback.State, result, problem)
	}
	return h.consented(c, r, callback, result, err)
}

// readChoice reads the state, and the ids of the accounts that were chosen.
func readChoice(r *request) (connector.CallbackRequest, []string, error) {
	callback := connector.CallbackRequest{Platform: connector.Name(r.parameters["platform"]), Browser: r.browserCookie}
	if kind, _, _ := strings.Cut(r.header["content-type"], ";"); strings.TrimSpace(kind) != "application/x-www-form-urlencoded" {
		o, err := r.onlyBody()
		if err != nil {
			return callback, nil, err
		}
		callback.State = o.secret("state")
		chosen := o.list("account_ids")
		return callback, chosen, o.end()
	}
	form, err := url.ParseQuery(string(r.body))
	if err != nil {
		return callback, nil, connector.Invalid("body", "not a form")
	}
	chosen := form["account_id"]
	delete(form, "account_id")
	for i, id := range chosen {
		var problem string
		if chosen[i], problem = connector.Word(id); problem != "" {
			return callback, nil, connector.Invalid("account_id", problem)
		}
	}
	p := &parameters{values: form}
	callback.State = connector.NewSecret(p.exact("state", maxState))
	return callback, chosen, p.end()
}

// browserCookie reads a cookie that binds an authorization to its browser.
func (r *request) browserCookie(name string) connector.Secret {
	return connector.NewSecret(r.cookie(name))
}

// consented answers a browser with the result of its consent.
func (h *Handler) consented(c *call, r *request, callback connector.CallbackRequest, result connector.CallbackResult, err error) (answer, error) {
	var a answer
	if err == nil {
		a, err = h.connected(r, callback.State, result)
	}
	if err != nil && result.ReturnURL != "" {
		a = redirect(returnTo(result.ReturnURL, url.Values{"error": {string(connector.AsError(err).Code)}}))
	}
	if len(result.Connections) == 1 {
		c.setConnection(result.Connections[0].ID)
	}
	return a, err
}

// readCallback reads the parameters of a callback. It ignores unknown parameters, because
// platforms add their own. It ignores error_description, which may be text of an attacker.
func readCallback(r *request) (connector.CallbackRequest, error) {
	if list := r.query["state"]; len(list) > 1 || len(list) == 1 && len(list[0]) > maxState {
		return connector.CallbackRequest{}, &connector.Error{Code: connector.StateInvalid, Message: "the state is not one of ours: start again"}
	}
	maps.DeleteFunc(r.query, func(_ string, list []string) bool { return len(list) == 1 && list[0] == "" })
	p := r.parametersOfQuery()
	callback := connector.CallbackRequest{
		Platform: connector.Name(r.parameters["platform"]),
		State:    connector.NewSecret(p.exact("state", maxState)),
		Code:     connector.NewSecret(p.exact("code", maxCode)),
		Refusal:  connector.Refusal{},
		Issuer:   p.exact("iss", maxParameter),
		Browser:  r.browserCookie,
	}
	for _, name := range connector.RefusalParameters() {
		// Some of these names may have another meaning to another platform.
		if list := r.query[name]; name == "error" || len(list) == 1 && len(list[0]) <= maxParameter {
			callback.Refusal[name] = p.exact(name, maxParameter)
		}
	}
	if p.err != nil {
		return connector.CallbackRequest{}, p.err
	}
	return callback, nil
}

// connected answers a successful callback: with a redirect to the return URL,
// with a page, or with JSON. A link that asks for confirmation always has a
// return URL.
func (h *Handler) connected(r *request, state connector.Secret, result connector.CallbackResult) (answer, error) {
	if result.Choices != nil {
		return h.choices(r, state, result)
	}
	if !result.Confirmation.Empty() {
		added := url.Values{"status": {"confirm"}, "confirmation": {result.Confirmation.Reveal()}}
		return redirect(returnTo(result.ReturnURL, added)), nil
	}
	if result.ReturnURL != "" {
		return redirect(connectedURL(result)), nil
	}
	if r.wantsPage() {
		return connectedPage(result.Platform, result.Saved)
	}
	return jsonAnswer(http.StatusOK, struct {
		Status string `json:"status"`
		consentView
	}{"connected", viewConsent(result.Saved)})
}

// choices answers with the accounts that the person can choose: as a page or as JSON.
func (h *Handler) choices(r *request, state connector.Secret, result connector.CallbackResult) (answer, error) {
	if r.wantsPage() {
		return h.choicePage(http.StatusOK, r, state, result, "")
	}
	views := viewChoices(result.Choices)
	return jsonAnswer(http.StatusOK, struct {
		Status       string       `json:"status"`
		Accounts     []choiceView `json:"accounts"`
		Count        int          `json:"count"`
		Link         string       `json:"link"`
		ChooseBefore time.Time    `json:"choose_before"`
	}{"choose", views, len(result.Choices), result.Link, instant(result.ChooseBefore)})
}

// maxReturned is the length that a return URL stays under. Browsers, proxies and
// the servers of products take at least so much.
const maxReturned = 2 << 10

// connectedURL returns the return URL with the connections. If the URL gets too long, or
// if the worker still saves some, it has the first ones, the number of all, and the id of
// the link, with which GET /links/{id} lists all.
func connectedURL(result connector.CallbackResult) string {
	added := url.Values{"status": {"connected"}}
	for _, connection := range result.Connections {
		added.Add("connection_id", string(connection.ID))
	}
	if missing := missingScopes(result.Connections); len(missing) > 0 {
		added.Set("missing_scopes", strings.Join(missing, ","))
	}
	whole := returnTo(result.ReturnURL, added)
	if len(whole) < maxReturned && len(result.Connections) == result.Accounts {
		return whole
	}
	ids := added["connection_id"]
	added.Set("connections", strconv.Itoa(result.Accounts))
	added.Set("link", result.Link)
	const parameter = len("&connection_id=") + len("00000000-0000-4000-8000-000000000000")
	added["connection_id"] = ids[:1]
	if len(returnTo(result.ReturnURL, added)) >= maxReturned {
		added.Del("missing_scopes") // the connections have them, too
	}
	room := max(0, maxReturned-1-len(returnTo(result.ReturnURL, added)))
	added["connection_id"] = ids[:min(len(ids), 1+room/parameter)]
	return returnTo(result.ReturnURL, added)
}

// returnParameters are the parameters that the connector alone sets.
var returnParameters = []string{"status", "error", "connection_id", "connections", "link", "missing_scopes", "confirmation"}

func missingScopes(connections []connector.Connection) []string {
	var missing []string
	for _, connection := range connections {
		missing = append(missing, connection.MissingScopes...)
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// returnTo adds parameters to a return URL. It leaves the existing query
// unchanged, byte for byte, except that it removes parameters with the names
// that the connector sets. Nobody else can set those.
func returnTo(returnURL string, added url.Values) string {
	u, err := url.Parse(returnURL)
	if err != nil {
		return returnURL
	}
	var kept []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if pair != "" && (err != nil || !slices.Contains(returnParameters, plain)) {
			kept = append(kept, pair)
		}
	}
	u.RawQuery = strings.Join(append(kept, added.Encode()), "&")
	return u.String()
}
