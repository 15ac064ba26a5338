package connector

import (
	"context"
	"errors"
	"time"
)

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
