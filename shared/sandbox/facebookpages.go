package sandbox

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// accounts lists the selected Pages on which the person has a role of their own.
// Pages of a business portfolio are missing, with status 200
// (trypostit/trypost#292, chatwoot/chatwoot#7219, read 2026-11-23). So are Pages
// without pages_show_list (assumed).
func (f *facebook) accounts(c *call, t *token) reply {
	if !isSelf(c.pathValues["id"], t) {
		return notVisible(c.pathValues["id"])
	}
	var pages []Page
	for _, page := range t.grant.person.Pages {
		if page.Business == "" && !page.RoleLost && f.allowsPage(t, "pages_show_list", page) {
			pages = append(pages, page)
		}
	}
	return f.list(c, t, pages, listing{withToken: true, withTasks: true})
}

// businesses lists the business portfolios. It requires business_management.
func (f *facebook) businesses(c *call, t *token) reply {
	switch {
	case !isSelf(c.pathValues["id"], t):
		return notVisible(c.pathValues["id"])
	case !f.allows(t, "business_management"):
		return permissionMissing("business_management")
	}
	rows, seen := []object{}, map[string]bool{"": true}
	for _, page := range t.grant.person.Pages {
		if !seen[page.Business] {
			seen[page.Business] = true
			rows = append(rows, object{"id": page.Business, "name": "Sandbox Portfolio"})
		}
	}
	return answerJSON(200, object{"data": rows})
}

func permissionMissing(permission string) reply {
	return graphError(403, 200, 0, "(#200) Requires "+permission+" permission to manage the object")
}

// portfolio lists the Pages that a business portfolio owns, or manages for a
// client. Pages that the person did not select are among them (gitroomhq/postiz-app,
// facebook.provider.ts at 0335f25, read 2026-11-25), without a token (assumed).
func (f *facebook) portfolio(client bool) func(*call, *token) reply {
	return func(c *call, t *token) reply {
		if !f.allows(t, "business_management") {
			return permissionMissing("business_management")
		}
		known := false
		var pages []Page
		for _, page := range t.grant.person.Pages {
			if page.Business != c.pathValues["id"] {
				continue
			}
			known = true
			if page.Client == client && !page.RoleLost {
				pages = append(pages, page)
			}
		}
		if !known {
			return notVisible(c.pathValues["id"])
		}
		return f.list(c, t, pages, listing{withToken: f.knobs().BusinessTokens})
	}
}

// listing says which fields the rows of a listing may have. The list of a person's Pages
// adds tasks
// (https://developers.facebook.com/docs/pages-api/manage-pages, 2026-11-25). That no
// other list of the sandbox has it, nor a Page itself, is assumed.
type listing struct{ withToken, withTasks bool }

// list is one page of a listing, with cursors. The URL in next holds the access
// token (https://developers.facebook.com/docs/graph-api/results, 2026-11-23).
func (f *facebook) list(c *call, t *token, pages []Page, shows listing) reply {
	limit := f.knobs().PageSize
	if asked := c.query.Get("limit"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < 1 {
			return graphError(400, 100, 0, "(#100) Param limit must be a positive integer")
		}
		limit = min(n, 100)
	}
	if most := f.knobs().MaxRows; most > 0 && limit > most {
		// facebook/facebook-python-business-sdk#628 and #470 (read 2026-11-25).
		return answerJSON(500, object{"error": object{"code": 1, "message": "Please reduce the amount of data you're asking for, then retry your request"}})
	}
	from := 0
	if after := c.query.Get("after"); after != "" {
		i := slices.IndexFunc(pages, func(p Page) bool { return cursor(p) == after })
		if i < 0 {
			return graphError(400, 100, 0, "(#100) Invalid cursor")
		}
		from = i + 1
	}
	to := min(from+limit, len(pages))
	rows := []object{}
	for _, page := range pages[from:to] {
		row, refused := f.pageNode(t, page, fieldsOf(c, "id,name,access_token"), shows)
		if refused != nil {
			return *refused
		}
		rows = append(rows, row)
	}
	answer := object{"data": rows}
	if len(rows) > 0 {
		paging := object{"cursors": object{"before": cursor(pages[from]), "after": cursor(pages[to-1])}}
		if to < len(pages) {
			paging["next"] = f.next(c, limit, cursor(pages[to-1]))
		}
		answer["paging"] = paging
	}
	return answerJSON(200, answer)
}

func cursor(p Page) string { return base64.RawURLEncoding.EncodeToString([]byte(p.ID)) }

func (f *facebook) next(c *call, limit int, after string) string {
	origin := f.knobs().NextOrigin
	if origin == "" {
		origin = "https://graph.facebook.com"
	}
	q := url.Values{"limit": {strconv.Itoa(limit)}, "after": {after}}
	for _, name := range []string{"fields", "access_token"} {
		if c.query.Has(name) {
			q.Set(name, c.query.Get(name))
		}
	}
	if q.Get("access_token") == "" {
		q.Set("access_token", c.bearer())
	}
	return origin + c.path + "?" + q.Encode()
}

// node returns a person, a Page or an Instagram account by its id. "me" is the
// person or the Page of the token.
func (f *facebook) node(c *call, t *token) reply {
	id := c.pathValues["id"]
	if id == "me" && t.kind == pageToken {
		id = t.page
	}
	if isSelf(id, t) {
		return userNode(t.grant.person, fieldsOf(c, "id,name"))
	}
	for _, page := range t.grant.person.Pages {
		if t.kind == pageToken && t.page != page.ID || page.RoleLost || !f.impersonates(t, page) {
			continue
		}
		switch id {
		case page.ID:
			row, refused := f.pageNode(t, page, fieldsOf(c, "id,name"), listing{withToken: true})
			if refused != nil {
				return *refused
			}
			return answerJSON(200, row)
		case page.InstagramID:
			return f.instagramNode(t, page, fieldsOf(c, "id"))
		}
	}
	return notVisible(id)
}

func userNode(p *Person, fields []field) reply {
	row := object{"id": p.ID}
	for _, field := range fields {
		switch field.name {
		case "id":
		case "name":
			row["name"] = p.Name
		default:
			return nonexisting(field.name, "User")
		}
	}
	return answerJSON(200, row)
}

// pageNode returns the requested fields. It leaves out those that the token may
// not read.
func (f *facebook) pageNode(t *token, page Page, fields []field, shows listing) (object, *reply) {
	row := object{"id": page.ID}
	for _, field := range fields {
		switch field.name {
		case "id", "picture", "category", "link":
		case "name":
			row["name"] = page.Name
		case "username":
			row["username"] = page.Username
		case "access_token":
			if shows.withToken && f.impersonates(t, page) {
				row["access_token"] = f.pageTokenOf(t, page)
			}
		case "tasks":
			if !shows.withTasks {
				refused := nonexisting(field.name, "Page")
				return nil, &refused
			}
			row["tasks"] = page.Tasks
			if page.Tasks == nil {
				row["tasks"] = []string{"ADVERTISE", "ANALYZE", "CREATE_CONTENT", "MESSAGING", "MODERATE", "MANAGE"}
			}
		case "instagram_business_account":
			if page.InstagramID != "" && (f.allowsPage(t, "instagram_basic", page) || f.allowsPage(t, "pages_read_engagement", page)) {
				row["instagram_business_account"] = instagramFields(page, field.sub)
			}
		default:
			refused := nonexisting(field.name, "Page")
			return nil, &refused
		}
	}
	return row, nil
}

func instagramFields(page Page, fields []field) object {
	row := object{"id": page.InstagramID}
	for _, field := range fields {
		switch field.name {
		case "username":
			row["username"] = page.InstagramUsername
		case "name":
			row["name"] = page.Name
		}
	}
	return row
}

func (f *facebook) instagramNode(t *token, page Page, fields []field) reply {
	if !f.allows(t, "instagram_basic") || !f.latest(t.grant.person).assets.includesInstagram(page) {
		return graphError(403, 10, 0, "(#10) Application does not have permission for this action")
	}
	return answerJSON(200, instagramFields(page, fields))
}

// pageTokenOf returns the Page token of a user token, the same one each time. It
// expires with a short-lived user token, and never with a long-lived one
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived,
// 2026-11-23). For a Page token it returns the same token.
func (f *facebook) pageTokenOf(t *token, page Page) string {
	end := t.expires
	if t.long {
		end = time.Time{}
	}
	key := pageTokenKey{t.grant, page.ID, end}
	value, issued := f.pageTokens[key]
	if !issued || !f.tokens[value].expires.Equal(end) {
		value = f.newToken("EAAsandboxpage", token{kind: pageToken, grant: t.grant, issued: f.sandbox.now(), expires: end, long: t.long, page: page.ID})
		f.pageTokens[key] = value
	}
	return value
}

// pageTokenKey identifies a Page token.
type pageTokenKey struct {
	grant *grant
	page  string
	end   time.Time
}

func nonexisting(name, node string) reply {
	return graphError(400, 100, 0, "(#100) Tried accessing nonexisting field ("+name+") on node type ("+node+")")
}

// field is one field of a fields parameter, with the fields in its braces.
type field struct {
	name string
	sub  []field
}

func fieldsOf(c *call, standard string) []field {
	asked := c.query.Get("fields")
	if asked == "" {
		asked = standard
	}
	fields, _ := parseFields(asked)
	return fields
}

// parseFields reads "id,name,account{id,username}" up to a closing brace and
// returns what follows it.
func parseFields(s string) (fields []field, rest string) {
	for s != "" {
		end := strings.IndexAny(s, ",{}")
		if end < 0 {
			return append(fields, field{name: strings.TrimSpace(s)}), ""
		}
		name, mark := strings.TrimSpace(s[:end]), s[end]
		s = s[end+1:]
		f := field{name: name}
		if mark == '{' {
			f.sub, s = parseFields(s)
		}
		if name != "" {
			fields = append(fields, f)
		}
		if mark == '}' {
			return fields, s
		}
	}
	return fields, ""
}
