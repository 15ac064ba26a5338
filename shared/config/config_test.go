package config_test

import (
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"

	"platform-api-connector/shared/config"
)

// good is an environment with everything set.
func good() map[string]string {
	return map[string]string{
		config.PublicURL:            "https://connect.example.com/",
		config.TableName:            "connections",
		config.SecretPrefix:         "connector/prod/",
		config.RefreshQueueURL:      "https://sqs.us-east-1.amazonaws.com/000000000000/refresh",
		config.EventBusName:         "connector",
		config.ReturnOrigins:        "https://Product.example.com, http://localhost:3000/",
		config.AllowFullCredentials: "true",
		config.PlatformEndpoints:    `{"https://graph.facebook.com":"http://127.0.0.1:9001/graph/","https://api.x.com":"https://x.example.com"}`,
		config.LogLevel:             "debug",
		config.HandOutAppKeys:       "false",
	}
}

func parse(environment map[string]string) (config.Config, error) {
	return config.Parse(func(name string) string { return environment[name] })
}

func TestParse(t *testing.T) {
	t.Parallel()
	t.Run("every_variable", func(t *testing.T) {
		t.Parallel()
		c, err := parse(good())
		if err != nil {
			t.Fatal(err)
		}
		if c.PublicURL != "https://connect.example.com" || c.SecretPrefix != "connector/prod" {
			t.Errorf("slashes at the end stayed: %q, %q", c.PublicURL, c.SecretPrefix)
		}
		if want := []string{"https://product.example.com", "http://localhost:3000"}; !reflect.DeepEqual(c.ReturnOrigins, want) {
			t.Errorf("return origins %q, want %q", c.ReturnOrigins, want)
		}
		if c.PlatformEndpoints["https://graph.facebook.com"] != "http://127.0.0.1:9001/graph" || c.PlatformEndpoints["https://api.x.com"] != "https://x.example.com" {
			t.Errorf("platform endpoints %q", c.PlatformEndpoints)
		}
		if c.TableName != "connections" || c.EventBusName != "connector" || c.RefreshQueueURL != "https://sqs.us-east-1.amazonaws.com/000000000000/refresh" {
			t.Errorf("table %q, bus %q, queue %q", c.TableName, c.EventBusName, c.RefreshQueueURL)
		}
		if !c.AllowFullCredentials || c.HandOutAppKeys || c.LogLevel != slog.LevelDebug {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("http_on_loopback", func(t *testing.T) {
		t.Parallel()
		environment := good()
		environment[config.PublicURL] = "http://127.0.0.1:8422"
		if c, err := parse(environment); err != nil || c.PublicURL != "http://127.0.0.1:8422" {
			t.Errorf("public URL %q, %v", c.PublicURL, err)
		}
	})
	t.Run("defaults_are_safe", func(t *testing.T) {
		t.Parallel()
		environment := good()
		for _, name := range []string{config.ReturnOrigins, config.AllowFullCredentials, config.PlatformEndpoints, config.LogLevel, config.HandOutAppKeys} {
			delete(environment, name)
		}
		c, err := parse(environment)
		if err != nil {
			t.Fatal(err)
		}
		// The keys of the app are what callers sign with.
		if len(c.ReturnOrigins) != 0 || c.AllowFullCredentials || !c.HandOutAppKeys || len(c.PlatformEndpoints) != 0 || c.LogLevel != slog.LevelInfo {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("invalid_variable_is_named", func(t *testing.T) {
		t.Parallel()
		for name, values := range map[string][]string{
			config.PublicURL:            {"", "connect.example.com", "http://connect.example.com", "https://", "https://u@example.com", "https://example.com/?a=b", "https://example.com/#a", "ftp://example.com", "ftp://localhost"},
			config.TableName:            {""},
			config.SecretPrefix:         {""},
			config.RefreshQueueURL:      {""},
			config.EventBusName:         {""},
			config.ReturnOrigins:        {"product.example.com", "https://product.example.com/path", "https://a@example.com", "https://example.com?a=b", "https://example.com#a", "https://", "ftp://example.com", "javascript:alert(1)", "https://ok.example.com,*"},
			config.AllowFullCredentials: {"yes please"},
			config.HandOutAppKeys:       {"yes", "no", "0", "1", "False", "TRUE", "fal se", "off"},
			config.PlatformEndpoints: {"[]", `{"graph.facebook.com":"http://127.0.0.1"}`, `{"https://graph.facebook.com":"127.0.0.1"}`, `{"https://graph.facebook.com":"http://127.0.0.1?x"}`,
				`{"https://graph.facebook.com":"http://127.0.0.1#x"}`, `{"https://graph.facebook.com":"http://u@127.0.0.1"}`, `{"https://graph.facebook.com":"http://"}`, `{"https://graph.facebook.com":"ftp://127.0.0.1"}`},
			config.LogLevel: {"loud"},
		} {
			for _, value := range values {
				environment := maps.Clone(good())
				environment[name] = value
				_, err := parse(environment)
				if err == nil || !strings.HasPrefix(err.Error(), name+": ") {
					t.Errorf("%s=%q: %v", name, value, err)
				}
			}
		}
	})
	t.Run("every_invalid_variable_is_named", func(t *testing.T) {
		t.Parallel()
		_, err := parse(map[string]string{})
		for _, name := range []string{config.PublicURL, config.TableName, config.SecretPrefix, config.RefreshQueueURL, config.EventBusName} {
			if err == nil || !strings.Contains(err.Error(), name+": missing") {
				t.Errorf("%s is not named: %v", name, err)
			}
		}
	})
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "localhost": true, "a.localhost": true,
		"example.com": false, "localhost.example.com": false, "10.0.0.1": false, "": false,
	} {
		if got := config.Loopback(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
