package handler

import (
	"context"
	"net/http"
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
	return a, nil
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
