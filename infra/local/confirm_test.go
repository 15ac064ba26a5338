package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

func confirmConsent(t *testing.T) {
	w := newWorld(t, nil)
	for platform, accounts := range accountsOf {
		query := w.consent(object{"platform": platform, "owner": "acme", "confirm": true}, sandbox.Choice{})
		confirmation := query.Get("confirmation")
		w.secrets.add("a confirmation", confirmation)
		if query.Get("status") != "confirm" || query.Has("connection_id") {
			t.Fatalf("%s: %v", platform, query)
		}
		if list := w.must("GET", "/connections?owner=acme&platform="+platform, nil); len(list["connections"].([]any)) != 0 {
			t.Errorf("%s: connections before the confirmation: %v", platform, list)
		}
		if _, errorType := w.invoke("token-get", object{"owner": "acme", "platform": platform}); errorType != "ConnectionNotFound" {
			t.Errorf("%s: token-get: %s, want ConnectionNotFound", platform, errorType)
		}
		w.expectError(http.StatusNotFound, "ConnectionNotFound", "POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "globex"})
		confirmed := w.must("POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "acme"})["connections"].([]any)
		if len(confirmed) != accounts {
			t.Errorf("%s: %d connections, want %d", platform, len(confirmed), accounts)
		}
		for _, c := range confirmed {
			w.must("GET", "/connections/"+c.(object)["id"].(string)+"/token", nil)
		}
		w.expectError(http.StatusNotFound, "ConnectionNotFound", "POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "acme"})
	}
}

func confirmConcurrently(t *testing.T) {
	w := newWorld(t, nil)
	confirmation := w.consent(object{"platform": "youtube", "owner": "acme", "confirm": true}, sandbox.Choice{}).Get("confirmation")
	var confirmed, refused atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			switch status, out := w.do("POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "acme"}); status {
			case http.StatusOK:
				confirmed.Add(1)
			case http.StatusNotFound:
				refused.Add(1)
			default:
				t.Errorf("%d %v", status, out)
			}
		})
	}
	all.Wait()
	if confirmed.Load() != 1 || refused.Load() != 49 {
		t.Errorf("%d confirmed, %d refused; want 1, 49", confirmed.Load(), refused.Load())
	}
	if list := w.must("GET", "/connections?owner=acme", nil); len(list["connections"].([]any)) != 1 {
		t.Errorf("connections: %v", list)
	}
}

// confineCaller confines token-get to one owner, and the links of the local caller
// to one scope of TikTok more than its own. The local caller has all owners,
// because the stack stores the sandbox's apps as that caller.
func confineCaller(t *testing.T) {
	w := newWorld(t, map[string]string{
		config.CallerOwners: `{"` + localCaller().UserARN + `":["*"],"` + functionARN("token-get") + `":["acme"]}`,
		config.LinkScopes:   `{"youtube":["https://www.googleapis.com/auth/youtube.readonly"],"` + localCaller().UserARN + `":{"tiktok":["video.list"]}}`,
	})
	w.expectError(http.StatusBadRequest, "InvalidRequest", "POST", "/links", object{"platform": "youtube", "owner": "acme", "scopes": []string{"https://www.googleapis.com/auth/youtube.upload"}})
	w.expectError(http.StatusBadRequest, "InvalidRequest", "POST", "/links", object{"platform": "tiktok", "owner": "acme", "scopes": []string{"video.publish"}})
	if query := w.consent(object{"platform": "tiktok", "owner": "acme", "scopes": []string{"video.list"}}, sandbox.Choice{}); query.Get("status") != "connected" {
		t.Errorf("a link with the caller's scope: %v", query)
	}
	acme := w.connect("youtube", "acme", sandbox.Choice{})[0]
	globex := w.connect("youtube", "globex", sandbox.Choice{})[0]
	w.token(object{"connection_id": acme})
	w.must("GET", "/connections/"+globex+"/token", nil)
	for _, selector := range []object{{"connection_id": globex}, {"owner": "globex", "platform": "youtube"}} {
		if _, errorType := w.invoke("token-get", selector); errorType != "ConnectionNotFound" {
			t.Errorf("%v: %s, want ConnectionNotFound", selector, errorType)
		}
	}
}
