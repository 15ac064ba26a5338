package main

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
)

// addCallers adds the permissions of callers. A principal without one of them
// cannot call the connector: no function grants a permission to a whole service
// or account, except to the API for its own routes.
//
// An administrator attaches one of two managed policies to roles of this
// account: one for token-get, one for the operator's routes. The principals of
// the settings, which may belong to other accounts, are named in the policy of
// the function token-get itself.
func (d *deployment) addCallers() {
	tokenGet := d.functions[blueprint.TokenGet]
	for i, caller := range d.settings.TokenCallers {
		awslambda.NewCfnPermission(d.Stack, jsii.String(fmt.Sprintf("TokenCaller%d", i+1)), &awslambda.CfnPermissionProps{
			Action:       jsii.String("lambda:InvokeFunction"),
			FunctionName: tokenGet.FunctionArn(),
			Principal:    jsii.String(caller),
		})
	}

	var tokenRoutes, operatorRoutes []string
	for _, r := range blueprint.Routes() {
		switch {
		case r.Auth != blueprint.IAM:
		case r.Function == blueprint.TokenGet:
			tokenRoutes = append(tokenRoutes, d.routeARN(r))
		default:
			operatorRoutes = append(operatorRoutes, d.routeARN(r))
		}
	}
	tokens := awsiam.NewManagedPolicy(d.Stack, jsii.String("TokenCallerPolicy"), &awsiam.ManagedPolicyProps{
		Description: jsii.String("Attach to the role of whatever needs tokens: invokes token-get"),
		Statements: &[]awsiam.PolicyStatement{
			allow([]string{"lambda:InvokeFunction"}, *tokenGet.FunctionArn()),
			allow([]string{"execute-api:Invoke"}, tokenRoutes...),
		},
	})
	operator := awsiam.NewManagedPolicy(d.Stack, jsii.String("OperatorPolicy"), &awsiam.ManagedPolicyProps{
		Description: jsii.String("Attach to the role of the product's backend: links, connections, apps; no tokens"),
		Statements:  &[]awsiam.PolicyStatement{allow([]string{"execute-api:Invoke"}, operatorRoutes...)},
	})
	d.output("TokenCallerPolicyArn", "Attach this policy to roles that may invoke token-get", *tokens.ManagedPolicyArn())
	d.output("OperatorPolicyArn", "Attach this policy to roles that may call the operator's routes", *operator.ManagedPolicyArn())
}

// routeARN returns the ARN of a route, with wildcards for its parameters. An id
// has one wildcard for each character: a star would also match /token after the
// id, so that a principal that may show a connection could get its token.
func (d *deployment) routeARN(r blueprint.Route) string {
	variables := strings.NewReplacer("{id}", "????????-????-????-????-????????????", "{platform}", "*")
	return *d.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("execute-api"), Resource: d.api.ApiId(),
		ResourceName: jsii.String("$default/" + r.Method + variables.Replace(r.Path)),
	})
}
