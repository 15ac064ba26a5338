package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/metrics"
	"platform-api-connector/shared/platform"
)

func TestNewStack_API(t *testing.T) {
	t.Run("routes_of_the_blueprint", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			got := map[string]string{}
			for _, r := range s.of("AWS::ApiGatewayV2::Route") {
				integration := s.Resources[strings.Trim(strings.TrimPrefix(text(r.Properties["Target"]), "integrations/"), "{}")]
				if version := integration.Properties["PayloadFormatVersion"]; version != "2.0" {
					t.Errorf("%s: payload format %v", r.Properties["RouteKey"], version)
				}
				got[text(r.Properties["RouteKey"])] = text(r.Properties["AuthorizationType"]) + " " + text(integration.Properties["IntegrationUri"])
			}
			want := map[string]string{}
			for _, r := range blueprint.Routes() {
				id, _ := s.function(t, r.Function)
				want[r.Key()] = string(r.Auth) + " {" + id + ".Arn}"
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("routes (-blueprint +template):\n%s", diff)
			}
		})
	})
	t.Run("every_route_is_throttled", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			_, stage := s.the(t, "AWS::ApiGatewayV2::Stage", "Stage")
			settings, _ := stage.Properties["RouteSettings"].(map[string]any)
			for _, r := range blueprint.Routes() {
				want := map[string]any{"ThrottlingRateLimit": float64(r.RatePerSecond), "ThrottlingBurstLimit": float64(r.Burst)}
				if diff := cmp.Diff(want, settings[r.Key()]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", r.Key(), diff)
				}
			}
			if len(settings) != len(blueprint.Routes()) {
				t.Errorf("%d routes have settings, want %d", len(settings), len(blueprint.Routes()))
			}
			for id := range s.of("AWS::ApiGatewayV2::Route") {
				if !slices.Contains(stage.DependsOn, id) {
					t.Errorf("the stage does not depend on %s, which its settings name", id)
				}
			}
		})
	})
	// Paths and queries carry links, states and codes.
	t.Run("access_log_has_no_path", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			_, stage := s.the(t, "AWS::ApiGatewayV2::Stage", "Stage")
			format := text(at(stage.Properties, "AccessLogSettings", "Format"))
			if !strings.Contains(format, "$context.routeKey") {
				t.Error("the log does not name the route")
			}
			for _, telling := range []string{"path", "query", "referer", "domainName", "authorizer", "requestOverride"} {
				if strings.Contains(strings.ToLower(format), "$context."+telling) || strings.Contains(format, ".path") {
					t.Errorf("the log has %s: %s", telling, format)
				}
			}
		})
	})
	t.Run("public_url", func(t *testing.T) {
		_, r := defaults(t).function(t, blueprint.OAuthStart)
		api, _ := defaults(t).the(t, "AWS::ApiGatewayV2::Api", "API")
		if got, want := text(at(r.Properties, "Environment", "Variables", config.PublicURL)), "{"+api+".ApiEndpoint}"; got != want {
			t.Errorf("without a domain: %s, want %s", got, want)
		}
		_, r = full(t).function(t, blueprint.OAuthStart)
		if got := text(at(r.Properties, "Environment", "Variables", config.PublicURL)); got != "https://connect.example.com" {
			t.Errorf("with a domain: %s", got)
		}
		if _, served := full(t).the(t, "AWS::ApiGatewayV2::Api", "API"); served.Properties["DisableExecuteApiEndpoint"] != true {
			t.Error("with a domain: the API's own name is served, too")
		}
	})
}

func TestNewStack_Functions(t *testing.T) {
	t.Run("functions_of_the_blueprint", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			if got, want := len(s.of("AWS::Lambda::Function")), len(blueprint.Functions()); got != want {
				t.Errorf("%d functions, want %d", got, want)
			}
			for _, f := range blueprint.Functions() {
				_, r := s.function(t, f.Name)
				got := map[string]any{
					"runtime": r.Properties["Runtime"], "handler": r.Properties["Handler"], "architectures": r.Properties["Architectures"],
					"memory": r.Properties["MemorySize"], "timeout": r.Properties["Timeout"], "tracing": at(r.Properties, "TracingConfig", "Mode"),
				}
				want := map[string]any{
					"runtime": "provided.al2023", "handler": "bootstrap", "architectures": []any{"arm64"},
					"memory": float64(f.MemoryMB), "timeout": f.Timeout.Seconds(), "tracing": "Active",
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
				logs := s.Resources[strings.Trim(text(at(r.Properties, "LoggingConfig", "LogGroup")), "{}")]
				if days, _ := logs.Properties["RetentionInDays"].(float64); days == 0 {
					t.Errorf("%s: logs are kept for ever", f.Name)
				}
			}
		})
	})
	// A new AWS account has ten concurrent executions and lets none of them be
	// reserved: a deployment that reserves any fails there.
	t.Run("concurrency_is_reserved_in_prod", func(t *testing.T) {
		all := map[string]float64{blueprint.Refresh: 1, blueprint.OAuthStart: 50, blueprint.OAuthCallback: 50, blueprint.PlatformNotice: 20}
		for name, c := range map[string]struct {
			s    template
			want map[string]float64
		}{
			"prod":           {synthesize(t, map[string]any{"stage": "prod"}), all},
			"asked":          {full(t), all},
			"dev":            {defaults(t), map[string]float64{}},
			"prod_with_none": {synthesize(t, map[string]any{"stage": "prod", "reserveConcurrency": "false"}), map[string]float64{}},
		} {
			got := map[string]float64{}
			for _, f := range blueprint.Functions() {
				_, r := c.s.function(t, f.Name)
				if reserved, ok := r.Properties["ReservedConcurrentExecutions"].(float64); ok {
					got[f.Name] = reserved
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s reserves (-want +got):\n%s", name, diff)
			}
		}
	})
	t.Run("variables_of_the_blueprint", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			for _, f := range blueprint.Functions() {
				_, r := s.function(t, f.Name)
				variables, _ := at(r.Properties, "Environment", "Variables").(map[string]any)
				got := slices.Sorted(maps.Keys(variables))
				want := slices.Clone(f.Environment)
				if strings.HasSuffix(t.Name(), "/defaults") {
					want = slices.DeleteFunc(want, func(name string) bool {
						return slices.Contains([]string{config.ReturnOrigins, config.PlatformEndpoints, config.CallerOwners, config.LinkScopes, config.SecretKMSKeyID, config.DecoyConnectionID, config.Budgets}, name)
					})
				}
				if diff := cmp.Diff(sorted(want), got); diff != "" {
					t.Errorf("%s (-blueprint +template):\n%s", f.Name, diff)
				}
				values := func(name string) string {
					if variables[name] == nil {
						return ""
					}
					return resolved(text(variables[name]))
				}
				if _, err := config.Parse(values); err != nil {
					t.Errorf("%s could not start: %v", f.Name, err)
				}
			}
		})
	})
	t.Run("schedule_of_the_blueprint", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			want := blueprint.RefreshSchedule()
			function, _ := s.function(t, want.Function)
			_, r := s.the(t, "AWS::Scheduler::Schedule", "Schedule")
			if got := r.Properties["ScheduleExpression"]; got != fmt.Sprintf("rate(%.0f minutes)", want.Every.Minutes()) {
				t.Errorf("every %v, want %v", got, want.Every)
			}
			if got := text(at(r.Properties, "Target", "Arn")); got != "{"+function+".Arn}" {
				t.Errorf("invokes %s, want %s", got, function)
			}
			if at(r.Properties, "Target", "RetryPolicy") == nil || at(r.Properties, "Target", "DeadLetterConfig", "Arn") == nil {
				t.Error("no retry policy, or no dead letters")
			}
			if got := len(s.of("AWS::Scheduler::Schedule")); got != 1 {
				t.Errorf("%d schedules", got)
			}
		})
	})
	t.Run("queue_of_the_blueprint", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			q := blueprint.RefreshQueue()
			worker := functionNamed(q.Function)
			id, r := s.the(t, "AWS::SQS::Queue", "RefreshQueue")
			visibility, _ := r.Properties["VisibilityTimeout"].(float64)
			if visibility != q.Visibility.Seconds() || visibility < 6*worker.Timeout.Seconds() {
				t.Errorf("visible again after %v s; the worker has %v", visibility, worker.Timeout)
			}
			if got := at(r.Properties, "RedrivePolicy", "maxReceiveCount"); got != float64(q.MaxReceive) {
				t.Errorf("dead after %v receives, want %d", got, q.MaxReceive)
			}
			_, source := s.the(t, "AWS::Lambda::EventSourceMapping", "RefreshQueueSource")
			function, _ := s.function(t, q.Function)
			got := map[string]any{
				"queue": text(source.Properties["EventSourceArn"]), "function": text(source.Properties["FunctionName"]),
				"batch": source.Properties["BatchSize"], "partial": source.Properties["FunctionResponseTypes"],
				"concurrency": at(source.Properties, "ScalingConfig", "MaximumConcurrency"),
			}
			want := map[string]any{
				"queue": "{" + id + ".Arn}", "function": "{" + function + "}",
				"batch": float64(q.BatchSize), "partial": []any{"ReportBatchItemFailures"},
				"concurrency": float64(worker.MaxConcurrency),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
		})
	})
}

var referencePattern = regexp.MustCompile(`\{([A-Za-z0-9.]+)\}`)

// resolved stands in for what CloudFormation puts in the place of a reference.
func resolved(value string) string {
	switch {
	case strings.HasSuffix(value, ".ApiEndpoint}"):
		return "https://api.example.com"
	case strings.HasPrefix(value, "{RefreshQueue"):
		return "https://sqs.example.com/queue"
	}
	return referencePattern.ReplaceAllString(value, "$1")
}

func TestNewStack_Storage(t *testing.T) {
	t.Run("table_has_the_schema_of_the_store", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			schema := awscloud.TableSchema()
			_, r := s.the(t, "AWS::DynamoDB::Table", "Table")
			keys := func(partition, sort string) any {
				schema := []any{map[string]any{"AttributeName": partition, "KeyType": "HASH"}}
				if sort != "" {
					schema = append(schema, map[string]any{"AttributeName": sort, "KeyType": "RANGE"})
				}
				return schema
			}
			var indexes []any
			for _, index := range schema.Indexes {
				projection := "ALL"
				if index.KeysOnly {
					projection = "KEYS_ONLY"
				}
				indexes = append(indexes, map[string]any{
					"IndexName": index.Name, "KeySchema": keys(index.PartitionKey, index.SortKey),
					"Projection": map[string]any{"ProjectionType": projection},
				})
			}
			want := map[string]any{
				"KeySchema": keys(schema.PartitionKey, ""), "GlobalSecondaryIndexes": indexes,
				"BillingMode":                      "PAY_PER_REQUEST",
				"TimeToLiveSpecification":          map[string]any{"AttributeName": schema.TTLAttribute, "Enabled": true},
				"PointInTimeRecoverySpecification": map[string]any{"PointInTimeRecoveryEnabled": true},
			}
			for name, value := range want {
				if diff := cmp.Diff(value, r.Properties[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	})
	t.Run("prod_retains_its_data", func(t *testing.T) {
		for name, s := range map[string]template{"Delete": defaults(t), "Retain": full(t)} {
			_, table := s.the(t, "AWS::DynamoDB::Table", "Table")
			if got := table.Properties["DeletionProtectionEnabled"]; got != (name == "Retain") {
				t.Errorf("deletion protection: %v", got)
			}
			if table.DeletionPolicy != name {
				t.Errorf("the table's deletion policy is %s, want %s", table.DeletionPolicy, name)
			}
		}
	})
}

func TestNewStack_Outputs(t *testing.T) {
	t.Run("names_and_urls", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			want := []string{
				"PublicUrl", "TableName", "SecretPrefix", "BusName", "BusArn", "RefreshQueueUrl",
				"RefreshDeadLettersUrl", "ScheduleDeadLettersUrl", "TokenCallerPolicyArn", "OperatorPolicyArn", "LinkMinterPolicyArn", "ConnectionManagerPolicyArn", "AppManagerPolicyArn", "AlarmTopicArn",
			}
			for _, f := range blueprint.Functions() {
				want = append(want, camel(f.Name)+"Name", camel(f.Name)+"Arn")
			}
			for _, p := range platform.All(platform.Options{}) {
				name := p.Describe().Name
				id := "RedirectUri" + camel(string(name))
				want = append(want, id)
				service := connector.Service{PublicURL: text(s.Outputs["PublicUrl"].Value)}
				if got := text(s.Outputs[id].Value); got != service.RedirectURI(name) {
					t.Errorf("%s = %s, want %s", id, got, service.RedirectURI(name))
				}
			}
			if strings.HasSuffix(t.Name(), "full") {
				want = append(want, "DomainTarget")
			}
			if diff := cmp.Diff(sorted(want), slices.Sorted(maps.Keys(s.Outputs))); diff != "" {
				t.Errorf("outputs (-want +got):\n%s", diff)
			}
		})
	})
}

func TestNewStack_Alarms(t *testing.T) {
	t.Run("every_alarm_notifies_a_topic", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			topic, _ := s.the(t, "AWS::SNS::Topic", "Alarms")
			names := map[string]bool{}
			for id, alarm := range s.of("AWS::CloudWatch::Alarm") {
				names[text(alarm.Properties["AlarmName"])[strings.LastIndex(text(alarm.Properties["AlarmName"]), "-")+1:]] = true
				if got := text(alarm.Properties["AlarmActions"]); got != "{"+topic+"}" {
					t.Errorf("%s rings at %s", id, got)
				}
				if text(alarm.Properties["AlarmDescription"]) == "null" {
					t.Errorf("%s does not say why", id)
				}
			}
			for _, name := range []string{
				"RefreshFailuresFacebook", "RefreshFailuresYoutube", "RefreshFailuresTwitter", "RefreshFailuresTiktok", "NeedsReauth", "OldestDueAge", "RefreshQueueAge", "LateEventAge", "AppRefused", "ServerErrors",
				"CredentialsMismatch", "AccountChanged", "ForeignCookie", "DecoyUsed",
				"Defects", "FunctionThrottles", "TableThrottles", "RefreshDeadLetters", "ScheduleDeadLetters",
			} {
				if !names[name] {
					t.Errorf("no alarm %s", name)
				}
			}
			var allowed bool
			for _, policy := range s.of("AWS::SNS::TopicPolicy") {
				for _, statement := range policy.statements(t) {
					allowed = allowed || statement.Effect == "Allow" && text(at(statement.Principal, "Service")) == "cloudwatch.amazonaws.com"
				}
			}
			if !allowed {
				t.Error("CloudWatch may not publish to the topic")
			}
		})
	})
	// What DynamoDB counts for a table leaves its indexes out.
	t.Run("table_throttles_include_the_indexes", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			_, alarm := s.the(t, "AWS::CloudWatch::Alarm", "TableThrottlesAlarm")
			var got []string
			list, _ := alarm.Properties["Metrics"].([]any)
			for _, metric := range list {
				name := text(at(metric, "MetricStat", "Metric", "MetricName"))
				if name == "null" {
					continue
				}
				index := "the table"
				dimensions, _ := at(metric, "MetricStat", "Metric", "Dimensions").([]any)
				for _, dimension := range dimensions {
					if at(dimension, "Name") == "GlobalSecondaryIndexName" {
						index = text(at(dimension, "Value"))
					}
				}
				got = append(got, name+" of "+index)
			}
			want := []string{"ReadThrottleEvents of the table", "WriteThrottleEvents of the table"}
			for _, index := range awscloud.TableSchema().Indexes {
				want = append(want, "ReadThrottleEvents of "+index.Name, "WriteThrottleEvents of "+index.Name)
			}
			if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	})
	// While a platform is down the breaker lets one call through every two
	// minutes at most, for however many connections, and the others go on: only
	// among its own calls of a quarter of an hour do its failures show.
	t.Run("refresh_failures_of_one_platform", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			for _, p := range platform.All(platform.Options{}) {
				name := string(p.Describe().Name)
				_, alarm := s.the(t, "AWS::CloudWatch::Alarm", "RefreshFailures"+camel(name)+"Alarm")
				got := map[string]string{}
				list, _ := alarm.Properties["Metrics"].([]any)
				for _, metric := range list {
					id := text(at(metric, "Id"))
					if expression, ok := at(metric, "Expression").(string); ok {
						got["rings at"] = expression
						continue
					}
					got[id] = fmt.Sprintf("%s of %s in %v s", text(at(metric, "MetricStat", "Metric", "MetricName")),
						text(at(metric, "MetricStat", "Metric", "Dimensions")), at(metric, "MetricStat", "Period"))
				}
				of := fmt.Sprintf(`{"Name":"Platform","Value":%q} in 900 s`, name)
				want := map[string]string{
					"rings at": "IF(failed >= 5, 100 * failed / all, 0)",
					"failed":   metrics.FailedRefreshes + " of " + of,
					"all":      metrics.Refreshes + " of " + of,
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
				if alarm.Properties["EvaluationPeriods"] != 1.0 || alarm.Properties["Threshold"] != 25.0 {
					t.Errorf("%s rings above %v %% in %v periods", name, alarm.Properties["Threshold"], alarm.Properties["EvaluationPeriods"])
				}
			}
		})
	})
}

func TestNewStack_Dashboard(t *testing.T) {
	// A dashboard belongs to the account, not to a region: a second region's
	// stack must not meet the first one's.
	t.Run("name_contains_the_region", func(t *testing.T) {
		both(t, func(t *testing.T, s template) {
			_, dashboard := s.the(t, "AWS::CloudWatch::Dashboard", "Dashboard")
			if name := text(dashboard.Properties["DashboardName"]); !strings.HasSuffix(name, "-health-{AWS::Region}") {
				t.Errorf("%s is taken in another region", name)
			}
		})
	})
	// CloudWatch wants a namespace with a hyphen in quotes:
	// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
	t.Run("search_quotes_the_namespace", func(t *testing.T) {
		_, dashboard := defaults(t).the(t, "AWS::CloudWatch::Dashboard", "Dashboard")
		var body struct {
			Widgets []struct {
				Properties struct {
					Title   string
					Metrics [][]any
				}
			}
		}
		if err := json.Unmarshal([]byte(text(dashboard.Properties["DashboardBody"])), &body); err != nil {
			t.Fatal(err)
		}
		for _, widget := range body.Widgets {
			if widget.Properties.Title != "Refreshes by platform and outcome" {
				continue
			}
			want := `SEARCH('{"platform-api-connector/dev",Platform,Outcome} MetricName="Refreshes"', 'Sum', 300)`
			if got := at(widget.Properties.Metrics[0][0], "expression"); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			return
		}
		t.Error("no such widget")
	})
}
