// Command oauth-start checks a connect link and sends the browser to the platform.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("oauth-start", (*handler.Handler).OAuthStart) }
