package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"golang.org/x/oauth2"

	"platform-api-connector/shared/client"
	"platform-api-connector/shared/connector"
)

// exampleLambda serves a token-get function that always gives answer. A
// deployed program uses lambda.NewFromConfig instead.
func exampleLambda(answer string, failed bool) (api *lambda.Client, stop func()) {
	s := &lambdaStub{answer: func(string) (string, bool) { return answer, failed }}
	return s.start()
}

func ExampleClient_Token() {
	api, stop := exampleLambda(`{
		"connection_id": "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13", "platform": "facebook", "owner": "acme",
		"access_token": "test-access-token", "token_type": "Bearer", "credentials": {"page_id": "100000000000002"}
	}`, false)
	defer stop()

	tokens := client.New(api, "token-get")
	token, err := tokens.Token(context.Background(), client.Request{Owner: "acme", Platform: "facebook"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.Credentials.Get("page_id"))
	fmt.Println(token.AccessToken) // token.AccessToken.Reveal() returns its value
	// Output:
	// 100000000000002
	// [secret]
}

// A caller decides by the code of an error and reads the details of some codes.
func ExampleClient_Token_errors() {
	for _, failure := range []string{
		`{"errorType": "ReauthorizationRequired", "errorMessage": "the person removed the app"}`,
		`{"errorType": "RateLimited", "errorMessage": "wait [retry_after: 30]"}`,
		`{"errorType": "ScopeMissing", "errorMessage": "reconnect [missing_scopes: video.publish]"}`,
		`{"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 30 seconds"}`,
	} {
		api, stop := exampleLambda(failure, true)
		_, err := client.New(api, "token-get").Token(context.Background(), client.Request{Owner: "acme", Platform: "tiktok"})
		stop()

		var refused *connector.Error
		switch {
		case errors.Is(err, connector.ReauthorizationRequired):
			fmt.Println("send the person a connect link")
		case errors.As(err, &refused) && refused.RetryAfter > 0:
			fmt.Println("try again in", refused.RetryAfter)
		case errors.As(err, &refused):
			fmt.Println("report", refused.Code, refused.MissingScopes)
		default:
			fmt.Println("try again:", err)
		}
	}
	// Output:
	// send the person a connect link
	// try again in 30s
	// report ScopeMissing [video.publish]
	// try again: token-get did not answer: Sandbox.Timedout
}

func ExampleClient_TokenSource() {
	api, stop := exampleLambda(`{"access_token": "test-access-token", "token_type": "Bearer"}`, false)
	defer stop()
	platform := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Header.Get("Authorization"))
	}))
	defer platform.Close()

	ctx := context.Background()
	tokens := client.New(api, "token-get")
	youtube := oauth2.NewClient(ctx, tokens.TokenSource(ctx, client.Request{Owner: "acme", Platform: "youtube"}))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, platform.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := youtube.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	// Output: Bearer test-access-token
}
