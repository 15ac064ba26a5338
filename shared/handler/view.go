package handler

import (
	"cmp"
	"time"

	"platform-api-connector/shared/connector"
)

// connectionView is the JSON form of a connection.
type connectionView struct {
	ID              connector.ID     `json:"id"`
	Platform        connector.Name   `json:"platform"`
	Owner           string           `json:"owner"`
	AccountID       string           `json:"account_id"`
	AccountName     string           `json:"account_name"`
	Scopes          []string         `json:"scopes"`
	MissingScopes   []string         `json:"missing_scopes"`
	Status          connector.Status `json:"status"`
	StatusReason    string           `json:"status_reason"`
	ExpiresAt       time.Time        `json:"expires_at,omitzero"`
	RefreshAt       time.Time        `json:"refresh_at,omitzero"`
	LastRefreshedAt time.Time        `json:"last_refreshed_at,omitzero"`
	Failures        int              `json:"failures"`
	VerifiedAt      time.Time        `json:"verified_at,omitzero"`
	CreatedAt       time.Time        `json:"created_at,omitzero"`
	UpdatedAt       time.Time        `json:"updated_at,omitzero"`
	Revision        int64            `json:"revision"`

	// Suspended is shown for one connection alone, and never in a list.
	Suspended       bool   `json:"suspended,omitempty"`
	SuspendedReason string `json:"suspended_reason,omitempty"`
}

func viewConnection(c connector.Connection) connectionView {
	return connectionView{
		ID:              c.ID,
		Platform:        c.Platform,
		Owner:           c.Owner,
		AccountID:       c.AccountID,
		AccountName:     c.AccountName,
		Scopes:          listed(c.Scopes),
		MissingScopes:   listed(c.MissingScopes),
		Status:          c.Status,
		StatusReason:    c.StatusReason,
		ExpiresAt:       instant(c.ExpiresAt),
		RefreshAt:       instant(c.RefreshAt),
		LastRefreshedAt: instant(c.LastRefreshedAt),
		Failures:        c.Failures,
		VerifiedAt:      instant(c.VerifiedAt),
		CreatedAt:       instant(c.CreatedAt),
		UpdatedAt:       instant(c.UpdatedAt),
		Revision:        c.Revision,
	}
}

func viewConnections(list []connector.Connection) []connectionView {
	views := make([]connectionView, len(list))
	for i, c := range list {
		views[i] = viewConnection(c)
	}
	return views
}

// tokenView is the answer of token-get.
type tokenView struct {
	ConnectionID   connector.ID      `json:"connection_id"`
	Platform       connector.Name    `json:"platform"`
	Owner          string            `json:"owner"`
	AccountID      string            `json:"account_id"`
	AccountName    string            `json:"account_name"`
	Status         connector.Status  `json:"status"`
	Scopes         []string          `json:"scopes"`
	AccessToken    string            `json:"access_token"`
	TokenType      string            `json:"token_type"`
	ExpiresAt      time.Time         `json:"expires_at,omitzero"`
	Credentials    map[string]string `json:"credentials"`
	Degraded       bool              `json:"degraded,omitempty"`
	DegradedReason connector.Code    `json:"degraded_reason,omitempty"`
}

// fullView is the answer of token-get to a request with "full". Its shape is
// the one that an import accepts.
type fullView struct {
	Platform    connector.Name    `json:"platform"`
	Credentials map[string]string `json:"credentials"`
}

func viewToken(t connector.Token) any {
	c := t.Connection
	if t.Full != nil {
		return fullView{Platform: c.Platform, Credentials: t.Full.Reveal()}
	}
	return tokenView{
		ConnectionID:   c.ID,
		Platform:       c.Platform,
		Owner:          c.Owner,
		AccountID:      c.AccountID,
		AccountName:    c.AccountName,
		Status:         c.Status,
		Scopes:         listed(c.Scopes),
		AccessToken:    t.AccessToken.Reveal(),
		TokenType:      t.TokenType,
		ExpiresAt:      instant(t.ExpiresAt),
		Credentials:    t.Credentials.Reveal(),
		Degraded:       t.Degraded,
		DegradedReason: t.DegradedReason,
	}
}

// platformView is the JSON form of a platform in a list.
type platformView struct {
	Name          connector.Name `json:"name"`
	Title         string         `json:"title"`
	AuthKind      string         `json:"auth_kind"`
	AppConfigured bool           `json:"app_configured"`
	AppMode       connector.Mode `json:"app_mode,omitempty"`
	AppUnreadable bool           `json:"app_unreadable,omitempty"`
	RedirectURI   string         `json:"redirect_uri"`
}

func viewPlatform(s connector.PlatformStatus) platformView {
	return platformView{
		Name:          s.Description.Name,
		Title:         s.Description.Title,
		AuthKind:      s.Description.AuthKind,
		AppConfigured: s.App.Configured(),
		AppMode:       s.App.Mode,
		AppUnreadable: s.AppUnreadable,
		RedirectURI:   s.RedirectURI,
	}
}

// guideView is a platform with the instructions to set up its app.
type guideView struct {
	platformView
	connector.Guide
	DefaultScopes []string       `json:"default_scopes"`
	LinkScopes    []string       `json:"link_scopes"`
	AppFields     []appFieldView `json:"app_fields"`
	App           any            `json:"app,omitempty"`
}

type appFieldView struct {
	Name   string `json:"name"`
	Secret bool   `json:"secret"`
	Number bool   `json:"number"`
}

func viewGuide(s connector.PlatformStatus) guideView {
	guide := s.Description.Guide
	guide.Products = listed(guide.Products)
	guide.Steps = listed(guide.Steps)
	guide.Scopes = listed(guide.Scopes)
	guide.Gotchas = listed(guide.Gotchas)
	guide.Manual = listed(guide.Manual)
	guide.Sources = listed(guide.Sources)
	view := guideView{platformView: viewPlatform(s), Guide: guide, DefaultScopes: listed(s.Description.Scopes), LinkScopes: listed(s.LinkScopes)}
	view.AppFields = make([]appFieldView, 0, len(s.Description.AppFields))
	for _, f := range s.Description.AppFields {
		view.AppFields = append(view.AppFields, appFieldView{Name: f.Name, Secret: f.Secret, Number: f.Number})
	}
	if s.App.Configured() || s.App.Revision != "" {
		view.App = viewApp(s)
	}
	return view
}

// viewApp returns the JSON form of an app without its secrets. For each secret
// it only shows whether it is set, as in "client_secret_set".
func viewApp(s connector.PlatformStatus) map[string]any {
	view := map[string]any{
		"platform":          s.Description.Name,
		"client_id":         s.App.ClientID,
		"client_secret_set": !s.App.ClientSecret.Empty(),
		"mode":              cmp.Or(s.App.Mode, connector.Live),
		"redirect_uri":      s.RedirectURI,
	}
	if !s.PreviousSecretUntil.IsZero() {
		view["previous_secret_until"] = instant(s.PreviousSecretUntil)
	}
	for _, f := range s.Description.AppFields {
		value, ok := appField(s.App, f)
		switch {
		case f.Secret:
			view[f.Name+"_set"] = ok
		case ok:
			view[f.Name] = value
		}
	}
	return view
}

// instant returns t in UTC, truncated to the millisecond. The zero time stays
// zero, and the views omit it.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// listed returns list, or an empty list for nil, so that JSON never shows
// null.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// usageView is the use of a billing period. Without a limit, posts are not
// counted and the other fields are omitted.
type usageView struct {
	Used      int       `json:"used"`
	Limit     *int      `json:"limit,omitempty"`
	Remaining *int      `json:"remaining,omitempty"`
	ResetsAt  time.Time `json:"resets_at,omitzero"`
}

func viewUsage(u connector.Usage) usageView {
	view := usageView{Used: u.Used}
	if u.Limit > 0 {
		remaining := max(u.Limit-u.Used, 0)
		view.Limit, view.Remaining, view.ResetsAt = &u.Limit, &remaining, instant(u.ResetsAt)
	}
	return view
}
