package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

// lambdaFunction is a FunctionConfiguration of Lambda's API.
// https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html,
// read 2026-11-25
type lambdaFunction struct {
	FunctionName     string
	FunctionARN      string `json:"FunctionArn"`
	Runtime          string
	Role             string
	Handler          string
	CodeSize         int64
	Description      string
	Timeout          int
	MemorySize       int
	LastModified     string
	Version          string
	Environment      lambdaEnvironment
	TracingConfig    struct{ Mode string }
	PackageType      string
	Architectures    []string
	EphemeralStorage struct{ Size int }
	LoggingConfig    struct{ LogFormat, LogGroup string }

	// The listing has no state of a function, as in Lambda.
	State, LastUpdateStatus string `json:",omitempty"`

	reserved int
}

type lambdaEnvironment struct{ Variables map[string]string }

// newLambdaFunction describes a function as it is deployed. CodeSize is 1, because
// no package is built here.
func newLambdaFunction(f blueprint.Function, s settings, since time.Time) lambdaFunction {
	d := lambdaFunction{
		FunctionName: f.Name, FunctionARN: functionARN(f.Name), Description: f.Job,
		Runtime: "provided.al2023", Handler: "bootstrap", PackageType: "Zip", Architectures: []string{"arm64"}, CodeSize: 1,
		Role:    "arn:aws:iam::" + account + ":role/" + functionPrefix + f.Name,
		Timeout: int(f.Timeout / time.Second), MemorySize: f.MemoryMB, Version: "$LATEST",
		LastModified: since.UTC().Format("2006-01-02T15:04:05.000-0700"),
		Environment:  lambdaEnvironment{map[string]string{}}, reserved: f.Reserved(),
	}
	d.TracingConfig.Mode = "PassThrough"
	d.EphemeralStorage.Size = 512
	d.LoggingConfig.LogFormat, d.LoggingConfig.LogGroup = "Text", "/aws/lambda/"+f.Name
	for _, name := range f.Environment {
		if value := s.values[name]; value != "" {
			d.Environment.Variables[name] = value
		}
	}
	if _, ok := d.Environment.Variables[config.DecoyConnectionID]; ok {
		d.Environment.Variables[config.DecoyConnectionID] = "hidden" // a decoy that is known traps nobody
	}
	return d
}

// maxFunctions is how many functions Lambda lists at most in one answer.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html, read 2026-11-25
const maxFunctions = 50

// register adds the calls of Lambda that the stack answers.
func (a *lambdaAPI) register(mux *http.ServeMux) {
	mux.Handle(invocationsPath, a)
	mux.HandleFunc("GET /2015-03-31/functions", a.list)
	mux.HandleFunc("GET /2015-03-31/functions/{$}", a.list)
	mux.HandleFunc("GET /2015-03-31/functions/{name}", a.show)
	mux.HandleFunc("GET /2015-03-31/functions/{name}/configuration", a.showConfiguration)
}

// list answers ListFunctions, in the order of the names. The marker of a page is the
// last name of the page before.
func (a *lambdaAPI) list(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", newRequestID())
	query := r.URL.Query()
	limit := maxFunctions
	if text := query.Get("MaxItems"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 10000 {
			lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", "MaxItems is not between 1 and 10000")
			return
		}
		limit = min(n, maxFunctions)
	}
	if version := query.Get("FunctionVersion"); version != "" && version != "ALL" {
		lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", "FunctionVersion is not ALL")
		return
	}
	names := slices.Sorted(maps.Keys(a.functions))
	if marker := query.Get("Marker"); marker != "" {
		if !a.functions[marker] {
			lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", "Marker is not one of an answer")
			return
		}
		names = names[slices.Index(names, marker)+1:]
	}
	answer := struct {
		Functions  []lambdaFunction
		NextMarker string `json:",omitempty"`
	}{Functions: []lambdaFunction{}}
	if len(names) > limit {
		names, answer.NextMarker = names[:limit], names[limit-1]
	}
	for _, name := range names {
		answer.Functions = append(answer.Functions, a.describe(name))
	}
	answerLambda(w, answer)
}

// show answers GetFunction. There is no package to download.
func (a *lambdaAPI) show(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", newRequestID())
	name, ok := a.find(w, r)
	if !ok {
		return
	}
	described := a.describe(name)
	answer := struct {
		Configuration lambdaFunction
		Code          struct{ RepositoryType string }
		Concurrency   *struct{ ReservedConcurrentExecutions int } `json:",omitempty"`
	}{Configuration: described.active()}
	answer.Code.RepositoryType = "S3"
	if n := described.reserved; n > 0 {
		answer.Concurrency = &struct{ ReservedConcurrentExecutions int }{n}
	}
	answerLambda(w, answer)
}

// showConfiguration answers GetFunctionConfiguration.
func (a *lambdaAPI) showConfiguration(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", newRequestID())
	if name, ok := a.find(w, r); ok {
		answerLambda(w, a.describe(name).active())
	}
}

func (f lambdaFunction) active() lambdaFunction {
	f.State, f.LastUpdateStatus = "Active", "Successful"
	return f
}

func answerLambda(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
