package handler

import (
	"math"
	"strconv"

	"platform-api-connector/shared/connector"
)

// readApp reads an app. It accepts the extra fields that the platform lists.
func readApp(o *object, extras []connector.AppField) (connector.App, error) {
	app := connector.App{
		ClientID:     o.text("client_id"),
		ClientSecret: o.secret("client_secret"),
		Mode:         connector.Mode(o.text("mode")),
		Extras:       connector.Fields{},
	}
	for _, f := range extras {
		switch {
		case f.Name == "tier":
			app.Tier = o.line(f.Name)
		case f.Name == "monthly_post_limit":
			app.MonthlyPostLimit = o.number(f.Name, 0, math.MaxInt32, 0)
		case f.Name == "billing_day":
			app.BillingDay = o.number(f.Name, 1, 31, 0)
		case f.Number:
			if n := o.number(f.Name, 0, math.MaxInt32, -1); n >= 0 {
				app.Extras.Set(f.Name, strconv.Itoa(n))
			}
		default:
			if value := o.secret(f.Name); !value.Empty() {
				app.Extras[f.Name] = value
			}
		}
	}
	return app, o.end()
}

// appField returns the value of an extra field of an app, and whether the
// field is set. It never returns the value of a secret.
func appField(app connector.App, f connector.AppField) (value any, ok bool) {
	switch f.Name {
	case "tier":
		return app.Tier, app.Tier != ""
	case "monthly_post_limit":
		return app.MonthlyPostLimit, app.MonthlyPostLimit != 0
	case "billing_day":
		return app.BillingDay, app.BillingDay != 0
	}
	text, ok := app.Extras.Get(f.Name), !app.Extras[f.Name].Empty()
	switch {
	case f.Secret:
		return nil, ok
	case f.Number:
		n, err := strconv.Atoi(text)
		return n, err == nil
	}
	return text, ok
}
