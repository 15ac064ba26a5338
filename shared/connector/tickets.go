package connector

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// newTicket returns a ticket whose body is the JSON of body.
func newTicket(kind Kind, id string, expiresAt time.Time, body any) (Ticket, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return Ticket{}, internal("encoding a "+string(kind), err)
	}
	return Ticket{RecordKey: RecordKey{Kind: kind, ID: id}, Body: b, ExpiresAt: expiresAt.UTC()}, nil
}

func (s *Service) putTicket(ctx context.Context, t Ticket) error {
	if _, err := s.Store.Commit(ctx, Change{Put: []Ticket{t}}); err != nil {
		return internal("storing a "+string(t.Kind), err)
	}
	return nil
}

func (s *Service) dropTicket(ctx context.Context, key RecordKey) error {
	if _, err := s.Store.Commit(ctx, Change{Drop: []RecordKey{key}}); err != nil {
		return internal("deleting a "+string(key.Kind), err)
	}
	return nil
}

// ticketBody reads the body of a ticket. It returns ErrNotFound where there is
// none, or where it expired.
func ticketBody[T any](ctx context.Context, s *Service, key RecordKey) (T, error) {
	var body T
	ticket, err := s.Store.Ticket(ctx, key, s.Now())
	if errors.Is(err, ErrNotFound) {
		return body, ErrNotFound
	}
	if err != nil {
		return body, internal("reading a "+string(key.Kind), err)
	}
	err = decodeBody(ticket, &body)
	return body, err
}

func decodeBody(t Ticket, body any) error {
	if err := json.Unmarshal(t.Body, body); err != nil {
		return internal("decoding a "+string(t.Kind), err)
	}
	return nil
}
