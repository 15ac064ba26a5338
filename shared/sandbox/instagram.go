package sandbox

import (
	"cmp"
	"net/http"
)

// Instagram is the name of the platform.
const Instagram = "instagram"

// newInstagram is Instagram API with Instagram Login
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login,
// 2026-11-25). The id of a person is that of their account for the app. user_id is that
// of the professional account
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/get-started,
// 2026-11-25).
func newInstagram(s *Sandbox) dialect {
	l := &longLived{platform: newPlatform(s, Instagram, "Instagram", defaultLongLivedKnobs(),
		App{ClientID: "700000000000000", ClientSecret: "sandbox-instagram-secret"},
		&Person{ID: "27640875392278831", ProfessionalID: "17841400000000011", Name: "Sandbox Florist", Username: "sandbox_florist"},
		&Person{ID: "27640875392278832", ProfessionalID: "17841400000000012", Name: "Sandbox Potter", Username: "sandbox_potter"},
	)}
	l.longLivedAPI = longLivedAPI{
		authorize: "www.instagram.com/oauth/authorize",
		redeem:    "api.instagram.com/oauth/access_token",
		graph:     "graph.instagram.com",
		mePath:    "/{version}/me",
		prefix:    "IGAAsandbox", extendGrant: "ig_exchange_token", refreshGrant: "ig_refresh_token",
		scopes: []string{
			"instagram_business_basic", "instagram_business_content_publish", "instagram_business_manage_comments",
			"instagram_business_manage_messages", "instagram_business_manage_insights",
		},
		optional: true,
		errType:  "IGApiException",
		profile: func(p *Person) object {
			return object{
				"id": p.ID, "user_id": p.ProfessionalID, "username": p.Username, "name": p.Name,
				"account_type": cmp.Or(p.AccountType, "BUSINESS"), "profile_picture_url": "",
			}
		},
		authorizeError: func(_ int, why string) reply {
			return errorPage(400, errorText{"Instagram", "Sorry, this page isn't available", why})
		},
		// An error of api.instagram.com has no error object (the same page).
		codeError: func(message string) reply {
			return answerJSON(http.StatusBadRequest, object{"error_type": "OAuthException", "code": 400, "error_message": message})
		},
	}
	return l
}

// Instagram returns the knobs of Instagram.
func (k *Knobs) Instagram() *LongLivedKnobs { return k.byPlatform[Instagram].(*LongLivedKnobs) }
