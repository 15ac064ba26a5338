package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

// addFunction adds a Lambda function with its log group and its role. The role
// has only the grants of the blueprint: constructs that use the function later
// cannot add any.
func (d *deployment) addFunction(f blueprint.Function) {
	id := camel(f.Name)
	logs := d.addLogGroup(id+"Logs", "/aws/lambda/"+d.settings.Name(f.Name))
	role := awsiam.NewRole(d.Stack, jsii.String(id+"Role"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
		Description: jsii.String("Permissions of the function " + f.Name),
		InlinePolicies: &map[string]awsiam.PolicyDocument{
			"calls": awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{
				Statements: d.statements(f, logs),
			}),
		},
	})
	props := &awslambda.FunctionProps{
		FunctionName:  jsii.String(d.settings.Name(f.Name)),
		Description:   jsii.String(f.Job),
		Runtime:       awslambda.Runtime_PROVIDED_AL2023(),
		Architecture:  awslambda.Architecture_ARM_64(),
		Handler:       jsii.String("bootstrap"),
		Code:          awslambda.Code_FromAsset(jsii.String(filepath.Join(d.assets, f.Name)), nil),
		MemorySize:    jsii.Number(f.MemoryMB),
		Timeout:       seconds(f.Timeout),
		Environment:   d.environment(f),
		Tracing:       awslambda.Tracing_ACTIVE,
		LoggingFormat: awslambda.LoggingFormat_TEXT, // the lines are JSON already, and Lambda must not wrap the metrics in them
		LogGroup:      logs,
		Role:          role.WithoutPolicyUpdates(nil),
	}
	if schedule := blueprint.RefreshSchedule(); f.Name == schedule.Function {
		// The next sweep repeats what a failed one missed, and a late event is
		// useless.
		props.RetryAttempts = jsii.Number(0)
		props.MaxEventAge = seconds(schedule.Every)
	}
	if f.Reserved() > 0 && d.settings.ReserveConcurrency {
		props.ReservedConcurrentExecutions = jsii.Number(f.Reserved())
	}
	function := awslambda.NewFunction(d.Stack, jsii.String(id), props)
	// The CDK adds a dependency on the role, but the ARN of the role already
	// is one.
	function.Node().DefaultChild().(awscdk.CfnResource).AddDeletionOverride(jsii.String("DependsOn"))
	d.functions[f.Name] = function
}

func (d *deployment) addLogGroup(id, name string) awslogs.LogGroup {
	retention := awslogs.RetentionDays_TWO_WEEKS
	if d.settings.Prod() {
		retention = awslogs.RetentionDays_THREE_MONTHS
	}
	return awslogs.NewLogGroup(d.Stack, jsii.String(id), &awslogs.LogGroupProps{
		LogGroupName:  jsii.String(name),
		Retention:     retention,
		RemovalPolicy: d.retained(),
	})
}

// environment returns the variables that the blueprint lists for f. It omits
// variables that the deployer left empty.
func (d *deployment) environment(f blueprint.Function) *map[string]*string {
	values := map[string]string{
		config.PublicURL:            d.publicURL,
		config.TableName:            *d.table.TableName(),
		config.SecretPrefix:         d.settings.SecretPrefix(),
		config.RefreshQueueURL:      *d.queue.QueueUrl(),
		config.EventBusName:         *d.bus.EventBusName(),
		config.ReturnOrigins:        d.settings.ReturnOrigins,
		config.AllowFullCredentials: strconv.FormatBool(d.settings.AllowFullCredentials),
		config.HandOutAppKeys:       strconv.FormatBool(d.settings.HandOutAppKeys),
		config.PlatformEndpoints:    d.settings.PlatformEndpoints,
		config.LogLevel:             d.settings.LogLevel,
		config.CallerOwners:         d.settings.CallerOwners,
		config.LinkScopes:           d.settings.LinkScopes,
		config.SecretKMSKeyID:       d.settings.KeyARN,
		config.DecoyConnectionID:    d.settings.DecoyConnectionID,
		config.RefuseUnbound:        strconv.FormatBool(d.settings.RefuseUnboundCredentials),
		config.Budgets:              d.settings.Budgets,
	}
	variables := map[string]*string{}
	for _, name := range f.Environment {
		value, known := values[name]
		if !known {
			panic(fmt.Sprintf("function %s needs the variable %s, which the deployment does not set", f.Name, name))
		}
		if value != "" {
			variables[name] = jsii.String(value)
		}
	}
	if d.settings.AWSEndpointURL != "" {
		variables[config.AWSEndpointURL] = jsii.String(d.settings.AWSEndpointURL)
	}
	return &variables
}

// addQueueSource connects the queue to the worker. It limits the worker's
// concurrency, because platforms throttle apps. A limit on the function itself
// would lose messages.
func (d *deployment) addQueueSource() {
	q := blueprint.RefreshQueue()
	worker := functionNamed(q.Function)
	awslambda.NewEventSourceMapping(d.Stack, jsii.String("RefreshQueueSource"), &awslambda.EventSourceMappingProps{
		Target:                  d.functions[q.Function],
		EventSourceArn:          d.queue.QueueArn(),
		BatchSize:               jsii.Number(q.BatchSize),
		MaxBatchingWindow:       seconds(q.Window),
		MaxConcurrency:          jsii.Number(worker.MaxConcurrency),
		ReportBatchItemFailures: jsii.Bool(true),
	})
}

func functionNamed(name string) blueprint.Function {
	for _, f := range blueprint.Functions() {
		if f.Name == name {
			return f
		}
	}
	panic("no function " + name)
}

func seconds(d time.Duration) awscdk.Duration {
	return awscdk.Duration_Seconds(jsii.Number(d.Seconds()))
}

// camel converts "token-get" to "TokenGet", the form of logical ids.
func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
