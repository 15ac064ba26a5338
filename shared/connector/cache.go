package connector

import (
	"sync"
	"time"
)

// CredentialsCache keeps credentials in memory that were read from the vault,
// so that a token that is asked for often costs one read of its record and
// none of its secret. Records pin a version and versions never change, so what
// is found is never stale; the record is read each time all the same. A
// CredentialsCache may be used from any goroutine.
type CredentialsCache struct {
	mu      sync.Mutex
	entries map[ID]cachedCredentials
	most    int
	life    time.Duration
}

type cachedCredentials struct {
	version string
	until   time.Time
	creds   Credentials
}

// NewCredentialsCache returns a cache of up to most connections. It forgets
// each after life, so that a secret does not stay in memory for as long as a
// process happens to live.
func NewCredentialsCache(most int, life time.Duration) *CredentialsCache {
	return &CredentialsCache{entries: map[ID]cachedCredentials{}, most: most, life: life}
}

// get returns the credentials of c that its record pins, if they are kept. A
// nil cache keeps nothing.
func (k *CredentialsCache) get(c Connection, now time.Time) (Credentials, bool) {
	if k == nil {
		return Credentials{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.entries[c.ID]
	if !ok || e.version != c.CredentialsVersion || !now.Before(e.until) {
		delete(k.entries, c.ID)
		return Credentials{}, false
	}
	creds := e.creds
	creds.Fields = creds.Fields.Clone()
	return creds, true
}

func (k *CredentialsCache) put(c Connection, creds Credentials, now time.Time) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.entries {
		if len(k.entries) < k.most {
			break
		}
		delete(k.entries, id) // any: the order of a map is random
	}
	creds.Fields = creds.Fields.Clone()
	k.entries[c.ID] = cachedCredentials{version: c.CredentialsVersion, until: now.Add(k.life), creds: creds}
}
