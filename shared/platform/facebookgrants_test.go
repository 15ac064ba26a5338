package platform_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

const (
	bakery  = "200000000000001" // with an Instagram account
	cycles  = "200000000000002"
	gallery = "200000000000003" // of a portfolio
)

// grantsOf consents with choice, and returns the grants by account.
func (w *world) grantsOf(choice sandbox.Choice) map[string]connector.Grant {
	w.t.Helper()
	a := w.authorization()
	grants, err := exchange(w.t.Context(), w.platform, w.app, a, w.consent(a, choice))
	if err != nil {
		w.t.Fatal(err)
	}
	byID := map[string]connector.Grant{}
	for _, g := range grants {
		if g.Incomplete || g.Credentials.Fields["page_access_token"].Empty() {
			w.t.Errorf("%s has no token", g.Account.ID)
		}
		byID[g.Account.ID] = g
	}
	return byID
}

// redeemed consents with choice, and returns the lasting credentials of the consent.
func (w *world) redeemed(choice sandbox.Choice) connector.Credentials {
	w.t.Helper()
	a := w.authorization()
	redeemed, err := w.platform.Redeem(w.t.Context(), w.app, a, w.consent(a, choice))
	if err == nil {
		redeemed, err = w.platform.Extend(w.t.Context(), w.app, redeemed)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return redeemed
}

func TestFacebook_ScopesOfAPage(t *testing.T) {
	for _, test := range []struct {
		name    string
		choice  sandbox.Choice
		page    string
		change  func(*sandbox.Page)
		lacking []string
		warning string
		noIG    bool
	}{
		{name: "everything", page: bakery},
		{name: "in general", choice: sandbox.Choice{InGeneral: true}, page: gallery},
		{name: "posting refused for another Page", choice: sandbox.Choice{PageUntick: map[string][]string{cycles: {"pages_manage_posts"}}}, page: bakery},
		{name: "posting refused for this Page", choice: sandbox.Choice{PageUntick: map[string][]string{cycles: {"pages_manage_posts"}}}, page: cycles,
			lacking: []string{"pages_manage_posts"}},
		{name: "refused for a Page of a portfolio", choice: sandbox.Choice{PageUntick: map[string][]string{gallery: {"pages_manage_posts"}}}, page: gallery,
			lacking: []string{"pages_manage_posts"}},
		{name: "on no list of the person", choice: sandbox.Choice{PageUntick: map[string][]string{cycles: {"pages_show_list"}}}, page: cycles,
			lacking: []string{"pages_show_list"}},
		{name: "reading alone", page: bakery, change: func(p *sandbox.Page) { p.Tasks = []string{"ANALYZE", "MODERATE"} },
			lacking: []string{"pages_manage_posts", "instagram_content_publish"}, warning: "create_content_missing:"},
		{name: "no task at all", page: cycles, change: func(p *sandbox.Page) { p.Tasks = []string{} },
			lacking: []string{"pages_manage_posts", "instagram_content_publish"}, warning: "create_content_missing:"},
		{name: "managing alone", page: bakery, change: func(p *sandbox.Page) { p.Tasks = []string{"MANAGE"} },
			lacking: []string{"pages_manage_posts"}, warning: "create_content_missing:"},
		{name: "a new Page", page: bakery, change: func(p *sandbox.Page) { p.Tasks = []string{"PROFILE_PLUS_CREATE_CONTENT"} }},
		{name: "full control of a new Page", page: bakery, change: func(p *sandbox.Page) { p.Tasks = []string{"PROFILE_PLUS_FULL_CONTROL"} }},
		{name: "reading a new Page alone", page: bakery, change: func(p *sandbox.Page) { p.Tasks = []string{"PROFILE_PLUS_ANALYZE"} },
			lacking: []string{"pages_manage_posts", "instagram_content_publish"}, warning: "create_content_missing:"},
		{name: "Instagram account not selected", choice: sandbox.Choice{Instagram: []string{}}, page: bakery, noIG: true,
			lacking: []string{"instagram_basic", "instagram_content_publish"}, warning: "instagram_not_granted:"},
		{name: "no Instagram account to select", choice: sandbox.Choice{Instagram: []string{}}, page: cycles},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, facebookRow)
			if test.change != nil {
				w.box.ChangePage(test.page, test.change)
			}
			g, ok := w.grantsOf(test.choice)[test.page]
			if !ok {
				t.Fatal("the Page is missing")
			}
			scopes := w.platform.Describe().Scopes
			if diff := cmp.Diff(test.lacking, without(scopes, g.Credentials.Scopes), cmpEmpty); diff != "" {
				t.Errorf("missing scopes (-want +got):\n%s", diff)
			}
			if !strings.HasPrefix(g.Warning, test.warning) || (test.warning == "") != (g.Warning == "") {
				t.Errorf("warning %q, want %q", g.Warning, test.warning)
			}
			if has := g.Credentials.Fields.Get("ig_user_id") != ""; has != (test.page == bakery && !test.noIG) {
				t.Errorf("the Instagram account is %q", g.Credentials.Fields.Get("ig_user_id"))
			}

			// A later check finds the same.
			renewed, err := w.platform.Refresh(t.Context(), w.app, g.Credentials)
			if err != nil || !slices.Equal(renewed.Scopes, g.Credentials.Scopes) || !renewed.Fields.Equal(g.Credentials.Fields) {
				t.Errorf("a check: error %v, scopes %v, want %v", err, renewed.Scopes, g.Credentials.Scopes)
			}
			v, err := w.platform.Verify(t.Context(), w.app, g.Credentials)
			if err != nil || !slices.Equal(v.Scopes, g.Credentials.Scopes) || v.Warning != g.Warning || v.Outdated {
				t.Errorf("verified: error %v, outdated %t, warning %q, scopes %v", err, v.Outdated, v.Warning, v.Scopes)
			}
			imported, err := w.platform.Import(t.Context(), w.app, connector.Fields{
				"page_id": g.Credentials.Fields["page_id"], "page_access_token": g.Credentials.Fields["page_access_token"],
			}, true)
			if err != nil {
				t.Fatal(err)
			}
			// A Page token does not tell the tasks of its person.
			if got := imported[0]; test.change == nil && (!slices.Equal(got.Credentials.Scopes, g.Credentials.Scopes) || got.Warning != g.Warning) {
				t.Errorf("imported: warning %q, scopes %v", got.Warning, got.Credentials.Scopes)
			}
		})
	}
}

var cmpEmpty = cmp.Transformer("empty", func(s []string) string { return strings.Join(s, " ") })

func TestFacebook_Accounts(t *testing.T) {
	t.Run("one_inspection_of_the_user_token", testFacebookAccountsOneInspection)
	t.Run("unticked_pages_of_a_portfolio_are_not_asked", testFacebookAccountsUntickedPages)
	t.Run("covered", testFacebookAccountsCovered)
	t.Run("thousand_pages", testFacebookAccountsThousandPages)
	t.Run("reduce_the_amount_of_data", testFacebookAccountsReduceTheAmountOfData)
	t.Run("page_without_a_token", testFacebookAccountsPageWithoutAToken)
}

func testFacebookAccountsOneInspection(t *testing.T) {
	w := newWorld(t, facebookRow)
	consent := w.redeemed(sandbox.Choice{Pages: []string{bakery, cycles}})
	grants, err := listAccounts(t.Context(), w.platform, w.app, consent)
	if err != nil || len(grants) != 2 {
		t.Fatalf("got %v, error %v", accounts(grants), err)
	}
	inspected := map[bool]int{}
	for _, call := range w.box.Calls("facebook", "debug_token") {
		inspected[call.Query.Get("input_token") == consent.Fields.Get("user_access_token")]++
	}
	if inspected[true] != 1 || inspected[false] != 1 || w.box.Count("facebook", "permissions") != 0 || w.box.Count("facebook", "node") != 0 {
		t.Errorf("the user token was inspected %d times, a Page's %d times; permissions read %d times, nodes %d times",
			inspected[true], inspected[false], w.box.Count("facebook", "permissions"), w.box.Count("facebook", "node"))
	}
}

func testFacebookAccountsUntickedPages(t *testing.T) {
	w := newWorld(t, facebookRow)
	person := sandbox.Person{ID: "100000000000009", Name: "Agency"}
	for n := range 40 {
		person.Pages = append(person.Pages, sandbox.Page{ID: fmt.Sprint(210000000000000 + n), Name: fmt.Sprint("Client ", n), Business: "300000000000009", Client: true})
	}
	w.box.AddPerson("facebook", person)
	got := w.grantsOf(sandbox.Choice{Account: person.ID, Pages: []string{"210000000000007", "210000000000039"}})
	if len(got) != 2 || got["210000000000007"].Account.Name != "Client 7" {
		t.Errorf("got %v", got)
	}
	if asked := w.box.Count("facebook", "node"); asked != 2 {
		t.Errorf("%d Pages were asked for their tokens, want the 2 that were selected", asked)
	}
}

func testFacebookAccountsCovered(t *testing.T) {
	for name, test := range map[string]struct {
		choice sandbox.Choice
		want   []string
	}{
		"selected":     {sandbox.Choice{Pages: []string{cycles, gallery}}, []string{cycles, gallery}},
		"read only":    {sandbox.Choice{Pages: []string{bakery}, PageUntick: map[string][]string{bakery: {"pages_show_list"}}}, []string{bakery}},
		"in general":   {sandbox.Choice{InGeneral: true}, nil},
		"without list": {sandbox.Choice{Untick: []string{"business_management"}}, []string{bakery, cycles, gallery}},
	} {
		w := newWorld(t, facebookRow)
		consent := w.redeemed(test.choice)
		var last connector.AccountList
		for cursor := ""; ; {
			list, err := w.platform.Accounts(t.Context(), w.app, consent, cursor)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if last = list; list.Next == "" {
				break
			}
			if list.Covered != nil {
				t.Errorf("%s: a part before the last covers %v", name, list.Covered)
			}
			cursor = list.Next
		}
		if diff := cmp.Diff(test.want, last.Covered); diff != "" {
			t.Errorf("%s: covered (-want +got):\n%s", name, diff)
		}
	}
}

func testFacebookAccountsThousandPages(t *testing.T) {
	const pages = 1500
	w := newWorld(t, facebookRow)
	person := sandbox.Person{ID: "100000000000009", Name: "Agency"}
	for n := range pages {
		page := sandbox.Page{ID: fmt.Sprint(210000000000000 + n), Name: fmt.Sprint("Page ", n), InstagramID: fmt.Sprint(17841410000000000 + n)}
		if n >= pages/2 {
			page.Business = "300000000000009"
		}
		person.Pages = append(person.Pages, page)
	}
	w.box.AddPerson("facebook", person)
	w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().BusinessTokens = true })
	consent := w.redeemed(sandbox.Choice{Account: person.ID})
	found := map[string]bool{}
	parts, calls := 0, len(w.box.Calls("facebook", ""))
	for cursor := ""; ; parts++ {
		list, err := w.platform.Accounts(t.Context(), w.app, consent, cursor)
		if err != nil {
			t.Fatalf("part %d: %v", parts, err)
		}
		for _, g := range list.Grants {
			found[g.Account.ID] = !g.Incomplete
			if len(g.Credentials.Scopes) != 7 || g.Credentials.Fields.Get("ig_user_id") == "" {
				t.Fatalf("%s: scopes %v, Instagram account %q", g.Account.ID, g.Credentials.Scopes, g.Credentials.Fields.Get("ig_user_id"))
			}
		}
		made := len(w.box.Calls("facebook", "")) - calls
		if calls += made; made > 3 {
			t.Errorf("part %d made %d calls", parts, made)
		}
		if cursor = list.Next; cursor == "" {
			break
		}
		if len(cursor) > 128<<10 {
			t.Errorf("part %d: the cursor has %d bytes", parts, len(cursor))
		}
		state, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{consent.Fields.Get("user_access_token"), w.app.ClientSecret.Reveal(), "EAA", "http"} {
			if strings.Contains(string(state), secret) {
				t.Errorf("part %d: the cursor holds a token or a URL", parts)
			}
		}
	}
	if len(found) != pages || parts < pages/100 {
		t.Errorf("got %d Pages in %d parts", len(found), parts)
	}
}

func testFacebookAccountsReduceTheAmountOfData(t *testing.T) {
	w := newWorld(t, facebookRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().MaxRows = 1 })
	if got := w.grantsOf(sandbox.Choice{}); len(got) != 3 {
		t.Errorf("got %v", got)
	}
	// The smallest limit is refused too: that is no empty list.
	w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "accounts", Kind: sandbox.Body, Status: 500, Times: -1,
		Text: `{"error":{"message":"Please reduce the amount of data you're asking for, then retry your request","code":1}}`})
	before := w.box.Count("facebook", "accounts")
	_, err := listAccounts(t.Context(), w.platform, w.app, w.redeemed(sandbox.Choice{}))
	w.fails(err, connector.PlatformUnavailable, false)
	if asked := w.box.Count("facebook", "accounts") - before; asked != 7 {
		t.Errorf("the list was asked for %d times, want the limits 100 to 1", asked)
	}
	w.box.ClearFaults()
	w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "accounts", Kind: sandbox.Body, Status: 500,
		Text: `{"error":{"message":"An unknown error occurred","code":1}}`})
	before = w.box.Count("facebook", "accounts")
	_, err = listAccounts(t.Context(), w.platform, w.app, w.redeemed(sandbox.Choice{}))
	w.fails(err, connector.PlatformUnavailable, false)
	if asked := w.box.Count("facebook", "accounts") - before; asked != 1 {
		t.Errorf("after an outage the list was asked for %d times", asked)
	}
}

func testFacebookAccountsPageWithoutAToken(t *testing.T) {
	w := newWorld(t, facebookRow)
	consent := w.redeemed(sandbox.Choice{Pages: []string{bakery}})
	for _, id := range []string{cycles, "1"} {
		_, err := w.platform.Account(t.Context(), w.app, consent, connector.Grant{Account: connector.Account{ID: id}, Incomplete: true})
		if e := w.fails(err, connector.ScopeMissing, false); e.Reason != "page_not_granted" {
			t.Errorf("%s: reason %q", id, e.Reason)
		}
	}
	full, err := w.platform.Account(t.Context(), w.app, consent, connector.Grant{Account: connector.Account{ID: bakery}, Incomplete: true})
	if err != nil || full.Incomplete || full.UserID != "100000000000001" || full.Account.Name != "Sandbox Bakery" || len(full.Credentials.Scopes) != 7 {
		t.Errorf("got %+v, error %v", full, err)
	}
	// A role that was lost since the list leaves out the Page, and no other.
	consent = w.redeemed(sandbox.Choice{})
	list, err := w.platform.Accounts(t.Context(), w.app, consent, "")
	if err != nil {
		t.Fatal(err)
	}
	w.box.ChangePage(gallery, func(p *sandbox.Page) { p.RoleLost = true })
	user := connector.Fields{"user_access_token": consent.Fields["user_access_token"]}
	grants, err := w.platform.Import(t.Context(), w.app, user, true)
	if err != nil || len(grants) != 2 || len(list.Grants) != 2 {
		t.Errorf("imported %v, error %v", accounts(grants), err)
	}
	_, err = w.platform.Accounts(t.Context(), w.app, consent, "no cursor")
	if !errors.Is(err, connector.Internal) {
		t.Errorf("a cursor that Accounts did not return: %v", err)
	}
	w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "node", Kind: sandbox.Throttled, Times: -1})
	_, err = w.platform.Account(t.Context(), w.app, consent, connector.Grant{Account: connector.Account{ID: bakery}, Incomplete: true})
	w.fails(err, connector.RateLimited, false)
	w.box.ClearFaults()
	w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "debug_token", Kind: sandbox.Outage, Times: -1})
	_, err = w.platform.Account(t.Context(), w.app, consent, connector.Grant{Account: connector.Account{ID: bakery}, Incomplete: true})
	w.fails(err, connector.PlatformUnavailable, false)
}

func TestFacebook_Check(t *testing.T) {
	t.Run("instagram_account_changes", testFacebookCheckInstagramAccountChanges)
	t.Run("refused_for_the_page", testFacebookCheckRefusedForThePage)
	t.Run("missing_permission_is_looked_up", testFacebookCheckMissingPermission)
}

func testFacebookCheckInstagramAccountChanges(t *testing.T) {
	const later = "17841400000000009"
	link := func(id string) func(*sandbox.Page) { return func(p *sandbox.Page) { p.InstagramID = id } }
	for _, test := range []struct {
		name         string
		choice       sandbox.Choice
		page, linked string
		want         string // the Instagram account afterwards
		warning      string
	}{
		{"linked later", sandbox.Choice{InGeneral: true}, cycles, later, later, ""},
		{"replaced", sandbox.Choice{InGeneral: true}, bakery, later, later, ""},
		{"removed", sandbox.Choice{InGeneral: true}, bakery, "", "", ""},
		{"linked later, and not selected", sandbox.Choice{}, cycles, later, "", "instagram_not_granted:"},
		{"not visible without the permission", sandbox.Choice{Untick: []string{"instagram_basic", "pages_read_engagement"}}, bakery, "17841400000000001", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, facebookRow)
			g := w.grantsOf(test.choice)[test.page]
			w.box.ChangePage(test.page, link(test.linked))
			v, err := w.platform.Verify(t.Context(), w.app, g.Credentials)
			if err != nil || v.Outdated != (g.Credentials.Fields.Get("ig_user_id") != test.want) || !strings.HasPrefix(v.Warning, test.warning) || (v.Warning == "") != (test.warning == "") {
				t.Errorf("verified: error %v, outdated %t, warning %q", err, v.Outdated, v.Warning)
			}
			before := g.Credentials.Fields.Clone()
			renewed, err := w.platform.Refresh(t.Context(), w.app, g.Credentials)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, public := w.platform.Token(w.app, renewed); public.Get("ig_user_id") != test.want {
				t.Errorf("the Instagram account is %q, want %q", public.Get("ig_user_id"), test.want)
			}
			if !g.Credentials.Fields.Equal(before) {
				t.Error("the credentials that were checked have changed")
			}
		})
	}

	// A list of the Page without the account proves nothing while the account answers.
	w := newWorld(t, facebookRow)
	c := w.connect().Credentials
	w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "node", Kind: sandbox.Fields, Omit: []string{"instagram_business_account"}, Times: -1})
	if renewed, err := w.platform.Refresh(t.Context(), w.app, c); err != nil || renewed.Fields.Get("ig_user_id") != "17841400000000001" {
		t.Errorf("Facebook leaves the account out: %q, error %v", renewed.Fields.Get("ig_user_id"), err)
	}
}

func testFacebookCheckRefusedForThePage(t *testing.T) {
	w := newWorld(t, facebookRow)
	grants := w.grantsOf(sandbox.Choice{})
	w.box.ChangePage(bakery, func(p *sandbox.Page) { p.RoleLost = true })
	w.grantsOf(sandbox.Choice{Pages: []string{bakery, gallery}})
	w.box.Advance(time.Second)
	for id, reason := range map[string]string{bakery: "role_lost", cycles: "page_not_granted", gallery: ""} {
		_, err := w.platform.Refresh(t.Context(), w.app, grants[id].Credentials)
		if reason == "" {
			if err != nil {
				t.Errorf("a Page that is selected still: %v", err)
			}
			continue
		}
		if e := w.fails(err, connector.ReauthorizationRequired, false); e.Reason != reason {
			t.Errorf("%s: reason %q, want %q", id, e.Reason, reason)
		}
	}
	w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().Blocked = true })
	_, err := w.platform.Refresh(t.Context(), w.app, grants[gallery].Credentials)
	if e := w.fails(err, connector.AppMisconfigured, false); e.Reason != "api_access_blocked" || e.ClientRefused {
		t.Errorf("a blocked app: %+v", e)
	}
}

// Code 200 does not say what is missing. debug_token decides.
func testFacebookCheckMissingPermission(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	c := connector.Credentials{Fields: connector.Fields{}}
	c.Fields.Set("page_id", "42")
	c.Fields.Set("page_access_token", "test-page-token")
	for name, test := range map[string]struct {
		inspection string
		code       connector.Code
		reason     string
	}{
		"the token has ended":      {`{"data":{"is_valid":false,"error":{"code":190,"subcode":458,"message":"no"}}}`, connector.ReauthorizationRequired, "app_removed"},
		"the Page is not selected": {`{"data":{"is_valid":true,"scopes":["pages_show_list"],"granular_scopes":[{"scope":"pages_show_list","target_ids":["43"]}]}}`, connector.ReauthorizationRequired, "page_not_granted"},
		"another permission":       {`{"data":{"is_valid":true,"scopes":["pages_show_list"],"granular_scopes":[{"scope":"pages_show_list","target_ids":["42"]}]}}`, connector.ScopeMissing, ""},
		"granted in general":       {`{"data":{"is_valid":true,"scopes":["pages_show_list"],"granular_scopes":[{"scope":"pages_show_list"}]}}`, connector.ScopeMissing, ""},
		"no inspection":            {`{"error":{"code":2,"message":"no"}}`, connector.ScopeMissing, ""},
	} {
		p := graphOf(t, map[string]string{
			"me":          `{"error":{"message":"(#200) Permissions error","type":"OAuthException","code":200}}`,
			"debug_token": test.inspection,
		})
		_, err := p.Refresh(t.Context(), app, c)
		if e := connector.AsError(err); e == nil || e.Code != test.code || e.Reason != test.reason {
			t.Errorf("%s: got %v, want %s %s", name, err, test.code, test.reason)
		}
	}
}
