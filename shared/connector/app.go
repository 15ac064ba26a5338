package connector

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// PlatformStatus is a platform with its app.
type PlatformStatus struct {
	Description Description
	App         App
	RedirectURI string
	LinkScopes  []string // that the caller's links may ask for
}

// PlatformStatus returns one platform with its app; InvalidRequest if there is
// no such platform.
func (s *Service) PlatformStatus(ctx context.Context, name Name) (PlatformStatus, error) {
	p, err := s.platform(name)
	if err != nil {
		return PlatformStatus{}, err
	}
	app, err := s.app(ctx, name)
	if err != nil {
		return PlatformStatus{}, err
	}
	description := p.Describe()
	description.Guide = description.Guide.of(s.PublicURL)
	return PlatformStatus{Description: description, App: app, RedirectURI: s.RedirectURI(name), LinkScopes: s.linkScopes(ctx, description)}, nil
}

// PutApp stores the operator's app of a platform. Every connection uses it
// from its next call of the platform on. For a week the replaced client secret
// is used where the platform refuses the new one, so that the operator can
// change the portal and the connector in any order.
func (s *Service) PutApp(ctx context.Context, name Name, app App) (PlatformStatus, error) {
	p, err := s.platform(name)
	if err != nil {
		return PlatformStatus{}, err
	}
	if err := checkUnconfined(ctx); err != nil {
		return PlatformStatus{}, err
	}
	if app.Mode == "" {
		app.Mode = Live
	}
	if err := checkApp(p.Describe(), app); err != nil {
		return PlatformStatus{}, err
	}
	before, err := s.app(ctx, name)
	if err != nil && !errors.Is(err, ErrMalformed) {
		return PlatformStatus{}, err
	}
	app = app.withPreviousSecret(before, s.Now())
	if err := s.Apps.PutApp(ctx, name, app); err != nil {
		return PlatformStatus{}, internal("storing an app", err)
	}
	if err := s.closeBreaker(ctx, name); err != nil {
		return PlatformStatus{}, err
	}
	return PlatformStatus{Description: p.Describe(), App: app, RedirectURI: s.RedirectURI(name)}, nil
}

func checkApp(d Description, app App) error {
	switch app.Mode {
	case Live, Sandbox:
		if app.ClientID == "" {
			return Invalid("client_id", "missing")
		}
		if app.ClientSecret.Empty() {
			return Invalid("client_secret", "missing")
		}
	case ByHand:
	default:
		return Invalid("mode", "none of live, sandbox, manual")
	}
	if app.MonthlyPostLimit < 0 {
		return Invalid("monthly_post_limit", "below zero")
	}
	if app.BillingDay < 0 || app.BillingDay > 31 {
		return Invalid("billing_day", "not between 1 and 31")
	}
	return checkAppFields(d, app)
}

func checkAppFields(d Description, app App) error {
	fields := map[string]string{"client_id": app.ClientID, "client_secret": app.ClientSecret.Reveal(), "tier": app.Tier}
	maps.Copy(fields, app.Extras.Reveal())
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if fields[name] == "" {
			continue
		}
		if err := checkText(name, fields[name], maxField); err != nil {
			return err
		}
	}
	for name := range app.Extras {
		if !slices.ContainsFunc(d.AppFields, func(f AppField) bool { return f.Name == name }) {
			return Invalid(name, "unknown field for "+string(d.Name))
		}
	}
	return nil
}

// app returns the platform's app, the zero App where none is configured. It is
// read each time, so that a rotated client secret reaches every connection at
// once.
func (s *Service) app(ctx context.Context, name Name) (App, error) {
	app, err := s.Apps.App(ctx, name)
	if err != nil {
		return App{}, internal("reading an app", err)
	}
	return app, nil
}

// consentApp returns the platform's app if it may ask a person for consent.
func (s *Service) consentApp(ctx context.Context, p Platform) (App, error) {
	app, err := s.app(ctx, p.Describe().Name)
	if err != nil {
		return App{}, err
	}
	switch {
	case !app.Configured():
		return App{}, errAppNotConfigured(p.Describe())
	case app.Mode == ByHand:
		return App{}, errManualMode(p.Describe())
	}
	return app, nil
}

func errAppNotConfigured(d Description) error {
	return &Error{Code: AppNotConfigured, Message: "no client id and secret are stored for " + d.Title + ": PUT /platforms/" + string(d.Name) + "/app"}
}

func errManualMode(d Description) error {
	return &Error{Code: ManualMode, Message: d.Title + " has not approved the app yet: produce the content and post it by hand"}
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

// withCurrentOrPreviousSecret calls do with the app's client secret. Only where
// the platform says that this is not the client's secret, it calls do once more
// with the previous one. A code or a refresh token is thus shown twice only if
// the platform did not look at it the first time (RFC 6749, 5.2: the client is
// authenticated first). If both secrets are refused, the error is that of the
// current one.
func withCurrentOrPreviousSecret[T any](ctx context.Context, s *Service, app App, refused func(error) bool, do func(App) (T, error)) (T, error) {
	result, err := do(app)
	switch {
	case err == nil || !refused(err), app.PreviousSecret.Empty(), !s.Now().Before(app.PreviousUntil), insufficientTime(ctx):
		return result, err
	}
	previous := app
	previous.ClientSecret = app.PreviousSecret
	other, otherErr := do(previous)
	if otherErr != nil && refused(otherErr) {
		return result, err
	}
	s.Log.WarnContext(ctx, "the client secret was refused and the previous one was not", "client_id", app.ClientID, "previous_until", app.PreviousUntil)
	return other, otherErr
}

// clientRefused reports whether a platform refused the client itself, before
// it looked at anything else.
func clientRefused(err error) bool {
	e := AsError(err)
	return e != nil && e.ClientRefused
}

// notSigned reports whether a notice is not signed with the client secret that
// was tried.
func notSigned(err error) bool { return errors.Is(err, StateInvalid) }

// revokeWith asks the platform to end a grant.
func (s *Service) revokeWith(ctx context.Context, revoker Revoker, app App, creds Credentials, userID string) error {
	_, err := withCurrentOrPreviousSecret(ctx, s, app, clientRefused, func(app App) (struct{}, error) {
		revokeCtx, cancel := context.WithTimeout(ctx, ExchangeBudget)
		defer cancel()
		return struct{}{}, revoker.Revoke(revokeCtx, app, creds, userID)
	})
	return err
}

// verifyWith asks the platform whether credentials work.
func (s *Service) verifyWith(ctx context.Context, p Platform, app App, creds Credentials) (Verification, error) {
	return withCurrentOrPreviousSecret(ctx, s, app, clientRefused, func(app App) (Verification, error) {
		verifyCtx, cancel := context.WithTimeout(ctx, ExchangeBudget)
		defer cancel()
		return p.Verify(verifyCtx, app, creds)
	})
}
