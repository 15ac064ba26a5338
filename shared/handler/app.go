package handler

import (
	"math"
	"strconv"

	"platform-api-connector/shared/connector"
)

// readApp reads a change of an app: the fields that it sets, and the names of those
// that it removes, by null. It accepts the extra fields that the platform lists.
func readApp(o *object, extras []connector.AppField) (app connector.App, removed []string, err error) {
	removed = o.removed(extras)
	app = connector.App{
		ClientID:     o.filledText("client_id"),
		ClientSecret: o.filledSecret("client_secret"),
		Mode:         connector.Mode(o.filledText("mode")),
		Extras:       connector.Fields{},
	}
	for _, f := range extras {
		switch {
		case f.Name == "tier":
			app.Tier = o.filledLine(f.Name)
		case f.Name == "monthly_post_limit":
			app.MonthlyPostLimit = o.number(f.Name, 0, math.MaxInt32, -1)
			if app.MonthlyPostLimit == 0 {
				removed = append(removed, f.Name)
			}
			app.MonthlyPostLimit = max(app.MonthlyPostLimit, 0)
		case f.Name == "billing_day":
			app.BillingDay = o.number(f.Name, 1, 31, 0)
		case f.Number:
			if n := o.number(f.Name, 0, math.MaxInt32, -1); n >= 0 {
				app.Extras.Set(f.Name, strconv.Itoa(n))
			}
		default:
			if value := o.filledSecret(f.Name); !value.Empty() {
				app.Extras[f.Name] = value
			}
		}
	}
	return app, removed, o.end()
}

// removed takes the fields of an app that are null, and returns their names.
func (o *object) removed(extras []connector.AppField) (names []string) {
	take := func(name string) {
		if string(o.fields[name]) == "null" {
			delete(o.fields, name)
			names = append(names, name)
		}
	}
	for _, name := range []string{"client_id", "client_secret", "mode"} {
		take(name)
	}
	for _, f := range extras {
		take(f.Name)
	}
	return names
}

const emptyField = "empty; leave it out to keep what is stored, or send null to remove it"

// filledText reads a word. It refuses an empty one, which neither sets nor removes.
func (o *object) filledText(name string) string { return o.filled(name, o.text) }

// filledLine is filledText for a text that may have spaces.
func (o *object) filledLine(name string) string { return o.filled(name, o.line) }

func (o *object) filled(name string, read func(string) string) string {
	given, text := o.states(name), read(name)
	if given && text == "" {
		o.fail(name, emptyField)
	}
	return text
}

// filledSecret is filledText for a secret.
func (o *object) filledSecret(name string) connector.Secret {
	given, secret := o.states(name), o.secret(name)
	if given && secret.Empty() {
		o.fail(name, emptyField)
	}
	return secret
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
