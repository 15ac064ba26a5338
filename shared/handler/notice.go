package handler

import (
	"context"
	"errors"
	"net/http"
	"time"

	"platform-api-connector/shared/connector"
)

// PlatformNotice is the function behind what platforms send on their own.
// A notice that the platform did not sign is answered with 401.
func (h *Handler) PlatformNotice() Function {
	return h.serve("platform-notice", true, routes{
		"POST /platforms/facebook/deauthorize":         h.notice("facebook", "deauthorize"),
		"POST /platforms/facebook/data-deletion":       h.notice("facebook", "data-deletion"),
		"GET /platforms/facebook/data-deletion/{code}": h.deletion,
		"POST /platforms/tiktok/webhook":               h.notice("tiktok", "webhook"),
	})
}

func (h *Handler) notice(platform connector.Name, kind string) func(context.Context, *call, *request) (answer, error) {
	return func(ctx context.Context, _ *call, r *request) (answer, error) {
		if len(r.body) == 0 {
			return answer{}, connector.Invalid("body", "missing")
		}
		result, err := h.service.TakeNotice(ctx, platform, kind, connector.RawNotice{Header: r.header, Body: r.body})
		if errors.Is(err, connector.StateInvalid) {
			return answer{}, unsigned()
		}
		if err != nil {
			return answer{}, err
		}
		if !result.DeletionCode.Empty() {
			return jsonAnswer(http.StatusOK, map[string]string{
				"url":               result.StatusURL.Reveal(),
				"confirmation_code": result.DeletionCode.Reveal(),
			})
		}
		return jsonAnswer(http.StatusOK, struct{}{})
	}
}

func (h *Handler) deletion(ctx context.Context, _ *call, r *request) (answer, error) {
	code := r.parameters["code"]
	if len(code) > maxState {
		return answer{}, noSuchDeletion()
	}
	d, err := h.service.DeletionStatus(ctx, connector.NewSecret(code))
	if errors.Is(err, connector.ConnectionNotFound) {
		return answer{}, noSuchDeletion()
	}
	if err != nil {
		return answer{}, err
	}
	if r.wantsPage() {
		return deletionPage(d)
	}
	return jsonAnswer(http.StatusOK, struct {
		Status      string    `json:"status"`
		RequestedAt time.Time `json:"requested_at"`
		Deleted     int       `json:"deleted"`
	}{"deleted", instant(d.RequestedAt), d.Deleted})
}

// unsigned is what a notice gets that does not prove where it comes from.
func unsigned() error {
	return &statusError{status: http.StatusUnauthorized, err: connector.Invalid("signature", "missing, too old, or not made by the platform for this app")}
}

func noSuchDeletion() error {
	return &statusError{status: http.StatusNotFound, err: connector.Invalid("code", "no such data deletion")}
}
