package handler

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"platform-api-connector/shared/connector"
)

// Pages load no script, image or font. Their style sheet is inline, and the
// content security policy allows it by its hash.

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var pages = template.Must(template.New("page").Parse(pageText))

// styleHash returns the hash of the style sheet in the form of a content
// security policy.
func styleHash() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// pageHead is the data that every page needs.
type pageHead struct {
	Title string
	Style template.CSS
}

func head(title string) pageHead {
	return pageHead{Title: title, Style: template.CSS(pageStyle)} // #nosec G203 -- our own style sheet, embedded
}

func renderPage(name string, data any) (string, error) {
	var b strings.Builder
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("rendering the page %q: %w", name, err)
	}
	return b.String(), nil
}

func pageAnswer(status int, name string, data any) (answer, error) {
	body, err := renderPage(name, data)
	if err != nil {
		return answer{}, err
	}
	return answer{
		status: status,
		header: map[string]string{"content-type": "text/html; charset=utf-8"},
		body:   body,
		style:  styleHash(),
	}, nil
}

// choicePage shows the accounts of a consent with check boxes. The answer to its form may
// redirect to the link's return URL, and browsers apply form-action to that redirect, too.
// The page extends the life of the cookie to the end of the choice. problem says why the
// previous choice was refused, or is empty.
func (h *Handler) choicePage(status int, r *request, state connector.Secret, result connector.CallbackResult, problem string) (answer, error) {
	choices := viewChoices(result.Choices)
	a, err := pageAnswer(status, "choose", struct {
		pageHead
		Platform, State, Problem string
		Accounts                 []choiceView
		More                     int
	}{head("Choose what to connect"), result.Platform.Title, state.Reveal(), problem, choices, len(result.Choices) - len(choices)})
	if err != nil {
		return answer{}, err
	}
	a.forms = strings.TrimSpace("'self' " + formSource(result.ReturnURL))
	name := connector.BrowserCookie(state, h.secure)
	if lifetime := result.ChooseBefore.Sub(h.service.Now()); lifetime > 0 {
		a.cookies = []string{setCookie(name, r.cookie(name), lifetime, h.secure)}
	}
	return a, nil
}

// formSource returns what a policy for forms names so that they may lead to a return
// URL: its origin, or "". A policy cannot name an IPv6 address
// (https://github.com/w3c/webappsec/issues/49, read 2026-11-25). Its scheme is named
// then.
func formSource(returnURL string) string {
	u, err := url.Parse(returnURL)
	switch {
	case err != nil || u.Host == "":
		return ""
	case strings.HasPrefix(u.Host, "["):
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

// connectedPage shows the connections of a successful consent: the first ones of all
// accounts.
func connectedPage(platform connector.Description, saved connector.Saved) (answer, error) {
	type account struct {
		connector.Connection
		NotGranted []connector.GuideScope
	}
	shown := saved.Connections[:min(len(saved.Connections), maxShown)]
	accounts := make([]account, len(shown))
	for i, connection := range shown {
		accounts[i].Connection = connection
		for _, scope := range connection.MissingScopes {
			accounts[i].NotGranted = append(accounts[i].NotGranted, purpose(platform.Guide, scope))
		}
	}
	return pageAnswer(http.StatusOK, "connected", struct {
		pageHead
		Platform            string
		Accounts            []account
		More, Soon, LeftOut int
	}{head("Connected"), platform.Title, accounts, saved.Connected - len(shown), saved.Accounts - saved.Connected, saved.LeftOut})
}

// purpose returns a scope with its purpose, if the guide explains it.
func purpose(guide connector.Guide, scope string) connector.GuideScope {
	for _, explained := range guide.Scopes {
		if explained.Name == scope {
			return explained
		}
	}
	return connector.GuideScope{Name: scope}
}

// headings replace titles that a person would not understand.
var headings = map[connector.Code]string{
	connector.AccessDenied:   "No account was connected",
	connector.InvalidRequest: "This page cannot be shown",
	connector.StateInvalid:   "The connection cannot be completed",
}

// headingByReason replaces the title where the reason says more than the code.
var headingByReason = map[string]string{
	"unfinished":       "The connection is not completed yet",
	"credits_depleted": "The connection is not completed yet",
	"usage_capped":     "The connection is not completed yet",
}

// userFacingCodes are the codes whose detail concerns a choice of the person.
// For all other codes, the page shows the detail in its support section.
var userFacingCodes = []connector.Code{connector.AccessDenied, connector.AccountMismatch, connector.ScopeMissing}

// personByReason replaces what the person in the browser should do, where the
// reason says more than the code.
var personByReason = map[string]string{
	"unfinished":        "You gave access, and nothing is lost. Reload this page in a moment. If you close it, the connector continues without you.",
	"credits_depleted":  "You gave access, and nothing is lost. The operator of this service has to buy credits at the platform first. The connection is then completed without you.",
	"usage_capped":      "You gave access, and nothing is lost. The platform lets this service continue later. The connection is then completed without you.",
	"account_suspended": "The platform has suspended this account. Appeal there, and open the connect link again once the account works.",
	"account_locked":    "The platform has locked this account. Sign in there and unlock it, then open the connect link again.",
	"too_many_accounts": "You gave access to more accounts than can be connected at once. Open the connect link again and choose fewer of them on the platform's page.",
}

// failurePage shows a problem to a person.
func failurePage(p problemBody) (string, error) {
	name := "failed"
	if p.Code == connector.ManualMode {
		name = "manual"
	}
	return renderPage(name, struct {
		pageHead
		Problem    problemBody
		UserFacing bool
		Person     string
	}{head(cmp.Or(headingByReason[p.Reason], headings[p.Code], p.Title)), p, slices.Contains(userFacingCodes, p.Code), cmp.Or(personByReason[p.Reason], codeInfo[p.Code].person)})
}

// deletionPage shows the status of a data deletion.
func deletionPage(d connector.Deletion) (answer, error) {
	d.RequestedAt, d.CompletedAt = instant(d.RequestedAt), instant(d.CompletedAt)
	return pageAnswer(http.StatusOK, "deletion", struct {
		pageHead
		connector.Deletion
	}{head("Data deletion"), d})
}

// wantsPage reports whether the client prefers HTML to JSON. Browsers state
// this preference and programs do not (RFC 9110, 12.5.1).
func (r *request) wantsPage() bool {
	page, program := 0.0, 0.0
	for part := range strings.SplitSeq(r.header["accept"], ",") {
		kind, weight := mediaRange(part)
		switch kind {
		case "text/html":
			page = max(page, weight)
		case "application/json", "application/problem+json":
			program = max(program, weight)
		}
	}
	return page > 0 && page >= program
}

// mediaRange parses one part of an Accept header. A malformed weight counts as
// one.
func mediaRange(part string) (kind string, weight float64) {
	kind, parameters, _ := strings.Cut(part, ";")
	weight = 1
	if _, q, ok := strings.Cut(strings.ReplaceAll(parameters, " ", ""), "q="); ok {
		if _, err := fmt.Sscanf(q, "%g", &weight); err != nil {
			weight = 1
		}
	}
	return strings.ToLower(strings.TrimSpace(kind)), weight
}
