package connector

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Degradation describes the lasting failures of an active connection. A lasting failure
// ends only after an action at the platform. Another consent may not correct it. While
// Code is set the connection is degraded: StatusReason has the reason, and token-get
// marks the token.
type Degradation struct {
	// Failures is how many refreshes in a row had a lasting failure. A failure that
	// passes by itself says nothing about the account: it neither counts nor sets
	// Failures to zero.
	Failures int
	// Code is the code of the failure; empty: the connection is not degraded.
	Code Code
	// Checked says that a check of the account found the failure. A renewal of tokens
	// does not clear it, because it asks nothing about the account.
	Checked bool
	// Warning is the status reason before the connection was degraded.
	Warning string
}

// degradedAfter is how many lasting failures of refreshes in a row degrade a connection.
// A single one may be a passing fault of the platform.
const degradedAfter = 3

// passingReasons are the domain's own reasons of PlatformUnavailable. These failures pass
// by themselves.
var passingReasons = []string{reasonAccountUnconfirmed, reasonOutcomeUnknown, reasonUnfinished}

// lasting reports whether e is a failure of the connection that does not pass by itself.
// A dead grant is not one: it has a status of its own. A refused app is not one either:
// it opens the breaker, and one wrong secret must not degrade every connection of the
// app.
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

// lastingReasons are the reasons of lasting failures without a reason of the platform.
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

// clearDegraded records that the connection works, and restores its status reason.
func (c *Connection) clearDegraded() {
	if c.Degraded.Code != "" {
		c.StatusReason = c.Degraded.Warning
	}
	c.Degraded = Degradation{}
}

// clearRenewed records that a refresh succeeded. onlyChecked says that it renewed
// nothing, and checked the account.
func (c *Connection) clearRenewed(onlyChecked bool) {
	if c.Degraded.Checked && !onlyChecked {
		c.Degraded.Failures = 0
		return
	}
	c.clearDegraded()
}

// clearVerified records that a check of the account succeeded, and its warning. It does
// not clear a failure of renewals, because a check renews nothing.
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

// lastingFailure returns the lasting failure that is e or its cause, or nil. A refused
// client is a lasting failure if the credentials brought it: the operator cannot correct
// that client.
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

// recordFinding records cause, the failure of a check of the account, if it is lasting.
// It returns cause. The same failure is recorded once. An exhausted quota is not
// recorded: it is that of the app, and no later check of the account may clear it. A
// failure to write is logged: the next check records it.
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
