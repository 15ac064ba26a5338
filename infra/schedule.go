package main

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsscheduler"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
)

// addSchedule adds the schedule of the sweep. Its role may only invoke the
// refresh function. An event that is not delivered before the next one is due
// goes to the dead-letter queue.
func (d *deployment) addSchedule() {
	schedule := blueprint.RefreshSchedule()
	function := d.functions[schedule.Function]
	name := d.settings.Name(schedule.Function)
	deadLetters := d.addDeadLetters("ScheduleDeadLetters", "schedule-dead-letters")
	group := awsscheduler.NewCfnScheduleGroup(d.Stack, jsii.String("ScheduleGroup"), &awsscheduler.CfnScheduleGroupProps{
		Name: jsii.String(name),
	})

	statements := []awsiam.PolicyStatement{
		allow([]string{"lambda:InvokeFunction"}, *function.FunctionArn()),
		allow([]string{"sqs:SendMessage"}, *deadLetters.QueueArn()),
	}
	if d.key != nil {
		statements = append(statements, d.allowKey(map[string]bool{"sqs": true}))
	}
	role := awsiam.NewRole(d.Stack, jsii.String("ScheduleRole"), &awsiam.RoleProps{
		Description: jsii.String("Lets the schedule invoke " + schedule.Function),
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("scheduler.amazonaws.com"), &awsiam.ServicePrincipalOpts{
			Conditions: &map[string]any{"StringEquals": map[string]any{
				"aws:SourceAccount": d.Account(),
				"aws:SourceArn":     group.AttrArn(),
			}},
		}),
		InlinePolicies: &map[string]awsiam.PolicyDocument{
			"calls": awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{Statements: &statements}),
		},
	})

	awsscheduler.NewCfnSchedule(d.Stack, jsii.String("Schedule"), &awsscheduler.CfnScheduleProps{
		Name:               jsii.String(name),
		GroupName:          group.Ref(),
		Description:        jsii.String("Queues the connections that are due"),
		ScheduleExpression: jsii.String(fmt.Sprintf("rate(%d minutes)", int(schedule.Every.Minutes()))),
		FlexibleTimeWindow: &awsscheduler.CfnSchedule_FlexibleTimeWindowProperty{Mode: jsii.String("OFF")},
		Target: &awsscheduler.CfnSchedule_TargetProperty{
			Arn:              function.FunctionArn(),
			RoleArn:          role.RoleArn(),
			DeadLetterConfig: &awsscheduler.CfnSchedule_DeadLetterConfigProperty{Arn: deadLetters.QueueArn()},
			RetryPolicy: &awsscheduler.CfnSchedule_RetryPolicyProperty{
				MaximumEventAgeInSeconds: jsii.Number(schedule.Every.Seconds()),
				MaximumRetryAttempts:     jsii.Number(3),
			},
		},
	})
}
