package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// answers are those of a stand-in for the Lambda API.
type answers struct {
	status   int    // of account-settings
	settings string // the body of account-settings
	// reserved is the body for each function that has a concurrency of its own.
	// Lambda answers {} for a function without, and 404 for no function.
	reserved       map[string]string
	reservedStatus int // of the functions' answers, where it is not 200
}

func limits(limit, unreserved string) answers {
	return answers{status: 200, settings: `{"AccountLimit":{"ConcurrentExecutions":` + limit + `,"UnreservedConcurrentExecutions":` + unreserved + `}}`}
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/account-settings") {
		w.WriteHeader(a.status)
		w.Write([]byte(a.settings))
		return
	}
	name := strings.TrimSuffix(r.URL.Path[strings.Index(r.URL.Path, "/functions/")+len("/functions/"):], "/concurrency")
	body, ok := a.reserved[name]
	switch {
	case a.reservedStatus != 0:
		w.WriteHeader(a.reservedStatus)
	case !ok:
		w.Header().Set("x-amzn-errortype", "ResourceNotFoundException")
		w.WriteHeader(404)
	}
	w.Write([]byte(body))
}

// stand has the AWS SDK call url, with no configuration but that.
func stand(t *testing.T, url string) {
	t.Helper()
	for variable, value := range map[string]string{
		"AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_PROFILE": "",
	} {
		t.Setenv(variable, value)
	}
}

func TestRun(t *testing.T) {
	ours := map[string]string{
		"platform-api-connector-prod-oauth-start":     `{"ReservedConcurrentExecutions":50}`,
		"platform-api-connector-prod-oauth-callback":  `{"ReservedConcurrentExecutions":50}`,
		"platform-api-connector-prod-platform-notice": `{"ReservedConcurrentExecutions":20}`,
		"platform-api-connector-prod-refresh":         `{"ReservedConcurrentExecutions":1}`,
	}
	with := func(a answers, reserved map[string]string, status int) answers {
		a.reserved, a.reservedStatus = reserved, status
		return a
	}
	for name, row := range map[string]struct {
		arguments string // beside those of make
		answers   answers
		says      string
		fails     bool
	}{
		"big_enough":         {"", limits("1000", "1000"), "1000 functions at once", false},
		"just_big_enough":    {"", limits("221", "221"), "221 functions at once", false},
		"one_too_few":        {"", limits("220", "220"), "--desired-value 1000", true},
		"new_account":        {"-c alarmEmail=oncall@example.com", limits("10", "10"), "request-service-quota-increase --region eu-west-1", true},
		"new_account_off":    {"-c reserveConcurrency=false", limits("10", "10"), "reserves no concurrency", false},
		"dev":                {"-c stage=dev", limits("10", "10"), "reserves no concurrency", false},
		"dev_that_asks":      {"-c stage=dev -c reserveConcurrency=true", limits("10", "10"), "reserveConcurrency=false", true},
		"last_of_two":        {"-c reserveConcurrency=false -c reserveConcurrency=true", limits("10", "10"), "request-service-quota-increase", true},
		"other_stacks":       {"", limits("1000", "150"), "other functions of the account reserve 850", true},
		"other_stacks_quota": {"", limits("1000", "150"), "--desired-value 1071", true},
		"deployed_before":    {"", with(limits("221", "100"), ours, 0), "221 functions at once", false},
		"deployed_off":       {"", with(limits("1000", "150"), map[string]string{"platform-api-connector-prod-oauth-start": `{}`}, 0), "other functions of the account reserve 850", true},
		"functions_denied":   {"", with(limits("1000", "150"), nil, 403), "is not known", false},
		"no_permission":      {"", answers{status: 403, settings: `{"message":"not allowed"}`}, "is not known", false},
		"no_limit":           {"", answers{status: 200, settings: `{}`}, "is not known", false},
		"limit_alone":        {"", answers{status: 200, settings: `{"AccountLimit":{"ConcurrentExecutions":1000}}`}, "is not known", false},
		"limit_alone_small":  {"", answers{status: 200, settings: `{"AccountLimit":{"ConcurrentExecutions":10}}`}, "request-service-quota-increase", true},
		"neither_boolean":    {"-c reserveConcurrency=perhaps", limits("1000", "1000"), "neither true nor false", true},
		"as_the_settings":    {"-c reserveConcurrency=1", limits("1000", "1000"), "neither true nor false", true},
		"option_of_the_cdk":  {"--import-existing-resources", limits("1000", "1000"), "1000 functions at once", false},
		"options_of_the_cdk": {"--require-approval never --context=reserveConcurrency=false", limits("10", "10"), "reserves no concurrency", false},
		"region_of_the_cdk":  {"--region us-east-1", limits("10", "10"), "--region us-east-1", true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(row.answers)
			defer server.Close()
			stand(t, server.URL)
			check(t, row.arguments, row.says, row.fails)
		})
	}
}

func check(t *testing.T, arguments, says string, fails bool) {
	t.Helper()
	var out strings.Builder
	err := run(t.Context(), append([]string{"-c", "stage=prod"}, strings.Fields(arguments)...), nil, &out)
	if err != nil {
		out.WriteString(err.Error())
	}
	if (err != nil) != fails || !strings.Contains(out.String(), says) {
		t.Errorf("failed %t: %s\nwant failed %t: …%s…", err != nil, out.String(), fails, says)
	}
}

func TestRun_Unreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	stand(t, server.URL)
	check(t, "", "is not known", false)
}

func TestRun_Unconfigured(t *testing.T) {
	stand(t, "http://127.0.0.1:1")
	for _, variable := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(variable, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	check(t, "", "no region is set", false)
	check(t, "--region eu-west-1", "is not known", false)
	check(t, "--profile no-such-profile", "is not known", false)
}

// The CDK reads context from files too.
func TestRun_Files(t *testing.T) {
	server := httptest.NewServer(limits("10", "10"))
	defer server.Close()
	stand(t, server.URL)
	for name, row := range map[string]struct {
		files     map[string]string
		arguments string
		fails     bool
	}{
		"off_in_cdk_json":         {map[string]string{"cdk.json": `{"context":{"stage":"dev","reserveConcurrency":false}}`}, "", false},
		"off_as_text":             {map[string]string{"cdk.json": `{"context":{"reserveConcurrency":"false"}}`}, "", false},
		"off_in_cdk_context_json": {map[string]string{"cdk.context.json": `{"reserveConcurrency":false}`}, "", false},
		"command_line_wins":       {map[string]string{"cdk.json": `{"context":{"reserveConcurrency":false}}`}, "-c reserveConcurrency=true", true},
		"cdk_json_wins":           {map[string]string{"cdk.json": `{"context":{"reserveConcurrency":true}}`, "cdk.context.json": `{"reserveConcurrency":false}`}, "", true},
		"no_context":              {map[string]string{"cdk.json": `{"app":"go run ./infra"}`}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range row.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			files := []string{filepath.Join(dir, "cdk.json"), filepath.Join(dir, "cdk.context.json")}
			err := run(t.Context(), append([]string{"-c", "stage=prod"}, strings.Fields(row.arguments)...), files, &out)
			if (err != nil) != row.fails {
				t.Errorf("failed %t, want %t: %s %v", err != nil, row.fails, out.String(), err)
			}
		})
	}
}
