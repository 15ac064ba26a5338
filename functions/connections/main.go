// Command connections serves the operator's routes.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("connections", (*handler.Handler).Connections) }
