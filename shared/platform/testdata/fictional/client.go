package platform

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

const (
	fictionalAuthorize = "https://login.fictional.example/authorize"
	fictionalTokens    = "https://api.fictional.example/token"
	fictionalRevoke    = "https://api.fictional.example/revoke"
	fictionalMe        = "https://api.fictional.example/me"
	fictionalIssuer    = "https://login.fictional.example"
	fictionalLifetime  = time.Hour
)

// fictional is a platform that does not exist. It has OAuth 2.0 as in RFC 6749, and
// PKCE.
type fictional struct {
	wire
	guide func() connector.Guide
}

func newFictional(o Options) *fictional {
	return &fictional{wire: newWire("Fictional", o), guide: guideOf("fictional")}
}

var fictionalShape = shape{
	id: "client_id", secret: "client_secret",
	required: []string{"refresh_token"},
	optional: []string{"access_token", "token_expiry"},
}

var fictionalLives = lives{access: fictionalLifetime, longest: fictionalLifetime, grant: maxLifetime}

var fictionalFile = newAliases("fictional", tokenAnswer, []alias{
	{names: "client_id", field: "client_id", source: ours},
	{names: "client_secret", field: "client_secret", source: ours},
	{names: "access_token", field: "access_token", source: ours},
})

var fictionalAppFile = newAliases("fictional", []alias{
	{names: "client_id", field: "client_id", source: ours},
	{names: "client_secret", field: "client_secret", source: ours},
	{names: "mode", field: "mode", source: ours},
})

// Describe implements connector.Platform.
func (f *fictional) Describe() connector.Description {
	return connector.Description{
		Name:     "fictional",
		Title:    "Fictional",
		AuthKind: "oauth2",
		Scopes:   []string{"profile", "publish"},
		Required: []string{"profile"},
		Issuers:  f.issuers(fictionalIssuer),
		Cadence:  connector.Cadence{Model: connector.Rotating, Lifetime: fictionalLifetime},
		Guide:    f.guide(),
	}
}

// AuthorizeURL implements connector.Platform.
func (f *fictional) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", f.noApp()
	}
	return authorizeURL(oauth2.Config{
		ClientID:    app.ClientID,
		RedirectURL: a.RedirectURI,
		Scopes:      a.Scopes,
		Endpoint:    oauth2.Endpoint{AuthURL: f.rewriteOrigin(fictionalAuthorize)},
	}, a, oauth2.S256ChallengeOption(a.Verifier.Reveal())), nil
}

// Redeem implements connector.Platform.
func (f *fictional) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	t, err := f.token(ctx, call{url: fictionalTokens, form: query(
		"grant_type", "authorization_code",
		"code", code.Reveal(),
		"code_verifier", a.Verifier.Reveal(),
		"redirect_uri", a.RedirectURI,
		"client_id", app.ClientID,
		"client_secret", app.ClientSecret.Reveal(),
	)}, f.tokenErrorDecoder(true, nil))
	if err != nil {
		return connector.Credentials{}, err
	}
	return f.applyTokens(connector.Credentials{Scopes: a.Scopes}, t, fictionalLives), nil
}

// Accounts implements connector.Platform.
func (f *fictional) Accounts(ctx context.Context, _ connector.App, c connector.Credentials, _ string) (connector.AccountList, error) {
	me, err := f.me(ctx, c)
	if err != nil {
		return oneAccount(connector.Grant{Credentials: c}), err
	}
	return oneAccount(connector.Grant{Account: me, UserID: me.ID, Credentials: c}), nil
}

// ReadCredentials implements connector.FileReader.
func (f *fictional) ReadCredentials(fields connector.Fields) (connector.Fields, error) {
	return fictionalFile.read(fields).credentials(fictionalShape)
}

// ReadApp implements connector.FileReader.
func (f *fictional) ReadApp(fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	return fictionalAppFile.readApp(fields)
}

// Import implements connector.Platform.
func (f *fictional) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	read, err := f.ReadCredentials(fields)
	if err != nil {
		return nil, err
	}
	parsed, err := fictionalShape.parse(app, read)
	if err != nil {
		return nil, err
	}
	c := f.importedTokens(parsed, fictionalLifetime)
	grant := connector.Grant{Credentials: c}
	if verify {
		grant.Account, err = f.verifyImportedTokens(&grant, []string{"profile"},
			func(c connector.Credentials) (connector.Account, error) { return f.me(ctx, c) },
			func(c connector.Credentials) (connector.Credentials, error) {
				renewed, err := f.Refresh(ctx, app, c)
				renewed.VerifiedKey = f.AppKey(app, c)
				return renewed, err
			})
		if err != nil {
			return nil, err
		}
		grant.UserID = grant.Account.ID
	}
	return []connector.Grant{grant}, nil
}

// Refresh implements connector.Platform.
func (f *fictional) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	oauthClient := fictionalShape.client(app, c.Fields)
	t, err := f.token(ctx, call{url: fictionalTokens, form: query(
		"grant_type", "refresh_token",
		"refresh_token", c.Fields.Get("refresh_token"),
		"client_id", oauthClient.id,
		"client_secret", oauthClient.secret.Reveal(),
	)}, f.tokenErrorDecoder(false, nil))
	if err != nil {
		return connector.Credentials{}, err
	}
	return f.applyTokens(c, t, fictionalLives), nil
}

// Verify implements connector.Platform.
func (f *fictional) Verify(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Verification, error) {
	me, err := f.me(ctx, c)
	return connector.Verification{Account: me, UserID: me.ID, Scopes: c.Scopes}, err
}

// Revoke implements connector.Revoker.
func (f *fictional) Revoke(ctx context.Context, _ connector.App, c connector.Credentials, _ string) error {
	_, err := f.do(ctx, call{
		method: http.MethodPost, url: fictionalRevoke, form: query("token", c.Fields.Get("refresh_token")),
	}, f.tokenErrorDecoder(false, nil))
	return err
}

// Token implements connector.Platform.
func (f *fictional) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	return c.Fields["access_token"], "Bearer", connector.Fields{}
}

// TokenNeedsApp implements connector.Platform.
func (f *fictional) TokenNeedsApp(connector.Credentials) bool { return false }

// Full implements connector.Platform.
func (f *fictional) Full(app connector.App, c connector.Credentials) connector.Fields {
	return fictionalShape.complete(app, c.Fields)
}

// AppKey implements connector.Platform.
func (f *fictional) AppKey(app connector.App, c connector.Credentials) string {
	return fictionalShape.appKey(app, c.Fields)
}

// me returns the account of credentials.
func (f *fictional) me(ctx context.Context, c connector.Credentials) (connector.Account, error) {
	r, err := f.do(ctx, call{method: http.MethodGet, url: fictionalMe, bearer: c.Fields["access_token"]}, func(r reply) *connector.Error {
		if r.status == http.StatusUnauthorized {
			return f.grantDead("", statusError(r.status))
		}
		return nil
	})
	if err != nil {
		return connector.Account{}, err
	}
	var answer struct {
		ID   identifier `json:"id"`
		Name string     `json:"name"`
	}
	if err := decode(r.body, &answer); err != nil {
		return connector.Account{}, f.malformed(http.MethodGet, err.Error())
	}
	me, err := account(string(answer.ID), answer.Name)
	if err != nil {
		return connector.Account{}, f.malformed(http.MethodGet, err.Error())
	}
	return me, nil
}
