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

	// Without a stored app a request must name what the mode needs.
	for field, app := range map[string]connector.App{
		"client_id":     {ClientSecret: connector.NewSecret("secret")},
		"client_secret": {ClientID: "client"},
	} {
		t.Run("refuses/first_app_without_"+field, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if err := b.vault.Delete(t.Context(), "apps/youtube", true); err != nil {
				t.Fatal(err)
			}
			_, err := b.PutApp(t.Context(), "youtube", app)
			if !errors.Is(err, connector.InvalidRequest) || !strings.HasPrefix(connector.AsError(err).Message, field+":") {
				t.Errorf("got %v, want an InvalidRequest that names %s", err, field)
			}
			if names := b.vault.Names("apps/youtube"); len(names) > 0 {
				t.Errorf("stored: %v", names)
			}
		})
	}

	for name, row := range map[string]struct {
		app   connector.App
		field string
	}{
		"secret_of_another_client": {connector.App{ClientID: "client"}, "client_secret"},
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
