package handler

import (
	"context"
	"net/http"

	"platform-api-connector/shared/connector"
)

// signatureView is the answer of POST /connections/{id}/sign.
type signatureView struct {
	Authorization string `json:"authorization"`
}

func (h *Handler) sign(ctx context.Context, _ *call, r *request) (answer, error) {
	o, err := r.onlyBody()
	if err != nil {
		return answer{}, err
	}
	asked := connector.SignRequest{
		ConnectionID: r.connectionID(),
		Method:       o.text("method"),
		URL:          o.text("url"),
		Parameters:   o.strings("parameters"),
	}
	if err := o.end(); err != nil {
		return answer{}, err
	}
	header, err := h.service.Sign(ctx, asked)
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, signatureView{Authorization: header.Reveal()})
}
