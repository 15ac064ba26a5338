// Command refresh finds what is due and queues it.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("refresh", (*handler.Handler).Refresh) }
