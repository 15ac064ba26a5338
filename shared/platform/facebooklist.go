package platform

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"platform-api-connector/shared/connector"
)

// The stages of a list of accounts. The last two are edges of a portfolio.
const (
	stageAccounts    = "accounts"
	stageBusinesses  = "businesses"
	stageOwnedPages  = "owned_pages"
	stageClientPages = "client_pages"
	stageUnlisted    = "unlisted"
)

// pageList is the progress of a list of the Pages of a person. It is the cursor of
// Accounts, and therefore has no token and no URL.
type pageList struct {
	Stage  string   `json:"stage"`
	Person string   `json:"person"`
	Map    grantMap `json:"map"`
	// Unlisted are the ids of Pages that the map names and that no list had yet.
	Unlisted   []string `json:"unlisted,omitempty"`
	Found      bool     `json:"found,omitempty"` // at least one Page was returned
	Portfolios []string `json:"portfolios,omitempty"`

	// After has the parameters of the next request of the stage, Limit is its number of
	// rows, and Rows counts the rows that the stage returned.
	After string `json:"after,omitempty"`
	Limit int    `json:"limit"`
	Rows  int    `json:"rows,omitempty"`

	// All Page tokens expire with the user token, so that one inspection is enough.
	Inspected bool       `json:"inspected,omitempty"`
	Token     tokenTimes `json:"token"`
}

func (l *pageList) encode() (string, error) {
	b, err := json.Marshal(l)
	return base64.RawURLEncoding.EncodeToString(b), err
}

func decodePageList(cursor string) (*pageList, error) {
	var l pageList
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	ofPortfolio := l.Stage == stageOwnedPages || l.Stage == stageClientPages
	if err != nil || l.Limit < 1 || l.Stage == "" || ofPortfolio && len(l.Portfolios) == 0 {
		return &l, &connector.Error{Code: connector.Internal, Message: "the cursor of the list of Pages cannot be read", Err: err}
	}
	return &l, nil
}

// newPageList begins the list. It inspects the user token once: the answer has the whole
// map. If Facebook refuses the inspection, it reads the permissions of the person, which
// do not name Pages. Beside an error the list has the person, if known.
func (f *facebook) newPageList(ctx context.Context, c client, user connector.Secret) (*pageList, error) {
	l := &pageList{Stage: stageAccounts, Limit: graphPage}
	inspected, err := f.inspect(ctx, c, user)
	if code := connector.AsError(err); code != nil && (code.Code.GrantDead() || code.Code.TryLater()) {
		return l, err
	}
	l.Person, l.Map = inspected.userID, inspected.granted
	if l.Person == "" {
		person, err := f.me(ctx, c, user)
		if err != nil {
			return l, err
		}
		l.Person = person.ID
	}
	if len(l.Map.Scopes) == 0 {
		if l.Map.Scopes, err = f.permissions(ctx, c, user); err != nil {
			return l, err
		}
	}
	if !slices.Contains(l.Map.Scopes, pageListScope) {
		return l, f.scopeMissing([]string{pageListScope}, nil)
	}
	selected, _ := l.Map.pages()
	l.Unlisted = slices.Clone(selected)
	return l, nil
}

// accounts returns a part of the Pages of a user token. Beside an error it returns a
// grant that has the person alone. foreign holds the app of the token if it is not the
// configured one.
func (f *facebook) accounts(ctx context.Context, c client, user connector.Secret, foreign connector.Fields, cursor string) (connector.AccountList, error) {
	var l *pageList
	var err error
	if cursor == "" {
		l, err = f.newPageList(ctx, c, user)
	} else {
		l, err = decodePageList(cursor)
	}
	var consented connector.AccountList
	if l.Person != "" {
		consented.Grants = []connector.Grant{{UserID: l.Person, Credentials: connector.Credentials{Fields: foreign.Clone()}}}
	}
	if err != nil {
		return consented, err
	}
	part, err := f.part(ctx, c, user, foreign, l)
	if err != nil {
		return consented, err
	}
	return part, nil
}

// part reads one page of the list of the stage.
func (f *facebook) part(ctx context.Context, c client, user connector.Secret, foreign connector.Fields, l *pageList) (connector.AccountList, error) {
	var part connector.AccountList
	rows, after, err := f.rows(ctx, c, user, l)
	switch {
	case err == nil:
		if part.Grants, err = f.grantsOf(ctx, c, foreign, l, rows); err != nil {
			return part, err
		}
	case errors.Is(err, errTooMuchData) && l.Limit > 1:
		// https://github.com/facebook/facebook-python-business-sdk/issues/628, read
		// 2026-11-25.
		l.Limit /= 2
		part.Next, err = l.encode()
		return part, err
	case l.Stage != stageAccounts && errors.Is(err, connector.ScopeMissing):
		// The person may not see the portfolios, or the Pages of this one.
	default:
		return part, err
	}
	if l.After = after; after == "" {
		l.nextList()
	}
	if l.Stage == stageUnlisted {
		return f.lastPart(foreign, l, part)
	}
	part.Next, err = l.encode()
	return part, err
}

// nextList sets the stage to the next list that may have unlisted Pages.
func (l *pageList) nextList() {
	l.Rows = 0
	switch l.Stage {
	case stageAccounts:
		l.Stage = stageUnlisted
		if slices.Contains(l.Map.Scopes, businessesScope) {
			l.Stage = stageBusinesses
		}
	case stageOwnedPages:
		l.Stage = stageClientPages
	case stageClientPages:
		l.Portfolios = l.Portfolios[1:]
		l.Stage = stageOwnedPages
	case stageBusinesses:
		l.Stage = stageOwnedPages
	}
	_, limited := l.Map.pages()
	if limited && len(l.Unlisted) == 0 || l.Stage == stageOwnedPages && len(l.Portfolios) == 0 {
		l.Stage = stageUnlisted
	}
}

// lastPart adds the Pages that the map names and that no list had. Some people have their
// role through a portfolio that no list returns. The Page itself can be read
// (https://github.com/trypostit/trypost/pull/292, read 2026-11-25).
func (f *facebook) lastPart(foreign connector.Fields, l *pageList, part connector.AccountList) (connector.AccountList, error) {
	for _, id := range l.Unlisted {
		l.Found = true
		part.Grants = append(part.Grants, f.incompleteGrant(l, page{ID: identifier(id)}, connector.Account{ID: id}, foreign))
	}
	if !l.Found {
		// Another consent corrects this. The code is therefore that of a refused
		// consent.
		return connector.AccountList{}, &connector.Error{
			Code:    connector.AccessDenied,
			Message: "the consent has no Facebook Page: connect again, select a Page, and allow every permission",
			Reason:  "no_page",
		}
	}
	part.Covered, _ = l.Map.pages()
	return part, nil
}

// grantsOf returns the grants of the rows of the stage. Rows of Pages that the person
// did not select are left out. The lists of a portfolio have those too (the file
// facebook.provider.ts of https://github.com/gitroomhq/postiz-app at 0335f25, read
// 2026-11-25). That they are without a token is assumed.
func (f *facebook) grantsOf(ctx context.Context, c client, foreign connector.Fields, l *pageList, rows []page) ([]connector.Grant, error) {
	if l.Stage == stageBusinesses {
		for _, row := range rows {
			if id := row.ID.orEmpty(); id != "" {
				l.Portfolios = append(l.Portfolios, id)
			}
		}
		return nil, nil
	}
	listed := map[string]bool{}
	var grants []connector.Grant
	for _, row := range rows {
		if !row.hasToken() && !l.Map.includes(string(row.ID)) {
			continue
		}
		found, err := account(string(row.ID), row.Name)
		if err != nil {
			return nil, f.malformed(http.MethodGet, err.Error())
		}
		listed[found.ID] = true
		if !row.hasToken() {
			grants = append(grants, f.incompleteGrant(l, row, found, foreign))
			continue
		}
		if !l.Inspected {
			// Without an answer the expiry is unknown.
			inspected, _ := f.inspect(ctx, c, row.Token)
			l.Inspected, l.Token = true, inspected.tokenTimes
		}
		grants = append(grants, f.pageGrant(row, found, l.Person, &l.Map, l.Token, foreign))
	}
	l.Found = l.Found || len(grants) > 0
	l.Unlisted = slices.DeleteFunc(l.Unlisted, func(id string) bool { return listed[id] })
	return grants, nil
}

// pageGrant returns the grant of a Page with its token.
func (f *facebook) pageGrant(p page, found connector.Account, person string, m *grantMap, token tokenTimes, foreign connector.Fields) connector.Grant {
	fields := m.applyTo(foreign, p)
	fields.Set("page_id", found.ID)
	fields["page_access_token"] = p.Token
	return connector.Grant{
		Account: found,
		UserID:  person,
		Credentials: connector.Credentials{
			Fields:         fields,
			Scopes:         m.scopesOf(p),
			IssuedAt:       f.now().UTC(),
			ExpiresAt:      token.ExpiresAt,
			GrantExpiresAt: token.DataAccessUntil,
		},
		Warning: cmp.Or(token.warning(), m.warning(p)),
	}
}

// incompleteGrant returns the grant of a Page without its token.
func (f *facebook) incompleteGrant(l *pageList, p page, found connector.Account, foreign connector.Fields) connector.Grant {
	return connector.Grant{
		Account:     found,
		UserID:      l.Person,
		Incomplete:  true,
		Credentials: connector.Credentials{Fields: foreign.Clone(), Scopes: l.Map.scopesOf(p), IssuedAt: f.now().UTC()},
	}
}

// complete asks a Page for its token, and Facebook for the map of that token. Where
// Facebook refuses the inspection, the scopes are those of g, and the expiry is
// unknown.
func (f *facebook) complete(ctx context.Context, c client, user connector.Secret, g connector.Grant) (connector.Grant, error) {
	var p page
	err := f.get(ctx, c, user, url.PathEscape(g.Account.ID), query("fields", pageFields), &p)
	switch e := connector.AsError(err); {
	case err == nil && string(p.ID) == g.Account.ID && p.hasToken():
	case err == nil, e.Code == connector.ScopeMissing, e.Reason == reasonRoleLost, e.Reason == reasonPageNotGranted,
		e.Reason == reasonPageNotAccessible:
		return connector.Grant{}, f.noPageToken(err)
	default:
		return connector.Grant{}, err
	}
	inspected, err := f.inspect(ctx, c, p.Token)
	switch e := connector.AsError(err); {
	case err == nil:
	case e.Code.TryLater():
		return connector.Grant{}, err
	case e.Code.GrantDead():
		return connector.Grant{}, f.noPageToken(err)
	}
	if len(inspected.granted.Scopes) == 0 {
		inspected.granted.Scopes = g.Credentials.Scopes
	}
	found, err := account(string(p.ID), cmp.Or(p.Name, g.Account.Name))
	if err != nil {
		return connector.Grant{}, f.malformed(http.MethodGet, err.Error())
	}
	return f.pageGrant(p, found, cmp.Or(g.UserID, inspected.userID), &inspected.granted, inspected.tokenTimes, g.Credentials.Fields), nil
}

// The reasons of refusals that concern one Page.
const (
	reasonRoleLost       = "role_lost"
	reasonPageNotGranted = "page_not_granted"
	reasonNotVisible     = "not_visible"
	// Facebook does not say why: an unpublished or restricted Page is likely.
	reasonPageNotAccessible = "page_not_accessible"
)

const pageNotGranted = "the person did not select this Page, or their role on it is too small: connect again and select it"

// noPageToken returns the error for a Page whose token Facebook does not give.
func (f *facebook) noPageToken(cause error) *connector.Error {
	e := f.scopeMissing(nil, cause)
	e.Reason, e.Message = reasonPageNotGranted, pageNotGranted
	return e
}
