package handler

import (
	"context"
	"net/http"
	"time"

	"platform-api-connector/shared/connector"
)

const (
	minTTLSeconds    = int(connector.DefaultMinTTL / time.Second)
	maxMinTTLSeconds = int(connector.MaxMinTTL / time.Second)
)

// TokenGet returns the function that hands out credentials. It serves direct
// invocations, GET /connections/{id}/token and POST /connections/{id}/sign. The
// shape of the payload decides whether it is a direct invocation.
func (h *Handler) TokenGet() Function {
	routes := routes{
		"GET /connections/{id}/token": h.tokenOverHTTP,
		"POST /connections/{id}/sign": h.sign,
	}
	return h.function("token-get", func(ctx context.Context, c *call, payload []byte) (any, error) {
		if payload = trimPayload(payload); isHTTP(payload) {
			return h.respond(ctx, c, payload, false, routes), nil
		}
		c.caller = invokedARN(ctx)
		return h.tokenDirect(h.confineInvocation(ctx), c, payload)
	})
}

// trimPayload removes the blanks around a payload that is not too large to be read.
func trimPayload(payload []byte) []byte {
	if len(payload) > maxBody {
		return payload
	}
	return trimJSON(payload)
}

func (h *Handler) tokenDirect(ctx context.Context, c *call, payload []byte) (any, error) {
	if len(payload) > maxBody {
		return nil, connector.Invalid("event", "larger than 64 KiB")
	}
	o, err := readObject("event", payload)
	if err != nil {
		return nil, err
	}
	asked := connector.TokenRequest{
		ConnectionID: connector.ID(o.selector("connection_id")),
		Owner:        o.lineSelector("owner"),
		Platform:     connector.Name(o.selector("platform")),
		AccountID:    o.selector("account_id"),
		MinTTL:       seconds(o.number("min_ttl_seconds", 0, maxMinTTLSeconds, minTTLSeconds)),
		Scopes:       o.list("scopes"),
		ForceRefresh: o.flag("force_refresh", false),
		Full:         o.flag("full", false),
	}
	if err := o.end(); err != nil {
		return nil, err
	}
	return h.token(ctx, c, asked)
}

func (h *Handler) tokenOverHTTP(ctx context.Context, c *call, r *request) (answer, error) {
	p := r.parametersOfQuery()
	asked := connector.TokenRequest{
		ConnectionID: r.connectionID(),
		MinTTL:       seconds(p.number("min_ttl_seconds", 0, maxMinTTLSeconds, minTTLSeconds)),
		Scopes:       p.list("scopes"),
		ForceRefresh: p.flag("force_refresh"),
		Full:         p.flag("full"),
	}
	if err := p.end(); err != nil {
		return answer{}, err
	}
	view, err := h.token(ctx, c, asked)
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, view)
}

func (h *Handler) token(ctx context.Context, c *call, asked connector.TokenRequest) (any, error) {
	c.setConnection(asked.ConnectionID)
	token, err := h.service.Token(ctx, asked)
	if err != nil {
		return nil, err
	}
	c.setConnection(token.Connection.ID)
	return viewToken(token), nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
