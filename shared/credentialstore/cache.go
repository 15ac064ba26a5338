package credentialstore

import (
	"sync"
	"time"

	"platform-api-connector/shared/connector"
)

// cache holds credentials in memory that were read from the vault. A token that
// is requested often then costs one read of its record and none of its secret.
// A reference names one version of a secret, and versions never change, so that
// a cached value is never out of date. The record is read each time.
type cache struct {
	life time.Duration
	most int

	mu      sync.Mutex
	// entries have the whole key, so that a record that was changed by hand finds
	// none of another.
	entries map[connector.CredentialsKey]cached
}

type cached struct {
	version string
	until   time.Time
	creds   connector.Credentials
}

// get returns cached credentials. They are forgotten after the cache's life, so
// that a secret does not stay in memory for as long as a process lives.
func (k *cache) get(key connector.CredentialsKey, version string, now time.Time) (connector.Credentials, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.entries[key]
	if !ok || e.version != version || !now.Before(e.until) {
		delete(k.entries, key)
		return connector.Credentials{}, false
	}
	creds := e.creds
	creds.Fields = creds.Fields.Clone()
	return creds, true
}

func (k *cache) put(key connector.CredentialsKey, version string, creds connector.Credentials, now time.Time) {
	if k.most == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for other := range k.entries {
		if len(k.entries) < k.most {
			break
		}
		delete(k.entries, other) // a random one: maps have no order
	}
	creds.Fields = creds.Fields.Clone()
	k.entries[key] = cached{version: version, until: now.Add(k.life), creds: creds}
}
