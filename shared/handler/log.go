package handler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"platform-api-connector/shared/connector"
)

// record writes the log line of an invocation. The line contains names of
// functions and routes, codes, ids, the ARN of the caller, and causes. None of
// them contains a secret or unchecked text of the caller.
func (h *Handler) record(ctx context.Context, c *call, took time.Duration) {
	attributes := []slog.Attr{
		slog.String("function", c.function),
		slog.String("outcome", outcome(c.failed)),
		slog.Int64("duration_ms", took.Milliseconds()),
		slog.String("request_id", c.requestID),
	}
	if c.route != "" {
		attributes = append(attributes, slog.String("route", c.route))
	}
	if c.status != 0 {
		attributes = append(attributes, slog.Int("status", c.status))
	}
	if c.caller != "" {
		attributes = append(attributes, slog.String("caller", c.caller))
	}
	if c.connection != "" {
		attributes = append(attributes, slog.String("connection_id", string(c.connection)))
	}
	attributes = append(attributes, c.notes...)
	if c.failed != nil {
		attributes = append(attributes, slog.String("error", c.failed.Error()))
	}
	h.log.LogAttrs(ctx, severity(c.failed), "request", attributes...)
}

func outcome(failed *connector.Error) string {
	if failed == nil {
		return "ok"
	}
	return string(failed.Code)
}

// severity returns the level of an invocation's log line: an error for a
// defect or a use of the decoy, a warning for a failure that an operator can act on, and info for
// everything else.
func severity(failed *connector.Error) slog.Level {
	switch {
	case failed == nil:
		return slog.LevelInfo
	case failed.Code == connector.Internal, errors.Is(failed, connector.ErrDecoyUsed):
		return slog.LevelError
	case failed.Code.AppRefused(), failed.Code.TryLater():
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// BoundAttr shortens a long text of a log line, and says how long it was. It is the
// ReplaceAttr of the log: the causes of many failures at once are one text.
func BoundAttr(_ []string, a slog.Attr) slog.Attr {
	text := ""
	switch a.Value.Kind() {
	case slog.KindString:
		text = a.Value.String()
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			text = err.Error()
		}
	}
	if len(text) > maxLogged {
		a.Value = slog.StringValue(fmt.Sprintf("%s… (%d bytes)", text[:maxLogged], len(text)))
	}
	return a
}
