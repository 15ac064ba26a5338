package platform_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// signer returns X as a Signer.
func signer(t *testing.T, o platform.Options) connector.Signer {
	t.Helper()
	s, ok := find(t, "twitter", o).(connector.Signer)
	if !ok {
		t.Fatal("X signs nothing")
	}
	return s
}

func TestTwitter_Sign(t *testing.T) {
	t.Run("vector_of_the_documentation", testTwitterSignVector)
	t.Run("sandbox_accepts", testTwitterSignAccepted)
	t.Run("refused_urls", testTwitterSignURLs)
	t.Run("refused_parameters", testTwitterSignParameters)
	t.Run("keys", testTwitterSignKeys)
}

// The vector is X's own example, with the dummy keys that its page prints
// (https://docs.x.com/fundamentals/authentication/oauth-1-0a/creating-a-signature,
// read 2026-11-25).
func testTwitterSignVector(t *testing.T) {
	fields := connector.Fields{}
	fields.Set("api_key", "xvz1evFS4wEEPTGEFPHBog")
	fields.Set("api_secret", "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw")
	fields.Set("access_token", "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb")
	fields.Set("access_token_secret", "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE")
	for host, want := range map[string]string{
		"api.x.com":       "Ls93hJiZbQ3akF3HF3x1Bz8%2FzU4%3D",
		"api.twitter.com": "hCtSmYh%2BiHYCEqBWrE7C7hYmtUk%3D",
	} {
		header, err := signer(t, platform.Options{}).Sign(connector.App{}, connector.Credentials{Fields: fields}, connector.SignatureRequest{
			Method: "POST", URL: "https://" + host + "/1.1/statuses/update.json?include_entities=true",
			Parameters: map[string]string{"status": "Hello Ladies + Gentlemen, a signed OAuth request!"},
			Nonce:      "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg", At: time.Unix(1318622958, 0),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := header.Reveal(); !strings.HasPrefix(got, "OAuth ") || !strings.Contains(got, `oauth_signature="`+want+`"`) {
			t.Errorf("%s: got %s, want the signature %s", host, got, want)
		}
	}
}

// call sends a request with an Authorization header and returns the status.
func (w *world) call(method, target, form string, header connector.Secret) int {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(form))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", header.Reveal())
	if form != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := (&http.Client{Transport: loopbackOnly(w.t)}).Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func testTwitterSignAccepted(t *testing.T) {
	const form = "command=INIT&media_type=video%2Fmp4&total_bytes=1024&name=a+%2B+b%20%2A~%C3%A9"
	parameters := map[string]string{"command": "INIT", "media_type": "video/mp4", "total_bytes": "1024", "name": "a + b *~é"}
	for name, test := range map[string]struct {
		method, path, form string
		parameters         map[string]string
		status             int
	}{
		"get":                       {"GET", "/api.x.com/2/users/me", "", nil, 200},
		"query in the url":          {"GET", "/api.x.com/2/users/me?user.fields=id,name&a=%20+%2B&empty=&flag&b=2&b=1&B=3", "", nil, 200},
		"query in the parameters":   {"GET", "/api.x.com/2/users/me", "", map[string]string{"user.fields": "id,name"}, 401},
		"host of before":            {"GET", "/api.twitter.com/2/users/me", "", nil, 200},
		"form":                      {"POST", "/upload.x.com/1.1/media/upload.json", form, parameters, 202},
		"form and query":            {"POST", "/upload.twitter.com/1.1/media/upload.json?additional_owners=1,2", form, parameters, 202},
		"form without parameters":   {"POST", "/upload.x.com/1.1/media/upload.json", form, nil, 401},
		"form with a changed value": {"POST", "/upload.x.com/1.1/media/upload.json", strings.Replace(form, "1024", "1025", 1), parameters, 401},
	} {
		for _, signed := range []string{"real", "sent"} {
			t.Run(name+"/"+signed, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, twitterRow)
				w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().SignedURL = signed })
				target := w.base + test.path
				if signed == "real" {
					target = "https:/" + test.path
				}
				header, err := signer(t, platform.Options{Endpoints: sandbox.Endpoints(w.base)}).Sign(connector.App{}, connector.Credentials{Fields: w.keys("read-write")},
					connector.SignatureRequest{Method: test.method, URL: target, Parameters: test.parameters, Nonce: "nonce", At: w.now})
				if err != nil {
					t.Fatal(err)
				}
				if got := w.call(test.method, w.base+test.path, test.form, header); got != test.status {
					t.Errorf("status %d, want %d", got, test.status)
				}
			})
		}
	}
}

func testTwitterSignURLs(t *testing.T) {
	fields := newWorld(t, twitterRow).keys("read-write")
	sign := func(o platform.Options, target string) error {
		_, err := signer(t, o).Sign(connector.App{}, connector.Credentials{Fields: fields}, connector.SignatureRequest{Method: "GET", URL: target})
		return err
	}
	mapped := platform.Options{Endpoints: map[string]string{"https://api.x.com": "http://127.0.0.1:9001/x", "https://graph.facebook.com": "http://127.0.0.1:9001/facebook"}}
	for _, target := range []string{
		"https://api.x.com/2/users/me", "https://api.twitter.com/1.1/a.json", "https://upload.x.com/1.1/a.json", "https://upload.twitter.com/1.1/a.json?a=b",
		"http://127.0.0.1:9001/x/2/users/me",
	} {
		if err := sign(mapped, target); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	for _, target := range []string{
		"http://api.x.com/2/users/me", "https://api.x.com:443/2/users/me", "https://api.x.com:8443/2/users/me", "https://API.x.com/2/users/me", "HTTPS://api.x.com/2/users/me",
		"https://x.com/2/users/me", "https://evil.example/2/users/me", "https://api.x.com.evil.example/2", "https://evilapi.x.com/2", "https://api.x.com./2", "https://api.x.com@evil.example/2",
		"https://u:p@api.x.com/2", "https://evil.example/https://api.x.com/2", "https://evil.example?https://api.x.com/2", "https://evil.example#https://api.x.com/2",
		"https:api.x.com/2", "https:/api.x.com/2", "https:///api.x.com/2", "//api.x.com/2", "/2/users/me", "api.x.com/2", "https://api.x.com", "https://api.x.com?a=b", "https://",
		"https://api.x.com/2/users/me#fragment", "https://api.x.com/2/users/me#", `https://api.x.com\@evil.example/2`, `https://api.x.com/2\users`, "https://api.x.com/2/users/me ", "https://api.x.com/2/\tme", "https://api.x.com/2/\r\nme", "https://api.x.com/2/é",
		"https://api.x.com/2/../1.1", "https://api.x.com/./2", "https://api.x.com/2/%2e%2e/1.1", "https://api.x.com/2/users%2fme", "https://api.x.com/2/users;a=b/me", "https://api.x.com/2/%zz",
		"https://api.x.com/oauth/request_token", "https://api.x.com/oauth2/token", "https://api.x.com/oauth2/invalidate_token", "https://api.x.com/2/oauth2/revoke", "https://api.x.com/1.1/oauth/invalidate_token.json",
		"https://api.x.com/1.1/OAuth/invalidate_token.json", "https://api.x.com//oauth/access_token", "https://api.x.com/%6fauth/access_token",
		"https://api.x.com/2?a=%zz", "https://api.x.com/2?a;b", "https://api.x.com/2?oauth_token=1", "https://api.x.com/2?OAUTH_nonce=1", "https://api.x.com/2?%6fauth_token=1",
		"https://graph.facebook.com/2", "http://127.0.0.1:9001/facebook/me", "http://127.0.0.1:9001/xx/2", "http://127.0.0.1:9001/x", "http://127.0.0.1:9001/x/../facebook/me", "http://127.0.0.1/x/2", "http://127.0.0.1:9001/2",
	} {
		err := sign(mapped, target)
		e := connector.AsError(err)
		if e == nil || e.Code != connector.InvalidRequest || !strings.HasPrefix(e.Message, "url: ") {
			t.Errorf("%s: got %v, want InvalidRequest that names url", target, err)
			continue
		}
		if strings.Contains(err.Error(), "evil") || strings.Contains(err.Error(), "9001") {
			t.Errorf("%s: the error repeats the URL: %v", target, err)
		}
	}
	if err := sign(platform.Options{}, "http://127.0.0.1:9001/x/2/users/me"); err == nil {
		t.Error("a URL of another deployment's sandbox was signed")
	}
}

func testTwitterSignParameters(t *testing.T) {
	fields := newWorld(t, twitterRow).keys("read-write")
	for name, parameters := range map[string]map[string]string{
		"in the url, too":  {"a": "1"},
		"a token":          {"oauth_token": "1"},
		"a callback":       {"oauth_callback": "https://evil.example"},
		"in another case":  {"OAuth_Signature": "1"},
		"a consumer's key": {"b": "1", "oauth_consumer_key": "1"},
	} {
		_, err := signer(t, platform.Options{}).Sign(connector.App{}, connector.Credentials{Fields: fields},
			connector.SignatureRequest{Method: "GET", URL: "https://api.x.com/2/users/me?a=1", Parameters: parameters})
		if e := connector.AsError(err); e == nil || e.Code != connector.InvalidRequest || !strings.HasPrefix(e.Message, "parameters: ") {
			t.Errorf("%s: got %v, want InvalidRequest that names parameters", name, err)
		}
	}
}

func testTwitterSignKeys(t *testing.T) {
	w := newWorld(t, twitterRow)
	keys := w.keys("read-write")
	short := connector.Fields{"access_token": keys["access_token"], "access_token_secret": keys["access_token_secret"]}
	request := connector.SignatureRequest{Method: "GET", URL: "https://api.x.com/2/users/me", Nonce: "nonce", At: w.now}
	x := w.platform.(connector.Signer)
	_, err := x.Sign(w.app, w.connect().Credentials, request)
	w.fails(err, connector.InvalidRequest, false)
	for _, extras := range []connector.Fields{nil, {"api_key": keys["api_key"]}, {"api_secret": keys["api_secret"]}} {
		w.app.Extras = extras
		_, err := x.Sign(w.app, connector.Credentials{Fields: short}, request)
		w.fails(err, connector.AppNotConfigured, false)
		if key := w.platform.AppKey(w.app, connector.Credentials{Fields: short}); key != "" {
			t.Error("an app without both keys has a fingerprint")
		}
		_, err = w.platform.Verify(t.Context(), w.app, connector.Credentials{Fields: short})
		w.fails(err, connector.AppNotConfigured, false)
	}
	w.app.Extras = connector.Fields{"api_key": keys["api_key"], "api_secret": keys["api_secret"]}
	header, err := x.Sign(w.app, connector.Credentials{Fields: short}, request)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"api_secret", "access_token_secret", "bearer_token"} {
		if strings.Contains(header.Reveal(), keys.Get(secret)) {
			t.Errorf("the header contains %s", secret)
		}
	}
}
