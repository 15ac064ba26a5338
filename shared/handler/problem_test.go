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
	return New(service, slog.New(slog.NewJSONHandler(&bytes.Buffer{}, nil)), nil)
}

func TestHandler_Problem(t *testing.T) {
	t.Parallel()
	t.Run("every_code_is_rendered", func(t *testing.T) {
		t.Parallel()
		// The table of the README.
		want := map[connector.Code]int{
			"InvalidRequest": 400, "StateInvalid": 400, "AccessDenied": 403, "ScopeMissing": 403, "AccountMismatch": 409,
			"ConnectionNotFound": 404, "AmbiguousConnection": 409, "ReauthorizationRequired": 409, "ManualMode": 409,
			"AppNotConfigured": 409, "AppMisconfigured": 502, "LinkGone": 410, "QuotaExhausted": 429, "RateLimited": 429,
			"PlatformUnavailable": 503, "Suspended": 403, "Internal": 500,
		}
		for _, code := range connector.Codes() {
			m := codeInfo[code]
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
		if len(want) != len(connector.Codes()) || len(codeInfo) != len(connector.Codes()) {
			t.Errorf("%d codes, %d in the contract, %d rendered", len(connector.Codes()), len(want), len(codeInfo))
		}
	})
	t.Run("extensions", func(t *testing.T) {
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
	})
	t.Run("unknown_error_is_internal", func(t *testing.T) {
		t.Parallel()
		for _, err := range []error{errors.New("cause-of-it"), &connector.Error{Code: "Odd", Message: "cause-of-it"}, &connector.Error{Code: connector.Internal, Message: "cause-of-it", MissingScopes: []string{"cause-of-it"}}} {
			a := quiet().problem(err, "id-1", false)
			if a.status != 500 || strings.Contains(a.body, "cause-of-it") || !strings.Contains(a.body, `"code":"Internal"`) {
				t.Errorf("%v: %d %s", err, a.status, a.body)
			}
		}
	})
}

func TestInvokeError(t *testing.T) {
	t.Parallel()
	t.Run("message_contains_the_details", func(t *testing.T) {
		t.Parallel()
		for _, test := range []struct {
			failure connector.Error
			want    string
		}{
			{connector.Error{RetryAfter: 1500 * time.Millisecond}, "wait [retry_after: 2]"},
			{connector.Error{ResetsAt: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}, "wait [resets_at: 2026-12-01T00:00:00Z]"},
			{connector.Error{MissingScopes: []string{"a.b", "https://c/d"}}, "wait [missing_scopes: a.b, https://c/d]"},
			{connector.Error{ConnectionIDs: []connector.ID{"x", "y"}}, "wait [connection_ids: x, y]"},
			{connector.Error{}, "wait"},
		} {
			test.failure.Code, test.failure.Message = connector.RateLimited, "wait"
			got, ok := invokeError(&test.failure, "test-request").(messages.InvokeResponse_Error)
			if !ok || got.Type != "RateLimited" || got.Message != test.want {
				t.Errorf("got %+v, want %q", got, test.want)
			}
		}
	})
}

func TestRenderPage(t *testing.T) {
	t.Parallel()
	t.Run("escapes_its_data", func(t *testing.T) {
		t.Parallel()
		a, err := connectedPage(connector.Description{Title: "YouTube"}, connector.Saved{Connections: []connector.Connection{{AccountID: "1", AccountName: `<script>alert("x")</script>`, MissingScopes: []string{"<b>"}}}, Connected: 1, Accounts: 1})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(a.body, "<script") || strings.Contains(a.body, "<b>") || !strings.Contains(a.body, "&lt;script&gt;") {
			t.Errorf("page %s", a.body)
		}
	})
	t.Run("tells_the_person_what_to_do", func(t *testing.T) {
		t.Parallel()
		for code, want := range map[connector.Code][2]string{
			// A person who reloads the page of a success gets StateInvalid.
			connector.StateInvalid:    {"<h1>The connection cannot be completed</h1>", "your account is connected, you can close this window"},
			connector.LinkGone:        {"<h1>This link does not work any more</h1>", "connected already, you can close this window"},
			connector.InvalidRequest:  {"<h1>This page cannot be shown</h1>", "start again"},
			connector.AccessDenied:    {"<h1>No account was connected</h1>", "<p class=\"lead detail\">what is wrong.</p>"},
			connector.AccountMismatch: {"<h1>Another account was chosen</h1>", "<p class=\"lead detail\">what is wrong.</p>"},
		} {
			page := quiet().problem(&connector.Error{Code: code, Message: "what is wrong"}, "id-1", true).body
			for _, words := range want {
				if !strings.Contains(page, words) {
					t.Errorf("%s: the page lacks %q:\n%s", code, words, page)
				}
			}
		}
	})
	t.Run("names_missing_scopes", func(t *testing.T) {
		t.Parallel()
		platform := connector.Description{Title: "TikTok", Guide: connector.Guide{Scopes: []connector.GuideScope{{Name: "video.upload", For: "putting drafts into the inbox"}}}}
		a, err := connectedPage(platform, connector.Saved{Connections: []connector.Connection{{AccountName: "A", MissingScopes: []string{"video.upload", "other"}}}, Connected: 1, Accounts: 1})
		if err != nil {
			t.Fatal(err)
		}
		if want := "Not granted: putting drafts into the inbox (<code>video.upload</code>); <code>other</code>."; !strings.Contains(a.body, want) {
			t.Errorf("the page lacks %q:\n%s", want, a.body)
		}
	})
	t.Run("deletion_shows_its_date", func(t *testing.T) {
		t.Parallel()
		a, err := deletionPage(connector.Deletion{RequestedAt: time.Date(2026, 12, 1, 0, 4, 5, 0, time.FixedZone("", 3600)), Deleted: 2})
		if err != nil {
			t.Fatal(err)
		}
		if want := `<time datetime="2026-11-30T23:04:05Z">30 November 2026, 23:04 UTC</time>`; !strings.Contains(a.body, want) {
			t.Errorf("the page lacks %q:\n%s", want, a.body)
		}
	})
}
