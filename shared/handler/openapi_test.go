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
	"github.com/google/go-cmp/cmp"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/platform"
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

func TestOpenAPI_Validate(t *testing.T) {
	t.Parallel()
	d := loadDocument(t)
	if err := d.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Errorf("version %s, want 3.1", d.OpenAPI)
	}
}

func TestOpenAPI_Routes(t *testing.T) {
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

func TestOpenAPI_Enums(t *testing.T) {
	t.Parallel()
	var codes, platforms []string
	for _, code := range connector.Codes() {
		codes = append(codes, string(code))
	}
	for _, p := range platform.All(platform.Options{}) {
		platforms = append(platforms, string(p.Describe().Name))
	}
	var linkStatuses []string
	for _, status := range connector.LinkStatuses() {
		linkStatuses = append(linkStatuses, string(status))
	}
	for schema, want := range map[string][]string{
		"LinkStatus":   linkStatuses,
		"Code":         codes,
		"PlatformName": platforms,
		"Status":       {string(connector.Active), string(connector.NeedsReauth), string(connector.Manual), string(connector.Disconnected)},
		"Mode":         {string(connector.Live), string(connector.Sandbox), string(connector.ByHand)},
	} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			var listed []string
			for _, value := range loadDocument(t).Components.Schemas[schema].Value.Enum {
				listed = append(listed, value.(string))
			}
			if diff := cmp.Diff(want, listed); diff != "" {
				t.Errorf("the document's list (-want +got):\n%s", diff)
			}
		})
	}
}

// The extras of an app are those of the platforms. The document names the platform of
// each extra.
func TestOpenAPI_AppFields(t *testing.T) {
	t.Parallel()
	requested := map[string]string{"client_id": "string null", "client_secret": "string null", "mode": ""}
	shown := map[string]string{"platform": "", "client_id": "string", "client_secret_set": "boolean", "previous_secret_until": "string", "mode": "", "redirect_uri": "string"}
	schemas := loadDocument(t).Components.Schemas
	for _, p := range platform.All(platform.Options{}) {
		d := p.Describe()
		for _, f := range d.AppFields {
			kind := "string"
			if f.Number {
				kind = "integer"
			}
			requested[f.Name] = kind + " null"
			if f.Secret {
				shown[f.Name+"_set"] = "boolean"
			} else {
				shown[f.Name] = kind
			}
			if property := schemas["AppRequest"].Value.Properties[f.Name]; property != nil && !strings.HasPrefix(property.Value.Description, string(d.Name)+": ") {
				t.Errorf("AppRequest.%s: the description does not begin with %q", f.Name, d.Name)
			}
		}
	}
	for schema, want := range map[string]map[string]string{"AppRequest": requested, "App": shown} {
		described := map[string]string{}
		for name, property := range schemas[schema].Value.Properties {
			described[name] = ""
			if types := property.Value.Type; types != nil && property.Ref == "" {
				described[name] = strings.Join(*types, " ")
			}
		}
		if diff := cmp.Diff(want, described); diff != "" {
			t.Errorf("properties of %s (-want +got):\n%s", schema, diff)
		}
	}
}

// checkDocument compares an answer with the document. It compares the request too if
// the request was accepted, because a function must refuse a request that the
// document forbids.
func checkDocument(t *testing.T, route blueprint.Route, e events.APIGatewayV2HTTPRequest, r reply) {
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
