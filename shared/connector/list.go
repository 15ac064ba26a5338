package connector

import (
	"context"
	"encoding/base64"
	"encoding/json"
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
// empty on the last page. Its time depends on the connections of owners for whom
// the caller may act, and on no others: of those it reads nothing.
func (s *Service) Connections(ctx context.Context, f Filter, cursor string, limit int) (page []Connection, next string, err error) {
	if err := s.checkListing(f, limit); err != nil {
		return nil, "", err
	}
	f.Within = ownersIn(ctx)
	if f.Owner == "" {
		f.Owner = f.Within.only()
	}
	switch {
	case f.Within.none(), !f.Within.Has(f.Owner) && f.Owner != "":
		if cursor != "" {
			return nil, "", errCursor() // no such listing has a second page
		}
		return nil, "", nil
	case f.Within.confined && f.Owner == "":
		return s.connectionsOfOwners(ctx, f, cursor, limit)
	}
	page, next, err = s.Store.Connections(ctx, f, cursor, limit)
	if err != nil {
		return nil, "", internal("listing connections", err)
	}
	return page, next, nil
}

func (s *Service) checkListing(f Filter, limit int) error {
	if limit < 1 || limit > maxPage {
		return Invalid("limit", fmt.Sprintf("not between 1 and %d", maxPage))
	}
	if f.Owner != "" {
		if err := checkOwner(f.Owner); err != nil {
			return err
		}
	}
	if f.Platform != "" {
		if _, err := s.platform(f.Platform); err != nil {
			return err
		}
	}
	if f.Status != "" && !slices.Contains(Statuses(), f.Status) {
		return Invalid("status", "none of active, needs_reauth, manual, disconnected")
	}
	return nil
}

func errCursor() error { return Invalid("cursor", "not one that this listing returned") }

// ownersCursor is where a listing of several owners continues.
type ownersCursor struct {
	Owner string `json:"owner"` // a hash, since a name may be long
	After string `json:"after,omitempty"`
}

// connectionsOfOwners lists the connections of each owner of f.Within in turn. The
// listing of all owners would read the connections of the others, too.
func (s *Service) connectionsOfOwners(ctx context.Context, f Filter, cursor string, limit int) (page []Connection, next string, err error) {
	owners, after, err := f.Within.after(cursor)
	if err != nil {
		return nil, "", err
	}
	for _, owner := range owners {
		f.Owner = owner
		// A page that is full has a next one only if something follows.
		more, rest, err := s.Store.Connections(ctx, f, after, max(1, limit-len(page)))
		if err != nil {
			return nil, "", internal("listing connections", err)
		}
		if len(page) == limit && len(more) > 0 {
			return page, writeCursor(ownersCursor{Owner: ownerHash(owner)}), nil
		}
		page = append(page, more...)
		if rest != "" {
			return page, writeCursor(ownersCursor{ownerHash(owner), rest}), nil
		}
		after = ""
	}
	return page, "", nil
}

// after returns the owners of o that a listing has still to list from cursor on,
// in the order of their names, and where the first of them continues.
func (o Owners) after(cursor string) (owners []string, after string, err error) {
	owners = slices.Compact(slices.Sorted(slices.Values(o.names)))
	if cursor == "" {
		return owners, "", nil
	}
	var at ownersCursor
	if !readCursor(cursor, &at) {
		return nil, "", errCursor()
	}
	i := slices.IndexFunc(owners, func(owner string) bool { return ownerHash(owner) == at.Owner })
	if i < 0 {
		return nil, "", errCursor()
	}
	return owners[i:], at.After, nil
}

// writeCursor returns a position in a listing as callers get it.
func writeCursor(position any) string {
	b, err := json.Marshal(position)
	if err != nil {
		panic(err) // strings and numbers can be encoded
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// readCursor reads into position what writeCursor returned. It reports whether cursor
// has that form.
func readCursor(cursor string, position any) bool {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	return err == nil && json.Unmarshal(b, position) == nil
}
