package connector

import (
	"context"
	"errors"
	"time"
)

// previousLife is how long a client secret that was replaced still counts:
// long enough to put the new one into force on the platform's portal, not so
// long that a leaked one stays of use.
const previousLife = 7 * 24 * time.Hour

// succeeding returns a as it replaces before: with the client secret of before
// as the previous one, if it is the same client.
func (a App) succeeding(before App, now time.Time) App {
	a.PreviousSecret, a.PreviousUntil = Secret{}, time.Time{}
	switch {
	case a.ClientID != before.ClientID || a.ClientSecret.Empty() || before.ClientSecret.Empty():
	case a.ClientSecret.Equal(before.ClientSecret):
		a.PreviousSecret, a.PreviousUntil = before.PreviousSecret, before.PreviousUntil
	default:
		a.PreviousSecret, a.PreviousUntil = before.ClientSecret, now.Add(previousLife).UTC()
	}
	return a
}

// withEither does what needs the app's client secret: with the current one
// and, only where the platform says that this is not the client's, with the
// previous one. Nothing that works once is thus shown twice unless the
// platform did not look at it the first time (RFC 6749, 5.2: the client is
// authenticated first). If neither secret is good, the error is that of the
// current one.
func withEither[T any](ctx context.Context, s *Service, app App, refused func(error) bool, do func(App) (T, error)) (T, error) {
	result, err := do(app)
	switch {
	case err == nil || !refused(err), app.PreviousSecret.Empty(), !s.Now().Before(app.PreviousUntil), s.tooLate(ctx):
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
// it was held against.
func notSigned(err error) bool { return errors.Is(err, StateInvalid) }

// revokeWith asks the platform to end a grant.
func (s *Service) revokeWith(ctx context.Context, revoker Revoker, app App, creds Credentials, userID string) error {
	_, err := withEither(ctx, s, app, clientRefused, func(app App) (struct{}, error) {
		revokeCtx, cancel := context.WithTimeout(ctx, exchangeTime)
		defer cancel()
		return struct{}{}, revoker.Revoke(revokeCtx, app, creds, userID)
	})
	return err
}

// verifyWith asks the platform whether credentials work.
func (s *Service) verifyWith(ctx context.Context, p Platform, app App, creds Credentials) (Verification, error) {
	return withEither(ctx, s, app, clientRefused, func(app App) (Verification, error) {
		verifyCtx, cancel := context.WithTimeout(ctx, exchangeTime)
		defer cancel()
		return p.Verify(verifyCtx, app, creds)
	})
}
