// Command oauth-callback redeems the code of a consent, stores the connections and shows the result.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("oauth-callback", (*handler.Handler).OAuthCallback) }
