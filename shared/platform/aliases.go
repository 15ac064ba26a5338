package platform

// This file has the names that fields have in the files that people bring, for each
// platform: of credentials, and of apps. file.go reads them. A field that no row
// names is refused.

// The sources of the rows. All were read on 2026-11-25.
const (
	ours        = "the shape in which full credentials are handed out"
	rfc6749     = "https://www.rfc-editor.org/rfc/rfc6749#section-5.1"
	goOAuth2    = "https://pkg.go.dev/golang.org/x/oauth2#Token"
	oauthlib    = "https://github.com/requests/requests-oauthlib: it adds expires_at, in seconds, to an answer"
	googleAuth  = "https://github.com/googleapis/google-auth-library-python/blob/2ea24b0/google/oauth2/credentials.py: to_json and from_authorized_user_info"
	googleADC   = "application_default_credentials.json of gcloud, as google-auth-library-python reads it"
	googleNode  = "https://github.com/googleapis/google-auth-library-nodejs/blob/a95b827/src/auth/credentials.ts: expiry_date is in milliseconds"
	googlePHP   = "https://github.com/googleapis/google-api-php-client: created is the time of issue, in seconds"
	google2     = "https://github.com/googleapis/oauth2client/blob/master/oauth2client/client.py: OAuth2Credentials.to_json"
	googleApp   = "https://googleapis.github.io/google-api-python-client/docs/client-secrets.html"
	tweepy      = "https://github.com/tweepy/tweepy/blob/c05ba98/tweepy/auth.py, and the names of environment variables in its examples"
	xConsole    = "https://docs.x.com/fundamentals/authentication/oauth-1-0a/api-key-and-secret"
	xTokens     = "https://docs.x.com/fundamentals/authentication/oauth-1-0a/obtaining-user-access-tokens"
	nodeTwitter = "https://github.com/PLhery/node-twitter-api-v2/blob/4ca23a3/doc/auth.md"
	xurl        = "https://github.com/xdevplatform/xurl/blob/41259e8/store/tokens.go"
	tiktokToken = "https://developers.tiktok.com/doc/oauth-user-access-token-management"
	tiktokMe    = "https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info"
	metaToken   = "https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived"
	metaPages   = "https://developers.facebook.com/docs/graph-api/reference/user/accounts/"
	metaSDK     = "https://developers.facebook.com/docs/reference/javascript/FB.getLoginStatus"
	// The page of Threads has the same answer.
	longLivedToken = "https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login"
	postiz         = "https://github.com/gitroomhq/postiz-app: model Integration of schema.prisma, and the provider of the platform"
	supabase       = "https://github.com/orgs/supabase/discussions/33828: its access_token, refresh_token and expires_at are Supabase's own"
)

// tokenAnswer are the fields of the answer of a token endpoint that are the same on
// every platform. Scopes are not taken from a file: the platform says them.
var tokenAnswer = []alias{
	{names: "refresh_token", field: "refresh_token", source: rfc6749},
	{names: "expires_in", field: "token_expiry", read: asLifetime, source: rfc6749},
	{names: "scope scopes", read: notNeededAny, source: rfc6749 + ", and a list in " + googleAuth},
	{names: "token_type", read: notNeeded, source: rfc6749},
	{names: "id_token", read: notNeeded, source: "https://openid.net/specs/openid-connect-core-1_0.html#TokenResponse"},
	{names: "token_expiry", field: "token_expiry", read: asTime, source: ours},
	{names: "expiry", field: "token_expiry", read: asTime, source: goOAuth2 + "; " + googleAuth},
	{names: "expires_at", field: "token_expiry", read: asTime, source: oauthlib},
}

// postizRow are the fields of a row of Postiz that carry no credentials.
var postizRow = []alias{
	{names: "id name picture profile type disabled refresh_needed in_between_steps organization_id customer_id customer " +
		"root_internal_id posting_times custom_instance_details additional_settings created_at updated_at deleted_at",
		read: notNeededAny, source: postiz},
}

var youtubeFile = newAliases("google youtube", tokenAnswer, postizRow, []alias{
	{names: "client_id", field: "client_id", source: ours + "; " + googleAuth},
	{names: "client_secret", field: "client_secret", source: ours + "; " + googleAuth},
	{names: "access_token", field: "access_token", source: ours + "; " + rfc6749},
	{names: "token", field: "access_token", source: googleAuth + "; " + postiz},
	{names: "token_uri universe_domain account rapt_token quota_project_id", read: notNeeded, source: googleAuth + "; " + googleADC},
	{names: "trust_boundary", read: notNeededAny, source: googleAuth},
	{names: "type", read: notNeeded, only: "authorized_user social", source: googleADC + "; social is of a row of Postiz"},
	{names: "expiry_date", field: "token_expiry", read: asTime, source: googleNode},
	{names: "refresh_token_expires_in", read: notNeeded, source: "https://github.com/google/GoogleSignIn-iOS/issues/565"},
	{names: "created", field: "token_expiry", read: asIssueTime, source: googlePHP},
	{names: "user_agent revoke_uri token_info_uri invalid id_token_jwt _class _module", read: notNeeded, source: google2},
	{names: "token_response", read: notNeededAny, source: google2},
	{names: "web installed", read: notForCredentials, source: googleApp},
	{names: "internal_id", read: notNeeded, source: postiz + ": an id of Google, and not of the channel"},
	{names: "provider_identifier", read: notNeeded, only: "youtube", source: postiz},
	{names: "token_expiration", field: "token_expiry", read: asTime, source: postiz},
	{names: "provider_token", field: "access_token", source: supabase},
	{names: "provider_refresh_token", field: "refresh_token", source: supabase},
})

var youtubeAppFile = newAliases("google youtube", []alias{
	{names: "client_id", field: "client_id", source: ours + "; " + googleApp},
	{names: "client_secret", field: "client_secret", source: ours + "; " + googleApp},
	{names: "mode", field: "mode", source: ours},
	{names: "project_id auth_uri token_uri auth_provider_x509_cert_url client_x509_cert_url client_email", read: notNeededAny, source: googleApp},
	{names: "redirect_uris redirect_uri javascript_origins", read: notNeededAny, source: googleApp},
	{names: "access_token refresh_token token", read: notForApp, source: googleAuth},
})

// twitterClient are the names of the OAuth 2.0 client.
var twitterClient = []alias{
	{names: "client_id", field: "client_id", source: ours + "; " + nodeTwitter + "; " + xurl},
	{names: "client_secret", field: "client_secret", source: ours + "; " + nodeTwitter + "; " + xurl},
}

// twitterConsumer are the names of the app's keys of OAuth 1.0a.
var twitterConsumer = []alias{
	{names: "api_key", field: "api_key", source: ours + "; " + xConsole},
	{names: "consumer_key", field: "api_key", source: tweepy + "; " + xurl},
	{names: "app_key", field: "api_key", source: nodeTwitter},
	{names: "api_secret", field: "api_secret", source: ours},
	{names: "api_key_secret api_secret_key", field: "api_secret", source: xConsole},
	{names: "consumer_secret", field: "api_secret", source: tweepy + "; " + xurl},
	{names: "app_secret", field: "api_secret", source: nodeTwitter},
	{names: "bearer_token", field: "bearer_token", source: ours + "; " + tweepy},
}

var twitterFile = newAliases("twitter x", tokenAnswer, postizRow, twitterConsumer, []alias{
	{names: "access_token", field: "access_token", source: ours + "; " + rfc6749 + "; " + nodeTwitter},
	{names: "access_token_key", field: "access_token", source: tweepy},
	{names: "oauth_token", field: "access_token", source: xTokens},
	{names: "access_token_secret", field: "access_token_secret", source: ours + "; " + tweepy},
	{names: "access_secret", field: "access_token_secret", source: nodeTwitter},
	{names: "token_secret", field: "access_token_secret", source: xurl},
	{names: "oauth_token_secret", field: "access_token_secret", source: xTokens},
	{names: "user_id screen_name", read: notNeeded, source: xTokens},
}, twitterClient, []alias{
	{names: "expiration_time", field: "token_expiry", read: asTime, source: xurl + ": in seconds"},
	{names: "redirect_uri default_user", read: notNeeded, source: xurl},
	{names: "token", field: "access_token", read: asPair, source: postiz + ": the access token and its secret"},
	{names: "internal_id token_expiration", read: notNeeded, source: postiz + ": the keys do not expire"},
	{names: "provider_identifier", read: notNeeded, only: "x", source: postiz},
	{names: "provider_token", field: "access_token", source: supabase},
	{names: "provider_refresh_token", field: "refresh_token", source: supabase},
})

var twitterAppFile = newAliases("twitter x", twitterClient, []alias{
	{names: "mode", field: "mode", source: ours},
}, twitterConsumer, []alias{
	{names: "tier", field: "tier", source: ours},
	{names: "monthly_post_limit", field: "monthly_post_limit", source: ours},
	{names: "billing_day", field: "billing_day", source: ours},
	{names: "redirect_uri redirect_uris callback_url default_user", read: notNeededAny, source: xurl + "; " + xConsole},
	{names: "access_token access_token_key oauth_token access_token_secret access_secret token_secret oauth_token_secret refresh_token",
		read: notForApp, source: tweepy + "; " + xurl},
})

var tiktokFile = newAliases("tiktok", tokenAnswer, postizRow, []alias{
	{names: "client_key", field: "client_key", source: ours + "; " + tiktokToken},
	{names: "client_id", field: "client_key", source: "the field of RFC 6749 (2.3.1), which OAuth libraries use for it"},
	{names: "client_secret", field: "client_secret", source: ours + "; " + tiktokToken},
	{names: "open_id", field: "open_id", source: ours + "; " + tiktokToken},
	{names: "access_token", field: "access_token", source: ours + "; " + tiktokToken},
	{names: "refresh_expires_in", field: "refresh_token_expiry", read: asLifetime, source: tiktokToken},
	{names: "refresh_token_expires_in", field: "refresh_token_expiry", read: asLifetime, source: "the name of other platforms, which OAuth libraries use for it"},
	{names: "refresh_token_expiry", field: "refresh_token_expiry", read: asTime, source: ours},
	{names: "refresh_expires_at refresh_token_expires_at", field: "refresh_token_expiry", read: asTime, source: oauthlib},
	{names: "union_id display_name username avatar_url", read: notNeeded, source: tiktokMe},
	{names: "log_id", read: notNeeded, source: tiktokToken},
	{names: "token", field: "access_token", source: postiz},
	{names: "internal_id", read: notNeeded, source: postiz + ": an open_id without its dashes, which is none"},
	{names: "token_expiration", read: notNeeded, source: postiz + ": 23 hours, whatever TikTok said"},
	{names: "provider_identifier", read: notNeeded, only: "tiktok", source: postiz},
})

var tiktokAppFile = newAliases("tiktok", []alias{
	{names: "client_id", field: "client_id", source: ours},
	{names: "client_key", field: "client_id", source: tiktokToken},
	{names: "client_secret", field: "client_secret", source: ours + "; " + tiktokToken},
	{names: "mode", field: "mode", source: ours},
	{names: "redirect_uri redirect_uris", read: notNeededAny, source: tiktokToken},
	{names: "access_token refresh_token open_id", read: notForApp, source: tiktokToken},
})

var facebookFile = newAliases("facebook fb meta", []alias{
	{names: "app_id", field: "app_id", source: ours},
	{names: "client_id", field: "app_id", source: metaToken},
	{names: "app_secret", field: "app_secret", source: ours},
	{names: "client_secret", field: "app_secret", source: metaToken},
	{names: "page_id", field: "page_id", source: ours},
	{names: "id", field: "page_id", source: metaPages},
	{names: "page_access_token", field: "page_access_token", source: ours},
	{names: "page_token", field: "page_access_token", source: metaPages},
	{names: "user_access_token", field: "user_access_token", source: ours},
	{names: "user_token", field: "user_access_token", source: metaToken},
	// Of a Page where the file names one, else of a person.
	{names: "access_token", field: "access_token", source: metaPages + "; " + metaToken},
	{names: "ig_user_id", field: "ig_user_id", source: ours},
	{names: "instagram_business_account", field: "ig_user_id", read: asObjectID, source: metaPages},
	{names: "name category username global_brand_page_name", read: notNeeded, source: metaPages},
	{names: "tasks perms category_list", read: notNeededAny, source: metaPages},
	// Facebook says when a token ends. The life in a file has no beginning.
	{names: "token_type expires_in", read: notNeeded, source: metaToken},
	{names: "scope scopes", read: notNeededAny, source: metaToken},
	{names: "user_id data_access_expiration_time signed_request graph_domain reauthorize_required_in", read: notNeeded, source: metaSDK},
	{names: "token", field: "page_access_token", read: asPagePair, source: postiz},
	{names: "internal_id", field: "page_id", source: postiz},
	{names: "refresh_token token_expiration", read: notNeeded, source: postiz + ": a Page token is not refreshed"},
	{names: "provider_identifier", read: notNeeded, only: "facebook", source: postiz},
	{names: "picture profile type disabled refresh_needed in_between_steps organization_id customer_id customer " +
		"root_internal_id posting_times custom_instance_details additional_settings created_at updated_at deleted_at",
		read: notNeededAny, source: postiz},
	{names: "provider_token", field: "user_access_token", source: supabase},
	{names: "provider_refresh_token", read: notNeeded, source: supabase},
})

var facebookAppFile = newAliases("facebook fb meta", []alias{
	{names: "client_id", field: "client_id", source: ours + "; " + metaToken},
	{names: "app_id", field: "client_id", source: "https://developers.facebook.com/docs/development/create-an-app/app-dashboard/basic-settings"},
	{names: "client_secret", field: "client_secret", source: ours + "; " + metaToken},
	{names: "app_secret", field: "client_secret", source: "https://developers.facebook.com/docs/development/create-an-app/app-dashboard/basic-settings"},
	{names: "mode", field: "mode", source: ours},
	{names: "config_id", field: "config_id", source: ours},
	{names: "redirect_uri redirect_uris", read: notNeededAny, source: metaToken},
	{names: "access_token user_access_token page_access_token page_id ig_user_id", read: notForApp, source: metaPages},
})

// longLivedClient are the names of the client of the platforms whose token has no refresh
// token.
var longLivedClient = []alias{
	{names: "client_id app_id", field: "client_id", source: ours + "; the portal calls it app id"},
	{names: "client_secret app_secret", field: "client_secret", source: ours + "; the portal calls it app secret"},
}

// longLivedFile are the other fields of those platforms.
var longLivedFile = []alias{
	{names: "access_token", field: "access_token", source: ours + "; " + rfc6749},
	{names: "long_lived_token long_lived_access_token user_access_token", field: "access_token", source: longLivedToken},
	{names: "expires_in", field: "token_expiry", read: asLifetime, source: longLivedToken},
	{names: "token_type username", read: notNeeded, source: longLivedToken},
	{names: "permissions scope scopes", read: notNeededAny, source: longLivedToken},
	{names: "token_expiry", field: "token_expiry", read: asTime, source: ours},
	{names: "expires_at", field: "token_expiry", read: asTime, source: oauthlib},
	{names: "expiry", field: "token_expiry", read: asTime, source: goOAuth2},
	{names: "token", field: "access_token", source: postiz},
	{names: "refresh_token", read: notNeeded, source: postiz + ": it repeats the token"},
	{names: "token_expiration", field: "token_expiry", read: asTime, source: postiz + ": 58 days after the refresh"},
}

var longLivedAppFile = []alias{
	{names: "mode", field: "mode", source: ours},
	{names: "redirect_uri redirect_uris", read: notNeededAny, source: longLivedToken},
	{names: "access_token user_id ig_user_id", read: notForApp, source: longLivedToken},
}
