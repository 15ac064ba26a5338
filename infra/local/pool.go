package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"platform-api-connector/infra/blueprint"
)

// initLimit is the maximum time until a process polls for its first
// invocation, as in Lambda.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
const initLimit = 10 * time.Second

var errClosed = errors.New("the stack is ending")

// pool runs the processes of one function. Each concurrent invocation has a
// process of its own. The pool prefers a warm process and has a maximum number
// of processes.
type pool struct {
	function    blueprint.Function
	binary      string
	environment []string
	runtime     *runtimeAPI
	output      io.Writer
	notify      func(format string, args ...any)

	ctx    context.Context // ends with the pool
	cancel context.CancelFunc
	work   sync.WaitGroup
	slots  *slots

	invocations sync.WaitGroup // the running invocations

	mu        sync.Mutex
	draining  bool // no invocation may start
	closed    bool
	warm      []idleProcess // the most recently used process is the last
	processes map[*process]bool
	failures  int // consecutive failed starts
}

type idleProcess struct {
	*process
	poll chan<- *invocation
}

func newPool(f blueprint.Function, concurrency int, binary string, environment []string, runtime *runtimeAPI, output io.Writer, notify func(string, ...any)) *pool {
	if f.MaxConcurrency > 0 {
		concurrency = min(concurrency, f.MaxConcurrency)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &pool{
		function: f, binary: binary, environment: environment,
		runtime: runtime, output: output, notify: notify,
		ctx: ctx, cancel: cancel, slots: newSlots(concurrency),
		processes: map[*process]bool{},
	}
}

// invoke runs the function once. It returns an error only if ctx or the pool
// ends before there is a result. An invocation that has started continues.
func (p *pool) invoke(ctx context.Context, payload []byte) (result, error) {
	if err := p.slots.take(ctx, p.ctx); err != nil {
		return result{}, err
	}
	if !p.begin() {
		p.slots.release()
		return result{}, errClosed
	}
	i := &invocation{id: newRequestID(), arn: functionARN(p.function.Name), payload: payload, answer: make(chan result, 1)}
	done := make(chan result, 1)
	go func() {
		defer p.work.Done()
		defer p.invocations.Done()
		defer p.slots.release()
		p.run(i, done)
	}()
	select {
	case r := <-done:
		if p.ctx.Err() != nil {
			return result{}, errClosed
		}
		return r, nil
	case <-ctx.Done():
		return result{}, ctx.Err()
	case <-p.ctx.Done():
		return result{}, errClosed
	}
}

// warmUp starts a process before the first invocation, and reports whether the
// function can start.
func (p *pool) warmUp(ctx context.Context) error {
	if err := p.slots.take(ctx, p.ctx); err != nil {
		return err
	}
	defer p.slots.release()
	process, failed := p.start()
	if process.process == nil {
		_, message := failureOf(failed)
		return fmt.Errorf("%s does not start: %s", p.function.Name, message)
	}
	p.addWarm(process)
	return nil
}

// drain refuses new invocations and waits until the running ones or ctx end. An
// interrupted refresh can lose the grant.
func (p *pool) drain(ctx context.Context) {
	p.mu.Lock()
	p.draining = true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		p.invocations.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// close kills every process and waits until all have exited.
func (p *pool) close() {
	p.cancel()
	p.mu.Lock()
	p.closed = true
	for process := range p.processes {
		process.end()
	}
	p.mu.Unlock()
	p.work.Wait()
}

func (p *pool) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining || p.closed {
		return false
	}
	p.work.Add(1)
	p.invocations.Add(1)
	return true
}

// run sends the result to done after the process is ready for the next
// invocation or has exited.
func (p *pool) run(i *invocation, done chan<- result) {
	begun := time.Now()
	process, failed := p.take()
	if process.process == nil {
		failed.log = logOf(i.id, p.function.MemoryMB, time.Since(begun), failed.log)
		done <- failed
		return
	}
	logged := func(r result) result {
		r.log = logOf(i.id, p.function.MemoryMB, time.Since(begun), process.output.sync())
		return r
	}
	i.deadline = time.Now().Add(p.function.Timeout)
	timeout := time.NewTimer(p.function.Timeout)
	defer timeout.Stop()
	process.assign(process.poll, i)

	select {
	case r := <-i.answer:
		next, ok := p.awaitNextPoll(process.process, timeout.C)
		r = logged(r)
		if ok {
			p.addWarm(next)
		}
		done <- r
	case <-process.exited:
		select {
		case r := <-i.answer:
			done <- logged(r)
		default:
			done <- logged(exitError(i, process.process))
		}
	case <-timeout.C:
		process.end()
		<-process.exited
		p.notify("%s exceeded its timeout of %v and was ended", p.function.Name, p.function.Timeout)
		done <- logged(result{payload: failure("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds",
			i.id, p.function.Timeout.Seconds())), functionError: "Unhandled"})
	}
}

// awaitNextPoll waits until a process that answered polls again, and reports whether
// it does. After a panic it exits instead, and must not get another invocation.
func (p *pool) awaitNextPoll(process *process, limit <-chan time.Time) (next idleProcess, ok bool) {
	select {
	case poll := <-process.polls:
		return idleProcess{process, poll}, true
	case <-process.exited:
	case <-limit:
		process.end()
		<-process.exited
	}
	return idleProcess{}, false
}

func (p *pool) addWarm(process idleProcess) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warm = append(p.warm, process)
}

// take returns a warm process, or a new one.
func (p *pool) take() (idleProcess, result) {
	p.mu.Lock()
	for len(p.warm) > 0 {
		last := p.warm[len(p.warm)-1]
		p.warm = p.warm[:len(p.warm)-1]
		select {
		case <-last.exited:
			continue
		default:
		}
		p.mu.Unlock()
		return last, result{}
	}
	wait := backoff(p.failures)
	p.mu.Unlock()

	select {
	case <-time.After(wait):
	case <-p.ctx.Done():
	}
	return p.start()
}

// backoff returns the pause before the next start of a function after n
// consecutive failed starts.
func backoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(5*time.Second, 100*time.Millisecond<<min(n, 10))
}

// start starts a process and waits for its first poll. The log of a result is what a
// process that failed wrote.
func (p *pool) start() (idleProcess, result) {
	process, err := p.launch()
	if err != nil {
		return idleProcess{}, result{payload: failure("Runtime.InvalidEntrypoint", err.Error()), functionError: "Unhandled"}
	}
	limit := time.NewTimer(initLimit)
	defer limit.Stop()
	select {
	case poll := <-process.polls:
		p.started(true)
		return idleProcess{process, poll}, result{}
	case r := <-process.broken:
		process.end()
		<-process.exited
		p.started(false)
		r.log = process.output.sync()
		return idleProcess{}, r
	case <-process.exited:
		p.started(false)
		failed := exitError(nil, process)
		failed.log = process.output.sync()
		return idleProcess{}, failed
	case <-limit.C:
		process.end()
		<-process.exited
		p.started(false)
		return idleProcess{}, result{
			payload:       failure("Sandbox.Timedout", fmt.Sprintf("Error: Init phase timed out after %v", initLimit)),
			functionError: "Unhandled", log: process.output.sync(),
		}
	}
}

// started counts consecutive failed starts.
func (p *pool) started(succeeded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures++
	if succeeded {
		p.failures = 0
	}
}

func (p *pool) launch() (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	process, err := startProcess(p.binary, p.environment, p.runtime, p.output)
	if err != nil {
		return nil, err
	}
	p.processes[process] = true
	p.work.Add(1)
	go p.watch(process)
	return process, nil
}

// watch notifies the person of a process that crashed. The next invocation
// starts another one.
func (p *pool) watch(process *process) {
	defer p.work.Done()
	<-process.exited
	p.mu.Lock()
	delete(p.processes, process)
	p.mu.Unlock()
	if status, killed := process.exitReason(); !killed {
		p.notify("%s crashed (%s); a new one starts with the next invocation", p.function.Name, status)
	}
}

// exitError returns the answer of Lambda if the process has exited.
func exitError(i *invocation, process *process) result {
	status, _ := process.exitReason()
	message := "Error: Runtime exited with error: " + status
	if i != nil {
		message = "RequestId: " + i.id + " " + message
	}
	return result{payload: failure("Runtime.ExitError", message), functionError: "Unhandled"}
}
