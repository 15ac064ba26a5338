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

// Function is one Lambda function: the payload of an invocation in, its
// answer out. Errors are always messages.InvokeResponse_Error, with a
// connector.Code as their type. It implements lambda.Handler.
type Function func(ctx context.Context, payload []byte) ([]byte, error)

// Invoke implements lambda.Handler.
func (f Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) { return f(ctx, payload) }

// Handler makes the functions of one connector.
type Handler struct {
	service *connector.Service
	log     *slog.Logger
	secure  bool // people reach it over HTTPS
}

// New returns a Handler over service that logs to log.
func New(service *connector.Service, log *slog.Logger) *Handler {
	return &Handler{service: service, log: log, secure: strings.HasPrefix(service.PublicURL, "https://")}
}

// call is what is known of one invocation, for its log line and for the
// correlation id that a caller may quote.
type call struct {
	function   string
	requestID  string
	route      string
	status     int // of HTTP answers
	connection connector.ID
	failed     *connector.Error
	notes      []slog.Attr
}

// about notes which connection an invocation is about. What is no id is
// somebody's text, and stays out of the log.
func (c *call) about(id connector.ID) {
	if id.Valid() {
		c.connection = id
	}
}

// function is the way in and out of every invocation.
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

// requestID returns the id that Lambda gave to the invocation, which its own
// log lines carry too.
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

// recovered runs do and turns a panic into an Internal error. The stack goes
// to the log; the panic's value only where the runtime made it, since others
// may hold anything.
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
