package config_test

import (
	"maps"
	"strings"
	"testing"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/connector"
)

func TestParse_Budgets(t *testing.T) {
	for _, row := range []struct {
		name, value string
		want        map[connector.BudgetName]int
		refused     string // part of the message; empty: accepted
	}{
		{"unset", ``, nil, ""},
		{"none", `{}`, nil, ""},
		{"one", `{"starts_per_link":7}`, map[connector.BudgetName]int{connector.StartsPerLink: 7}, ""},
		{"several", `{"imports_per_owner": 0, "accounts_per_consent": 100}`,
			map[connector.BudgetName]int{connector.ImportsPerOwner: 0, connector.AccountsPerConsent: 100}, ""},
		{"not JSON", `starts_per_link=7`, nil, "not a JSON object of numbers"},
		{"a list", `[30]`, nil, "not a JSON object of numbers"},
		{"null", `null`, nil, "not a JSON object of numbers"},
		{"two objects", `{}{}`, nil, "not a JSON object of numbers"},
		{"unknown", `{"starts":7}`, nil, `"starts" is not one of starts_per_link, `},
		{"another case", `{"Starts_per_link":7}`, nil, `"Starts_per_link" is not one of `},
		{"a line break in a name", "{\"a\\nb\":7}", nil, `"a\nb" is not one of `},
		{"twice", `{"starts_per_link":7,"starts_per_link":8}`, nil, `"starts_per_link" is given twice`},
		{"twice in another case", `{"starts_per_link":7,"STARTS_PER_LINK":8}`, nil, `"STARTS_PER_LINK" is given twice`},
		{"negative", `{"starts_per_link":-1}`, nil, "starts_per_link is not a whole number"},
		{"a fraction", `{"starts_per_link":1.5}`, nil, "starts_per_link is not a whole number"},
		{"exponent", `{"starts_per_link":1e3}`, nil, "starts_per_link is not a whole number"},
		{"text", `{"starts_per_link":"30"}`, nil, "starts_per_link is not a whole number"},
		{"no value", `{"starts_per_link":null}`, nil, "starts_per_link is not a whole number"},
		{"nested", `{"starts_per_link":{"a":1}}`, nil, "starts_per_link is not a whole number"},
		{"too large", `{"starts_per_link":1000000001}`, nil, "starts_per_link is not a whole number"},
		{"far too large", `{"starts_per_link":99999999999999999999}`, nil, "starts_per_link is not a whole number"},
	} {
		environment := good()
		environment[config.Budgets] = row.value
		c, err := parse(environment)
		if row.refused == "" {
			if err != nil || !maps.Equal(c.Budgets, row.want) {
				t.Errorf("%s: %v, %v, want %v", row.name, c.Budgets, err, row.want)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "BUDGETS: ") || !strings.Contains(err.Error(), row.refused) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line that says %q", row.name, err, row.refused)
		}
	}
}
