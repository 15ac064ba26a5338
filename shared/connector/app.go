package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// PlatformStatus is a platform with its app.
type PlatformStatus struct {
	Description Description
	App         App
	RedirectURI string
}

// PlatformStatuses returns every platform with its app.
func (s *Service) PlatformStatuses(ctx context.Context) ([]PlatformStatus, error) {
	var all []PlatformStatus
	for _, p := range s.Platforms {
		status, err := s.PlatformStatus(ctx, p.Describe().Name)
		if err != nil {
			return nil, err
		}
		all = append(all, status)
	}
	return all, nil
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
	return PlatformStatus{Description: description, App: app, RedirectURI: s.RedirectURI(name)}, nil
}

// PutApp stores the operator's app of a platform. Every connection uses it
// from its next call to the platform on. The client secret that it replaces
// still serves for a week wherever the platform does not take the new one, so
// that it does not matter which of portal and connector learns of it first.
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
	if err != nil && !errors.Is(err, errUnreadableApp) {
		return PlatformStatus{}, err
	}
	app = app.withPreviousSecret(before, s.Now())
	value, err := app.encode()
	if err != nil {
		return PlatformStatus{}, internal("storing an app", err)
	}
	if _, err := s.Vault.Put(ctx, appName(name), value); err != nil {
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

func appName(name Name) string { return "apps/" + string(name) }

// app returns the platform's app, the zero App where none is configured. It is
// read each time, so that a rotated client secret reaches every connection at
// once.
func (s *Service) app(ctx context.Context, name Name) (App, error) {
	value, _, err := s.Vault.Get(ctx, appName(name), "")
	if errors.Is(err, ErrNotFound) {
		return App{}, nil
	}
	if err != nil {
		return App{}, internal("reading an app", err)
	}
	app, err := decodeApp(value)
	if err != nil {
		return App{}, internal("reading an app", err)
	}
	return app, nil
}

// storedApp is the secret of an app:
//
//	{"client_id":…, "client_secret":…, "mode":"live", "extras":{"api_key":…},
//	 "tier":…, "monthly_post_limit":100, "billing_day":17,
//	 "previous_client_secret":…, "previous_until":…}
type storedApp struct {
	ClientID         string            `json:"client_id"`
	ClientSecret     string            `json:"client_secret"`
	Mode             Mode              `json:"mode"`
	Extras           map[string]string `json:"extras,omitempty"`
	Tier             string            `json:"tier,omitempty"`
	MonthlyPostLimit int               `json:"monthly_post_limit,omitempty"`
	BillingDay       int               `json:"billing_day,omitempty"`
	PreviousSecret   string            `json:"previous_client_secret,omitempty"`
	PreviousUntil    time.Time         `json:"previous_until,omitzero"`
}

func (a App) encode() (Secret, error) {
	b, err := json.Marshal(storedApp{
		ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), Mode: a.Mode, Extras: a.Extras.Reveal(),
		Tier: a.Tier, MonthlyPostLimit: a.MonthlyPostLimit, BillingDay: a.BillingDay,
		PreviousSecret: a.PreviousSecret.Reveal(), PreviousUntil: a.PreviousUntil.UTC(),
	})
	if err != nil {
		return Secret{}, fmt.Errorf("encoding an app: %w", err)
	}
	return NewSecret(string(b)), nil
}

// errUnreadableApp is an app's secret that somebody else has written.
var errUnreadableApp = errors.New("decoding an app: not its JSON")

func decodeApp(value Secret) (App, error) {
	var stored storedApp
	if err := json.Unmarshal([]byte(value.Reveal()), &stored); err != nil {
		return App{}, errUnreadableApp
	}
	app := App{
		ClientID: stored.ClientID, ClientSecret: NewSecret(stored.ClientSecret), Mode: stored.Mode, Extras: Fields{},
		Tier: stored.Tier, MonthlyPostLimit: stored.MonthlyPostLimit, BillingDay: stored.BillingDay,
		PreviousSecret: NewSecret(stored.PreviousSecret), PreviousUntil: stored.PreviousUntil.UTC(),
	}
	for name, value := range stored.Extras {
		app.Extras.Set(name, value)
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
