package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform-api-connector/infra/blueprint"
)

// testFunction builds the function of testdata, once.
var testFunction = sync.OnceValues(func() (string, error) {
	directory, err := makeTempDir("function")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(directory, "function")
	if out, err := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", binary, "./testdata/function").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the test function: %w\n%s", err, out)
	}
	return binary, nil
})

type testAnswer struct {
	PID         int
	Child       int
	Environment []string
}

// newTestPool returns a pool of test functions, and its output.
func newTestPool(t *testing.T, f blueprint.Function, concurrency int, environment ...string) (*pool, *outputBuffer) {
	t.Helper()
	binary, err := testFunction()
	if err != nil {
		t.Fatal(err)
	}
	output := &outputBuffer{}
	api := newRuntimeAPI("")
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	api.host = strings.TrimPrefix(server.URL, "http://")
	if f.Name == "" {
		f.Name = "test-function"
	}
	if f.Timeout == 0 {
		f.Timeout = time.Minute
	}
	p := newPool(f, concurrency, binary, environment, api, output, func(format string, args ...any) {
		_, _ = fmt.Fprintf(output, format+"\n", args...)
	})
	t.Cleanup(p.close)
	return p, output
}

// outputBuffer is a buffer for concurrent writers.
type outputBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *outputBuffer) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(b)
}

func (o *outputBuffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// invokeTest invokes the test function with a command. It may run in another
// goroutine than the test's.
func invokeTest(t *testing.T, p *pool, command string) (a testAnswer) {
	t.Helper()
	r, err := p.invoke(t.Context(), []byte(command))
	switch {
	case err != nil:
		t.Errorf("invoking: %v", err)
	case r.functionError != "":
		t.Errorf("%s failed: %s", command, r.payload)
	default:
		if err := json.Unmarshal(r.payload, &a); err != nil {
			t.Errorf("reading the answer: %v", err)
		}
	}
	return a
}

// invokeFailing invokes the test function, which must fail, and returns its error.
func invokeFailing(t *testing.T, p *pool, command string) (kind, message string) {
	t.Helper()
	r, err := p.invoke(t.Context(), []byte(command))
	if err != nil {
		t.Fatalf("invoking: %v", err)
	}
	if r.functionError != "Unhandled" {
		t.Fatalf("%s: function error is %q, want Unhandled; answer %s", command, r.functionError, r.payload)
	}
	return failureOf(r)
}

func TestPool_Invoke(t *testing.T) {
	t.Run("warm_process_is_reused", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 10)
		first, second := invokeTest(t, p, `{}`), invokeTest(t, p, `{}`)
		if first.PID != second.PID {
			t.Errorf("processes are %d and %d, want one", first.PID, second.PID)
		}
	})
	t.Run("concurrent_invocation_has_its_own_process", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 3)
		g := newGate(t)
		pids := make(chan int, 3)
		for range 3 {
			go func() { pids <- invokeTest(t, p, `{"visit":"`+g.URL+`"}`).PID }()
		}
		for range 3 {
			<-g.arrived
		}
		close(g.open)
		processes := map[int]bool{}
		for range 3 {
			processes[<-pids] = true
		}
		if len(processes) != 3 {
			t.Errorf("%d processes for 3 concurrent invocations", len(processes))
		}
	})
	t.Run("invocations_beyond_the_limit_are_served_in_order", func(t *testing.T) {
		t.Parallel()
		// The limit of the blueprint applies if it is lower than -concurrency.
		p, _ := newTestPool(t, blueprint.Function{MaxConcurrency: 1}, 10)
		g := newGate(t)
		var invocations sync.WaitGroup
		for i := range 4 {
			invocations.Go(func() { invokeTest(t, p, fmt.Sprintf(`{"visit":"%s?%d"}`, g.URL, i)) })
			if i == 0 {
				if got := <-g.arrived; got != "0" {
					t.Errorf("first is %q, want 0", got)
				}
				continue
			}
			waitFor(t, "the invocation to wait for a slot", func() bool {
				p.slots.mu.Lock()
				defer p.slots.mu.Unlock()
				return len(p.slots.waiting) == i
			})
		}
		close(g.open)
		invocations.Wait()
		close(g.arrived)
		var order []string
		for query := range g.arrived {
			order = append(order, query)
		}
		if want := []string{"1", "2", "3"}; !slices.Equal(order, want) {
			t.Errorf("order is %v, want %v", order, want)
		}
		if n := len(p.processes); n != 1 {
			t.Errorf("%d processes, want 1", n)
		}
	})
	t.Run("cancelled_invocation_leaves_the_queue", func(t *testing.T) {
		t.Parallel()
		s := newSlots(1)
		if err := s.take(t.Context(), t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := contextWithCancel(t)
		taken := make(chan error, 1)
		go func() { taken <- s.take(ctx, t.Context()) }()
		waitFor(t, "the caller to wait for a slot", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.waiting) == 1
		})
		cancel()
		if err := <-taken; err == nil {
			t.Fatal("a cancelled caller got a slot")
		}
		s.release()
		if err := s.take(t.Context(), t.Context()); err != nil {
			t.Fatalf("the slot was lost: %v", err)
		}
	})
	t.Run("crash", func(t *testing.T) {
		t.Parallel()
		p, output := newTestPool(t, blueprint.Function{}, 10)
		before := invokeTest(t, p, `{}`)
		kind, message := invokeFailing(t, p, `{"do":"exit"}`)
		if kind != "Runtime.ExitError" || !strings.Contains(message, "exit status 3") {
			t.Errorf("got %s: %s, want Runtime.ExitError with exit status 3", kind, message)
		}
		if !strings.Contains(output.String(), "test failure") {
			t.Errorf("stderr is not shown: %q", output)
		}
		if after := invokeTest(t, p, `{}`); after.PID == before.PID {
			t.Errorf("process %d answers after it exited", after.PID)
		}
		waitFor(t, "the crash to be reported", func() bool { return strings.Contains(output.String(), "crashed (exit status 3)") })
	})
	t.Run("crash_between_invocations", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 10)
		first := invokeTest(t, p, `{}`)
		if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the pool to notice the crash", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.processes) == 0
		})
		if second := invokeTest(t, p, `{}`); second.PID == first.PID {
			t.Error("a killed process answered")
		}
	})
	t.Run("panic_is_reported_and_the_process_replaced", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 1)
		before := invokeTest(t, p, `{}`)
		if kind, message := invokeFailing(t, p, `{"do":"panic"}`); message != "test failure" {
			t.Errorf("got %s: %s, want the panic", kind, message)
		}
		if after := invokeTest(t, p, `{}`); after.PID == before.PID {
			t.Error("the process that panicked was used again")
		}
	})
	t.Run("process_survives_an_error", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 1)
		before := invokeTest(t, p, `{}`)
		if kind, message := invokeFailing(t, p, `{"do":"fail"}`); kind != "errorString" || message != "test failure" {
			t.Errorf("got %s: %s, want errorString: test failure", kind, message)
		}
		if after := invokeTest(t, p, `{}`); after.PID != before.PID {
			t.Error("the process was replaced after an ordinary error")
		}
	})
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{Timeout: 300 * time.Millisecond}, 1, "PATH="+os.Getenv("PATH"))
		before := invokeTest(t, p, `{"do":"leave a child"}`)
		kind, message := invokeFailing(t, p, `{"do":"hang"}`)
		if kind != "Sandbox.Timedout" || !strings.HasSuffix(message, "Task timed out after 0.30 seconds") {
			t.Errorf("got %s: %s", kind, message)
		}
		if alive(before.PID) {
			t.Error("the process still runs after its timeout")
		}
		waitFor(t, "the child of the process to end", func() bool { return !alive(before.Child) })
		if after := invokeTest(t, p, `{}`); after.PID == before.PID {
			t.Error("the process was not replaced")
		}
	})
	t.Run("function_cannot_start", func(t *testing.T) {
		t.Parallel()
		p, output := newTestPool(t, blueprint.Function{}, 10, "LOG_LEVEL=crash")
		err := p.warmUp(t.Context())
		if err == nil || !strings.Contains(err.Error(), "test-function does not start") || !strings.Contains(err.Error(), "exit status 1") {
			t.Errorf("got %v", err)
		}
		if !strings.Contains(output.String(), "LOG_LEVEL: none of") {
			t.Errorf("the output of the function is not shown: %q", output)
		}
		if kind, _ := invokeFailing(t, p, `{}`); kind != "Runtime.ExitError" {
			t.Errorf("got %s, want Runtime.ExitError", kind)
		}
		if p.failures != 2 {
			t.Errorf("%d failures counted, want 2", p.failures)
		}
	})
	t.Run("answer_larger_than_6_MB", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 1)
		if kind, _ := invokeFailing(t, p, `{"do":"fill","size":7000000}`); kind != "Function.ResponseSizeTooLarge" {
			t.Errorf("got %s", kind)
		}
		invokeTest(t, p, `{"do":"fill","size":6000000}`)
	})
	t.Run("environment_is_exact", func(t *testing.T) {
		p, _ := newTestPool(t, blueprint.Function{}, 1, "ONLY=this")
		t.Setenv("STRAY", "value")
		got := invokeTest(t, p, `{"do":"environment"}`).Environment
		slices.Sort(got)
		// The trace id is aws-lambda-go's own.
		if len(got) != 3 || !strings.HasPrefix(got[0], "AWS_LAMBDA_RUNTIME_API=127.0.0.1:") || got[1] != "ONLY=this" {
			t.Errorf("environment is %q", got)
		}
	})
}

func TestPool_WarmUp(t *testing.T) {
	t.Parallel()
	t.Run("starts_a_process", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 10)
		if err := p.warmUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(p.warm); n != 1 {
			t.Errorf("%d warm processes, want 1", n)
		}
	})
}

// gate is a server that answers no request until it opens.
type gate struct {
	*httptest.Server
	arrived chan string // the query of each request
	open    chan struct{}
}

func newGate(t *testing.T) *gate {
	g := &gate{arrived: make(chan string, 100), open: make(chan struct{})}
	g.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		g.arrived <- r.URL.RawQuery
		<-g.open
	}))
	t.Cleanup(g.Close)
	return g
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	t.Run("grows_to_its_limit", func(t *testing.T) {
		t.Parallel()
		for failures, want := range map[int]time.Duration{0: 0, 1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 100: 5 * time.Second} {
			if got := backoff(failures); got != want {
				t.Errorf("after %d failures: %v, want %v", failures, got, want)
			}
		}
	})
}

func TestPool_Close(t *testing.T) {
	t.Parallel()
	t.Run("ends_every_process", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 10, "PATH="+os.Getenv("PATH"))
		idle := invokeTest(t, p, `{"do":"leave a child"}`)
		g := newGate(t)
		defer close(g.open)
		busy := make(chan error, 1)
		go func() {
			_, err := p.invoke(t.Context(), []byte(`{"visit":"`+g.URL+`"}`))
			busy <- err
		}()
		<-g.arrived
		p.close()
		if err := <-busy; !errors.Is(err, errClosed) {
			t.Errorf("the running invocation returned %v, want errClosed", err)
		}
		if alive(idle.PID) {
			t.Error("a process still runs")
		}
		waitFor(t, "the child of a process to end", func() bool { return !alive(idle.Child) })
		if _, err := p.invoke(t.Context(), []byte(`{}`)); !errors.Is(err, errClosed) {
			t.Errorf("invoking after close: %v, want errClosed", err)
		}
	})
}

func TestRuntimeAPI_ServeHTTP(t *testing.T) {
	t.Parallel()
	t.Run("path_identifies_the_process", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(newRuntimeAPI(""))
		defer server.Close()
		response, err := http.Get(server.URL + "/guess/2018-06-01/runtime/invocation/next")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("got %s, want 404", response.Status)
		}
	})
}
