package credentialstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"platform-api-connector/shared/connector"
)

// Apps is a connector.AppStore with one secret a platform, "apps/<platform>".
type Apps struct{ vault Vault }

var _ connector.AppStore = (*Apps)(nil)

// NewApps returns the apps in v.
func NewApps(v Vault) *Apps { return &Apps{vault: v} }

func appName(name connector.Name) string { return "apps/" + string(name) }

// storedApp is the secret of an app:
//
//	{"client_id":…, "client_secret":…, "mode":"live", "extras":{"api_key":…},
//	 "tier":…, "monthly_post_limit":100, "billing_day":17,
//	 "previous_client_secret":…, "previous_until":…}
type storedApp struct {
	ClientID         string            `json:"client_id"`
	ClientSecret     string            `json:"client_secret"`
	Mode             connector.Mode    `json:"mode"`
	Extras           map[string]string `json:"extras,omitempty"`
	Tier             string            `json:"tier,omitempty"`
	MonthlyPostLimit int               `json:"monthly_post_limit,omitempty"`
	BillingDay       int               `json:"billing_day,omitempty"`
	PreviousSecret   string            `json:"previous_client_secret,omitempty"`
	PreviousUntil    time.Time         `json:"previous_until,omitzero"`
}

// PutApp implements connector.AppStore.
func (s *Apps) PutApp(ctx context.Context, name connector.Name, a connector.App) error {
	b, err := marshal(storedApp{
		ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), Mode: a.Mode, Extras: a.Extras.Reveal(),
		Tier: a.Tier, MonthlyPostLimit: a.MonthlyPostLimit, BillingDay: a.BillingDay,
		PreviousSecret: a.PreviousSecret.Reveal(), PreviousUntil: a.PreviousUntil.UTC(),
	})
	if err != nil {
		return fmt.Errorf("encoding an app: %w", err)
	}
	_, err = s.vault.Replace(ctx, appName(name), a.Revision, connector.NewSecret(string(b)))
	return err
}

// App implements connector.AppStore.
func (s *Apps) App(ctx context.Context, name connector.Name) (connector.App, error) {
	value, revision, err := s.vault.Get(ctx, appName(name), "")
	if errors.Is(err, connector.ErrNotFound) {
		return connector.App{}, nil
	}
	if err != nil {
		return connector.App{}, err
	}
	var stored *storedApp
	if json.Unmarshal([]byte(value.Reveal()), &stored) != nil || stored == nil {
		return connector.App{Revision: revision}, fmt.Errorf("decoding an app: %w", connector.ErrMalformed)
	}
	app := connector.App{
		Revision: revision,
		ClientID: stored.ClientID, ClientSecret: connector.NewSecret(stored.ClientSecret), Mode: stored.Mode, Extras: connector.Fields{},
		Tier: stored.Tier, MonthlyPostLimit: stored.MonthlyPostLimit, BillingDay: stored.BillingDay,
		PreviousSecret: connector.NewSecret(stored.PreviousSecret), PreviousUntil: stored.PreviousUntil.UTC(),
	}
	for name, value := range stored.Extras {
		app.Extras.Set(name, value)
	}
	return app, nil
}
