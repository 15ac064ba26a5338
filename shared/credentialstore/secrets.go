package credentialstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"platform-api-connector/shared/connector"
)

// Vault holds secrets in versions under names such as "connections/<id>",
// "pending/<id>/<n>" and "apps/<platform>".
type Vault interface {
	// Put makes value the current version under name, and returns that version
	// once it is durable. It creates the secret if there is none.
	Put(ctx context.Context, name string, value connector.Secret) (version string, err error)

	// PutVersion makes value the current version of an existing secret, or
	// returns ErrNotFound, also for one that is scheduled for deletion.
	PutVersion(ctx context.Context, name string, value connector.Secret) (version string, err error)

	// Replace makes value the current version under name, if version is still the
	// current one, or if version is empty and there is no such secret; else it
	// returns ErrConflict. Of several calls of Replace with one version one
	// succeeds; Put and PutVersion pay no attention to them.
	Replace(ctx context.Context, name, version string, value connector.Secret) (newVersion string, err error)

	// Get returns a version of the secret, the current one if version is
	// empty, or ErrNotFound. It sees every write that returned before.
	Get(ctx context.Context, name, version string) (value connector.Secret, current string, err error)

	// Delete schedules the secret for deletion after seven days or, with
	// purge, deletes it at once. What does not exist is no error.
	Delete(ctx context.Context, name string, purge bool) error
}

// Sealer encrypts what must be stored outside the vault for a while.
type Sealer interface {
	// Prepare makes sure that Seal can work without any other service. It is
	// cheap when nothing is to be done.
	Prepare(ctx context.Context) error

	// Seal encrypts plain and binds it to purpose: only Open with the same
	// purpose returns it.
	Seal(ctx context.Context, plain connector.Secret, purpose string) ([]byte, error)

	// Open returns what was sealed for purpose, and ErrUnsealable for anything
	// else.
	Open(ctx context.Context, sealed []byte, purpose string) (connector.Secret, error)
}

// ErrUnsealable is what a Sealer returns for what was not sealed by it for that
// purpose.
var ErrUnsealable = errors.New("sealed for another purpose, or changed")

// Secrets is a connector.CredentialStore with one secret a connection, see the
// package documentation. Its fields are set once, before the first call.
type Secrets struct {
	vault  Vault
	sealer Sealer
	now    func() time.Time
	sleep  func(ctx context.Context, d time.Duration) error
	log    *slog.Logger
	cache  cache

	refuseUnbound bool
}

var _ connector.CredentialStore = (*Secrets)(nil)

// Options are what a Secrets needs besides its ports.
type Options struct {
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error // connector.Sleep outside tests
	Log   *slog.Logger
	// RefuseUnbound refuses credentials that do not name their connection. Those
	// of earlier releases are bound when they are refreshed or checked next.
	RefuseUnbound bool
	// Cached is of how many connections Get keeps the credentials in memory,
	// and CacheLife for how long; zero keeps none.
	Cached    int
	CacheLife time.Duration
}

// NewSecrets returns the credential store over v, which s seals for while v takes no writes.
func NewSecrets(v Vault, s Sealer, o Options) *Secrets {
	return &Secrets{
		vault: v, sealer: s, now: o.Now, sleep: o.Sleep, log: o.Log, refuseUnbound: o.RefuseUnbound,
		cache: cache{life: o.CacheLife, most: o.Cached, entries: map[connector.CredentialsKey]cached{}},
	}
}

// The vault is tried vaultTries times, for vaultTime each, before the sealer.
const (
	vaultTries = 3
	vaultTime  = time.Second
	vaultPause = 100 * time.Millisecond
)

func secretName(key connector.CredentialsKey) string {
	if key.Kind == connector.OfConsent {
		return "pending/" + key.ID
	}
	return "connections/" + key.ID
}

// sealPurpose binds sealed credentials to their key and generation.
func sealPurpose(key connector.CredentialsKey, generation int64) string {
	return fmt.Sprintf("credentials of %s %q, owner %q, %s account %q, generation %d",
		key.Kind, key.ID, key.Owner, key.Platform, key.AccountID, generation)
}

// open opens sealed credentials. They may have been sealed before their account
// was known, or by the previous release, which named the id alone.
func (s *Secrets) open(ctx context.Context, key connector.CredentialsKey, ref connector.CredentialsRef) (connector.Secret, error) {
	unknown := key
	unknown.AccountID = ""
	for _, purpose := range []string{
		sealPurpose(key, ref.Generation), sealPurpose(unknown, ref.Generation),
		fmt.Sprintf("credentials %s generation %d", key.ID, ref.Generation),
	} {
		value, err := s.sealer.Open(ctx, ref.Sealed, purpose)
		if !errors.Is(err, ErrUnsealable) {
			return value, err
		}
	}
	s.logMismatch(ctx, key)
	return connector.Secret{}, connector.ErrMismatch
}

func (s *Secrets) logMismatch(ctx context.Context, key connector.CredentialsKey) {
	s.log.ErrorContext(ctx, "the record names credentials of another connection, owner, platform or account", "kind", string(key.Kind), "id", key.ID)
}

// read decodes a secret. Unbound credentials are refused, or named in the log.
func (s *Secrets) read(ctx context.Context, key connector.CredentialsKey, value connector.Secret) (connector.Credentials, bool, error) {
	creds, bound, err := decode(key, value)
	switch {
	case errors.Is(err, connector.ErrMismatch):
		s.logMismatch(ctx, key)
	case err == nil && !bound && s.refuseUnbound:
		err = fmt.Errorf("%w, or to none", connector.ErrMismatch)
	}
	return creds, bound, err
}

// Prepare implements connector.CredentialStore.
func (s *Secrets) Prepare(ctx context.Context) error { return s.sealer.Prepare(ctx) }

// Put implements connector.CredentialStore. It writes the secret or, after some
// tries, seals the credentials into the reference: after a rotation no other
// copy of them exists, so it gives up only when ctx ends.
func (s *Secrets) Put(ctx context.Context, key connector.CredentialsKey, prev connector.CredentialsRef, c connector.Credentials) (connector.CredentialsRef, error) {
	value, err := encode(key, c)
	if err != nil {
		return connector.CredentialsRef{}, err
	}
	for try := 1; ; try++ {
		version, err := s.putSecret(ctx, key, prev, value)
		if err == nil {
			return connector.CredentialsRef{Generation: c.Generation, Version: version, Bound: true}, nil
		}
		if errors.Is(err, connector.ErrNotFound) {
			return connector.CredentialsRef{}, connector.ErrGone
		}
		if try >= vaultTries || ctx.Err() != nil {
			sealed, sealErr := s.sealer.Seal(ctx, value, sealPurpose(key, c.Generation))
			if sealErr == nil {
				s.log.WarnContext(ctx, "sealing credentials into the record", "kind", string(key.Kind), "id", key.ID, "platform", string(key.Platform), "error", err)
				return connector.CredentialsRef{Generation: c.Generation, Version: prev.Version, Sealed: sealed, Bound: true}, nil
			}
			if ctx.Err() != nil {
				return connector.CredentialsRef{}, fmt.Errorf("storing credentials: %w", errors.Join(err, sealErr))
			}
		}
		_ = s.sleep(ctx, vaultPause) // if ctx ends, one more round seals
	}
}

// Hold implements connector.CredentialStore.
func (s *Secrets) Hold(ctx context.Context, key connector.CredentialsKey, c connector.Credentials) (connector.CredentialsRef, error) {
	value, err := encode(key, c)
	if err != nil {
		return connector.CredentialsRef{}, err
	}
	sealed, err := s.sealer.Seal(ctx, value, sealPurpose(key, c.Generation))
	if err != nil {
		return connector.CredentialsRef{}, err
	}
	return connector.CredentialsRef{Generation: c.Generation, Sealed: sealed}, nil
}

// putSecret writes a version of a secret. The secret is created only where no
// version was referred to before: a deleted one must not come back.
func (s *Secrets) putSecret(ctx context.Context, key connector.CredentialsKey, prev connector.CredentialsRef, value connector.Secret) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultTime)
	defer cancel()
	if prev.Version == "" {
		return s.vault.Put(ctx, secretName(key), value)
	}
	return s.vault.PutVersion(ctx, secretName(key), value)
}

// Rescue implements connector.CredentialStore. What Put wrote into the vault is
// safe there. What it sealed is tried once more.
func (s *Secrets) Rescue(ctx context.Context, key connector.CredentialsKey, ref connector.CredentialsRef, c connector.Credentials) error {
	if len(ref.Sealed) == 0 {
		return nil
	}
	value, err := encode(key, c)
	if err == nil {
		_, err = s.putSecret(ctx, key, ref, value)
	}
	return err
}

// Get implements connector.CredentialStore.
func (s *Secrets) Get(ctx context.Context, key connector.CredentialsKey, ref connector.CredentialsRef) (connector.Credentials, error) {
	if len(ref.Sealed) > 0 {
		value, err := s.open(ctx, key, ref)
		if err != nil {
			return connector.Credentials{}, err
		}
		creds, _, err := s.read(ctx, key, value)
		return creds, err
	}
	if creds, ok := s.cache.get(key, ref.Version, s.now()); ok {
		return creds, nil
	}
	value, _, err := s.vault.Get(ctx, secretName(key), ref.Version)
	if err != nil {
		return connector.Credentials{}, err
	}
	creds, _, err := s.read(ctx, key, value)
	if err == nil {
		s.cache.put(key, ref.Version, creds, s.now())
	}
	return creds, err
}

// Latest implements connector.CredentialStore. It always reads the current
// version of the secret: a writer may have crashed before it wrote the record.
// A late writer may have left older credentials there; the record then knows
// better.
func (s *Secrets) Latest(ctx context.Context, key connector.CredentialsKey, ref connector.CredentialsRef) (connector.Credentials, connector.CredentialsRef, error) {
	value, version, err := s.vault.Get(ctx, secretName(key), "")
	if errors.Is(err, connector.ErrNotFound) && len(ref.Sealed) > 0 && ref.Version == "" {
		creds, err := s.Get(ctx, key, ref) // its first version could not be written yet
		return creds, ref, err
	}
	if err != nil {
		return connector.Credentials{}, connector.CredentialsRef{}, err
	}
	if len(ref.Sealed) > 0 && ofFormerAccount(key, value) {
		creds, err := s.Get(ctx, key, ref) // the secret is still to be deleted
		return creds, ref, err
	}
	creds, bound, err := s.read(ctx, key, value)
	if err != nil {
		return connector.Credentials{}, connector.CredentialsRef{}, err
	}
	current := connector.CredentialsRef{Generation: creds.Generation, Version: version, Bound: bound}
	if ref.IsZero() || version == ref.Version && len(ref.Sealed) == 0 || creds.Generation > ref.Generation {
		return creds, current, nil
	}
	creds, err = s.Get(ctx, key, ref)
	return creds, ref, err
}

// ofFormerAccount reports whether a secret is that of the connection before its account
// got another id.
func ofFormerAccount(key connector.CredentialsKey, value connector.Secret) bool {
	_, _, err := decode(key, value)
	if !errors.Is(err, connector.ErrMismatch) {
		return false
	}
	key.AccountID = ""
	_, _, err = decode(key, value)
	return err == nil
}

// Stale implements connector.CredentialStore.
func (s *Secrets) Stale(ref connector.CredentialsRef) bool {
	return len(ref.Sealed) > 0 || !ref.Bound && !ref.IsZero()
}

// Delete implements connector.CredentialStore.
func (s *Secrets) Delete(ctx context.Context, key connector.CredentialsKey, _ connector.CredentialsRef, purge bool) error {
	return s.vault.Delete(ctx, secretName(key), purge)
}
