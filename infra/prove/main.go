// Command prove runs the tests that try to break the refreshes and the consents,
// for several minutes. It prints the promise of each test and the figures that the
// test measured, as a table or, with -json, as JSON. It fails if a test fails.
//
// Tests report their figures as attributes, see [testing.T.Attr]. The figures of
// subtests are added up. CONNECTOR_SCHEDULES is the number of simulated
// schedules. CONNECTOR_SEED selects the first schedule and the moments of the
// kills.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// proof is a promise, its test, and the result of the test.
type proof struct {
	Promise string         `json:"promise"`
	Package string         `json:"package"`
	Test    string         `json:"test"`
	Passed  bool           `json:"passed"`
	Seconds float64        `json:"seconds"`
	Figures map[string]int `json:"figures"`

	order []string // of the figures
}

func proofs() []*proof {
	const domain, local = "./shared/connector", "./infra/local"
	var all []*proof
	add := func(pkg, test, promise string) {
		all = append(all, &proof{Promise: promise, Package: pkg, Test: test, Figures: map[string]int{}})
	}
	add(domain, "TestSimulation", "no crash, delay or failure loses a valid grant, marks its connection needs_reauth, or exchanges its token twice at once; no expired token is returned; no event is lost, and no consent that was stored, nor the link of one that was lost before")
	add(domain, "TestEveryFailure", "after any one failed call of any use case, before or after its effect, a retry succeeds, and an event tells of each change")
	add(domain, "TestEvents_EveryFailure", "no event is lost by any one failed call or crash, before or after its effect, on a bus that works and on one that is down")
	add(domain, "TestConsent_EveryFailure", "no consent loses its grant, its link or an event by any one failed call or crash, before or after its effect; only a crash between the platform's answer and the first write loses a grant, and the link then works again")
	add(domain, "TestOutage", "an outage of an hour marks no connection needs_reauth, causes few calls, and its backlog drains at a limited rate")
	add(local, "TestKill9", "a worker that is killed at any moment loses only grants that the platform had rotated and no store had yet")
	add(local, "TestConsent_Kill9", "an oauth-callback that is killed at any call of a consent loses only a grant that nothing could store yet, and then its link works again; the sweep completes the others, and an event tells of each connection")
	add(local, "TestCommand_Restart", "SIGTERM during a refresh loses nothing; SIGKILL loses only grants in that window, and token-get reports them")
	add(local, "TestConcurrentTokenGets", "200 concurrent callers of one expired token cause one exchange and get 200 good answers")
	add(local, "TestCallerDisconnects", "a caller that disconnects during a refresh loses nothing")
	return all
}

func main() {
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	if err := run(*asJSON, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

func run(asJSON bool, out, progress io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	all := proofs()
	failed := runTests(ctx, all, progress)
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(all); err != nil {
			return err
		}
	} else if err := table(out, all); err != nil {
		return err
	}
	return failed
}

// runTests runs the tests of all proofs and stores their results.
func runTests(ctx context.Context, all []*proof, progress io.Writer) error {
	arguments := []string{"test", "-json", "-count", "1", "-timeout", "60m", "-run", pattern(all)}
	for _, p := range all {
		if !slices.Contains(arguments, p.Package) {
			arguments = append(arguments, p.Package)
		}
	}
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Env = append(os.Environ(), "CONNECTOR_PROVE=1", "CONNECTOR_SCHEDULES="+cmp.Or(os.Getenv("CONNECTOR_SCHEDULES"), "10000"))
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.Stderr = progress
	events, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	read(events, all, progress, time.Now)
	if err := command.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	for _, p := range all {
		if !p.Passed {
			return fmt.Errorf("%s did not pass", p.Test)
		}
	}
	return nil
}

func pattern(all []*proof) string {
	var names []string
	for _, p := range all {
		names = append(names, p.Test)
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// event is a line of go test -json.
type event struct {
	Action, Test, Output, Key, Value string
	Elapsed                          float64
}

// read reads the figures and results from the events of go test, and prints the
// progress.
func read(events io.Reader, all []*proof, progress io.Writer, now func() time.Time) {
	begun := now()
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(progress, lines.Text())
			continue
		}
		test, _, isPart := strings.Cut(e.Test, "/")
		i := slices.IndexFunc(all, func(p *proof) bool { return p.Test == test })
		switch {
		case i < 0:
			// Output of the package contains the errors of the compiler.
			if e.Action == "output" || e.Action == "build-output" {
				fmt.Fprint(progress, e.Output)
			}
		case e.Action == "attr":
			all[i].add(e.Key, e.Value)
		case e.Action == "output" && isProgress(e.Output):
			fmt.Fprint(progress, e.Output)
		case e.Action == "run" && !isPart:
			fmt.Fprintf(progress, "%6.0fs %s\n", now().Sub(begun).Seconds(), test)
		case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
			all[i].end(e, isPart)
		}
	}
}

// end stores the result of a test or of a subtest. The time of a test does not
// include parallel subtests, so the longest time counts.
func (p *proof) end(e event, isPart bool) {
	p.Seconds = max(p.Seconds, e.Elapsed)
	if !isPart {
		p.Passed = e.Action == "pass"
	}
}

// isProgress reports whether a line of output is more than the success of a
// subtest.
func isProgress(line string) bool {
	line = strings.TrimSpace(line)
	return !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- PASS")
}

// add adds to a figure.
func (p *proof) add(name, value string) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return
	}
	if _, known := p.Figures[name]; !known {
		p.order = append(p.order, name)
	}
	p.Figures[name] += n
}

// table prints the proofs for people.
func table(out io.Writer, all []*proof) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range all {
		result := "proved"
		if !p.Passed {
			result = "FAILED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", result, p.Test, p.Promise)
		for _, name := range p.order {
			fmt.Fprintf(w, "\t\t%10d  %s\n", p.Figures[name], strings.ReplaceAll(name, "_", " "))
		}
	}
	return w.Flush()
}
