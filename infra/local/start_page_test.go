package main

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestStartPage_Notice(t *testing.T) {
	t.Parallel()
	t.Run("result_of_a_consent", func(t *testing.T) {
		t.Parallel()
		for query, want := range map[string]string{
			"":                               "",
			"status=connected":               "1 account connected.",
			"status=confirm&confirmation=x":  "POST /connections/confirm",
			"error=AccessDenied":             "declined, or there was nothing to connect (AccessDenied).",
			"error=AccountMismatch":          "another account",
			"error=Internal":                 "the terminal of the local stack shows the cause (Internal).",
			"error=%3Cscript%3E":             "",
			"connection_id=a&status=unknown": "",
		} {
			values, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if n := (&startPage{}).notice(values); n != nil {
				got = n.Text
			}
			if got == "" != (want == "") || !strings.Contains(got, want) {
				t.Errorf("%q: notice is %q, want %q", query, got, want)
			}
		}
	})
}

func TestNewConnectionCard(t *testing.T) {
	t.Parallel()
	t.Run("actions_of_each_status", func(t *testing.T) {
		t.Parallel()
		now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
		live, manual := platformSummary{AppConfigured: true, AppMode: "live"}, platformSummary{AppConfigured: true, AppMode: "manual"}
		for name, c := range map[string]struct {
			record   connectionRecord
			platform platformSummary
			actions  string
			expiry   string
		}{
			"manual":              {connectionRecord{Status: "manual"}, manual, "Disconnect", "none"},
			"approved later":      {connectionRecord{Status: "manual"}, live, "Connect Disconnect", "none"},
			"expired":             {connectionRecord{Status: "active", ExpiresAt: now.Add(-time.Hour)}, live, "Get token Verify Refresh Disconnect", "expired 1 h 0 min ago; refreshed when it is asked for"},
			"does not expire":     {connectionRecord{Status: "active"}, live, "Get token Verify Refresh Disconnect", "does not expire"},
			"a scope is missing":  {connectionRecord{Status: "active", MissingScopes: []string{"a"}}, live, "Reconnect Get token Verify Refresh Disconnect", "does not expire"},
			"needs authorization": {connectionRecord{Status: "needs_reauth"}, live, "Reconnect Disconnect", "none is handed out"},
		} {
			card := newConnectionCard(c.record, c.platform, now)
			var labels []string
			for _, a := range card.Actions {
				labels = append(labels, a.Label)
			}
			if got := strings.Join(labels, " "); got != c.actions || card.Expiry != c.expiry {
				t.Errorf("%s: %q, %q; want %q, %q", name, got, card.Expiry, c.actions, c.expiry)
			}
		}
	})
}
