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

// alarm wakes someone. Its description says why it rings and what to look at.
type alarm struct {
	id          string
	description string
	metric      awscloudwatch.IMetric
	above       float64
	// periods is for how many periods in a row it has to be so.
	periods int
	// silence says that no data is as bad.
	silence bool
}

// addAlarms adds what is worth being woken for, and where it rings.
func (d *deployment) addAlarms() {
	action := awscloudwatchactions.NewSnsAction(d.alarmTopic())
	for _, a := range d.alarms() {
		missing := awscloudwatch.TreatMissingData_NOT_BREACHING
		if a.silence {
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
	// A policy of its own takes the place of the one that lets the account's
	// alarms in.
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("cloudwatch.amazonaws.com"), nil)},
		Actions:    jsii.Strings("sns:Publish"),
		Resources:  &[]*string{topic.TopicArn()},
		Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": d.Account()}},
	}))
	if d.settings.AlarmEmail != "" {
		topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(jsii.String(d.settings.AlarmEmail), nil))
	}
	d.output("AlarmTopicArn", "Where alarms ring", *topic.TopicArn())
	return topic
}

func (d *deployment) alarms() []alarm {
	alarms := []alarm{
		{
			id:          "NeedsReauth",
			description: "More than five connections, and more than one refresh in fifty, began to need a person within an hour. People leave one by one: so many at once are more likely an app, a scope or a platform.",
			metric: math("IF(lost > 5, 100 * lost / (lost + all), 0)", "lost, % of refreshes", awscdk.Duration_Hours(jsii.Number(1)), map[string]awscloudwatch.IMetric{
				"lost": d.metric(metrics.NeedsReauth, "Sum", nil),
				"all":  d.metric(metrics.Refreshes, "Sum", nil),
			}),
			above: 2, periods: 1,
		},
		{
			id:          "OldestDueAge",
			description: "What is due waits for more than 15 minutes, or the tick does not run: tokens will die. Look at the refresh function's log and the schedule. It also rings once before the first tick of a new deployment.",
			metric:      d.metric(metrics.OldestDueAge, "Maximum", nil),
			above:       15 * 60, periods: 3, silence: true,
		},
		{
			id:          "RefreshQueueAge",
			description: "A refresh waits in the queue for more than 15 minutes: the worker does not keep up, or does not run.",
			metric:      d.queue.MetricApproximateAgeOfOldestMessage(nil),
			above:       15 * 60, periods: 2,
		},
		{
			id:          "AppRefused",
			description: "A platform refuses the app itself: a wrong or rotated client secret, a changed redirect URI, a suspended app. No connection is condemned for it, but none of that platform can be refreshed.",
			metric:      d.metric(metrics.AppRefused, "Sum", nil),
			above:       0, periods: 1,
		},
		{
			id:          "ServerErrors",
			description: "The API answered more than five times in five minutes with a 5xx. While a platform is down (503) or refuses the app (502), other alarms ring too: see to them first. Else search the functions' logs for level ERROR, and for the correlation id that a caller quotes.",
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
			description: "Invocations were refused for lack of concurrency, for 15 minutes: raise the account's limit.",
			metric:      d.functionSum("Throttles"),
			above:       0, periods: 3,
		},
		{
			id:          "TableThrottles",
			description: "DynamoDB throttled reads or writes for 15 minutes: a hot key, or a table that grew faster than on-demand follows.",
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
			description: "Something could not be done by any attempt and lies in this queue until a person looks: the message says which connection, the log why.",
			metric:      queue.MetricApproximateNumberOfMessagesVisible(nil),
			above:       0, periods: 1,
		})
	}
	return alarms
}

// refreshFailures rings while a platform fails. Then the breaker lets a call
// through every two minutes at most, for however many connections: too few to
// show in five minutes, or among the calls of other platforms.
func (d *deployment) refreshFailures(p connector.Description) alarm {
	of := map[string]*string{metrics.Platform: jsii.String(string(p.Name))}
	return alarm{
		id:          "RefreshFailures" + camel(string(p.Name)),
		description: "More than a quarter of " + p.Title + "'s refreshes, and at least five, failed within 15 minutes. Tokens are served for as long as they live; the outcomes on the dashboard say what the platform answers.",
		metric: math("IF(failed >= 5, 100 * failed / all, 0)", "failed, %", awscdk.Duration_Minutes(jsii.Number(15)), map[string]awscloudwatch.IMetric{
			"failed": d.metric(metrics.FailedRefreshes, "Sum", of),
			"all":    d.metric(metrics.Refreshes, "Sum", of),
		}),
		above: 25, periods: 1,
	}
}

// metric is one of ours; see package metrics.
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

// functionSum adds up a metric of Lambda's over all functions.
func (d *deployment) functionSum(name string) awscloudwatch.IMetric {
	var parts []awscloudwatch.IMetric
	for _, f := range blueprint.Functions() {
		parts = append(parts, d.functions[f.Name].Metric(jsii.String(name), &awscloudwatch.MetricOptions{Statistic: jsii.String("Sum")}))
	}
	return sum(name, parts)
}

// tableThrottles adds up what DynamoDB refused of the table and, counted
// apart, of each index.
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

// sum adds metrics up. One that has no data counts as zero:
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
