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

// addFunction adds a Lambda with its log group and its role. Whatever
// connects it to others later grants the role nothing: the blueprint's grants
// are all it has.
func (d *deployment) addFunction(f blueprint.Function) {
	id := camel(f.Name)
	logs := d.addLogGroup(id+"Logs", "/aws/lambda/"+d.settings.Name(f.Name))
	role := awsiam.NewRole(d.Stack, jsii.String(id+"Role"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
		Description: jsii.String("What the function " + f.Name + " may call"),
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
		LoggingFormat: awslambda.LoggingFormat_TEXT, // lines are JSON already; metrics in them are read as they are
		LogGroup:      logs,
		Role:          role.WithoutPolicyUpdates(nil),
	}
	if schedule := blueprint.RefreshSchedule(); f.Name == schedule.Function {
		// A tick that failed is made good by the next; a late one is useless.
		props.RetryAttempts = jsii.Number(0)
		props.MaxEventAge = seconds(schedule.Every)
	}
	if f.MaxConcurrency > 0 && f.Name != blueprint.RefreshQueue().Function && d.settings.ReserveConcurrency {
		props.ReservedConcurrentExecutions = jsii.Number(f.MaxConcurrency)
	}
	function := awslambda.NewFunction(d.Stack, jsii.String(id), props)
	// The CDK adds a dependency on the role, which its ARN is already.
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

// environment returns the variables that f asks for. Optional ones that the
// deployer left empty are left out.
func (d *deployment) environment(f blueprint.Function) *map[string]*string {
	values := map[string]string{
		config.PublicURL:            d.publicURL,
		config.TableName:            *d.table.TableName(),
		config.SecretPrefix:         d.settings.SecretPrefix(),
		config.RefreshQueueURL:      *d.queue.QueueUrl(),
		config.EventBusName:         *d.bus.EventBusName(),
		config.ReturnOrigins:        d.settings.ReturnOrigins,
		config.AllowFullCredentials: strconv.FormatBool(d.settings.AllowFullCredentials),
		config.PlatformEndpoints:    d.settings.PlatformEndpoints,
		config.LogLevel:             d.settings.LogLevel,
		config.CallerOwners:         d.settings.CallerOwners,
		config.SecretKMSKeyID:       d.settings.KeyARN,
	}
	variables := map[string]*string{}
	for _, name := range f.Environment {
		value, known := values[name]
		if !known {
			panic(fmt.Sprintf("function %s asks for %s, which the deployment does not know", f.Name, name))
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

// addQueueSource feeds the worker. Its concurrency is capped here: platforms
// throttle apps, and a cap on the source does not lose messages as one on the
// function would.
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

// camel turns "token-get" into "TokenGet", the form of logical ids.
func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
