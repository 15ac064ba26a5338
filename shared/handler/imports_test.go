package handler_test

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The edge knows Lambda's events and the domain, and nothing of the stores,
// the platforms or the SDK: whatever it needs of those is a method of the
// service.
func TestImports(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{
		"platform-api-connector/shared/connector":      true,
		"github.com/aws/aws-lambda-go/events":          true,
		"github.com/aws/aws-lambda-go/lambda/messages": true,
		"github.com/aws/aws-lambda-go/lambdacontext":   true,
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := file.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range parsed.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(path, "/"); strings.ContainsAny(first, ".-") && !allowed[path] {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}
