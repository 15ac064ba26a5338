package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"platform-api-connector/shared/connector"
)

// info describes a code to its recipients.
type info struct {
	status int
	title  string
	advice string // what the calling program or its author should do
	person string // what the person in the browser should do
}

// codeInfo is the only place that maps a code to an HTTP status.
var codeInfo = map[connector.Code]info{
	connector.InvalidRequest: {http.StatusBadRequest, "The request is malformed",
		"Fix the field that the detail names.",
		"The address of this page is incomplete or wrong. Go back to the previous page and start again."},
	connector.StateInvalid: {http.StatusBadRequest, "The authorization cannot be continued",
		"Start the authorization again.",
		"If a page said before that your account is connected, you can close this window. Otherwise open the connect link again, and use the same browser until the end."},
	connector.AccessDenied: {http.StatusForbidden, "Access was declined",
		"Ask the person to give access again.",
		"Open the connect link again if you want to give access."},
	connector.ScopeMissing: {http.StatusForbidden, "Permissions are missing",
		"Send the person a connect link, and ask them to leave every permission selected.", "Open the connect link again and leave every permission selected."},
	connector.AccountMismatch: {http.StatusConflict, "Another account was chosen",
		"Ask the person to choose the account of the connection.", "Open the connect link again and choose the account that was connected before."},
	connector.ConnectionNotFound: {http.StatusNotFound, "No such connection",
		"Check the id.", "Ask for a new connect link."},
	connector.AmbiguousConnection: {http.StatusConflict, "Several connections match",
		"Repeat the request with one of connection_ids.", "Ask for a new connect link."},
	connector.ReauthorizationRequired: {http.StatusConflict, "The authorization has ended",
		"Send the person a connect link with connection_id.", "Ask for a new connect link."},
	connector.ManualMode: {http.StatusConflict, "Posts are made by hand",
		"Prepare the post, and let a person publish it until the platform has approved the app.",
		"The platform has not approved this app yet, so no account can be connected. Until then, publish posts by hand."},
	connector.AppNotConfigured: {http.StatusConflict, "The app is not set up",
		"Store the app with PUT /platforms/{platform}/app.", "Tell the sender of the link that the app is not set up yet."},
	connector.AppMisconfigured: {http.StatusBadGateway, "The platform refuses the app",
		"Check the app's client id, secret and redirect URI on the platform's developer portal.", "Tell the sender of the link that the platform refuses the app."},
	connector.LinkGone: {http.StatusGone, "This link does not work any more",
		"Mint a new link.",
		"A link connects an account once and expires. If your account is connected already, you can close this window. Otherwise ask for a new link."},
	connector.QuotaExhausted: {http.StatusTooManyRequests, "The posts of this period are used up",
		"Wait until resets_at, or buy more from the platform.", "Wait a few hours and open the connect link again."},
	connector.RateLimited: {http.StatusTooManyRequests, "Too many requests",
		"Wait for retry_after seconds.", "Wait a few minutes and open the connect link again."},
	connector.PlatformUnavailable: {http.StatusServiceUnavailable, "The platform does not answer",
		"Try again later; the connections are unchanged.", "Your account is unchanged. Wait a few minutes and open the connect link again."},
	connector.Suspended: {http.StatusForbidden, "The operator suspended this",
		"Ask the operator of the connector.", "Ask the sender of the link."},
	connector.Internal: {http.StatusInternalServerError, "Something failed",
		"Report the instance to the operator of the connector.", "Reload this page in a moment. If it fails again, send the reference below to the sender of the link."},
}

// statusError is an InvalidRequest with a more specific status than 400: an
// unknown route, a wrong method, or a notice without a valid signature.
type statusError struct {
	status int
	header map[string]string
	err    *connector.Error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// problemBody is a problem document of RFC 9457 with extensions. Instance is
// the request_id of its log line.
type problemBody struct {
	Type          string         `json:"type"`
	Title         string         `json:"title"`
	Status        int            `json:"status"`
	Detail        string         `json:"detail"`
	Code          connector.Code `json:"code"`
	Instance      string         `json:"instance"`
	Advice        string         `json:"advice"`
	Reason        string         `json:"reason,omitempty"`
	MissingScopes []string       `json:"missing_scopes,omitempty"`
	ConnectionIDs []connector.ID `json:"connection_ids,omitempty"`
	RetryAfter    int            `json:"retry_after,omitempty"` // seconds
	ResetsAt      time.Time      `json:"resets_at,omitzero"`
}

// problem renders err as an HTTP answer: as a page for a person or as JSON for
// a program.
func (h *Handler) problem(err error, requestID string, page bool) answer {
	body := describe(err, requestID)
	a := answer{status: body.Status, header: map[string]string{}}
	var special *statusError
	if errors.As(err, &special) {
		a.status, body.Status = special.status, special.status
		// The problem adds nothing to its status (RFC 9457, 4.2.1).
		body.Type, body.Title = "about:blank", http.StatusText(special.status)
		maps.Copy(a.header, special.header)
	}
	if body.RetryAfter > 0 {
		a.header["retry-after"] = strconv.Itoa(body.RetryAfter)
	}
	if page {
		rendered, failed := failurePage(body)
		if failed == nil {
			a.header["content-type"] = "text/html; charset=utf-8"
			a.body, a.style = rendered, styleHash()
			return a
		}
	}
	a.header["content-type"] = "application/problem+json"
	encoded, failed := json.Marshal(body)
	if failed != nil {
		return a
	}
	a.body = string(encoded)
	return a
}

// describe returns the public part of an error. An Internal error shows only
// the id of its log line.
func describe(err error, requestID string) problemBody {
	e := connector.AsError(err)
	m, known := codeInfo[e.Code]
	if !known {
		e, m = &connector.Error{Code: connector.Internal}, codeInfo[connector.Internal]
	}
	body := problemBody{
		Type:     "urn:platform-connector:problem:" + string(e.Code),
		Title:    m.title,
		Status:   m.status,
		Detail:   e.Message,
		Code:     e.Code,
		Instance: requestID,
		Advice:   m.advice,
	}
	if e.Code == connector.Internal {
		body.Detail = "the connector failed; its log contains the cause, with the request_id " + requestID
		return body
	}
	body.Reason = e.Reason
	body.MissingScopes = e.MissingScopes
	body.ConnectionIDs = e.ConnectionIDs
	body.RetryAfter = int(math.Ceil(e.RetryAfter.Seconds()))
	body.ResetsAt = instant(e.ResetsAt)
	return body
}

// invokeError renders err for a direct invocation. The errorType is the code.
// The errorMessage contains the details that are fields of a problem document.
// The Lambda runtime recognizes only the unwrapped type, so callers must not
// wrap the result.
func invokeError(err error, requestID string) error {
	body := describe(err, requestID)
	message := body.Detail
	add := func(name, value string) {
		message += fmt.Sprintf(" [%s: %s]", name, value)
	}
	if len(body.MissingScopes) > 0 {
		add("missing_scopes", strings.Join(body.MissingScopes, ", "))
	}
	if len(body.ConnectionIDs) > 0 {
		ids := make([]string, len(body.ConnectionIDs))
		for i, id := range body.ConnectionIDs {
			ids[i] = string(id)
		}
		add("connection_ids", strings.Join(ids, ", "))
	}
	if body.RetryAfter > 0 {
		add("retry_after", strconv.Itoa(body.RetryAfter))
	}
	if !body.ResetsAt.IsZero() {
		add("resets_at", body.ResetsAt.Format(time.RFC3339))
	}
	return messages.InvokeResponse_Error{Type: string(body.Code), Message: message}
}
