package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"platform-api-connector/infra/blueprint"
)

func TestBuildFunctions(t *testing.T) {
	// In a checkout of another user, git refuses to run.
	t.Run("does_not_call_git", func(t *testing.T) {
		root, err := moduleRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		programs := t.TempDir()
		if err := os.WriteFile(filepath.Join(programs, "git"), []byte("#!/bin/sh\nexit 128\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", programs+string(os.PathListSeparator)+os.Getenv("PATH"))
		t.Setenv("GOFLAGS", "-buildvcs=auto")
		silent := &terminal{out: io.Discard, now: time.Now}
		if err := buildFunctions(t.Context(), root, t.TempDir(), blueprint.Functions()[:1], silent); err != nil {
			t.Error(err)
		}
	})
}
