package platform

// newInstagram returns Instagram API with Instagram Login: professional accounts of
// Instagram, without a Facebook Page. The app has an id and a secret of its own beside
// those of the Meta app
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login,
// read 2026-11-25). api.instagram.com no longer shows the consent
// (https://github.com/chatwoot/chatwoot/pull/15575, read 2026-11-25).
//
// The id of the account is user_id, which the API and webhooks take. The member id is the
// id of the account for this app
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/get-started,
// read 2026-11-25).
func newInstagram(o Options) *longLived {
	return newLongLived(o, longLivedAPI{
		name:          "instagram",
		title:         "Instagram",
		authorize:     "https://www.instagram.com/oauth/authorize",
		tokens:        "https://api.instagram.com/oauth/access_token",
		extend:        "https://graph.instagram.com/access_token",
		refresh:       "https://graph.instagram.com/refresh_access_token",
		me:            "https://graph.instagram.com/" + graphVersion + "/me",
		extendGrant:   "ig_exchange_token",
		refreshGrant:  "ig_refresh_token",
		scopes:        []string{"instagram_business_basic", "instagram_business_content_publish"},
		profileFields: "id,user_id,username,name,account_type",
		accountMember: "user_id",
		accountField:  "ig_user_id",
		testers:       "add it as an Instagram tester, and have the person accept at instagram.com/accounts/manage_access",
		file:          instagramFile,
		appFile:       instagramAppFile,
	})
}

// The fields id and user_id of a file are not read, because each can mean several ids.
var instagramFile = newAliases("instagram ig", longLivedClient, longLivedFile, postizRow, []alias{
	{names: "ig_user_id", field: "ig_user_id", source: ours},
	{names: "instagram_user_id instagram_account_id", field: "ig_user_id", source: "the name of the id in instructions for environment variables"},
	{names: "user_id account_type profile_picture_url", read: notNeeded, source: longLivedToken},
	{names: "internal_id", field: "ig_user_id", source: postiz + ": user_id of the profile"},
	{names: "provider_identifier", read: notNeeded, only: "instagram-standalone", source: postiz},
})

var instagramAppFile = newAliases("instagram ig", longLivedClient, longLivedAppFile)
