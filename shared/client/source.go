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
// oauth2.NewClient and the platforms' own libraries. The source caches a token
// for half of r.MinTTL, so a token that it returns is valid for at least the
// other half. Concurrent callers share one invocation of token-get.
//
// Every invocation uses ctx, as the sources of package oauth2 do. Pass a
// context that lives as long as the source, not that of a single invocation.
//
// A connection that signs with OAuth 1.0a has no bearer token. Its source
// always fails; Client.Token returns its keys.
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
	until time.Time // when the cached token must be replaced
}

// Token implements oauth2.TokenSource.
func (s *source) Token() (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != nil && s.client.now().Before(s.until) {
		return s.token, nil
	}
	start := s.client.now()
	answer, err := s.client.Token(s.ctx, s.request)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(answer.TokenType, "bearer") {
		return nil, fmt.Errorf("connection %s signs with %s and has no bearer token", answer.ConnectionID, answer.TokenType)
	}
	s.until = start.Add(s.request.MinTTL / 2)
	// The token may live shorter than MinTTL if the platform allows no more.
	if !answer.ExpiresAt.IsZero() {
		s.until = earlier(s.until, start.Add(answer.ExpiresAt.Sub(start)/2))
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
