package handler_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func signedRequest(s *stack, user string) change {
	return withBody(formType, url.Values{"signed_request": {s.sandbox.SignedRequest(user)}}.Encode())
}

func status(t *testing.T, s *stack, id string) string {
	t.Helper()
	var connection struct{ Status string }
	s.do(t, http.MethodGet, "/connections/"+id).decode(t, 200, &connection)
	return connection.Status
}

func TestHandler_PlatformNotice(t *testing.T) {
	t.Parallel()
	t.Run("deauthorize", testPlatformNoticeDeauthorize)
	t.Run("data_deletion", testPlatformNoticeDataDeletion)
	t.Run("webhook", testPlatformNoticeWebhook)
	t.Run("forged", testPlatformNoticeForged)
	t.Run("too_old", testPlatformNoticeTooOld)
	t.Run("plain_form_body", testPlatformNoticePlainFormBody)
}

func testPlatformNoticeDeauthorize(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	person := s.sandbox.People("facebook")[0]
	id := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	s.clock.Advance(time.Minute)
	for range 2 {
		taken := s.do(t, http.MethodPost, "/platforms/facebook/deauthorize", signedRequest(s, person.ID))
		if taken.StatusCode != 200 || taken.Body != "{}" {
			t.Fatalf("status %d, body %s", taken.StatusCode, taken.Body)
		}
	}
	if got := status(t, s, id); got != "needs_reauth" {
		t.Errorf("status %s", got)
	}
}

func testPlatformNoticeDataDeletion(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	person := s.sandbox.People("facebook")[0]
	id := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	var deleted struct {
		URL              string `json:"url"`
		ConfirmationCode string `json:"confirmation_code"`
	}
	s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", signedRequest(s, person.ID)).decode(t, 200, &deleted)
	if deleted.URL != publicURL+"/platforms/facebook/data-deletion/"+deleted.ConfirmationCode {
		t.Errorf("answer %+v", deleted)
	}
	s.do(t, http.MethodGet, "/connections/"+id).refused(t, 404, connector.ConnectionNotFound)

	var shown struct {
		Status  string
		Deleted int
	}
	target := strings.TrimPrefix(deleted.URL, publicURL)
	s.do(t, http.MethodGet, target).decode(t, 200, &shown)
	if shown.Status != "in_progress" || shown.Deleted == 0 {
		t.Errorf("status %+v", shown)
	}
	page := s.do(t, http.MethodGet, target, with("accept", browserUse))
	if page.StatusCode != 200 || !strings.Contains(page.Body, "deleted") || !strings.HasPrefix(page.Headers["content-type"], "text/html") {
		t.Errorf("page: %d %s", page.StatusCode, page.Body)
	}
	s.do(t, http.MethodGet, "/platforms/facebook/data-deletion/other").refused(t, 404, connector.InvalidRequest)
}

func testPlatformNoticeWebhook(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	s.clock.Advance(time.Minute)
	body, signature := s.sandbox.TikTokNotice("authorization.removed", s.sandbox.People("tiktok")[0].ID)
	// Other front ends do not change the case of header names.
	taken := s.do(t, http.MethodPost, "/platforms/tiktok/webhook", withBody(jsonType, string(body)), with("TikTok-Signature", signature))
	if taken.StatusCode != 200 {
		t.Fatalf("status %d, body %s", taken.StatusCode, taken.Body)
	}
	if got := status(t, s, id); got != "needs_reauth" {
		t.Errorf("status %s", got)
	}
}

func testPlatformNoticeForged(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	facebook := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	tiktok := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	person := s.sandbox.People("facebook")[0]
	signature, payload, _ := strings.Cut(s.sandbox.SignedRequest(person.ID), ".")
	body, webhook := s.sandbox.TikTokNotice("authorization.removed", s.sandbox.People("tiktok")[0].ID)
	form := func(signed string) change {
		return withBody(formType, url.Values{"signed_request": {signed}}.Encode())
	}
	for name, test := range map[string]struct {
		target  string
		changes []change
		status  int
	}{
		"another signature":    {"/platforms/facebook/deauthorize", []change{form("A" + signature[1:] + "x." + payload)}, 401},
		"another payload":      {"/platforms/facebook/data-deletion", []change{form(signature + "." + payload + "AA")}, 401},
		"no signed_request":    {"/platforms/facebook/deauthorize", []change{withBody(formType, "x=y")}, 0},
		"no body":              {"/platforms/facebook/deauthorize", nil, 400},
		"webhook unsigned":     {"/platforms/tiktok/webhook", []change{withBody(jsonType, string(body))}, 401},
		"webhook for another":  {"/platforms/tiktok/webhook", []change{withBody(jsonType, string(body)+" "), with("tiktok-signature", webhook)}, 401},
		"webhook without body": {"/platforms/tiktok/webhook", []change{with("tiktok-signature", webhook)}, 400},
	} {
		_, e := event(t, http.MethodPost, test.target, test.changes...)
		got := s.send(t, "platform-notice", encode(t, e))
		if test.status != 0 {
			got.refused(t, test.status, connector.InvalidRequest)
		} else if got.StatusCode != 400 && got.StatusCode != 401 {
			t.Errorf("%s: status %d, body %s", name, got.StatusCode, got.Body)
		}
	}
	if a, b := status(t, s, facebook), status(t, s, tiktok); a != "active" || b != "active" {
		t.Errorf("status %s and %s", a, b)
	}
}

func testPlatformNoticeTooOld(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	body, signature := s.sandbox.TikTokNotice("authorization.removed", s.sandbox.People("tiktok")[0].ID)
	s.clock.Advance(74 * time.Hour) // TikTok retries for 72
	s.do(t, http.MethodPost, "/platforms/tiktok/webhook", withBody(jsonType, string(body)), with("tiktok-signature", signature)).refused(t, 401, connector.InvalidRequest)
	if got := status(t, s, id); got != "active" {
		t.Errorf("status %s", got)
	}
}

func testPlatformNoticePlainFormBody(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	_, e := event(t, http.MethodPost, "/platforms/facebook/deauthorize", signedRequest(s, "1"), func(e *events.APIGatewayV2HTTPRequest) {
		e.Body, e.IsBase64Encoded = url.Values{"signed_request": {s.sandbox.SignedRequest("1")}}.Encode(), false
	})
	if got := s.send(t, "platform-notice", encode(t, e)); got.StatusCode != 200 {
		t.Errorf("status %d, body %s", got.StatusCode, got.Body)
	}
}
