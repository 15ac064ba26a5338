// Command refresh-worker refreshes the connections of a batch.
package main

import (
	"platform-api-connector/shared/boot"
	"platform-api-connector/shared/handler"
)

func main() { boot.Start("refresh-worker", (*handler.Handler).RefreshWorker) }
