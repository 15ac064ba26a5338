package handler

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"platform-api-connector/shared/connector"
)

// This file finds the ARN of the caller, for Callers and for the log. The caller cannot choose that ARN. For an HTTP request it is the
// principal that API Gateway's IAM authorizer verified. For a direct
// invocation it is the ARN under which the function was invoked: Lambda does
// not tell a function its caller, but IAM can limit a principal to one alias,
// and the ARN contains the alias.

// Callers lists the owners that each caller may act for. A key is an ARN, or the
// beginning of one with a star at its end. The owner "*" is every owner. The zero
// Callers confines no caller. In any other, a caller that no key matches may act
// for no owner: a typing error in an ARN must not give its caller every owner.
type Callers map[string][]string

// OwnersOf returns the owners that a caller may act for. Of the patterns that
// fit, the exact one decides, or else the longest.
func (c Callers) OwnersOf(arn string) connector.Owners {
	if c == nil {
		return connector.Owners{}
	}
	names := mostSpecific(c, arn)
	if slices.Contains(names, "*") {
		return connector.Owners{}
	}
	return connector.OnlyOwners(names...)
}

// mostSpecific returns the value of the pattern that fits a caller's ARN: of the
// exact one, or else of the longest; the zero value if none fits.
func mostSpecific[T any](patterns map[string]T, arn string) T {
	found, exact := patterns[arn]
	best := -1
	for pattern, value := range patterns {
		beginning, open := strings.CutSuffix(pattern, "*")
		if !exact && open && strings.HasPrefix(arn, beginning) && len(beginning) > best {
			found, best = value, len(beginning)
		}
	}
	return found
}

// CallerScopes lists the scopes that the links of each caller may ask for. Its keys
// are as those of Callers. A caller that no key matches, and a platform that a
// caller's lists lack, have the lists of the service.
type CallerScopes map[string]connector.ScopeLists

// WithScopes has h limit the scopes of its callers. It must be called before h
// is used, and returns h.
func (h *Handler) WithScopes(scopes CallerScopes) *Handler {
	h.scopes = scopes
	return h
}

// principalOf returns the ARN of the principal that signed an HTTP request,
// or "" if the request is not signed.
func principalOf(c events.APIGatewayV2HTTPRequestContext) string {
	if c.Authorizer == nil || c.Authorizer.IAM == nil {
		return ""
	}
	return c.Authorizer.IAM.UserARN
}

// confineRequest limits ctx to the owners that the caller of an HTTP request
// may act for, and to the scopes that its links may ask for. A caller that may
// invoke an alias can send it an event with any principal, so the limits of the
// alias apply too. API Gateway uses no alias.
func (h *Handler) confineRequest(ctx context.Context, r *request) context.Context {
	ctx = h.confine(ctx, r.principal)
	if arn := invokedARN(ctx); hasQualifier(arn) {
		ctx = h.confine(ctx, arn)
	}
	return ctx
}

func (h *Handler) confine(ctx context.Context, arn string) context.Context {
	ctx = connector.Confine(ctx, h.callers.OwnersOf(arn))
	return connector.LimitScopes(ctx, mostSpecific(h.scopes, arn))
}

// confineInvocation limits ctx to the owners that the caller of a direct
// invocation may act for.
func (h *Handler) confineInvocation(ctx context.Context) context.Context {
	return h.confine(ctx, invokedARN(ctx))
}

// principalARN matches the ARNs of principals. An event that did not come
// from API Gateway may contain any text as its principal, and that text must
// not reach the log.
var principalARN = regexp.MustCompile(`^arn:aws[a-z-]*:(iam|sts)::\d{12}:[!-~]{1,1000}$`)

// requestCaller returns the ARN under which the log names the caller of an
// HTTP request, or "" if AWS does not name one. An alias takes precedence,
// because the principal of an event that was sent to an alias is not verified.
func requestCaller(ctx context.Context, r *request) string {
	if arn := invokedARN(ctx); hasQualifier(arn) {
		return arn
	}
	if !principalARN.MatchString(r.principal) {
		return ""
	}
	return r.principal
}

// invokedARN returns the ARN under which the function was invoked.
func invokedARN(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.InvokedFunctionArn
	}
	return ""
}

// hasQualifier reports whether a function's ARN names a version or an alias:
// arn:aws:lambda:<region>:<account>:function:<name>:<qualifier>.
func hasQualifier(arn string) bool { return strings.Count(arn, ":") > 6 }
