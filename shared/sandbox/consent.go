package sandbox

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// consentRequest is a valid authorize request.
type consentRequest struct {
	scopes      []string // requested
	fixed       []string // that the person cannot refuse
	redirectURI string
	state       string
	query       url.Values
	pages       bool // the person selects Pages
	channels    bool // the person selects one of their YouTube channels
}

// Choice is the person's answer to a consent request. The zero Choice is that of
// the first person, who allows everything.
type Choice struct {
	Deny bool
	// Refusal names an unusual refusal in the platform's file: its redirect has neither
	// error nor code.
	Refusal string
	Account string   // Person.ID; empty: that of the first person
	Untick  []string // refused scopes
	Pages   []string // ids of Facebook Pages; nil: all Pages of the person
	// PageUntick are the scopes that are refused for single Pages, by the id of the
	// Page.
	PageUntick map[string][]string
	// Instagram are ids of Instagram accounts; nil: those of the selected Pages.
	Instagram []string
	// InGeneral allows all present and future Pages and Instagram accounts.
	InGeneral bool
	Channel   string // id of a YouTube channel; empty: the default channel of the person
}

// errorText is the text of a platform's own error page. A request that gets it is
// not redirected back.
type errorText struct {
	Platform, Title, Text string
}

// Consent answers a consent request as a person does, and returns the URL that
// the browser is redirected to. The authorize URL may be the real one, or one
// that PLATFORM_ENDPOINTS rewrote. Where the platform shows an error page, the
// error has its text.
func (s *Sandbox) Consent(authorizeURL string, choice Choice) (redirect string, err error) {
	u, err := url.Parse(authorizeURL)
	if err != nil {
		return "", fmt.Errorf("reading the authorize URL: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := u.EscapedPath()
	if slices.Contains(s.hosts(), u.Host) {
		path = "/" + u.Host + path
	}
	get := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}
	rt, c := s.match(get, path)
	if rt.endpoint != "authorize" {
		return "", fmt.Errorf("%s%s is not an authorize URL", c.host, c.path)
	}
	s.log.add(rt, c, 0, nil)
	d := s.dialect(rt.platform)
	q, refused := d.checkAuthorize(c)
	if refused != nil {
		return "", fmt.Errorf("the platform shows an error page: %s", bytes.Join(pageText(refused.body), []byte(" ")))
	}
	if person := skipped(d, q); person != nil {
		if choice.Deny || len(choice.Untick) > 0 || choice.Account != "" && choice.Account != person.ID {
			return "", fmt.Errorf("%w: the platform skips the page and takes the account %q", errChoice, person.ID)
		}
		return d.redirect(q, person, Choice{}), nil
	}
	return applyChoice(d, q, choice)
}

// skipper is a dialect that may skip its consent page. skip returns the person whose
// consent it takes, or nil if it shows the page.
type skipper interface {
	skip(q consentRequest) *Person
}

// skipped returns the person whose consent the platform takes without its page, or nil.
func skipped(d dialect, q consentRequest) *Person {
	if s, ok := d.(skipper); ok {
		return s.skip(q)
	}
	return nil
}

// pageText returns the marked text of an error page.
func pageText(page []byte) [][]byte {
	var words [][]byte
	for _, id := range []string{`<h1 id="error">`, `<p id="reason">`} {
		if _, rest, ok := bytes.Cut(page, []byte(id)); ok {
			text, _, _ := bytes.Cut(rest, []byte("</"))
			words = append(words, text)
		}
	}
	return words
}

var errChoice = errors.New("the page does not offer that choice")

// applyChoice checks that the page offers the choice, and returns the redirect.
func applyChoice(d dialect, q consentRequest, choice Choice) (string, error) {
	person := d.common().person(choice.Account)
	if person == nil {
		return "", fmt.Errorf("%w: account %q", errChoice, choice.Account)
	}
	for _, scope := range choice.Untick {
		if !slices.Contains(q.scopes, scope) || slices.Contains(q.fixed, scope) {
			return "", fmt.Errorf("%w: refusing the scope %q", errChoice, scope)
		}
	}
	offered := map[string]bool{}
	for _, page := range person.Pages {
		offered[page.ID], offered[page.InstagramID] = true, true
	}
	for _, id := range slices.Concat(choice.Pages, choice.Instagram) {
		if id == "" || !offered[id] {
			return "", fmt.Errorf("%w: Page or Instagram account %q", errChoice, id)
		}
	}
	if choice.Refusal != "" {
		parameters, ok := d.common().refusals[choice.Refusal]
		if !ok {
			return "", fmt.Errorf("%w: the refusal %q", errChoice, choice.Refusal)
		}
		return redirectTo(q.redirectURI, slices.Concat(parameters, []string{"state", q.state})...), nil
	}
	if choice.Channel != "" && (!q.channels || !slices.ContainsFunc(person.channels(), func(c Channel) bool { return c.ID == choice.Channel })) {
		return "", fmt.Errorf("%w: channel %q", errChoice, choice.Channel)
	}
	return d.redirect(q, person, choice), nil
}

// granted returns the requested scopes that the person did not refuse.
func (q consentRequest) granted(choice Choice) []string {
	return slices.DeleteFunc(slices.Clone(q.scopes), func(scope string) bool {
		return slices.Contains(choice.Untick, scope)
	})
}

// showConsent handles the authorize endpoint. It shows the consent page.
func showConsent(d dialect) func(*call) reply {
	return func(c *call) reply {
		q, refused := d.checkAuthorize(c)
		if refused != nil {
			return *refused
		}
		if person := skipped(d, q); person != nil {
			return seeOther(d.redirect(q, person, Choice{}))
		}
		return consentPage(d, q)
	}
}

// seeOther redirects the browser to the app.
func seeOther(location string) reply {
	return text(http.StatusSeeOther, "").with("Location", location).with("Cache-Control", "no-store").with("Referrer-Policy", "no-referrer")
}

// acceptConsent handles the form of the consent page. The form posts to the
// authorize URL, so that the request is checked again and no state is needed.
func acceptConsent(d dialect) func(*call) reply {
	return func(c *call) reply {
		q, refused := d.checkAuthorize(c)
		if refused != nil {
			return *refused
		}
		redirect, err := applyChoice(d, q, choiceOf(c.form, d, q))
		if err != nil {
			return errorPage(http.StatusBadRequest, errorText{d.common().title, "Not on this page", err.Error()})
		}
		return seeOther(redirect)
	}
}

// choiceOf reads the form. It ignores Pages and channels of an account that the
// person did not select, because a browser without CSS :has shows those of all
// accounts.
func choiceOf(form url.Values, d dialect, q consentRequest) Choice {
	choice := Choice{Deny: form.Get("action") != "allow", Account: form.Get("account"), Pages: []string{}}
	for _, scope := range q.scopes {
		if !slices.Contains(form["scope"], scope) && !slices.Contains(q.fixed, scope) {
			choice.Untick = append(choice.Untick, scope)
		}
	}
	if person := d.common().person(choice.Account); person != nil {
		for _, page := range person.Pages {
			if slices.Contains(form["page"], page.ID) {
				choice.Pages = append(choice.Pages, page.ID)
			}
		}
		for _, channel := range person.channels() {
			if slices.Contains(form["channel"], channel.ID) {
				choice.Channel = channel.ID
			}
		}
	}
	return choice
}

//go:embed consent.html
var consentHTML string

var pages = template.Must(template.New("").Parse(consentHTML))

func consentPage(d dialect, q consentRequest) reply {
	p := d.common()
	return page(http.StatusOK, "consent", map[string]any{
		"Platform": p.title, "App": p.app.ClientID, "People": p.people,
		"Scopes": q.scopes, "Fixed": q.fixed, "AskPages": q.pages, "AskChannels": q.channels,
		"AllOrNothing": containsAll(q.fixed, q.scopes),
		"Back":         origin(q.redirectURI),
	})
}

func errorPage(status int, content errorText) reply {
	return page(status, "error", content)
}

// page renders a template. Its Content-Security-Policy has no form-action,
// because browsers apply that to redirects after a form, too, which lead to the app
// and to further URLs.
func page(status int, name string, data any) reply {
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, name, data); err != nil {
		panic("sandbox: rendering a page: " + err.Error())
	}
	return reply{status, http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Cache-Control":           {"no-store"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"},
		"Referrer-Policy":         {"no-referrer"},
		"X-Content-Type-Options":  {"nosniff"},
	}, body.Bytes()}
}

func origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// redirectTo adds parameters to a redirect URI in the given order: name, value,
// name, value. It omits an empty state. It encodes a space as %20, as the
// platforms do.
func redirectTo(uri string, parameters ...string) string {
	var b strings.Builder
	b.WriteString(uri)
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	for i := 0; i < len(parameters); i += 2 {
		if parameters[i] == "state" && parameters[i+1] == "" {
			continue
		}
		b.WriteString(separator + url.QueryEscape(parameters[i]) + "=" + strings.ReplaceAll(url.QueryEscape(parameters[i+1]), "+", "%20"))
		separator = "&"
	}
	return b.String()
}
