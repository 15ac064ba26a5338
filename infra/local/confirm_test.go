package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

func TestStory_nothing_is_connected_before_it_is_confirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for platform, accounts := range accountsOf {
		told := w.consent(object{"platform": platform, "owner": "acme", "confirm": true}, sandbox.Choice{})
		confirmation := told.Get("confirmation")
		w.seen.add("a confirmation", confirmation)
		if told.Get("status") != "confirm" || told.Has("connection_id") {
			t.Fatalf("%s: %v", platform, told)
		}
		if list := w.must("GET", "/connections?owner=acme&platform="+platform, nil); len(list["connections"].([]any)) != 0 {
			t.Errorf("%s: connected already: %v", platform, list)
		}
		if _, errorType := w.invoke("token-get", object{"owner": "acme", "platform": platform}); errorType != "ConnectionNotFound" {
			t.Errorf("%s: token-get: %s, want ConnectionNotFound", platform, errorType)
		}
		w.refused(http.StatusNotFound, "ConnectionNotFound", "POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "globex"})
		confirmed := w.must("POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "acme"})["connections"].([]any)
		if len(confirmed) != accounts {
			t.Errorf("%s: %d connections, want %d", platform, len(confirmed), accounts)
		}
		for _, c := range confirmed {
			w.must("GET", "/connections/"+c.(object)["id"].(string)+"/token", nil)
		}
		w.refused(http.StatusNotFound, "ConnectionNotFound", "POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "acme"})
	}
}

func TestStory_fifty_confirm_at_once(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	confirmation := w.consent(object{"platform": "youtube", "owner": "acme", "confirm": true}, sandbox.Choice{}).Get("confirmation")
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			switch status, out := w.do("POST", "/connections/confirm", object{"confirmation": confirmation, "owner": "acme"}); status {
			case http.StatusOK:
				won.Add(1)
			case http.StatusNotFound:
				lost.Add(1)
			default:
				t.Errorf("%d %v", status, out)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 49 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
	if list := w.must("GET", "/connections?owner=acme", nil); len(list["connections"].([]any)) != 1 {
		t.Errorf("connections: %v", list)
	}
}

// The stack itself stores the sandbox's apps over HTTP, so that caller has all
// owners.
func TestStory_a_caller_is_confined_to_its_owners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{config.CallerOwners: `{"` + localCaller().UserARN + `":["*"],"` + functionARN("token-get") + `":["acme"]}`})
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
