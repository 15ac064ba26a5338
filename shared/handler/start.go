package handler

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

// OAuthStart returns the function of GET /connect/{link}. It redirects the
// browser to the platform and sets a cookie that binds the authorization to
// that browser.
func (h *Handler) OAuthStart() Function {
	return h.serve("oauth-start", true, routes{
		"GET /connect/{link}":  h.start,
		"HEAD /connect/{link}": h.start,
	})
}

func (h *Handler) start(ctx context.Context, _ *call, r *request) (answer, error) {
	if r.isPreview() {
		return answerPreview(r), nil
	}
	started, err := h.service.Start(ctx, connector.NewSecret(r.parameters["link"]))
	if err != nil {
		return answer{}, err
	}
	a := redirect(started.URL.Reveal())
	a.cookies = []string{setCookie(started.CookieName, started.CookieValue.Reveal(), started.CookieMaxAge, started.Secure)}
	for _, name := range r.excessCookies(started.Secure) {
		a.cookies = append(a.cookies, setCookie(name, "", 0, started.Secure))
	}
	return a, nil
}

const (
	// maxStarts is how many authorizations one browser can have under way. Each has
	// a cookie of about 80 bytes, and a browser sends all of them with each request.
	// API Gateway takes 10,240 bytes of request line and headers
	// (https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html,
	// read 2026-11-25).
	maxStarts = 8
	// maxExpired is how many cookies one answer deletes.
	maxExpired = 32
)

// excessCookies returns the names of the cookies that an answer deletes so that
// the browser has, with the new one, the cookies of maxStarts authorizations. A
// browser sends cookies of one path in the order in which they were created (RFC
// 6265, 5.4), so that the first are the oldest.
func (r *request) excessCookies(secure bool) []string {
	var names []string
	for _, pair := range r.cookies {
		name, _, _ := strings.Cut(pair, "=")
		if connector.IsBrowserCookie(name, secure) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names[:min(max(0, len(names)-(maxStarts-1)), maxExpired)]
}

// setCookie formats a cookie. The browser sends it on the top-level redirect
// from the platform, but not on requests that another site embeds. A lifetime
// of zero deletes the cookie.
func setCookie(name, value string, lifetime time.Duration, secure bool) string {
	cookie := http.Cookie{ // #nosec G124 -- only plain HTTP on loopback is without Secure
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   int(lifetime.Seconds()),
		HttpOnly: true,
		Secure:   secure,
		SameSite: http.SameSiteLaxMode,
	}
	if lifetime <= 0 {
		cookie.MaxAge = -1 // written as Max-Age=0
	}
	return cookie.String()
}
