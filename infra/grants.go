package main

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
)

// statements returns the permissions of f: the grants of the blueprint, and the
// permissions to write logs and traces that every function needs.
func (d *deployment) statements(f blueprint.Function, logs awslogs.LogGroup) *[]awsiam.PolicyStatement {
	statements := []awsiam.PolicyStatement{
		allow([]string{"logs:CreateLogStream", "logs:PutLogEvents"}, *logs.LogGroupArn()),
		// X-Ray has no resources to name:
		// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
		allow([]string{"xray:PutTraceSegments", "xray:PutTelemetryRecords"}, "*"),
	}
	services := map[string]bool{}
	for _, grant := range blueprint.Grants(f.Name) {
		statement := allow(grant.Actions, d.arn(grant.Resource))
		if len(grant.Keys) > 0 {
			limitKeys(statement, grant.Keys)
		}
		statements = append(statements, statement)
		for _, action := range grant.Actions {
			service, _, _ := strings.Cut(action, ":")
			services[service] = true
		}
	}
	if f.Name == blueprint.RefreshQueue().Function {
		// Lambda's poller uses the role of the function:
		// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
		statements = append(statements, allow([]string{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}, *d.queue.QueueArn()))
		services["sqs"] = true
	}
	if d.key != nil {
		statements = append(statements, d.allowKey(services))
	}
	return &statements
}

// allowKey returns the permission to use the customer's key through the
// services that the role calls.
func (d *deployment) allowKey(services map[string]bool) awsiam.PolicyStatement {
	var via []*string
	for _, service := range []string{"dynamodb", "secretsmanager", "sqs"} {
		if services[service] {
			via = append(via, jsii.String(service+"."+*d.Region()+"."+*d.UrlSuffix()))
		}
	}
	statement := allow([]string{"kms:Decrypt", "kms:GenerateDataKey"}, d.settings.KeyARN)
	statement.AddCondition(jsii.String("StringEquals"), map[string]any{"kms:ViaService": via})
	return statement
}

// limitKeys limits a statement to records whose leading keys match patterns.
// ForAllValues is true where the key is absent, so that Null has to require it:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
// (read 2026-11-25). The leading key of an index is that of the index:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
// (read 2026-11-25).
func limitKeys(statement awsiam.PolicyStatement, patterns []string) {
	statement.AddCondition(jsii.String("ForAllValues:StringLike"), map[string]any{"dynamodb:LeadingKeys": patterns})
	statement.AddCondition(jsii.String("Null"), map[string]any{"dynamodb:LeadingKeys": "false"})
}

func allow(actions []string, resources ...string) awsiam.PolicyStatement {
	return awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Effect:    awsiam.Effect_ALLOW,
		Actions:   jsii.Strings(actions...),
		Resources: jsii.Strings(resources...),
	})
}

// arn returns the ARN of a resource of the blueprint.
func (d *deployment) arn(r blueprint.Resource) string {
	if index, ok := strings.CutPrefix(string(r), "table index "); ok {
		return *d.table.TableArn() + "/index/" + index
	}
	if prefix, ok := strings.CutPrefix(string(r), "secrets "); ok {
		// Secrets Manager adds six random characters to each name.
		return *d.FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("secretsmanager"), Resource: jsii.String("secret"),
			ResourceName: jsii.String(d.settings.SecretPrefix() + "/" + prefix + "*"),
			ArnFormat:    awscdk.ArnFormat_COLON_RESOURCE_NAME,
		})
	}
	switch r {
	case blueprint.Table:
		return *d.table.TableArn()
	case blueprint.RefreshMessages:
		return *d.queue.QueueArn()
	case blueprint.EventBus:
		return *d.bus.EventBusArn()
	}
	panic(fmt.Sprintf("no resource %q", r))
}
