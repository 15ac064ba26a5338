package handler_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

const (
	readonly  = "https://www.googleapis.com/auth/youtube.readonly"
	upload    = "https://www.googleapis.com/auth/youtube.upload"
	forceSSL  = "https://www.googleapis.com/auth/youtube.force-ssl"
	analytics = "https://www.googleapis.com/auth/yt-analytics.readonly"
	mail      = "https://mail.google.com/"
)

// limitScopes sets LINK_SCOPES: lists of the service, and those of callers.
func (s *stack) limitScopes(lists connector.ScopeLists, callers handler.CallerScopes) {
	s.service.LinkScopes, s.service.CallerScopes = lists, nil
	for _, lists := range callers {
		s.service.CallerScopes = append(s.service.CallerScopes, lists)
	}
	s.functions = functions(handler.New(s.service, s.service.Log, nil).WithScopes(callers))
}

func TestConnections_MintLink_Scopes(t *testing.T) {
	t.Parallel()
	type lists = connector.ScopeLists
	type callers = handler.CallerScopes
	backend, stranger := role+"backend/session", role+"stranger/session"
	forBackend := callers{role + "backend/*": {"youtube": {readonly, forceSSL}}}
	for _, row := range []struct {
		name    string
		lists   lists
		callers callers
		as      string
		scopes  []string // nil: none are given
		asks    []string // that the person is asked for; nil: the scope is refused
		refused string
	}{
		{"default", nil, nil, stranger, nil, []string{upload, readonly}, ""},
		{"one of the default", nil, nil, stranger, []string{readonly}, []string{readonly}, ""},
		{"required one is added", nil, nil, stranger, []string{upload}, []string{readonly, upload}, ""},
		{"another service of Google", nil, nil, stranger, []string{mail}, nil, mail},
		{"hidden among allowed ones", nil, nil, stranger, []string{readonly, upload, mail}, nil, mail},
		{"wider one of the platform", nil, nil, stranger, []string{forceSSL}, nil, forceSSL},
		{"prefix of an allowed one", nil, nil, stranger, []string{strings.TrimSuffix(readonly, "only")}, nil, ".read "},
		{"other case", nil, nil, stranger, []string{strings.ToUpper(readonly)}, nil, "HTTPS"},
		{"listed", lists{"youtube": {analytics}}, nil, stranger, []string{analytics}, []string{readonly, analytics}, ""},
		{"not listed any more", lists{"youtube": {analytics}}, nil, stranger, []string{upload}, nil, upload},
		{"default that is not listed is left out", lists{"youtube": {readonly, analytics}}, nil, stranger, nil, []string{readonly}, ""},
		{"default without a listed one", lists{"youtube": {analytics}}, nil, stranger, nil, []string{readonly}, ""},
		{"list of another platform", lists{"tiktok": {"video.list"}}, nil, stranger, nil, []string{upload, readonly}, ""},
		{"caller's own list", nil, forBackend, backend, []string{forceSSL}, []string{readonly, forceSSL}, ""},
		{"caller's own list replaces the other", lists{"youtube": {upload}}, forBackend, backend, []string{upload}, nil, upload},
		{"caller's default", nil, forBackend, backend, nil, []string{readonly}, ""},
		{"list of another caller", nil, forBackend, stranger, []string{forceSSL}, nil, forceSSL},
		{"caller without a list", lists{"youtube": {analytics}}, forBackend, stranger, []string{analytics}, []string{readonly, analytics}, ""},
		{"caller's list of another platform", lists{"youtube": {analytics}}, callers{role + "*": {"tiktok": {"video.list"}}}, backend, []string{analytics}, []string{readonly, analytics}, ""},
		{"exact caller first", nil, callers{role + "*": {"youtube": {upload}}, backend: {"youtube": {forceSSL}}}, backend, []string{forceSSL}, []string{readonly, forceSSL}, ""},
		{"longest pattern first", nil, callers{role + "*": {"youtube": {upload}}, role + "backend/*": {"youtube": {forceSSL}}}, backend, []string{upload}, nil, upload},
		{"caller that is not signed", nil, forBackend, "", []string{forceSSL}, nil, forceSSL},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.limitScopes(row.lists, row.callers)
			body := map[string]any{"platform": "youtube", "owner": "acme"}
			if row.scopes != nil {
				body["scopes"] = row.scopes
			}
			minted := s.do(t, http.MethodPost, "/links", withJSON(t, body), as(row.as))
			if row.asks == nil {
				refused := minted.refused(t, 400, connector.InvalidRequest)
				if !strings.HasPrefix(refused.Detail, "scopes: ") || !strings.Contains(refused.Detail, row.refused) {
					t.Errorf("%q does not name scopes and %s", refused.Detail, row.refused)
				}
				return
			}
			var link struct{ URL string }
			minted.decode(t, 201, &link)
			started := s.do(t, http.MethodGet, strings.TrimPrefix(link.URL, publicURL))
			u, err := url.Parse(started.Headers["location"])
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Fields(u.Query().Get("scope")); !slices.Equal(got, row.asks) {
				t.Errorf("the person is asked for %q, want %q", got, row.asks)
			}
			var guide struct {
				LinkScopes []string `json:"link_scopes"`
			}
			s.do(t, http.MethodGet, "/platforms/youtube", as(row.as)).decode(t, 200, &guide)
			for _, scope := range row.asks {
				if !slices.Contains(guide.LinkScopes, scope) {
					t.Errorf("link_scopes %q lack %s", guide.LinkScopes, scope)
				}
			}
		})
	}
	// Each platform's own scopes pass by default, all at once and one by one.
	t.Run("own_scopes_of_each_platform", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for _, p := range s.service.Platforms {
			d := p.Describe()
			own := slices.Clone(d.Scopes)
			for _, scope := range d.Guide.Scopes {
				own = append(own, scope.Name)
			}
			for _, scopes := range [][]string{d.Scopes, own[len(own)-1:], own[:1]} {
				s.link(t, map[string]any{"platform": d.Name, "owner": "acme", "scopes": scopes})
			}
			for _, scope := range []string{mail, "admin", d.Scopes[0] + ".all", "offline_access"} {
				s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": d.Name, "owner": "acme", "scopes": []string{scope}})).refused(t, 400, connector.InvalidRequest)
			}
		}
	})
	// The setting of an alias applies, too, to whoever invokes the function by it.
	t.Run("event_by_an_alias", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.limitScopes(nil, callers{backend: {"youtube": {forceSSL}}})
		_, e := event(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": "acme", "scopes": []string{forceSSL}}), as(backend))
		for arn, want := range map[string]string{
			"arn:aws:lambda:eu-west-1:123456789012:function:connections":       `"statusCode":201`,
			"arn:aws:lambda:eu-west-1:123456789012:function:connections:alias": `"statusCode":400`,
		} {
			result, err := s.functions["connections"](invokedAs(t, arn), encode(t, e))
			if err != nil || !strings.Contains(string(result), want) {
				t.Errorf("%s: %s, %v, want %s", arn, result, err, want)
			}
		}
	})
}

// A link that was minted before the setting changed asks for nothing that no link
// may ask for any more.
func TestOAuthStart_Scopes(t *testing.T) {
	t.Parallel()
	type lists = connector.ScopeLists
	wide := handler.CallerScopes{role + "backend/*": {"youtube": {readonly, forceSSL}}}
	for name, row := range map[string]struct {
		minted, opened lists
		callers        handler.CallerScopes // when it is opened
		scopes         []string
		want           int
	}{
		"still listed":                         {lists{"youtube": {analytics}}, lists{"youtube": {readonly, analytics}}, nil, []string{analytics}, 302},
		"not listed any more":                  {lists{"youtube": {analytics}}, lists{"youtube": {readonly}}, nil, []string{analytics}, 410},
		"setting removed":                      {lists{"youtube": {analytics}}, nil, nil, []string{analytics}, 410},
		"default, and the setting is narrower": {nil, lists{"youtube": {readonly}}, nil, nil, 410},
		"default, and nothing changed":         {nil, nil, nil, nil, 302},
		"only the required one":                {nil, lists{"youtube": {analytics}}, nil, []string{readonly}, 302},
		"listed for a caller":                  {lists{"youtube": {forceSSL}}, nil, wide, []string{forceSSL}, 302},
		"listed for a caller, other scope":     {lists{"youtube": {analytics}}, nil, wide, []string{analytics}, 410},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.limitScopes(row.minted, nil)
			body := map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL}
			if row.scopes != nil {
				body["scopes"] = row.scopes
			}
			link := s.link(t, body)
			s.limitScopes(row.opened, row.callers)
			opened := s.do(t, http.MethodGet, link)
			if opened.StatusCode != row.want {
				t.Fatalf("status %d, want %d; %s", opened.StatusCode, row.want, opened.Body)
			}
			if row.want == 302 {
				return
			}
			opened.refused(t, 410, connector.LinkGone)
			unknown := s.do(t, http.MethodGet, "/connect/"+strings.Repeat("A", 43))
			if opened.Body != unknown.Body {
				t.Errorf("it differs from an unknown link:\n%s\n%s", opened.Body, unknown.Body)
			}
			if len(opened.Cookies) > 0 || !strings.Contains(s.logs.String(), "no link may ask for any more") {
				t.Error("a cookie was set, or nothing was logged")
			}
			s.limitScopes(row.minted, nil)
			s.consent(t, link, sandbox.Choice{}) // the link was not spent
		})
	}
}

// A person who gave one owner the right to upload, and later another the right to
// read, has given the second one the right to read.
func TestOAuthCallback_ScopesOfOwners(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	uploads := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	location := s.consent(t, s.link(t, map[string]any{"platform": "youtube", "owner": "globex", "scopes": []string{readonly}, "return_url": returnURL}), sandbox.Choice{})
	reads := location.Query().Get("connection_id")
	for id, want := range map[string][]string{uploads: {upload, readonly}, reads: {readonly}} {
		for _, query := range []string{"", "?force_refresh=true"} {
			var token struct{ Scopes []string }
			s.do(t, http.MethodGet, "/connections/"+id+"/token"+query).decode(t, 200, &token)
			if !slices.Equal(token.Scopes, want) {
				t.Errorf("token%s has the scopes %q, want %q", query, token.Scopes, want)
			}
		}
	}
	s.do(t, http.MethodGet, "/connections/"+reads+"/token?scopes="+url.QueryEscape(upload)).refused(t, 403, connector.ScopeMissing)
}
