package platform

import "platform-api-connector/shared/connector"

// AuthorizationError implements connector.Platform with the words of RFC 6749
// (4.1.2.1), and with invalid_client, which several platforms add. A platform
// with words or parameters of its own has a method of its own, which looks for those
// first.
func (w wire) AuthorizationError(r connector.Refusal) *connector.Error {
	switch r["error"] {
	case "":
		return nil
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_client":
		return w.authorizationRefused()
	case "server_error", "temporarily_unavailable":
		return &connector.Error{Code: connector.PlatformUnavailable, Message: w.title + " failed: try again"}
	}
	return w.consentDenied()
}

// consentDenied returns the error for a person who denied the consent.
func (w wire) consentDenied() *connector.Error {
	return &connector.Error{Code: connector.AccessDenied, Message: "the person did not give consent on " + w.title}
}

// authorizationRefused returns the error for a redirect that says that the
// platform refuses the app.
func (w wire) authorizationRefused() *connector.Error {
	return w.appRefused("check its client id, redirect URI and scopes", nil)
}

// codeRejected returns the error for a code that has expired, was used, or
// belongs to another app. The person has to start again.
func (w wire) codeRejected(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.StateInvalid,
		Message: "the code from " + w.title + " expired or was used; start again",
		Reason:  "code_refused",
		Err:     cause,
	}
}

// grantDead returns the error for a grant that has ended. Only the person can
// grant it again. reason is a word, or empty where the platform does not say.
func (w wire) grantDead(reason string, cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.ReauthorizationRequired,
		Message: w.title + " no longer accepts the authorization; the person has to connect again",
		Reason:  reason,
		Err:     cause,
	}
}

// appRefused returns the error for an app that the platform refuses. The
// operator has to correct it.
func (w wire) appRefused(advice string, cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.AppMisconfigured,
		Message: w.title + " refuses the app: " + advice,
		Err:     cause,
	}
}

// clientRefused returns the error for a client id or secret that the platform
// refuses. The platform has processed nothing.
func (w wire) clientRefused(advice string, cause error) *connector.Error {
	e := w.appRefused(advice, cause)
	e.ClientRefused = true
	return e
}

// scopeMissing returns the error for a grant without those scopes.
func (w wire) scopeMissing(scopes []string, cause error) *connector.Error {
	e := &connector.Error{Code: connector.ScopeMissing, MissingScopes: scopes, Err: cause}
	e.Message = w.title + " did not grant what this needs; connect again and allow everything"
	return e
}

// noApp returns the error for a platform without a stored app.
func (w wire) noApp() *connector.Error {
	return &connector.Error{
		Code:    connector.AppNotConfigured,
		Message: "no app is configured for " + w.title + ": store its id and secret",
	}
}

// notSigned returns the error for a notice without a valid signature.
func (w wire) notSigned(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.StateInvalid,
		Message: "the notice is not signed by " + w.title + " for this app",
		Err:     cause,
	}
}

// actionRequired returns the error for a condition of the account that only its person
// can correct, at the platform. Another consent does not help. A retry succeeds once the
// person has acted.
func (w wire) actionRequired(reason, message string, cause error) *connector.Error {
	return &connector.Error{Code: connector.PlatformUnavailable, Reason: reason, Message: message, Err: cause}
}
