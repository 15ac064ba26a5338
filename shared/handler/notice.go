package handler

import (
	"context"
	"errors"
	"net/http"
	"time"

	"platform-api-connector/shared/connector"
)

// PlatformNotice is the function that reads notices from the platforms. Each
// kind of notice has a route. The answer to a notice that the platform did not
// sign is 401.
func (h *Handler) PlatformNotice() Function {
	routes := routes{}
	for _, p := range h.service.Platforms {
		d := p.Describe()
		for _, kind := range d.Notices {
			routes["POST "+kind.Path(d.Name)] = h.notice(d.Name, kind.Name)
			if kind.Deletion {
				routes["GET "+kind.StatusPath(d.Name, "{code}")] = h.deletion
			}
		}
	}
	return h.serve("platform-notice", true, routes)
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
	status := "completed"
	if d.InProgress {
		status = "in_progress"
	}
	return jsonAnswer(http.StatusOK, struct {
		Status      string    `json:"status"`
		RequestedAt time.Time `json:"requested_at"`
		CompletedAt time.Time `json:"completed_at,omitzero"`
		Deleted     int       `json:"deleted"`
		Consents    int       `json:"consents"`
	}{status, instant(d.RequestedAt), instant(d.CompletedAt), d.Deleted, d.Consents})
}

// unsigned returns the error for a notice without a valid signature.
func unsigned() error {
	return &statusError{status: http.StatusUnauthorized, err: connector.Invalid("signature", "missing, too old, or not made by the platform for this app")}
}

func noSuchDeletion() error {
	return &statusError{status: http.StatusNotFound, err: connector.Invalid("code", "no such data deletion")}
}
