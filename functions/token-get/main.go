// Command token-get hands out credentials that work now.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("token-get", (*handler.Handler).TokenGet) }
