package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Connection returns one connection, also one that was disconnected in the
// last days; ConnectionNotFound otherwise.
func (s *Service) Connection(ctx context.Context, id ID) (Connection, error) {
	if !id.Valid() {
		return Connection{}, errConnectionNotFound()
	}
	c, err := s.Store.Connection(ctx, id)
	if err != nil {
		return Connection{}, notFound(err)
	}
	if !mayActFor(ctx, c.Owner) {
		return Connection{}, errConnectionNotFound()
	}
	return c, nil
}

func notFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return errConnectionNotFound()
	}
	return internal("reading a connection", err)
}

// Connections lists up to limit connections, 1 to 100, after cursor. next is
// empty on the last page.
func (s *Service) Connections(ctx context.Context, f Filter, cursor string, limit int) (page []Connection, next string, err error) {
	if limit < 1 || limit > maxPage {
		return nil, "", Invalid("limit", fmt.Sprintf("not between 1 and %d", maxPage))
	}
	if f.Owner != "" {
		if err := checkOwner(f.Owner); err != nil {
			return nil, "", err
		}
	}
	if f.Platform != "" {
		if _, err := s.platform(f.Platform); err != nil {
			return nil, "", err
		}
	}
	if f.Status != "" && !slices.Contains(Statuses(), f.Status) {
		return nil, "", Invalid("status", "none of active, needs_reauth, manual, disconnected")
	}
	f.Within = ownersIn(ctx)
	if f.Within.none() {
		return nil, "", nil
	}
	if f.Owner == "" {
		f.Owner = f.Within.only()
	}
	page, next, err = s.Store.Connections(ctx, f, cursor, limit)
	if err != nil {
		return nil, "", internal("listing connections", err)
	}
	return page, next, nil
}
