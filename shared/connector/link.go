package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// LinkRequest asks for a connect link.
type LinkRequest struct {
	Platform     Name
	Owner        string
	ConnectionID ID            // re-authorize this connection; empty: a new one
	Scopes       []string      // empty: those of the platform's defaults that the caller may ask for
	ReturnURL    string        // empty: a page of ours
	ExpiresIn    time.Duration // zero: DefaultLinkLife
	Confirm      bool          // nothing is connected before Confirm; needs a ReturnURL
	Choose       bool          // the person chooses among the accounts on a page of ours
}

// MintedLink is a new connect link.
type MintedLink struct {
	ID        string // names the link to ShowLink and EndLink, and opens nothing
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
	Choose       bool      `json:"choose,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// MintLink mints a connect link: an HTTPS link that starts the authorization
// of one connection. It is spent when a connection results from it, not when
// it is opened, since previews open links.
//
// It fails with InvalidRequest, ConnectionNotFound, AppNotConfigured, RateLimited
// where the owner has had too many, or ManualMode where the app may not ask for
// consent yet.
func (s *Service) MintLink(ctx context.Context, r LinkRequest) (MintedLink, error) {
	p, err := s.platform(r.Platform)
	if err != nil {
		return MintedLink{}, err
	}
	if err := s.checkLinkRequest(r); err != nil {
		return MintedLink{}, err
	}
	scopes, err := s.requestedScopes(ctx, p.Describe(), r.Scopes)
	if err != nil {
		return MintedLink{}, err
	}
	if !mayActFor(ctx, r.Owner) {
		return MintedLink{}, errConnectionNotFound()
	}
	if err := s.checkTarget(ctx, r); err != nil {
		return MintedLink{}, err
	}
	app, err := s.consentApp(ctx, p)
	if err != nil {
		return MintedLink{}, err
	}
	if err := s.checkAuthorizeURL(p, app, scopes); err != nil {
		return MintedLink{}, err
	}
	if err := s.spend(ctx, s.chargeOwner(LinksPerOwner, r.Owner, 1)); err != nil {
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
		Scopes:       scopes,
		ReturnURL:    r.ReturnURL,
		Confirm:      r.Confirm,
		Choose:       r.Choose,
		ExpiresAt:    s.Now().Add(cmp.Or(r.ExpiresIn, DefaultLinkLife)).UTC(),
	}
	// The previous release opens and spends links by this ticket.
	ticket, err := newTicket(LinkKind, hash(token), link.ExpiresAt, link)
	if err != nil {
		return MintedLink{}, err
	}
	status, err := newLinkStatus(hash(token), link).ticket()
	if err != nil {
		return MintedLink{}, err
	}
	if _, err := s.Store.Commit(ctx, Change{Put: []Ticket{ticket, status}}); err != nil {
		return MintedLink{}, internal("storing a link", err)
	}
	return MintedLink{
		ID: linkID(hash(token)), URL: NewSecret(s.PublicURL + "/connect/" + token.Reveal()), ExpiresAt: link.ExpiresAt,
	}, nil
}

// checkAuthorizeURL refuses scopes with which the authorize URL would be too long.
func (s *Service) checkAuthorizeURL(p Platform, app App, scopes []string) error {
	placeholder := NewSecret(strings.Repeat("x", 43)) // as long as what randomToken returns
	to, err := p.AuthorizeURL(app, Authorization{
		Platform: p.Describe().Name, Scopes: scopes, RedirectURI: s.RedirectURI(p.Describe().Name), State: placeholder, Verifier: placeholder,
	})
	if err != nil {
		return internal("building the authorize URL", err)
	}
	if len(to) > maxAuthorizeURL {
		return Invalid("scopes", fmt.Sprintf("with them the authorize URL has %d bytes, more than %d: ask for fewer", len(to), maxAuthorizeURL))
	}
	return nil
}

// checkLinkRequest checks what does not depend on the platform.
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
	if r.Choose && r.ConnectionID != "" {
		return Invalid("choose", "not beside connection_id, which names the account")
	}
	if r.ExpiresIn < 0 || r.ExpiresIn > MaxLinkLife {
		return Invalid("expires_in", fmt.Sprintf("not between 1 and %d seconds", int(MaxLinkLife.Seconds())))
	}
	return nil
}

// checkTarget checks that the connection to re-authorize is the owner's.
func (s *Service) checkTarget(ctx context.Context, r LinkRequest) error {
	if r.ConnectionID == "" {
		return nil
	}
	c, err := s.Connection(ctx, r.ConnectionID)
	if err == nil && (c.Owner != r.Owner || c.Platform != r.Platform || c.Status == Disconnected) {
		return errConnectionNotFound()
	}
	return err
}

// openLink returns what a connect link stands for that can be opened.
func (s *Service) openLink(ctx context.Context, token Secret) (Link, error) {
	if !wellFormedToken(token) {
		return Link{}, errLinkGone()
	}
	l, _, err := s.linkStatusOf(ctx, hash(token))
	switch {
	case errors.Is(err, ErrNotFound):
		return Link{}, errLinkGone()
	case err != nil:
		return Link{}, err
	case l.Phase != linkOpen, l.Hash != hash(token), !s.Now().Before(l.Link.ExpiresAt):
		return Link{}, errLinkGone()
	}
	return l.Link, nil
}

func errLinkGone() error {
	return &Error{Code: LinkGone, Message: "this link is unknown, expired or used: ask for a new one"}
}

func errConnectionNotFound() error {
	return &Error{Code: ConnectionNotFound, Message: "no such connection"}
}
