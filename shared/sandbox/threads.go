package sandbox

import "net/http"

// Threads is the name of the platform.
const Threads = "threads"

// newThreads is the Threads API
// (https://developers.facebook.com/documentation/threads/get-started/get-access-tokens-and-permissions,
// 2026-11-25). graph.threads.net answers too
// (https://developers.facebook.com/docs/threads/get-started/long-lived-tokens/,
// 2026-11-25). That a person cannot refuse single scopes is assumed.
func newThreads(s *Sandbox) dialect {
	l := &longLived{platform: newPlatform(s, Threads, "Threads", defaultLongLivedKnobs(),
		App{ClientID: "800000000000000", ClientSecret: "sandbox-threads-secret"},
		&Person{ID: "24640875392278831", Name: "Sandbox Tailor", Username: "sandbox_tailor"},
		&Person{ID: "24640875392278832", Name: "Sandbox Tanner", Username: "sandbox_tanner"},
	)}
	l.aliases = map[string]string{"graph.threads.net": "graph.threads.com"}
	l.longLivedAPI = longLivedAPI{
		authorize: "threads.com/oauth/authorize",
		redeem:    "graph.threads.com/oauth/access_token",
		graph:     "graph.threads.com",
		mePath:    "/v1.0/me",
		prefix:    "THAAsandbox", extendGrant: "th_exchange_token", refreshGrant: "th_refresh_token",
		scopes: []string{
			"threads_basic", "threads_content_publish", "threads_read_replies", "threads_manage_replies", "threads_manage_insights",
			"threads_delete", "threads_location_tagging", "threads_keyword_search", "threads_manage_mentions",
			"threads_profile_discovery", "threads_share_to_instagram",
		},
		errType: "THApiException",
		profile: func(p *Person) object {
			return object{"id": p.ID, "username": p.Username, "name": p.Name, "threads_profile_picture_url": "", "threads_biography": "", "is_verified": false}
		},
		// The page is JSON, and redirects nobody
		// (https://github.com/fbsamples/threads_api/issues/24, 2026-11-25).
		authorizeError: func(code int, why string) reply {
			return answerJSON(http.StatusBadRequest, object{"error_message": why, "error_code": code})
		},
		// The form is that of the graph. The code is assumed.
		codeError: func(message string) reply { return l.error(http.StatusBadRequest, 100, 0, message) },
	}
	return l
}

// Threads returns the knobs of Threads.
func (k *Knobs) Threads() *LongLivedKnobs { return k.byPlatform[Threads].(*LongLivedKnobs) }
