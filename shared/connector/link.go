package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// LinkRequest asks for a connect link.
type LinkRequest struct {
	Platform     Name
	Owner        string
	ConnectionID ID            // re-authorize this connection; empty: a new one
	Scopes       []string      // empty: the platform's default
	ReturnURL    string        // empty: a page of ours
	ExpiresIn    time.Duration // zero: DefaultLinkLife
	Confirm      bool          // nothing is connected before Confirm; needs a ReturnURL
}

// MintedLink is a new connect link.
type MintedLink struct {
	URL       Secret
	ExpiresAt time.Time
}

// Link is what a connect link stands for.
type Link struct {
	Platform     Name      `json:"platform"`
	Owner        string    `json:"owner"`
	ConnectionID ID        `json:"connection_id,omitempty"`
	Scopes       []string  `json:"scopes"`
	ReturnURL    string    `json:"return_url,omitempty"`
	Confirm      bool      `json:"confirm,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// How long a connect link lives.
const (
	DefaultLinkLife = time.Hour
	MaxLinkLife     = 7 * 24 * time.Hour
)

const (
	maxScopes    = 50
	maxReturnURL = 2048
)

// MintLink makes a connect link: an HTTPS link that starts the authorization
// of one connection. It is spent when a connection results from it, not when
// it is opened, since previews open links.
//
// It fails with InvalidRequest, ConnectionNotFound, AppNotConfigured, or
// ManualMode where the app may not ask for consent yet.
func (s *Service) MintLink(ctx context.Context, r LinkRequest) (MintedLink, error) {
	p, err := s.platform(r.Platform)
	if err != nil {
		return MintedLink{}, err
	}
	if err := s.checkLinkRequest(r); err != nil {
		return MintedLink{}, err
	}
	if !mayActFor(ctx, r.Owner) {
		return MintedLink{}, errConnectionNotFound()
	}
	if r.ConnectionID != "" {
		c, err := s.Connection(ctx, r.ConnectionID)
		if err != nil {
			return MintedLink{}, err
		}
		if c.Owner != r.Owner || c.Platform != r.Platform || c.Status == Disconnected {
			return MintedLink{}, errConnectionNotFound()
		}
	}
	if _, err := s.consentApp(ctx, p); err != nil {
		return MintedLink{}, err
	}

	token, err := randomToken(s.Random)
	if err != nil {
		return MintedLink{}, internal("minting a link", err)
	}
	link := Link{
		Platform:     r.Platform,
		Owner:        r.Owner,
		ConnectionID: r.ConnectionID,
		Scopes:       requestedScopes(p.Describe(), r.Scopes),
		ReturnURL:    r.ReturnURL,
		Confirm:      r.Confirm,
		ExpiresAt:    s.Now().Add(cmp.Or(r.ExpiresIn, DefaultLinkLife)).UTC(),
	}
	if err := s.putTicket(ctx, Ticket{Kind: LinkTicket, Hash: hash(token), ExpiresAt: link.ExpiresAt}, link); err != nil {
		return MintedLink{}, err
	}
	return MintedLink{URL: NewSecret(s.PublicURL + "/connect/" + token.Reveal()), ExpiresAt: link.ExpiresAt}, nil
}

// checkLinkRequest holds a request against what any platform takes.
func (s *Service) checkLinkRequest(r LinkRequest) error {
	if err := checkOwner(r.Owner); err != nil {
		return err
	}
	if err := checkScopes(r.Scopes); err != nil {
		return err
	}
	if err := s.checkReturnURL(r.ReturnURL); err != nil {
		return err
	}
	if r.Confirm && r.ReturnURL == "" {
		return Invalid("return_url", "missing: with confirm the confirmation is sent there")
	}
	if r.ExpiresIn < 0 || r.ExpiresIn > MaxLinkLife {
		return Invalid("expires_in", fmt.Sprintf("not between 1 and %d seconds", int(MaxLinkLife.Seconds())))
	}
	return nil
}

// consentApp returns the platform's app if it may ask a person for consent.
func (s *Service) consentApp(ctx context.Context, p Platform) (App, error) {
	app, err := s.app(ctx, p.Describe().Name)
	if err != nil {
		return App{}, err
	}
	switch {
	case !app.Configured():
		return App{}, errAppNotConfigured(p.Describe())
	case app.Mode == ByHand:
		return App{}, errManualMode(p.Describe())
	}
	return app, nil
}

// putTicket stores a ticket with that body.
func (s *Service) putTicket(ctx context.Context, t Ticket, body any) error {
	var err error
	if t.Body, err = json.Marshal(body); err != nil {
		return internal("encoding a "+string(t.Kind), err)
	}
	if err := s.Store.PutTicket(ctx, t); err != nil {
		return internal("storing a "+string(t.Kind), err)
	}
	return nil
}

// dropTicket takes away one that stands under an id. One that is gone is no
// error.
func (s *Service) dropTicket(ctx context.Context, kind TicketKind, id ID) error {
	_, err := s.Store.TakeTicket(ctx, kind, string(id), "", s.Now())
	if err != nil && !errors.Is(err, ErrNotFound) {
		return internal("taking a "+string(kind), err)
	}
	return nil
}

// link returns what an unspent connect link stands for.
func (s *Service) link(ctx context.Context, token Secret) (Link, error) {
	if !wellFormedToken(token) {
		return Link{}, errLinkGone()
	}
	ticket, err := s.Store.Ticket(ctx, LinkTicket, hash(token), s.Now())
	if errors.Is(err, ErrNotFound) {
		return Link{}, errLinkGone()
	}
	if err != nil {
		return Link{}, internal("reading a link", err)
	}
	var link Link
	if err := json.Unmarshal(ticket.Body, &link); err != nil {
		return Link{}, internal("decoding a link", err)
	}
	return link, nil
}

// wellFormedToken reports whether t can be one of ours, so that nothing else
// reaches the store.
func wellFormedToken(t Secret) bool {
	s := t.Reveal()
	if len(s) != 43 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return true
}

// requestedScopes is what a consent asks for: what the link names, or the
// default, and always what the account cannot be known without.
func requestedScopes(d Description, asked []string) []string {
	if len(asked) == 0 {
		return slices.Clone(d.Scopes)
	}
	scopes := slices.Clone(d.Required)
	for _, scope := range asked {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

func checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return Invalid("scopes", fmt.Sprintf("more than %d", maxScopes))
	}
	for _, scope := range scopes {
		if err := checkText("scopes", scope, 256); err != nil {
			return err
		}
		if strings.ContainsFunc(scope, func(r rune) bool { return r == ',' || r > unicode.MaxASCII || unicode.IsSpace(r) }) {
			return Invalid("scopes", "each is one word, without spaces or commas")
		}
	}
	return nil
}

// checkReturnURL lets through what stands under an allowed origin, and only
// what every browser reads as Go does: printable ASCII, no backslash, no user
// info.
func (s *Service) checkReturnURL(raw string) error {
	if raw == "" {
		return nil
	}
	if len(raw) > maxReturnURL {
		return Invalid("return_url", fmt.Sprintf("longer than %d characters", maxReturnURL))
	}
	for _, r := range raw {
		if r <= ' ' || r >= 0x7f || r == '\\' {
			return Invalid("return_url", "has a character that does not belong into a URL")
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return Invalid("return_url", "not an absolute URL without user and fragment")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return Invalid("return_url", "neither https nor http")
	}
	if hasControl(u.Path) || hasControl(u.RawQuery) {
		return Invalid("return_url", "has an encoded control character")
	}
	origin := u.Scheme + "://" + strings.ToLower(u.Host)
	if !slices.Contains(s.ReturnOrigins, origin) {
		return Invalid("return_url", "its origin is not one of RETURN_ORIGINS")
	}
	return nil
}

// hasControl reports whether s, once more decoded, holds a control character:
// harmless to us, but not to a product that writes parts of its own URL into
// headers or logs.
func hasControl(s string) bool {
	if decoded, err := url.QueryUnescape(s); err == nil {
		s = decoded
	}
	return strings.ContainsFunc(s, unicode.IsControl)
}

func errLinkGone() error {
	return &Error{Code: LinkGone, Message: "this link is unknown, expired or used: ask for a new one"}
}

func errConnectionNotFound() error {
	return &Error{Code: ConnectionNotFound, Message: "no such connection"}
}

func errAppNotConfigured(d Description) error {
	return &Error{Code: AppNotConfigured, Message: "no client id and secret are stored for " + d.Title + ": PUT /platforms/" + string(d.Name) + "/app"}
}

func errManualMode(d Description) error {
	return &Error{Code: ManualMode, Message: d.Title + " has not approved the app yet: produce the content and post it by hand"}
}
