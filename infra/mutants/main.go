// Command mutants checks the tests of the refresh protocol. It removes one
// guard of the protocol at a time, runs the tests, and prints which tests fail
// without that guard: as a table or, with -json, for programs. It fails where
// all tests pass without a guard, unless the table of mutants says why no test
// can see the difference.
//
// A changed file reaches the compiler through go test's -overlay flag. The
// working tree is never modified.
//
// A test that fails is run once more, and counts only if it fails again.
// Otherwise a test that fails at random would seem to detect the mutant.
//
// CONNECTOR_SCHEDULES sets how many schedules the simulation runs for each
// mutant, 100 by default. CONNECTOR_SEED sets the first of them.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

// mutant is a change to the source that removes one guard.
type mutant struct {
	Name  string // in kebab-case; never reused for another guard
	Guard string // what the protocol does, and the mutant does not
	File  string // relative to the root of the module

	// Find occurs exactly once in File. Replace takes its place.
	Find, Replace string

	// Packages are tested besides those of the -packages flag.
	Packages []string

	// Equivalent is the reason why no test can see the change. It is empty
	// where a test must fail.
	Equivalent string
}

// apply returns the content of the mutant's file with the change made.
func (m mutant) apply(root string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	if n := bytes.Count(source, []byte(m.Find)); n != 1 {
		return nil, fmt.Errorf("mutant %s: its text occurs %d times in %s, want once", m.Name, n, m.File)
	}
	return bytes.Replace(source, []byte(m.Find), []byte(m.Replace), 1), nil
}

func main() {
	var o options
	pattern := flag.String("run", "", "try only the mutants whose name matches this `pattern`")
	packages := flag.String("packages", "./shared/connector", "the packages to test, comma-separated")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.IntVar(&o.parallel, "parallel", 2, "how many mutants are tested at once")
	guards := flag.String("guards", "", "also write the guards, with the tests that hold them, to this Markdown `file`")
	timeout := flag.Duration("timeout", 3*time.Minute, "how long the tests of one package may take; a mutant that takes longer is killed")
	flag.Parse()

	var err error
	if o.pattern, err = regexp.Compile(*pattern); err != nil {
		fmt.Fprintln(os.Stderr, "mutants: -run:", err)
		os.Exit(2)
	}
	if o.parallel < 1 {
		fmt.Fprintln(os.Stderr, "mutants: -parallel is less than 1")
		os.Exit(2)
	}
	o.root, o.packages = ".", strings.Split(*packages, ",")
	o.test = func(ctx context.Context, packages []string, overlay string, tests []string) (testRun, error) {
		return goTest(ctx, packages, overlay, tests, *timeout)
	}
	o.print = printTable
	if *asJSON {
		o.print = printJSON
	}
	if *guards != "" {
		table := o.print
		o.print = func(out io.Writer, results []result) error {
			return errors.Join(table(out, results), writeGuards(*guards, results))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx, mutants(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

type options struct {
	root     string // of the module
	pattern  *regexp.Regexp
	packages []string
	parallel int

	// test runs those tests of packages, or all of them if tests is empty. The
	// code is that of the overlay file, if there is one.
	test  func(ctx context.Context, packages []string, overlay string, tests []string) (testRun, error)
	print func(io.Writer, []result) error
}

// The outcomes of a mutant.
const (
	killed     = "killed"
	timedOut   = "timed out" // counts as killed
	survived   = "SURVIVED"
	equivalent = "equivalent" // it survived, as the table says
	invalid    = "INVALID"    // it does not compile
)

// result is what became of one mutant.
type result struct {
	Name       string   `json:"name"`
	Guard      string   `json:"guard"`
	File       string   `json:"file"`
	Outcome    string   `json:"outcome"`
	Failed     []string `json:"failed"`                // tests, in the order in which they failed
	FailedOnce []string `json:"failed_once,omitempty"` // tests that passed when they were run again
	Equivalent string   `json:"equivalent,omitempty"`
	Seconds    float64  `json:"seconds"`

	compiler string // its errors
}

// run tests the unchanged code and then each selected mutant, and prints the
// results. Its error says that a mutant survived that a test should have
// killed, or that one does not compile.
func (o options) run(ctx context.Context, all []mutant, out, progress io.Writer) error {
	selected := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !o.pattern.MatchString(m.Name) })
	if len(selected) == 0 {
		return fmt.Errorf("no mutant is named like %q", o.pattern)
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlays, err := writeOverlays(dir, o.root, selected)
	if err != nil {
		return err
	}
	if err := o.testUnchanged(ctx, selected, progress); err != nil {
		return err
	}
	results, err := o.testEach(ctx, selected, overlays, progress)
	if err != nil {
		return err
	}
	return errors.Join(o.print(out, results), verdict(results))
}

// writeOverlays applies each mutant, and returns the overlay files in the order
// of all. Every text that does not occur once is in the error.
func writeOverlays(dir, root string, all []mutant) ([]string, error) {
	var overlays []string
	var problems []error
	for _, m := range all {
		changed, err := m.apply(root)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		original, err := filepath.Abs(filepath.Join(root, m.File))
		if err != nil {
			return nil, err
		}
		source, overlay := filepath.Join(dir, m.Name+".go"), filepath.Join(dir, m.Name+".json")
		if err := os.WriteFile(source, changed, 0o600); err != nil {
			return nil, err
		}
		replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: source}})
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(overlay, replace, 0o600); err != nil {
			return nil, err
		}
		overlays = append(overlays, overlay)
	}
	return overlays, errors.Join(problems...)
}

// testUnchanged fails where the tests fail without any mutant: then their
// failures say nothing about mutants.
func (o options) testUnchanged(ctx context.Context, selected []mutant, progress io.Writer) error {
	packages := slices.Clone(o.packages)
	for _, m := range selected {
		packages = append(packages, m.Packages...)
	}
	slices.Sort(packages)
	begun := time.Now()
	unchanged, err := o.testTwice(ctx, slices.Compact(packages), "")
	switch {
	case err != nil:
		return err
	case unchanged.compiler != "":
		return fmt.Errorf("the unchanged code does not compile: %s", unchanged.compiler)
	case !unchanged.passed:
		return fmt.Errorf("the tests fail without any mutant: %s", strings.Join(unchanged.failed, ", "))
	}
	fmt.Fprintf(progress, "the unchanged code passes (%.0f s)\n", time.Since(begun).Seconds())
	return nil
}

// testEach tests the mutants, a few at a time, and returns the results in the
// order of selected.
func (o options) testEach(ctx context.Context, selected []mutant, overlays []string, progress io.Writer) ([]result, error) {
	results := make([]result, len(selected))
	problems := make([]error, len(selected))
	slots := make(chan struct{}, o.parallel)
	var running sync.WaitGroup
	var mu sync.Mutex // guards done and progress
	done := 0
	for i, m := range selected {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			begun := time.Now()
			r, err := o.testTwice(ctx, append(slices.Clone(o.packages), m.Packages...), overlays[i])
			if err != nil {
				problems[i] = fmt.Errorf("mutant %s: %w", m.Name, err)
				return
			}
			results[i] = m.result(r, time.Since(begun))
			mu.Lock()
			defer mu.Unlock()
			done++
			fmt.Fprintf(progress, "%3d/%d %s: %s\n", done, len(selected), m.Name, results[i])
		})
	}
	running.Wait()
	return results, errors.Join(append(problems, ctx.Err())...)
}

// testTwice runs all tests of packages, and those that failed once more.
func (o options) testTwice(ctx context.Context, packages []string, overlay string) (testRun, error) {
	first, err := o.test(ctx, packages, overlay, nil)
	if err != nil || len(first.failed) == 0 || first.timedOut || first.compiler != "" {
		return first, err
	}
	second, err := o.test(ctx, packages, overlay, topLevel(first.failed))
	if err != nil || second.timedOut {
		return first, err
	}
	var again []string
	for _, test := range first.failed {
		if slices.Contains(topLevel(second.failed), topLevelOf(test)) {
			again = append(again, test)
		} else {
			first.failedOnce = append(first.failedOnce, test)
		}
	}
	first.failed = again
	first.passed = len(first.failed) == 0
	return first, nil
}

// result judges what go test said of the mutant.
func (m mutant) result(r testRun, took time.Duration) result {
	outcome := killed
	switch {
	case r.compiler != "":
		outcome = invalid
	case r.timedOut:
		outcome = timedOut
	case r.passed && m.Equivalent != "":
		outcome = equivalent
	case r.passed:
		outcome = survived
	}
	return result{
		Name: m.Name, Guard: m.Guard, File: m.File, Outcome: outcome, Failed: append([]string{}, r.failed...), FailedOnce: r.failedOnce, Equivalent: m.Equivalent,
		Seconds: took.Round(100 * time.Millisecond).Seconds(), compiler: r.compiler,
	}
}

// String is the line of progress about a result.
func (r result) String() string {
	switch {
	case r.Outcome == killed:
		return fmt.Sprintf("killed by %s (%.0f s)", r.Failed[0], r.Seconds)
	case r.Outcome == invalid:
		return invalid + ": " + r.compiler
	}
	once := ""
	if len(r.FailedOnce) > 0 {
		once = ", although once failed " + strings.Join(topLevel(r.FailedOnce), ", ")
	}
	return fmt.Sprintf("%s%s (%.0f s)", r.Outcome, once, r.Seconds)
}

// verdict is an error where the results show a fault of the tests or of the
// table.
func verdict(results []result) error {
	var problems []error
	for _, r := range results {
		switch r.Outcome {
		case survived:
			problems = append(problems, fmt.Errorf("no test fails with %s in %s", r.Name, r.File))
		case invalid:
			problems = append(problems, fmt.Errorf("%s does not compile: %s", r.Name, r.compiler))
		}
	}
	return errors.Join(problems...)
}

// writeGuards writes a page with the guard of each mutant, and up to three of
// the tests that fail without it.
func writeGuards(file string, results []result) error {
	var page bytes.Buffer
	page.WriteString("# Guards of the refresh protocol\n\n" +
		"`make mutants ARGS='-guards shared/connector/GUARDS.md'` wrote this page. It removed each guard in turn and ran the tests.\n\n" +
		"| guard | file | mutant | tests that fail without it |\n| --- | --- | --- | --- |\n")
	for _, r := range results {
		tests := cmp.Or(r.Equivalent, strings.ToLower(r.Outcome))
		if len(r.Failed) > 0 {
			tests = "`" + strings.Join(leaves(r.Failed), "` `") + "`"
		}
		fmt.Fprintf(&page, "| %s | `%s` | `%s` | %s |\n", r.Guard, r.File, r.Name, tests)
	}
	return os.WriteFile(file, page.Bytes(), 0o644) // #nosec G306 -- a page of the documentation
}

// leaves returns up to three of the tests that have no failed test below them.
func leaves(failed []string) []string {
	var found []string
	for _, test := range failed {
		above := slices.ContainsFunc(failed, func(other string) bool { return strings.HasPrefix(other, test+"/") })
		if !above && len(found) < 3 && !slices.Contains(found, test) {
			found = append(found, test)
		}
	}
	return found
}

// printTable prints the results for people, with the tests that failed.
func printTable(out io.Writer, results []result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	totals := map[string]int{}
	for _, r := range results {
		totals[r.Outcome]++
		remark := strings.Join(topLevel(r.Failed), ", ")
		switch {
		case r.Outcome == equivalent:
			remark = r.Equivalent
		case r.Equivalent != "":
			remark += " (the table calls it equivalent)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Outcome, r.Name, remark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d mutants: %d killed (%d of them timed out), %d equivalent, %d survived, %d invalid\n",
		len(results), totals[killed]+totals[timedOut], totals[timedOut], totals[equivalent], totals[survived], totals[invalid])
	return err
}

func printJSON(out io.Writer, results []result) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(results)
}

// topLevel returns the tests that the failed tests and subtests belong to.
func topLevel(failed []string) []string {
	var tests []string
	for _, name := range failed {
		if test := topLevelOf(name); !slices.Contains(tests, test) {
			tests = append(tests, test)
		}
	}
	return tests
}

func topLevelOf(name string) string {
	if isBinary(name) {
		return name
	}
	test, _, _ := strings.Cut(name, "/")
	return test
}

// testRun is what one go test said.
type testRun struct {
	passed     bool
	timedOut   bool
	failed     []string // tests; subtests in place of those that they belong to
	failedOnce []string // tests that passed when they were run again
	compiler   string   // its errors; empty where everything compiled
}

// goTest runs tests, for at most timeout in each package.
func goTest(ctx context.Context, packages []string, overlay string, tests []string, timeout time.Duration) (testRun, error) {
	arguments := []string{"test", "-json", "-count", "1", "-vet", "off", "-timeout", timeout.String()}
	if overlay != "" {
		arguments = append(arguments, "-overlay", overlay)
	}
	if len(tests) > 0 && !slices.ContainsFunc(tests, isBinary) {
		arguments = append(arguments, "-run", "^("+strings.Join(tests, "|")+")$")
	}
	command := exec.CommandContext(ctx, "go", append(arguments, packages...)...)
	command.Env = append(os.Environ(), "CONNECTOR_SCHEDULES="+cmp.Or(os.Getenv("CONNECTOR_SCHEDULES"), "100"))
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output()
	if ctx.Err() != nil {
		return testRun{}, ctx.Err()
	}
	r := read(bytes.NewReader(output))
	r.passed = err == nil
	if err != nil && len(r.failed) == 0 && r.compiler == "" && !r.timedOut {
		return testRun{}, fmt.Errorf("go test: %w: %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	return r, nil
}

// event is a line of go test -json.
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
}

// binary begins what stands in for the test where a package failed without one:
// a panic outside of tests, or a deadlock.
const binary = "the test binary of "

func isBinary(test string) bool { return strings.HasPrefix(test, binary) }

// read takes the failures from the events of go test.
func read(events io.Reader) testRun {
	var r testRun
	var compiler strings.Builder
	failedIn := map[string]bool{} // packages
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch {
		case e.Action == "build-output":
			compiler.WriteString(e.Output)
		case e.Action == "output" && strings.HasPrefix(e.Output, "panic: test timed out after "):
			r.timedOut = true
		case e.Action == "fail" && e.FailedBuild != "":
			r.compiler = cmp.Or(strings.TrimSpace(compiler.String()), e.FailedBuild)
		case e.Action == "fail" && e.Test != "":
			failedIn[e.Package] = true
			r.failed = append(r.failed, e.Test)
		case e.Action == "fail" && !failedIn[e.Package] && !r.timedOut:
			r.failed = append(r.failed, binary+e.Package)
		}
	}
	// A test fails along with its subtests, which say more.
	all := slices.Clone(r.failed)
	r.failed = slices.DeleteFunc(r.failed, func(test string) bool {
		return slices.ContainsFunc(all, func(other string) bool { return strings.HasPrefix(other, test+"/") })
	})
	return r
}
