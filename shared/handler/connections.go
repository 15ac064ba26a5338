package handler

import (
	"context"
	"net/http"
	"time"

	"platform-api-connector/shared/connector"
)

const (
	defaultPage = 50
	maxPage     = 100
	maxPosts    = 1000
)

// Connections returns the function of the operator's routes.
func (h *Handler) Connections() Function {
	return h.serve("connections", false, routes{
		"GET /platforms":                 h.listPlatforms,
		"GET /platforms/{platform}":      h.showPlatform,
		"PUT /platforms/{platform}/app":  h.putApp,
		"POST /links":                    h.mintLink,
		"GET /links/{id}":                h.showLink,
		"DELETE /links/{id}":             h.endLink,
		"POST /connections":              h.importCredentials,
		"POST /connections/confirm":      h.confirm,
		"GET /connections":               h.listConnections,
		"GET /connections/{id}":          h.showConnection,
		"POST /connections/{id}/verify":  h.verify,
		"POST /connections/{id}/refresh": h.refreshNow,
		"POST /connections/{id}/usage":   h.reserve,
		"DELETE /connections/{id}":       h.disconnect,
		"POST /suspensions":              h.suspend,
		"GET /suspensions":               h.listSuspensions,
		"GET /suspensions/{id}":          h.showSuspension,
		"DELETE /suspensions/{id}":       h.deleteSuspension,
	})
}

func (h *Handler) listPlatforms(ctx context.Context, _ *call, r *request) (answer, error) {
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	var views []platformView
	for _, p := range h.service.Platforms {
		status, err := h.service.PlatformStatus(ctx, p.Describe().Name)
		if err != nil {
			return answer{}, err
		}
		views = append(views, viewPlatform(status))
	}
	return jsonAnswer(http.StatusOK, map[string]any{"platforms": views})
}

func (h *Handler) showPlatform(ctx context.Context, _ *call, r *request) (answer, error) {
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	status, err := h.service.PlatformStatus(ctx, r.platform())
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, viewGuide(status))
}

func (h *Handler) putApp(ctx context.Context, _ *call, r *request) (answer, error) {
	o, err := r.onlyBody()
	if err != nil {
		return answer{}, err
	}
	current, err := h.service.PlatformStatus(ctx, r.platform())
	if err != nil {
		return answer{}, err
	}
	if o.fields, err = h.service.ReadApp(r.platform(), o.fields); err != nil {
		return answer{}, err
	}
	app, removed, err := readApp(o, current.Description.AppFields)
	if err != nil {
		return answer{}, err
	}
	status, err := h.service.PutApp(ctx, r.platform(), app, removed...)
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, viewApp(status))
}

func (h *Handler) importCredentials(ctx context.Context, c *call, r *request) (answer, error) {
	o, err := r.onlyBody()
	if err != nil {
		return answer{}, err
	}
	request := connector.ImportRequest{
		Platform:    connector.Name(o.text("platform")),
		Owner:       o.line("owner"),
		AccountName: o.accountName("account_name"),
		Credentials: o.credentials("credentials"),
		SkipVerify:  !o.flag("verify", true),
	}
	if err := o.end(); err != nil {
		return answer{}, err
	}
	imported, err := h.service.Import(ctx, request)
	if err != nil {
		return answer{}, err
	}
	if len(imported.Connections) == 1 {
		c.setConnection(imported.Connections[0].ID)
	}
	status := http.StatusOK // what stands
	if imported.Stored {
		status = http.StatusCreated
	}
	return jsonAnswer(status, struct {
		savedView
		Warnings []string `json:"warnings,omitempty"`
	}{viewSaved(imported.Connections), viewWarnings(imported.Warnings)})
}

func (h *Handler) confirm(ctx context.Context, c *call, r *request) (answer, error) {
	o, err := r.onlyBody()
	if err != nil {
		return answer{}, err
	}
	confirmation, owner := o.secret("confirmation"), o.line("owner")
	list := o.flag("list", false)
	_, some := o.fields["account_ids"] // also as null: of a product in which nothing was selected
	accounts := o.list("account_ids")
	switch {
	case some && len(accounts) == 0:
		o.fail("account_ids", "empty: leave it out to connect all accounts")
	case some && list:
		o.fail("list", "not beside account_ids")
	}
	if err := o.end(); err != nil {
		return answer{}, err
	}
	if list {
		choices, err := h.service.Confirmable(ctx, confirmation, owner)
		if err != nil {
			return answer{}, err
		}
		return jsonAnswer(http.StatusOK, struct {
			Accounts []choiceView `json:"accounts"`
			Count    int          `json:"count"`
		}{viewChoices(choices), len(choices)})
	}
	saved, err := h.service.Confirm(ctx, confirmation, owner, accounts...)
	if err != nil {
		return answer{}, err
	}
	if saved.Accounts == 1 && len(saved.Connections) == 1 {
		c.setConnection(saved.Connections[0].ID)
	}
	return jsonAnswer(http.StatusOK, viewConsent(saved))
}

func (h *Handler) listConnections(ctx context.Context, _ *call, r *request) (answer, error) {
	r.dropEmptyCursor()
	p := r.parametersOfQuery()
	filter := connector.Filter{
		Owner:    p.line("owner", maxParameter),
		Platform: connector.Name(p.text("platform", maxParameter)),
		Status:   connector.Status(p.text("status", maxParameter)),
	}
	limit := p.number("limit", 1, maxPage, defaultPage)
	cursor := p.text("cursor", maxParameter)
	if err := p.end(); err != nil {
		return answer{}, err
	}
	type listView struct {
		Connections []connectionView `json:"connections"`
		NextCursor  string           `json:"next_cursor,omitempty"`
	}
	view, err := fitPage(limit, func(limit int) (listView, []connectionView, error) {
		page, next, err := h.service.Connections(ctx, filter, cursor, limit)
		view := listView{viewConnections(page), next}
		return view, view.Connections, err
	})
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, view)
}

func (h *Handler) showConnection(ctx context.Context, _ *call, r *request) (answer, error) {
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	connection, err := h.service.Connection(ctx, r.connectionID())
	if err != nil {
		return answer{}, err
	}
	suspension, suspended, err := h.service.SuspensionOf(ctx, connection)
	if err != nil {
		return answer{}, err
	}
	view := viewConnection(connection)
	view.Suspended, view.SuspendedReason = suspended, suspension.Reason
	return jsonAnswer(http.StatusOK, view)
}

func (h *Handler) verify(ctx context.Context, _ *call, r *request) (answer, error) {
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	c, err := h.service.Verify(ctx, r.connectionID())
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, struct {
		OK          bool      `json:"ok"`
		AccountID   string    `json:"account_id"`
		AccountName string    `json:"account_name"`
		Scopes      []string  `json:"scopes"`
		CheckedAt   time.Time `json:"checked_at"`
		Warning     string    `json:"warning,omitempty"`
	}{true, c.AccountID, c.AccountName, listed(c.Scopes), instant(c.VerifiedAt), c.StatusReason})
}

func (h *Handler) refreshNow(ctx context.Context, _ *call, r *request) (answer, error) {
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	connection, err := h.service.Refresh(ctx, r.connectionID())
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, viewConnection(connection))
}

func (h *Handler) reserve(ctx context.Context, _ *call, r *request) (answer, error) {
	o, err := r.onlyBody()
	if err != nil {
		return answer{}, err
	}
	posts := o.number("posts", 1, maxPosts, 0)
	if posts == 0 {
		o.fail("posts", "missing")
	}
	if err := o.end(); err != nil {
		return answer{}, err
	}
	usage, err := h.service.Reserve(ctx, r.connectionID(), posts)
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, viewUsage(usage))
}

func (h *Handler) disconnect(ctx context.Context, _ *call, r *request) (answer, error) {
	p := r.parametersOfQuery()
	purge := p.flag("purge")
	if err := p.end(); err != nil {
		return answer{}, err
	}
	if err := h.service.Disconnect(ctx, r.connectionID(), purge); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}
