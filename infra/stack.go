package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigatewayv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
)

// deployment is one stack under construction. NewStack sets its parts in an
// order in which each part uses only earlier ones.
type deployment struct {
	awscdk.Stack
	settings Settings
	assets   string // the directory that contains <function>/bootstrap

	key         awskms.IKey // nil if AWS manages the keys
	table       awsdynamodb.Table
	queue       awssqs.Queue
	deadLetters []awssqs.Queue
	bus         awsevents.EventBus
	api         awsapigatewayv2.HttpApi
	publicURL   string
	functions   map[string]awslambda.Function
}

// NewStack adds the stack of one stage to the app. It takes the code of a
// function from assets/<name>, where `make build` writes it.
func NewStack(app constructs.Construct, settings Settings, assets string) awscdk.Stack {
	d := &deployment{
		Stack: awscdk.NewStack(app, jsii.String("Connector-"+settings.Stage), &awscdk.StackProps{
			StackName:             jsii.String("platform-api-connector-" + settings.Stage),
			Description:           jsii.String("Platform API Connector: authorizes social platforms and hands out credentials that work"),
			TerminationProtection: jsii.Bool(settings.Prod()),
		}),
		settings:  settings,
		assets:    assets,
		functions: map[string]awslambda.Function{},
	}
	awscdk.Tags_Of(d.Stack).Add(jsii.String("app"), jsii.String("platform-api-connector"), nil)
	awscdk.Tags_Of(d.Stack).Add(jsii.String("stage"), jsii.String(settings.Stage), nil)

	d.addStorage()
	d.addAPI()
	for _, f := range blueprint.Functions() {
		d.addFunction(f)
	}
	d.addRoutes()
	d.addQueueSource()
	d.addSchedule()
	d.addCallers()
	d.addAlarms()
	d.addDashboard()
	d.addOutputs()
	d.addSkippedRules()
	return d.Stack
}

// retained returns the removal policy of data: when the stack is deleted, its
// data is retained in prod and deleted in every other stage.
func (d *deployment) retained() awscdk.RemovalPolicy {
	if d.settings.Prod() {
		return awscdk.RemovalPolicy_RETAIN
	}
	return awscdk.RemovalPolicy_DESTROY
}
