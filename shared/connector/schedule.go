package connector

import (
	"cmp"
	"time"
)

// refreshAt is when a connection with these credentials is next due: in the
// last sixth of the access token's life, and never after the grant's own end.
// A random part of that sixth keeps connections that were created together from
// being refreshed together.
func (s *Service) refreshAt(cadence Cadence, creds Credentials) time.Time {
	now := s.Now().UTC()
	if cadence.Model == Permanent || creds.ExpiresAt.IsZero() {
		every := cmp.Or(cadence.CheckEvery, 7*day)
		at := now.Add(every - s.jitter(every/14))
		return clamp(clamp(at, now, nextExpiryNotice(creds.GrantExpiresAt, now)), now, creds.ExpiresAt)
	}
	if !creds.renewable() && cadence.Model != Extending {
		return creds.ExpiresAt
	}
	issued := creds.IssuedAt
	if issued.IsZero() {
		issued = now
	}
	life := max(0, creds.ExpiresAt.Sub(issued))
	early, late := life/6, life/8
	at := creds.ExpiresAt.Add(-early + s.jitter(early-late))
	// An imported token may be older than its import. Its age follows from its end.
	if oldEnough := earlier(issued, creds.ExpiresAt.Add(-cadence.Lifetime)).Add(cadence.MinimumAge); at.Before(oldEnough) {
		at = oldEnough
	}
	if !creds.GrantExpiresAt.IsZero() {
		at = earlier(at, creds.GrantExpiresAt.Add(-life/6))
	}
	return clamp(at, now, time.Time{})
}

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

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// backoff returns when a caller and when the sweep may try again after the
// given number of failures in a row. Both have jitter, and neither is before
// what the platform asked for, within bounds.
func (s *Service) backoff(failures int, retryAfter time.Duration) (caller, sweep time.Time) {
	now := s.Now().UTC()
	asked := now.Add(min(max(retryAfter, 0), maxRetryAfter))
	doublings := min(max(failures-1, 0), 16)
	spread := func(first, longest time.Duration) time.Time {
		d := min(first<<doublings, longest)
		at := now.Add(d/2 + s.jitter(d/2))
		if at.Before(asked) {
			return asked
		}
		return at
	}
	return spread(callerBackoff, maxCallerBackoff), spread(sweepBackoff, maxSweepBackoff)
}

const day = 24 * time.Hour

// expiryNotices are how many days before a grant ends its owner is told, since
// only the person can prevent it.
func expiryNotices() []int { return []int{14, 7, 1} }

// expiryNoticeDays returns of how many days before the end c's owner should have
// been told by now, zero for none.
func expiryNoticeDays(c Connection, now time.Time) int {
	due := 0
	for _, days := range expiryNotices() {
		if !c.GrantExpiresAt.IsZero() && !now.Before(c.GrantExpiresAt.Add(-time.Duration(days)*day)) {
			due = days
		}
	}
	return due
}

// nextExpiryNotice returns when the next notice is due, zero for never.
func nextExpiryNotice(grantExpiresAt, now time.Time) time.Time {
	for _, days := range expiryNotices() {
		if at := grantExpiresAt.Add(-time.Duration(days) * day); !grantExpiresAt.IsZero() && at.After(now) {
			return at
		}
	}
	return time.Time{}
}
