package boot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/handler"
)

func environment(changes map[string]string) func(string) string {
	values := map[string]string{
		config.PublicURL:       "https://connector.example.com",
		config.TableName:       "connector",
		config.SecretPrefix:    "connector",
		config.RefreshQueueURL: "https://sqs.example.com/refresh",
		config.EventBusName:    "connector",
	}
	for name, value := range changes {
		values[name] = value
	}
	return func(name string) string { return values[name] }
}

// onAWS sets the variables that the SDK reads.
func onAWS(t *testing.T, endpoint string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_ENDPOINT_URL": endpoint, "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
}

func TestFunction(t *testing.T) {
	t.Run("invalid_variable_is_named", func(t *testing.T) {
		onAWS(t, "")
		for name, value := range map[string]string{
			config.PublicURL:            "",
			config.TableName:            "",
			config.ReturnOrigins:        "product.example.com",
			config.AllowFullCredentials: "perhaps",
			config.PlatformEndpoints:    "[]",
			config.LogLevel:             "loud",
			config.LinkScopes:           `{"myspace":["a"]}`,
		} {
			_, err := boot.Function(t.Context(), "refresh", (*handler.Handler).Refresh, environment(map[string]string{name: value}), nil, nil)
			if err == nil || !strings.Contains(err.Error(), name+": ") {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	})
	t.Run("no_region", func(t *testing.T) {
		onAWS(t, "")
		t.Setenv("AWS_REGION", "")
		_, err := boot.Function(t.Context(), "refresh", (*handler.Handler).Refresh, environment(nil), nil, nil)
		if err == nil || err.Error() != "AWS_REGION: missing" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("calls_aws_and_logs_json", func(t *testing.T) {
		var called bool
		aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			called = called || strings.HasPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB_")
			w.WriteHeader(http.StatusBadRequest)
		}))
		defer aws.Close()
		onAWS(t, aws.URL)
		var out, logs bytes.Buffer
		token, err := boot.Function(t.Context(), "token-get", (*handler.Handler).TokenGet, environment(nil), &out, &logs)
		if err != nil {
			t.Fatal(err)
		}
		_, err = token(context.Background(), []byte(`{"connection_id":"00000000-0000-4000-8000-000000000000"}`))
		var failure messages.InvokeResponse_Error
		if !errors.As(err, &failure) || failure.Type != "Internal" || !called {
			t.Errorf("error %v, DynamoDB called: %v", err, called)
		}
		for line := range strings.Lines(logs.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("not JSON: %q", line)
			}
		}
		if !strings.Contains(logs.String(), `"outcome":"Internal"`) {
			t.Errorf("logs: %s", logs.String())
		}
	})
	t.Run("writes_metrics", func(t *testing.T) {
		onAWS(t, "")
		var out, logs bytes.Buffer
		start, err := boot.Function(t.Context(), "oauth-start", (*handler.Handler).OAuthStart, environment(nil), &out, &logs)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := start(t.Context(), []byte(`{}`)); err == nil {
			t.Error("an empty event was accepted")
		}
		if !strings.Contains(out.String(), `"_aws"`) || !strings.Contains(out.String(), `"oauth-start"`) {
			t.Errorf("metrics: %s", out.String())
		}
	})
}
