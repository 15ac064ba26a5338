package client

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

// TokenSource returns a source of one connection's tokens, for
// oauth2.NewClient and the platforms' own libraries. It keeps a token for
// half of r.MinTTL, so that one it returns is good for the other half at
// least, and asks token-get again then. Of concurrent callers one asks and
// all get its answer.
//
// Every call runs under ctx, as with the sources of package oauth2: give it
// one that lives as long as the source, not that of a single invocation.
//
// Connections that sign with OAuth 1.0a have no bearer token; for those the
// source fails, and Client.Token has the keys.
func (c *Client) TokenSource(ctx context.Context, r Request) oauth2.TokenSource {
	if r.MinTTL == 0 {
		r.MinTTL = connector.DefaultMinTTL
	}
	return &source{ctx: ctx, client: c, request: r}
}

type source struct {
	ctx     context.Context
	client  *Client
	request Request

	mu    sync.Mutex
	token *oauth2.Token
	until time.Time // how long token is kept
}

// Token implements oauth2.TokenSource.
func (s *source) Token() (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != nil && s.client.now().Before(s.until) {
		return s.token, nil
	}
	asked := s.client.now()
	answer, err := s.client.Token(s.ctx, s.request)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(answer.TokenType, "bearer") {
		return nil, fmt.Errorf("connection %s signs with %s and has no bearer token", answer.ConnectionID, answer.TokenType)
	}
	s.until = asked.Add(s.request.MinTTL / 2)
	// A platform may give less life than was asked for.
	if !answer.ExpiresAt.IsZero() {
		s.until = earlier(s.until, asked.Add(answer.ExpiresAt.Sub(asked)/2))
	}
	s.token = &oauth2.Token{AccessToken: answer.AccessToken.Reveal(), TokenType: answer.TokenType, Expiry: answer.ExpiresAt}
	return s.token, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
