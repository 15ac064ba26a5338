package connectortest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// Vault is a credentialstore.Vault in memory. A secret that is scheduled for
// deletion stays scheduled.
type Vault struct {
	mu      sync.Mutex
	secrets map[string]*secret
}

type secret struct {
	versions  []connector.Secret
	scheduled bool
}

var _ credentialstore.Vault = (*Vault)(nil)

// NewVault returns an empty Vault.
func NewVault() *Vault { return &Vault{secrets: map[string]*secret{}} }

var errScheduled = errors.New("the secret is scheduled for deletion")

// Put implements credentialstore.Vault. It fails for a secret that is scheduled for
// deletion.
func (v *Vault) Put(_ context.Context, name string, value connector.Secret) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.put(name, value, true)
}

// PutVersion implements credentialstore.Vault.
func (v *Vault) PutVersion(_ context.Context, name string, value connector.Secret) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.put(name, value, false)
}

func (v *Vault) put(name string, value connector.Secret, create bool) (string, error) {
	s, ok := v.secrets[name]
	switch {
	case !create && (!ok || s.scheduled):
		return "", connector.ErrNotFound
	case !ok:
		s = &secret{}
		v.secrets[name] = s
	case s.scheduled:
		return "", errScheduled
	}
	s.versions = append(s.versions, value)
	return versionName(len(s.versions) - 1), nil
}

// Replace implements credentialstore.Vault.
func (v *Vault) Replace(_ context.Context, name, version string, value connector.Secret) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	current := ""
	if s, ok := v.secrets[name]; ok && !s.scheduled {
		current = versionName(len(s.versions) - 1)
	}
	if current != version {
		return "", connector.ErrConflict
	}
	return v.put(name, value, true)
}

// Get implements credentialstore.Vault.
func (v *Vault) Get(_ context.Context, name, version string) (connector.Secret, string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := v.secrets[name]
	if !ok || s.scheduled {
		return connector.Secret{}, "", connector.ErrNotFound
	}
	last := len(s.versions) - 1
	if version == "" {
		return s.versions[last], versionName(last), nil
	}
	for i, value := range s.versions {
		if versionName(i) == version {
			return value, versionName(last), nil
		}
	}
	return connector.Secret{}, "", connector.ErrNotFound
}

// versionName has the length of a Secrets Manager version id, which is 32 to
// 64 characters.
func versionName(i int) string { return fmt.Sprintf("version-%032d", i+1) }

// Names returns the names of all secrets that begin with prefix, in order.
func (v *Vault) Names(prefix string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(v.secrets)) {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

// Text returns every secret as one text, with all versions, also of secrets that
// can be recovered.
func (v *Vault) Text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	for name, s := range v.secrets {
		for i, value := range s.versions {
			fmt.Fprintf(&b, "%s %s (scheduled for deletion: %v): %s\n", name, versionName(i), s.scheduled, value.Reveal())
		}
	}
	return b.String()
}

// Delete implements credentialstore.Vault.
func (v *Vault) Delete(_ context.Context, name string, purge bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if purge {
		delete(v.secrets, name)
	} else if s, ok := v.secrets[name]; ok {
		s.scheduled = true
	}
	return nil
}
