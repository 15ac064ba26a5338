package platform_test

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// row describes a platform for the conformance checks. Each platform has a row.
type row struct {
	name string

	// authorizeURL is the whole URL for the app, state and verifier of the
	// golden check, on the real origin.
	authorizeURL string

	pkce      bool   // whether the code is bound to a verifier
	separator string // between the scopes

	shape    []string // the fields of the credentials, the app's id and secret first
	optional []string // fields of shape that an import may omit
	account  string   // the account of the first person
	accounts int      // number of accounts in the first person's consent
	public   []string // fields beside the access token

	me      string // the sandbox's endpoint that Verify calls
	refresh string // the sandbox's endpoint that Refresh calls
	untick  string // a scope that the person may refuse; empty: all or nothing
	merges  bool   // whether a later consent of the same person has the scopes of the earlier ones, too
	expires bool   // whether access tokens expire
	rotates bool   // whether a refresh token works once
	extends bool   // whether the access token itself is refreshed, by a GET without the app
	// longest is the longest life of such an access token that the platform documents,
	// and lifeAt the endpoint whose answer tells the life.
	longest time.Duration
	lifeAt  string
	// secrets are the parameters of endpoints whose documented place is the query
	// although they are secret.
	secrets map[string][]string
	lasting bool // whether the platform cannot revoke a grant
	cadence connector.Cadence
	extras  []connector.AppField
	notices []connector.NoticeKind
	proves  bool     // whether a verified import proves the app's key without a refresh
	names   bool     // whether the answer to a refresh names the account
	others  string   // the account of the second person
	refusal []string // the platform's own words in the redirect for an app that it refuses
	manual  bool     // whether the guide says how to post by hand
}

const sixMonths = 181 * 24 * time.Hour

// longLivedSecrets are documented as parameters of GET requests
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login
// and https://developers.facebook.com/docs/threads/get-started/long-lived-tokens/,
// read 2026-11-25).
var longLivedSecrets = map[string][]string{"extend": {"access_token", "client_secret"}, "refresh": {"access_token"}}

var rows = []row{
	{
		name: "facebook",
		authorizeURL: "https://www.facebook.com/v26.0/dialog/oauth?auth_type=rerequest&client_id=test-client&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Ffacebook%2Fcallback&response_type=code" +
			"&scope=pages_show_list%2Cpages_read_engagement%2Cpages_manage_posts%2Cinstagram_basic%2Cinstagram_content_publish%2Cbusiness_management&state=test-state",
		shape:    []string{"app_id", "app_secret", "page_id", "page_access_token", "ig_user_id"},
		optional: []string{"ig_user_id"},
		account:  "200000000000001", accounts: 3,
		public: []string{"page_id", "ig_user_id"},
		me:     "node", refresh: "node", untick: "instagram_content_publish", separator: ",", merges: true,
		proves: true, names: true, others: "200000000000004",
		secrets: map[string][]string{"debug_token": {"input_token"}},
		cadence: connector.Cadence{Model: connector.Permanent, CheckEvery: 7 * 24 * time.Hour},
		extras:  []connector.AppField{{Name: "config_id"}},
		notices: []connector.NoticeKind{{Name: "deauthorize"}, {Name: "data-deletion", Deletion: true}},
	},
	{
		name: "instagram",
		authorizeURL: "https://www.instagram.com/oauth/authorize?client_id=test-client&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Finstagram%2Fcallback&response_type=code" +
			"&scope=instagram_business_basic%2Cinstagram_business_content_publish&state=test-state",
		shape:    []string{"client_id", "client_secret", "ig_user_id", "access_token", "token_expiry"},
		optional: []string{"ig_user_id", "token_expiry"},
		account:  "17841400000000011", accounts: 1,
		public: []string{"ig_user_id"},
		me:     "me", refresh: "refresh", untick: "instagram_business_content_publish", separator: ",", expires: true,
		extends: true, longest: 60 * 24 * time.Hour, lifeAt: "extend", lasting: true, secrets: longLivedSecrets,
		others:  "17841400000000012",
		cadence: connector.Cadence{Model: connector.Extending, Lifetime: 5183944 * time.Second, MinimumAge: 24 * time.Hour},
		notices: []connector.NoticeKind{{Name: "deauthorize"}, {Name: "data-deletion", Deletion: true}},
	},
	{
		name: "threads",
		authorizeURL: "https://threads.com/oauth/authorize?client_id=test-client&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Fthreads%2Fcallback&response_type=code" +
			"&scope=threads_basic%2Cthreads_content_publish&state=test-state",
		shape:    []string{"client_id", "client_secret", "user_id", "access_token", "token_expiry"},
		optional: []string{"user_id", "token_expiry"},
		account:  "24640875392278831", accounts: 1,
		public: []string{"user_id"},
		me:     "me", refresh: "refresh", separator: ",", expires: true,
		extends: true, longest: 60 * 24 * time.Hour, lifeAt: "extend", lasting: true, secrets: longLivedSecrets,
		others:  "24640875392278832",
		cadence: connector.Cadence{Model: connector.Extending, Lifetime: 5183944 * time.Second, MinimumAge: 24 * time.Hour},
		notices: []connector.NoticeKind{{Name: "deauthorize"}, {Name: "data-deletion", Deletion: true}},
	},
	{
		name: "youtube",
		authorizeURL: "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&client_id=test-client&code_challenge=cr44KV5YSKLyleX1Lm_6fEu7NYZExuMmIJCfFloMT1o&code_challenge_method=S256" +
			"&prompt=consent%20select_account&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Fyoutube%2Fcallback&response_type=code" +
			"&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fyoutube.upload%20https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fyoutube.readonly&state=test-state",
		shape:    []string{"client_id", "client_secret", "access_token", "refresh_token", "token_expiry"},
		optional: []string{"access_token", "token_expiry"},
		account:  "UCsandbox-channel-one-01", accounts: 1,
		me: "channels", refresh: "token", untick: "https://www.googleapis.com/auth/youtube.upload", expires: true, pkce: true, separator: " ",
		proves: true, others: "UCsandbox-channel-two-02",
		cadence: connector.Cadence{Model: connector.Stable, Lifetime: time.Hour, Lapse: sixMonths},
		refusal: []string{"redirect_uri_mismatch", "deleted_client", "disabled_client", "org_internal"},
	},
	{
		name: "twitter",
		authorizeURL: "https://x.com/i/oauth2/authorize?client_id=test-client&code_challenge=cr44KV5YSKLyleX1Lm_6fEu7NYZExuMmIJCfFloMT1o&code_challenge_method=S256" +
			"&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Ftwitter%2Fcallback&response_type=code" +
			"&scope=tweet.read%20tweet.write%20users.read%20media.write%20offline.access&state=test-state",
		shape:    []string{"client_id", "client_secret", "access_token", "refresh_token", "token_expiry"},
		optional: []string{"client_secret", "access_token", "token_expiry"},
		account:  "1500000000000000001", accounts: 1,
		me: "me", refresh: "token", expires: true, rotates: true, pkce: true, separator: " ",
		others:  "1500000000000000002",
		cadence: connector.Cadence{Model: connector.Rotating, Lifetime: 2 * time.Hour, Lapse: sixMonths, CheckEvery: 7 * 24 * time.Hour},
		extras: []connector.AppField{
			{Name: "api_key"}, {Name: "api_secret", Secret: true, SecretOf: "api_key"}, {Name: "bearer_token", Secret: true},
			{Name: "tier"}, {Name: "monthly_post_limit", Number: true}, {Name: "billing_day", Number: true},
		},
	},
	{
		name: "tiktok",
		authorizeURL: "https://www.tiktok.com/v2/auth/authorize/?client_key=test-client&code_challenge=72be38295e5848a2f295e5f52e6ffa7c4bbb358644c6e32620909f165a0c4f5a&code_challenge_method=S256" +
			"&disable_auto_auth=1&redirect_uri=https%3A%2F%2Fconnect.example%2Foauth%2Ftiktok%2Fcallback&response_type=code" +
			"&scope=user.info.basic%2Cvideo.upload%2Cvideo.publish&state=test-state",
		shape:    []string{"client_key", "client_secret", "open_id", "access_token", "refresh_token", "token_expiry", "refresh_token_expiry"},
		optional: []string{"open_id", "access_token", "token_expiry", "refresh_token_expiry"},
		account:  "-000sandbox-open-id-one", accounts: 1,
		public: []string{"open_id"},
		me:     "me", refresh: "token", untick: "video.publish", expires: true, rotates: true, pkce: true, separator: ",", manual: true,
		names: true, others: "-000sandbox-open-id-two",
		cadence: connector.Cadence{Model: connector.Rotating, Lifetime: 2 * time.Hour},
		notices: []connector.NoticeKind{{Name: "webhook"}},
		refusal: []string{"client_key", "redirect_uri", "scope"},
	},
}

// rowOf returns the row of a platform.
func rowOf(name string) row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	if i < 0 {
		panic("the table has no row for " + name)
	}
	return rows[i]
}

// checks run on every platform. Bug reports cite their names.
var checks = []struct {
	name string
	run  func(*testing.T, row)
}{
	{"description", checkDescription},
	{"guide", checkGuide},
	{"authorize_url_golden", checkAuthorizeURL},
	{"authorize_url_needs_an_app", checkAuthorizeNeedsApp},
	{"authorization_errors_become_codes", checkAuthorizationError},
	{"refusals_without_error", checkRefusal},
	{"exchange_proves_the_authorization", checkExchange},
	{"grants_name_the_accounts", checkGrants},
	{"narrower_scopes_are_returned_as_granted", checkNarrowerScopes},
	{"later_consent_has_its_own_scopes", checkLaterConsent},
	{"code_works_once", checkCodeOnce},
	{"refresh_rotates_or_retains_the_refresh_token", checkRefresh},
	{"expires_in_variants", checkExpiresIn},
	{"malformed_token_answers_are_uncertain", checkMalformed},
	{"malformed_refresh_answers_are_uncertain", checkMalformedRefresh},
	{"error_in_200_is_an_error", checkErrorIn200},
	{"redirects_are_not_followed", checkRedirect},
	{"timeout_is_uncertain_and_not_sent_again", checkTimeout},
	{"refused_connection_is_certain", checkRefusedConnection},
	{"refusals_become_codes", checkRefusals},
	{"credentials_round_trip", checkRoundTrip},
	{"import_without_verify_makes_no_call", checkImportUnverified},
	{"import_names_the_field", checkImportFields},
	{"import_keeps_a_foreign_app", checkForeignApp},
	{"import_proves_the_key_of_the_app", checkAppKey},
	{"keys_of_the_app_can_be_left_out", checkWithoutApp},
	{"refresh_names_the_account", checkRefreshNamesAccount},
	{"import_of_two_accounts", checkImportOfTwoAccounts},
	{"verify_returns_the_account", checkVerify},
	{"token_returns_public_fields_alone", checkToken},
	{"revoke_ends_the_grant", checkRevoke},
	{"notices_are_verified", checkNotices},
	{"concurrent_use", checkConcurrent},
}

func TestPlatforms(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for _, check := range checks {
				t.Run(check.name, func(t *testing.T) {
					t.Parallel()
					check.run(t, row)
				})
			}
		})
	}
}

// TestAll compares the names of the parts of each platform: client, sandbox, guide and
// row. It names a missing part.
func TestAll(t *testing.T) {
	t.Parallel()
	var registered, inTable, withGuide []string
	for _, p := range platform.All(platform.Options{}) {
		registered = append(registered, string(p.Describe().Name))
	}
	for _, row := range rows {
		inTable = append(inTable, row.name)
	}
	files, err := fs.Glob(guides, "guides/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		withGuide = append(withGuide, strings.TrimSuffix(path.Base(file), ".json"))
	}
	for _, test := range []struct {
		name  string
		names []string
		place string
	}{
		{"conformance_row", inTable, "the table of platform_test.go"},
		{"sandbox", sandbox.Platforms(), "shared/sandbox/registry.go"},
		{"guide", withGuide, "guides"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range without(registered, test.names) {
				t.Errorf("%s is missing in %s", name, test.place)
			}
			for _, name := range without(test.names, registered) {
				t.Errorf("%s is in %s and not in registry.go", name, test.place)
			}
		})
	}
}
