package handler_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"platform-api-connector/shared/handler/hostiletest"
)

const root = "../.."

var (
	namedTest = regexp.MustCompile("`(?:([a-z/]+) ((?:Test|Fuzz)[A-Za-z0-9_]+)|TestHostile)(?:/([^`]+))?`")
	tableLine = regexp.MustCompile(`(?m)^\| ([0-9]+) \|.*$`)
)

// TestSecurityTable checks that SECURITY.md names only tests that exist, and
// that it names each row of the hostile suite.
func TestSecurityTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	for _, line := range tableLine.FindAllStringSubmatch(string(text), -1) {
		if line[1] != strconv.Itoa(next) || !namedTest.MatchString(line[0]) {
			t.Errorf("line %s is out of order, or names no test", line[1])
		}
		next++
	}
	if next != 48 {
		t.Errorf("%d lines, want 47", next-1)
	}
	packages := map[string]tests{}
	unnamed := hostiletest.Names()
	for _, named := range namedTest.FindAllStringSubmatch(string(text), -1) {
		folder, function, subtest := named[1], named[2], named[3]
		if folder == "" {
			if !slices.Contains(hostiletest.Names(), subtest) {
				t.Errorf("there is no %s", named[0])
			}
			unnamed = slices.DeleteFunc(unnamed, func(name string) bool { return name == subtest })
			continue
		}
		if _, read := packages[folder]; !read {
			packages[folder] = testsOf(t, folder)
		}
		if p := packages[folder]; !p.functions[function] || subtest != "" && !p.strings[subtest] && !p.strings[subtest+"/"] {
			t.Errorf("there is no %s", named[0])
		}
	}
	if len(unnamed) != 0 {
		t.Errorf("SECURITY.md does not name TestHostile/%s", strings.Join(unnamed, ", "))
	}
}

// tests are the test functions of a package and the string literals of its
// tests. The names of subtests are among these strings.
type tests struct{ functions, strings map[string]bool }

func testsOf(t *testing.T, folder string) tests {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", folder, err)
	}
	found := tests{map[string]bool{}, map[string]bool{}}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					found.functions[n.Name.Name] = true
				}
			case *ast.BasicLit:
				if value, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					found.strings[value] = true
				}
			}
			return true
		})
	}
	return found
}
