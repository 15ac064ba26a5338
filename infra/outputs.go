package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
)

// addOutputs adds the names, ARNs and URLs of the stack's resources as outputs.
func (d *deployment) addOutputs() {
	d.output("PublicUrl", "The base of links and redirect URIs", d.publicURL)
	service := connector.Service{PublicURL: d.publicURL}
	for _, p := range platform.All(platform.Options{}) {
		name := p.Describe().Name
		d.output("RedirectUri"+camel(string(name)), "Paste this into the app on the developer portal of "+p.Describe().Title,
			service.RedirectURI(name))
	}
	for _, f := range blueprint.Functions() {
		d.output(camel(f.Name)+"Name", "The function that "+f.Job, *d.functions[f.Name].FunctionName())
		d.output(camel(f.Name)+"Arn", "The same function's ARN", *d.functions[f.Name].FunctionArn())
	}
	d.output("TableName", "Connections, links, states, counters", *d.table.TableName())
	d.output("SecretPrefix", "The prefix of the names of all secrets", d.settings.SecretPrefix())
	d.output("BusName", "The bus of the connector's events", *d.bus.EventBusName())
	d.output("BusArn", "The bus's ARN", *d.bus.EventBusArn())
	d.output("RefreshQueueUrl", "The queue of due refreshes", *d.queue.QueueUrl())
	d.output("RefreshDeadLettersUrl", "The dead-letter queue of refreshes", *d.deadLetters[0].QueueUrl())
	d.output("ScheduleDeadLettersUrl", "The dead-letter queue of the schedule", *d.deadLetters[1].QueueUrl())
}

func (d *deployment) output(id, description, value string) {
	awscdk.NewCfnOutput(d.Stack, jsii.String(id), &awscdk.CfnOutputProps{
		Description: jsii.String(description),
		Value:       jsii.String(value),
	})
}
