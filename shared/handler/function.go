package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"platform-api-connector/shared/connector"
)

// Function is one Lambda function. It takes the payload of an invocation and
// returns its answer. Its errors are always messages.InvokeResponse_Error,
// with a connector.Code as their type. It implements lambda.Handler.
type Function func(ctx context.Context, payload []byte) ([]byte, error)

// Invoke implements lambda.Handler.
func (f Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) { return f(ctx, payload) }

// Handler creates the functions of one connector.
type Handler struct {
	service *connector.Service
	log     *slog.Logger
	callers Callers
	scopes  CallerScopes
	secure  bool // the public URL is https
}

// New returns a Handler over service that logs to log and confines callers.
func New(service *connector.Service, log *slog.Logger, callers Callers) *Handler {
	return &Handler{service: service, log: log, callers: callers, secure: strings.HasPrefix(service.PublicURL, "https://")}
}

// call collects what the log line of one invocation contains.
type call struct {
	function   string
	requestID  string // also shown to callers, as the correlation id
	route      string // of an HTTP request
	status     int    // of an HTTP answer
	caller     string // an ARN; empty where AWS names no caller
	connection connector.ID
	failed     *connector.Error
	notes      []slog.Attr
}

// setConnection adds the id of a connection to the log line. A value that is
// not a valid id is arbitrary text of the caller and does not reach the log.
func (c *call) setConnection(id connector.ID) {
	if id.Valid() {
		c.connection = id
	}
}

// function returns a Function that runs do. It measures and logs each
// invocation, recovers panics, and encodes the answer or the error.
func (h *Handler) function(name string, do func(ctx context.Context, c *call, payload []byte) (any, error)) Function {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		began := h.service.Now()
		c := &call{function: name, requestID: h.requestID(ctx)}
		var result []byte
		err := h.recovered(ctx, c, func() error {
			value, err := do(ctx, c, payload)
			if err != nil {
				return err
			}
			result, err = json.Marshal(value)
			return err
		})
		if err != nil {
			c.failed = connector.AsError(err)
		}
		h.record(ctx, c, h.service.Now().Sub(began))
		if err != nil {
			return nil, invokeError(err, c.requestID)
		}
		return result, nil
	}
}

// requestID returns the id of the invocation. Lambda's own log lines contain
// the same id.
func (h *Handler) requestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok && lc.AwsRequestID != "" {
		return lc.AwsRequestID
	}
	id, err := connector.NewID(h.service.Random)
	if err != nil {
		return "unknown"
	}
	return string(id)
}

// recovered runs do and turns a panic into an Internal error. It logs the
// stack. It logs the value of the panic only if the Go runtime created it,
// because any other value may contain a secret.
func (h *Handler) recovered(ctx context.Context, c *call, do func() error) (err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		text := fmt.Sprintf("%T", value)
		if e, ok := value.(runtime.Error); ok {
			text = e.Error()
		}
		h.log.ErrorContext(ctx, "panic",
			"function", c.function, "route", c.route, "request_id", c.requestID,
			"panic", text, "stack", string(debug.Stack()))
		err = &connector.Error{Code: connector.Internal, Err: fmt.Errorf("panic: %s", text)}
	}()
	return do()
}
