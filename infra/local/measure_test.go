package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// The benchmarks run real processes on loopback. The functions, the embedded AWS
// and Lambda, the platforms and the callers share one machine. Compare each result
// with that of the function "echo", which only answers.

// measuredStack is a stack with one connection of X and the function "echo".
type measuredStack struct {
	*world
	id string
}

func newMeasured(b *testing.B) measuredStack {
	b.Helper()
	echo, err := testFunction()
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(b, map[string]string{config.LogLevel: "error"}, func(o *options) { o.concurrency = 16 })
	f := blueprint.Function{Name: "echo", Timeout: time.Minute, MemoryMB: 512}
	p := newPool(f, w.s.concurrency, echo, nil, w.s.runtime, w.output, w.s.terminal.notify)
	b.Cleanup(p.close)
	w.s.pools["echo"] = p
	w.s.lambda.functions["echo"] = true
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().UsersMeLimit = 1_000_000 })
	return measuredStack{w, w.connect("twitter", "acme", sandbox.Choice{})[0]}
}

// ask invokes a function for a connection. The benchmark fails if the function
// fails.
func (m measuredStack) ask(b *testing.B, function, id string) {
	if answer, errorType := m.invoke(function, object{"connection_id": id}); errorType != "" {
		b.Errorf("%s: %v", function, answer)
	}
}

// runConcurrently runs n calls by some clients, and returns the sorted durations.
func runConcurrently(clients, n int, call func(i int)) []time.Duration {
	took := make([]time.Duration, n)
	var next atomic.Int64
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				begun := time.Now()
				call(i)
				took[i] = time.Since(begun)
			}
		})
	}
	running.Wait()
	slices.Sort(took)
	return took
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func report(b *testing.B, took []time.Duration) {
	b.ReportMetric(milliseconds(took[len(took)/2]), "p50-ms")
	b.ReportMetric(milliseconds(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkTokenGet_stored reads a token that needs no refresh.
func BenchmarkTokenGet_stored(b *testing.B) {
	m := newMeasured(b)
	for _, clients := range []int{1, 16} {
		for _, function := range []string{"echo", "token-get"} {
			b.Run(fmt.Sprintf("%s/%d clients", function, clients), func(b *testing.B) {
				runConcurrently(clients, 4*clients, func(int) { m.ask(b, function, m.id) }) // the processes start
				b.ResetTimer()
				took := runConcurrently(clients, b.N, func(int) { m.ask(b, function, m.id) })
				b.StopTimer()
				report(b, took)
				b.ReportMetric(m.memory(b, function), "MB/process")
			})
		}
	}
}

// memory returns the maximum resident memory of a process of a function, in MB.
func (m measuredStack) memory(b *testing.B, function string) float64 {
	maximum := 0
	for _, pid := range m.processes(function) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			b.Skip("memory is read from /proc")
		}
		_, rest, _ := strings.Cut(string(status), "VmHWM:")
		kB, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, _ := strconv.Atoi(kB)
		maximum = max(maximum, n)
	}
	return float64(maximum) / 1024
}

func (m measuredStack) processes(function string) (pids []int) {
	p := m.s.pools[function]
	p.mu.Lock()
	defer p.mu.Unlock()
	for process := range p.processes {
		pids = append(pids, process.command.Process.Pid)
	}
	return pids
}

// BenchmarkTokenGet_start starts a new process for each call.
func BenchmarkTokenGet_start(b *testing.B) {
	m := newMeasured(b)
	for _, function := range []string{"echo", "token-get"} {
		b.Run(function, func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				b.StopTimer()
				for _, pid := range m.processes(function) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				waitFor(b, "the processes to end", func() bool { return len(m.processes(function)) == 0 })
				b.StartTimer()
				begun := time.Now()
				m.ask(b, function, m.id)
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(milliseconds(took[len(took)/2]), "p50-ms")
			b.ReportMetric(milliseconds(took[len(took)-1]), "worst-ms")
		})
	}
}

// BenchmarkTokenGet_expired reads 1,000 expired tokens by 16 clients. Each read
// refreshes the token.
func BenchmarkTokenGet_expired(b *testing.B) {
	const connections = 1000
	m := newMeasured(b)
	m.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 1 })
	ids := make([]string, connections)
	for i := range ids {
		ids[i] = m.connect("twitter", fmt.Sprintf("owner-%d", i), sandbox.Choice{})[0]
	}
	for _, latency := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(fmt.Sprintf("platform answers in %v", latency), func(b *testing.B) {
			m.box.ClearFaults()
			m.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token/refresh_token", Kind: sandbox.Slow, Delay: latency, Times: -1})
			var took []time.Duration
			for range b.N {
				b.StopTimer()
				m.waitForExpiry(ids[connections-1])
				before := m.box.Count("twitter", "token/refresh_token")
				b.StartTimer()
				took = append(took, runConcurrently(16, connections, func(i int) { m.ask(b, "token-get", ids[i]) })...)
				b.StopTimer()
				if n := m.box.Count("twitter", "token/refresh_token") - before; n != connections {
					b.Errorf("%d exchanges for %d expired tokens", n, connections)
				}
				b.StartTimer()
			}
			slices.Sort(took)
			report(b, took)
		})
	}
}
