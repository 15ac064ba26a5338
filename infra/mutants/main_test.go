package main

import (
	"context"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// A change to the code that moves a guard has to move its mutant, too.
func TestMutants(t *testing.T) {
	t.Parallel()
	kebab := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]bool{}
	for _, m := range mutants() {
		if _, err := m.apply(root); err != nil {
			t.Error(err)
		}
		switch {
		case !kebab.MatchString(m.Name):
			t.Errorf("the name %q is not in kebab-case", m.Name)
		case seen[m.Name]:
			t.Errorf("two mutants are named %s", m.Name)
		case m.Find == m.Replace:
			t.Errorf("%s changes nothing", m.Name)
		case !strings.HasSuffix(m.Guard, "."):
			t.Errorf("the guard of %s is not a sentence: %q", m.Name, m.Guard)
		}
		seen[m.Name] = true
	}
}

func TestMutant_apply(t *testing.T) {
	t.Parallel()
	t.Run("text_occurs_once", func(t *testing.T) {
		t.Parallel()
		changed, err := mutant{File: "go.mod", Find: "module platform", Replace: "module other"}.apply(root)
		if err != nil || !strings.HasPrefix(string(changed), "module other-api-connector\n") {
			t.Errorf("got %.40q, %v", changed, err)
		}
	})
	for situation, text := range map[string]string{"text_does_not_occur": "no such text", "text_occurs_often": "\n"} {
		t.Run(situation, func(t *testing.T) {
			t.Parallel()
			_, err := mutant{Name: "some-name", File: "go.mod", Find: text}.apply(root)
			if err == nil || !strings.Contains(err.Error(), "some-name") {
				t.Errorf("got %v, want an error that names the mutant", err)
			}
		})
	}
}

func TestOptions_run(t *testing.T) {
	t.Parallel()
	passes, fails := testRun{passed: true}, testRun{failed: []string{"TestA/b", "TestC"}}
	tests := []struct {
		situation  string
		unchanged  testRun
		first      testRun // of the mutant
		again      testRun // of the tests that failed
		equivalent string

		want    string // the table; empty where none is printed
		wantErr string // part of the error; empty where there is none
	}{
		{"mutant_is_killed", passes, fails, fails, "", "killed  name  TestA, TestC\n1 mutants: 1 killed", ""},
		{"mutant_survives", passes, passes, passes, "", "SURVIVED  name  \n1 mutants: 0 killed", "no test fails with name"},
		{"equivalent_mutant_survives", passes, passes, passes, "the reason", "equivalent  name  the reason\n", ""},
		{"equivalent_mutant_is_killed", passes, fails, fails, "the reason", "killed  name  TestA, TestC (the table calls it equivalent)\n", ""},
		{"mutant_times_out", passes, testRun{timedOut: true}, passes, "", "timed out  name  \n1 mutants: 1 killed (1 of them timed out)", ""},
		{"mutant_does_not_compile", passes, testRun{compiler: "undefined: x"}, passes, "", "INVALID  name  \n", "name does not compile: undefined: x"},
		{"unstable_test_fails_once", passes, fails, testRun{passed: true}, "", "SURVIVED  name  \n", "no test fails with name"},
		{"one_of_two_tests_fails_again", passes, fails, testRun{failed: []string{"TestC"}}, "", "killed  name  TestC\n", ""},
		{"unchanged_code_fails", fails, fails, fails, "", "", "the tests fail without any mutant: TestA/b, TestC"},
		{"unchanged_code_does_not_compile", testRun{compiler: "undefined: x"}, passes, passes, "", "", "does not compile: undefined: x"},
	}
	for _, test := range tests {
		t.Run(test.situation, func(t *testing.T) {
			t.Parallel()
			o := options{
				root: root, pattern: regexp.MustCompile(""), packages: []string{"./all"}, parallel: 1, print: printTable,
				test: func(_ context.Context, _ []string, overlay string, tests []string) (testRun, error) {
					switch {
					case overlay == "":
						return test.unchanged, nil
					case len(tests) == 0:
						return test.first, nil
					}
					return test.again, nil
				},
			}
			var out strings.Builder
			err := o.run(t.Context(), []mutant{{Name: "name", File: "go.mod", Find: "module", Equivalent: test.equivalent}}, &out, io.Discard)
			if got := out.String(); !strings.HasPrefix(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("printed %q, want %q", got, test.want)
			}
			if (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("got the error %v, want %q", err, test.wantErr)
			}
		})
	}
}

// The tests see the changed file, in the packages of the flag and of the mutant.
func TestOptions_run_overlay(t *testing.T) {
	t.Parallel()
	var packages []string
	var overlay string
	o := options{
		root: root, pattern: regexp.MustCompile("^chosen$"), packages: []string{"./all"}, parallel: 1, print: printTable,
		test: func(_ context.Context, of []string, file string, _ []string) (testRun, error) {
			if file != "" {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Error(err)
				}
				packages, overlay = of, string(content)
			}
			return testRun{passed: true}, nil
		},
	}
	all := []mutant{
		{Name: "chosen", File: "go.mod", Find: "module", Packages: []string{"./own"}, Equivalent: "the reason"},
		{Name: "other", File: "go.mod", Find: "module"},
	}
	if err := o.run(t.Context(), all, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	if !slices.Equal(packages, []string{"./all", "./own"}) || !strings.Contains(overlay, "/go.mod\":") || !strings.Contains(overlay, "chosen.go\"") {
		t.Errorf("tested %v with the overlay %s", packages, overlay)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		situation, events string
		want              testRun
	}{
		{"subtest_fails", `
{"Action":"start","Package":"p"}
{"Action":"pass","Package":"p","Test":"TestA/good"}
{"Action":"fail","Package":"p","Test":"TestA/bad"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestAB"}
{"Action":"fail","Package":"p"}`,
			testRun{failed: []string{"TestA/bad", "TestAB"}}},
		{"package_fails_without_a_test", `
{"Action":"output","Package":"p","Output":"fatal error: all goroutines are asleep - deadlock!\n"}
{"Action":"fail","Package":"p"}`,
			testRun{failed: []string{"the test binary of p"}}},
		{"time_is_up", `
{"Action":"output","Package":"p","Output":"panic: test timed out after 3m0s\n"}
{"Action":"fail","Package":"p"}`,
			testRun{timedOut: true}},
		{"build_fails", `
{"ImportPath":"p","Action":"build-output","Output":"# p\n"}
{"ImportPath":"p","Action":"build-output","Output":"lease.go:7:2: undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			testRun{compiler: "# p\nlease.go:7:2: undefined: x"}},
	}
	for _, test := range tests {
		t.Run(test.situation, func(t *testing.T) {
			t.Parallel()
			got := read(strings.NewReader(test.events))
			if !slices.Equal(got.failed, test.want.failed) || got.timedOut != test.want.timedOut || got.compiler != test.want.compiler {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestGuards holds the page of the guards against the table of mutants.
func TestGuards(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../shared/connector/GUARDS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		if row := "| " + m.Guard + " | `" + m.File + "` | `" + m.Name + "` |"; !strings.Contains(string(page), row) {
			t.Errorf("GUARDS.md has no row %s", row)
		}
	}
	if rows := strings.Count(string(page), "\n| ") - 2; rows != len(mutants()) {
		t.Errorf("GUARDS.md has %d rows for %d mutants", rows, len(mutants()))
	}
}
