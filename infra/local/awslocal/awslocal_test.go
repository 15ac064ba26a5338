package awslocal_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/connectortest"
)

// cloud is an embedded AWS on loopback with its own clock, and the SDK's clients of
// it.
type cloud struct {
	aws.Config
	*awslocal.Server
	*connectortest.Clock
	url string

	mu       sync.Mutex
	received []awslocal.Event
	warnings []string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{Clock: connectortest.NewClock(time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC))}
	c.Server = awslocal.New(awslocal.Options{
		Now:    c.Now,
		Random: rand.Reader,
		OnEvent: func(e awslocal.Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.received = append(c.received, e)
		},
	})
	server := httptest.NewServer(c.Server)
	t.Cleanup(server.Close)
	c.url = server.URL
	c.Config = aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: &c.url,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
		Logger: logging.LoggerFunc(func(_ logging.Classification, format string, _ ...any) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.warnings = append(c.warnings, format)
		}),
	}
	t.Cleanup(func() {
		if len(c.warnings) > 0 {
			t.Errorf("the SDK warns: %q", c.warnings)
		}
	})
	return c
}

// wantCode checks that err has an error code of AWS.
func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	var failure smithy.APIError
	if !errors.As(err, &failure) || failure.ErrorCode() != code {
		t.Errorf("%s: got error %v, want %s", what, err, code)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestServer_UnknownOperation(t *testing.T) {
	c := newCloud(t)
	for _, request := range []struct{ method, path, target, want string }{
		{"POST", "/", "DynamoDB_20120810.ListBackups", "ListBackups"},
		{"POST", "/", "Kinesis_20131202.ListStreams", "Kinesis_20131202.ListStreams"},
		{"GET", "/2015-03-31/functions", "", "GET /2015-03-31/functions"},
		{"PUT", "/bucket/key", "", "PUT /bucket/key"},
	} {
		r := httptest.NewRequest(request.method, request.path, strings.NewReader("{}"))
		if request.target != "" {
			r.Header.Set("X-Amz-Target", request.target)
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, "UnknownOperationException") || !strings.Contains(body, request.want) {
			t.Errorf("%s %s %s: %d %s, want an UnknownOperationException about %q", request.method, request.path, request.target, w.Code, body, request.want)
		}
	}
}

func TestServer_RefusedBodies(t *testing.T) {
	c := newCloud(t)
	targets := []string{
		"DynamoDB_20120810.Query", "DynamoDB_20120810.PutItem", "DynamoDB_20120810.TransactWriteItems",
		"secretsmanager.CreateSecret", "AmazonSQS.SendMessageBatch", "AWSEvents.PutEvents",
	}
	for _, body := range []string{"", "null", "[]", "{", `"text"`, `{"Entries":3}`, "\xff", strings.Repeat("[", 10_000)} {
		for _, target := range targets {
			r := httptest.NewRequest("POST", "/", strings.NewReader(body))
			r.Header.Set("X-Amz-Target", target)
			w := httptest.NewRecorder()
			c.ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest {
				t.Errorf("%s with body %.20q: %d %s, want 400", target, body, w.Code, w.Body)
			}
		}
	}
	r := httptest.NewRequest("POST", "/", io.LimitReader(zeros{}, 17<<20))
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of 17 MB: %d, want 413", w.Code)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestSTS_GetCallerIdentity(t *testing.T) {
	c := newCloud(t)
	response, err := http.Post(c.url, "application/x-www-form-urlencoded", strings.NewReader("Action=GetCallerIdentity&Version=2011-06-15"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body := must[[]byte](t)(io.ReadAll(response.Body))
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), "<Account>000000000000</Account>") {
		t.Errorf("%d %s, want the account", response.StatusCode, body)
	}
}
