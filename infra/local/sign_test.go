package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// callX sends a signed request to the sandbox of X, and returns the status.
func (w *world) callX(method, target, form, header string) int {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(form))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", header)
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode
}

// In a deployment that hands out no key of its apps, a caller still calls X: it has
// each request signed.
func signInPlaceOfKeys(t *testing.T) {
	w := newWorld(t, map[string]string{config.HandOutAppKeys: "false", config.AllowFullCredentials: "true"})
	key, app := w.box.UserKeys()[0], w.box.AppOf("twitter")
	imported := w.must("POST", "/connections", object{"platform": "twitter", "owner": "acme", "credentials": object{
		"access_token": key.AccessToken, "access_token_secret": key.AccessTokenSecret,
	}})
	id, _ := imported["connections"].([]any)[0].(object)["id"].(string)
	for _, full := range []bool{false, true} {
		answer, errorType := w.invoke("token-get", object{"connection_id": id, "full": full})
		text, err := json.Marshal(answer)
		if err != nil || errorType != "" {
			t.Fatalf("token-get: %s, %v", errorType, err)
		}
		for _, secret := range []string{app.Extras["api_key"], app.Extras["api_secret"], app.Extras["bearer_token"], app.ClientSecret} {
			if strings.Contains(string(text), secret) {
				t.Errorf("full %v: a key of the app is handed out", full)
			}
		}
		if !strings.Contains(string(text), key.AccessTokenSecret) {
			t.Errorf("full %v: the user's own keys are missing", full)
		}
	}
	sign := func(method, target string, parameters object) string {
		header, _ := w.must("POST", "/connections/"+id+"/sign", object{"method": method, "url": target, "parameters": parameters})["authorization"].(string)
		return header
	}
	parameters := object{"command": "INIT", "media_type": "video/mp4", "total_bytes": "1024", "name": "a + b"}
	const form = "command=INIT&media_type=video%2Fmp4&total_bytes=1024&name=a+%2B+b"
	for _, signed := range []struct {
		name, me, upload string // the URLs that are signed
	}{
		{"real", "https://api.x.com/2/users/me", "https://upload.x.com/1.1/media/upload.json"},
		{"sent", w.s.servers.sandbox.url + "/api.x.com/2/users/me", w.s.servers.sandbox.url + "/upload.x.com/1.1/media/upload.json"},
	} {
		w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().SignedURL = signed.name })
		me, upload := w.s.servers.sandbox.url+"/api.x.com/2/users/me", w.s.servers.sandbox.url+"/upload.x.com/1.1/media/upload.json"
		for name, call := range map[string]struct {
			got, want int
		}{
			"a query":           {w.callX("GET", me+"?user.fields=id,name", "", sign("GET", signed.me+"?user.fields=id,name", nil)), 200},
			"another query":     {w.callX("GET", me+"?user.fields=id", "", sign("GET", signed.me+"?user.fields=id,name", nil)), 401},
			"a form":            {w.callX("POST", upload, form, sign("POST", signed.upload, parameters)), 202},
			"a form not signed": {w.callX("POST", upload, form, sign("POST", signed.upload, nil)), 401},
			"another path":      {w.callX("GET", me, "", sign("GET", signed.upload, nil)), 401},
		} {
			if call.got != call.want {
				t.Errorf("%s, the %s URL is signed: X answers %d, want %d", name, signed.name, call.got, call.want)
			}
		}
	}
	w.expectError(400, "InvalidRequest", "POST", "/connections/"+id+"/sign", object{"method": "GET", "url": "https://example.com/"})
	w.expectError(400, "InvalidRequest", "POST", "/connections/"+id+"/sign", object{"method": "GET", "url": w.s.servers.sandbox.url + "/graph.facebook.com/me"})
	w.expectError(400, "InvalidRequest", "POST", "/connections/"+w.connect("youtube", "acme", sandbox.Choice{})[0]+"/sign", object{"method": "GET", "url": "https://api.x.com/2/users/me"})
}
