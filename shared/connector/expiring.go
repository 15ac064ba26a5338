package connector

import (
	"context"
	"fmt"
	"time"
)

const day = 24 * time.Hour

// warnings are how many days before a grant ends its owner is told, since
// only a person can prevent it.
func warnings() []int { return []int{14, 7, 1} }

// dueWarning returns of how many days c's owner should have been warned by
// now, zero for none.
func dueWarning(c Connection, now time.Time) int {
	due := 0
	for _, days := range warnings() {
		if !c.GrantExpiresAt.IsZero() && !now.Before(c.GrantExpiresAt.Add(-time.Duration(days)*day)) {
			due = days
		}
	}
	return due
}

// nextWarning returns when the next warning falls due, zero for never.
func nextWarning(grantExpiresAt, now time.Time) time.Time {
	for _, days := range warnings() {
		if at := grantExpiresAt.Add(-time.Duration(days) * day); !grantExpiresAt.IsZero() && at.After(now) {
			return at
		}
	}
	return time.Time{}
}

// warn publishes the warning that committed carries, if it is a new one.
// before is what the owner had been warned of.
func (s *Service) warn(ctx context.Context, committed Connection, before int) {
	if committed.Warned != 0 && committed.Warned != before {
		s.publish(ctx, EventExpiring, committed, fmt.Sprintf("expires within %d days", committed.Warned))
	}
}
