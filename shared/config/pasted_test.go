package config_test

import (
	"reflect"
	"testing"

	"platform-api-connector/shared/config"
)

// TestParse_Pasted has every value with what pasting leaves around it.
func TestParse_Pasted(t *testing.T) {
	t.Parallel()
	environment := good()
	environment[config.CallerOwners] = `{"` + session + `*":["acme","Acme Inc"]}`
	environment[config.LinkScopes] = `{"youtube":["a.b"],"` + session + `*":{"twitter":["tweet.read"]}}`
	environment[config.Budgets] = `{"starts_per_link":7}`
	want, err := parse(environment)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range environment {
		environment[name] = "\ufeff \u00a0" + value + "\u200b\r\n"
	}
	environment[config.CallerOwners] = "\ufeff{\" " + session + "*\":[\"\u00a0acme\\n\",\"Acme Inc\u200b\"]}\n"
	environment[config.LinkScopes] = `{" youtube":["a.b "],"` + session + `* ":{"twitter\u00a0":[" tweet.read"]}}`
	environment[config.Budgets] = `{"starts_per_link ":7}`
	environment[config.PlatformEndpoints] = `{" https://graph.facebook.com":"http://127.0.0.1:9001/graph/\n","https://api.x.com\u00a0":" https://x.example.com"}`
	got, err := parse(environment)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
