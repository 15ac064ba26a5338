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

// addCallers says who may ask the connector for something. Nobody may who is
// not named: no function of it has a permission for a whole service or
// account besides those for its own routes.
//
// Roles of this account get one of two policies attached, one for token-get
// and one for the operator's routes. The principals of the settings, who may
// be of other accounts, are also named in token-get's own policy.
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

// routeARN returns what IAM calls a route: the stage, the method, and the
// path. A connection's id is as long as it is, character by character: a star
// would take in what lies behind it, and whoever may see a connection could
// have its token.
func (d *deployment) routeARN(r blueprint.Route) string {
	variables := strings.NewReplacer("{id}", "????????-????-????-????-????????????", "{platform}", "*")
	return *d.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("execute-api"), Resource: d.api.ApiId(),
		ResourceName: jsii.String("$default/" + r.Method + variables.Replace(r.Path)),
	})
}
