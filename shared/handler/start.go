package handler

import (
	"context"
	"net/http"
	"time"

	"platform-api-connector/shared/connector"
)

// OAuthStart is the function behind GET /connect/{link}: it sends the browser
// to the platform, with a cookie that binds the authorization to it.
func (h *Handler) OAuthStart() Function {
	return h.serve("oauth-start", true, routes{
		"GET /connect/{link}":  h.start,
		"HEAD /connect/{link}": h.start,
	})
}

func (h *Handler) start(ctx context.Context, _ *call, r *request) (answer, error) {
	if r.preview() {
		return passOver(r), nil
	}
	started, err := h.service.Start(ctx, connector.NewSecret(r.parameters["link"]))
	if err != nil {
		return answer{}, err
	}
	a := redirect(started.URL.Reveal())
	a.cookies = []string{setCookie(started.CookieName, started.CookieValue.Reveal(), started.CookieMaxAge, started.Secure)}
	return a, nil
}

// setCookie writes a cookie that comes back on the top-level redirect from the
// platform, and on nothing that another site embeds. A life of zero clears it.
func setCookie(name, value string, life time.Duration, secure bool) string {
	cookie := http.Cookie{ // #nosec G124 -- not Secure over plain HTTP on loopback alone
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   int(life.Seconds()),
		HttpOnly: true,
		Secure:   secure,
		SameSite: http.SameSiteLaxMode,
	}
	if life <= 0 {
		cookie.MaxAge = -1 // written as Max-Age=0
	}
	return cookie.String()
}
