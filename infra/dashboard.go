package main

import (
	"fmt"
	"strconv"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/metrics"
	"platform-api-connector/shared/platform"
)

// addDashboard adds a dashboard of the connections' status, of refreshes, and
// of the latency of token-get. A dashboard belongs to an account, not to a
// region, so its name contains the region.
func (d *deployment) addDashboard() {
	dashboard := awscloudwatch.NewDashboard(d.Stack, jsii.String("Dashboard"), &awscloudwatch.DashboardProps{
		DashboardName: jsii.String(d.settings.Name("health-" + *d.Region())),
	})
	dashboard.AddWidgets(
		d.graph("Connections by status", d.connectionsByStatus()...),
		d.graph("Changed to needs_reauth, by platform", d.byPlatform(metrics.NeedsReauth)...),
	)
	dashboard.AddWidgets(
		d.graph("Refreshes by platform and outcome", d.search(metrics.Refreshes, metrics.Platform, metrics.Outcome)),
		d.graph("App refused, by platform", d.byPlatform(metrics.AppRefused)...),
	)
	dashboard.AddWidgets(
		d.graph("Token-get latency, ms",
			d.metric(metrics.TokenGetLatency, "p50", nil),
			d.metric(metrics.TokenGetLatency, "p99", nil)),
		d.graph("Token-get cache hits, %", math("100 * hits / all", "hits, %", fiveMinutes(), map[string]awscloudwatch.IMetric{
			"hits": d.metric(metrics.TokenCacheHits, "Sum", nil),
			"all":  d.metric(metrics.TokenGets, "Sum", nil),
		})),
	)
	dashboard.AddWidgets(
		d.graph("Due backlog and queue",
			d.metric(metrics.DueBacklog, "Maximum", nil),
			d.queue.MetricApproximateNumberOfMessagesVisible(nil)),
		d.graph("Oldest due and oldest queued, s",
			d.metric(metrics.OldestDueAge, "Maximum", nil),
			d.queue.MetricApproximateAgeOfOldestMessage(nil)),
	)
	dashboard.AddWidgets(
		d.graph("API requests and errors",
			d.api.MetricCount(nil), d.api.MetricClientError(nil), d.api.MetricServerError(nil)),
		d.graph("Functions: errors and throttles",
			d.functionSum("Errors"), d.functionSum("Throttles")),
	)
}

func (d *deployment) graph(title string, lines ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
		Title: jsii.String(title), Left: &lines,
		Width: jsii.Number(12), Height: jsii.Number(6), Period: fiveMinutes(),
	})
}

// connectionsByStatus returns one line for each status. The metric is written
// once an hour, so each line repeats the last value.
func (d *deployment) connectionsByStatus() (lines []awscloudwatch.IMetric) {
	for i, status := range connector.Statuses() {
		counted := fmt.Sprintf("counted%d", i)
		lines = append(lines, math("FILL("+counted+", REPEAT)", string(status), fiveMinutes(), map[string]awscloudwatch.IMetric{
			counted: d.metric(metrics.ConnectionsByStatus, "Maximum", map[string]*string{metrics.Status: jsii.String(string(status))}),
		}))
	}
	return lines
}

func (d *deployment) byPlatform(name string) (lines []awscloudwatch.IMetric) {
	for _, p := range platform.All(platform.Options{}) {
		lines = append(lines, d.metric(name, "Sum", map[string]*string{metrics.Platform: jsii.String(string(p.Describe().Name))}))
	}
	return lines
}

// search returns a line for each combination of the dimensions' values.
func (d *deployment) search(name string, dimensions ...string) awscloudwatch.IMetric {
	schema := strconv.Quote(d.settings.SecretPrefix())
	for _, dimension := range dimensions {
		schema += "," + dimension
	}
	return math(fmt.Sprintf(`SEARCH('{%s} MetricName="%s"', 'Sum', 300)`, schema, name), "", fiveMinutes(), map[string]awscloudwatch.IMetric{})
}
