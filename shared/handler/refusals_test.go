package handler_test

import (
	"net/http"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// A refusal in the redirect that is neither error nor code is read as the platform means
// it, and leaves the link good.
func TestCallback_Refusals(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		platform, form string
		code           connector.Code
	}{
		{"facebook", "development mode", connector.AppMisconfigured},
		{"facebook", "fault", connector.PlatformUnavailable},
		{"facebook", "reason alone", connector.AccessDenied},
		{"twitter", "denied", connector.AccessDenied},
		{"tiktok", "code of a denial", connector.AccessDenied},
		{"tiktok", "code of a wrong app", connector.AppMisconfigured},
		{"tiktok", "type alone", connector.AppMisconfigured},
	} {
		t.Run(row.platform+"/"+row.form, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id, path := s.mint(t, map[string]any{"platform": row.platform, "owner": "acme", "return_url": returnURL})
			ended := s.consent(t, path, sandbox.Choice{Refusal: row.form})
			if got := ended.Query().Get("error"); got != string(row.code) || strings.Contains(ended.String(), "sandbox+mode") {
				t.Errorf("ended at %s, want error=%s", ended, row.code)
			}
			s.wantLink(t, "refused", id, "failed", string(row.code), "")
			if n := s.sandbox.Count(row.platform, "token"); n != 0 {
				t.Errorf("%d calls of the token endpoint", n)
			}
			if ended := s.consent(t, path, sandbox.Choice{}); ended.Query().Get("status") != "connected" {
				t.Errorf("the link afterwards: %s", ended)
			}
		})
	}
	t.Run("of_another_platform", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		f := s.flow(t, "youtube", sandbox.Choice{})
		f.callback, _, _ = strings.Cut(f.callback, "&code=")
		for _, parameter := range []string{"denied=a", "error_code=901", "errCode=10006", "error_type=client_key", "error_reason=user_denied"} {
			other := f
			other.callback += "&" + parameter
			other.finish(t).refused(t, 400, connector.InvalidRequest)
		}
	})
	t.Run("beside_a_code", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		f := s.flow(t, "facebook", sandbox.Choice{})
		f.callback += "&error_code=901&error_code=902&denied=a"
		f.finish(t).decode(t, 200, &struct{}{})
	})
}

// X connects the account that is signed in in the browser. After a mismatch its person
// has to sign out there first. Google's page offers the choice.
func TestTwitter_AccountMismatch(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]bool{"twitter": true, "youtube": false} {
		s := newStack(t)
		id := s.connect(t, name, "acme", sandbox.Choice{})[0]
		body := map[string]any{"platform": name, "owner": "acme", "connection_id": id}
		other := sandbox.Choice{Account: s.sandbox.People(name)[1].ID}
		f := s.flowOf(t, name, s.link(t, body), other)
		for _, when := range []string{"first", "reloaded"} {
			page := f.finish(t, with("accept", browserUse))
			if page.StatusCode != http.StatusConflict || strings.Contains(page.Body, "sign out of X in this browser first") != says {
				t.Errorf("%s, %s: %d %s", name, when, page.StatusCode, page.Body)
			}
		}
		f = s.flowOf(t, name, s.link(t, body), other)
		if p := f.finish(t).refused(t, 409, connector.AccountMismatch); strings.Contains(p.Detail, "sign out of X") != says {
			t.Errorf("%s, a program: %q", name, p.Detail)
		}
	}
}
