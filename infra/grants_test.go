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
					want["{"+queue+".Arn}"] = append(want["{"+queue+".Arn}"], "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")
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

// TestNewStack_LeadingKeys evaluates the policies of the template over calls of
// DynamoDB. TestGrants of the blueprint compares the grants with the code, and the
// local stack refuses in every one of its tests what they do not allow.
func TestNewStack_LeadingKeys(t *testing.T) {
	const leadingKeys = "dynamodb:LeadingKeys"
	may := func(t *testing.T, s template, function, action, index string, keys ...string) bool {
		_, role := s.the(t, "AWS::IAM::Role", camel(function)+"Role")
		table, _ := s.the(t, "AWS::DynamoDB::Table", "Table")
		arn := "{" + table + ".Arn}"
		if index != "" {
			arn += "/index/" + index
		}
		return role.allowsWith(t, "dynamodb:"+action, arn, map[string][]string{leadingKeys: keys})
	}
	t.Run("grants_are_allowed", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			checked := 0
			for _, f := range blueprint.Functions() {
				for _, g := range blueprint.Grants(f.Name) {
					index, isIndex := strings.CutPrefix(string(g.Resource), "table index ")
					switch {
					case g.Resource == blueprint.Table:
						index = ""
					case !isIndex:
						continue
					}
					if g.Resource == blueprint.Table && len(g.Keys) == 0 {
						t.Errorf("%s: a grant on every record", f.Name)
					}
					for _, action := range g.Actions {
						action = strings.TrimPrefix(action, "dynamodb:")
						if len(g.Keys) == 0 && !may(t, s, f.Name, action, index) {
							t.Errorf("%s may not %s", f.Name, action)
						}
						for _, pattern := range g.Keys {
							checked++
							if key := strings.ReplaceAll(pattern, "*", "some/key#1"); !may(t, s, f.Name, action, index, key) {
								t.Errorf("%s may not %s %s", f.Name, action, key)
							}
						}
					}
				}
			}
			if checked < 60 {
				t.Errorf("only %d calls were checked", checked)
			}
		})
	})
	// Whoever takes over a function gets no further than its kinds of record.
	t.Run("forged_calls_are_refused", func(t *testing.T) {
		connection, account := "connection#5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13", "account#0123"
		type call struct {
			function, action, index string
			keys                    []string
		}
		on := func(function, action string, keys ...string) call { return call{function, action, "", keys} }
		both(t, func(t *testing.T, s template) {
			for _, c := range []call{
				on(blueprint.OAuthStart, "PutItem", connection), on(blueprint.OAuthStart, "UpdateItem", connection),
				on(blueprint.OAuthStart, "DeleteItem", connection), on(blueprint.OAuthStart, "GetItem", connection),
				on(blueprint.OAuthStart, "PutItem", account), on(blueprint.OAuthStart, "PutItem", "breaker#youtube"),
				on(blueprint.OAuthStart, "UpdateItem", "breaker#youtube"), on(blueprint.OAuthStart, "PutItem", "suspensions#all"),
				on(blueprint.OAuthStart, "UpdateItem", "suspensions#all"), on(blueprint.OAuthStart, "PutItem", "ticket#pending#1"),
				on(blueprint.OAuthStart, "PutItem", "ticket#confirmation#1"), on(blueprint.OAuthStart, "PutItem", "ticket#link#1"),
				on(blueprint.OAuthStart, "UpdateItem", "counter#posts/youtube"), on(blueprint.OAuthStart, "GetItem", "ticket#state#1"),
				on(blueprint.OAuthStart, "PutItem", "ticket#state#1", connection), on(blueprint.OAuthStart, "PutItem"), on(blueprint.OAuthStart, "GetItem"),
				on(blueprint.OAuthStart, "PutItem", "CONNECTION#1"), on(blueprint.OAuthStart, "PutItem", "xticket#state#1"),
				on(blueprint.OAuthCallback, "UpdateItem", "suspensions#all"),
				on(blueprint.OAuthCallback, "UpdateItem", "breaker#youtube"), on(blueprint.OAuthCallback, "UpdateItem", "counter#posts/youtube"),
				on(blueprint.TokenGet, "DeleteItem", "ticket#link#1"), on(blueprint.TokenGet, "PutItem", "ticket#state#1"),
				on(blueprint.TokenGet, "PutItem", connection), on(blueprint.TokenGet, "UpdateItem", "suspensions#all"),
				on(blueprint.TokenGet, "UpdateItem", "counter#posts/youtube"), on(blueprint.TokenGet, "GetItem", "ticket#confirmation#1"),
				{blueprint.TokenGet, "Query", "by_owner", nil}, {blueprint.TokenGet, "Scan", "by_owner", nil},
				{blueprint.TokenGet, "Query", "due", []string{"due#00"}},
				on(blueprint.Refresh, "PutItem", connection), on(blueprint.Refresh, "GetItem", connection), on(blueprint.Refresh, "DeleteItem", connection),
				on(blueprint.Refresh, "UpdateItem", "ticket#link#1"), on(blueprint.Refresh, "UpdateItem", account), on(blueprint.Refresh, "UpdateItem", "suspensions#all"),
				{blueprint.Refresh, "Query", "due", []string{"other#00"}}, {blueprint.Refresh, "Query", "due", nil},
				{blueprint.Refresh, "Query", "by_owner", []string{"acme"}}, {blueprint.Refresh, "Query", "by_user", []string{"youtube#1"}},
				on(blueprint.RefreshWorker, "GetItem", "ticket#link#1"),
				on(blueprint.RefreshWorker, "UpdateItem", "suspensions#all"), {blueprint.RefreshWorker, "Scan", "by_owner", nil},
				on(blueprint.PlatformNotice, "PutItem", connection), on(blueprint.PlatformNotice, "GetItem", "ticket#link#1"),
				on(blueprint.PlatformNotice, "UpdateItem", "suspensions#all"), on(blueprint.PlatformNotice, "UpdateItem", "breaker#youtube"),
				{blueprint.PlatformNotice, "Query", "by_owner", []string{"acme"}}, {blueprint.PlatformNotice, "Query", "by_user", nil},
				on(blueprint.Connections, "UpdateItem", "ticket#state#1"), on(blueprint.Connections, "PutItem", "ticket#deletion#1"), on(blueprint.Connections, "PutItem"),
				{blueprint.Connections, "Scan", "", nil}, {blueprint.Connections, "Query", "due", []string{"due#00"}},
			} {
				if may(t, s, c.function, c.action, c.index, c.keys...) {
					t.Errorf("%s may %s %q %s", c.function, c.action, c.keys, c.index)
				}
			}
		})
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
	return r.allowsWith(t, action, resource, nil)
}

// allowsWith evaluates the conditions, too. The context has the values of each
// condition key of the request. An explicit denial wins over any permission.
func (r resource) allowsWith(t *testing.T, action, resource string, context map[string][]string) bool {
	t.Helper()
	allowed := false
	for _, s := range r.statements(t) {
		matches := slices.Contains(texts(s.Action), action) &&
			slices.ContainsFunc(texts(s.Resource), func(pattern string) bool { return like(pattern, resource) }) &&
			conditionHolds(t, s.Condition, context)
		if matches && s.Effect == "Deny" {
			return false
		}
		allowed = allowed || matches && s.Effect == "Allow"
	}
	return allowed
}

// like matches as IAM's StringLike does: a star for any characters, slashes among
// them, and a question mark for one.
func like(pattern, value string) bool {
	expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString(value)
}

// conditionHolds evaluates a condition block as IAM does: every operator and every
// key must hold, and one of the values suffices.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
func conditionHolds(t *testing.T, condition any, context map[string][]string) bool {
	t.Helper()
	operators, _ := condition.(map[string]any)
	for operator, keys := range operators {
		for key, value := range keys.(map[string]any) {
			got, wanted := context[key], texts(value)
			matches := func(got string) bool {
				return slices.ContainsFunc(wanted, func(pattern string) bool {
					if strings.HasSuffix(operator, "StringEquals") || strings.HasSuffix(operator, "ArnEquals") {
						return pattern == got
					}
					return like(pattern, got)
				})
			}
			var holds bool
			switch operator {
			case "Null":
				holds = (len(got) == 0) == (wanted[0] == "true")
			case "ForAllValues:StringLike": // true of no values at all
				holds = !slices.ContainsFunc(got, func(got string) bool { return !matches(got) })
			case "StringEquals", "StringLike", "ArnEquals":
				holds = len(got) == 1 && matches(got[0])
			default:
				t.Fatalf("no operator %q", operator)
			}
			if !holds {
				return false
			}
		}
	}
	return true
}
