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

// question is what an app asks of a person: an authorize request that passed.
type question struct {
	scopes      []string // asked for
	fixed       []string // those that cannot be unticked
	redirectURI string
	state       string
	query       url.Values
	pages       bool // the person picks Pages
}

// Choice is what the person answers. The zero Choice allows everything, as the
// first person of the cast.
type Choice struct {
	Deny    bool
	Account string   // Person.ID; empty: the first
	Untick  []string // scopes refused
	Pages   []string // ids of Facebook Pages; nil: all of the person's
}

// refusedPage is the title and text of a platform's own error page, for a
// request that must not be redirected back.
type refusedPage struct {
	Platform, Title, Text string
}

// Consent plays the person at an authorize URL, real or rewritten by
// PLATFORM_ENDPOINTS, and returns the redirect that the browser would follow.
// Where the platform shows an error page in place of its question, the error
// says what stands there.
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
		return "", fmt.Errorf("%s%s is no authorize URL", c.host, c.path)
	}
	s.log.add(rt, c, 0, nil)
	d := s.dialect(rt.platform)
	q, refused := d.ask(c)
	if refused != nil {
		return "", fmt.Errorf("the platform shows an error page: %s", bytes.Join(pageText(refused.body), []byte(" ")))
	}
	return decide(d, q, choice)
}

// pageText returns the words of an error page, which marks them.
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

var errChoice = errors.New("that choice is not on the page")

// decide checks that the page offers the choice, and takes it.
func decide(d dialect, q question, choice Choice) (string, error) {
	person := d.common().person(choice.Account)
	if person == nil {
		return "", fmt.Errorf("%w: account %q", errChoice, choice.Account)
	}
	for _, scope := range choice.Untick {
		if !slices.Contains(q.scopes, scope) || slices.Contains(q.fixed, scope) {
			return "", fmt.Errorf("%w: unticking %q", errChoice, scope)
		}
	}
	for _, id := range choice.Pages {
		if !slices.ContainsFunc(person.Pages, func(p Page) bool { return p.ID == id }) {
			return "", fmt.Errorf("%w: Page %q", errChoice, id)
		}
	}
	return d.answer(q, person, choice), nil
}

// granted is what remains of the scopes asked for.
func (q question) granted(choice Choice) []string {
	return slices.DeleteFunc(slices.Clone(q.scopes), func(scope string) bool {
		return slices.Contains(choice.Untick, scope)
	})
}

// showConsent is the authorize endpoint: the page with the question.
func showConsent(d dialect) func(*call) reply {
	return func(c *call) reply {
		q, refused := d.ask(c)
		if refused != nil {
			return *refused
		}
		return consentPage(d, q)
	}
}

// takeConsent is where the page's form goes: the authorize URL again, so that
// what was asked is checked again and nothing is kept in between.
func takeConsent(d dialect) func(*call) reply {
	return func(c *call) reply {
		q, refused := d.ask(c)
		if refused != nil {
			return *refused
		}
		redirect, err := decide(d, q, choiceOf(c.form, d, q))
		if err != nil {
			return errorPage(http.StatusBadRequest, refusedPage{d.common().title, "Not on this page", err.Error()})
		}
		return text(http.StatusSeeOther, "").with("Location", redirect).with("Cache-Control", "no-store").with("Referrer-Policy", "no-referrer")
	}
}

// choiceOf reads the form. Pages of another account than the chosen one are
// ignored: without CSS :has, the page shows them all.
func choiceOf(form url.Values, d dialect, q question) Choice {
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
	}
	return choice
}

//go:embed consent.html
var consentHTML string

var pages = template.Must(template.New("").Parse(consentHTML))

func consentPage(d dialect, q question) reply {
	p := d.common()
	return page(http.StatusOK, "consent", map[string]any{
		"Platform": p.title, "App": p.app.ClientID, "People": p.people,
		"Scopes": q.scopes, "Fixed": q.fixed, "AskPages": q.pages,
		"AllOrNothing": containsAll(q.fixed, q.scopes),
		"Back":         origin(q.redirectURI),
	})
}

func errorPage(status int, content refusedPage) reply {
	return page(status, "error", content)
}

// page renders a template. Its only asset is its own style sheet. form-action
// is left open: browsers hold it against the redirects that follow a form too,
// and those lead to the app and on from there.
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

// redirectTo adds parameters to a redirect URI in the order given: name, value,
// name, value. A state that was not sent does not come back. Spaces are %20, as
// the platforms write them.
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
