package handler

import (
	"context"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"platform-api-connector/shared/connector"
)

// This file says who calls, for connector.Callers, in words that the caller
// cannot choose: of an HTTP request the principal that API Gateway's IAM
// authorizer found, of a direct invocation the ARN under which the function
// was invoked. Lambda does not tell a function who invokes it, but IAM can tie
// a principal to an alias, and the ARN has the alias in it.

// principal returns the ARN of who signed a request, "" where nobody did.
func principal(c events.APIGatewayV2HTTPRequestContext) string {
	if c.Authorizer == nil || c.Authorizer.IAM == nil {
		return ""
	}
	return c.Authorizer.IAM.UserARN
}

// confined returns the context of an HTTP request. Whoever may invoke an alias
// may also send it what looks like an HTTP request of somebody else, so the
// alias counts too; API Gateway uses none.
func (h *Handler) confined(ctx context.Context, r *request) context.Context {
	ctx = connector.Confine(ctx, h.service.Callers.OwnersOf(r.principal))
	if arn := invokedARN(ctx); qualified(arn) {
		ctx = connector.Confine(ctx, h.service.Callers.OwnersOf(arn))
	}
	return ctx
}

// confinedDirectly returns the context of a direct invocation.
func (h *Handler) confinedDirectly(ctx context.Context) context.Context {
	return connector.Confine(ctx, h.service.Callers.OwnersOf(invokedARN(ctx)))
}

func invokedARN(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.InvokedFunctionArn
	}
	return ""
}

// qualified reports whether a function's ARN names a version or alias:
// arn:aws:lambda:<region>:<account>:function:<name>:<alias>.
func qualified(arn string) bool { return strings.Count(arn, ":") > 6 }
