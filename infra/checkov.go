package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// skippedRule is a rule of checkov that the stack does not follow, with the
// reason.
type skippedRule struct {
	id, reason string
}

// skippedRules returns the rules that a type of resource does not follow.
// `make check` fails for every other rule.
func (d *deployment) skippedRules() map[string][]skippedRule {
	skipped := map[string][]skippedRule{
		"AWS::Lambda::Function": {
			{"CKV_AWS_115", "The worker is capped at its queue; refresh and the functions that anybody can call have a cap of their own (reserveConcurrency, the default in prod); token-get and connections, which need a signature, by the throttles of their routes"},
			{"CKV_AWS_116", "Only refresh is invoked asynchronously, and its next sweep repeats what a failed one missed; the queue and the schedule have dead-letter queues"},
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
		skipped["AWS::DynamoDB::Table"] = []skippedRule{
			{"CKV_AWS_119", "Encrypted with DynamoDB's own key; the table holds no secrets. Set keyArn for a key of your own"},
		}
		skipped["AWS::SQS::Queue"] = []skippedRule{
			{"CKV_AWS_27", "Encrypted with SQS's own key (SqsManagedSseEnabled), which the rule does not know; messages hold ids only"},
		}
	}
	return skipped
}

// addSkippedRules adds the skipped rules and their reasons to the metadata of
// the resources, where checkov reads them.
func (d *deployment) addSkippedRules() {
	skipped := d.skippedRules()
	for _, construct := range *d.Stack.Node().FindAll(constructs.ConstructOrder_PREORDER) {
		resource, ok := construct.(awscdk.CfnResource)
		if !ok {
			continue
		}
		var skip []map[string]string
		for _, rule := range skipped[*resource.CfnResourceType()] {
			skip = append(skip, map[string]string{"id": rule.id, "comment": rule.reason})
		}
		if len(skip) > 0 {
			resource.AddMetadata(jsii.String("checkov"), map[string]any{"skip": skip})
		}
	}
}
