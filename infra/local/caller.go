package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// caller calls the routes of the HTTP API without HTTP, in the place of the
// operator's product.
type caller struct {
	gateway *gateway
	base    string // the URL of -addr
}

// call sends one request and decodes its answer into out, which may be nil. It
// returns a *refusedError for an answer with an error status.
func (c caller) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding a request: %w", err)
		}
		body = b
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("creating a request: %w", err)
	}
	r.RemoteAddr = "127.0.0.1:0"
	r.Header.Set("Accept", "application/json")
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	m, found := c.gateway.find(method, r.URL.Path)
	if !found {
		return &refusedError{key: method, status: http.StatusNotFound}
	}
	answer := c.gateway.answer(r, m)
	if answer.status >= 300 {
		refused := &refusedError{key: m.route.Key(), status: answer.status}
		_ = json.Unmarshal(answer.body, refused)
		return refused
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.body, out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", m.route.Key(), err)
	}
	return nil
}

// refusedError is an answer with an error status.
type refusedError struct {
	key    string
	status int
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("%s answered %d %s %s", e.key, e.status, e.Code, e.Detail)
}
