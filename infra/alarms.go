package main

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/metrics"
	"platform-api-connector/shared/platform"
)

// alarm notifies the operator. Its description explains the cause and the next
// step.
type alarm struct {
	id          string
	description string
	metric      awscloudwatch.IMetric
	above       float64
	// periods is the number of consecutive periods above the threshold.
	periods int
	// missingIsBreaching makes the alarm fire if there is no data.
	missingIsBreaching bool
}

// addAlarms adds the alarms and the topic that they notify.
func (d *deployment) addAlarms() {
	topic := d.alarmTopic()
	action := awscloudwatchactions.NewSnsAction(topic)
	d.addSecretTrap(topic)
	for _, a := range d.alarms() {
		missing := awscloudwatch.TreatMissingData_NOT_BREACHING
		if a.missingIsBreaching {
			missing = awscloudwatch.TreatMissingData_BREACHING
		}
		alarm := awscloudwatch.NewAlarm(d.Stack, jsii.String(a.id+"Alarm"), &awscloudwatch.AlarmProps{
			AlarmName:          jsii.String(d.settings.Name(a.id)),
			AlarmDescription:   jsii.String(a.description),
			Metric:             a.metric,
			Threshold:          jsii.Number(a.above),
			ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD,
			EvaluationPeriods:  jsii.Number(a.periods),
			TreatMissingData:   missing,
		})
		alarm.AddAlarmAction(action)
		alarm.AddOkAction(action)
	}
}

func (d *deployment) alarmTopic() awssns.ITopic {
	if d.settings.AlarmTopicARN != "" {
		return awssns.Topic_FromTopicArn(d.Stack, jsii.String("Alarms"), jsii.String(d.settings.AlarmTopicARN))
	}
	topic := awssns.NewTopic(d.Stack, jsii.String("Alarms"), &awssns.TopicProps{
		TopicName:  jsii.String(d.settings.Name("alarms")),
		EnforceSSL: jsii.Bool(true),
	})
	// This policy replaces the default policy, which would allow the alarms of
	// the account.
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("cloudwatch.amazonaws.com"), nil)},
		Actions:    jsii.Strings("sns:Publish"),
		Resources:  &[]*string{topic.TopicArn()},
		Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": d.Account()}},
	}))
	if d.settings.AlarmEmail != "" {
		topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(jsii.String(d.settings.AlarmEmail), nil))
	}
	d.output("AlarmTopicArn", "The topic that alarms notify", *topic.TopicArn())
	return topic
}

func (d *deployment) alarms() []alarm {
	alarms := []alarm{
		{
			id:          "NeedsReauth",
			description: "More than five connections, and more than 2% of the refreshes, changed to needs_reauth within an hour. People revoke access one by one. So many at once are more likely caused by an app, a scope or a platform.",
			metric: math("IF(lost > 5, 100 * lost / (lost + all), 0)", "lost, % of refreshes", awscdk.Duration_Hours(jsii.Number(1)), map[string]awscloudwatch.IMetric{
				"lost": d.metric(metrics.NeedsReauth, "Sum", nil),
				"all":  d.metric(metrics.Refreshes, "Sum", nil),
			}),
			above: 2, periods: 1,
		},
		{
			id:          "OldestDueAge",
			description: "Due connections have waited for more than 15 minutes, or the sweep does not run: tokens will expire. Look at the schedule and the log of the function refresh. The alarm also fires once before the first sweep of a new deployment.",
			metric:      d.metric(metrics.OldestDueAge, "Maximum", nil),
			above:       15 * 60, periods: 3, missingIsBreaching: true,
		},
		{
			id:          "RefreshQueueAge",
			description: "A refresh has waited in the queue for more than 15 minutes: the worker is too slow or does not run.",
			metric:      d.queue.MetricApproximateAgeOfOldestMessage(nil),
			above:       15 * 60, periods: 2,
		},
		{
			id:          "LateEventAge",
			description: "The event bus has not accepted an event for more than 15 minutes. Nothing is lost: the events stay in the table, and are sent until the bus accepts them. The log of refresh-worker says why it does not: a missing permission, a deleted bus, a quota.",
			metric:      d.metric(metrics.LateEventAge, "Maximum", nil),
			above:       15 * 60, periods: 1,
		},
		{
			id:          "AppRefused",
			description: "A platform refuses the app itself: a wrong or rotated client secret, a changed redirect URI, a suspended app. No connection of the platform can be refreshed. Their status does not change.",
			metric:      d.metric(metrics.AppRefused, "Sum", nil),
			above:       0, periods: 1,
		},
		{
			id:          "CredentialsMismatch",
			description: "A connection's record names credentials that belong to another connection, owner, platform or account. Nothing was handed out. The connector never writes such a record: find out who else writes to the table, in CloudTrail. The log names the connection.",
			metric:      d.metric(metrics.CredentialsMismatch, "Sum", nil),
			above:       0, periods: 1,
		},
		{
			id:          "AccountChanged",
			description: "A refresh returned the tokens of another account than the one that was imported: somebody put the tokens of two accounts together. The connection is marked needs_reauth. The log names it.",
			metric:      d.metric(metrics.AccountChanged, "Sum", nil),
			above:       0, periods: 1,
		},
		{
			id:          "ForeignCookie",
			description: "A browser showed the state of an authorization with a cookie that is not its own, or the record of the authorization was changed: somebody tries to end an authorization that another browser began. Nothing was connected. Look at who received the link.",
			metric:      d.metric(metrics.ForeignCookie, "Sum", nil),
			above:       0, periods: 1,
		},
		{
			id:          "DecoyUsed",
			description: "A caller asked for the token of the decoy connection, which no honest caller does: somebody reads your listings, your table or your configuration. The error line in the log of token-get names the caller. POST /suspensions stops all tokens until you know more.",
			metric:      d.metric(metrics.DecoyUsed, "Sum", nil),
			above:       0, periods: 1,
		},
		{
			id:          "ServerErrors",
			description: "The API answered more than five times in five minutes with a 5xx. While a platform is down (503) or refuses the app (502), other alarms fire too: handle those first. Otherwise search the functions' logs for level ERROR, and for the correlation id that a caller reports.",
			metric:      d.api.MetricServerError(&awscloudwatch.MetricOptions{Statistic: jsii.String("Sum")}),
			above:       5, periods: 1,
		},
		{
			id:          "Defects",
			description: "A function failed with Internal: a defect of the connector, or of its permissions. Search the logs for level ERROR.",
			metric:      d.metric(metrics.Defects, "Sum", nil),
			above:       0, periods: 1,
		},
		{
			id:          "FunctionThrottles",
			description: "Lambda has throttled invocations for 15 minutes. If it throttled a function that anybody can call, that function reached its own limit: look for a rush of requests, or a slow platform. Otherwise raise the concurrency limit of the account.",
			metric:      d.functionSum("Throttles"),
			above:       0, periods: 3,
		},
		{
			id:          "TableThrottles",
			description: "DynamoDB has throttled reads or writes for 15 minutes: a key is hot, or the load grew faster than on-demand capacity.",
			metric:      d.tableThrottles(),
			above:       0, periods: 3,
		},
	}
	for _, p := range platform.All(platform.Options{}) {
		alarms = append(alarms, d.refreshFailures(p.Describe()))
	}
	for _, queue := range d.deadLetters {
		alarms = append(alarms, alarm{
			id:          *queue.Node().Id(),
			description: "Every attempt to process a message failed, and the message waits in this queue for a person. It names the connection; the log has the cause.",
			metric:      queue.MetricApproximateNumberOfMessagesVisible(nil),
			above:       0, periods: 1,
		})
	}
	return alarms
}

// refreshFailures returns the alarm of a platform that fails. While it fails,
// its breaker allows at most one call every two minutes, for any number of
// connections. These calls are too few for a period of five minutes, and too
// few among the calls of other platforms.
func (d *deployment) refreshFailures(p connector.Description) alarm {
	of := map[string]*string{metrics.Platform: jsii.String(string(p.Name))}
	return alarm{
		id:          "RefreshFailures" + camel(string(p.Name)),
		description: "More than a quarter of " + p.Title + "'s refreshes, and at least five, failed within 15 minutes. Tokens are handed out until they expire. The dashboard shows the outcomes.",
		metric: math("IF(failed >= 5, 100 * failed / all, 0)", "failed, %", awscdk.Duration_Minutes(jsii.Number(15)), map[string]awscloudwatch.IMetric{
			"failed": d.metric(metrics.FailedRefreshes, "Sum", of),
			"all":    d.metric(metrics.Refreshes, "Sum", of),
		}),
		above: 25, periods: 1,
	}
}

// metric returns a metric of package metrics.
func (d *deployment) metric(name, statistic string, dimensions map[string]*string) awscloudwatch.IMetric {
	props := &awscloudwatch.MetricProps{
		Namespace:  jsii.String(d.settings.SecretPrefix()),
		MetricName: jsii.String(name),
		Statistic:  jsii.String(statistic),
		Period:     fiveMinutes(),
	}
	if dimensions != nil {
		props.DimensionsMap = &dimensions
	}
	return awscloudwatch.NewMetric(props)
}

// functionSum returns the sum of a Lambda metric over all functions.
func (d *deployment) functionSum(name string) awscloudwatch.IMetric {
	var parts []awscloudwatch.IMetric
	for _, f := range blueprint.Functions() {
		parts = append(parts, d.functions[f.Name].Metric(jsii.String(name), &awscloudwatch.MetricOptions{Statistic: jsii.String("Sum")}))
	}
	return sum(name, parts)
}

// tableThrottles returns the sum of the throttled requests of the table and of
// its indexes. DynamoDB counts each index separately.
func (d *deployment) tableThrottles() awscloudwatch.IMetric {
	of := []map[string]*string{{"TableName": d.table.TableName()}}
	for _, index := range awscloud.TableSchema().Indexes {
		of = append(of, map[string]*string{"TableName": d.table.TableName(), "GlobalSecondaryIndexName": jsii.String(index.Name)})
	}
	var parts []awscloudwatch.IMetric
	for _, dimensions := range of {
		for _, name := range []string{"ReadThrottleEvents", "WriteThrottleEvents"} {
			parts = append(parts, d.table.Metric(jsii.String(name), &awscloudwatch.MetricOptions{
				Statistic: jsii.String("Sum"), DimensionsMap: &dimensions,
			}))
		}
	}
	return sum("Throttled", parts)
}

// sum returns the sum of metrics. A metric without data counts as zero:
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
func sum(label string, parts []awscloudwatch.IMetric) awscloudwatch.IMetric {
	using := map[string]awscloudwatch.IMetric{}
	var terms []string
	for i, part := range parts {
		term := fmt.Sprintf("%s%d", strings.ToLower(label), i)
		using[term] = part
		terms = append(terms, term)
	}
	return math(strings.Join(terms, " + "), label, fiveMinutes(), using)
}

func math(expression, label string, period awscdk.Duration, using map[string]awscloudwatch.IMetric) awscloudwatch.IMetric {
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String(expression), Label: jsii.String(label), Period: period, UsingMetrics: &using,
	})
}

func fiveMinutes() awscdk.Duration { return awscdk.Duration_Minutes(jsii.Number(5)) }
