package connector

import "context"

// Incident is something that honest people, callers and platforms do not cause.
// Whoever operates the deployment should look at each.
type Incident string

// The incidents.
const (
	// ForeignCookie is a state that a browser showed with a cookie of its own
	// making, or whose record was changed.
	ForeignCookie Incident = "ForeignCookie"
	// DecoyUsed is a request for the token of the decoy connection.
	DecoyUsed Incident = "DecoyUsed"
)

// reportIncident reports an incident to the log and to the deployment's alarm.
func (s *Service) reportIncident(ctx context.Context, i Incident, attributes ...any) {
	s.Log.WarnContext(ctx, "incident", append([]any{"incident", string(i)}, attributes...)...)
	if s.OnIncident != nil {
		s.OnIncident(i)
	}
}
