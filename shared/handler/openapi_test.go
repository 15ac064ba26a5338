package handler_test

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
)

var document = sync.OnceValues(func() (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromData([]byte(handler.OpenAPI))
})

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	d, err := document()
	if err != nil {
		t.Fatalf("loading openapi.yaml: %v", err)
	}
	return d
}

func TestOpenAPI_IsValid(t *testing.T) {
	t.Parallel()
	d := loadDocument(t)
	if err := d.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Errorf("version %s, want 3.1", d.OpenAPI)
	}
}

func TestOpenAPI_HasTheDeployedRoutes(t *testing.T) {
	t.Parallel()
	var described, deployed []string
	for path, item := range loadDocument(t).Paths.Map() {
		for method, operation := range item.Operations() {
			auth := blueprint.IAM
			if operation.Security != nil && len(*operation.Security) == 0 {
				auth = blueprint.Public
			}
			described = append(described, method+" "+path+" "+string(auth))
		}
	}
	for _, route := range blueprint.Routes() {
		deployed = append(deployed, route.Key()+" "+string(route.Auth))
	}
	slices.Sort(described)
	slices.Sort(deployed)
	if !slices.Equal(described, deployed) {
		t.Errorf("described:\n%s\ndeployed:\n%s", strings.Join(described, "\n"), strings.Join(deployed, "\n"))
	}
}

func TestOpenAPI_ListsEveryCode(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, value := range loadDocument(t).Components.Schemas["Code"].Value.Enum {
		listed = append(listed, value.(string))
	}
	var codes []string
	for _, code := range connector.Codes() {
		codes = append(codes, string(code))
	}
	if !slices.Equal(listed, codes) {
		t.Errorf("document: %v\ncodes:    %v", listed, codes)
	}
}

// holdAgainstDocument checks an answer, and the request if it was accepted:
// what the document forbids must not be taken.
func holdAgainstDocument(t *testing.T, route blueprint.Route, e events.APIGatewayV2HTTPRequest, r reply) {
	t.Helper()
	d := loadDocument(t)
	item := d.Paths.Value(route.Path)
	body := e.Body
	if e.IsBase64Encoded {
		plain, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return
		}
		body = string(plain)
	}
	request, err := http.NewRequestWithContext(t.Context(), route.Method, publicURL+e.RawPath+"?"+e.RawQueryString, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range e.Headers {
		request.Header.Set(name, value)
	}
	if body == "" {
		request.Body = nil
	}
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: e.PathParameters, QueryParams: request.URL.Query(),
		Route:   &routers.Route{Spec: d, Path: route.Path, PathItem: item, Method: route.Method, Operation: item.GetOperation(route.Method)},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if r.StatusCode < 400 {
		if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
			t.Errorf("%s was accepted against the document: %v", route.Key(), err)
		}
	}
	header := http.Header{}
	for name, value := range r.Headers {
		header.Set(name, value)
	}
	answer := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: r.StatusCode, Header: header,
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			ExcludeResponseBody:   strings.HasPrefix(r.Headers["content-type"], "text/html") || r.Body == "",
		},
	}
	answer.SetBodyBytes([]byte(r.Body))
	if err := openapi3filter.ValidateResponse(t.Context(), answer); err != nil {
		t.Errorf("%s answered %d against the document: %v", route.Key(), r.StatusCode, err)
	}
}
