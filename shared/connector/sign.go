package connector

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"unicode/utf8"
)

// SignRequest names a connection, and the request to its platform that must be
// signed.
type SignRequest struct {
	ConnectionID ID
	Method       string
	URL          string
	// Parameters are the parameters of a form, and those of the query that are
	// not in URL. A body of another kind is not signed.
	Parameters map[string]string
}

// The limits of a request that is signed.
const (
	maxSignedURL       = 4096
	maxParameters      = 100
	maxParameterName   = 256
	maxParameterLength = 32 << 10
)

// signedMethods are the methods that a platform's API takes.
func signedMethods() []string { return []string{"GET", "POST", "PUT", "PATCH", "DELETE"} }

// Sign returns the value of the Authorization header for one request to the
// platform of a connection, so that its caller needs no key of the app. The keys
// of the app sign only for credentials that the platform accepted with them.
// Credentials that brought their own keys sign with those.
//
// It fails as Token does, and with InvalidRequest where the platform or the
// credentials have no signed requests, where the request is not one to the
// platform's API, or where the platform has not verified the credentials yet.
func (s *Service) Sign(ctx context.Context, r SignRequest) (Secret, error) {
	selected := TokenRequest{ConnectionID: r.ConnectionID}
	if err := r.check(); err != nil {
		return Secret{}, s.refuseDecoy(ctx, selected, Connection{}, err)
	}
	p, c, err := s.findUsable(ctx, selected)
	if err != nil {
		return Secret{}, err
	}
	signer, ok := p.(Signer)
	if !ok {
		return Secret{}, Invalid("connection_id", p.Describe().Title+" has no signed requests: send the access token of token-get")
	}
	c, creds, err := s.usableCredentials(ctx, p, c)
	if err != nil {
		return Secret{}, err
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return Secret{}, err
	}
	if refreshOnlyChecks(p, creds) && s.proofOwed(p, app, c, creds) {
		if _, creds, err = s.prove(ctx, p, c, creds); err != nil {
			return Secret{}, err
		}
	}
	header, err := s.signWith(p, signer, app, creds, r)
	if err != nil {
		return Secret{}, err
	}
	// The reads may have taken longer than a suspension needs to reach callers.
	if err := s.checkSuspended(ctx, c); err != nil {
		return Secret{}, err
	}
	return header, nil
}

// signWith signs with the app's keys only if the platform accepted creds with them.
func (s *Service) signWith(p Platform, signer Signer, app App, creds Credentials, r SignRequest) (Secret, error) {
	nonce, err := s.newNonce()
	if err != nil {
		return Secret{}, err
	}
	request := SignatureRequest{Method: r.Method, URL: r.URL, Parameters: r.Parameters, Nonce: nonce, At: s.Now().UTC()}
	if s.appProven(p, app, creds) {
		return signer.Sign(app, creds, request)
	}
	header, err := signer.Sign(App{}, creds, request)
	if key := p.AppKey(app, creds); key != "" && errors.Is(err, AppNotConfigured) {
		if creds.VerifiedKey != "" {
			return Secret{}, errAppReplaced(nil)
		}
		return Secret{}, Invalid("connection_id", "the platform has not verified these credentials with the app's key: POST /connections/{id}/verify")
	}
	return header, err
}

// newNonce returns 128 random bits in hexadecimal.
func (s *Service) newNonce() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.Random, b[:]); err != nil {
		return "", internal("making a nonce", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// check checks what does not depend on the platform. Its errors repeat neither
// names nor values of parameters.
func (r SignRequest) check() error {
	switch {
	case r.ConnectionID == "":
		return Invalid("connection_id", "missing")
	case r.Method == "":
		return Invalid("method", "missing")
	case !slices.Contains(signedMethods(), r.Method):
		return Invalid("method", "none of GET, POST, PUT, PATCH, DELETE")
	case r.URL == "":
		return Invalid("url", "missing")
	case len(r.URL) > maxSignedURL:
		return Invalid("url", "longer than 4096 characters")
	}
	return r.checkParameters()
}

func (r SignRequest) checkParameters() error {
	if len(r.Parameters) > maxParameters {
		return Invalid("parameters", "more than 100")
	}
	for name, value := range r.Parameters {
		switch {
		case name == "":
			return Invalid("parameters", "one has no name")
		case len(name) > maxParameterName || len(value) > maxParameterLength:
			return Invalid("parameters", "a name is longer than 256 bytes, or a value longer than 32 KiB")
		case !utf8.ValidString(name) || !utf8.ValidString(value):
			return Invalid("parameters", "not valid UTF-8")
		}
	}
	return nil
}
