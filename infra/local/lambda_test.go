package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

func (w *world) lambda() *lambda.Client {
	return lambda.New(lambda.Options{
		Region: defaultRegion, BaseEndpoint: aws.String(w.s.servers.aws.url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(localKey, localKey, ""),
	})
}

// The SDK lists, describes and invokes the functions, with the end of their log.
func useLambdaAPI(t *testing.T) {
	const decoy = "11111111-1111-4111-8111-111111111111"
	w := newWorld(t, map[string]string{config.DecoyConnectionID: decoy})
	client := w.lambda()
	var names []string
	pages := 0
	for p := lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{MaxItems: aws.Int32(3)}); p.HasMorePages(); pages++ {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Functions {
			names = append(names, aws.ToString(f.FunctionName))
		}
	}
	var want []string
	for _, f := range blueprint.Functions() {
		want = append(want, f.Name)
	}
	slices.Sort(want)
	if !slices.Equal(names, want) || pages != 3 {
		t.Errorf("listed %v on %d pages, want %v on 3", names, pages, want)
	}

	all, err := client.ListFunctions(t.Context(), &lambda.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll})
	if err != nil || all.NextMarker != nil {
		t.Fatalf("listing all: marker %v, %v", all.NextMarker, err)
	}
	for _, f := range all.Functions {
		shown, err := client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: f.FunctionArn})
		if err != nil || aws.ToString(shown.Configuration.FunctionName) != aws.ToString(f.FunctionName) || shown.Configuration.State != types.StateActive {
			t.Errorf("GetFunction of %s: %+v, %v", aws.ToString(f.FunctionName), shown, err)
		}
		configured, err := client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: f.FunctionName, Qualifier: aws.String("$LATEST")})
		if err != nil || aws.ToInt32(configured.Timeout) != aws.ToInt32(f.Timeout) {
			t.Errorf("GetFunctionConfiguration of %s: %+v, %v", aws.ToString(f.FunctionName), configured, err)
		}
		if f.Runtime != types.RuntimeProvidedal2023 || aws.ToString(f.Handler) != "bootstrap" || !slices.Equal(f.Architectures, []types.Architecture{types.ArchitectureArm64}) ||
			aws.ToString(f.FunctionArn) != functionARN(aws.ToString(f.FunctionName)) || aws.ToInt32(f.Timeout) == 0 || aws.ToInt32(f.MemorySize) == 0 {
			t.Errorf("%s: %+v", aws.ToString(f.FunctionName), f)
		}
		for name, value := range f.Environment.Variables {
			if strings.HasPrefix(name, "AWS_") || value == decoy {
				t.Errorf("%s shows %s=%s", aws.ToString(f.FunctionName), name, value)
			}
		}
		if f.Environment.Variables[config.RefreshQueueURL] == "" || f.Environment.Variables[config.PublicURL] != w.s.servers.front.url {
			t.Errorf("%s: environment %v", aws.ToString(f.FunctionName), f.Environment.Variables)
		}
	}

	invoked, err := client.Invoke(t.Context(), &lambda.InvokeInput{
		FunctionName: aws.String(blueprint.TokenGet), LogType: types.LogTypeTail, Payload: []byte(`{"owner":"nobody","platform":"youtube"}`),
	})
	if err != nil || invoked.FunctionError == nil {
		t.Fatalf("invoking: %+v, %v", invoked, err)
	}
	log, err := base64.StdEncoding.DecodeString(aws.ToString(invoked.LogResult))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"START RequestId: ", "ConnectionNotFound", "\nREPORT RequestId: ", "Memory Size: 512 MB"} {
		if !strings.Contains(string(log), part) {
			t.Errorf("the log lacks %q:\n%s", part, log)
		}
	}
	quiet, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(blueprint.TokenGet), Payload: []byte(`{}`)})
	if err != nil || quiet.LogResult != nil {
		t.Errorf("without Tail: log %v, %v", quiet.LogResult, err)
	}

	var missing *types.ResourceNotFoundException
	_, err = client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("nobody")})
	if !errors.As(err, &missing) {
		t.Errorf("GetFunction of an unknown function: %v", err)
	}
	_, err = client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(blueprint.TokenGet), Qualifier: aws.String("7")})
	if !errors.As(err, &missing) {
		t.Errorf("GetFunctionConfiguration of an unknown version: %v", err)
	}
	var invalid *types.InvalidParameterValueException
	_, err = client.ListFunctions(t.Context(), &lambda.ListFunctionsInput{Marker: aws.String("bogus")})
	if !errors.As(err, &invalid) {
		t.Errorf("ListFunctions with a marker of nobody's: %v", err)
	}
	_, err = client.ListFunctions(t.Context(), &lambda.ListFunctionsInput{MaxItems: aws.Int32(0)})
	if !errors.As(err, &invalid) {
		t.Errorf("ListFunctions of no items: %v", err)
	}
}

func TestLambdaAPI_Guarded(t *testing.T) {
	t.Parallel()
	api := newTestLambda(echo)
	for _, path := range []string{"", "/", "/token-get", "/token-get/configuration"} {
		for _, header := range []http.Header{{"Host": {"rebound.example"}}, {"Origin": {"https://elsewhere.example"}}, {"X-Forwarded-For": {"203.0.113.7"}}} {
			if response, _ := ask(t, api, "GET", "/2015-03-31/functions"+path, header, ""); response.StatusCode != http.StatusForbidden {
				t.Errorf("%s %v: %s, want 403", path, header, response.Status)
			}
		}
	}
	response, body := ask(t, api, "POST", "/2015-03-31/functions/token-get/invocations", http.Header{"X-Amz-Log-Type": {"Head"}}, `{}`)
	if response.StatusCode != 400 || response.Header.Get("X-Amzn-Errortype") != "InvalidParameterValueException" {
		t.Errorf("an unknown log type: %s %s", response.Status, body)
	}
}

// The log of an invocation is what its function wrote, whole and alone, or its end.
func TestPool_Log(t *testing.T) {
	t.Parallel()
	p, shown := newTestPool(t, blueprint.Function{MemoryMB: 128, Timeout: 5 * time.Second}, 2)
	logs := func(command string) string {
		t.Helper()
		r, err := p.invoke(t.Context(), []byte(command))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.log) > maxTail {
			t.Errorf("%.40s: %d bytes of log, want at most %d", command, len(r.log), maxTail)
		}
		return string(r.log)
	}
	for n := range 50 {
		log := logs(fmt.Sprintf(`{"print":"line %d\n"}`, n))
		if strings.Count(log, fmt.Sprintf("line %d\n", n)) != 2 || strings.Count(log, "line ") != 2 || strings.Count(log, "START ") != 1 {
			t.Errorf("invocation %d: %q", n, log)
		}
	}
	for command, part := range map[string]string{
		`{"print":"before the exit\n","do":"exit"}`:   "before the exit\n",
		`{"print":"before the panic\n","do":"panic"}`: "before the panic\n",
		`{"print":"before the error\n","do":"fail"}`:  "before the error\n",
		`{"print":"zero \u0000 byte"}`:                "zero \x00 byte",
		`{"print":"no line end"}`:                     "no line end\nEND ",
	} {
		if log := logs(command); !strings.Contains(log, part) || !strings.Contains(log, "REPORT ") {
			t.Errorf("%s: %q", command, log)
		}
	}
	long := strings.Repeat("0123456789abcdef", 10_000)
	log := logs(`{"print":"` + long + `"}`)
	if !strings.Contains(log, long[len(long)-3000:]) || !strings.Contains(log, "END RequestId") || strings.Contains(log, "START ") {
		t.Errorf("of a long log: %q", log)
	}
	if text := shown.String(); !strings.Contains(text, "line 49\n") || !strings.Contains(text, long) || strings.Count(text, "\x00") != 2 {
		t.Errorf("the terminal shows %d bytes, with %d zero bytes", len(text), strings.Count(text, "\x00"))
	}
}

// A process that does not start shows why.
func TestPool_LogOfAFailedStart(t *testing.T) {
	t.Parallel()
	p, _ := newTestPool(t, blueprint.Function{}, 1, "LOG_LEVEL=crash")
	r, err := p.invoke(t.Context(), []byte(`{}`))
	if err != nil || !bytes.Contains(r.log, []byte("LOG_LEVEL: none of")) {
		t.Errorf("log %q, %v", r.log, err)
	}
}
