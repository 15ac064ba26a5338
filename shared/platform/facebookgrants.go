package platform

import (
	"cmp"
	"slices"
	"strings"

	"platform-api-connector/shared/connector"
)

// grantMap has the scopes that a person granted to the app, and the ids for which each
// scope holds. A scope without ids was granted in general
// (https://developers.facebook.com/docs/facebook-login/access-tokens/debugging-and-error-handling
// and https://github.com/restfb/restfb/pull/1191, read 2026-11-25). Most scopes have
// the same ids. IDs has each list once, because a person may have thousands of Pages.
type grantMap struct {
	Scopes []string       `json:"scopes,omitempty"`
	IDs    [][]string     `json:"ids,omitempty"`
	Of     map[string]int `json:"of,omitempty"` // the index in IDs, by scope

	sets       []map[string]bool // IDs, as sets
	selected   []string          // the result of pages
	isSelected map[string]bool   // selected, as a set
}

// add records that a scope holds for ids alone.
func (m *grantMap) add(scope string, ids []string) {
	i := slices.IndexFunc(m.IDs, func(other []string) bool { return slices.Equal(other, ids) })
	if i < 0 {
		i = len(m.IDs)
		m.IDs = append(m.IDs, ids)
	}
	if m.Of == nil {
		m.Of = map[string]int{}
	}
	m.Of[scope] = i
}

// idsOf returns the ids for which a scope holds. limited is false where it was
// granted in general.
func (m *grantMap) idsOf(scope string) (ids map[string]bool, limited bool) {
	i, limited := m.Of[scope]
	if !limited || i < 0 || i >= len(m.IDs) {
		return nil, false
	}
	for n := len(m.sets); n < len(m.IDs); n++ {
		set := make(map[string]bool, len(m.IDs[n]))
		for _, id := range m.IDs[n] {
			set[id] = true
		}
		m.sets = append(m.sets, set)
	}
	return m.sets[i], true
}

// pages returns the ids of the Pages that the person selected for any permission. limited
// is false if they selected all present and future Pages.
func (m *grantMap) pages() (ids []string, limited bool) {
	if _, limited := m.idsOf(pageListScope); !limited {
		return nil, false
	}
	if m.selected != nil {
		return m.selected, true
	}
	m.selected, m.isSelected = []string{}, map[string]bool{}
	for _, scope := range m.Scopes {
		if _, limited := m.idsOf(scope); !limited || !isPageScope(scope) {
			continue
		}
		for _, id := range m.IDs[m.Of[scope]] {
			if !m.isSelected[id] && accountPattern.MatchString(id) {
				m.isSelected[id] = true
				m.selected = append(m.selected, id)
			}
		}
	}
	return m.selected, true
}

// includes reports whether the person selected a Page for any permission.
func (m *grantMap) includes(page string) bool {
	_, limited := m.pages()
	return !limited || m.isSelected[page]
}

// includesInstagram reports whether the person selected the Instagram account of p. It
// accepts the id of the account and the id of its Page, because no page of Facebook's
// says which of them Facebook returns.
func (m *grantMap) includesInstagram(p page) bool {
	ids, limited := m.idsOf(instagramScope)
	return !limited || ids[string(p.ID)] || ids[p.instagram()]
}

// scopesOf returns the scopes that the person granted for a Page and for its Instagram
// account. It leaves out the scopes that the tasks of the person on the Page do not allow
// them to use.
func (m *grantMap) scopesOf(p page) []string {
	scopes := []string{}
	for _, scope := range m.Scopes {
		ids, limited := m.idsOf(scope)
		switch {
		case limited && isPageScope(scope) && !ids[string(p.ID)]:
		case limited && strings.HasPrefix(scope, "instagram_") && p.instagram() != "" && !ids[string(p.ID)] && !ids[p.instagram()]:
		case scope == postsScope && p.lacksTask(createContent), scope == instagramPostsScope && p.lacksTask(createContent, manage):
		default:
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// isPageScope reports whether the ids of a scope are ids of Pages. Those of
// business_management, for example, are ids of portfolios.
func isPageScope(scope string) bool {
	return strings.HasPrefix(scope, "pages_") || scope == "read_insights"
}

// The tasks of a person on a Page. A post on the Page needs createContent
// (https://developers.facebook.com/docs/pages-api/getting-started). A post on Instagram
// needs createContent or manage
// (https://developers.facebook.com/documentation/instagram-platform/instagram-graph-api/reference/ig-user/media_publish;
// both read 2026-11-25). On Pages of the New Pages Experience the names have a prefix
// (https://docs.rs/crate/late/0.0.1113/source/docs/GrantBusinessPartnerRequest.md, read
// 2026-11-25). That full control includes every task is assumed.
const (
	createContent = "CREATE_CONTENT"
	manage        = "MANAGE"
	fullControl   = "FULL_CONTROL"
	newPageTask   = "PROFILE_PLUS_"
)

// lacksTask reports whether Facebook returned the tasks of the person on the Page without
// any of these tasks.
func (p page) lacksTask(tasks ...string) bool {
	return p.Tasks != nil && !slices.ContainsFunc(p.Tasks, func(task string) bool {
		task = strings.TrimPrefix(task, newPageTask)
		return task == fullControl || slices.Contains(tasks, task)
	})
}

// warning returns the warning about a task or an account that the grant of a Page lacks,
// or "".
func (m *grantMap) warning(p page) string {
	switch {
	case p.lacksTask(createContent) && slices.Contains(m.Scopes, postsScope):
		return "create_content_missing: the person may not create content on this Page; somebody with full control of it must allow that, then connect again"
	case p.instagram() != "" && !m.includesInstagram(p):
		return "instagram_not_granted: the Instagram account of this Page was not selected; connect again and select it"
	}
	return ""
}

// fieldTasks is the field of credentials for the tasks of a person who may not create
// content. A Page token cannot read the tasks again. Imported credentials lack the field.
const fieldTasks = "tasks"

// applyTo returns fields with the Instagram account and the tasks of p.
func (m *grantMap) applyTo(fields connector.Fields, p page) connector.Fields {
	if fields = fields.Clone(); fields == nil {
		fields = connector.Fields{}
	}
	delete(fields, fieldTasks)
	if p.lacksTask(createContent) {
		fields.Set(fieldTasks, cmp.Or(strings.Join(p.Tasks, ","), "NONE"))
	}
	delete(fields, "ig_user_id")
	if m.includesInstagram(p) {
		fields.Set("ig_user_id", p.instagram())
	}
	return fields
}

// storedTasks returns the tasks that fields have, or nil.
func storedTasks(fields connector.Fields) []string {
	if stored := fields.Get(fieldTasks); stored != "" {
		return strings.Split(stored, ",")
	}
	return nil
}
