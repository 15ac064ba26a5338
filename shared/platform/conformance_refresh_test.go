package platform_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func checkRefresh(t *testing.T, row row) {
	w := newWorld(t, row)
	before := w.connect().Credentials
	w.now = w.now.Add(time.Hour)
	w.age()
	after, err := w.platform.Refresh(t.Context(), w.app, before)
	if err != nil {
		t.Fatal(err)
	}
	if !row.expires {
		if !after.Fields.Equal(before.Fields) || !after.ExpiresAt.IsZero() {
			t.Error("a health check changed the credentials")
		}
		return
	}
	if after.Fields["access_token"].Equal(before.Fields["access_token"]) {
		t.Error("the access token is the old one")
	}
	if same := after.Fields["refresh_token"].Equal(before.Fields["refresh_token"]); same == row.rotates {
		t.Errorf("refresh token the same: %t, rotates: %t", same, row.rotates)
	}
	if rotates := w.platform.Describe().Cadence.Model == connector.Rotating; rotates != row.rotates {
		t.Errorf("traits say rotates %t", rotates)
	}
	if !after.ExpiresAt.After(before.ExpiresAt) || !after.IssuedAt.Equal(w.now) {
		t.Errorf("issued %v, expires %v", after.IssuedAt, after.ExpiresAt)
	}
	if got, want := after.Fields.Get("token_expiry"), after.ExpiresAt.Format(time.RFC3339); got != want {
		t.Errorf("token_expiry: got %q, want %q", got, want)
	}

	w.age()
	w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: row.refresh, Kind: sandbox.Fields, Omit: []string{"refresh_token", "scope", "refresh_expires_in"}})
	again, err := w.platform.Refresh(t.Context(), w.app, after)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Fields["refresh_token"].Equal(after.Fields["refresh_token"]) {
		t.Error("a refresh token that the answer leaves out is lost")
	}
	if diff := cmp.Diff(after.Scopes, again.Scopes); diff != "" {
		t.Errorf("scopes that the answer leaves out changed:\n%s", diff)
	}
	if !again.GrantExpiresAt.Equal(after.GrantExpiresAt) {
		t.Error("the expiry of the grant, which the answer leaves out, is lost")
	}
}

func checkExpiresIn(t *testing.T, row row) {
	if !row.expires {
		checkPageTokenExpiry(t, row)
		return
	}
	longest, endpoint := 24*time.Hour, "token"
	if row.extends {
		longest, endpoint = row.longest, row.lifeAt
	}
	for value, seconds := range map[string]int{
		`"3600"`: 3600, `3600.0`: 3600, `900`: 900,
		// Longer than any life that is documented, or milliseconds for seconds.
		`86401`: 86401, `3600000`: 3600000, `7200000`: 7200000, `31622400`: 31622400, `31622401`: 0, `"NaN"`: 0, `-1`: 0, `0`: 0, `1e18`: 0, `1e400`: 0, `"abc"`: 0, `null`: 0, `{}`: 0, `[3600]`: 0, `true`: 0, `missing`: 0,
	} {
		t.Run(value, func(t *testing.T) {
			w := newWorld(t, row)
			fault := sandbox.Fault{Platform: row.name, Endpoint: endpoint, Kind: sandbox.Fields, Omit: []string{"expires_in"}}
			if value != "missing" {
				fault = sandbox.Fault{Platform: row.name, Endpoint: endpoint, Kind: sandbox.Fields, Set: map[string]json.RawMessage{"expires_in": json.RawMessage(value)}}
			}
			w.box.Fault(fault)
			life := time.Duration(seconds) * time.Second
			if life == 0 || life > longest {
				life = w.platform.Describe().Cadence.Lifetime
			}
			if got := w.connect().Credentials.ExpiresAt; !got.Equal(w.now.Add(life)) {
				t.Errorf("expires at %v, want %v later than now", got, life)
			}
		})
	}
}

// checkPageTokenExpiry checks a platform whose tokens do not expire: an answer
// without expires_in changes nothing.
func checkPageTokenExpiry(t *testing.T, row row) {
	w := newWorld(t, row)
	w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().OmitExpiresIn = true })
	if got := w.connect(); !got.Credentials.ExpiresAt.IsZero() || got.Warning != "" {
		t.Errorf("expires at %v, warning %q", got.Credentials.ExpiresAt, got.Warning)
	}
}
