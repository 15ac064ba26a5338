package connector

import (
	"cmp"
	"time"
)

// refreshAt is when the scheduler should next look at a connection with these
// credentials: in the last sixth of the access token's life, a random bit
// into it so that what was connected together is not refreshed together, and
// never after the grant's own end.
func (s *Service) refreshAt(cadence Cadence, creds Credentials) time.Time {
	now := s.Now().UTC()
	if cadence.Model == Permanent || creds.ExpiresAt.IsZero() {
		every := cadence.CheckEvery
		if every == 0 {
			every = 7 * 24 * time.Hour
		}
		at := now.Add(every - s.jitter(every/14))
		return clamp(clamp(at, now, nextWarning(creds.GrantExpiresAt, now)), now, creds.ExpiresAt)
	}
	if !creds.renewable() && cadence.Model != Extending {
		return creds.ExpiresAt
	}
	issued := creds.IssuedAt
	if issued.IsZero() {
		issued = now
	}
	life := max(0, creds.ExpiresAt.Sub(issued))
	early := part(life, cmp.Or(cadence.Early, 1.0/6))
	late := part(life, cmp.Or(cadence.Late, 1.0/8))
	at := creds.ExpiresAt.Add(-early + s.jitter(early-late))
	if young := issued.Add(cadence.MinInterval); at.Before(young) {
		at = young
	}
	if !creds.GrantExpiresAt.IsZero() {
		at = earlier(at, creds.GrantExpiresAt.Add(-life/6))
	}
	return clamp(at, now, time.Time{})
}

func part(d time.Duration, of float64) time.Duration { return time.Duration(float64(d) * of) }

// clamp returns t, but not before from, nor after until where that is set and
// still to come.
func clamp(t, from, until time.Time) time.Time {
	if until.After(from) {
		t = earlier(t, until)
	}
	if t.Before(from) {
		return from
	}
	return t
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Backing off. A caller who asks for a token may try again soon, since
// somebody is waiting; the sweep has time.
const (
	callerBackoff    = 500 * time.Millisecond
	maxCallerBackoff = 4 * time.Second
	sweepBackoff     = 30 * time.Second
	maxSweepBackoff  = 30 * time.Minute
	maxRetryAfter    = 15 * time.Minute
)

// backoff returns when a caller and when the sweep may try again after the
// given number of failures in a row, with full jitter; not before what the
// platform asked for, within bounds.
func (s *Service) backoff(failures int, retryAfter time.Duration) (caller, sweep time.Time) {
	now := s.Now().UTC()
	asked := now.Add(min(max(retryAfter, 0), maxRetryAfter))
	doublings := min(max(failures-1, 0), 16)
	spread := func(first, most time.Duration) time.Time {
		d := min(first<<doublings, most)
		at := now.Add(d/2 + s.jitter(d/2))
		if at.Before(asked) {
			return asked
		}
		return at
	}
	return spread(callerBackoff, maxCallerBackoff), spread(sweepBackoff, maxSweepBackoff)
}

// freshFor reports whether the access token lives long enough at now: minTTL,
// or as long as the platform gives. What a refresh brought a moment ago is all
// that the platform gives; asking again would rotate it for nothing. What a
// consent or an import brought does not tell.
func (c Connection) freshFor(minTTL time.Duration, now time.Time) bool {
	if c.ExpiresAt.IsZero() {
		return true
	}
	left := c.ExpiresAt.Sub(now)
	if left <= 0 {
		return false
	}
	if left >= minTTL {
		return true
	}
	if c.IssuedAt.IsZero() || c.LastRefreshedAt.IsZero() {
		return false
	}
	life, age := c.ExpiresAt.Sub(c.IssuedAt), now.Sub(c.IssuedAt)
	if minTTL > life {
		return age < life/2
	}
	return age < min(time.Minute, life/6)
}

// alive reports whether the access token still works at now, as far as its
// expiry tells.
func (c Connection) alive(now time.Time) bool {
	return c.CredentialsVersion != "" && (c.ExpiresAt.IsZero() || now.Before(c.ExpiresAt))
}
