// Command platform-notice takes what platforms send on their own.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("platform-notice", (*handler.Handler).PlatformNotice) }
