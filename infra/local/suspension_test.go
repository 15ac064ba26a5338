package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

// suspendWithinTwoSeconds has several processes of token-get hand out tokens
// while the operator suspends the owner. No call that is sent two seconds after
// the answer gets a token, in any process.
func suspendWithinTwoSeconds(t *testing.T) {
	w := newWorld(t, nil)
	suspended := w.connect("youtube", "acme", sandbox.Choice{})[0]
	other := w.connect("tiktok", "globex", sandbox.Choice{})[0]
	const processes = 5
	// round sends a call to each process at once, and counts those that get a token.
	round := func(check func(sent time.Time)) int {
		var tokens atomic.Int32
		var all sync.WaitGroup
		for i := range 2 * processes {
			all.Go(func() {
				sent, errorType := time.Now(), ""
				if i%2 == 0 {
					_, errorType = w.invoke("token-get", object{"connection_id": suspended})
				} else if status, out := w.do("GET", "/connections/"+suspended+"/token", nil); status != http.StatusOK {
					errorType, _ = out["code"].(string)
				}
				switch errorType {
				case "":
					tokens.Add(1)
					check(sent)
				case "Suspended":
				default:
					t.Errorf("token-get failed with %s", errorType)
				}
			})
		}
		all.Wait()
		return int(tokens.Load())
	}
	if n := round(func(time.Time) {}); n != 2*processes {
		t.Fatalf("%d tokens before the suspension", n)
	}
	created := w.must("POST", "/suspensions", object{"owner": "acme", "reason": "incident 42"})
	answered := time.Now()
	waitFor(t, "every process to observe the suspension", func() bool {
		tokens := round(func(sent time.Time) {
			if late := sent.Sub(answered); late > 2*time.Second {
				t.Errorf("a call that was sent %v after the suspension got a token", late)
			}
		})
		return tokens == 0 && time.Since(answered) > 2*time.Second
	})
	w.token(object{"connection_id": other})
	if list := w.must("GET", "/suspensions", nil)["suspensions"].([]any); len(list) != 1 || list[0].(object)["created_by"] != localCaller().UserARN {
		t.Errorf("suspensions: %v", list)
	}
	if status, out := w.do("DELETE", "/suspensions/"+created["id"].(string), nil); status != http.StatusNoContent {
		t.Fatalf("deleting the suspension: %d %v", status, out)
	}
	waitFor(t, "tokens to be handed out again", func() bool { return round(func(time.Time) {}) == 2*processes })
}
