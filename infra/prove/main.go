// Command prove runs the tests that try to break the refresh protocol, for
// several minutes, and prints what each of them proves, with the figures that
// it measured: as a table or, with -json, for programs. It fails where one of
// them does.
//
// Tests tell their figures as attributes, see [testing.T.Attr]; those of
// subtests are added up. CONNECTOR_SCHEDULES sets how many schedules are
// simulated, CONNECTOR_SEED the first of them and what is killed when.
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

// proof is a promise, the test that holds us to it, and what came of it.
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
	add(domain, "TestSimulation", "a live grant is never lost, condemned or shown twice at once, whatever crashes, stalls or fails; no expired token is handed out")
	add(domain, "TestEveryFailure", "any one failed call of any use case, before or after it acted, is mended by doing it again")
	add(domain, "TestOutage", "an hour without the platform condemns nobody, costs few calls, and drains without a rush")
	add(local, "TestKill9", "a worker killed at any moment loses nothing but what the platform had rotated and nobody had stored")
	add(local, "TestStackEnds_during_refreshes", "SIGTERM during a refresh loses nothing; SIGKILL only what is in that window, and it is named")
	add(local, "TestConcurrentTokenGets", "200 callers at once of one expired token are one exchange and 200 good answers")
	add(local, "TestCallerGivesUp", "a caller who leaves in the middle of a refresh costs nothing")
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

// runTests runs the tests of all proofs and fills in what came of them.
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

// read takes the figures and results from the events of go test, and tells
// how it goes.
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
			// Of the package: what does not compile says so here.
			if e.Action == "output" || e.Action == "build-output" {
				fmt.Fprint(progress, e.Output)
			}
		case e.Action == "attr":
			all[i].add(e.Key, e.Value)
		case e.Action == "output" && worthTelling(e.Output):
			fmt.Fprint(progress, e.Output)
		case e.Action == "run" && !isPart:
			fmt.Fprintf(progress, "%6.0fs %s\n", now().Sub(begun).Seconds(), test)
		case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
			all[i].end(e, isPart)
		}
	}
}

// end takes the result of a test, or of a part of it. Parts that run beside
// each other are not in the time of the whole.
func (p *proof) end(e event, isPart bool) {
	p.Seconds = max(p.Seconds, e.Elapsed)
	if !isPart {
		p.Passed = e.Action == "pass"
	}
}

// worthTelling leaves out what only says that a part went well.
func worthTelling(line string) bool {
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
