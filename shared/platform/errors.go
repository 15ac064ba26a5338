package platform

import "platform-api-connector/shared/connector"

// AuthorizationError implements connector.Platform with the words of RFC 6749
// (4.1.2.1), and with invalid_client, which several platforms add. A platform
// with words of its own has a method of its own, which looks for those first.
func (w wire) AuthorizationError(code string) *connector.Error {
	switch code {
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_client":
		return w.authorizationRefused()
	case "server_error", "temporarily_unavailable":
		return &connector.Error{Code: connector.PlatformUnavailable, Message: w.title + " failed: try again"}
	}
	return &connector.Error{Code: connector.AccessDenied, Message: "the consent was not given on " + w.title}
}

// authorizationRefused returns the error for a redirect that says that the
// platform refuses the app.
func (w wire) authorizationRefused() *connector.Error {
	return w.appRefused("check its client id, redirect URI and scopes", nil)
}

// codeRefused is for a code that is dead, used, or not ours: the person starts
// again.
func (w wire) codeRefused(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.StateInvalid,
		Message: "the code from " + w.title + " expired or was used; start again",
		Reason:  "code_refused",
		Err:     cause,
	}
}

// grantDead is for a grant that only the person can give anew. reason says why in
// a word, and is empty where the platform did not say.
func (w wire) grantDead(reason string, cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.ReauthorizationRequired,
		Message: w.title + " no longer accepts the authorization; the person has to connect again",
		Reason:  reason,
		Err:     cause,
	}
}

// appRefused is for a platform that refused the app, which its operator has to
// mend.
func (w wire) appRefused(advice string, cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.AppMisconfigured,
		Message: w.title + " refuses the app: " + advice,
		Err:     cause,
	}
}

// clientRefused is for a platform that refused the client's own id or secret,
// and has done nothing.
func (w wire) clientRefused(advice string, cause error) *connector.Error {
	e := w.appRefused(advice, cause)
	e.ClientRefused = true
	return e
}

// scopeMissing is for a grant without those scopes.
func (w wire) scopeMissing(scopes []string, cause error) *connector.Error {
	e := &connector.Error{Code: connector.ScopeMissing, MissingScopes: scopes, Err: cause}
	e.Message = w.title + " did not grant what this needs; connect again and allow everything"
	return e
}

// noApp is for a platform whose app nobody has stored.
func (w wire) noApp() *connector.Error {
	return &connector.Error{
		Code:    connector.AppNotConfigured,
		Message: "no app is configured for " + w.title + ": store its id and secret",
	}
}

// notSigned is for a notice that does not come from the platform.
func (w wire) notSigned(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.StateInvalid,
		Message: "the notice is not signed by " + w.title + " for this app",
		Err:     cause,
	}
}
