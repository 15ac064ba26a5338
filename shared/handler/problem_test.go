package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"platform-api-connector/shared/connector"
)

func quiet() *Handler {
	service := &connector.Service{PublicURL: "https://connector.example.com", Now: time.Now}
	return New(service, slog.New(slog.NewJSONHandler(&bytes.Buffer{}, nil)))
}

func TestEveryCodeIsRendered(t *testing.T) {
	t.Parallel()
	// The contract's table.
	want := map[connector.Code]int{
		"InvalidRequest": 400, "StateInvalid": 400, "AccessDenied": 403, "ScopeMissing": 403, "AccountMismatch": 409,
		"ConnectionNotFound": 404, "AmbiguousConnection": 409, "ReauthorizationRequired": 409, "ManualMode": 409,
		"AppNotConfigured": 409, "AppMisconfigured": 502, "LinkGone": 410, "QuotaExhausted": 429, "RateLimited": 429,
		"PlatformUnavailable": 503, "Internal": 500,
	}
	for _, code := range connector.Codes() {
		m := meanings[code]
		if m.title == "" || m.advice == "" || m.person == "" {
			t.Errorf("%s: no title, advice or text for people", code)
		}
		err := fmt.Errorf("doing it: %w", &connector.Error{Code: code, Message: "what is wrong", Err: errors.New("cause-of-it")})
		for _, page := range []bool{false, true} {
			a := quiet().problem(err, "id-1", page)
			if a.status != want[code] {
				t.Errorf("%s: status %d, want %d", code, a.status, want[code])
			}
			if strings.Contains(a.body, "cause-of-it") || !strings.Contains(a.body, string(code)) || !strings.Contains(a.body, "id-1") {
				t.Errorf("%s: body %s", code, a.body)
			}
			if page != strings.HasPrefix(a.header["content-type"], "text/html") {
				t.Errorf("%s: page %v, content type %s", code, page, a.header["content-type"])
			}
		}
		failure, ok := invokeError(err, "id-1").(messages.InvokeResponse_Error)
		if !ok || failure.Type != string(code) || failure.Message == "" || strings.Contains(failure.Message, "cause-of-it") {
			t.Errorf("%s: invocation error %+v", code, failure)
		}
	}
	if len(want) != len(connector.Codes()) || len(meanings) != len(connector.Codes()) {
		t.Errorf("%d codes, %d in the contract, %d rendered", len(connector.Codes()), len(want), len(meanings))
	}
}

func TestProblem_Extensions(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 0, 0, 0, 0, time.FixedZone("", 3600))
	a := quiet().problem(&connector.Error{
		Code: connector.RateLimited, Message: "slow down", Reason: "throttled", RetryAfter: 1500 * time.Millisecond,
		MissingScopes: []string{"a"}, ConnectionIDs: []connector.ID{"b"}, ResetsAt: at,
	}, "id-1", false)
	var body map[string]any
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"retry_after": "2", "missing_scopes": "[a]", "connection_ids": "[b]", "resets_at": "2026-11-30T23:00:00Z", "reason": "throttled",
	} {
		if got := fmt.Sprint(body[name]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if a.header["retry-after"] != "2" {
		t.Errorf("Retry-After %q", a.header["retry-after"])
	}
}

func TestProblem_UnknownTroubleIsInternal(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errors.New("cause-of-it"), &connector.Error{Code: "Odd", Message: "cause-of-it"}, &connector.Error{Code: connector.Internal, Message: "cause-of-it", MissingScopes: []string{"cause-of-it"}}} {
		a := quiet().problem(err, "id-1", false)
		if a.status != 500 || strings.Contains(a.body, "cause-of-it") || !strings.Contains(a.body, `"code":"Internal"`) {
			t.Errorf("%v: %d %s", err, a.status, a.body)
		}
	}
}

func TestPage_EscapesWhatItShows(t *testing.T) {
	t.Parallel()
	a, err := connectedPage("YouTube", []connector.Connection{{AccountID: "1", AccountName: `<script>alert("x")</script>`, MissingScopes: []string{"<b>"}}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(a.body, "<script") || strings.Contains(a.body, "<b>") || !strings.Contains(a.body, "&lt;script&gt;") {
		t.Errorf("page %s", a.body)
	}
}
