package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// finding is a rule of checkov's that the stack does not follow, and why.
type finding struct {
	rule, reason string
}

// findings are the rules that a whole type of resource does not follow. What
// is not listed fails `make check`.
func (d *deployment) findings() map[string][]finding {
	findings := map[string][]finding{
		"AWS::Lambda::Function": {
			{"CKV_AWS_115", "The worker is capped at its queue; the API's functions by the throttles of their routes; refresh where the account has concurrency to reserve (reserveConcurrency)"},
			{"CKV_AWS_116", "Nothing is invoked asynchronously but refresh, whose next tick does what a failed one did not; the queue and the schedule have dead-letter queues"},
			{"CKV_AWS_117", "Calls the platforms on the internet and AWS by its public endpoints; a VPC would add a NAT gateway's cost and protect nothing"},
			{"CKV_AWS_173", "The environment holds names and URLs, no secrets; it is encrypted with Lambda's own key"},
		},
		"AWS::Logs::LogGroup": {
			{"CKV_AWS_158", "Logs hold no secrets, which tests prove; they are encrypted with CloudWatch's own key"},
		},
		"AWS::SNS::Topic": {
			{"CKV_AWS_26", "Alarms name parts of the deployment only; a key whose policy forgets CloudWatch would silence them"},
		},
	}
	if d.key == nil {
		findings["AWS::DynamoDB::Table"] = []finding{
			{"CKV_AWS_119", "Encrypted with DynamoDB's own key; the table holds no secrets. Set keyArn for a key of your own"},
		}
		findings["AWS::SQS::Queue"] = []finding{
			{"CKV_AWS_27", "Encrypted with SQS's own key (SqsManagedSseEnabled), which the rule does not know; messages hold ids only"},
		}
	}
	return findings
}

// explainFindings writes the reasons into the template, where checkov reads
// them beside the resource.
func (d *deployment) explainFindings() {
	findings := d.findings()
	for _, construct := range *d.Stack.Node().FindAll(constructs.ConstructOrder_PREORDER) {
		resource, ok := construct.(awscdk.CfnResource)
		if !ok {
			continue
		}
		skip := []map[string]string{}
		for _, f := range findings[*resource.CfnResourceType()] {
			skip = append(skip, map[string]string{"id": f.rule, "comment": f.reason})
		}
		if len(skip) > 0 {
			resource.AddMetadata(jsii.String("checkov"), map[string]any{"skip": skip})
		}
	}
}
