package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/strictjson"
)

// contextFiles are the files from which the CDK's command line reads context, beside
// the options -c (https://docs.aws.amazon.com/cdk/v2/guide/context.html, read on
// 2026-11-25).
var contextFiles = []string{"cdk.json", "cdk.context.json"}

// CheckContext refuses context that the CDK's command line accepts and that silently
// changes a deployment: a setting that does not exist, and a name that
// is in a file twice, of which the last would win. all is the whole context.
func CheckContext(all map[string]any, files ...string) error {
	var problems []error
	for _, file := range files {
		problems = append(problems, checkContextFile(file))
	}
	known := settingNames()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if plainName.MatchString(name) && !slices.Contains(known, name) {
			problems = append(problems, fmt.Errorf("context %s: no such setting%s; infra/README.md lists them", name, similar(name, known)))
		}
	}
	return errors.Join(problems...)
}

// plainName matches the form of our settings. The names of the CDK's own context have
// a colon, a slash or an at sign.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// settingNames returns the names that ReadSettings asks for.
func settingNames() (names []string) {
	_, _ = ReadSettings(func(name string) any {
		names = append(names, name)
		return nil
	})
	return names
}

// similar returns a hint at the setting that was meant, or "".
func similar(name string, known []string) string {
	plain := func(s string) string {
		return strings.TrimSuffix(strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(s)), "s")
	}
	for _, setting := range known {
		if plain(setting) == plain(name) {
			return ", perhaps " + setting
		}
	}
	return ""
}

// checkContextFile refuses a file of context with a name that is in one object twice.
// A file need not exist.
func checkContextFile(file string) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the context: %w", err)
	}
	var members map[string]json.RawMessage
	var refused *strictjson.Error
	err = strictjson.Unmarshal(content, strictjson.Limits{}, &members)
	switch {
	case !errors.As(err, &refused):
		return nil
	case refused.Field == "":
		return fmt.Errorf("%s: it is %s", filepath.Base(file), refused.Problem)
	}
	return fmt.Errorf("%s: %q is %s", filepath.Base(file), refused.Field, refused.Problem)
}

// variableSettings names the setting of a variable.
var variableSettings = map[string]string{
	config.ReturnOrigins: "returnOrigins", config.PlatformEndpoints: "platformEndpoints", config.LogLevel: "logLevel",
	config.CallerOwners: "callerOwners", config.LinkScopes: "linkScopes", config.Budgets: "budgets", config.SecretKMSKeyID: "keyArn",
}

// failVariables reports the problems of variables under the names of their settings.
func (r *reader) failVariables(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		variable, problem, _ := strings.Cut(line, ": ")
		if setting := variableSettings[variable]; setting != "" {
			r.fail(setting, problem)
		} else {
			r.fail(variable, problem)
		}
	}
}

// checkEndpoints refuses endpoints on plain http in prod, where client secrets and
// tokens would go to them.
func (r *reader) checkEndpoints(s Settings, endpoints map[string]string) {
	for _, from := range slices.Sorted(maps.Keys(endpoints)) {
		if s.Prod() && !strings.HasPrefix(endpoints[from], "https://") {
			r.fail("platformEndpoints", fmt.Sprintf("the value of %q uses http, which prod refuses: write https, or omit the setting", from))
		}
	}
}
