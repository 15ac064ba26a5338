package handler

import (
	"context"
	"net/http"
	"time"

	"platform-api-connector/shared/connector"
)

func (h *Handler) mintLink(ctx context.Context, c *call, r *request) (answer, error) {
	o, err := r.onlyBody()
	if err != nil {
		return answer{}, err
	}
	confirmStated := o.states("confirm")
	asked := connector.LinkRequest{
		Platform:     connector.Name(o.text("platform")),
		Owner:        o.line("owner"),
		ConnectionID: connector.ID(o.selector("connection_id")),
		Scopes:       o.list("scopes"),
		ReturnURL:    o.text("return_url"),
		ExpiresIn:    seconds(o.number("expires_in", 1, int(connector.MaxLinkLife.Seconds()), 0)),
		Confirm:      o.flag("confirm", false),
		Choose:       o.flag("choose", false),
	}
	if asked.ExpiresIn > connector.DefaultLinkLife && !confirmStated {
		o.fail("confirm", "missing: a link that lives longer than 900 seconds must say true or false")
	}
	if err := o.end(); err != nil {
		return answer{}, err
	}
	c.setConnection(asked.ConnectionID)
	link, err := h.service.MintLink(ctx, asked)
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusCreated, struct {
		ID        string    `json:"id"`
		URL       string    `json:"url"`
		ExpiresAt time.Time `json:"expires_at"`
	}{link.ID, link.URL.Reveal(), instant(link.ExpiresAt)})
}

func (h *Handler) showLink(ctx context.Context, _ *call, r *request) (answer, error) {
	limit, cursor, err := r.readPage()
	if err != nil {
		return answer{}, err
	}
	view, err := fitPage(limit, func(limit int) (linkView, []connectionView, error) {
		state, err := h.service.ShowLink(ctx, r.linkID(), cursor, limit)
		view := viewLink(state)
		return view, view.Connections, err
	})
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, view)
}

func (h *Handler) endLink(ctx context.Context, _ *call, r *request) (answer, error) {
	if err := r.expectNoInput(); err != nil {
		return answer{}, err
	}
	if err := h.service.EndLink(ctx, r.linkID()); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// linkID returns the id in the path. The service refuses a malformed one in the
// same way as an unknown one.
func (r *request) linkID() string { return r.parameters["id"] }

// readPage reads the parameters of one page of a list, and refuses all others.
func (r *request) readPage() (limit int, cursor string, err error) {
	r.dropEmptyCursor()
	p := r.parametersOfQuery()
	limit = p.number("limit", 1, maxPage, defaultPage)
	cursor = p.text("cursor", maxParameter)
	return limit, cursor, p.end()
}

// dropEmptyCursor removes an empty cursor, which some callers send for the first
// page.
func (r *request) dropEmptyCursor() {
	if list := r.query["cursor"]; len(list) == 1 && connector.Trim(list[0]) == "" {
		r.query.Del("cursor")
	}
}

// linkView is the JSON form of a link and of what became of it.
type linkView struct {
	ID            string               `json:"id"`
	Platform      connector.Name       `json:"platform"`
	Owner         string               `json:"owner"`
	ConnectionID  connector.ID         `json:"connection_id,omitempty"`
	Confirm       bool                 `json:"confirm"`
	Choose        bool                 `json:"choose"`
	Status        connector.LinkStatus `json:"status"`
	Error         connector.Code       `json:"error,omitempty"`
	Reason        string               `json:"reason,omitempty"`
	Accounts      int                  `json:"accounts"`
	Connected     int                  `json:"connected"`
	LeftOut       int                  `json:"left_out,omitempty"`
	Connections   []connectionView     `json:"connections"`
	NextCursor    string               `json:"next_cursor,omitempty"`
	ExpiresAt     time.Time            `json:"expires_at"`
	ConfirmBefore time.Time            `json:"confirm_before,omitzero"`
}

func viewLink(s connector.LinkState) linkView {
	return linkView{
		ID: s.ID, Platform: s.Link.Platform, Owner: s.Link.Owner, ConnectionID: s.Link.ConnectionID, Confirm: s.Link.Confirm, Choose: s.Link.Choose,
		Status: s.Status, Error: s.Failure, Reason: s.Reason,
		Accounts: s.Accounts, Connected: s.Connected, LeftOut: s.LeftOut, Connections: viewConnections(s.Connections), NextCursor: s.Next,
		ExpiresAt: instant(s.Link.ExpiresAt), ConfirmBefore: instant(s.ConfirmBefore),
	}
}
