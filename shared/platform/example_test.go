package platform_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"net/url"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// A platform sends the person to its consent page, redeems the code of the callback,
// and refreshes the credentials. This example uses the sandbox of YouTube.
func Example() {
	const redirectURI = "https://connector.example.com/oauth/youtube/callback"
	box := sandbox.New(sandbox.Options{RedirectURIs: map[string][]string{sandbox.YouTube: {redirectURI}}})
	server := httptest.NewServer(box)
	defer server.Close()

	var youtube connector.Platform
	for _, p := range platform.All(platform.Options{Endpoints: sandbox.Endpoints(server.URL)}) {
		if p.Describe().Name == "youtube" {
			youtube = p
		}
	}
	registered := box.AppOf(sandbox.YouTube)
	app := connector.App{ClientID: registered.ClientID, ClientSecret: connector.NewSecret(registered.ClientSecret)}
	authorization := connector.Authorization{
		Platform:    "youtube",
		Scopes:      youtube.Describe().Scopes,
		RedirectURI: redirectURI,
		State:       connector.NewSecret("example-state"),
		Verifier:    connector.NewSecret("example-verifier-0123456789-0123456789-01234567"),
	}

	consentURL, err := youtube.AuthorizeURL(app, authorization)
	if err != nil {
		log.Fatal(err)
	}
	redirect, err := box.Consent(consentURL, sandbox.Choice{}) // the person allows everything
	if err != nil {
		log.Fatal(err)
	}
	callback, err := url.Parse(redirect)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	redeemed, err := youtube.Redeem(ctx, app, authorization, connector.NewSecret(callback.Query().Get("code")))
	if err != nil {
		log.Fatal(err)
	}
	list, err := youtube.Accounts(ctx, app, redeemed, "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected", list.Grants[0].Account.Name)

	before := list.Grants[0].Credentials
	after, err := youtube.Refresh(ctx, app, before)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("access token is new:", !after.Fields["access_token"].Equal(before.Fields["access_token"]))
	fmt.Println("refresh token is new:", !after.Fields["refresh_token"].Equal(before.Fields["refresh_token"]))
	fmt.Println("printed:", after.Fields["access_token"])

	// Output:
	// connected Sandbox Channel One
	// access token is new: true
	// refresh token is new: false
	// printed: [secret]
}
