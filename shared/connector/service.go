package connector

import (
	"io"
	"log/slog"
	"time"
)

// Service is the connector. Its fields are set once, before the first call;
// its methods may be called from any goroutine. Every method returns *Error.
type Service struct {
	Platforms []Platform // in the order in which people see them
	Store     Store
	Vault     Vault
	Queue     Queue
	Events    Events

	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger

	// PublicURL is the base of links and redirect URIs, without a slash at
	// the end.
	PublicURL string
	// ReturnOrigins are the origins that a return URL may have.
	ReturnOrigins []string
	// AllowFull lets Token hand out refresh tokens and client secrets.
	AllowFull bool
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
