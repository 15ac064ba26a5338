package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// withParent returns a context that also ends when the `go run` that started
// this process ends. On SIGTERM, go run exits without passing the signal on.
// Seen with Go 1.26; https://github.com/golang/go/issues/40467.
func withParent(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	if !underGoRun() || parent == 1 {
		return ctx, cancel
	}
	go func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if os.Getppid() != parent {
					cancel()
					return
				}
			}
		}
	}()
	return ctx, cancel
}

// underGoRun reports whether `go run` started this process: its binary is then
// in a temporary go-build folder or in the build cache.
func underGoRun() bool {
	path, err := os.Executable()
	if err != nil {
		return false
	}
	cache := os.Getenv("GOCACHE")
	return strings.Contains(filepath.ToSlash(path), "/go-build") || cache != "" && strings.HasPrefix(path, cache)
}
