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

// invocation is one event that a process handles.
type invocation struct {
	id       string
	arn      string
	payload  []byte
	deadline time.Time
	answer   chan result // buffers one result, so that sending never blocks
}

// result is the result of an invocation. If the function failed, functionError
// is "Unhandled", as in the header X-Amz-Function-Error, and the payload
// contains errorType and errorMessage.
type result struct {
	payload       []byte
	functionError string
	log           []byte // its last 4 KB
}

// process is one execution environment of a function. It handles one
// invocation at a time.
type process struct {
	// token is the path of the Runtime API of this process. It is secret, so
	// that no page in a browser can answer for the process.
	token   string
	command *exec.Cmd
	output  *output

	// polls receives each poll of the process for the next invocation: a
	// channel that accepts one invocation without blocking.
	polls chan chan<- *invocation
	// broken receives the report of a failed start.
	broken chan result
	// exited is closed after the process has exited and its output was read.
	exited chan struct{}

	mu      sync.Mutex
	current *invocation
	ending  string // the exit status, such as "exit status 1"; set before exited is closed
	ended   bool   // the stack killed the process
}

// startProcess runs binary with exactly the variables of environment, and
// writes its output to output.
func startProcess(binary string, environment []string, runtime *runtimeAPI, to io.Writer) (*process, error) {
	written, err := newOutput(to)
	if err != nil {
		return nil, err
	}
	p := &process{
		output: written,
		token:  rand.Text(),
		polls:  make(chan chan<- *invocation),
		broken: make(chan result, 1),
		exited: make(chan struct{}),
	}
	p.command = exec.Command(binary)
	p.command.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + runtime.address(p)}, environment...)
	p.command.Stdout, p.command.Stderr = written.pipe, written.pipe
	p.command.SysProcAttr = ownGroup()

	runtime.add(p)
	if err := p.command.Start(); err != nil {
		runtime.remove(p)
		written.close(0)
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	go func() {
		err := p.command.Wait()
		runtime.remove(p)
		p.output.close(time.Second)
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

// end kills the process and its children.
func (p *process) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	// The error means that the process has exited already.
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
}

// exitReason returns the exit status, and whether the stack killed the process.
func (p *process) exitReason() (status string, killed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending, p.ended
}

// assign gives the process its next invocation.
func (p *process) assign(poll chan<- *invocation, i *invocation) {
	p.mu.Lock()
	p.current = i
	p.mu.Unlock()
	p.output.reset()
	poll <- i
}

// finish accepts the answer to the invocation with the id, once.
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
