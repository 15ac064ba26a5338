package connector

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Degradation is what is known of the lasting failures of an active connection: those
// that pass only when somebody acts at the platform, and that another consent need not
// mend. While it has a Code the connection is degraded: StatusReason has the reason, and
// the token that token-get hands out is marked.
type Degradation struct {
	// Failures are the refreshes that failed in that way in a row. A failure that
	// passes by itself says nothing about the account, and does not end the row.
	Failures int
	// Code is the code of the failure; empty: the connection is not degraded.
	Code Code
	// Checked says that a check of the account found it. A renewal of tokens, which
	// asks nothing about the account, does not clear it.
	Checked bool
	// Warning is the status reason that the reason replaced.
	Warning string
}

// degradedAfter is how many lasting failures of refreshes in a row degrade a connection.
// One may be a passing fault of the platform.
const degradedAfter = 3

// passingReasons are the reasons of PlatformUnavailable that the domain gives. They
// pass by themselves.
var passingReasons = []string{reasonAccountUnconfirmed, reasonOutcomeUnknown, reasonUnfinished}

// lasting reports whether e does not pass by itself, and says so about the connection. A
// dead grant has a status of its own. A refused app is the operator's to correct: it
// opens the breaker, and one wrong secret must not degrade every connection of the app.
func (e *Error) lasting() bool {
	switch e.Code {
	case ScopeMissing, AccessDenied, AccountMismatch:
		return true
	case QuotaExhausted:
		return e.ResetsAt.IsZero()
	case PlatformUnavailable:
		return e.Reason != "" && !slices.Contains(passingReasons, e.Reason)
	}
	return false
}

// lastingReasons are the reasons of failures whose platform gave none.
var lastingReasons = map[Code]string{
	ScopeMissing:     reasonScopeMissing,
	AccessDenied:     reasonAccountGone,
	AccountMismatch:  ReasonAccountChanged,
	QuotaExhausted:   reasonQuotaExhausted,
	AppMisconfigured: reasonClientRefused,
}

// degrade records a lasting failure as the status reason.
func (c *Connection) degrade(e *Error, checked bool) {
	if c.Degraded.Code == "" {
		c.Degraded.Warning = c.StatusReason
	}
	c.Degraded.Code, c.Degraded.Checked = e.Code, c.Degraded.Checked || checked
	c.StatusReason = cmp.Or(e.Reason, lastingReasons[e.Code])
}

// clearDegraded records that the connection works. The status reason is what it was
// before.
func (c *Connection) clearDegraded() {
	if c.Degraded.Code != "" {
		c.StatusReason = c.Degraded.Warning
	}
	c.Degraded = Degradation{}
}

// clearRenewed records that a refresh succeeded.
func (c *Connection) clearRenewed(onlyChecked bool) {
	if c.Degraded.Checked && !onlyChecked {
		c.Degraded.Failures = 0
		return
	}
	c.clearDegraded()
}

// clearVerified records that a check of the account succeeded, and its warning. It says
// nothing about a renewal that fails.
func (c *Connection) clearVerified(p Platform, warning string) {
	if c.Degraded.Checked || c.ExpiresAt.IsZero() || p.Describe().Cadence.Model == Permanent {
		c.clearDegraded()
	}
	switch {
	case warning == "":
	case c.Degraded.Code != "":
		c.Degraded.Warning = warning
	default:
		c.StatusReason = warning
	}
}

// lastingFailure returns the lasting failure that e is or that caused it, nil where
// there is none. A refused client is one where the credentials brought it: no operator
// can correct it.
func (a *attempt) lastingFailure(e *Error) *Error {
	if cause := (*Error)(nil); e.Reason == reasonAccountUnconfirmed && errors.As(e.Err, &cause) {
		e = cause
	}
	if e.lasting() || e.Code == AppMisconfigured && bringsClient(a.platform, a.credentials) {
		return e
	}
	return nil
}

// bringsClient reports whether credentials have a client of their own.
func bringsClient(p Platform, creds Credentials) bool {
	return creds.ClientID == "" && slices.ContainsFunc(p.Describe().ClientFields, func(name string) bool {
		return !creds.Fields[name].Empty()
	})
}

// recordFinding records what a check of the account found, if it lasts, and returns
// cause. The same finding is recorded once. A quota is that of the app, and would remain
// on the record of an account that nothing checks again. A failure to write is logged: the
// next check finds it again.
func (s *Service) recordFinding(ctx context.Context, c Connection, cause error) error {
	e, consent := AsError(cause), c.ConsentID
	if !e.lasting() || e.Code == QuotaExhausted || c.Status != Active {
		return cause
	}
	_, err := s.commit(ctx, c, func(c *Connection) error {
		before := *c
		if c.Status != Active || c.ConsentID != consent {
			return errUnchanged
		}
		if c.degrade(e, true); c.Degraded == before.Degraded && c.StatusReason == before.StatusReason {
			return errUnchanged
		}
		return nil
	})
	if err != nil && !errors.Is(err, errUnchanged) && !errors.Is(err, errLate) {
		s.Log.WarnContext(ctx, "recording what a check found", "connection", string(c.ID), "error", err)
	}
	return cause
}
