package handler

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"platform-api-connector/shared/connector"
)

// suspensionView is the JSON form of a suspension.
type suspensionView struct {
	ID           connector.ID   `json:"id"`
	ConnectionID connector.ID   `json:"connection_id,omitempty"`
	Owner        string         `json:"owner,omitempty"`
	Platform     connector.Name `json:"platform,omitempty"`
	All          bool           `json:"all,omitempty"`
	Reason       string         `json:"reason"`
	Rest         bool           `json:"rest"`
	CreatedAt    time.Time      `json:"created_at"`
	CreatedBy    string         `json:"created_by,omitempty"`
}

func viewSuspension(x connector.Suspension) suspensionView {
	return suspensionView{
		ID: x.ID, ConnectionID: x.ConnectionID, Owner: x.Owner, Platform: x.Platform, All: x.All,
		Reason: x.Reason, Rest: x.Rest, CreatedAt: instant(x.CreatedAt), CreatedBy: x.CreatedBy,
	}
}

func (h *Handler) suspend(ctx context.Context, c *call, r *request) (answer, error) {
	o, err := r.onlyBody()
	if err != nil {
		return answer{}, err
	}
	asked := connector.SuspensionRequest{
		SuspensionTarget: connector.SuspensionTarget{
			ConnectionID: connector.ID(o.selector("connection_id")),
			Owner:        o.lineSelector("owner"),
			Platform:     connector.Name(o.selector("platform")),
			All:          o.flag("all", false),
		},
		Reason:    o.line("reason"),
		Rest:      o.flag("rest", false),
		CreatedBy: c.caller,
	}
	if err := o.end(); err != nil {
		return answer{}, err
	}
	c.setConnection(asked.ConnectionID)
	created, err := h.service.Suspend(ctx, asked)
	if err != nil {
		return answer{}, err
	}
	c.setSuspension(created.ID)
	c.notes = append(c.notes, slog.Bool("rest", created.Rest))
	return jsonAnswer(http.StatusCreated, viewSuspension(created))
}

func (h *Handler) listSuspensions(ctx context.Context, _ *call, r *request) (answer, error) {
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	list, err := h.service.ListSuspensions(ctx)
	if err != nil {
		return answer{}, err
	}
	views := make([]suspensionView, len(list))
	for i, x := range list {
		views[i] = viewSuspension(x)
	}
	return jsonAnswer(http.StatusOK, map[string]any{"suspensions": views})
}

func (h *Handler) showSuspension(ctx context.Context, c *call, r *request) (answer, error) {
	c.setSuspension(r.suspensionID())
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	x, err := h.service.Suspension(ctx, r.suspensionID())
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, viewSuspension(x))
}

func (h *Handler) deleteSuspension(ctx context.Context, c *call, r *request) (answer, error) {
	c.setSuspension(r.suspensionID())
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	if err := h.service.DeleteSuspension(ctx, r.suspensionID()); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// suspensionID returns the id in the path.
func (r *request) suspensionID() connector.ID { return connector.ID(r.parameters["id"]) }

// setSuspension adds the id of a suspension to the log line. The line has no
// connection then, unless the suspension is of one: the id in the path is none.
func (c *call) setSuspension(id connector.ID) {
	if c.connection == id {
		c.connection = ""
	}
	if id.Valid() {
		c.notes = append(c.notes, slog.String("suspension_id", string(id)))
	}
}
