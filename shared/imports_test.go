// Package shared_test checks the imports of the packages: they point inward.
package shared_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	domain = "platform-api-connector/shared/connector"
	lambda = "github.com/aws/aws-lambda-go"
	sdk    = "github.com/aws/aws-sdk-go-v2"
	strict = "platform-api-connector/shared/strictjson"
	stores = "platform-api-connector/shared/credentialstore"
)

// guarded lists what a package may import beside the standard library, by
// prefix, and what it may not import of that.
var guarded = []struct {
	folder, why string
	allowed     []string
	forbidden   []string
}{
	{folder: "connector", why: "the domain knows neither AWS nor HTTP",
		forbidden: []string{"net", "net/http", "database/sql", "os"}},
	{folder: "credentialstore", why: "it knows how secrets are stored, and not where",
		allowed: []string{domain}},
	{folder: "connectortest", why: "it stands in for the ports and knows nothing else",
		allowed: []string{domain, stores}},
	{folder: "platform", why: "a dialect knows the domain and the wire",
		allowed: []string{domain, strict, "golang.org/x/oauth2", "github.com/dghubble/oauth1"}},
	{folder: "strictjson", why: "it knows JSON and nothing else"},
	{folder: "sandbox", why: "it is the second opinion on the platforms: shared code would hide an error that both have"},
	{folder: "handler", why: "the edge knows events and the domain; what it needs of stores and platforms is a method of the service",
		allowed: []string{domain, strict, lambda + "/events", lambda + "/lambda/messages", lambda + "/lambdacontext"}},
	{folder: "handler/hostiletest", why: "it runs over any transport and judges answers only",
		allowed: []string{domain, "platform-api-connector/shared/sandbox"}},
	{folder: "awscloud", why: "the AWS half knows the ports and the SDK",
		allowed: []string{domain, stores, "platform-api-connector/shared/config", sdk, "github.com/aws/smithy-go", "github.com/tink-crypto/tink-go/v2"}},
	{folder: "config", why: "names and parsing, also read by infra",
		allowed: []string{domain, strict}},
	{folder: "client", why: "callers get the client and the words of the domain",
		allowed: []string{domain, sdk, "golang.org/x/oauth2"}},
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, g := range guarded {
		files, err := filepath.Glob(filepath.Join(g.folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files: %v", g.folder, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if !may(path, g.allowed, g.forbidden) {
					t.Errorf("%s imports %s: %s", name, path, g.why)
				}
			}
		}
	}
}

func may(path string, allowed, forbidden []string) bool {
	for _, p := range forbidden {
		if path == p {
			return false
		}
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.ContainsAny(first, ".-") {
		return true // the standard library
	}
	for _, prefix := range allowed {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return true
		}
	}
	return false
}
