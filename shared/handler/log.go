package handler

import (
	"context"
	"log/slog"
	"time"

	"platform-api-connector/shared/connector"
)

// record writes the one line of an invocation. Everything in it is ours: names
// of functions and routes, codes, ids, and causes, which hold no secret.
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

// severity tells what an operator should look at from what callers should.
func severity(failed *connector.Error) slog.Level {
	switch {
	case failed == nil:
		return slog.LevelInfo
	case failed.Code == connector.Internal:
		return slog.LevelError
	case failed.Code.AppRefused(), failed.Code.TryLater():
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
