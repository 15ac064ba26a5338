package connector

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Service is the connector. Its fields are set once, before the first call;
// its methods may be called from any goroutine. What they return as an error is
// an *Error or wraps one: see AsError.
type Service struct {
	Platforms []Platform // in the order in which people see them
	Store     Store
	Apps      AppStore
	Queue     Queue
	Events    Events

	CredentialStore CredentialStore

	// SuspensionCache spares reads of the suspensions. Without one each check
	// reads them.
	SuspensionCache *SuspensionCache

	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
	// Sleep waits, or returns ctx's error. It is Sleep outside tests.
	Sleep func(ctx context.Context, d time.Duration) error

	// PublicURL is the base of links and redirect URIs, without a slash at
	// the end.
	PublicURL string
	// ReturnOrigins are the origins that a return URL may have.
	ReturnOrigins []string
	// LinkScopes are the scopes that links may ask for, unless LimitScopes says
	// other ones of the caller. A platform without a list has its own scopes.
	LinkScopes ScopeLists
	// CallerScopes are what LimitScopes says of some caller. A link can be opened
	// as long as its scopes are among these or LinkScopes.
	CallerScopes []ScopeLists
	// Decoy is the id of a connection that no honest caller uses; empty: there is
	// none.
	Decoy ID
	// OnIncident is called for each Incident; nil: they are only logged.
	OnIncident func(Incident)
	// Budgets are limits that replace the defaults of Budgets.
	Budgets map[BudgetName]int
	// AllowFull lets Token hand out refresh tokens and client secrets.
	AllowFull bool
	// WithholdAppKeys keeps the keys of the apps from every caller. They are only
	// used: to refresh, to verify and to sign.
	WithholdAppKeys bool

	// busPausedUntil is until when nothing is sent at once, in nanoseconds of Unix
	// time. It is read and written atomically.
	busPausedUntil int64
}

// platform returns the platform of that name.
func (s *Service) platform(name Name) (Platform, error) {
	for _, p := range s.Platforms {
		if p.Describe().Name == name {
			return p, nil
		}
	}
	return nil, Invalid("platform", "not one of "+s.platformNames())
}

func (s *Service) platformNames() string {
	var names string
	for i, p := range s.Platforms {
		if i > 0 {
			names += ", "
		}
		names += string(p.Describe().Name)
	}
	return names
}

// RedirectURI returns where a platform sends the browser back to. It depends
// on the configuration alone, never on a request.
func (s *Service) RedirectURI(name Name) string {
	return s.PublicURL + "/oauth/" + string(name) + "/callback"
}

// secure reports whether browsers reach us over TLS.
func (s *Service) secure() bool { return strings.HasPrefix(s.PublicURL, "https://") }

// Sleep waits for d or until ctx is done.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// internal wraps the error of a port. Callers are told only that the connector
// failed.
func internal(doing string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Code: Internal, Message: "something failed inside the connector", Err: fmt.Errorf("%s: %w", doing, err)}
}

// jitter returns a random duration in [0, longest).
func (s *Service) jitter(longest time.Duration) time.Duration {
	if longest <= 0 {
		return 0
	}
	var b [8]byte
	if _, err := io.ReadFull(s.Random, b[:]); err != nil {
		return longest / 2
	}
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(longest)) // #nosec G115 -- less than longest
}

// newName names a consent or the holder of a lease.
func (s *Service) newName() (string, error) {
	name, err := randomToken(s.Random)
	if err != nil {
		return "", internal("making a name", err)
	}
	return name.Reveal()[:16], nil
}
