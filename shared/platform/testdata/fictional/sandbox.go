package sandbox

import (
	"slices"
	"strings"
	"time"
)

// Fictional is the name of the platform.
const Fictional = "fictional"

var fictionalScopes = []string{"profile", "publish"}

type fictional struct{ *platform }

func newFictional(s *Sandbox) dialect {
	return &fictional{newPlatform(s, Fictional, "Fictional", &struct{}{},
		App{ClientID: "sandbox-fictional-client", ClientSecret: "sandbox-fictional-secret"},
		&Person{ID: "fictional-one", Name: "Fictional One"},
		&Person{ID: "fictional-two", Name: "Fictional Two"},
	)}
}

func (f *fictional) routes() []route {
	return []route{
		{endpoint: "authorize", method: "GET", host: "login.fictional.example", path: "/authorize", handle: showConsent(f)},
		{endpoint: "consent", method: "POST", host: "login.fictional.example", path: "/authorize", handle: acceptConsent(f)},
		{endpoint: "token", method: "POST", host: "api.fictional.example", path: "/token", handle: f.token},
		{endpoint: "revoke", method: "POST", host: "api.fictional.example", path: "/revoke", handle: f.revoke},
		{endpoint: "me", method: "GET", host: "api.fictional.example", path: "/me", handle: f.me},
	}
}

func (f *fictional) checkAuthorize(c *call) (consentRequest, *reply) {
	q := c.query
	scopes := strings.Fields(q.Get("scope"))
	if q.Get("client_id") != f.app.ClientID || !slices.Contains(f.app.RedirectURIs, q.Get("redirect_uri")) ||
		q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || !containsAll(fictionalScopes, scopes) {
		page := errorPage(400, errorText{f.title, "Invalid request", "A parameter is missing or unknown."})
		return consentRequest{}, &page
	}
	return consentRequest{
		scopes: scopes, fixed: []string{"profile"}, redirectURI: q.Get("redirect_uri"), state: q.Get("state"), query: q,
	}, nil
}

func (f *fictional) redirect(q consentRequest, p *Person, choice Choice) string {
	if choice.Deny {
		return redirectTo(q.redirectURI, "error", "access_denied", "state", q.state)
	}
	now := f.sandbox.now()
	value := f.newCode(f.sandbox.newSecret("fictional-code-"), code{
		grant: f.newGrant(p, q.granted(choice), now), redirectURI: q.redirectURI,
		challenge: q.query.Get("code_challenge"), method: "S256", expires: now.Add(time.Minute),
	})
	return redirectTo(q.redirectURI, "code", value, "state", q.state)
}

func (f *fictional) token(c *call) reply {
	if c.form.Get("client_id") != f.app.ClientID || !f.acceptsSecret(c.form.Get("client_secret")) {
		return f.errorReply(WrongClient, "token")
	}
	switch c.form.Get("grant_type") {
	case "authorization_code":
		granted, ok := f.codes[c.form.Get("code")]
		if !ok || granted.used || !c.now.Before(granted.expires) || c.form.Get("redirect_uri") != granted.redirectURI ||
			!matchesChallenge(granted, c.form.Get("code_verifier")) {
			return f.errorReply(DeadGrant, "token")
		}
		granted.used = true
		return f.issue(granted.grant, c.now)
	case "refresh_token":
		old := f.find(c.form.Get("refresh_token"), refresh, c.now)
		if old == nil {
			return f.errorReply(DeadGrant, "token")
		}
		old.spent = true
		return f.issue(old.grant, c.now)
	}
	return oauthError(400, "unsupported_grant_type", "")
}

func (f *fictional) issue(g *grant, now time.Time) reply {
	return answerJSON(200, object{
		"access_token":  f.newToken("fictional-access-", token{kind: access, grant: g, issued: now, expires: now.Add(time.Hour)}),
		"refresh_token": f.newToken("fictional-refresh-", token{kind: refresh, grant: g, issued: now}),
		"expires_in":    3600, "scope": strings.Join(g.scopes, " "), "token_type": "Bearer",
	})
}

func (f *fictional) revoke(c *call) reply {
	if t := f.tokens[c.form.Get("token")]; t != nil {
		t.grant.dead = true
	}
	return answerJSON(200, object{})
}

func (f *fictional) me(c *call) reply {
	t := f.find(c.bearer(), access, c.now)
	if t == nil {
		return f.errorReply(DeadGrant, "me")
	}
	return answerJSON(200, object{"id": t.grant.person.ID, "name": t.grant.person.Name})
}

func (f *fictional) errorReply(kind Kind, endpoint string) reply {
	switch {
	case kind == WrongClient:
		return oauthError(401, "invalid_client", "")
	case kind == Throttled || kind == Quota:
		return oauthError(429, "slow_down", "")
	case kind == Outage:
		return oauthError(503, "temporarily_unavailable", "")
	case endpoint == "me":
		return oauthError(401, "invalid_token", "")
	}
	return oauthError(400, "invalid_grant", "")
}
