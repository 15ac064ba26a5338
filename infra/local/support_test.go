package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

var tempDirs []string

func TestMain(m *testing.M) {
	code := m.Run()
	for _, directory := range tempDirs {
		_ = os.RemoveAll(directory)
	}
	os.Exit(code)
}

// makeTempDir creates a folder that is removed after all tests.
func makeTempDir(name string) (string, error) {
	directory, err := os.MkdirTemp("", name)
	if err == nil {
		tempDirs = append(tempDirs, directory)
	}
	return directory, err
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// waitFor polls a condition that has no event to wait for.
func waitFor(t testing.TB, event string, happened func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !happened() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", event)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// alive reports whether a process runs. A process that its parent has not reaped
// yet does not run.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return os.IsNotExist(err) && !onLinux()
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(state, []byte("Z"))
}

func onLinux() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}
