package connector

import (
	"context"
	"errors"
	"time"
)

// PlatformStatus is a platform with its app.
type PlatformStatus struct {
	Description Description
	App         App
	// AppUnreadable says that an app is stored that cannot be read; App is then
	// the zero App.
	AppUnreadable bool
	// PreviousSecretUntil is until when the previous client secret is used; zero
	// where none is.
	PreviousSecretUntil time.Time
	RedirectURI         string
	LinkScopes          []string // that the caller's links may ask for
}

// PlatformStatus returns one platform with its app; InvalidRequest if there is
// no such platform.
func (s *Service) PlatformStatus(ctx context.Context, name Name) (PlatformStatus, error) {
	p, err := s.platform(name)
	if err != nil {
		return PlatformStatus{}, err
	}
	app, err := s.app(ctx, name)
	unreadable := errors.Is(err, ErrMalformed)
	switch {
	case unreadable:
		s.logUnreadableApp(ctx, name)
		app = App{}
	case err != nil:
		return PlatformStatus{}, err
	}
	status := s.platformStatus(p, app)
	status.AppUnreadable, status.LinkScopes = unreadable, s.linkScopes(ctx, status.Description)
	return status, nil
}

// platformStatus returns a platform with app.
func (s *Service) platformStatus(p Platform, app App) PlatformStatus {
	description := p.Describe()
	description.Guide = description.Guide.of(s.PublicURL)
	status := PlatformStatus{Description: description, App: app, RedirectURI: s.RedirectURI(description.Name)}
	if app.previousSecretUsed(s.Now()) {
		status.PreviousSecretUntil = app.PreviousUntil
	}
	return status
}

// app returns the platform's app, the zero App where none is configured. It is
// read each time, so that a rotated client secret reaches every connection at
// once. Beside ErrMalformed it returns the revision alone.
func (s *Service) app(ctx context.Context, name Name) (App, error) {
	app, err := s.Apps.App(ctx, name)
	if err != nil {
		return App{Revision: app.Revision}, internal("reading an app", err)
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

// errAppLacksKeys says that credentials without keys of their own cannot be used.
func errAppLacksKeys(d Description) error {
	return &Error{Code: AppNotConfigured, Message: "these credentials are used with the keys of the app, and the app of " + d.Title + " lacks them: PUT /platforms/" + string(d.Name) + "/app"}
}

func errManualMode(d Description) error {
	return &Error{Code: ManualMode, Message: d.Title + " has not approved the app yet: produce the content and post it by hand"}
}

// previousSecretUsed reports whether the previous client secret is still used.
func (a App) previousSecretUsed(now time.Time) bool {
	return !a.PreviousSecret.Empty() && now.Before(a.PreviousUntil)
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
	case err == nil || !refused(err), !app.previousSecretUsed(s.Now()), insufficientTime(ctx):
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
