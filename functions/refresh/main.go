// Command refresh finds the due records and queues them.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("refresh", (*handler.Handler).Refresh) }
