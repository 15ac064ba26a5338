package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

func TestRolesHaveTheBlueprintsGrants(t *testing.T) {
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
}

// wildcards are the only resources with a star, and why they may have one.
var wildcards = []struct{ suffix, reason string }{
	{"/connections/*", "a secret for each connection, made while the functions run"},
	{"/pending/*", "a secret for each grant that waits to be confirmed"},
	{"/apps/*", "a secret for each platform, whose names end in random characters"},
	{"/sealing-key*", "one secret, whose name ends in random characters"},
	{"/GET/connections/*", "any connection, of the operator's route"},
	{"/DELETE/connections/*", "the same"},
	{"/GET/connections/*/token", "the same, of token-get's route"},
	{"/POST/connections/*/verify", "the same"},
	{"/POST/connections/*/refresh", "the same"},
	{"/POST/connections/*/usage", "the same"},
	{"/GET/platforms/*", "any platform"},
	{"/PUT/platforms/*/app", "any platform"},
}

func TestNoWildcards(t *testing.T) {
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

// A function may be invoked by the API, for its own routes, and by nobody
// else; token-get also by those whom the deployer names.
func TestWhoMayInvoke(t *testing.T) {
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
}

// The policy for callers gives tokens and nothing else, the operator's
// everything but tokens.
func TestCallerPolicies(t *testing.T) {
	both(t, func(t *testing.T, s template) {
		tokenGet, _ := s.function(t, blueprint.TokenGet)
		_, tokens := s.the(t, "AWS::IAM::ManagedPolicy", "TokenCallerPolicy")
		for _, statement := range tokens.statements(t) {
			for _, resource := range texts(statement.Resource) {
				if resource != "{"+tokenGet+".Arn}" && !strings.HasSuffix(resource, "/GET/connections/*/token") {
					t.Errorf("a caller may %v on %s", statement.Action, resource)
				}
			}
		}
		_, operator := s.the(t, "AWS::IAM::ManagedPolicy", "OperatorPolicy")
		for _, statement := range operator.statements(t) {
			if got := texts(statement.Action); !slices.Equal(got, []string{"execute-api:Invoke"}) {
				t.Errorf("an operator may %v", got)
			}
			for _, resource := range texts(statement.Resource) {
				if strings.HasSuffix(resource, "/token") {
					t.Errorf("an operator may have tokens: %s", resource)
				}
			}
		}
	})
}

// Whoever makes secrets makes them with the customer's key, and may use it for
// them.
func TestKeyIsForSecrets(t *testing.T) {
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
}

func TestKeyIsUsedThroughServicesOnly(t *testing.T) {
	for id, role := range full(t).of("AWS::IAM::Role") {
		for _, statement := range role.statements(t) {
			if strings.HasPrefix(texts(statement.Action)[0], "kms:") && at(statement.Condition, "StringEquals", "kms:ViaService") == nil {
				t.Errorf("%s may use the key by itself", id)
			}
		}
	}
}
