package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed start_page.html
var startPageHTML string

//go:embed start_page.css
var startPageCSS []byte

var startPageTemplate = template.Must(template.New("start page").Parse(startPageHTML))

// startPage is the page at "/". It shows the platforms and the connections, and
// uses only routes of the HTTP API.
type startPage struct {
	caller   caller
	sandbox  bool // the platforms are sandboxes
	terminal *terminal
	now      func() time.Time
	notices  notices
}

func newStartPage(c caller, sandbox bool, t *terminal) http.Handler {
	p := &startPage{caller: c, sandbox: sandbox, terminal: t, now: time.Now}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.show)
	mux.HandleFunc("GET /local/start_page.css", serveCSS)
	mux.HandleFunc("POST /local/connect", p.connect)
	mux.HandleFunc("POST /local/connections/{id}/{action}", p.performAction)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// The policy has no form-action, because the platform to which the form
		// of Connect redirects may have any origin.
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func serveCSS(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(startPageCSS)
}

// pageView is the data of the page.
type pageView struct {
	Sandbox     bool
	Notice      *notice
	Connections []connectionCard
	More        bool
	Platforms   []platformGuide
}

// platformGuide is a platform as GET /platforms/{platform} answers.
type platformGuide struct {
	platformSummary
	PortalURL string   `json:"portal_url"`
	Checked   string   `json:"checked"`
	Products  []string `json:"products"`
	Steps     []string `json:"steps"`
	Scopes    []struct{ Name, For string }
	Review    string   `json:"review"`
	Gotchas   []string `json:"gotchas"`
	Manual    []string `json:"manual"`
}

func (p *startPage) show(w http.ResponseWriter, r *http.Request) {
	view, err := p.view(r.Context())
	if err != nil {
		p.terminal.notify("the start page cannot be shown: %v", err)
		http.Error(w, "The page cannot be shown; the terminal of the local stack shows the cause.", http.StatusBadGateway)
		return
	}
	view.Notice = p.notice(r.URL.Query())
	var page bytes.Buffer
	if err := startPageTemplate.Execute(&page, view); err != nil {
		p.terminal.notify("the start page cannot be shown: %v", err)
		http.Error(w, "The page cannot be shown; the terminal of the local stack shows the cause.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes())
}

func (p *startPage) view(ctx context.Context) (pageView, error) {
	platforms, err := p.caller.platforms(ctx)
	if err != nil {
		return pageView{}, err
	}
	view := pageView{Sandbox: p.sandbox, Platforms: make([]platformGuide, len(platforms))}
	failures := make([]error, len(platforms)+1)
	var asking sync.WaitGroup
	places := map[string]int{}
	for i, platform := range platforms {
		places[platform.Name] = i
		asking.Go(func() {
			failures[i] = p.caller.call(ctx, http.MethodGet, "/platforms/"+platform.Name, nil, &view.Platforms[i])
		})
	}
	var listed struct {
		Connections []connectionRecord `json:"connections"`
		NextCursor  string             `json:"next_cursor"`
	}
	asking.Go(func() {
		failures[len(platforms)] = p.caller.call(ctx, http.MethodGet, "/connections?limit=100", nil, &listed)
	})
	asking.Wait()
	slices.SortStableFunc(listed.Connections, func(a, b connectionRecord) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(places[a.Platform], places[b.Platform]), cmp.Compare(a.AccountName, b.AccountName))
	})
	for _, c := range listed.Connections {
		view.Connections = append(view.Connections, newConnectionCard(c, platforms[places[c.Platform]], p.now()))
	}
	view.More = listed.NextCursor != ""
	return view, errors.Join(failures...)
}

// connect mints a connect link and goes there.
func (p *startPage) connect(w http.ResponseWriter, r *http.Request) {
	p.mint(w, r, map[string]any{"platform": r.PostFormValue("platform"), "owner": r.PostFormValue("owner")})
}

func (p *startPage) mint(w http.ResponseWriter, r *http.Request, link map[string]any) {
	link["return_url"] = p.caller.base + "/"
	var minted struct{ URL string }
	if err := p.caller.call(r.Context(), http.MethodPost, "/links", link, &minted); err != nil {
		p.back(w, r, refusal("No link was minted", err))
		return
	}
	http.Redirect(w, r, minted.URL, http.StatusSeeOther)
}

// performAction performs the action of a connection's button.
func (p *startPage) performAction(w http.ResponseWriter, r *http.Request) {
	id := url.PathEscape(r.PathValue("id"))
	switch r.PathValue("action") {
	case "token":
		p.back(w, r, p.token(r.Context(), id))
	case "verify":
		p.back(w, r, p.verify(r.Context(), id))
	case "refresh":
		p.back(w, r, p.refresh(r.Context(), id))
	case "disconnect":
		p.back(w, r, p.disconnect(r.Context(), id))
	case "reconnect":
		p.reconnect(w, r, id)
	default:
		http.NotFound(w, r)
	}
}

func (p *startPage) reconnect(w http.ResponseWriter, r *http.Request, id string) {
	var c connectionRecord
	if err := p.caller.call(r.Context(), http.MethodGet, "/connections/"+id, nil, &c); err != nil {
		p.back(w, r, refusal("No link was minted", err))
		return
	}
	p.mint(w, r, map[string]any{"platform": c.Platform, "owner": c.Owner, "connection_id": c.ID})
}

// token requests a token as another function would. The notice does not contain
// the token.
func (p *startPage) token(ctx context.Context, id string) notice {
	var t struct {
		AccountName string    `json:"account_name"`
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresAt   time.Time `json:"expires_at"`
		Degraded    bool      `json:"degraded"`
	}
	if err := p.caller.call(ctx, http.MethodGet, "/connections/"+id+"/token", nil, &t); err != nil {
		return refusal("No token", err)
	}
	text := fmt.Sprintf("Token handed out for %s: %s, %d characters (not shown), %s.",
		t.AccountName, t.TokenType, len(t.AccessToken), expiry(t.ExpiresAt, p.now()))
	if t.Degraded {
		text += " It was due for a refresh, which failed."
	}
	return notice{Text: text}
}

func (p *startPage) verify(ctx context.Context, id string) notice {
	var v struct {
		OK          bool   `json:"ok"`
		AccountName string `json:"account_name"`
	}
	err := p.caller.call(ctx, http.MethodPost, "/connections/"+id+"/verify", nil, &v)
	switch {
	case err != nil:
		return refusal("Not verified", err)
	case !v.OK:
		return notice{Text: "The platform does not accept these credentials any more.", Failed: true}
	case v.AccountName == "":
		return notice{Text: "Verified: the platform accepts these credentials."}
	}
	return notice{Text: "Verified: the platform answered for " + v.AccountName + "."}
}

func (p *startPage) refresh(ctx context.Context, id string) notice {
	var c connectionRecord
	if err := p.caller.call(ctx, http.MethodPost, "/connections/"+id+"/refresh", nil, &c); err != nil {
		return refusal("Not refreshed", err)
	}
	return notice{Text: "Refreshed: " + c.AccountName + "."}
}

func (p *startPage) disconnect(ctx context.Context, id string) notice {
	if err := p.caller.call(ctx, http.MethodDelete, "/connections/"+id, nil, nil); err != nil {
		return refusal("Not disconnected", err)
	}
	return notice{Text: "Disconnected."}
}

// back redirects to the page and shows a notice there.
func (p *startPage) back(w http.ResponseWriter, r *http.Request, n notice) {
	http.Redirect(w, r, "/?notice="+p.notices.put(n), http.StatusSeeOther)
}

// notice returns the notice of a request for the page: the result of an action,
// or of a consent, which the callback adds to the return URL.
func (p *startPage) notice(query url.Values) *notice {
	n, found := p.notices.take(query.Get("notice"))
	switch {
	case found:
		return &n
	case query.Get("status") == "connected":
		return &notice{Text: plural(accountsIn(query), "account") + " connected."}
	case query.Get("status") == "confirm":
		return &notice{Text: "The consent waits ten minutes for its confirmation. Send the confirmation in the address of this page, and its owner, to POST /connections/confirm."}
	case codePattern.MatchString(query.Get("error")):
		return &notice{Text: notConnected(query.Get("error")), Failed: true}
	}
	return nil
}

// accountsIn returns how many accounts a return URL says were connected.
func accountsIn(query url.Values) int {
	if n, err := strconv.Atoi(query.Get("connections")); err == nil {
		return max(1, n) // the URL has some of them only
	}
	return max(1, len(query["connection_id"]))
}

// endings explain the codes of a failed consent.
var endings = map[string]string{
	"AccessDenied":            "access was declined, or there was nothing to connect",
	"AccountMismatch":         "another account was chosen than the one to reconnect",
	"AppMisconfigured":        "the platform refuses the app; check its client id, secret and redirect URI",
	"AppNotConfigured":        "the app of the platform was deleted",
	"ConnectionNotFound":      "the connection to reconnect was deleted",
	"InvalidRequest":          "the answer of the platform is invalid",
	"LinkGone":                "the link was used already, or has expired",
	"ManualMode":              "the platform has not approved the app yet",
	"PlatformUnavailable":     "the platform does not answer; try again later",
	"QuotaExhausted":          "the app has used all its calls; try again later",
	"RateLimited":             "there were too many requests; wait a few minutes",
	"ReauthorizationRequired": "the platform ended the authorization at once; try again",
	"ScopeMissing":            "required permissions were not granted",
	"StateInvalid":            "the consent came too late or was used already; start again",
}

func notConnected(code string) string {
	words, known := endings[code]
	if !known {
		words = "the connector failed; the terminal of the local stack shows the cause"
	}
	return "Not connected: " + words + " (" + code + ")."
}

// notice is a line on the page.
type notice struct {
	Text   string
	Failed bool
}

// refusal returns the notice of an action that failed.
func refusal(outcome string, err error) notice {
	var refused *refusedError
	if errors.As(err, &refused) && refused.Code != "" {
		return notice{Text: fmt.Sprintf("%s (%s): %s.", outcome, refused.Code, strings.TrimSuffix(refused.Detail, ".")), Failed: true}
	}
	return notice{Text: outcome + "; the terminal of the local stack shows the cause.", Failed: true}
}

// notices stores the result of an action until the next page shows it.
type notices struct {
	mu  sync.Mutex
	all map[string]notice
}

// maxNotices limits the notices for pages that no browser requests.
const maxNotices = 100

func (n *notices) put(added notice) (id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil || len(n.all) == maxNotices {
		n.all = map[string]notice{}
	}
	id = rand.Text()
	n.all[id] = added
	return id
}

func (n *notices) take(id string) (notice, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	stored, found := n.all[id]
	delete(n.all, id)
	return stored, found
}
