package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestChecks_Pinned shows that every tool of the checks, and all that it needs, is
// pinned by a hash in this repository.
func TestChecks_Pinned(t *testing.T) {
	t.Run("python", testPinnedPython)
	t.Run("npm", testPinnedNPM)
	t.Run("maven", testPinnedMaven)
	t.Run("no_other_download", testNoOtherDownload)
}

func testPinnedPython(t *testing.T) {
	for _, source := range glob(t, filepath.Join("checks", "*.in")) {
		locked := lockedPackages(t, strings.TrimSuffix(source, ".in")+".txt")
		for pin := range strings.Lines(read(t, source)) {
			requirement, version, pinned := strings.Cut(strings.TrimSpace(pin), "==")
			name, _, _ := strings.Cut(requirement, "[")
			if !pinned || locked[name] != version {
				t.Errorf("%s: %s is not in the lock file: make lock", source, strings.TrimSpace(pin))
			}
		}
	}
}

func testPinnedNPM(t *testing.T) {
	for _, file := range []string{"cdk/package-lock.json", "checks/package-lock.json"} {
		var lock struct {
			Packages map[string]struct{ Integrity string }
		}
		if err := json.Unmarshal([]byte(read(t, file)), &lock); err != nil || len(lock.Packages) < 2 {
			t.Fatalf("%s: %v", file, err)
		}
		for name, p := range lock.Packages {
			if name != "" && !strings.HasPrefix(p.Integrity, "sha512-") {
				t.Errorf("%s: %s has no hash", file, name)
			}
		}
	}
}

func testPinnedMaven(t *testing.T) {
	version := regexp.MustCompile(`(?m)^dynamodb_version=(\S+)$`).FindStringSubmatch(read(t, "local/test-aws"))
	if version == nil || !regexp.MustCompile(`(?m)^[0-9a-f]{64}  DynamoDBLocal-`+regexp.QuoteMeta(version[1])+`\.jar$`).MatchString(read(t, "checks/dynamodb-local.sha256")) {
		t.Errorf("checks/dynamodb-local.sha256 has no hash of DynamoDB Local %v", version)
	}
}

// unpinned matches the commands that fetch programs without a hash.
var unpinned = regexp.MustCompile(`\bnpx\b|\bnpm (install|i)\b|\bgo (run|install|get) \S+@|\bpip3? install\b|\bpipx\b|\b(curl|wget)\b.*\|`)

func testNoOtherDownload(t *testing.T) {
	files := append(glob(t, "*.mk"), glob(t, filepath.Join("checks", "*.sh"))...)
	for _, file := range append(files, "../Makefile", "../.ci/run", "local/test-aws") {
		for line := range strings.Lines(read(t, file)) {
			if unpinned.MatchString(line) && !strings.Contains(line, "--require-hashes") {
				t.Errorf("%s fetches what no hash pins: %s", file, line)
			}
		}
	}
}

var requirementPattern = regexp.MustCompile(`^([a-z0-9.-]+)==([^ ;]+)`)

// lockedPackages returns the versions of a lock file, and reports a package without a
// hash.
func lockedPackages(t *testing.T, file string) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for requirement := range strings.SplitSeq(strings.ReplaceAll(read(t, file), "\\\n", ""), "\n") {
		if requirement == "" || strings.HasPrefix(requirement, "#") {
			continue
		}
		pin := requirementPattern.FindStringSubmatch(requirement)
		if pin == nil || !strings.Contains(requirement, "--hash=sha256:") {
			t.Errorf("%s: %.60s has no hash", file, requirement)
			continue
		}
		versions[pin[1]] = pin[2]
	}
	return versions
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no file, %v", pattern, err)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
