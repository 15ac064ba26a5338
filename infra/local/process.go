package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// invocation is one event on its way through a process.
type invocation struct {
	id       string
	arn      string
	payload  []byte
	deadline time.Time
	answer   chan result // holds one, so that nobody waits for a reader
}

// result is what an invocation came to. FunctionError is "Unhandled" where
// the function failed, as in the header X-Amz-Function-Error; the payload then
// holds errorType and errorMessage.
type result struct {
	payload       []byte
	functionError string
}

// process is one execution environment of a function: it takes one
// invocation at a time.
type process struct {
	// token is the path under which the process finds its Runtime API. Nobody
	// else knows it, so no page in a browser can answer in its place.
	token   string
	command *exec.Cmd

	// polls brings each of its polls for the next invocation: a channel that
	// takes one without waiting.
	polls chan chan<- *invocation
	// broken takes the report of a failed start.
	broken chan result
	// exited closes once the process is gone and its output was read.
	exited chan struct{}

	mu      sync.Mutex
	current *invocation
	ending  string // how it ended: "exit status 1"; set before exited closes
	ended   bool   // we ended it
}

// startProcess runs binary with nothing but environment. Its output goes to
// output.
func startProcess(binary string, environment []string, runtime *runtimeAPI, output io.Writer) (*process, error) {
	p := &process{
		token:  rand.Text(),
		polls:  make(chan chan<- *invocation),
		broken: make(chan result, 1),
		exited: make(chan struct{}),
	}
	p.command = exec.Command(binary)
	p.command.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + runtime.address(p)}, environment...)
	p.command.Stdout, p.command.Stderr = output, output
	p.command.SysProcAttr = ownGroup()
	// What the process itself left running could hold its output open.
	p.command.WaitDelay = time.Second

	runtime.add(p)
	if err := p.command.Start(); err != nil {
		runtime.remove(p)
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	go func() {
		err := p.command.Wait()
		runtime.remove(p)
		p.mu.Lock()
		p.ending = ending(err)
		p.mu.Unlock()
		close(p.exited)
	}()
	return p, nil
}

func ending(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit):
		return exit.String()
	}
	return err.Error()
}

// end kills the process and all that it started.
func (p *process) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	// The error says that it is gone already.
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
}

// howItEnded returns the manner of the end, and whether it was ours.
func (p *process) howItEnded() (manner string, ours bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending, p.ended
}

// hand gives the process its next invocation.
func (p *process) hand(poll chan<- *invocation, i *invocation) {
	p.mu.Lock()
	p.current = i
	p.mu.Unlock()
	poll <- i
}

// finish takes the answer to the invocation named id, once.
func (p *process) finish(id string, r result) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || p.current.id != id {
		return false
	}
	p.current.answer <- r
	p.current = nil
	return true
}
