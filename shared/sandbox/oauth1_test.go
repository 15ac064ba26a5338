package sandbox

import (
	"net/url"
	"testing"
)

// The vector is X's own example, with the dummy keys that its page prints
// (https://docs.x.com/fundamentals/authentication/oauth-1-0a/creating-a-signature,
// 2026-11-23).
func TestOAuth1Signature(t *testing.T) {
	oauth := map[string]string{
		"oauth_consumer_key":     "xvz1evFS4wEEPTGEFPHBog",
		"oauth_nonce":            "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg",
		"oauth_signature_method": "HMAC-SHA1",
		"oauth_timestamp":        "1318622958",
		"oauth_token":            "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
		"oauth_version":          "1.0",
	}
	values := []url.Values{
		{"include_entities": {"true"}},
		{"status": {"Hello Ladies + Gentlemen, a signed OAuth request!"}},
	}
	for host, want := range map[string]string{
		"api.x.com":       "Ls93hJiZbQ3akF3HF3x1Bz8/zU4=",
		"api.twitter.com": "hCtSmYh+iHYCEqBWrE7C7hYmtUk=",
	} {
		got := oauth1Signature("POST", "https://"+host+"/1.1/statuses/update.json", values, oauth,
			"kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw", "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE")
		if got != want {
			t.Errorf("%s: got %s, want %s", host, got, want)
		}
	}
}

func TestPercentEncode(t *testing.T) {
	for in, want := range map[string]string{
		"Ladies + Gentlemen": "Ladies%20%2B%20Gentlemen",
		"An encoded string!": "An%20encoded%20string%21",
		"☃":                  "%E2%98%83",
		"a-b._~*":            "a-b._~%2A",
	} {
		if got := percentEncode(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// SignForTest signs for the external tests.
var SignForTest = oauth1Signature
