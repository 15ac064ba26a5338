package connector

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The checks of what callers and browsers send. Each error names the field.

const (
	maxOwner       = 128
	maxAccountID   = 256
	maxAccountName = 256
	maxField       = 4096 // of imported credentials
	// maxAppField is of each field of an app. All of them, and the previous secret,
	// fit into one secret of 64 KiB, whatever their characters
	// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html,
	// read 2026-11-25).
	maxAppField = 1024
	// maxAuthorizeURL is of the URL to which a browser goes for a consent, in bytes.
	// It is a header beside the cookies of the answer, and a platform may repeat the
	// scopes in the URL that leads back. API Gateway takes 10,240 bytes of request
	// line and headers
	// (https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html,
	// read 2026-11-25).
	maxAuthorizeURL = 4096
	maxScopes       = 50
	maxScope        = 256
	maxReturnURL    = 2048
	maxNotice       = 16 << 10 // bytes of a notice
)

// checkOwner accepts 1 to 128 characters, and none that could forge a log line
// or a page.
func checkOwner(owner string) error {
	return checkText("owner", owner, maxOwner)
}

// checkText accepts one line of at most longest characters.
func checkText(field, text string, longest int) error {
	return checkClean(field, text, longest, Line)
}

// checkClean accepts text that clean returns as it is. clean is Line or AccountName.
func checkClean(field, text string, longest int, clean func(string) (string, string)) error {
	switch {
	case text == "":
		return Invalid(field, "missing")
	case !utf8.ValidString(text):
		return Invalid(field, "not valid UTF-8")
	case utf8.RuneCountInString(text) > longest:
		return Invalid(field, fmt.Sprintf("longer than %d characters", longest))
	}
	cleaned, problem := clean(text)
	if problem == "" && cleaned != text {
		problem = "begins or ends with a blank"
	}
	if problem != "" {
		return Invalid(field, problem)
	}
	return nil
}

func checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return Invalid("scopes", fmt.Sprintf("more than %d", maxScopes))
	}
	for _, scope := range scopes {
		if err := checkText("scopes", scope, maxScope); err != nil {
			return err
		}
		if strings.ContainsFunc(scope, func(r rune) bool { return r == ',' || r > unicode.MaxASCII || unicode.IsSpace(r) }) {
			return Invalid("scopes", "each is one word, without spaces or commas")
		}
	}
	return nil
}

// checkReturnURL accepts URLs of an allowed origin, and only those that every
// browser reads as Go does: printable ASCII, no backslash, no user info.
func (s *Service) checkReturnURL(raw string) error {
	if raw == "" {
		return nil
	}
	if len(raw) > maxReturnURL {
		return Invalid("return_url", fmt.Sprintf("longer than %d characters", maxReturnURL))
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return Invalid("return_url", "has a character that is not allowed in a URL")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || !plainURL(u):
		return Invalid("return_url", "not an absolute URL without user and fragment")
	case u.Scheme != "https" && u.Scheme != "http":
		return Invalid("return_url", "neither https nor http")
	case slices.ContainsFunc([]string{u.Path, u.RawQuery}, hasControl):
		return Invalid("return_url", "has an encoded control character")
	case !slices.Contains(s.ReturnOrigins, u.Scheme+"://"+strings.ToLower(u.Host)):
		return Invalid("return_url", "its origin is not one of RETURN_ORIGINS")
	}
	return nil
}

func plainURL(u *url.URL) bool {
	return u.Host != "" && u.User == nil && u.Opaque == "" && u.Fragment == ""
}

// hasControl reports whether s, decoded once more, holds a control character.
// It is harmless here, but not in a product that writes parts of its own URL
// into headers or logs.
func hasControl(s string) bool {
	if decoded, err := url.QueryUnescape(s); err == nil {
		s = decoded
	}
	return strings.ContainsFunc(s, unicode.IsControl)
}
