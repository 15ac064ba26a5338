package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform-api-connector/infra/blueprint"
)

// commandOnce builds the command local, once.
var commandOnce = sync.OnceValues(func() (string, error) {
	directory, err := makeTempDir("local")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(directory, "local")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the command: %w\n%s", err, out)
	}
	return binary, nil
})

// TestCommand_Shutdown runs the command and ends it by each signal. All its
// processes must end with it.
func TestCommand_Shutdown(t *testing.T) {
	if !onLinux() {
		t.Skip("looks for processes in /proc")
	}
	binary, err := commandOnce()
	if err != nil {
		t.Fatal(err)
	}
	functions, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command []string
		signal  syscall.Signal
	}{
		"SIGTERM":            {[]string{binary}, syscall.SIGTERM},
		"SIGINT":             {[]string{binary}, syscall.SIGINT},
		"SIGKILL":            {[]string{binary}, syscall.SIGKILL},
		"SIGTERM_to_go_run":  {[]string{"go", "run", "."}, syscall.SIGTERM},
		"SIGTERM_under_load": {[]string{binary}, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			ready := filepath.Join(t.TempDir(), "ready.json")
			arguments := append(c.command[1:], "-addr", "127.0.0.1:0", "-aws", "127.0.0.1:0", "-sandbox", "127.0.0.1:0",
				"-build", functions, "-ready-file", ready)
			command := launch(t, exec.Command(c.command[0], arguments...))

			urls := readReady(t, ready, command)
			started := descendants(t, command.Process.Pid)
			if want := len(blueprint.Functions()); len(started) < want {
				t.Fatalf("%d processes, want %d functions at least", len(started), want)
			}
			stopLoad := func() {}
			if strings.HasSuffix(name, "under_load") {
				stopLoad = load(urls["addr"])
			}
			begun := time.Now()
			if err := command.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "every process to end", func() bool {
				for _, pid := range started {
					if alive(pid) {
						return false
					}
				}
				return true
			})
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %v to end", took)
			}
			stopLoad()
			<-command.ended
			// Its processes have ended, so that its ports are free. Another test may
			// listen on one of them already.
			if c.command[0] == binary && c.signal != syscall.SIGKILL && command.err != nil {
				t.Errorf("ended with %v\n%s", command.err, command.output)
			}
		})
	}
}

// load requests the platforms repeatedly until stop is called.
func load(addr string) (stop func()) {
	done := make(chan struct{})
	var requests sync.WaitGroup
	for range 4 {
		requests.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				response, err := http.Get(addr + "/platforms")
				if err != nil {
					return
				}
				_ = response.Body.Close()
			}
		})
	}
	return func() {
		close(done)
		requests.Wait()
	}
}

// running is a started command.
type running struct {
	*exec.Cmd
	output *outputBuffer
	ended  chan struct{} // closed after the command has ended
	err    error         // of Wait
}

func launch(t *testing.T, command *exec.Cmd) *running {
	t.Helper()
	r := &running{Cmd: command, output: &outputBuffer{}, ended: make(chan struct{})}
	command.Stdout, command.Stderr = r.output, r.output
	command.WaitDelay = time.Minute
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		r.err = command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-r.ended
	})
	return r
}

// readReady waits for the ready file of a command. Every server must then answer.
func readReady(t *testing.T, path string, command *running) map[string]string {
	t.Helper()
	var b []byte
	waitFor(t, "the ready file", func() bool {
		select {
		case <-command.ended:
			t.Fatalf("the command ended before it was ready: %v\n%s", command.err, command.output)
		default:
		}
		var err error
		b, err = os.ReadFile(path)
		return err == nil
	})
	var urls map[string]string
	if err := json.Unmarshal(b, &urls); err != nil {
		t.Fatalf("the ready file contains %q", b)
	}
	answering := []string{urls["addr"] + "/", urls["addr"] + "/platforms"}
	if urls["sandbox"] != "" {
		answering = append(answering, urls["sandbox"]+"/")
	}
	for _, url := range answering {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s answers %s", url, response.Status)
		}
	}
	return urls
}

// descendants returns the child processes of pid, and their children.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]int{}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended
		}
		_, rest, _ := bytes.Cut(b, []byte(") "))
		fields := bytes.Fields(rest)
		parent, _ := strconv.Atoi(string(fields[1]))
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		children[parent] = append(children[parent], child)
	}
	var all []int
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		all = append(all, children[next[0]]...)
		next = append(next, children[next[0]]...)
	}
	return all
}
