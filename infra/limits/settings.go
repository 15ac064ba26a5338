package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// settings are what the CDK's command line would make of its arguments and of its
// files of context, as far as this command needs them.
type settings struct {
	stage           string
	reserves        bool
	profile, region string // empty where the environment decides
}

// contextFiles returns the files of context, the most decisive first. The CDK reads
// them after the options -c:
// https://docs.aws.amazon.com/cdk/v2/guide/context.html (read 2026-11-25).
func contextFiles() []string {
	files := []string{"cdk.json", "cdk.context.json"}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".cdk.json"))
	}
	return files
}

// readSettings decides as ReadSettings of the CDK app does. It ignores options that
// it does not know: whatever the CDK takes, make passes on.
func readSettings(arguments, files []string) (settings, error) {
	options := readOptions(arguments)
	context := map[string]string{}
	for _, file := range files {
		if err := addContextOf(context, file); err != nil {
			return settings{}, err
		}
	}
	for _, pair := range options["context"] {
		if name, value, ok := strings.Cut(pair, "="); ok {
			context[name] = value
		}
	}
	s := settings{stage: context["stage"], profile: last(options["profile"]), region: last(options["region"])}
	if s.stage == "" {
		s.stage = "dev"
	}
	switch value, set := context["reserveConcurrency"]; {
	case !set:
		s.reserves = s.stage == "prod"
	case value == "true", value == "false":
		s.reserves = value == "true"
	default:
		return settings{}, errors.New("limits: reserveConcurrency is neither true nor false")
	}
	return s, nil
}

func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// readOptions returns the values of the options that this command knows.
func readOptions(arguments []string) map[string][]string {
	options := map[string][]string{}
	for i := 0; i < len(arguments); i++ {
		name, value, joined := strings.Cut(arguments[i], "=")
		switch name = strings.TrimLeft(name, "-"); name {
		case "c":
			name = "context"
		case "context", "profile", "region":
		default:
			continue
		}
		if !joined {
			if i++; i == len(arguments) {
				break
			}
			value = arguments[i]
		}
		options[name] = append(options[name], value)
	}
	return options
}

// addContextOf adds the context of a file, except names that context has. A file
// need not exist. The CDK itself refuses a malformed one.
func addContextOf(context map[string]string, file string) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	var members map[string]any
	if json.Unmarshal(content, &members) != nil {
		return nil
	}
	if filepath.Base(file) != "cdk.context.json" {
		members, _ = members["context"].(map[string]any)
	}
	for _, name := range []string{"stage", "reserveConcurrency"} {
		value, set := members[name]
		if _, known := context[name]; set && value != nil && !known {
			context[name] = fmt.Sprint(value)
		}
	}
	return nil
}
