package sandbox_test

import (
	"net/http"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

// A fault with a client or an account applies to the calls of that client or
// account, and to no others.
func TestSandbox_Fault_Identity(t *testing.T) {
	t.Parallel()
	const stranger = "a-client-that-nobody-registered"
	for _, row := range []struct {
		name  string
		fault sandbox.Fault
		call  identityCall
		fails bool
	}{
		{"stranger's_client", sandbox.Fault{Client: stranger}, youtubeRefresh("client_id", stranger), true},
		{"stranger's_client_in_basic", sandbox.Fault{Client: stranger}, basicRefresh(stranger), true},
		{"app_beside_a_stranger's_client", sandbox.Fault{Client: stranger}, youtubeRefresh(), false},
		{"app_by_its_id", sandbox.Fault{Client: "sandbox-youtube-client"}, youtubeRefresh(), true},
		{"app_by_the_token_that_it_got", sandbox.Fault{Client: "sandbox-youtube-client"}, youtubeChannels, true},
		{"token_beside_a_stranger's_client", sandbox.Fault{Client: stranger}, youtubeChannels, false},
		{"app_by_its_signature", sandbox.Fault{Client: "sandbox-twitter-api-key"}, signedMe(0), true},
		{"signature_beside_a_stranger's_client", sandbox.Fault{Client: stranger}, signedMe(0), false},
		{"account_by_its_refresh_token", sandbox.Fault{Account: "100000000000000000001"}, youtubeRefresh(), true},
		{"account_by_its_access_token", sandbox.Fault{Account: "100000000000000000001"}, youtubeChannels, true},
		{"account_beside_another", sandbox.Fault{Account: "100000000000000000002"}, youtubeRefresh(), false},
		{"account_by_its_signature", sandbox.Fault{Account: "1500000000000000002"}, signedMe(1), true},
		{"signature_beside_another_account", sandbox.Fault{Account: "1500000000000000002"}, signedMe(0), false},
		{"client_and_account", sandbox.Fault{Client: "sandbox-youtube-client", Account: "100000000000000000001"}, youtubeRefresh(), true},
		{"client_and_another_account", sandbox.Fault{Client: "sandbox-youtube-client", Account: "100000000000000000002"}, youtubeRefresh(), false},
		{"no_client", sandbox.Fault{Client: stranger}, func(v *visit, _ answer) *http.Request { return v.request("GET", channels, "") }, false},
		{"unknown_host", sandbox.Fault{Client: stranger}, func(v *visit, _ answer) *http.Request { return v.request("GET", "https://x.com/nowhere", "") }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t)
			issued := v.connect(dialectOf(sandbox.YouTube), sandbox.Choice{})
			row.fault.Kind, row.fault.Status = sandbox.Outage, http.StatusTeapot
			v.box.Fault(row.fault)
			if got := v.do(row.call(v, issued)); (got.status == http.StatusTeapot) != row.fails {
				t.Errorf("got %d %s, want the fault: %v", got.status, got.body, row.fails)
			}
		})
	}
	t.Run("stranger_is_throttled_and_the_app_is_not", func(t *testing.T) {
		t.Parallel()
		v, d := newVisit(t), dialectOf(sandbox.YouTube)
		issued := v.connect(d, sandbox.Choice{})
		if a := v.control("POST", "faults", `{"platform":"youtube","kind":"throttled","client":"`+stranger+`","times":-1}`); a.status != 200 {
			t.Fatalf("faults: %d %s", a.status, a.body)
		}
		for range 3 {
			if a := v.do(youtubeRefresh("client_id", stranger)(v, issued)); a.status != 429 {
				t.Errorf("the stranger: %d %s, want 429", a.status, a.body)
			}
			if a := v.refresh(d, issued.text("refresh_token")); a.status != 200 {
				t.Errorf("the app: %d %s", a.status, a.body)
			}
		}
	})
}

// identityCall returns a request of the client or person that has the issued tokens.
type identityCall func(v *visit, issued answer) *http.Request

// youtubeRefresh refreshes with the parameters of the app, of which some are changed.
func youtubeRefresh(change ...string) identityCall {
	return func(v *visit, issued answer) *http.Request {
		d := dialectOf(sandbox.YouTube)
		form := with(d.token, "grant_type", "refresh_token", "refresh_token", issued.text("refresh_token"), "redirect_uri", "", "code_verifier", "")
		return v.form(d.tokenURL, with(form, change...))
	}
}

// basicRefresh refreshes with a client id in HTTP Basic.
func basicRefresh(client string) identityCall {
	return func(v *visit, issued answer) *http.Request {
		r := youtubeRefresh("client_id", "", "client_secret", "")(v, issued)
		r.SetBasicAuth(client, "any")
		return r
	}
}

func youtubeChannels(v *visit, issued answer) *http.Request {
	return v.request("GET", channels, issued.text("access_token"))
}

// signedMe calls users/me with the OAuth 1.0a key of that number.
func signedMe(key int) identityCall {
	return func(v *visit, _ answer) *http.Request {
		return v.signed(v.box.UserKeys()[key], usersMe, "a-nonce", time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), nil)
	}
}
