package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

func newTestLambda(invoke invoker) http.Handler {
	mux := http.NewServeMux()
	(&lambdaAPI{
		functions: map[string]bool{"token-get": true}, invoke: invoke,
		terminal: &terminal{out: &outputBuffer{}, now: time.Now},
	}).register(mux)
	return guard{}.protect(mux)
}

func TestLambdaAPI_ServeHTTP(t *testing.T) {
	t.Parallel()
	t.Run("invocation_types", func(t *testing.T) {
		t.Parallel()
		var got string
		api := newTestLambda(func(_ context.Context, function string, payload []byte) (result, error) {
			got = function + " " + string(payload)
			if strings.Contains(string(payload), "fail") {
				return result{payload: failure("ConnectionNotFound", "no such connection"), functionError: "Unhandled"}, nil
			}
			return result{payload: []byte(`{"ok":true}`)}, nil
		})
		const path = "/2015-03-31/functions/"
		for _, c := range []struct {
			name, target, kind, body string
			status                   int
			answer, header, value    string
			invoked                  string
		}{
			{"name", path + "token-get/invocations", "", `{"a":1}`, 200, `{"ok":true}`, "X-Amz-Executed-Version", "$LATEST", `token-get {"a":1}`},
			{"ARN", path + "arn:aws:lambda:us-east-1:000000000000:function:token-get/invocations", "RequestResponse", `{}`, 200, `{"ok":true}`, "", "", "token-get {}"},
			{"version", path + "token-get:$LATEST/invocations", "", ``, 200, `{"ok":true}`, "X-Amz-Function-Error", "", "token-get {}"},
			{"failure", path + "token-get/invocations", "", `{"fail":1}`, 200, `{"errorMessage":"no such connection","errorType":"ConnectionNotFound"}`, "X-Amz-Function-Error", "Unhandled", `token-get {"fail":1}`},
			{"dry run", path + "token-get/invocations", "DryRun", `{}`, 204, "", "", "", ""},
			{"unknown function", path + "nobody/invocations", "", `{}`, 404, `{"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody","Type":"User"}`, "X-Amzn-Errortype", "ResourceNotFoundException", ""},
			{"unknown version", path + "token-get/invocations?Qualifier=7", "", `{}`, 404, `{"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:token-get","Type":"User"}`, "X-Amzn-Errortype", "ResourceNotFoundException", ""},
			{"no JSON", path + "token-get/invocations", "", `{`, 400, `{"Message":"Could not parse request body into json","Type":"User"}`, "X-Amzn-Errortype", "InvalidRequestContentException", ""},
			{"too large", path + "token-get/invocations", "", `"` + strings.Repeat("x", maxPayload) + `"`, 413, `{"Message":"Request must be smaller than 6291556 bytes for the InvokeFunction operation","Type":"User"}`, "X-Amzn-Errortype", "RequestTooLargeException", ""},
		} {
			got = ""
			response, body := ask(t, api, "POST", c.target, http.Header{"X-Amz-Invocation-Type": {c.kind}}, c.body)
			if response.StatusCode != c.status || strings.TrimSpace(body) != c.answer {
				t.Errorf("%s: %d %s; want %d %s", c.name, response.StatusCode, body, c.status, c.answer)
			}
			if c.header != "" && response.Header.Get(c.header) != c.value {
				t.Errorf("%s: %s is %q, want %q", c.name, c.header, response.Header.Get(c.header), c.value)
			}
			if got != c.invoked {
				t.Errorf("%s: invoked %q, want %q", c.name, got, c.invoked)
			}
		}
	})
	t.Run("event_is_asynchronous", func(t *testing.T) {
		t.Parallel()
		begun, end := make(chan string, 1), make(chan struct{})
		api := newTestLambda(func(_ context.Context, function string, _ []byte) (result, error) {
			begun <- function
			<-end
			return result{payload: []byte("null")}, nil
		})
		response, _ := ask(t, api, "POST", "/2015-03-31/functions/token-get/invocations", http.Header{"X-Amz-Invocation-Type": {"Event"}}, `{}`)
		if response.StatusCode != http.StatusAccepted {
			t.Errorf("got %s, want 202", response.Status)
		}
		if function := <-begun; function != "token-get" {
			t.Errorf("invoked %q", function)
		}
		close(end)
	})
	t.Run("web_page_is_refused", func(t *testing.T) {
		t.Parallel()
		api := newTestLambda(echo)
		for _, header := range []http.Header{{"Host": {"rebound.example"}}, {"Origin": {"https://elsewhere.example"}}} {
			response, _ := ask(t, api, "POST", "/2015-03-31/functions/token-get/invocations", header, `{}`)
			if response.StatusCode != http.StatusForbidden {
				t.Errorf("%v: %s, want 403", header, response.Status)
			}
		}
	})
}
