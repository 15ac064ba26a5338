package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"platform-api-connector/shared/client"
	"platform-api-connector/shared/connector"
)

// lambdaStub is a Lambda API with the single function token-get.
type lambdaStub struct {
	mu       sync.Mutex
	requests []string
	// answer returns the answer of the function to a payload, and whether the
	// function failed.
	answer func(payload string) (answer string, failed bool)
}

// ServeHTTP implements http.Handler.
func (s *lambdaStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/2015-03-31/functions/token-get/invocations" {
		http.Error(w, "{}", http.StatusNotFound)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, string(payload))
	answer, failed := s.answer(string(payload))
	if failed {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
	}
	_, _ = io.WriteString(w, answer)
}

// start serves the stub and returns a client of its API.
func (s *lambdaStub) start() (api *lambda.Client, stop func()) {
	server := httptest.NewServer(s)
	return lambda.New(lambda.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}), server.Close
}

// newClient returns a client of a stub that returns answer.
func newClient(t *testing.T, answer func(payload string) (string, bool)) (*client.Client, *lambdaStub) {
	t.Helper()
	s := &lambdaStub{answer: answer}
	api, stop := s.start()
	t.Cleanup(stop)
	return client.New(api, "token-get"), s
}

// event reads a sample event or golden answer of token-get.
func event(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../events/token-get", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRequest_MarshalJSON(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]client.Request{
		"by-id.json":         {ConnectionID: "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13"},
		"by-account.json":    {Owner: "acme", Platform: "facebook", AccountID: "100000000000002"},
		"force-refresh.json": {ConnectionID: "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13", ForceRefresh: true},
	} {
		var want, got map[string]any
		b, err := json.Marshal(r)
		if err := errors.Join(err, json.Unmarshal(b, &got), json.Unmarshal([]byte(event(t, name)), &want)); err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(slices.Sorted(keys(want)), slices.Sorted(keys(got))) {
			t.Errorf("%s: fields %v, want those of %v", name, got, want)
		}
	}
	b, err := json.Marshal(client.Request{Owner: "acme", Platform: "tiktok", MinTTL: 10 * time.Minute, Scopes: []string{"video.publish"}})
	if want := `{"owner":"acme","platform":"tiktok","min_ttl_seconds":600,"scopes":["video.publish"]}`; err != nil || string(b) != want {
		t.Errorf("request = %s, %v, want %s", b, err, want)
	}
}

func keys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func TestClient_Token(t *testing.T) {
	t.Parallel()
	t.Run("answer_is_decoded", func(t *testing.T) {
		t.Parallel()
		c, s := newClient(t, func(string) (string, bool) { return event(t, "by-id.golden.json"), false })
		got, err := c.Token(t.Context(), client.Request{ConnectionID: "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13"})
		if err != nil {
			t.Fatal(err)
		}
		want := client.Token{
			ConnectionID: "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13", Platform: "youtube", Owner: "acme",
			AccountID: got.AccountID, AccountName: "Sandbox Channel One", Status: connector.Active, Scopes: got.Scopes,
			AccessToken: got.AccessToken, TokenType: "Bearer", ExpiresAt: got.ExpiresAt, Credentials: connector.Fields{},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("token (-want +got):\n%s", diff)
		}
		if got.AccessToken.Empty() || got.ExpiresAt.IsZero() || len(got.Scopes) == 0 || got.AccountID == "" {
			t.Errorf("token lacks something: %+v", got)
		}
		if printed := fmt.Sprintf("%+v", got); strings.Contains(printed, got.AccessToken.Reveal()) {
			t.Error("a printed token shows its access token")
		}
		if want := `{"connection_id":"5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13"}`; s.requests[0] != want {
			t.Errorf("request = %s, want %s", s.requests[0], want)
		}
	})
	t.Run("refusal_has_code_and_details", func(t *testing.T) {
		t.Parallel()
		for name, row := range map[string]struct {
			failure string
			want    connector.Error
		}{
			"unknown_connection": {event(t, "unknown.golden.json"), connector.Error{Code: connector.ConnectionNotFound}},
			"ambiguous_selector": {event(t, "ambiguous.golden.json"), connector.Error{
				Code:          connector.AmbiguousConnection,
				ConnectionIDs: []connector.ID{"7a1d2e3f-4b5c-4d6e-8f70-8192a3b4c5d6", "9b2c3d4e-5f6a-4b7c-8d9e-0f1a2b3c4d5e"},
			}},
			"rate_limited_has_retry_after": {`{"errorType":"RateLimited","errorMessage":"wait [retry_after: 30]"}`,
				connector.Error{Code: connector.RateLimited, RetryAfter: 30 * time.Second}},
			"quota_has_resets_at": {`{"errorType":"QuotaExhausted","errorMessage":"wait [resets_at: 2026-12-01T00:00:00Z]"}`,
				connector.Error{Code: connector.QuotaExhausted, ResetsAt: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}},
			"missing_scopes": {`{"errorType":"ScopeMissing","errorMessage":"reconnect [missing_scopes: a.b, https://c/d]"}`,
				connector.Error{Code: connector.ScopeMissing, MissingScopes: []string{"a.b", "https://c/d"}}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c, _ := newClient(t, func(string) (string, bool) { return row.failure, true })
				_, err := c.Token(t.Context(), client.Request{Owner: "acme", Platform: "youtube"})
				var got *connector.Error
				if !errors.As(err, &got) || !errors.Is(err, row.want.Code) {
					t.Fatalf("err = %v, want %s", err, row.want.Code)
				}
				row.want.Message = got.Message
				if diff := cmp.Diff(&row.want, got); diff != "" || got.Message == "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		}
	})
	t.Run("no_answer_has_no_code", func(t *testing.T) {
		t.Parallel()
		for name, row := range map[string]struct {
			answer string
			failed bool
		}{
			"function_timed_out":  {`{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: … timed out"}`, true},
			"failure_is_not_json": {`<html>`, true},
			"answer_is_not_json":  {`test-access-token`, false},
			"answer_has_no_token": {`{"connection_id":"test-access-token"}`, false},
		} {
			c, _ := newClient(t, func(string) (string, bool) { return row.answer, row.failed })
			_, err := c.Token(t.Context(), client.Request{Owner: "acme", Platform: "youtube"})
			var coded *connector.Error
			if err == nil || errors.As(err, &coded) {
				t.Errorf("%s: err = %v, want one without a code", name, err)
			} else if strings.Contains(err.Error(), "test-access-token") {
				t.Errorf("%s: the error shows the answer: %v", name, err)
			}
		}
	})
}

func TestSource_Token(t *testing.T) {
	t.Parallel()
	t.Run("cache", func(t *testing.T) {
		t.Parallel()
		for name, row := range map[string]struct {
			lifetime time.Duration // zero: the token does not expire
			want     int           // invocations for two calls
		}{
			"long_lived_token_is_cached":     {time.Hour, 1},
			"token_without_expiry_is_cached": {0, 1},
			"expired_token_is_not_cached":    {-time.Second, 2},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c, s := newClient(t, func(string) (string, bool) {
					expiry := ""
					if row.lifetime != 0 {
						expiry = `,"expires_at":"` + time.Now().Add(row.lifetime).UTC().Format(time.RFC3339Nano) + `"`
					}
					return `{"access_token":"test-access-token","token_type":"Bearer"` + expiry + `}`, false
				})
				source := c.TokenSource(t.Context(), client.Request{Owner: "acme", Platform: "youtube"})
				for range 2 {
					token, err := source.Token()
					if err != nil {
						t.Fatal(err)
					}
					if token.AccessToken != "test-access-token" || token.Type() != "Bearer" || token.Expiry.IsZero() != (row.lifetime == 0) {
						t.Errorf("token = %+v", token)
					}
				}
				if got := len(s.requests); got != row.want {
					t.Errorf("%d invocations, want %d", got, row.want)
				}
				if want := `{"owner":"acme","platform":"youtube","min_ttl_seconds":300}`; s.requests[0] != want {
					t.Errorf("request = %s, want %s", s.requests[0], want)
				}
			})
		}
	})
	t.Run("min_ttl_too_short_to_cache", func(t *testing.T) {
		t.Parallel()
		for _, expiry := range []string{"", `,"expires_at":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"`} {
			c, s := newClient(t, func(string) (string, bool) {
				return `{"access_token":"test-access-token","token_type":"Bearer"` + expiry + `}`, false
			})
			// Half of this MinTTL rounds to zero.
			source := c.TokenSource(t.Context(), client.Request{Owner: "acme", Platform: "facebook", MinTTL: time.Nanosecond})
			for range 2 {
				if _, err := source.Token(); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(s.requests); got != 2 {
				t.Errorf("%d invocations, want 2 (expiry %q)", got, expiry)
			}
		}
	})
	t.Run("concurrent_callers_share_one_invocation", func(t *testing.T) {
		t.Parallel()
		c, s := newClient(t, func(string) (string, bool) {
			return `{"access_token":"test-access-token","token_type":"Bearer"}`, false
		})
		source := c.TokenSource(t.Context(), client.Request{Owner: "acme", Platform: "facebook"})
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if _, err := source.Token(); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if got := len(s.requests); got != 1 {
			t.Errorf("%d invocations for 50 callers, want 1", got)
		}
	})
	t.Run("oauth2_client_sends_the_token", func(t *testing.T) {
		t.Parallel()
		c, _ := newClient(t, func(string) (string, bool) {
			return `{"access_token":"test-access-token","token_type":"Bearer"}`, false
		})
		var got string
		platform := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
		t.Cleanup(platform.Close)
		authorized := oauth2.NewClient(t.Context(), c.TokenSource(t.Context(), client.Request{Owner: "acme", Platform: "youtube"}))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, platform.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := authorized.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got != "Bearer test-access-token" {
			t.Errorf("Authorization = %q", got)
		}
	})
	t.Run("oauth1_connection_has_no_bearer_token", func(t *testing.T) {
		t.Parallel()
		c, _ := newClient(t, func(string) (string, bool) {
			return `{"access_token":"test-access-token","token_type":"OAuth1"}`, false
		})
		_, err := c.TokenSource(t.Context(), client.Request{Owner: "acme", Platform: "twitter"}).Token()
		if err == nil || strings.Contains(err.Error(), "test-access-token") {
			t.Errorf("err = %v, want one that names OAuth1 and shows no token", err)
		}
	})
}
