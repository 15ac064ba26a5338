package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
)

// addSecretTrap adds a rule that notifies topic when anybody but the functions
// reads a secret of the deployment. CloudTrail reports the read within minutes.
//
// GetSecretValue is a read-only management event. A rule receives those only in
// this state, and only if a trail of the account records them:
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail-management.html
// (read 2026-11-25). A read of several secrets at once is reported as one
// GetSecretValue for each:
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html
// (read 2026-11-25).
func (d *deployment) addSecretTrap(topic awssns.ITopic) {
	awsevents.NewCfnRule(d.Stack, jsii.String("SecretTrap"), &awsevents.CfnRuleProps{
		Name:         jsii.String(d.settings.Name("secret-trap")),
		Description:  jsii.String("A principal that is no function of the deployment read one of its secrets"),
		State:        jsii.String("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"),
		EventPattern: d.secretTrapPattern(),
		Targets: &[]any{&awsevents.CfnRule_TargetProperty{
			Id: jsii.String("alarms"), Arn: topic.TopicArn(),
			InputTransformer: &awsevents.CfnRule_InputTransformerProperty{
				InputPathsMap: &map[string]*string{
					"who": jsii.String("$.detail.userIdentity.arn"), "what": jsii.String("$.detail.requestParameters.secretId"),
					"from": jsii.String("$.detail.sourceIPAddress"), "at": jsii.String("$.detail.eventTime"),
				},
				InputTemplate: jsii.String(`"` + d.settings.Name("secret-trap") + `: <who> read the secret <what> at <at> from <from>. Only the functions of the deployment should. POST /suspensions stops the tokens while you find out why."`),
			},
		}},
	})
	// The topic of the settings has a policy of its own, which must allow this.
	// A condition would allow nothing: EventBridge supports none in the policy of a
	// topic, https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
	// (read 2026-11-25).
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("events.amazonaws.com"), nil)},
		Actions:    jsii.Strings("sns:Publish"),
		Resources:  &[]*string{topic.TopicArn()},
	}))
}

// secretTrapPattern matches a read of a secret under the deployment's prefix, by
// its name or its ARN, by a principal that is no session of a function's role. Users
// and the root user have no session.
func (d *deployment) secretTrapPattern() map[string]any {
	var roles []any
	for _, f := range blueprint.Functions() {
		roles = append(roles, d.functions[f.Name].Role().RoleArn())
	}
	prefix := d.settings.SecretPrefix() + "/"
	arn := d.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("secretsmanager"), Resource: jsii.String("secret"),
		ResourceName: jsii.String(prefix), ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	issuer := func(match any) map[string]any {
		return map[string]any{"sessionContext": map[string]any{"sessionIssuer": map[string]any{"arn": []any{match}}}}
	}
	return map[string]any{
		"source":      []any{"aws.secretsmanager"},
		"detail-type": []any{"AWS API Call via CloudTrail"},
		"detail": map[string]any{
			"eventSource":       []any{"secretsmanager.amazonaws.com"},
			"eventName":         []any{"GetSecretValue"},
			"requestParameters": map[string]any{"secretId": []any{map[string]any{"prefix": prefix}, map[string]any{"prefix": arn}}},
			"userIdentity": map[string]any{"$or": []any{
				issuer(map[string]any{"anything-but": roles}),
				issuer(map[string]any{"exists": false}),
			}},
		},
	}
}
