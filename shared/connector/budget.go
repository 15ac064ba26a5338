package connector

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// BudgetName names a budget, as BUDGETS of the environment does.
type BudgetName string

// The budgets. A new one is a name here, a row in Budgets, and a call of spend
// where a request uses it.
const (
	StartsPerLink         BudgetName = "starts_per_link"
	ExchangesPerLink      BudgetName = "exchanges_per_link"
	ListingsPerLink       BudgetName = "listings_per_link"
	AccountsPerConsent    BudgetName = "accounts_per_consent"
	LinksPerOwner         BudgetName = "links_per_owner"
	ExchangesPerOwner     BudgetName = "exchanges_per_owner"
	ConnectionsPerOwner   BudgetName = "connections_per_owner"
	ImportsPerOwner       BudgetName = "imports_per_owner"
	VerificationsPerOwner BudgetName = "verifications_per_owner"
	RefreshesPerOwner     BudgetName = "refreshes_per_owner"
)

// Budget bounds what one link, one consent or one owner can use of what all
// share: the table, the secrets, and the platforms' patience with the app.
type Budget struct {
	Name BudgetName
	// Default is the limit, unless Service.Budgets has another.
	Default int
	// Window is after how long the count begins anew, at a fixed time of the
	// clock in UTC. Without one nothing is counted over time.
	Window time.Duration
}

// Budgets lists every budget.
func Budgets() []Budget {
	return []Budget{
		{StartsPerLink, 30, authorizationLife},    // states, which live that long
		{ExchangesPerLink, 10, authorizationLife}, // calls with the client secret, for codes that may be made up
		{ListingsPerLink, 30, authorizationLife},  // lists of accounts to choose from, each of which may be many calls
		{AccountsPerConsent, 2000, 0},             // secrets, of one consent or import
		{LinksPerOwner, 20_000, day},
		{ExchangesPerOwner, 10_000, day}, // over all links of the owner
		{ConnectionsPerOwner, 5000, day}, // new ones, each of which has a secret
		{ImportsPerOwner, 5000, day},
		{VerificationsPerOwner, 2000, day}, // reads that platforms bill; also those of imports
		{RefreshesPerOwner, 10_000, day},   // forced ones
	}
}

// limit returns a budget and its limit.
func (s *Service) limit(name BudgetName) (Budget, int) {
	for _, b := range Budgets() {
		if b.Name == name {
			if limit, ok := s.Budgets[name]; ok {
				return b, limit
			}
			return b, b.Default
		}
	}
	return Budget{}, 0
}

// charge is what a request takes from a budget.
type charge struct {
	budget BudgetName
	of     string // the id of a link, or the hash of an owner
	n      int
	at     time.Time
}

func (s *Service) chargeLink(name BudgetName, link string) charge {
	return charge{budget: name, of: linkID(link), n: 1, at: s.Now()}
}

func (s *Service) chargeOwner(name BudgetName, owner string, n int) charge {
	return charge{budget: name, of: ownerHash(owner), n: n, at: s.Now()}
}

// spend takes all of the charges from their budgets, or fails with RateLimited
// and takes none. The caller has checked before that the request may act for the
// link or the owner: another's budget is not to be touched.
func (s *Service) spend(ctx context.Context, charges ...charge) error {
	for i, c := range charges {
		if _, err := s.reserveCharge(ctx, c); err != nil {
			s.refund(ctx, charges[:i]...)
			s.logBudget(ctx, err, c.budget)
			return err
		}
	}
	return nil
}

// reserveCharge takes one charge, and returns how much is left of the budget.
func (s *Service) reserveCharge(ctx context.Context, c charge) (left int, err error) {
	if c.n == 0 {
		return 0, nil
	}
	b, limit := s.limit(c.budget)
	counter, ends := c.counter(b)
	used, err := s.Store.Reserve(ctx, counter, c.n, limit, ends)
	left = max(0, limit-used)
	switch {
	case err == nil:
		return left, nil
	case !errors.Is(err, ErrConflict):
		return left, internal("reserving of the budget "+string(c.budget), err)
	}
	return left, &Error{Code: RateLimited, Reason: reasonBudgetExceeded, RetryAfter: ends.Sub(s.Now()),
		Message: fmt.Sprintf("the budget %s is used up: %d are left of %d in %s, and this needs %d; wait, or have the operator raise %s in BUDGETS",
			c.budget, left, limit, windowText(b.Window), c.n, c.budget)}
}

// refund returns charges, of which nothing was used, to their budgets.
func (s *Service) refund(ctx context.Context, charges ...charge) {
	for _, c := range charges {
		c.n = -c.n
		if _, err := s.reserveCharge(ctx, c); err != nil {
			s.Log.WarnContext(ctx, "refunding a budget", "budget", string(c.budget), "error", err)
		}
	}
}

// counter names the counter of a charge's window, and returns when the window
// ends. No name contains the text of an owner.
func (c charge) counter(b Budget) (name string, ends time.Time) {
	window := c.at.UTC().Truncate(b.Window)
	return fmt.Sprintf("budget/%s/%s/%d", c.budget, c.of, window.Unix()), window.Add(b.Window)
}

func windowText(window time.Duration) string {
	if window == day {
		return "a day"
	}
	return fmt.Sprintf("%d minutes", int(window.Minutes()))
}

// logBudget logs that a budget refused a request, for the operator who may have
// to raise it.
func (s *Service) logBudget(ctx context.Context, err error, name BudgetName) {
	if e := AsError(err); e.Reason == reasonBudgetExceeded || e.Reason == reasonTooManyAccounts {
		_, limit := s.limit(name)
		s.Log.WarnContext(ctx, "a budget refused a request", "budget", string(name), "limit", limit)
	}
}

// spendAccounts reserves a new connection for each grant, before any secret is
// created. It fails where they are more accounts than one consent may connect. A
// target is not new. The caller refunds the charge of the connections that
// turn out not to be new.
func (s *Service) spendAccounts(ctx context.Context, name Name, grants []Grant, to destination) (charge, error) {
	if to.target != nil {
		return charge{}, nil
	}
	if _, limit := s.limit(AccountsPerConsent); len(grants) > limit {
		err := &Error{Code: RateLimited, Reason: reasonTooManyAccounts,
			Message: fmt.Sprintf("this gives access to %d accounts, and at most %d can be connected at once: choose fewer, or have the operator raise %s in BUDGETS",
				len(grants), limit, AccountsPerConsent)}
		s.logBudget(ctx, err, AccountsPerConsent)
		return charge{}, err
	}
	c := s.chargeOwner(ConnectionsPerOwner, to.owner, len(grants))
	left, refused := s.reserveCharge(ctx, c)
	if !errors.Is(refused, RateLimited) {
		return c, refused
	}
	// Accounts that are connected already need no new connection.
	n, err := s.countNew(ctx, name, grants, to.owner, left)
	if err != nil {
		return charge{}, err
	}
	if n > left {
		s.logBudget(ctx, refused, c.budget)
		return charge{}, refused
	}
	c.n = n
	return c, s.spend(ctx, c)
}

// countNew counts the accounts that the owner has no connection to. It stops
// above most.
func (s *Service) countNew(ctx context.Context, name Name, grants []Grant, owner string, most int) (int, error) {
	count := 0
	for _, g := range grants {
		_, err := s.Store.FindAccount(ctx, owner, name, g.Account.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			count++
		case err != nil:
			return 0, internal("finding the connection", err)
		}
		if count > most {
			break
		}
	}
	return count, nil
}

// refundUnused refunds what was reserved for connections that were not
// created.
func (s *Service) refundUnused(ctx context.Context, c charge, saved []Connection) {
	for _, connection := range saved {
		if connection.Revision == 1 {
			c.n--
		}
	}
	if c.n > 0 {
		s.refund(ctx, c)
	}
}
