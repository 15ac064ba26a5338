package platform

// newThreads returns Threads. The app has an id and a secret of its own beside those of
// the Meta app
// (https://developers.facebook.com/documentation/threads/get-started, read 2026-11-25).
// The consent is on threads.com, because threads.net redirects there and can lose the
// query (https://github.com/gitroomhq/postiz-app/issues/1819, read 2026-11-25). The consent
// page shows its errors itself, without a redirect
// (https://github.com/fbsamples/threads_api/issues/24, read 2026-11-25).
//
// No answer names the granted scopes. They are the requested ones (RFC 6749, 5.1).
// debug_token names the scopes only of testers of the app
// (https://developers.facebook.com/documentation/threads/troubleshooting/debug-access-token,
// read 2026-11-25).
func newThreads(o Options) *longLived {
	return newLongLived(o, longLivedAPI{
		name:          "threads",
		title:         "Threads",
		authorize:     "https://threads.com/oauth/authorize",
		tokens:        "https://graph.threads.com/oauth/access_token",
		extend:        "https://graph.threads.com/access_token",
		refresh:       "https://graph.threads.com/refresh_access_token",
		me:            "https://graph.threads.com/v1.0/me",
		extendGrant:   "th_exchange_token",
		refreshGrant:  "th_refresh_token",
		scopes:        []string{"threads_basic", "threads_content_publish"},
		profileFields: "id,username,name",
		accountMember: "id",
		accountField:  "user_id",
		testers:       "add it as a Threads tester, and have the person accept in the settings of Threads under website permissions",
		file: newAliases("threads", longLivedClient, longLivedFile, postizRow, []alias{
			{names: "user_id threads_user_id", field: "user_id", source: ours + "; https://developers.facebook.com/documentation/threads/get-started/get-access-tokens-and-permissions"},
			{names: "threads_profile_picture_url threads_biography is_verified", read: notNeeded, source: "https://developers.facebook.com/docs/threads/threads-profiles"},
			{names: "internal_id", field: "user_id", source: postiz + ": id of the profile"},
			{names: "provider_identifier", read: notNeeded, only: "threads", source: postiz},
		}),
		appFile: newAliases("threads", longLivedClient, longLivedAppFile),
	})
}
