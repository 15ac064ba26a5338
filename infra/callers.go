package main

import (
	"fmt"
	"slices"
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
// An administrator attaches managed policies to roles of this account: one for
// token-get, one for each right of the operator's routes, and one for all of
// those. The principals of the settings, which may belong to other accounts, are named in the policy of
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

	for _, p := range callerPolicies() {
		var statements []awsiam.PolicyStatement
		if slices.Contains(p.rights, blueprint.GetTokens) {
			statements = append(statements, allow([]string{"lambda:InvokeFunction"}, *tokenGet.FunctionArn()))
		}
		var routes []string
		for _, r := range blueprint.Routes() {
			if r.Auth == blueprint.IAM && slices.Contains(p.rights, r.Right) {
				routes = append(routes, d.routeARN(r))
			}
		}
		statements = append(statements, allow([]string{"execute-api:Invoke"}, routes...))
		policy := awsiam.NewManagedPolicy(d.Stack, jsii.String(p.id), &awsiam.ManagedPolicyProps{
			Description: jsii.String(p.attach),
			Statements:  &statements,
		})
		d.output(p.id+"Arn", p.attach, *policy.ManagedPolicyArn())
	}
}

// callerPolicy is a managed policy, and what it is attached to.
type callerPolicy struct {
	id, attach string
	rights     []blueprint.Right
}

func callerPolicies() []callerPolicy {
	return []callerPolicy{
		{"TokenCallerPolicy", "Attach to roles that need tokens: invokes token-get", []blueprint.Right{blueprint.GetTokens}},
		{"LinkMinterPolicy", "Attach to the role that sends people to connect: mints, shows and ends links, confirms; reads no connection", []blueprint.Right{blueprint.MintLinks}},
		{"ConnectionManagerPolicy", "Attach to the role that manages connections: imports, lists, checks, disconnects, suspends; no tokens", []blueprint.Right{blueprint.ManageConnections}},
		{"AppManagerPolicy", "Attach to the role that stores the apps of the platforms", []blueprint.Right{blueprint.ManageApps}},
		{"OperatorPolicy", "Attach to the role of a backend that does all but getting tokens: links, connections, apps",
			[]blueprint.Right{blueprint.MintLinks, blueprint.ManageConnections, blueprint.ManageApps}},
	}
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
