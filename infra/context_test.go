package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReadSettings_Refused has settings that a person can write by mistake. Each must
// be refused in one line that names the setting, the entry and what to do.
func TestReadSettings_Refused(t *testing.T) {
	t.Parallel()
	const session = "arn:aws:sts::123456789012:assumed-role/tenant/*"
	for _, row := range []struct {
		context map[string]any
		want    string
	}{
		{map[string]any{"stage": "prod", "platformEndpoints": `{"https://graph.facebook.com":"http://127.0.0.1:9001"}`},
			`context platformEndpoints: the value of "https://graph.facebook.com" uses http, which prod refuses: write https, or omit the setting`},
		{map[string]any{"stage": "prod", "platformEndpoints": map[string]any{"https://api.x.com": "https://sandbox.example.com", "https://graph.facebook.com": "http://localhost:9001"}},
			`context platformEndpoints: the value of "https://graph.facebook.com" uses http, which prod refuses: write https, or omit the setting`},
		{map[string]any{"platformEndpoints": `{"https://graph.facebook.com":"http://sandbox.example.com"}`},
			`context platformEndpoints: the value of "https://graph.facebook.com" uses http, which is for loopback only: write https`},
		{map[string]any{"platformEndpoints": `{"https://graph.facebook.com":"https://a.example.com","https://graph.facebook.com":"https://b.example.com"}`},
			`context platformEndpoints: "https://graph.facebook.com" is named twice`},
		{map[string]any{"callerOwners": `{"` + session + `":["acme"],"` + session + `":["*"]}`}, `context callerOwners: "` + session + `" is named twice`},
		{map[string]any{"callerOwners": map[string]any{session: "acme"}}, `context callerOwners: not a JSON object of lists of owners, such as {"arn:…/*":["acme"]}`},
		{map[string]any{"callerOwners": map[string]any{}}, `context callerOwners: names no caller; unset it to confine no caller`},
		{map[string]any{"callerOwners": ""}, `context callerOwners: empty: omit it for its default`},
		{map[string]any{"keyArn": " "}, `context keyArn: empty: omit it for its default`},
		{map[string]any{"returnOrigins": "http://app.example.com"}, `context returnOrigins: "http://app.example.com" uses http, which is for loopback only: write https`},
		{map[string]any{"returnOrigins": []any{"https://app.example.com", "https://app.example.com/"}}, `context returnOrigins: "https://app.example.com/" is named twice`},
		{map[string]any{"returnOrigins": []any{"https://app.example.com", true}}, `context returnOrigins: true is not in quotes`},
		{map[string]any{"tokenCallers": []any{345678901234.0}}, "context tokenCallers: 3.45678901234e+11 is not in quotes"},
		{map[string]any{"tokenCallers": "345678901234, 345678901234"}, `context tokenCallers: "345678901234" is named twice`},
		{map[string]any{"tokenCallers": "34567890123"}, `context tokenCallers: "34567890123" is neither the ARN of a role or user nor an account id`},
		{map[string]any{"tokenCallers": "arn:aws:iam::345678901234:role/*"}, `context tokenCallers: "arn:aws:iam::345678901234:role/*" is neither the ARN of a role or user nor an account id`},
		{map[string]any{"allowFullCredentials": "True"}, `context allowFullCredentials: "True" is neither true nor false`},
		{map[string]any{"allowFullCredentials": 1.0}, `context allowFullCredentials: "1" is neither true nor false`},
		{map[string]any{"logLevel": "trace"}, `context logLevel: "trace" is none of debug, info, warn, error`},
		{map[string]any{"domainName": "connect.example.com"}, `context domainName, certificateArn: set both or none`},
		{map[string]any{"domainName": "Connect.example.com", "certificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/test"}, `context domainName: malformed: "Connect.example.com"`},
		{map[string]any{"stage": "PROD"}, `context stage: malformed: "PROD"`},
	} {
		_, err := ReadSettings(func(name string) any { return row.context[name] })
		if err == nil || err.Error() != row.want {
			t.Errorf("%v\ngot  %v\nwant %s", row.context, err, row.want)
		}
	}
}

func TestCheckContext(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		context map[string]any
		file    string // the content of cdk.json, if any
		want    string // empty: accepted
	}{
		{"every_setting", everything, "", ""},
		{"context_of_the_cdk", map[string]any{"@aws-cdk/core:newStyleStackSynthesis": true, "aws:cdk:bundling-stacks": []any{"*"}, "availability-zones:account=1:region=x": []any{"a"}}, "", ""},
		{"setting_in_the_singular", map[string]any{"callerOwner": `{}`}, "", "context callerOwner: no such setting, perhaps callerOwners; infra/README.md lists them"},
		{"setting_in_another_case", map[string]any{"CallerOwners": `{}`}, "", "context CallerOwners: no such setting, perhaps callerOwners; infra/README.md lists them"},
		{"variable_as_setting", map[string]any{"RETURN_ORIGINS": "https://app.example.com"}, "", "context RETURN_ORIGINS: no such setting, perhaps returnOrigins; infra/README.md lists them"},
		{"unknown_setting", map[string]any{"colour": "green"}, "", "context colour: no such setting; infra/README.md lists them"},
		{"file", nil, `{"app":"go run ./infra","context":{"stage":"dev","@aws-cdk/core:target-partitions":["aws"]}}`, ""},
		{"caller_twice_in_the_file", nil, `{"context":{"callerOwners":{"arn:x":["acme"],"arn:x":["globex"]}}}`, `cdk.json: "arn:x" is given twice`},
		{"setting_twice_in_the_file", nil, `{"context":{"returnOrigins":"https://a.example.com","returnOrigins":"https://b.example.com"}}`, `cdk.json: "returnOrigins" is given twice`},
		{"file_that_is_no_json", nil, `{"context":{},}`, `cdk.json: it is not valid JSON`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "cdk.json")
			if row.file != "" {
				if err := os.WriteFile(file, []byte(row.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := CheckContext(row.context, file)
			if row.want == "" && err != nil || row.want != "" && (err == nil || err.Error() != row.want) {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
	if err := CheckContext(nil, filepath.Join("..", "cdk.json")); err != nil {
		t.Errorf("the repository's own file: %v", err)
	}
}
