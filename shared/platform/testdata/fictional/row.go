package platform_test

import (
	"time"

	"platform-api-connector/shared/connector"
)

var fictionalRow = row{
	name: "fictional",
	authorizeURL: "https://login.fictional.example/authorize?client_id=test-client&code_challenge=cr44KV5YSKLyleX1Lm_6fEu7NYZExuMmIJCfFloMT1o&code_challenge_method=S256" +
		"&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Ffictional%2Fcallback&response_type=code&scope=profile%20publish&state=test-state",
	pkce: true, separator: " ",
	shape:    []string{"client_id", "client_secret", "access_token", "refresh_token", "token_expiry"},
	optional: []string{"access_token", "token_expiry"},
	account:  "fictional-one", others: "fictional-two", accounts: 1,
	me: "me", refresh: "token", untick: "publish", expires: true, rotates: true,
	cadence: connector.Cadence{Model: connector.Rotating, Lifetime: time.Hour},
}
