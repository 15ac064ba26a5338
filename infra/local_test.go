package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/config"
)

// deployed is the part of a deployment that the local stack must have too, in
// the form that `local -describe` writes.
type deployed struct {
	Functions map[string][]string `json:"functions"`
	Routes    map[string]struct {
		Auth     string `json:"auth"`
		Function string `json:"function"`
	} `json:"routes"`
	Schedule struct {
		Function string  `json:"function"`
		Seconds  float64 `json:"seconds"`
	} `json:"schedule"`
	Queue struct {
		Function   string  `json:"function"`
		BatchSize  float64 `json:"batch_size"`
		MaxReceive float64 `json:"max_receive"`
		Visibility float64 `json:"visibility_seconds"`
		Retention  float64 `json:"retention_seconds"`
	} `json:"queue"`
}

// The local stack must run what the template deploys: its routes, the names of
// its functions' variables, its schedule and its queue.
func TestNewStack_LocalStack(t *testing.T) {
	s := full(t)
	want, got := inTemplate(t, s), onThisMachine(t)
	for f, names := range got.Functions {
		got.Functions[f] = slices.DeleteFunc(names, atHome)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-template +local stack):\n%s", diff)
	}
}

// inTemplate reads the deployment from the template. It uses only names of the
// blueprint.
func inTemplate(t *testing.T, s template) (d deployed) {
	t.Helper()
	names := map[string]string{} // by logical id
	d.Functions = map[string][]string{}
	for id, r := range s.of("AWS::Lambda::Function") {
		names[id] = strings.TrimPrefix(text(r.Properties["FunctionName"]), "platform-api-connector-prod-")
		variables, _ := at(r.Properties, "Environment", "Variables").(map[string]any)
		d.Functions[names[id]] = slices.Sorted(maps.Keys(variables))
	}
	function := func(reference any) string {
		return names[strings.TrimSuffix(strings.Trim(text(reference), "{}"), ".Arn")]
	}
	if err := json.Unmarshal([]byte(`{"routes":{}}`), &d); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.of("AWS::ApiGatewayV2::Route") {
		integration := s.Resources[strings.Trim(strings.TrimPrefix(text(r.Properties["Target"]), "integrations/"), "{}")]
		route := d.Routes[text(r.Properties["RouteKey"])]
		route.Auth, route.Function = text(r.Properties["AuthorizationType"]), function(integration.Properties["IntegrationUri"])
		d.Routes[text(r.Properties["RouteKey"])] = route
	}
	_, schedule := s.the(t, "AWS::Scheduler::Schedule", "Schedule")
	d.Schedule.Function = function(at(schedule.Properties, "Target", "Arn"))
	var minutes float64
	if _, err := fmt.Sscanf(text(schedule.Properties["ScheduleExpression"]), "rate(%g minutes)", &minutes); err != nil {
		t.Fatal(err)
	}
	d.Schedule.Seconds = minutes * 60
	_, queue := s.the(t, "AWS::SQS::Queue", "RefreshQueue")
	_, source := s.the(t, "AWS::Lambda::EventSourceMapping", "RefreshQueueSource")
	d.Queue.Function = function(source.Properties["FunctionName"])
	d.Queue.BatchSize, _ = source.Properties["BatchSize"].(float64)
	d.Queue.MaxReceive, _ = at(queue.Properties, "RedrivePolicy", "maxReceiveCount").(float64)
	d.Queue.Visibility, _ = queue.Properties["VisibilityTimeout"].(float64)
	d.Queue.Retention, _ = queue.Properties["MessageRetentionPeriod"].(float64)
	return d
}

// onThisMachine asks the local stack, with every variable set that a person
// can set.
func onThisMachine(t *testing.T) (d deployed) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "run", "./infra/local", "-describe")
	command.Dir = ".."
	command.Env = os.Environ()
	for _, r := range full(t).of("AWS::Lambda::Function") {
		variables, _ := at(r.Properties, "Environment", "Variables").(map[string]any)
		for name, value := range variables {
			command.Env = append(command.Env, name+"="+resolved(text(value)))
		}
	}
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		t.Fatalf("asking the local stack: %v\n%s", err, &said)
	}
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// atHome reports whether a variable is none of the deployment's: Lambda sets
// it on AWS, or a process of this machine needs it.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func atHome(name string) bool {
	return strings.HasPrefix(name, "AWS_LAMBDA_") || slices.Contains([]string{
		"_HANDLER", "AWS_EXECUTION_ENV", "AWS_REGION", "AWS_DEFAULT_REGION", "LANG", "TZ", "PATH",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		config.AWSEndpointURL, "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_SDK_UA_APP_ID",
		"TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
	}, name)
}
