package main

import (
	"encoding/json"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigatewayv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigatewayv2authorizers"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigatewayv2integrations"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscertificatemanager"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
)

// accessLog is the content of an access log line. It contains the key of the
// route instead of the path, because paths and queries contain links, states
// and codes.
var accessLog = map[string]string{
	"requestId":          "$context.requestId",
	"requestTime":        "$context.requestTime",
	"route":              "$context.routeKey",
	"status":             "$context.status",
	"caller":             "$context.identity.userArn",
	"latency":            "$context.responseLatency",
	"integrationLatency": "$context.integrationLatency",
	"integrationStatus":  "$context.integrationStatus",
	"responseLength":     "$context.responseLength",
	"error":              "$context.error.responseType",
}

// addAPI adds the HTTP API without its routes. The functions need its URL, and
// the routes need the functions.
func (d *deployment) addAPI() {
	custom := d.settings.DomainName != ""
	d.api = awsapigatewayv2.NewHttpApi(d.Stack, jsii.String("API"), &awsapigatewayv2.HttpApiProps{
		ApiName:            jsii.String(d.settings.Name("api")),
		Description:        jsii.String("Platform API Connector"),
		CreateDefaultStage: jsii.Bool(false),
		// Cookies and redirect URIs must have a single host.
		DisableExecuteApiEndpoint: jsii.Bool(custom),
	})
	if custom {
		d.publicURL = "https://" + d.settings.DomainName
	} else {
		d.publicURL = *d.api.ApiEndpoint()
	}
}

// addRoutes adds every route of the blueprint, and the stage that serves them.
func (d *deployment) addRoutes() {
	integrations := map[string]awsapigatewayv2integrations.HttpLambdaIntegration{}
	throttles := map[string]any{}
	var routes []awsapigatewayv2.HttpRoute
	for _, r := range blueprint.Routes() {
		if integrations[r.Function] == nil {
			integrations[r.Function] = awsapigatewayv2integrations.NewHttpLambdaIntegration(
				jsii.String(camel(r.Function)+"Integration"), d.functions[r.Function],
				&awsapigatewayv2integrations.HttpLambdaIntegrationProps{
					PayloadFormatVersion: awsapigatewayv2.PayloadFormatVersion_VERSION_2_0(),
				})
		}
		options := &awsapigatewayv2.AddRoutesOptions{
			Path:        jsii.String(r.Path),
			Methods:     &[]awsapigatewayv2.HttpMethod{awsapigatewayv2.HttpMethod(r.Method)},
			Integration: integrations[r.Function],
		}
		if r.Auth == blueprint.IAM {
			options.Authorizer = awsapigatewayv2authorizers.NewHttpIamAuthorizer()
		}
		routes = append(routes, *d.api.AddRoutes(options)...)
		throttles[r.Key()] = map[string]any{
			"ThrottlingRateLimit":  r.RatePerSecond,
			"ThrottlingBurstLimit": r.Burst,
		}
	}
	stage := d.addStage(throttles)
	for _, route := range routes {
		// API Gateway refuses a stage with settings of a route that does not
		// exist yet.
		stage.Node().AddDependency(route)
	}
}

func (d *deployment) addStage(throttles map[string]any) awsapigatewayv2.CfnStage {
	format, err := json.Marshal(accessLog)
	if err != nil {
		panic(err)
	}
	logs := d.addLogGroup("AccessLogs", "/aws/vendedlogs/apis/"+d.settings.Name("api"))
	stage := awsapigatewayv2.NewCfnStage(d.Stack, jsii.String("Stage"), &awsapigatewayv2.CfnStageProps{
		ApiId:      d.api.ApiId(),
		StageName:  jsii.String("$default"),
		AutoDeploy: jsii.Bool(true),
		AccessLogSettings: &awsapigatewayv2.CfnStage_AccessLogSettingsProperty{
			DestinationArn: logs.LogGroupArn(),
			Format:         jsii.String(string(format)),
		},
		DefaultRouteSettings: &awsapigatewayv2.CfnStage_RouteSettingsProperty{
			ThrottlingRateLimit:  jsii.Number(50),
			ThrottlingBurstLimit: jsii.Number(100),
		},
		RouteSettings: throttles,
	})
	if d.settings.DomainName != "" {
		d.addDomain(stage)
	}
	return stage
}

func (d *deployment) addDomain(stage awsapigatewayv2.CfnStage) {
	domain := awsapigatewayv2.NewDomainName(d.Stack, jsii.String("Domain"), &awsapigatewayv2.DomainNameProps{
		DomainName: jsii.String(d.settings.DomainName),
		Certificate: awscertificatemanager.Certificate_FromCertificateArn(
			d.Stack, jsii.String("Certificate"), jsii.String(d.settings.CertificateARN)),
		SecurityPolicy: awsapigatewayv2.SecurityPolicy_TLS_1_2,
	})
	awsapigatewayv2.NewCfnApiMapping(d.Stack, jsii.String("DomainMapping"), &awsapigatewayv2.CfnApiMappingProps{
		ApiId:      d.api.ApiId(),
		DomainName: domain.Name(),
		Stage:      stage.Ref(),
	})
	awscdk.NewCfnOutput(d.Stack, jsii.String("DomainTarget"), &awscdk.CfnOutputProps{
		Description: jsii.String("Point a CNAME or alias record of " + d.settings.DomainName + " here"),
		Value:       domain.RegionalDomainName(),
	})
}
