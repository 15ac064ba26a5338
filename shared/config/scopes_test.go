package config_test

import (
	"reflect"
	"strings"
	"testing"

	"platform-api-connector/shared/config"
)

func TestParse_LinkScopes(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:sts::123456789012:assumed-role/tenant/"
	type lists = config.ScopesByPlatform
	for _, row := range []struct {
		value string
		want  config.LinkScopeLists
		names string // in the problem; empty: accepted
	}{
		{`{"youtube":["a","https://b/c.d"]}`, config.LinkScopeLists{Platforms: lists{"youtube": {"a", "https://b/c.d"}}, Callers: map[string]lists{}}, ""},
		{`{"` + arn + `*":{"youtube":["a"],"tiktok":["b"]}}`, config.LinkScopeLists{Platforms: lists{}, Callers: map[string]lists{arn + "*": {"youtube": {"a"}, "tiktok": {"b"}}}}, ""},
		{`{"youtube":["a"],"*":{"youtube":["b"]}}`, config.LinkScopeLists{Platforms: lists{"youtube": {"a"}}, Callers: map[string]lists{"*": {"youtube": {"b"}}}}, ""},
		{`{}`, config.LinkScopeLists{}, "unset it"},
		{`null`, config.LinkScopeLists{}, "not a JSON object"},
		{`[]`, config.LinkScopeLists{}, "not a JSON object"},
		{`{"youtube":["a"]`, config.LinkScopeLists{}, "not a JSON object"},
		{`{"youtube":["a"]} {}`, config.LinkScopeLists{}, "not a JSON object"},
		{`{"youtube":["a"],"youtube":["b"]}`, config.LinkScopeLists{}, `"youtube" is named twice`},
		{`{"youtube":["a"],"YouTube":["b"]}`, config.LinkScopeLists{}, `"YouTube" is named twice`},
		{`{"` + arn + `x":{"youtube":["a"]},"` + arn + `x":{"tiktok":["a"]}}`, config.LinkScopeLists{}, `"` + arn + `x" is named twice`},
		{`{"` + arn + `x":{"youtube":["a"],"youtube":["b"]}}`, config.LinkScopeLists{}, `"youtube" is named twice`},
		{`{"youtube":[]}`, config.LinkScopeLists{}, `"youtube": an empty list`},
		{`{"youtube":null}`, config.LinkScopeLists{}, `"youtube": an empty list`},
		{`{"youtube":"a"}`, config.LinkScopeLists{}, `"youtube": not a list of scopes`},
		{`{"youtube":[1]}`, config.LinkScopeLists{}, `"youtube": not a list of scopes`},
		{`{"youtube":[null]}`, config.LinkScopeLists{}, `"youtube": "" is not a scope`},
		{`{"youtube":["a b"]}`, config.LinkScopeLists{}, `"a b" is not a scope`},
		{`{"youtube":["a,b"]}`, config.LinkScopeLists{}, `"a,b" is not a scope`},
		{`{"youtube":["*"]}`, config.LinkScopeLists{}, `"youtube": "*" has a star`},
		{`{"youtube":["é"]}`, config.LinkScopeLists{}, `"é" is not a scope`},
		{`{"youtube":["` + strings.Repeat("a", 257) + `"]}`, config.LinkScopeLists{}, "is not a scope"},
		{`{"youtube":["a","b","a"]}`, config.LinkScopeLists{}, `"youtube": "a" is named twice`},
		{`{"youtube":{"a":["b"]}}`, config.LinkScopeLists{}, `"youtube": not a list of scopes`},
		{`{"` + arn + `x":{}}`, config.LinkScopeLists{}, `"` + arn + `x": not an object`},
		{`{"` + arn + `x":["a"]}`, config.LinkScopeLists{}, `"` + arn + `x": not an object`},
		{`{"` + arn + `x":{"youtube":[]}}`, config.LinkScopeLists{}, `"` + arn + `x": "youtube": an empty list`},
		{`{"arn:aws:sts::*:assumed-role/tenant/*":{"youtube":["a"]}}`, config.LinkScopeLists{}, "a wildcard that is not one * at its end"},
		{`{"role/tenant":{"youtube":["a"]}}`, config.LinkScopeLists{}, `"role/tenant" is no platform`},
		{`{"":["a"]}`, config.LinkScopeLists{}, `"" is no platform`},
	} {
		environment := good()
		environment[config.LinkScopes] = row.value
		c, err := parse(environment)
		if row.names == "" {
			if err != nil || !reflect.DeepEqual(c.LinkScopes, row.want) {
				t.Errorf("%s: %+v, %v, want %+v", row.value, c.LinkScopes, err, row.want)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "LINK_SCOPES: ") || !strings.Contains(err.Error(), row.names) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line that names %s", row.value, err, row.names)
		}
	}
	if c, err := parse(good()); err != nil || c.LinkScopes.Platforms != nil || c.LinkScopes.Callers != nil {
		t.Errorf("unset: %+v, %v", c.LinkScopes, err)
	}
}

func TestLinkScopeLists_CheckPlatforms(t *testing.T) {
	t.Parallel()
	known := []string{"youtube", "tiktok"}
	for value, names := range map[string]string{
		`{"youtube":["a"],"arn:aws:sts::123456789012:assumed-role/tenant/x":{"tiktok":["a"]}}`: "",
		`{"myspace":["a"]}`: `LINK_SCOPES: "myspace" is not a platform: use youtube, tiktok`,
		`{"arn:aws:sts::123456789012:assumed-role/tenant/x":{"YouTube":["a"]}}`: `LINK_SCOPES: "arn:aws:sts::123456789012:assumed-role/tenant/x": "YouTube" is not a platform`,
	} {
		environment := good()
		environment[config.LinkScopes] = value
		c, err := parse(environment)
		if err != nil {
			t.Fatal(err)
		}
		err = c.LinkScopes.CheckPlatforms(known)
		if names == "" && err != nil || names != "" && (err == nil || !strings.HasPrefix(err.Error(), names)) {
			t.Errorf("%s: %v, want %q", value, err, names)
		}
	}
	if err := (config.LinkScopeLists{}).CheckPlatforms(known); err != nil {
		t.Errorf("unset: %v", err)
	}
}
