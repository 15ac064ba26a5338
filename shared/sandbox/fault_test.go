package sandbox_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"platform-api-connector/shared/sandbox"
)

// refreshed reports whether the platform rotated a refresh token in spite of a fault.
// The old token is then invalid.
func (v *visit) rotated(d dialect, old string) bool {
	v.Helper()
	return v.refresh(d, old).status != 200
}

func TestSandbox_Fault(t *testing.T) {
	t.Run("lost_reply", testSandboxFaultLostReply)
	t.Run("corrupted_answers", testSandboxFaultCorruptedAnswers)
	t.Run("broken_body", testSandboxFaultBrokenBody)
	t.Run("number_of_calls", testSandboxFaultNumberOfCalls)
	t.Run("slow_answer", testSandboxFaultSlowAnswer)
}

func testSandboxFaultLostReply(t *testing.T) {
	for acts, want := range map[bool]bool{true: true, false: false} {
		v, d := newVisit(t), dialectOf(sandbox.Twitter)
		old := v.connect(d, sandbox.Choice{}).text("refresh_token")
		v.box.Fault(sandbox.Fault{Platform: d.name, Endpoint: "token/refresh_token", Kind: sandbox.Cut, Acts: acts})
		r := v.form(d.tokenURL, with(d.token, "grant_type", "refresh_token", "refresh_token", old))
		r.SetBasicAuth("sandbox-twitter-client", "sandbox-twitter-secret")
		res, err := http.DefaultClient.Do(r)
		if !errors.Is(err, io.EOF) {
			if err == nil {
				res.Body.Close()
			}
			t.Fatalf("acts %v: got %v, want the connection cut", acts, err)
		}
		if got := v.rotated(d, old); got != want {
			t.Errorf("acts %v: rotated is %v", acts, got)
		}
	}
}

func testSandboxFaultCorruptedAnswers(t *testing.T) {
	for _, test := range []struct {
		fault sandbox.Fault
		check func(answer) bool
	}{
		{sandbox.Fault{Kind: sandbox.Throttled}, func(a answer) bool { return a.status == 429 && a.header.Get("Retry-After") == "30" }},
		{sandbox.Fault{Kind: sandbox.Quota}, func(a answer) bool { return a.status == 402 && a.text("title") == "CreditsDepleted" }},
		{sandbox.Fault{Kind: sandbox.Outage}, func(a answer) bool { return a.status == 503 }},
		{sandbox.Fault{Kind: sandbox.Outage, Status: 500}, func(a answer) bool { return a.status == 500 }},
		{sandbox.Fault{Kind: sandbox.HTML}, func(a answer) bool { return a.status == 200 && strings.HasPrefix(a.body, "<!doctype html>") }},
		{sandbox.Fault{Kind: sandbox.Empty}, func(a answer) bool { return a.status == 200 && a.body == "" }},
		{sandbox.Fault{Kind: sandbox.Elsewhere, Location: "http://127.0.0.1:9/"}, func(a answer) bool { return a.status == 302 && a.header.Get("Location") == "http://127.0.0.1:9/" }},
		{sandbox.Fault{Kind: sandbox.DeadGrant}, func(a answer) bool { return a.status == 400 && a.text("error") == "invalid_request" }},
		{sandbox.Fault{Kind: sandbox.WrongClient}, func(a answer) bool { return a.status == 401 && a.text("error") == "unauthorized_client" }},
		{sandbox.Fault{Kind: sandbox.ErrorIn200}, func(a answer) bool { return a.status == 200 && a.text("error") == "invalid_request" }},
		{sandbox.Fault{Kind: sandbox.Body, Text: "[]"}, func(a answer) bool { return a.status == 200 && a.body == "[]" }},
		{sandbox.Fault{Kind: sandbox.Deep}, func(a answer) bool { return strings.HasPrefix(a.body, `{"access_token":[[[[`) }},
		{sandbox.Fault{Kind: sandbox.Slow}, func(a answer) bool { return a.status == 200 && a.text("access_token") != "" }},
		{sandbox.Fault{Kind: sandbox.Truncated}, func(a answer) bool { return a.status == 200 && !json.Valid([]byte(a.body)) }},
		{sandbox.Fault{Kind: sandbox.DuplicateKeys}, func(a answer) bool { return strings.Count(a.body, `"access_token":`) == 2 && a.json != nil }},
		{sandbox.Fault{Kind: sandbox.Oversize}, func(a answer) bool { return len(a.body) > 2<<20 && a.text("access_token") != "" }},
		{sandbox.Fault{Kind: sandbox.GzipBomb, Size: 4 << 20}, func(a answer) bool { return len(a.body) > 4<<20 && a.text("access_token") != "" }},
		{sandbox.Fault{Kind: sandbox.Fields, Set: map[string]json.RawMessage{"expires_in": json.RawMessage(`"abc"`)}, Omit: []string{"refresh_token"}}, func(a answer) bool {
			return a.text("expires_in") == "abc" && a.text("refresh_token") == "" && a.text("access_token") != ""
		}},
	} {
		t.Run(string(test.fault.Kind), func(t *testing.T) {
			t.Parallel()
			v, d := newVisit(t), dialectOf(sandbox.Twitter)
			token := v.connect(d, sandbox.Choice{}).text("refresh_token")
			v.box.Fault(test.fault)
			if a := v.refresh(d, token); !test.check(a) {
				t.Errorf("got %d %.200s", a.status, a.body)
			}
		})
	}
}

func testSandboxFaultBrokenBody(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	v.box.Fault(sandbox.Fault{Kind: sandbox.Broken})
	res, err := http.DefaultClient.Do(v.form(d.tokenURL, d.token))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func testSandboxFaultNumberOfCalls(t *testing.T) {
	v := newVisit(t)
	v.box.Fault(sandbox.Fault{Platform: sandbox.Twitter, Endpoint: "me", Kind: sandbox.Outage, Times: 2})
	var got []int
	for range 3 {
		got = append(got, v.get("https://api.x.com/2/users/me", "none").status)
	}
	if got[0] != 503 || got[1] != 503 || got[2] != 401 {
		t.Errorf("got %v, want 503 503 401", got)
	}
	v.box.Fault(sandbox.Fault{Kind: sandbox.Outage, Times: -1})
	for range 3 {
		if a := v.get("https://api.x.com/2/users/me", "none"); a.status != 503 {
			t.Errorf("got %d, want 503 each time", a.status)
		}
	}
	v.box.ClearFaults()
	if a := v.get("https://api.x.com/2/users/me", "none"); a.status != 401 {
		t.Errorf("got %d after the faults were cleared", a.status)
	}
}

func testSandboxFaultSlowAnswer(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	old := v.connect(d, sandbox.Choice{}).text("refresh_token")
	release := make(chan struct{})
	v.box.Fault(sandbox.Fault{Endpoint: "token/refresh_token", Kind: sandbox.Slow, Release: release})
	done := make(chan answer)
	go func() { done <- v.refresh(d, old) }()
	select {
	case <-done:
		t.Fatal("the answer came before the release")
	default:
	}
	close(release)
	if a := <-done; a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
