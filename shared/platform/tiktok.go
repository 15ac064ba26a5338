package platform

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

const (
	tiktokAuthorize = "https://www.tiktok.com/v2/auth/authorize/"
	tiktokTokens    = "https://open.tiktokapis.com/v2/oauth/token/"
	tiktokRevoke    = "https://open.tiktokapis.com/v2/oauth/revoke/"
	tiktokUser      = "https://open.tiktokapis.com/v2/user/info/"
	tiktokIssuer    = "https://www.tiktok.com"

	tiktokBasic   = "user.info.basic"
	tiktokWebhook = "webhook" // the kind of all its notices
)

// tiktokLifetime is the lifetime of an access token whose answer has none: two
// hours. Before November 2026 it was a day
// (https://developers.tiktok.com/docs/en/oauth-refresh-a-user-access-token,
// read 2026-11-23).
const tiktokLifetime = 2 * time.Hour

// tiktokLongestLife and tiktokGrantLife are the longest lives that TikTok has
// documented: of an access token, until November 2026, and of a refresh token. The
// answer says which one it is
// (https://developers.tiktok.com/doc/oauth-user-access-token-management, read
// 2026-11-23).
const (
	tiktokLongestLife = 24 * time.Hour
	tiktokGrantLife   = 365 * 24 * time.Hour
)

var tiktokLives = lives{access: tiktokLifetime, longest: tiktokLongestLife, grant: tiktokGrantLife}

// noticeWindow is how far the time in the signature of a notice may be after our clock.
// tiktokRetries is how far that time may be before our clock: TikTok retries a notice for
// 72 hours (https://developers.tiktok.com/doc/webhooks-overview/, read 2026-11-25). No
// page says whether TikTok signs a retry again. A late notice changes no connection that
// was authorized after the time in the signature.
const (
	noticeWindow  = 5 * time.Minute
	tiktokRetries = 72*time.Hour + noticeWindow
)

// tiktok is TikTok: Login Kit, and the Content Posting API. Its OAuth 2.0 has a
// client_key, separates scopes by commas, and sends errors with status 200.
type tiktok struct {
	wire
	guide func() connector.Guide
}

func newTikTok(o Options) *tiktok {
	return &tiktok{wire: newWire("TikTok", o), guide: guideOf("tiktok")}
}

var tiktokShape = shape{
	id: "client_key", secret: "client_secret",
	required: []string{"refresh_token"},
	optional: []string{"open_id", "access_token", "token_expiry", "refresh_token_expiry"},
}

// Describe implements connector.Platform.
func (k *tiktok) Describe() connector.Description {
	return connector.Description{
		Name:     "tiktok",
		Title:    "TikTok",
		AuthKind: "oauth2",
		Scopes:   []string{tiktokBasic, "video.upload", "video.publish"},
		Required: []string{tiktokBasic},
		Issuers:  k.issuers(tiktokIssuer),
		Notices:  []connector.NoticeKind{{Name: tiktokWebhook}},
		// Each client key has its own open_ids
		// (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info), and a sandbox
		// has its own client key (https://developers.tiktok.com/doc/add-a-sandbox/; both
		// read 2026-11-25).
		AccountPerClient: true,
		// A new refresh token invalidates the old one
		// (https://developers.tiktok.com/docs/en/oauth-refresh-a-user-access-token,
		// read 2026-11-23).

		ClientFields: []string{"client_key"},

		Cadence: connector.Cadence{Model: connector.Rotating, Lifetime: tiktokLifetime},
		Guide:   k.guide(),
	}
}

// AuthorizeURL implements connector.Platform. TikTok always shows its page, on which the
// person can select the account, with disable_auto_auth=1
// (https://developers.tiktok.com/doc/login-kit-web, read 2026-11-25).
//
// The code challenge is the hash in hexadecimal, although its method is called S256
// (https://developers.tiktok.com/doc/login-kit-desktop, read 2026-11-25). That page is
// for desktop apps. The page for the web has no code challenge. Web apps without one were
// refused all the same
// (https://github.com/better-auth/better-auth/issues/3114, read 2026-11-25), and those
// that send the hexadecimal form work
// (https://github.com/brightbeanxyz/brightbean-studio/pull/103, read 2026-11-25). No page
// and no code was seen that sends the method plain.
func (k *tiktok) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", k.noApp()
	}
	challenge := sha256.Sum256([]byte(a.Verifier.Reveal()))
	return k.rewriteOrigin(tiktokAuthorize) + "?" + encodeSpaces(query(
		"client_key", app.ClientID,
		"response_type", "code",
		"redirect_uri", a.RedirectURI,
		"scope", strings.Join(a.Scopes, ","),
		"state", a.State.Reveal(),
		"code_challenge", hex.EncodeToString(challenge[:]),
		"code_challenge_method", "S256",
		"disable_auto_auth", "1",
	).Encode()), nil
}

// AuthorizationError implements connector.Platform. TikTok names the parameter
// that is wrong in place of a word of RFC 6749. Assumed: no page that says so
// was seen (2026-11-23). The former form has error_type and errCode: -2 for a person
// who denied the consent (https://github.com/tiktok/tiktok-opensdk-android/issues/29), and codes
// like 10006 for an app that is set up wrongly
// (https://github.com/Lg0gs/react-native-tiktok/issues/9; both read 2026-11-25). That
// redirects have them without error is assumed.
//
// The sandbox of an app refuses an account that is not one of its target users with the
// word non_sandbox_target
// (https://github.com/OmegaNetwork-source/creator_os/blob/60aa47202d57087507c03e3cd3c9a7b62415db8e/SANDBOX_SETUP.md,
// read 2026-11-25). The person refused nothing then. Assumed: the word is error_type,
// beside access_denied as error. Public code reads it so, and no page says it.
func (k *tiktok) AuthorizationError(r connector.Refusal) *connector.Error {
	if slices.Contains([]string{r["error"], r["error_type"]}, "non_sandbox_target") {
		refused := k.appRefused("its sandbox serves its target users alone; add the account to them, or store the live app", nil)
		refused.Reason = "not_a_target_user"
		return refused
	}
	word := cmp.Or(r["error"], r["error_type"])
	switch word {
	case "client_key", "redirect_uri", "scope":
		return k.authorizationRefused()
	case "":
		code, err := strconv.Atoi(r["errCode"])
		switch {
		case r["errCode"] == "":
			return nil
		case err == nil && code > 0:
			return k.authorizationRefused()
		}
		return k.consentDenied()
	}
	return k.wire.AuthorizationError(connector.Refusal{"error": word})
}

// Redeem implements connector.Platform.
func (k *tiktok) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	t, err := k.token(ctx, call{url: tiktokTokens, form: query(
		"client_key", app.ClientID,
		"client_secret", app.ClientSecret.Reveal(),
		"grant_type", "authorization_code",
		"code", code.Reveal(),
		"code_verifier", a.Verifier.Reveal(),
		"redirect_uri", a.RedirectURI,
	)}, k.tokenErrorDecoder(true, nil))
	if err != nil {
		return connector.Credentials{}, err
	}
	return k.applyTokens(connector.Credentials{Scopes: a.Scopes}, t), nil
}

// Accounts implements connector.Platform.
func (k *tiktok) Accounts(ctx context.Context, _ connector.App, c connector.Credentials, _ string) (connector.AccountList, error) {
	openID := c.Fields.Get("open_id")
	if !accountPattern.MatchString(openID) {
		return oneAccount(connector.Grant{Credentials: c}), k.malformed(http.MethodPost, "no open_id")
	}
	grant := connector.Grant{Account: connector.Account{ID: openID}, UserID: openID, Credentials: c}
	if !slices.Contains(c.Scopes, tiktokBasic) {
		// The answer names the account. Only its name needs the scope.
		return oneAccount(grant), nil
	}
	user, err := k.user(ctx, c.Fields["access_token"])
	if err != nil {
		return oneAccount(grant), err
	}
	if user.ID != openID {
		return oneAccount(grant), k.malformed(http.MethodPost, "two different open_ids")
	}
	grant.Account, grant.StableID = user.Account, user.unionID
	return oneAccount(grant), nil
}

// applyTokens returns c with the tokens of an answer, in TikTok's shape.
func (k *tiktok) applyTokens(c connector.Credentials, t tokens) connector.Credentials {
	c = k.wire.applyTokens(c, t, tiktokLives)
	if c.Fields.Get("open_id") == "" {
		c.Fields.Set("open_id", stringOrNumber(t.members["open_id"]))
	}
	setTime(c.Fields, "refresh_token_expiry", c.GrantExpiresAt)
	return c
}

// ReadCredentials implements connector.FileReader. TikTok's answer says how long the
// refresh token lives, but not since when: it ends at most so long after now
// (https://developers.tiktok.com/doc/oauth-user-access-token-management, read
// 2026-11-23).
func (k *tiktok) ReadCredentials(fields connector.Fields) (connector.Fields, error) {
	f := tiktokFile.read(fields)
	if id, ok := f.words["open_id"]; ok && !accountPattern.MatchString(id.value) {
		f.problems.add(id.name, "not an open_id")
	}
	read, err := f.credentials(tiktokShape)
	if err != nil {
		return nil, err
	}
	ends := f.expiry("refresh_token_expiry")
	if life := f.lives["refresh_token_expiry"]; ends.IsZero() && life > 0 {
		ends = k.now().Add(life)
	}
	setTime(read, "refresh_token_expiry", ends)
	return read, nil
}

// ReadApp implements connector.FileReader.
func (k *tiktok) ReadApp(fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	return tiktokAppFile.readApp(fields)
}

// Import implements connector.Platform. The open_id of a file without one is that of
// the account which TikTok names, at once or at the first refresh.
func (k *tiktok) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	read, err := k.ReadCredentials(fields)
	if err != nil {
		return nil, err
	}
	parsed, err := tiktokShape.parse(app, read)
	if err != nil {
		return nil, err
	}
	c := k.importedTokens(parsed, tiktokLifetime)
	c.GrantExpiresAt = k.importedTime(parsed, "refresh_token_expiry", tiktokGrantLife)
	setTime(parsed, "refresh_token_expiry", c.GrantExpiresAt)
	grant := connector.Grant{
		Account:     connector.Account{ID: parsed.Get("open_id")},
		UserID:      parsed.Get("open_id"),
		Credentials: c,
	}
	if verify {
		if err := k.verifyImport(ctx, app, &grant); err != nil {
			return ifRenewed(grant, c), err
		}
	}
	return []connector.Grant{grant}, nil
}

func (k *tiktok) verifyImport(ctx context.Context, app connector.App, grant *connector.Grant) error {
	user, err := k.verifyImportedTokens(grant, []string{tiktokBasic},
		func(c connector.Credentials) (connector.Account, error) {
			user, err := k.user(ctx, c.Fields["access_token"])
			grant.StableID = user.unionID
			return user.Account, err
		},
		func(c connector.Credentials) (connector.Credentials, error) {
			renewed, err := k.Refresh(ctx, app, c)
			renewed.VerifiedKey = k.AppKey(app, c)
			return renewed, err
		})
	if err != nil {
		return err
	}
	if grant.Account.ID != "" && user.ID != grant.Account.ID {
		return connector.Invalid("credentials.open_id", "the tokens are of another account")
	}
	grant.Account, grant.UserID = user, user.ID
	grant.Credentials.Fields.Set("open_id", user.ID)
	return nil
}

// Refresh implements connector.Platform. The answer names the account
// (https://developers.tiktok.com/docs/en/oauth-refresh-a-user-access-token,
// read 2026-11-25).
func (k *tiktok) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if c.Fields["refresh_token"].Empty() {
		return connector.Credentials{}, k.grantDead("no_refresh_token", nil)
	}
	oauthClient := tiktokShape.client(app, c.Fields)
	t, err := k.token(ctx, call{url: tiktokTokens, form: query(
		"client_key", oauthClient.id,
		"client_secret", oauthClient.secret.Reveal(),
		"grant_type", "refresh_token",
		"refresh_token", c.Fields.Get("refresh_token"),
	)}, k.tokenErrorDecoder(false, nil))
	if err != nil {
		return connector.Credentials{}, err
	}
	renewed := k.applyTokens(c, t)
	if openID := stringOrNumber(t.members["open_id"]); accountPattern.MatchString(openID) {
		renewed.AccountID, renewed.UserID = openID, openID
	}
	return renewed, nil
}

// Verify implements connector.Platform.
func (k *tiktok) Verify(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Verification, error) {
	user, err := k.user(ctx, c.Fields["access_token"])
	if err != nil {
		return connector.Verification{}, err
	}
	return connector.Verification{Account: user.Account, UserID: user.ID, StableID: user.unionID, Scopes: c.Scopes}, nil
}

// tiktokProfile is an account. unionID is the same for each client of one developer, and
// is empty if TikTok did not return it.
type tiktokProfile struct {
	connector.Account
	unionID string
}

// user returns the account of a token. It requests fields of user.info.basic
// alone, because the whole call fails where one field's scope is missing
// (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info, read
// 2026-11-25).
func (k *tiktok) user(ctx context.Context, token connector.Secret) (tiktokProfile, error) {
	r, err := k.do(ctx, call{
		method: http.MethodGet,
		url:    tiktokUser,
		query:  query("fields", "open_id,union_id,display_name"),
		bearer: token,
	}, k.apiError)
	if err != nil {
		return tiktokProfile{}, err
	}
	var answer struct {
		Data struct {
			User struct {
				OpenID  identifier `json:"open_id"`
				UnionID identifier `json:"union_id"`
				Name    string     `json:"display_name"`
			}
		}
	}
	if err := decode(r.body, &answer); err != nil {
		return tiktokProfile{}, k.malformed(http.MethodGet, err.Error())
	}
	user, err := account(string(answer.Data.User.OpenID), answer.Data.User.Name)
	if err != nil {
		return tiktokProfile{}, k.malformed(http.MethodGet, err.Error())
	}
	return tiktokProfile{user, answer.Data.User.UnionID.orEmpty()}, nil
}

// Revoke implements connector.Revoker. The app disappears from the person's
// connected apps. The endpoint takes the access token
// (https://developers.tiktok.com/docs/en/oauth-revoke-a-user-access-token,
// read 2026-11-23).
func (k *tiktok) Revoke(ctx context.Context, app connector.App, c connector.Credentials, _ string) error {
	oauthClient := tiktokShape.client(app, c.Fields)
	dead := false
	_, err := k.do(ctx, call{method: http.MethodPost, url: tiktokRevoke, form: query(
		"client_key", oauthClient.id,
		"client_secret", oauthClient.secret.Reveal(),
		"token", c.Fields.Get("access_token"),
	)}, func(r reply) *connector.Error {
		e, ok := readOAuthError(r)
		if !ok {
			return nil
		}
		// The form is complete, so that the invalid parameter is the token.
		dead = slices.Contains([]string{"invalid_grant", "invalid_token", "access_token_invalid", "invalid_request"}, e.code)
		return k.tokenError(e, false)
	})
	if dead {
		return nil
	}
	return err
}

// Token implements connector.Platform.
func (k *tiktok) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	public := connector.Fields{}
	public.Set("open_id", c.Fields.Get("open_id"))
	return c.Fields["access_token"], "Bearer", public
}

// TokenNeedsApp implements connector.Platform.
func (k *tiktok) TokenNeedsApp(connector.Credentials) bool { return false }

// Full implements connector.Platform.
func (k *tiktok) Full(app connector.App, c connector.Credentials) connector.Fields {
	return tiktokShape.complete(app, c.Fields)
}

// AppKey implements connector.Platform.
func (k *tiktok) AppKey(app connector.App, c connector.Credentials) string {
	return tiktokShape.appKey(app, c.Fields)
}

// apiError reads the envelope of TikTok's API. The code "ok" is no error
// (https://developers.tiktok.com/doc/tiktok-api-v2-error-handling, read
// 2026-11-23).
func (k *tiktok) apiError(r reply) *connector.Error {
	var body struct {
		Error struct{ Code string }
	}
	if decode(r.body, &body) != nil || body.Error.Code == "" || body.Error.Code == "ok" {
		return nil
	}
	cause := statusError(r.status)
	switch body.Error.Code {
	case "access_token_invalid":
		return k.grantDead("", errors.Join(errors.New("access token refused"), cause))
	case "scope_not_authorized", "scope_permission_missed":
		return k.scopeMissing([]string{tiktokBasic}, cause)
	case "rate_limit_exceeded":
		return &connector.Error{Code: connector.RateLimited, Message: "TikTok limits the requests; try again later", Err: cause}
	case "reached_active_user_cap", "spam_risk_too_many_posts", "spam_risk_too_many_pending_share":
		return &connector.Error{Code: connector.QuotaExhausted, Message: "TikTok's daily cap is reached", Reason: body.Error.Code, Err: cause}
	case "internal_error":
		return k.unavailable("failed", cause)
	}
	return k.unavailable("refused the request in a way that we do not know", cause)
}

// CheckNotice implements connector.Noticer.
func (k *tiktok) CheckNotice(kind string, raw connector.RawNotice) error {
	_, _, err := k.parseNotice(kind, raw)
	return err
}

// ReadNotice implements connector.Noticer
// (https://developers.tiktok.com/doc/webhooks-events/, read 2026-11-23).
func (k *tiktok) ReadNotice(app connector.App, kind string, raw connector.RawNotice) (connector.Notice, error) {
	signed, event, err := k.parseNotice(kind, raw)
	if err != nil {
		return connector.Notice{}, err
	}
	if app.ClientSecret.Empty() {
		return connector.Notice{}, k.noApp()
	}
	if !signed.signs(app.ClientSecret, raw.Body) {
		return connector.Notice{}, k.notSigned(errors.New("signature does not match"))
	}
	if event.ClientKey != app.ClientID {
		return connector.Notice{}, k.notSigned(errors.New("another client_key"))
	}
	// The event happened before it was signed. Some events have no time of their own.
	notice := connector.Notice{At: k.past(signed.at.UTC())}
	if created := parseUnixTime(event.CreateTime); !created.IsZero() {
		notice.At = earlier(notice.At, created)
	}
	if event.Event == tiktokRemoved {
		digest := sha256.Sum256(raw.Body)
		notice.ID = hex.EncodeToString(digest[:])
		notice.UserID, notice.Revoked, notice.Reason = string(event.OpenID), true, removalReason(stringOrNumber(event.Content))
	}
	return notice, nil
}

// tiktokEvent is the body of a webhook.
type tiktokEvent struct {
	ClientKey  string          `json:"client_key"`
	Event      string          `json:"event"`
	CreateTime json.RawMessage `json:"create_time"`
	OpenID     identifier      `json:"user_openid"`
	Content    json.RawMessage `json:"content"` // JSON in a string
}

// tiktokRemoved is the event of a person who removed the app.
const tiktokRemoved = "authorization.removed"

// parseNotice reads a notice and checks everything but the signature.
func (k *tiktok) parseNotice(kind string, raw connector.RawNotice) (tiktokSignature, tiktokEvent, error) {
	if kind != tiktokWebhook {
		return tiktokSignature{}, tiktokEvent{}, connector.Invalid("notice", "not a webhook")
	}
	signed, err := parseTikTokSignature(raw.Header["tiktok-signature"])
	if err == nil {
		err = signed.checkTime(k.now())
	}
	if err != nil {
		return tiktokSignature{}, tiktokEvent{}, k.notSigned(err)
	}
	var event tiktokEvent
	if err := decode(raw.Body, &event); err != nil {
		return tiktokSignature{}, tiktokEvent{}, connector.Invalid("body", "not an event")
	}
	if event.ClientKey == "" {
		return tiktokSignature{}, tiktokEvent{}, k.notSigned(errors.New("no client_key"))
	}
	if event.Event == tiktokRemoved && !accountPattern.MatchString(string(event.OpenID)) {
		return tiktokSignature{}, tiktokEvent{}, connector.Invalid("user_openid", "missing")
	}
	return signed, event, nil
}

// removalReason returns the reason for which an authorization was removed
// (https://developers.tiktok.com/doc/webhooks-events/, read 2026-11-23).
func removalReason(content string) string {
	var why struct{ Reason json.RawMessage }
	if json.Unmarshal([]byte(content), &why) != nil {
		return "authorization_removed"
	}
	switch parseInt(why.Reason) {
	case 1:
		return "deauthorized"
	case 2:
		return "account_deleted"
	case 3:
		return "age_changed"
	case 4:
		return "account_banned"
	case 5:
		return "revoked_by_developer"
	}
	return "authorization_removed"
}

// tiktokSignature is the header "t=<seconds>,s=<hex>", where s is the HMAC-SHA256
// of t, a dot and the body
// (https://developers.tiktok.com/doc/webhooks-verification, read 2026-11-23).
type tiktokSignature struct {
	time string // as it was sent: the signature covers that
	at   time.Time
	mac  []byte
}

// maxTikTokSignature is longer than any such header.
const maxTikTokSignature = 256

func parseTikTokSignature(header string) (tiktokSignature, error) {
	if len(header) > maxTikTokSignature {
		return tiktokSignature{}, errors.New("signature header too long")
	}
	values := map[string]string{}
	for part := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, again := values[name]; !ok || again {
			return tiktokSignature{}, errors.New("signature header malformed")
		}
		values[name] = value
	}
	seconds, err := strconv.ParseInt(values["t"], 10, 64)
	if err != nil {
		return tiktokSignature{}, errors.New("signature header without a time")
	}
	given, err := hex.DecodeString(values["s"])
	if err != nil || len(given) != sha256.Size {
		return tiktokSignature{}, errors.New("signature header without a signature")
	}
	return tiktokSignature{time: values["t"], at: time.Unix(seconds, 0), mac: given}, nil
}

func (s tiktokSignature) checkTime(now time.Time) error {
	switch age := now.Sub(s.at); {
	case age > tiktokRetries:
		return errors.New("signature too old")
	case age < -noticeWindow:
		return errors.New("signature of the future")
	}
	return nil
}

// signs reports whether the app of that secret signed body.
func (s tiktokSignature) signs(secret connector.Secret, body []byte) bool {
	return hmac.Equal(s.mac, signature(secret, append([]byte(s.time+"."), body...)))
}
