package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// maxPayload is the maximum size of a request or an answer of a function, in
// bytes: "6 MB each for request and response (synchronous)".
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const maxPayload = 6*1024*1024 + 100

// runtimeAPI is the Lambda Runtime API of all processes. Each process has a
// path of its own.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	host string // host:port

	mu        sync.Mutex
	processes map[string]*process
}

func newRuntimeAPI(host string) *runtimeAPI {
	return &runtimeAPI{host: host, processes: map[string]*process{}}
}

// address returns the AWS_LAMBDA_RUNTIME_API of p. aws-lambda-go puts
// "http://" before and "/2018-06-01/runtime" after it, so it may contain a path.
func (a *runtimeAPI) address(p *process) string { return a.host + "/" + p.token }

func (a *runtimeAPI) add(p *process) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.processes[p.token] = p
}

func (a *runtimeAPI) remove(p *process) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.processes, p.token)
}

func (a *runtimeAPI) find(token string) *process {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.processes[token]
}

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	p := a.find(token)
	rest, versioned := strings.CutPrefix(path, "2018-06-01/runtime/")
	if p == nil || !versioned {
		http.NotFound(w, r)
		return
	}
	id, verb, named := strings.Cut(strings.TrimPrefix(rest, "invocation/"), "/")
	switch {
	case r.Method == http.MethodGet && rest == "invocation/next":
		serveNext(w, r, p)
	case r.Method == http.MethodPost && rest == "init/error":
		takeInitError(w, r, p)
	case r.Method == http.MethodPost && named && verb == "response":
		takeAnswer(w, r, p, id, "")
	case r.Method == http.MethodPost && named && verb == "error":
		takeAnswer(w, r, p, id, "Unhandled")
	default:
		http.NotFound(w, r)
	}
}

// serveNext blocks the poll until there is an invocation.
func serveNext(w http.ResponseWriter, r *http.Request, p *process) {
	poll := make(chan *invocation, 1)
	select {
	case p.polls <- poll:
	case <-r.Context().Done():
		return
	}
	select {
	case i := <-poll:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", i.arn)
		h.Set("Lambda-Runtime-Trace-Id", traceID(i.id))
		_, _ = w.Write(i.payload)
	case <-r.Context().Done():
	}
}

func takeAnswer(w http.ResponseWriter, r *http.Request, p *process, id, functionError string) {
	payload, err := io.ReadAll(io.LimitReader(r.Body, maxPayload+1))
	if err != nil {
		return
	}
	if len(payload) > maxPayload {
		payload, functionError = failure("Function.ResponseSizeTooLarge",
			"Response payload size exceeded maximum allowed payload size (6291556 bytes)."), "Unhandled"
	}
	if !p.finish(id, result{payload: payload, functionError: functionError}) {
		answerRuntime(w, http.StatusBadRequest, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
		return
	}
	answerRuntime(w, http.StatusAccepted, `{"status":"OK"}`)
}

func takeInitError(w http.ResponseWriter, r *http.Request, p *process) {
	payload, err := io.ReadAll(io.LimitReader(r.Body, maxPayload))
	if err != nil {
		return
	}
	select {
	case p.broken <- result{payload: payload, functionError: "Unhandled"}:
	default:
	}
	answerRuntime(w, http.StatusAccepted, `{"status":"OK"}`)
}

func answerRuntime(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// failure returns the payload of a failed invocation, as Lambda writes it.
func failure(kind, message string) []byte {
	b, _ := json.Marshal(map[string]string{"errorType": kind, "errorMessage": message})
	return b
}

// failureOf reads the payload of a failed invocation.
func failureOf(r result) (kind, message string) {
	var f struct{ ErrorType, ErrorMessage string }
	_ = json.Unmarshal(r.payload, &f)
	return f.ErrorType, f.ErrorMessage
}
