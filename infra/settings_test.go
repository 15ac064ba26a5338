package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadSettings(t *testing.T) {
	t.Parallel()
	t.Run("every_value_and_the_defaults", func(t *testing.T) {
		t.Parallel()
		got, err := ReadSettings(func(name string) any { return everything[name] })
		if err != nil {
			t.Fatal(err)
		}
		want := Settings{
			Stage: "prod", DomainName: "connect.example.com",
			CertificateARN:       "arn:aws:acm:eu-west-1:123456789012:certificate/test",
			ReturnOrigins:        "https://app.example.com,https://beta.example.com",
			AllowFullCredentials: true,
			PlatformEndpoints:    `{"https://graph.facebook.com":"https://sandbox.example.com"}`,
			LogLevel:             "debug",
			CallerOwners:         `{"arn:aws:sts::123456789012:assumed-role/tenant/*":["acme"]}`,
			LinkScopes:           `{"youtube":["https://www.googleapis.com/auth/youtube.readonly"]}`,
			Budgets:              `{"starts_per_link":7}`,
			TokenCallers:         []string{"arn:aws:iam::210987654321:role/publisher", "345678901234"},
			KeyARN:               "arn:aws:kms:eu-west-1:123456789012:key/test",
			AlarmEmail:           "oncall@example.com", ReserveConcurrency: true,
			DecoyConnectionID: "3f0e2d1c-5b4a-4c39-8d27-f60718293a4b",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("settings (-want +got):\n%s", diff)
		}

		got, err = ReadSettings(func(string) any { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Settings{Stage: "dev", LogLevel: "info", HandOutAppKeys: true}, got); diff != "" {
			t.Errorf("defaults (-want +got):\n%s", diff)
		}
	})
	t.Run("invalid_value_is_named", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			context map[string]any
			want    string
		}{
			"a stage that is no name":          {map[string]any{"stage": "Prod!"}, "stage"},
			"a domain without its certificate": {map[string]any{"domainName": "connect.example.com"}, "certificateArn"},
			"a domain with a scheme":           {map[string]any{"domainName": "https://connect.example.com"}, "domainName"},
			"anyone as caller":                 {map[string]any{"tokenCallers": "*"}, "tokenCallers"},
			"a whole service as caller":        {map[string]any{"tokenCallers": "lambda.amazonaws.com"}, "tokenCallers"},
			"an assumed role as caller":        {map[string]any{"tokenCallers": "arn:aws:sts::123456789012:assumed-role/a/b"}, "tokenCallers"},
			"yes as a boolean":                 {map[string]any{"allowFullCredentials": "yes"}, "allowFullCredentials"},
			"no as a boolean":                  {map[string]any{"handOutAppKeys": "no"}, "handOutAppKeys"},
			"an origin with a path":            {map[string]any{"returnOrigins": "https://app.example.com/done"}, "returnOrigins"},
			"endpoints that are no JSON":       {map[string]any{"platformEndpoints": "graph"}, "platformEndpoints"},
			"callers with half an ARN":         {map[string]any{"callerOwners": `{"role/tenant":["acme"]}`}, "callerOwners"},
			"scopes of no list":                {map[string]any{"linkScopes": `{"youtube":"all"}`}, "linkScopes"},
			"scopes of no platform":            {map[string]any{"linkScopes": `{"myspace":["a"]}`}, "linkScopes"},
			"an unknown budget":                {map[string]any{"budgets": `{"starts":7}`}, "budgets"},
			"two places to ring":               {map[string]any{"alarmEmail": "a@example.com", "alarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:pager"}, "alarmTopicArn"},
			"an emulator in prod":              {map[string]any{"stage": "prod", "awsEndpointUrl": "http://localhost:4566"}, "awsEndpointUrl"},
			"an alias in place of a key":       {map[string]any{"keyArn": "alias/mine"}, "keyArn"},
			"an alias's ARN in place of a key": {map[string]any{"keyArn": "arn:aws:kms:eu-west-1:123456789012:alias/mine"}, "keyArn"},
		} {
			_, err := ReadSettings(func(name string) any { return c.context[name] })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want an error that names %s", name, err, c.want)
			}
		}
	})
	// In cdk.json whatever becomes JSON can be written as JSON.
	t.Run("json_value_may_be_an_object", func(t *testing.T) {
		t.Parallel()
		context := map[string]any{
			"platformEndpoints": map[string]any{"https://graph.facebook.com": "https://sandbox.example.com"},
			"linkScopes":        map[string]any{"youtube": []any{"https://www.googleapis.com/auth/youtube.readonly"}},
			"callerOwners":      map[string]any{"arn:aws:sts::123456789012:assumed-role/tenant/*": []any{"acme"}},
			"budgets":           map[string]any{"starts_per_link": 7.0},
		}
		got, err := ReadSettings(func(name string) any { return context[name] })
		if err != nil {
			t.Fatal(err)
		}
		if want := everything["platformEndpoints"]; got.PlatformEndpoints != want {
			t.Errorf("platform endpoints %s, want %s", got.PlatformEndpoints, want)
		}
		if want := everything["callerOwners"]; got.CallerOwners != want {
			t.Errorf("caller owners %s, want %s", got.CallerOwners, want)
		}
		if want := everything["linkScopes"]; got.LinkScopes != want {
			t.Errorf("link scopes %s, want %s", got.LinkScopes, want)
		}
		if want := everything["budgets"]; got.Budgets != want {
			t.Errorf("budgets %s, want %s", got.Budgets, want)
		}
	})
	// The address of an emulator is excepted, because only the Makefile sets it.
	t.Run("every_setting_is_in_the_readme", func(t *testing.T) {
		t.Parallel()
		readme, err := os.ReadFile("README.md")
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(readme), "| name | meaning |")
		table, _, _ = strings.Cut(table, "\n\n")
		var named string
		for row := range strings.Lines(table) {
			names, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
			named += names
		}
		if _, err := ReadSettings(func(name string) any {
			if name != "awsEndpointUrl" && !strings.Contains(named, "`"+name+"`") {
				t.Errorf("%s is not among the settings of README.md", name)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
