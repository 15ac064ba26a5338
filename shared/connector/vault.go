package connector

import (
	"context"
	"errors"
	"fmt"
)

// safekept is where credentials are durable: in a version of the vault, or
// sealed, to be written into the record itself.
type safekept struct {
	version string
	sealed  []byte
}

func credentialsName(id ID) string { return "connections/" + string(id) }

// putCredentials makes creds the current ones of the connection and returns
// the vault's version.
func (s *Service) putCredentials(ctx context.Context, id ID, creds Credentials) (string, error) {
	value, err := creds.encode()
	if err != nil {
		return "", internal("storing credentials", err)
	}
	version, err := s.Vault.Put(ctx, credentialsName(id), value)
	if err != nil {
		return "", internal("storing credentials", err)
	}
	return version, nil
}

// pinnedCredentials returns the very credentials that the record points to,
// or holds.
func (s *Service) pinnedCredentials(ctx context.Context, c Connection) (Credentials, error) {
	if len(c.Sealed) > 0 {
		value, err := s.Sealer.Open(ctx, c.Sealed, sealPurpose(c.ID, c.Generation))
		return opened(value, err)
	}
	if creds, ok := s.Cache.get(c, s.Now()); ok {
		return creds, nil
	}
	value, _, err := s.Vault.Get(ctx, credentialsName(c.ID), c.CredentialsVersion)
	creds, err := opened(value, err)
	if err == nil {
		s.Cache.put(c, creds, s.Now())
	}
	return creds, err
}

// opened decodes what a port returned.
func opened(value Secret, err error) (Credentials, error) {
	if err != nil {
		return Credentials{}, credentialsError(err)
	}
	creds, err := decodeCredentials(value)
	if err != nil {
		return Credentials{}, internal("reading credentials", err)
	}
	return creds, nil
}

// currentCredentials returns the newest credentials of c and their version.
// They are newer than the record where a writer died between the vault and
// the store. An older one on top, left by a writer who came too late, is
// passed over: the record knows better.
func (s *Service) currentCredentials(ctx context.Context, c Connection) (Credentials, string, error) {
	value, version, err := s.Vault.Get(ctx, credentialsName(c.ID), "")
	creds, err := opened(value, err)
	if err != nil {
		return Credentials{}, "", err
	}
	if version == c.CredentialsVersion && len(c.Sealed) == 0 || creds.Generation > c.Generation {
		return creds, version, nil
	}
	creds, err = s.pinnedCredentials(ctx, c)
	return creds, c.CredentialsVersion, err
}

// sealPurpose binds sealed credentials to their connection and generation, so
// that they open nowhere else.
func sealPurpose(id ID, generation int64) string {
	return fmt.Sprintf("credentials %s generation %d", id, generation)
}

func credentialsError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return &Error{Code: ReauthorizationRequired, Reason: reasonCredentialsMissing, Message: "the credentials are gone from the vault: send a connect link with this connection_id", Err: err}
	}
	return internal("reading credentials", err)
}
