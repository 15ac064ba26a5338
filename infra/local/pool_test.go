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

type obeyed struct {
	PID         int
	Child       int
	Environment []string
}

// newTestPool returns a pool of test functions, and what it printed and told.
func newTestPool(t *testing.T, f blueprint.Function, concurrency int, environment ...string) (*pool, *spoken) {
	t.Helper()
	binary, err := testFunction()
	if err != nil {
		t.Fatal(err)
	}
	said := &spoken{}
	api := newRuntimeAPI("")
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	api.host = strings.TrimPrefix(server.URL, "http://")
	if f.Name == "" {
		f.Name = "obedient"
	}
	if f.Timeout == 0 {
		f.Timeout = time.Minute
	}
	p := newPool(f, concurrency, binary, environment, api, said, func(format string, args ...any) {
		_, _ = fmt.Fprintf(said, format+"\n", args...)
	})
	t.Cleanup(p.close)
	return p, said
}

// spoken is a buffer for several writers.
type spoken struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.Write(b)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.String()
}

// obey invokes, also from beside the test's own goroutine.
func obey(t *testing.T, p *pool, order string) (a obeyed) {
	t.Helper()
	r, err := p.invoke(t.Context(), []byte(order))
	switch {
	case err != nil:
		t.Errorf("invoking: %v", err)
	case r.functionError != "":
		t.Errorf("%s failed: %s", order, r.payload)
	default:
		if err := json.Unmarshal(r.payload, &a); err != nil {
			t.Errorf("reading the answer: %v", err)
		}
	}
	return a
}

// refuses invokes and returns how the function failed.
func refuses(t *testing.T, p *pool, order string) (kind, message string) {
	t.Helper()
	r, err := p.invoke(t.Context(), []byte(order))
	if err != nil {
		t.Fatalf("invoking: %v", err)
	}
	if r.functionError != "Unhandled" {
		t.Fatalf("%s: function error is %q, want Unhandled; answer %s", order, r.functionError, r.payload)
	}
	return failureOf(r)
}

func TestPool_Invoke(t *testing.T) {
	t.Run("warm_process_is_reused", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 10)
		first, second := obey(t, p, `{}`), obey(t, p, `{}`)
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
			go func() { pids <- obey(t, p, `{"visit":"`+g.URL+`"}`).PID }()
		}
		for range 3 {
			<-g.arrived
		}
		close(g.open)
		seen := map[int]bool{}
		for range 3 {
			seen[<-pids] = true
		}
		if len(seen) != 3 {
			t.Errorf("%d processes for 3 concurrent invocations", len(seen))
		}
	})
	t.Run("invocations_beyond_the_limit_are_served_in_order", func(t *testing.T) {
		t.Parallel()
		// The blueprint's own cap holds where it is lower than -concurrency.
		p, _ := newTestPool(t, blueprint.Function{MaxConcurrency: 1}, 10)
		g := newGate(t)
		var invocations sync.WaitGroup
		for i := range 4 {
			invocations.Go(func() { obey(t, p, fmt.Sprintf(`{"visit":"%s?%d"}`, g.URL, i)) })
			if i == 0 {
				if got := <-g.arrived; got != "0" {
					t.Errorf("first is %q, want 0", got)
				}
				continue
			}
			waitFor(t, "the invocation to stand in line", func() bool {
				p.slots.mu.Lock()
				defer p.slots.mu.Unlock()
				return len(p.slots.waiting) == i
			})
		}
		close(g.open)
		invocations.Wait()
		close(g.arrived)
		var order []string
		for visitor := range g.arrived {
			order = append(order, visitor)
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
		gone, cancel := contextWithCancel(t)
		left := make(chan error, 1)
		go func() { left <- s.take(gone, t.Context()) }()
		waitFor(t, "the line", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.waiting) == 1
		})
		cancel()
		if err := <-left; err == nil {
			t.Fatal("a slot was given to somebody who left")
		}
		s.release()
		if err := s.take(t.Context(), t.Context()); err != nil {
			t.Fatalf("the slot was lost: %v", err)
		}
	})
	t.Run("crash", func(t *testing.T) {
		t.Parallel()
		p, said := newTestPool(t, blueprint.Function{}, 10)
		before := obey(t, p, `{}`)
		kind, message := refuses(t, p, `{"do":"exit"}`)
		if kind != "Runtime.ExitError" || !strings.Contains(message, "exit status 3") {
			t.Errorf("got %s: %s, want Runtime.ExitError with exit status 3", kind, message)
		}
		if !strings.Contains(said.String(), "out of luck") {
			t.Errorf("stderr is not shown: %q", said)
		}
		if after := obey(t, p, `{}`); after.PID == before.PID {
			t.Errorf("process %d answers after it exited", after.PID)
		}
		waitFor(t, "the crash to be told", func() bool { return strings.Contains(said.String(), "crashed (exit status 3)") })
	})
	t.Run("crash_between_invocations", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 10)
		first := obey(t, p, `{}`)
		if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the process to be missed", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.processes) == 0
		})
		if second := obey(t, p, `{}`); second.PID == first.PID {
			t.Error("a dead process answered")
		}
	})
	t.Run("panic_is_answered_and_the_process_replaced", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 1)
		before := obey(t, p, `{}`)
		if kind, message := refuses(t, p, `{"do":"panic"}`); message != "out of luck" {
			t.Errorf("got %s: %s, want the panic", kind, message)
		}
		if after := obey(t, p, `{}`); after.PID == before.PID {
			t.Error("the process that panicked was used again")
		}
	})
	t.Run("error_keeps_the_process", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 1)
		before := obey(t, p, `{}`)
		if kind, message := refuses(t, p, `{"do":"fail"}`); kind != "errorString" || message != "out of luck" {
			t.Errorf("got %s: %s, want errorString: out of luck", kind, message)
		}
		if after := obey(t, p, `{}`); after.PID != before.PID {
			t.Error("an ordinary error cost the process")
		}
	})
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{Timeout: 300 * time.Millisecond}, 1, "PATH="+os.Getenv("PATH"))
		before := obey(t, p, `{"do":"leave a child"}`)
		kind, message := refuses(t, p, `{"do":"hang"}`)
		if kind != "Sandbox.Timedout" || !strings.HasSuffix(message, "Task timed out after 0.30 seconds") {
			t.Errorf("got %s: %s", kind, message)
		}
		if alive(before.PID) {
			t.Error("the process lives on after its timeout")
		}
		waitFor(t, "the child of the process to end", func() bool { return !alive(before.Child) })
		if after := obey(t, p, `{}`); after.PID == before.PID {
			t.Error("the process was not replaced")
		}
	})
	t.Run("function_cannot_start", func(t *testing.T) {
		t.Parallel()
		p, said := newTestPool(t, blueprint.Function{}, 10, "LOG_LEVEL=crash")
		err := p.warmUp(t.Context())
		if err == nil || !strings.Contains(err.Error(), "obedient does not start") || !strings.Contains(err.Error(), "exit status 1") {
			t.Errorf("got %v", err)
		}
		if !strings.Contains(said.String(), "LOG_LEVEL: none of") {
			t.Errorf("what the function said is not shown: %q", said)
		}
		if kind, _ := refuses(t, p, `{}`); kind != "Runtime.ExitError" {
			t.Errorf("got %s, want Runtime.ExitError", kind)
		}
		if p.failures != 2 {
			t.Errorf("%d failures counted, want 2", p.failures)
		}
	})
	t.Run("answer_larger_than_6_MB", func(t *testing.T) {
		t.Parallel()
		p, _ := newTestPool(t, blueprint.Function{}, 1)
		if kind, _ := refuses(t, p, `{"do":"fill","size":7000000}`); kind != "Function.ResponseSizeTooLarge" {
			t.Errorf("got %s", kind)
		}
		obey(t, p, `{"do":"fill","size":6000000}`)
	})
	t.Run("environment_is_exact", func(t *testing.T) {
		p, _ := newTestPool(t, blueprint.Function{}, 1, "ONLY=this")
		t.Setenv("STRAY", "value")
		got := obey(t, p, `{"do":"environment"}`).Environment
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

// gate lets visitors wait until it opens, and counts them.
type gate struct {
	*httptest.Server
	arrived chan string // the query of each
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
		idle := obey(t, p, `{"do":"leave a child"}`)
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
			t.Errorf("the invocation under way got %v, want errClosed", err)
		}
		if alive(idle.PID) {
			t.Error("a process lives on")
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
