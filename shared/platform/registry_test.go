package platform_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAll_NewPlatform adds a platform that does not exist to a copy of the
// source: its files, and the lines that CONTRIBUTING.md names. It runs the
// conformance table on it, and takes it through connect, token, verify, refresh
// and disconnect: with the functions in process, and on the local stack with the
// binaries that deploy.
func TestAll_NewPlatform(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds the module again")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	replaced := map[string]string{}
	for target, source := range map[string]string{
		"shared/platform/fictional.go":          "client.go",
		"shared/platform/guides/fictional.json": "guide.json",
		"shared/platform/fictional_test.go":     "row.go",
		"shared/sandbox/fictional.go":           "sandbox.go",
	} {
		replaced[filepath.Join(root, target)] = filepath.Join(root, "shared/platform/testdata/fictional", source)
	}
	for _, edit := range []struct{ file, before, line string }{
		{"shared/platform/registry.go", "\t\tnewTikTok(o),\n", "\t\tnewFictional(o),\n"},
		{"shared/platform/platform_test.go", "\nvar rows = []row{\n", "\tfictionalRow,\n"},
		{"shared/sandbox/registry.go", "\tnewTikTok,\n", "\tnewFictional,\n"},
		{"shared/handler/openapi.yaml", "twitter, tiktok", ", fictional"},
	} {
		source, err := os.ReadFile(filepath.Join(root, edit.file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(source), edit.before) != 1 {
			t.Fatalf("%s does not have %q once", edit.file, edit.before)
		}
		edited := filepath.Join(folder, strings.ReplaceAll(edit.file, "/", "_"))
		text := strings.Replace(string(source), edit.before, edit.before+edit.line, 1)
		if err := os.WriteFile(edited, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replaced[filepath.Join(root, edit.file)] = edited
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, run := range []struct{ folder, tests, want string }{
		{"shared/platform", "^TestAll$|^TestPlatforms$/^fictional$", "--- PASS: TestPlatforms/fictional/revoke_ends_the_grant"},
		{"shared/handler", "^TestOpenAPI_", "--- PASS: TestOpenAPI_Enums/PlatformName"},
		{"shared/handler", "^TestOAuthCallback$/^every_platform$/^fictional$", "--- PASS: TestOAuthCallback/every_platform/fictional"},
		{"infra/local", "^TestStory$/^(connect_and_get_a_token|disconnect)$", "fictional: connected, token, verified, refreshed"},
	} {
		command := exec.CommandContext(t.Context(), "go", "test", "-v", "-run", run.tests, "./"+run.folder) // #nosec G204 -- fixed arguments
		command.Dir = root
		command.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlayFile) // for the functions that the local stack builds
		output, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(output), run.want) {
			t.Errorf("%s: %v\n%s", run.folder, err, output)
		}
	}
}
