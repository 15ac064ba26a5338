package platform

import (
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// TestAliases checks the tables of names: each row has its source, and a field that an
// import or an app of the platform takes.
func TestAliases(t *testing.T) {
	t.Parallel()
	apps := []string{"client_id", "client_secret", "mode"}
	type tablePair struct{ credentials, app *aliases }
	tables := map[connector.Name]tablePair{
		"youtube": {youtubeFile, youtubeAppFile}, "twitter": {twitterFile, twitterAppFile},
		"tiktok": {tiktokFile, tiktokAppFile}, "facebook": {facebookFile, facebookAppFile},
	}
	known := slices.Concat(youtubeShape.names(), twitterKeys.names(), tiktokShape.names(), facebookShape.names(), facebookUserShape.names())
	for _, p := range All(Options{}) {
		d, takes := p.Describe(), known
		if l, ok := p.(*longLived); ok {
			tables[d.Name], takes = tablePair{l.file, l.appFile}, l.shape().names()
		}
		extras := slices.Clone(apps)
		for _, f := range d.AppFields {
			extras = append(extras, f.Name)
		}
		for name, test := range map[string]struct {
			table *aliases
			takes []string
		}{
			"credentials": {tables[d.Name].credentials, takes},
			"app":         {tables[d.Name].app, extras},
		} {
			if test.table == nil {
				t.Errorf("%s has no table of the names of its %s", d.Name, name)
				continue
			}
			fields := test.table.fields()
			for _, row := range test.table.rows {
				if row.source == "" || row.names == "" {
					t.Errorf("%s, %s: the row %q has no source, or no name", d.Name, name, row.names)
				}
				needed := row.read != notNeeded && row.read != notNeededAny && row.read != notForApp && row.read != notForCredentials
				if needed != (row.field != "") || needed && !slices.Contains(test.takes, row.field) {
					t.Errorf("%s, %s: the row %q has the field %q", d.Name, name, row.names, row.field)
				}
			}
			if name == "app" {
				for _, field := range extras {
					if !slices.Contains(fields, field) {
						t.Errorf("%s: the app's %s has no row", d.Name, field)
					}
				}
			}
		}
	}
}

// FuzzImport imports files with arbitrary names and values. No claim in them makes a
// token or a grant live longer than the platform documents, and no message repeats a
// value.
func FuzzImport(f *testing.F) {
	for _, seed := range [][3]string{
		{"token_expiry", "2099-01-01T00:00:00Z", "expires_in"}, {"expiry_date", "99999999999999", "created"}, {"expires_at", "1e30", "scope"},
		{"expiry", "2026-11-25T13:30:00", "refresh_expires_in"}, {"EAAcanary42", "9223372036854775807", "refresh_token_expires_in"},
		{"REFRESH-TOKEN", "[\"a\"]", "web"}, {"created", "253402300800", "expires_in"}, {"providertoken", "{}", "token"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[1])
	}
	now := inNovember()
	platforms := All(Options{Now: func() time.Time { return now }})
	app := connector.App{ClientID: "id", ClientSecret: connector.NewSecret("secret"), Extras: connector.Fields{}}
	f.Fuzz(func(t *testing.T, name, value, otherName, otherValue string) {
		for _, p := range platforms {
			d, longest := p.Describe(), 2*time.Hour
			if d.Cadence.Model == connector.Extending {
				longest = maxTokenLife
			}
			fields := connector.Fields{}
			for field, text := range map[string]string{"refresh_token": "r", "access_token": "1-a", name: value, otherName: otherValue} {
				fields.Set(field, text)
			}
			grants, err := p.Import(t.Context(), app, fields, false)
			if err != nil {
				if e := connector.AsError(err); e.Code != connector.InvalidRequest || len(value) > 12 && !strings.Contains(name+otherName, value) && strings.Contains(e.Message, value) || len(e.Message) > 8<<10 {
					t.Errorf("%s: %v", d.Name, err)
				}
				continue
			}
			for _, g := range grants {
				c := g.Credentials
				if c.ExpiresAt.After(now.Add(longest)) || c.GrantExpiresAt.After(now.Add(tiktokGrantLife)) {
					t.Errorf("%s: ends %v, grant %v", d.Name, c.ExpiresAt, c.GrantExpiresAt)
				}
				again, err := p.Import(t.Context(), app, p.Full(connector.App{}, c), false)
				if err != nil || !again[0].Credentials.ExpiresAt.Equal(c.ExpiresAt) || again[0].Credentials.Fields.Get("refresh_token") != c.Fields.Get("refresh_token") {
					t.Errorf("%s: imported again as it is handed out: %v", d.Name, err)
				}
			}
		}
	})
}

func inNovember() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) }
