package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
)

// The CDK's process ends with ours. jsii.Close would wait for it twice at
// once, which the race detector sees (jsii-runtime-go 1.115.0), so what it
// left behind is removed here.
func TestMain(m *testing.M) {
	temporary, err := os.MkdirTemp("", "infra")
	if err == nil {
		err = os.Setenv("TMPDIR", temporary)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(temporary)
	os.Exit(code)
}

// template is a synthesized template.
type template struct {
	Resources map[string]resource
	Outputs   map[string]struct {
		Value any
	}
}

type resource struct {
	Type           string
	Properties     map[string]any
	DeletionPolicy string
	DependsOn      []string
	Metadata       map[string]any
}

// synthesize returns the template of the stack with these settings, which
// must be good.
func synthesize(t *testing.T, context map[string]any) template {
	t.Helper()
	settings, err := ReadSettings(func(name string) any { return context[name] })
	if err != nil {
		t.Fatal(err)
	}
	assets := t.TempDir()
	for _, f := range blueprint.Functions() {
		path := filepath.Join(assets, f.Name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "bootstrap"), []byte(f.Name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: jsii.String(t.TempDir()), AnalyticsReporting: jsii.Bool(false)})
	b, err := json.Marshal(assertions.Template_FromStack(NewStack(app, settings, assets), nil).ToJSON())
	if err != nil {
		t.Fatal(err)
	}
	var synthesized template
	if err := json.Unmarshal(b, &synthesized); err != nil {
		t.Fatal(err)
	}
	return synthesized
}

// everything sets every setting.
var everything = map[string]any{
	"stage":                "prod",
	"domainName":           "connect.example.com",
	"certificateArn":       "arn:aws:acm:eu-west-1:123456789012:certificate/test",
	"returnOrigins":        []any{"https://app.example.com", "https://beta.example.com"},
	"allowFullCredentials": "true",
	"handOutAppKeys":       "false",
	"platformEndpoints":    `{"https://graph.facebook.com":"https://sandbox.example.com"}`,
	"logLevel":             "debug",
	"tokenCallers":         "arn:aws:iam::210987654321:role/publisher,345678901234",
	"callerOwners":         `{"arn:aws:sts::123456789012:assumed-role/tenant/*":["acme"]}`,
	"linkScopes":           `{"youtube":["https://www.googleapis.com/auth/youtube.readonly"]}`,
	"budgets":              `{"starts_per_link":7}`,
	"keyArn":               "arn:aws:kms:eu-west-1:123456789012:key/test",
	"alarmEmail":           "oncall@example.com",
	"reserveConcurrency":   "true",
	"decoyConnectionId":    "3f0e2d1c-5b4a-4c39-8d27-f60718293a4b",
}

var made sync.Map

// defaults and full are the templates of no settings and of all of them.
func defaults(t *testing.T) template { return once(t, "defaults", nil) }
func full(t *testing.T) template     { return once(t, "full", everything) }

func once(t *testing.T, name string, context map[string]any) template {
	t.Helper()
	if before, ok := made.Load(name); ok {
		return before.(template)
	}
	now := synthesize(t, context)
	made.Store(name, now)
	return now
}

// both runs a test on both templates.
func both(t *testing.T, test func(*testing.T, template)) {
	t.Run("defaults", func(t *testing.T) { test(t, defaults(t)) })
	t.Run("full", func(t *testing.T) { test(t, full(t)) })
}

// of returns the resources of one type by logical id.
func (s template) of(kind string) map[string]resource {
	found := map[string]resource{}
	for id, r := range s.Resources {
		if r.Type == kind {
			found[id] = r
		}
	}
	return found
}

// the returns the only resource whose logical id has a prefix.
func (s template) the(t *testing.T, kind, prefix string) (id string, r resource) {
	t.Helper()
	for candidate, found := range s.of(kind) {
		// The CDK adds eight characters to most ids.
		if candidate == prefix || strings.HasPrefix(candidate, prefix) && len(candidate) == len(prefix)+8 {
			return candidate, found
		}
	}
	t.Fatalf("no %s %s", kind, prefix)
	return "", resource{}
}

// at returns the value in v at the path.
func at(v any, path ...string) any {
	for _, step := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[step]
	}
	return v
}

// text flattens what CloudFormation computes into one readable string: a
// reference becomes {LogicalId}, an attribute {LogicalId.Attribute}.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		var b strings.Builder
		for _, part := range v {
			b.WriteString(text(part))
		}
		return b.String()
	case map[string]any:
		if ref, ok := v["Ref"].(string); ok {
			return "{" + ref + "}"
		}
		if attribute, ok := v["Fn::GetAtt"].([]any); ok {
			return "{" + text(attribute[0]) + "." + text(attribute[1]) + "}"
		}
		if join, ok := v["Fn::Join"].([]any); ok {
			return text(join[1])
		}
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// texts is text for each element of a list, or for the one that stands for a
// list.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var all []string
	for _, element := range list {
		all = append(all, text(element))
	}
	return all
}

// statement is one statement of an IAM policy.
type statement struct {
	Effect    string
	Principal any
	Action    any
	Resource  any
	Condition any
}

// statements returns the statements of every policy that a resource carries.
func (r resource) statements(t *testing.T) []statement {
	t.Helper()
	documents := []any{r.Properties["PolicyDocument"]}
	if inline, ok := r.Properties["Policies"].([]any); ok {
		for _, policy := range inline {
			documents = append(documents, at(policy, "PolicyDocument"))
		}
	}
	var all []statement
	for _, document := range documents {
		if document == nil {
			continue
		}
		var d struct{ Statement []statement }
		b, err := json.Marshal(document)
		if err == nil {
			err = json.Unmarshal(b, &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d.Statement...)
	}
	return all
}

// function returns the logical id and the resource of a blueprint's function.
func (s template) function(t *testing.T, name string) (string, resource) {
	t.Helper()
	return s.the(t, "AWS::Lambda::Function", camel(name))
}

func sorted[T ~string](list []T) []T {
	slices.Sort(list)
	return list
}
