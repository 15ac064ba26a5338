package connector

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// appWrites is how often PutApp reads and writes an app that other requests change
// at the same time.
const appWrites = 10

// PutApp changes the operator's app of a platform. It sets the fields of named that
// are not empty, removes the fields that removed names, and keeps the others. Every
// connection uses the app from its next call of the platform on. For a week the
// replaced client secret is used where the platform refuses the new one, so that the
// operator can change the portal and the connector in any order.
//
// It fails with InvalidRequest, which names a field, and stores nothing: for a
// malformed or unknown field, where the mode needs a field that the app would lack,
// and where a client would get the secret of another client. Over a stored app that
// cannot be read it takes only a request that names every field. It fails with
// RateLimited if other requests change the app at the same time.
func (s *Service) PutApp(ctx context.Context, name Name, named App, removed ...string) (PlatformStatus, error) {
	p, err := s.platform(name)
	if err != nil {
		return PlatformStatus{}, err
	}
	if err := checkUnconfined(ctx); err != nil {
		return PlatformStatus{}, err
	}
	change := appChange{description: p.Describe(), named: named, removed: removed}
	if err := change.check(); err != nil {
		return PlatformStatus{}, err
	}
	app, err := s.changeApp(ctx, change)
	if err != nil {
		return PlatformStatus{}, err
	}
	if err := s.closeBreaker(ctx, name); err != nil {
		return PlatformStatus{}, err
	}
	return s.platformStatus(p, app), nil
}

// changeApp applies a change to the stored app, also if other requests change other
// fields at the same time.
func (s *Service) changeApp(ctx context.Context, change appChange) (App, error) {
	name := change.description.Name
	for try := range appWrites {
		if try > 0 {
			if err := s.pause(ctx, try); err != nil {
				return App{}, internal("storing an app", err)
			}
		}
		before, err := s.app(ctx, name)
		unreadable := errors.Is(err, ErrMalformed)
		switch {
		case unreadable:
			s.logUnreadableApp(ctx, name)
			before = App{Revision: before.Revision}
			err = change.checkComplete()
		case err == nil:
			err = change.checkSecrets(before)
		}
		if err != nil {
			return App{}, err
		}
		app := change.apply(before).withPreviousSecret(before, s.Now())
		if err := app.check(); err != nil {
			return App{}, err
		}
		if !unreadable && before.Revision != "" && app.equal(before) {
			return app, nil // a secret has room for about 100 versions a day
		}
		if err = s.Apps.PutApp(ctx, name, app); err == nil {
			return app, nil
		}
		if !errors.Is(err, ErrConflict) {
			return App{}, internal("storing an app", err)
		}
	}
	return App{}, &Error{Code: RateLimited, RetryAfter: time.Second, Message: "other requests change this app at the same time, and nothing was stored: send the request again"}
}

func (s *Service) logUnreadableApp(ctx context.Context, name Name) {
	s.Log.ErrorContext(ctx, "the stored app cannot be read: store it again with every field", "platform", string(name))
}

// appChange is a request to change an app.
type appChange struct {
	description Description
	named       App // an empty field is not named
	removed     []string
}

// names reports whether the request sets or removes the field.
func (c appChange) names(field string) bool {
	return !c.named.field(field).Empty() || slices.Contains(c.removed, field)
}

// check checks what does not depend on the stored app.
func (c appChange) check() error {
	switch c.named.Mode {
	case "", Live, Sandbox, ByHand:
	default:
		return Invalid("mode", "none of live, sandbox, manual")
	}
	if c.named.MonthlyPostLimit < 0 {
		return Invalid("monthly_post_limit", "below zero")
	}
	if c.named.BillingDay < 0 || c.named.BillingDay > 31 {
		return Invalid("billing_day", "not between 1 and 31")
	}
	known := appFields(c.description)
	for _, name := range slices.Sorted(maps.Keys(c.named.Extras)) {
		if !slices.Contains(known, name) {
			return Invalid(name, "unknown field for "+string(c.description.Name))
		}
	}
	for _, name := range known {
		if value := c.named.field(name); !value.Empty() {
			if err := checkText(name, value.Reveal(), maxAppField); err != nil {
				return err
			}
		}
	}
	return nil
}

// appFields returns the names of all fields of an app of a platform.
func appFields(d Description) []string {
	names := []string{"client_id", "client_secret", "mode"}
	for _, f := range d.AppFields {
		names = append(names, f.Name)
	}
	return names
}

// checkComplete refuses a request that does not name every field. The mode has a
// default.
func (c appChange) checkComplete() error {
	var missing []string
	for _, name := range appFields(c.description) {
		if name != "mode" && !c.names(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return Invalid(missing[0], "missing; the stored app cannot be read, so that none of its fields can be kept: send a value or null for each of "+strings.Join(missing, ", "))
}

// checkSecrets refuses a request that would combine the id of a client with a stored
// secret of another client.
func (c appChange) checkSecrets(before App) error {
	secrets := append([]AppField{{Name: "client_secret", SecretOf: "client_id"}}, c.description.AppFields...)
	for _, f := range secrets {
		if f.SecretOf == "" || before.field(f.Name).Empty() || c.names(f.Name) {
			continue
		}
		old := before.field(f.SecretOf)
		switch changed := c.named.field(f.SecretOf); {
		case old.Empty():
		case slices.Contains(c.removed, f.SecretOf) && c.mayRemove(f.SecretOf, before):
			return Invalid(f.Name, "the stored one belongs to the "+f.SecretOf+" that this request removes: remove it with null as well")
		case !changed.Empty() && !changed.Equal(old):
			return Invalid(f.Name, "missing; the stored one belongs to another "+f.SecretOf+": send that of the new "+f.SecretOf+", or null for none")
		}
	}
	return nil
}

// mayRemove reports whether an app needs the field after the change.
func (c appChange) mayRemove(field string, before App) bool {
	return field != "client_id" || c.apply(before).Mode == ByHand
}

// apply returns before with the change.
func (c appChange) apply(before App) App {
	after := before
	after.Extras = before.Extras.Clone()
	if after.Extras == nil {
		after.Extras = Fields{}
	}
	for _, name := range c.removed {
		switch name {
		case "client_id":
			after.ClientID = ""
		case "client_secret":
			after.ClientSecret = Secret{}
		case "mode":
			after.Mode = ""
		case "tier":
			after.Tier = ""
		case "monthly_post_limit":
			after.MonthlyPostLimit = 0
		case "billing_day":
			after.BillingDay = 0
		default:
			delete(after.Extras, name)
		}
	}
	after.ClientID = cmp.Or(c.named.ClientID, after.ClientID)
	if !c.named.ClientSecret.Empty() {
		after.ClientSecret = c.named.ClientSecret
	}
	after.Mode = cmp.Or(c.named.Mode, after.Mode, Live)
	after.Tier = cmp.Or(c.named.Tier, after.Tier)
	after.MonthlyPostLimit = cmp.Or(c.named.MonthlyPostLimit, after.MonthlyPostLimit)
	after.BillingDay = cmp.Or(c.named.BillingDay, after.BillingDay)
	maps.Copy(after.Extras, c.named.Extras)
	return after
}

// check refuses an app that lacks what its mode needs.
func (a App) check() error {
	switch {
	case a.Mode == ByHand:
	case a.ClientID == "":
		return Invalid("client_id", "missing; only an app of the mode manual can be without it")
	case a.ClientSecret.Empty():
		return Invalid("client_secret", "missing; only an app of the mode manual can be without it")
	}
	return nil
}

// field returns the value of a field by its name in a request, a number as its
// text; empty where it is not set.
func (a App) field(name string) Secret {
	switch name {
	case "client_id":
		return NewSecret(a.ClientID)
	case "client_secret":
		return a.ClientSecret
	case "mode":
		return NewSecret(string(a.Mode))
	case "tier":
		return NewSecret(a.Tier)
	case "monthly_post_limit":
		return numberField(a.MonthlyPostLimit)
	case "billing_day":
		return numberField(a.BillingDay)
	}
	return a.Extras[name]
}

func numberField(n int) Secret {
	if n == 0 {
		return Secret{}
	}
	return NewSecret(strconv.Itoa(n))
}

// equal reports whether both are stored in the same way.
func (a App) equal(b App) bool {
	return a.ClientID == b.ClientID && a.ClientSecret.Equal(b.ClientSecret) && a.Mode == b.Mode &&
		a.PreviousSecret.Equal(b.PreviousSecret) && a.PreviousUntil.Equal(b.PreviousUntil) && a.Extras.Equal(b.Extras) &&
		a.Tier == b.Tier && a.MonthlyPostLimit == b.MonthlyPostLimit && a.BillingDay == b.BillingDay
}

// withPreviousSecret returns the app a as it replaces the app before: with the
// client secret of before as the previous one, if it is the same client.
func (a App) withPreviousSecret(before App, now time.Time) App {
	a.PreviousSecret, a.PreviousUntil = Secret{}, time.Time{}
	switch {
	case a.ClientID != before.ClientID || a.ClientSecret.Empty() || before.ClientSecret.Empty():
	case a.ClientSecret.Equal(before.ClientSecret):
		a.PreviousSecret, a.PreviousUntil = before.PreviousSecret, before.PreviousUntil
	default:
		a.PreviousSecret, a.PreviousUntil = before.ClientSecret, now.Add(previousSecretLife).UTC()
	}
	return a
}
