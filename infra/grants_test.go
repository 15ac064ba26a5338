package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

func TestNewStack_Grants(t *testing.T) {
	t.Run("grants_of_the_blueprint", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			table, _ := s.the(t, "AWS::DynamoDB::Table", "Table")
			queue, _ := s.the(t, "AWS::SQS::Queue", "RefreshQueue")
			bus, _ := s.the(t, "AWS::Events::EventBus", "Bus")
			stage := map[bool]string{false: "dev", true: "prod"}[strings.HasSuffix(t.Name(), "full")]
			arn := func(r blueprint.Resource) string {
				if index, ok := strings.CutPrefix(string(r), "table index "); ok {
					return "{" + table + ".Arn}/index/" + index
				}
				if prefix, ok := strings.CutPrefix(string(r), "secrets "); ok {
					return "arn:{AWS::Partition}:secretsmanager:{AWS::Region}:{AWS::AccountId}:secret:platform-api-connector/" + stage + "/" + prefix + "*"
				}
				return map[blueprint.Resource]string{
					blueprint.Table: "{" + table + ".Arn}", blueprint.RefreshMessages: "{" + queue + ".Arn}", blueprint.EventBus: "{" + bus + ".Arn}",
				}[r]
			}
			for _, f := range blueprint.Functions() {
				want := map[string][]string{}
				logs, _ := s.the(t, "AWS::Logs::LogGroup", camel(f.Name)+"Logs")
				want["{"+logs+".Arn}"] = []string{"logs:CreateLogStream", "logs:PutLogEvents"}
				want["*"] = []string{"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
				for _, grant := range blueprint.Grants(f.Name) {
					want[arn(grant.Resource)] = append(want[arn(grant.Resource)], grant.Actions...)
				}
				if f.Name == blueprint.RefreshQueue().Function {
					want["{"+queue+".Arn}"] = []string{"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
				}
				if stage == "prod" {
					want[everything["keyArn"].(string)] = []string{"kms:Decrypt", "kms:GenerateDataKey"}
				}
				_, role := s.the(t, "AWS::IAM::Role", camel(f.Name)+"Role")
				got := map[string][]string{}
				for _, statement := range role.statements(t) {
					for _, resource := range texts(statement.Resource) {
						got[resource] = append(got[resource], texts(statement.Action)...)
					}
				}
				for _, list := range []map[string][]string{want, got} {
					for resource := range list {
						slices.Sort(list[resource])
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-blueprint +template):\n%s", f.Name, diff)
				}
				if role.Properties["ManagedPolicyArns"] != nil {
					t.Errorf("%s has managed policies, too", f.Name)
				}
			}
			if policies := s.of("AWS::IAM::Policy"); len(policies) > 0 {
				t.Errorf("%d policies beside the roles' own", len(policies))
			}
		})
	})
	t.Run("no_wildcard", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			checked := 0
			for id, r := range s.Resources {
				for _, statement := range r.statements(t) {
					checked++
					if statement.Effect == "Deny" {
						continue
					}
					for _, action := range texts(statement.Action) {
						if strings.Contains(action, "*") {
							t.Errorf("%s: action %s", id, action)
						}
					}
					if text(statement.Principal) == "*" || text(at(statement.Principal, "AWS")) == "*" {
						t.Errorf("%s: anyone may %v", id, statement.Action)
					}
					for _, resource := range texts(statement.Resource) {
						if strings.Contains(resource, "*") && !excused(statement, resource) {
							t.Errorf("%s: %v on %s", id, statement.Action, resource)
						}
					}
				}
			}
			if checked < 40 {
				t.Errorf("only %d statements found", checked)
			}
		})
	})
	// Only the API may invoke a function, for the routes of the function. The
	// principals of the settings may also invoke token-get.
	t.Run("only_named_callers_may_invoke", func(t *testing.T) {
		for name, c := range map[string]struct {
			s       template
			callers []string
		}{
			"defaults": {defaults(t), nil},
			"full":     {full(t), []string{"345678901234", "arn:aws:iam::210987654321:role/publisher"}},
		} {
			t.Run(name, func(t *testing.T) {
				tokenGet, _ := c.s.function(t, blueprint.TokenGet)
				api, _ := c.s.the(t, "AWS::ApiGatewayV2::Api", "API")
				var callers []string
				routes := 0
				for id, r := range c.s.of("AWS::Lambda::Permission") {
					principal, function := text(r.Properties["Principal"]), text(r.Properties["FunctionName"])
					if principal == "apigateway.amazonaws.com" {
						routes++
						if source := text(r.Properties["SourceArn"]); !strings.Contains(source, ":{"+api+"}/*/*/") {
							t.Errorf("%s: any caller like %s", id, source)
						}
						continue
					}
					callers = append(callers, principal)
					if function != "{"+tokenGet+".Arn}" {
						t.Errorf("%s may invoke %s", principal, function)
					}
				}
				if diff := cmp.Diff(c.callers, sorted(callers)); diff != "" {
					t.Errorf("callers (-want +got):\n%s", diff)
				}
				if routes != len(blueprint.Routes()) {
					t.Errorf("%d permissions for %d routes", routes, len(blueprint.Routes()))
				}
			})
		}
	})
	// Each policy allows exactly the routes of its rights, whatever its wildcards
	// match: the operator's gives everything but tokens.
	t.Run("caller_policies", func(t *testing.T) {
		variables := strings.NewReplacer("{id}", "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13", "{platform}", "youtube")
		both(t, func(t *testing.T, s template) {
			api, _ := s.the(t, "AWS::ApiGatewayV2::Api", "API")
			tokenGet, _ := s.function(t, blueprint.TokenGet)
			policies := map[string]resource{}
			for _, p := range callerPolicies() {
				_, policies[p.id] = s.the(t, "AWS::IAM::ManagedPolicy", p.id)
			}
			for _, r := range blueprint.Routes() {
				if r.Auth != blueprint.IAM {
					if r.Right != "" {
						t.Errorf("%s: the right %q of a public route", r.Key(), r.Right)
					}
					continue
				}
				path := variables.Replace(r.Path)
				if strings.Contains(path, "{") {
					t.Errorf("%s: a variable that the policies do not know", r.Key())
				}
				called := "arn:{AWS::Partition}:execute-api:{AWS::Region}:{AWS::AccountId}:{" + api + "}/$default/" + r.Method + path
				granted := 0
				for _, p := range callerPolicies() {
					got, want := policies[p.id].allows(t, "execute-api:Invoke", called), slices.Contains(p.rights, r.Right)
					if got != want {
						t.Errorf("%s: %s allows it: %v, want %v", r.Key(), p.id, got, want)
					}
					if got && len(p.rights) == 1 {
						granted++
					}
				}
				if granted != 1 {
					t.Errorf("%s: %d policies of one right allow it, want 1", r.Key(), granted)
				}
				if (r.Right == blueprint.GetTokens) != (r.Function == blueprint.TokenGet) {
					t.Errorf("%s has the right %q", r.Key(), r.Right)
				}
			}
			tokens := policies["TokenCallerPolicy"]
			if !tokens.allows(t, "lambda:InvokeFunction", "{"+tokenGet+".Arn}") {
				t.Error("a caller may not invoke token-get")
			}
			for _, f := range blueprint.Functions() {
				id, _ := s.function(t, f.Name)
				for name, policy := range policies {
					if policy.allows(t, "lambda:InvokeFunction", "{"+id+".Arn}") && (f.Name != blueprint.TokenGet || name != "TokenCallerPolicy") {
						t.Errorf("%s: %s may be invoked past its routes", name, f.Name)
					}
				}
			}
		})
	})
	// A function that creates secrets must encrypt them with the customer's key.
	t.Run("key_encrypts_secrets", func(t *testing.T) {
		s := full(t)
		for _, f := range blueprint.Functions() {
			_, r := s.function(t, f.Name)
			_, role := s.the(t, "AWS::IAM::Role", camel(f.Name)+"Role")
			var makes, may bool
			for _, statement := range role.statements(t) {
				makes = makes || slices.Contains(texts(statement.Action), "secretsmanager:CreateSecret")
				may = may || slices.Contains(texts(statement.Action), "kms:GenerateDataKey") &&
					slices.Contains(texts(at(statement.Condition, "StringEquals", "kms:ViaService")), "secretsmanager.{AWS::Region}.{AWS::URLSuffix}")
			}
			key := text(at(r.Properties, "Environment", "Variables", config.SecretKMSKeyID))
			if makes && (!may || key != everything["keyArn"]) || !makes && key != "null" {
				t.Errorf("%s: makes secrets %v, may use the key for them %v, with key %s", f.Name, makes, may, key)
			}
		}
	})
	t.Run("key_is_used_through_services_only", func(t *testing.T) {
		for id, role := range full(t).of("AWS::IAM::Role") {
			for _, statement := range role.statements(t) {
				if strings.HasPrefix(texts(statement.Action)[0], "kms:") && at(statement.Condition, "StringEquals", "kms:ViaService") == nil {
					t.Errorf("%s may use the key by itself", id)
				}
			}
		}
	})
}

// wildcards are the only resources with a star, and why they may have one.
var wildcards = []struct{ suffix, reason string }{
	{"/connections/*", "a secret for each connection, made while the functions run"},
	{"/pending/*", "a secret for each grant that waits to be confirmed"},
	{"/apps/*", "a secret for each platform, whose names end in random characters"},
	{"/sealing-key*", "one secret, whose name ends in random characters"},
	{"/GET/platforms/*", "any platform"},
	{"/PUT/platforms/*/app", "any platform"},
}

func excused(s statement, resource string) bool {
	if resource == "*" {
		// X-Ray has no resources to name.
		return !slices.ContainsFunc(texts(s.Action), func(action string) bool { return !strings.HasPrefix(action, "xray:") })
	}
	for _, w := range wildcards {
		if strings.HasSuffix(resource, w.suffix) && strings.Count(resource, "*") == 1 {
			return true
		}
	}
	return false
}

// allows reports whether a policy of the resource lets the action pass on a
// resource. As IAM does, it takes a star for any characters, slashes among
// them, and a question mark for one.
func (r resource) allows(t *testing.T, action, resource string) bool {
	t.Helper()
	return slices.ContainsFunc(r.statements(t), func(s statement) bool {
		return s.Effect == "Allow" && slices.Contains(texts(s.Action), action) &&
			slices.ContainsFunc(texts(s.Resource), func(pattern string) bool {
				expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
				return regexp.MustCompile("^" + expression + "$").MatchString(resource)
			})
	})
}
