package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// lambdaAPI serves Lambda's Invoke call, so that the AWS CLI and the SDKs can
// invoke the functions, and the calls that list and describe them.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
type lambdaAPI struct {
	functions map[string]bool
	describe  func(name string) lambdaFunction
	invoke    invoker
	terminal  *terminal
	work      sync.WaitGroup // asynchronous invocations
}

const invocationsPath = "POST /2015-03-31/functions/{name}/invocations"

func (a *lambdaAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", newRequestID())
	name, ok := a.find(w, r)
	if !ok {
		return
	}
	payload, tooLarge, err := readBody(r, maxPayload)
	switch {
	case err != nil:
		return
	case tooLarge:
		lambdaError(w, http.StatusRequestEntityTooLarge, "RequestTooLargeException", "Request must be smaller than 6291556 bytes for the InvokeFunction operation")
		return
	case len(payload) == 0:
		payload = []byte("{}")
	case !json.Valid(payload):
		lambdaError(w, http.StatusBadRequest, "InvalidRequestContentException", "Could not parse request body into json")
		return
	}
	switch r.Header.Get("X-Amz-Log-Type") {
	case "", "None", "Tail":
	default:
		lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", "LogType is none of None, Tail")
		return
	}
	switch r.Header.Get("X-Amz-Invocation-Type") {
	case "", "RequestResponse":
		a.invokeSync(w, r, name, payload)
	case "Event":
		a.invokeAsync(context.WithoutCancel(r.Context()), name, payload)
		w.WriteHeader(http.StatusAccepted)
	case "DryRun":
		w.WriteHeader(http.StatusNoContent)
	default:
		lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", "InvocationType is none of RequestResponse, Event, DryRun")
	}
}

// find returns the function that a request names. It answers the request where there
// is none, or no such version of it.
func (a *lambdaAPI) find(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	name, version := functionName(r.PathValue("name"))
	if q := r.URL.Query().Get("Qualifier"); q != "" {
		version = q
	}
	if !a.functions[name] || version != "$LATEST" {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+functionARN(r.PathValue("name")))
		return "", false
	}
	return name, true
}

// functionName parses a name, a partial ARN or an ARN, with or without a
// version.
func functionName(s string) (name, version string) {
	parts := strings.Split(s, ":")
	if i := len(parts) - 1; i > 0 && parts[i] == "$LATEST" {
		parts = parts[:i]
	}
	return parts[len(parts)-1], "$LATEST"
}

func (a *lambdaAPI) invokeSync(w http.ResponseWriter, r *http.Request, name string, payload []byte) {
	begun := time.Now()
	result, err := a.invoke(r.Context(), name, payload)
	if err != nil {
		lambdaError(w, http.StatusServiceUnavailable, "ServiceException", "The service is ending")
		return
	}
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("X-Amz-Log-Type") == "Tail" {
		w.Header().Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString(result.log))
	}
	if result.functionError != "" {
		w.Header().Set("X-Amz-Function-Error", result.functionError)
	}
	_, _ = w.Write(result.payload)
	a.terminal.invoked("lambda invoke", name, result, time.Since(begun), "")
}

// invokeAsync runs an Event invocation. Lambda would retry it twice after some
// minutes. This stack does not retry, so that the person sees the failure.
func (a *lambdaAPI) invokeAsync(ctx context.Context, name string, payload []byte) {
	a.work.Go(func() {
		begun := time.Now()
		if result, err := a.invoke(ctx, name, payload); err == nil {
			a.terminal.invoked("lambda invoke (event)", name, result, time.Since(begun), "")
		}
	})
}

// lambdaError answers with an error as Lambda does, in the protocol restJson1.
func lambdaError(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("X-Amzn-Errortype", kind)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Type": "User", "Message": message})
}
