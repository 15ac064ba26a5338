package connector_test

import (
	"errors"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
)

func TestService_PutApp(t *testing.T) {
	t.Parallel()

	// The secret of an app that was changed by hand can be stored anew.
	t.Run("replaces_a_secret_that_cannot_be_read", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		if _, err := b.vault.Put(t.Context(), "apps/youtube", connector.NewSecret("not JSON")); err != nil {
			t.Fatal(err)
		}
		b.put(t, "youtube", b.sandbox.AppOf("youtube").ClientSecret)
		b.connect(t, "youtube")
	})

	for name, row := range map[string]struct {
		app   connector.App
		field string
	}{
		"client_id_is_missing":     {connector.App{ClientSecret: connector.NewSecret("secret")}, "client_id"},
		"client_secret_is_missing": {connector.App{ClientID: "client"}, "client_secret"},
		"unknown_mode":             {connector.App{ClientID: "client", ClientSecret: connector.NewSecret("secret"), Mode: "other"}, "mode"},
		"unknown_field":            {connector.App{ClientID: "client", ClientSecret: connector.NewSecret("secret"), Extras: connector.Fields{"other": connector.NewSecret("x")}}, "other"},
		"billing_day_32":           {connector.App{ClientID: "client", ClientSecret: connector.NewSecret("secret"), BillingDay: 32}, "billing_day"},
	} {
		t.Run("refuses/"+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			_, err := b.PutApp(t.Context(), "youtube", row.app)
			if !errors.Is(err, connector.InvalidRequest) || !strings.HasPrefix(connector.AsError(err).Message, row.field+":") {
				t.Errorf("got %v, want an InvalidRequest that names %s", err, row.field)
			}
			b.connect(t, "youtube") // with the app that was stored before
		})
	}
}
