package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	const big, small = `{"AccountLimit":{"ConcurrentExecutions":1000}}`, `{"AccountLimit":{"ConcurrentExecutions":10}}`
	prod := []string{"-stage", "prod", "-c", "alarmEmail=oncall@example.com"}
	for name, row := range map[string]struct {
		arguments []string
		status    int
		answer    string
		says      string
		fails     bool
		asked     bool
	}{
		"big_enough":      {prod, 200, big, "1000 functions at once", false, true},
		"too_small":       {prod, 200, small, "request-service-quota-increase --region eu-west-1", true, true},
		"too_small_off":   {append(prod, "-c", "reserveConcurrency=false"), 200, small, "reserves no concurrency", false, false},
		"dev":             {[]string{"-stage", "dev"}, 200, small, "reserves no concurrency", false, false},
		"dev_that_asks":   {[]string{"-stage", "dev", "-c", "reserveConcurrency=true"}, 200, small, "reserveConcurrency=false", true, true},
		"no_permission":   {prod, 403, `{"message":"not allowed"}`, "is not known", false, true},
		"no_limit":        {prod, 200, `{}`, "is not known", false, true},
		"neither_boolean": {[]string{"-c", "reserveConcurrency=perhaps"}, 200, big, "neither true nor false", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked := false
			stand := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = true
				if !strings.HasSuffix(r.URL.Path, "/account-settings") {
					t.Errorf("the request is for %s", r.URL.Path)
				}
				w.Header().Set("content-type", "application/json")
				w.WriteHeader(row.status)
				w.Write([]byte(row.answer))
			}))
			defer stand.Close()
			for variable, value := range map[string]string{
				"AWS_ENDPOINT_URL": stand.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
				"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_PROFILE": "",
			} {
				t.Setenv(variable, value)
			}
			var out strings.Builder
			err := run(t.Context(), row.arguments, &out)
			if err != nil {
				out.WriteString(err.Error())
			}
			if (err != nil) != row.fails || !strings.Contains(out.String(), row.says) || asked != row.asked {
				t.Errorf("failed %t, asked %t: %s\nwant failed %t, asked %t: …%s…", err != nil, asked, out.String(), row.fails, row.asked, row.says)
			}
		})
	}
}
