package config_test

import (
	"reflect"
	"strings"
	"testing"

	"platform-api-connector/shared/config"
)

func TestParse_CallerOwners(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:sts::123456789012:assumed-role/tenant/"
	for _, row := range []struct {
		value string
		want  map[string][]string // nil: refused
	}{
		{`{"` + arn + `*":["acme","globex"]}`, map[string][]string{arn + "*": {"acme", "globex"}}},
		{`{"` + arn + `x":["*"],"*":[]}`, map[string][]string{arn + "x": {"*"}, "*": {}}},
		{`{"` + arn + `x":["` + strings.Repeat("ü", 128) + `"]}`, map[string][]string{arn + "x": {strings.Repeat("ü", 128)}}},
		{`{}`, nil},
		{`null`, nil},
		{`[]`, nil},
		{`{"` + arn + `x":"acme"}`, nil},
		{`{"` + arn + `x":[1]}`, nil},
		{`{"` + arn + `x":["acme"]`, nil},
		{`{"` + arn + `x":[""]}`, nil},
		{`{"` + arn + `x":["` + strings.Repeat("x", 129) + `"]}`, nil},
		{`{"arn:aws:sts::*:assumed-role/tenant/*":["acme"]}`, nil},
		{`{"` + arn + `**":["acme"]}`, nil},
		{`{"` + arn + `?":["acme"]}`, nil},
		{`{"tenant/*":["acme"]}`, nil},
		{`{"":["acme"]}`, nil},
	} {
		environment := good()
		environment[config.CallerOwners] = row.value
		c, err := parse(environment)
		if row.want != nil {
			if err != nil || !reflect.DeepEqual(c.CallerOwners, row.want) {
				t.Errorf("%s: %v, %v, want %v", row.value, c.CallerOwners, err, row.want)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "CALLER_OWNERS: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", row.value, err)
		}
	}
	if c, err := parse(good()); err != nil || c.CallerOwners != nil {
		t.Errorf("unset: %v, %v", c.CallerOwners, err)
	}
}
