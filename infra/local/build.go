package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"platform-api-connector/infra/blueprint"
)

// moduleRoot returns the folder of go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("this folder is not in a Go module: run the command in the folder of the project")
	}
	return filepath.Dir(file), nil
}

// buildFunctions builds every function of the blueprint into dir, for this
// machine and stripped, as they deploy. It sets neither -trimpath nor
// CGO_ENABLED, because Go would then compile the AWS SDK a second time after it
// compiled it for this command. It does not call Git, which refuses a checkout
// of another user, as is common in containers.
func buildFunctions(ctx context.Context, root, dir string, functions []blueprint.Function, t *terminal) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the folder of the binaries: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, ".lock"))
	if err != nil {
		return err
	}
	defer unlock()

	args := []string{"build", "-v", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}
	for _, f := range functions {
		args = append(args, "./functions/"+f.Name)
	}
	progress := newProgress(t)
	defer progress.end()
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = root
	command.Stdout, command.Stderr = progress, progress
	if err := command.Run(); err != nil {
		return fmt.Errorf("building the functions: %w\n%s", err, progress.output())
	}
	return nil
}

// progress shows every few seconds how far a build is, and records its output.
// With -v, go names each package that it compiles.
type progress struct {
	terminal *terminal
	done     chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

func newProgress(t *terminal) *progress {
	p := &progress{terminal: t, done: make(chan struct{})}
	go p.run()
	return p
}

func (p *progress) run() {
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-ticker.C:
			p.terminal.line(dim, "still building: %s so far", plural(strings.Count(p.output(), "\n"), "package"))
		}
	}
}

func (p *progress) end() { close(p.done) }

func (p *progress) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

// lock prevents other stacks from building into the same folder.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the folder of the binaries: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking the folder of the binaries: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
