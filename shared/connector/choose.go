package connector

import (
	"context"
	"errors"
	"fmt"
)

// AccountChoice is an account that a person, or the operator's product, may choose.
type AccountChoice struct {
	Account
	// Connected says that the owner has a connection to it.
	Connected bool
}

// Choose takes the person's choice among the accounts of a consent, if the link has a
// choice. It accepts the choice only from the browser that began the authorization, and
// continues as Callback does. r needs no code. An account that was not chosen reaches no
// record. A repeated choice gets the first answer again.
//
// It fails as Callback does. It fails with InvalidRequest if chosen is empty or names an
// account that the consent does not give access to. The person can then choose again.
func (s *Service) Choose(ctx context.Context, r CallbackRequest, chosen []string) (CallbackResult, error) {
	c, err := s.findConsent(ctx, r)
	if err != nil {
		return CallbackResult{}, err
	}
	result := c.result()
	if c.record.Phase == consentOpen || !c.record.Choose {
		return result, errStateInvalid()
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	if c.record.Phase == consentChoosing {
		err := c.choose(ctx, chosen)
		if errors.Is(err, InvalidRequest) {
			return c.chooseAgain(ctx, result, err)
		}
		if errors.Is(err, errLate) {
			if err = c.read(ctx); errors.Is(err, ErrNotFound) {
				err = errStateInvalid()
			}
		}
		if err != nil {
			return result, err
		}
	}
	if err := c.bringToAnswer(ctx, r); err != nil {
		return result, err
	}
	return c.answer(ctx, r, result)
}

// chooseAgain returns the choices beside the problem with what was chosen.
func (c *consent) chooseAgain(ctx context.Context, result CallbackResult, problem error) (CallbackResult, error) {
	choices, err := c.choices(ctx)
	if err != nil {
		return result, err
	}
	result.Choices, result.ChooseBefore = choices, c.record.ConfirmBefore
	return result, problem
}

// choose records the person's choice, and completes the consent. errLate: the choice
// was made before, or too late.
func (c *consent) choose(ctx context.Context, chosen []string) error {
	if err := c.selectByID(ctx, "account_id", chosen); err != nil {
		return err
	}
	next, err := c.held(ctx, c.record)
	if err != nil {
		return err
	}
	next.Phase = consentRedeemed
	if err := c.write(ctx, next, Change{}); err != nil {
		return err
	}
	return c.complete(ctx)
}

// selectByID selects the accounts with these ids among the selectable ones. field is the
// name of the input.
func (c *consent) selectByID(ctx context.Context, field string, ids []string) error {
	if len(ids) == 0 {
		return Invalid(field, "choose at least one account")
	}
	if _, limit := c.limit(AccountsPerConsent); len(ids) > limit {
		return Invalid(field, fmt.Sprintf("more than %d", limit))
	}
	if err := c.openRedeemed(ctx); err != nil {
		return err
	}
	selectable, _, err := c.selectable(ctx)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	var left []string
	for _, g := range selectable {
		if wanted[g.Account.ID] {
			left = append(left, g.Account.ID)
			delete(wanted, g.Account.ID)
		}
	}
	if len(wanted) > 0 {
		return Invalid(field, "names an account that the person did not give access to")
	}
	c.record.Selected, c.record.Left, c.record.Accounts = true, left, len(left)
	return nil
}

// selectable asks the platform for the accounts, and returns the accounts that a choice
// may name: all, those that the person chose before, or those that a re-authorization
// renews. It also returns the connections of the person.
func (c *consent) selectable(ctx context.Context) ([]Grant, []Connection, error) {
	if c.listed == nil {
		if err := c.spend(ctx, c.chargeLink(ListingsPerLink, c.record.Link)); err != nil {
			return nil, nil, err
		}
	}
	grants, err := c.grants(ctx)
	if err != nil {
		return nil, nil, err
	}
	theirs, err := c.personConnections(ctx, grants)
	if err != nil || c.record.ConnectionID == "" {
		return c.remainingGrants(grants), theirs, err
	}
	target, selected, err := c.selectGrants(ctx, c.record.Authorization, grants)
	if err != nil {
		return nil, nil, err
	}
	return append(selected, c.renewableGrants(theirs, grants, *target)...), theirs, nil
}

// remainingGrants returns the grants that are still to be saved, in the recorded order.
func (c *consent) remainingGrants(grants []Grant) []Grant {
	if !c.record.Selected {
		return grants
	}
	byID := make(map[string]Grant, len(grants))
	for _, g := range grants {
		byID[g.Account.ID] = g
	}
	var selected []Grant
	for _, id := range c.record.Left {
		if g, ok := byID[id]; ok {
			selected = append(selected, g)
		}
	}
	return selected
}

// awaitChoice makes the consent wait for Choose.
func (c *consent) awaitChoice(ctx context.Context, accounts int) error {
	return c.writeWithLink(ctx, Change{}, func(next *consentRecord, l *linkStatus) {
		next.Phase, next.Accounts, next.Person = consentChoosing, accounts, c.person()
		next.ConfirmBefore = c.Now().UTC().Add(choiceLife)
		l.Until, l.Code, l.Reason = next.ConfirmBefore, "", ""
	})
}

// choices returns the accounts of a consent that waits for a choice.
func (c *consent) choices(ctx context.Context) ([]AccountChoice, error) {
	if c.credentials.Fields == nil {
		if err := c.openRedeemed(ctx); err != nil {
			return nil, err
		}
	}
	grants, theirs, err := c.selectable(ctx)
	if err == nil {
		err = c.nameAccounts(ctx, grants)
	}
	if err != nil {
		return nil, err
	}
	connected := map[string]bool{}
	for _, other := range theirs {
		if other.Owner == c.record.Owner && other.Status == Active {
			connected[other.AccountID] = true
		}
	}
	all := make([]AccountChoice, len(grants))
	for i, g := range grants {
		all[i] = AccountChoice{Account: g.Account, Connected: connected[g.Account.ID]}
	}
	return all, nil
}

// nameAccounts asks the platform for the first accounts that the list left without a
// name.
func (c *consent) nameAccounts(ctx context.Context, grants []Grant) error {
	asked := 0
	for i, g := range grants {
		if g.Account.Name != "" || !g.Incomplete || asked == maxNamed {
			continue
		}
		asked++
		named, err := c.completeGrant(ctx, g)
		switch {
		case err == nil:
			grants[i] = named
		case !errors.Is(err, ScopeMissing): // such an account is left out if it is chosen
			return err
		}
	}
	return nil
}

// personConnections returns the connections of the person who gave the grants, of all
// owners.
func (c *consent) personConnections(ctx context.Context, grants []Grant) ([]Connection, error) {
	if len(grants) == 0 {
		return nil, nil
	}
	theirs, err := c.Store.UserConnections(ctx, c.record.Platform, userOf(grants[0]))
	if err != nil {
		return nil, internal("finding a person's connections", err)
	}
	return theirs, nil
}
