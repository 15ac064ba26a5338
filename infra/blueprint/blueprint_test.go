package blueprint_test

import (
	"os"
	"slices"
	"testing"

	"platform-api-connector/infra/blueprint"
)

// TestFunctions compares the functions with the folders under functions.
func TestFunctions(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("../../functions")
	if err != nil {
		t.Fatal(err)
	}
	var folders, functions []string
	for _, entry := range entries {
		if entry.IsDir() {
			folders = append(folders, entry.Name())
		}
	}
	for _, f := range blueprint.Functions() {
		functions = append(functions, f.Name)
	}
	slices.Sort(functions)
	if !slices.Equal(folders, functions) {
		t.Errorf("folders %v, functions %v", folders, functions)
	}
}

// TestRefreshQueue: AWS recommends a visibility timeout of six times the
// function's timeout:
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
func TestRefreshQueue(t *testing.T) {
	t.Parallel()
	q := blueprint.RefreshQueue()
	for _, f := range blueprint.Functions() {
		if f.Name == q.Function && q.Visibility < 6*f.Timeout {
			t.Errorf("visible again after %v, and %s may take %v", q.Visibility, f.Name, f.Timeout)
		}
	}
}
