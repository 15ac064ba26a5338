package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// ErrDecoyUsed is among the causes of a refusal of the decoy connection. It goes to
// logs only: the refusal is that of an ordinary connection.
var ErrDecoyUsed = errors.New("a caller asked for the token of the decoy connection")

// refuseDecoy returns err unless r names, or selected as c, the decoy. It reports
// each request for the decoy, also one that fails for another reason: a thief's
// first request may be malformed, or name an owner of its own.
func (s *Service) refuseDecoy(ctx context.Context, r TokenRequest, c Connection, err error) error {
	if s.Decoy == "" || r.ConnectionID != s.Decoy && c.ID != s.Decoy {
		return err
	}
	s.reportIncident(ctx, DecoyUsed, "connection", string(s.Decoy))
	if err == nil {
		err = errReauth(c.reauthReason())
	}
	refused := *AsError(err)
	refused.Err = errors.Join(fmt.Errorf("%w: %s", ErrDecoyUsed, s.Decoy), refused.Err)
	return &refused
}

// reauthReason returns the reason that the record of c gives for a dead grant.
// Where the grant lives, it is that of a platform that refuses it now.
func (c Connection) reauthReason() string {
	if c.Status == NeedsReauth {
		return cmp.Or(c.StatusReason, reasonGrantRefused)
	}
	return reasonGrantRefused
}
