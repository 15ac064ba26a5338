package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

const (
	role       = "arn:aws:sts::123456789012:assumed-role/"
	tokenGet   = "arn:aws:lambda:eu-west-1:123456789012:function:token-get"
	acmesAlias = tokenGet + ":acme"
)

// as signs a request as a principal.
func as(arn string) change {
	return func(e *events.APIGatewayV2HTTPRequest) {
		e.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{
			IAM: &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{UserARN: arn},
		}
	}
}

// confinedStack has a connection of acme, which the role acme may see, and one
// of globex. The owner idle has none.
func confinedStack(t *testing.T) (s *stack, acme, globex string) {
	t.Helper()
	s = newStack(t)
	acme = s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	globex = s.connect(t, "youtube", "globex", sandbox.Choice{})[0]
	s.confine(handler.Callers{
		role + "acme/*": {"acme", "idle"},
		role + "all/*":  {"*"},
		acmesAlias:      {"acme", "idle"},
		tokenGet:        {"*"},
	})
	return s, acme, globex
}

func TestHandler_Callers(t *testing.T) {
	t.Parallel()
	// A connection of another owner looks exactly like an absent one.
	t.Run("foreign_owner_looks_absent", func(t *testing.T) {
		t.Parallel()
		s, _, globex := confinedStack(t)
		account := s.account(t, globex)
		confined := s.functions
		s.confine(nil)
		held := s.hold(t, "tiktok", "globex", sandbox.Choice{})
		s.functions = confined
		of := func(id string) string { return "/connections/" + id }
		body := func(format string, values ...any) change {
			return withBody(jsonType, fmt.Sprintf(format, values...))
		}
		for _, row := range []struct {
			name    string
			method  string
			another string // the request for another owner's connection
			absent  string // the same request for an absent one
			bodies  [2]change
		}{
			{"show", "GET", of(globex), of(unknownID), [2]change{}},
			{"token", "GET", of(globex) + "/token", of(unknownID) + "/token", [2]change{}},
			{"full token", "GET", of(globex) + "/token?full=true", of(unknownID) + "/token?full=true", [2]change{}},
			{"sign", "POST", of(globex) + "/sign", of(unknownID) + "/sign", [2]change{
				body(`{"method":"GET","url":"https://api.x.com/2/users/me"}`), body(`{"method":"GET","url":"https://api.x.com/2/users/me"}`)}},
			{"verify", "POST", of(globex) + "/verify", of(unknownID) + "/verify", [2]change{}},
			{"refresh", "POST", of(globex) + "/refresh", of(unknownID) + "/refresh", [2]change{}},
			{"usage", "POST", of(globex) + "/usage", of(unknownID) + "/usage", [2]change{body(`{"posts":1}`), body(`{"posts":1}`)}},
			{"disconnect", "DELETE", of(globex), of(unknownID), [2]change{}},
			{"purge", "DELETE", of(globex) + "?purge=true", of(unknownID) + "?purge=true", [2]change{}},
			{"list by owner", "GET", "/connections?owner=globex", "/connections?owner=idle", [2]change{}},
			{"list by owner and platform", "GET", "/connections?owner=globex&platform=youtube", "/connections?owner=idle&platform=youtube", [2]change{}},
			{"re-authorize", "POST", "/links", "/links", [2]change{
				body(`{"platform":"youtube","owner":"acme","connection_id":%q}`, globex), body(`{"platform":"youtube","owner":"acme","connection_id":%q}`, unknownID)}},
			{"re-authorize in its name", "POST", "/links", "/links", [2]change{
				body(`{"platform":"youtube","owner":"globex","connection_id":%q}`, globex), body(`{"platform":"youtube","owner":"acme","connection_id":%q}`, unknownID)}},
			{"link in its name", "POST", "/links", "/links", [2]change{
				body(`{"platform":"youtube","owner":"globex"}`), body(`{"platform":"youtube","owner":"acme","connection_id":%q}`, unknownID)}},
			{"import in its name", "POST", "/connections", "/links", [2]change{
				body(`{"platform":"youtube","owner":"globex","verify":false,"credentials":{"access_token":"x","refresh_token":"y"}}`),
				body(`{"platform":"youtube","owner":"acme","connection_id":%q}`, unknownID)}},
			{"confirm in its name", "POST", "/connections/confirm", "/connections/confirm", [2]change{
				body(`{"confirmation":%q,"owner":"globex"}`, held), body(`{"confirmation":%q,"owner":"globex"}`, strings.Repeat("x", 43))}},
		} {
			t.Run(row.name, func(t *testing.T) {
				ask := func(target string, change change) reply {
					if change == nil {
						return s.do(t, row.method, target, as(role+"acme/session"))
					}
					return s.do(t, row.method, target, change, as(role+"acme/session"))
				}
				another, absent := ask(row.another, row.bodies[0]), ask(row.absent, row.bodies[1])
				if another.StatusCode != absent.StatusCode || another.Body != absent.Body || fmt.Sprint(another.Headers) != fmt.Sprint(absent.Headers) {
					t.Errorf("another's: %d %s\nnobody's:  %d %s", another.StatusCode, another.Body, absent.StatusCode, absent.Body)
				}
			})
		}
		for _, row := range []struct{ name, another, absent string }{
			{"by id", `{"connection_id":"` + globex + `"}`, `{"connection_id":"` + unknownID + `"}`},
			{"by owner", `{"owner":"globex","platform":"youtube"}`, `{"owner":"idle","platform":"youtube"}`},
			{"by account", `{"owner":"globex","platform":"youtube","account_id":"` + account + `"}`, `{"owner":"idle","platform":"youtube","account_id":"` + account + `"}`},
			{"by id with a forged owner", `{"owner":"acme","connection_id":"` + globex + `"}`, `{"owner":"acme","connection_id":"` + unknownID + `"}`},
		} {
			t.Run("direct "+row.name, func(t *testing.T) {
				another, absent := s.invokeAs(t, acmesAlias, row.another), s.invokeAs(t, acmesAlias, row.absent)
				if another == "" || another != absent {
					t.Errorf("another's: %s\nnobody's:  %s", another, absent)
				}
			})
		}

		// The connection of globex has not changed.
		s.do(t, http.MethodPost, of(globex)+"/verify", as(role+"all/session")).decode(t, 200, &struct{}{})
		s.do(t, http.MethodPost, "/connections/confirm", body(`{"confirmation":%q,"owner":"globex"}`, held), as(role+"all/session")).decode(t, 200, &struct{}{})
	})
	t.Run("own_owner_works", func(t *testing.T) {
		t.Parallel()
		s, acme, globex := confinedStack(t)
		own := as(role + "acme/session")
		s.do(t, http.MethodGet, "/connections/"+acme+"/token", own).decode(t, 200, &struct{}{})
		s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": "acme", "connection_id": acme}), own).decode(t, 201, &struct{}{})
		for _, payload := range []string{`{"connection_id":"` + acme + `"}`, `{"owner":"acme","platform":"youtube"}`} {
			if failure := s.invokeAs(t, acmesAlias, payload); failure != "" {
				t.Errorf("%s: %s", payload, failure)
			}
		}
		if failure := s.invokeAs(t, tokenGet, `{"connection_id":"`+globex+`"}`); failure != "" {
			t.Errorf("by way of the function itself: %s", failure)
		}
		for target, want := range map[string][]string{"/connections": {acme}, "/connections?limit=1": {acme}, "/connections?status=active&platform=youtube": {acme}} {
			var list struct {
				Connections []struct{ ID string }
				NextCursor  string `json:"next_cursor"`
			}
			s.do(t, http.MethodGet, target, own).decode(t, 200, &list)
			if len(list.Connections) != len(want) || list.Connections[0].ID != want[0] || list.NextCursor != "" {
				t.Errorf("%s: %+v, want %v", target, list, want)
			}
		}
	})
	// The app belongs to all owners.
	t.Run("confined_caller_cannot_set_an_app", func(t *testing.T) {
		t.Parallel()
		s, _, _ := confinedStack(t)
		app := withJSON(t, map[string]any{"client_id": "another", "client_secret": "test-client-secret"})
		s.do(t, http.MethodPut, "/platforms/youtube/app", app, as(role+"acme/session")).refused(t, 400, connector.InvalidRequest)
		s.do(t, http.MethodPut, "/platforms/youtube/app", app, as(role+"all/session")).decode(t, 200, &struct{}{})
	})
	// AWS names the caller. The request and the payload cannot change it.
	t.Run("identity_cannot_be_forged", func(t *testing.T) {
		t.Parallel()
		s, acme, globex := confinedStack(t)
		forged := with("x-amzn-iam-user-arn", role+"all/session")
		s.do(t, http.MethodGet, "/connections/"+globex, as(role+"acme/session"), forged).refused(t, 404, connector.ConnectionNotFound)
		s.do(t, http.MethodGet, "/connections/"+globex, forged).refused(t, 404, connector.ConnectionNotFound)
		s.do(t, http.MethodGet, "/connections/"+globex, as(role+"stranger/session")).refused(t, 404, connector.ConnectionNotFound)
		s.do(t, http.MethodGet, "/connections/"+globex, as("")).refused(t, 404, connector.ConnectionNotFound)

		// A principal that invokes an alias may send a forged HTTP request. It does
		// not get the owners of another caller.
		_, e := event(t, http.MethodGet, "/connections/"+globex+"/token", as(role+"all/session"))
		for _, arn := range []string{acmesAlias, tokenGet + ":7", tokenGet + ":$LATEST"} {
			ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: requestID, InvokedFunctionArn: arn})
			result, err := s.functions["token-get"](ctx, encode(t, e))
			if err != nil || !strings.Contains(string(result), `"statusCode":404`) {
				t.Errorf("%s: %s, %v", arn, result, err)
			}
		}
		// API Gateway invokes no alias, so the signer is the caller.
		_, e = event(t, http.MethodGet, "/connections/"+acme, as(role+"acme/session"))
		ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{
			AwsRequestID: requestID, InvokedFunctionArn: "arn:aws:lambda:eu-west-1:123456789012:function:connections",
		})
		if result, err := s.functions["connections"](ctx, encode(t, e)); err != nil || !strings.Contains(string(result), `"statusCode":200`) {
			t.Errorf("one's own by way of API Gateway: %s, %v", result, err)
		}
		for _, arn := range []string{"", tokenGet + ":7", "arn:aws:lambda:eu-west-1:123456789012:function:another"} {
			if failure := s.invokeAs(t, arn, `{"connection_id":"`+globex+`"}`); !strings.HasPrefix(failure, "ConnectionNotFound") {
				t.Errorf("direct by way of %q: %q", arn, failure)
			}
		}
	})
}

func (s *stack) account(t *testing.T, id string) string {
	t.Helper()
	c, err := s.store.Connection(t.Context(), connector.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	return c.AccountID
}

// invokedAs is the context of an invocation under an ARN.
func invokedAs(t *testing.T, arn string) context.Context {
	t.Helper()
	return lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: requestID, InvokedFunctionArn: arn})
}

// invokeAs invokes token-get under an ARN, and returns the error.
func (s *stack) invokeAs(t *testing.T, arn, payload string) string {
	t.Helper()
	_, err := s.functions["token-get"](invokedAs(t, arn), []byte(payload))
	if failure, ok := err.(messages.InvokeResponse_Error); ok {
		return failure.Type + ": " + failure.Message
	}
	return ""
}
