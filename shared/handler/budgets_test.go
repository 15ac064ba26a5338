package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// budgetCases has a row for each budget that is counted over time. A new budget is
// one row: begin prepares what has the budget, and returns the request that uses it
// once; used counts what the budget protects.
var budgetCases = []struct {
	name   connector.BudgetName
	window time.Duration
	begin  func(t *testing.T, s *stack, owner string) (use func() reply)
	used   func(s *stack) int
}{
	{connector.StartsPerLink, 10 * time.Minute, func(t *testing.T, s *stack, owner string) func() reply {
		link := s.link(t, map[string]any{"platform": "youtube", "owner": owner, "expires_in": 3600, "confirm": false})
		return func() reply { return s.do(t, http.MethodGet, link) }
	}, states},
	{connector.ExchangesPerLink, 10 * time.Minute, func(t *testing.T, s *stack, owner string) func() reply {
		link := s.link(t, map[string]any{"platform": "youtube", "owner": owner, "expires_in": 3600, "confirm": false})
		return func() reply { return s.madeUpCode(t, link) }
	}, exchanges},
	{connector.ListingsPerLink, 10 * time.Minute, func(t *testing.T, s *stack, owner string) func() reply {
		callback, cookie := s.authorize(t, s.link(t, map[string]any{"platform": "youtube", "owner": owner, "choose": true}), sandbox.Choice{})
		s.do(t, http.MethodGet, callback, withCookie(cookie))
		return func() reply { return s.do(t, http.MethodGet, callback, withCookie(cookie)) }
	}, func(s *stack) int { return s.sandbox.Count("youtube", "channels") }},
	{connector.ListingsPerLink, 10 * time.Minute, func(t *testing.T, s *stack, owner string) func() reply {
		confirmation := s.hold(t, "youtube", owner, sandbox.Choice{})
		return func() reply {
			return s.do(t, http.MethodPost, "/connections/confirm", withJSON(t, map[string]any{"confirmation": confirmation, "owner": owner, "list": true}))
		}
	}, func(s *stack) int { return s.sandbox.Count("youtube", "channels") }},
	{connector.ExchangesPerOwner, day, func(t *testing.T, s *stack, owner string) func() reply {
		return func() reply {
			return s.madeUpCode(t, s.link(t, map[string]any{"platform": "youtube", "owner": owner}))
		}
	}, exchanges},
	{connector.LinksPerOwner, day, func(t *testing.T, s *stack, owner string) func() reply {
		return func() reply {
			return s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": owner}))
		}
	}, func(s *stack) int { return s.records(connector.LinkKind) }},
	{connector.ConnectionsPerOwner, day, imports(false), secrets},
	{connector.ImportsPerOwner, day, imports(false), secrets},
	{connector.VerificationsPerOwner, day, func(t *testing.T, s *stack, owner string) func() reply {
		id := s.connect(t, "youtube", owner, sandbox.Choice{})[0]
		return func() reply { return s.do(t, http.MethodPost, "/connections/"+id+"/verify") }
	}, func(s *stack) int { return s.sandbox.Count("youtube", "channels") - 1 }},
	{connector.VerificationsPerOwner, day, imports(true), func(s *stack) int { return s.sandbox.Count("youtube", "tokeninfo") }},
	{connector.RefreshesPerOwner, day, func(t *testing.T, s *stack, owner string) func() reply {
		id := s.connect(t, "youtube", owner, sandbox.Choice{})[0]
		n := 0
		return func() reply {
			if n++; n%10 == 0 {
				s.clock.Advance(10 * time.Minute) // past the limit of the connection
			}
			return s.do(t, http.MethodPost, "/connections/"+id+"/refresh")
		}
	}, func(s *stack) int { return s.sandbox.Count("youtube", "token/refresh_token") }},
}

const day = 24 * time.Hour

// madeUpCode opens a link, and requests the callback with a code of its own.
func (s *stack) madeUpCode(t *testing.T, link string) reply {
	t.Helper()
	started := s.do(t, http.MethodGet, link)
	location, err := url.Parse(started.Headers["location"])
	if err != nil || started.StatusCode != http.StatusFound {
		t.Fatalf("start: %d %s", started.StatusCode, started.Body)
	}
	cookie, _, _ := strings.Cut(started.Cookies[0], ";")
	return s.do(t, http.MethodGet, "/oauth/youtube/callback?code=made-up&state="+location.Query().Get("state"), withCookie(cookie))
}

// imports imports credentials of another account each time.
func imports(verify bool) func(t *testing.T, s *stack, owner string) func() reply {
	return func(t *testing.T, s *stack, owner string) func() reply {
		n := 0
		return func() reply {
			n++
			return s.do(t, http.MethodPost, "/connections", withJSON(t, map[string]any{
				"platform": "youtube", "owner": owner, "verify": verify,
				"credentials": map[string]string{"access_token": fmt.Sprint("made-up-", n), "refresh_token": fmt.Sprint("made-up-", n)},
			}))
		}
	}
}

func states(s *stack) int    { return s.records(connector.StateKind) }
func exchanges(s *stack) int { return s.sandbox.Count("youtube", "token/authorization_code") }
func secrets(s *stack) int   { return len(s.vault.Names("connections/")) }

// counted notes what a stack writes: the tickets of each kind, and the names of
// the counters.
type counted struct {
	mu       sync.Mutex
	tickets  map[connector.Kind]int
	counters map[string]bool
}

// count begins to note what the stack writes.
func (s *stack) count() *counted {
	c := &counted{tickets: map[connector.Kind]int{}, counters: map[string]bool{}}
	s.counted = c
	s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		err := next()
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			for _, ticket := range call.Change.Put {
				c.tickets[ticket.Kind]++
			}
		}
		if call.Counter != "" {
			c.counters[call.Counter] = true
		}
		return err
	})
	return c
}

// records returns how many tickets of a kind were written since count.
func (s *stack) records(kind connector.Kind) int {
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	return s.counted.tickets[kind]
}

// overBudget checks that a budget refused a request, and returns the problem.
func (r reply) overBudget(t *testing.T, name connector.BudgetName) problem {
	t.Helper()
	p := r.refused(t, http.StatusTooManyRequests, connector.RateLimited)
	if p.Reason != "budget_exceeded" || p.RetryAfter < 1 || r.Headers["retry-after"] != fmt.Sprint(p.RetryAfter) ||
		!strings.Contains(p.Detail, string(name)) || !strings.Contains(p.Detail, "BUDGETS") {
		t.Fatalf("%s: %+v", name, p)
	}
	return p
}

// TestBudgets uses each budget 300 times, and far more often than its limit
// allows.
func TestBudgets(t *testing.T) {
	t.Parallel()
	covered := map[connector.BudgetName]bool{connector.AccountsPerConsent: true} // TestBudgets_AccountsPerConsent
	for n, c := range budgetCases {
		covered[c.name] = true
		t.Run(fmt.Sprintf("%s_%d", c.name, n), func(t *testing.T) {
			t.Parallel()
			const limit, tries = 7, 300
			s := newStack(t)
			s.count()
			s.service.Budgets = unlimited()
			s.service.Budgets[c.name] = limit
			use := c.begin(t, s, "an owner / with ü")
			before := c.used(s)
			var refused problem
			for i := range tries {
				switch r := use(); {
				case i < limit && r.StatusCode == http.StatusTooManyRequests:
					t.Fatalf("refused at %d of %d: %s", i+1, limit, r.Body)
				case i >= limit:
					refused = r.overBudget(t, c.name)
				}
			}
			if used := c.used(s) - before; used > limit {
				t.Errorf("%d tries used %d, want at most %d", tries, used, limit)
			}
			if left := time.Duration(refused.RetryAfter) * time.Second; left > c.window {
				t.Errorf("retry after %v, longer than the window of %v", left, c.window)
			}
			if r := c.begin(t, s, "another owner")(); r.StatusCode == http.StatusTooManyRequests {
				t.Errorf("another owner: %s", r.Body)
			}
			s.clock.Advance(time.Duration(refused.RetryAfter) * time.Second)
			if r := use(); r.StatusCode == http.StatusTooManyRequests {
				t.Errorf("after retry_after: %s", r.Body)
			}
			if logs := s.logs.String(); strings.Contains(logs, "an owner /") || !strings.Contains(logs, `"budget":"`+string(c.name)+`"`) {
				t.Error("the log does not name the budget alone")
			}
			for name := range s.counted.counters {
				if strings.Contains(name, "owner / ") || strings.Contains(name, "ü") {
					t.Errorf("the counter %q names the owner", name)
				}
			}
		})
	}
	for _, b := range connector.Budgets() {
		if !covered[b.Name] {
			t.Errorf("no row for %s", b.Name)
		}
	}
}

// unlimited has a large limit for each budget.
func unlimited() map[connector.BudgetName]int {
	limits := map[connector.BudgetName]int{}
	for _, b := range connector.Budgets() {
		limits[b.Name] = 1_000_000
	}
	return limits
}

// The README promises the defaults.
func TestBudgets_Defaults(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	promised := strings.ReplaceAll(string(readme), ",000", "000")
	for _, b := range connector.Budgets() {
		row := fmt.Sprintf("| `%s` | %d", b.Name, b.Default)
		switch b.Window {
		case day:
			row += " a day |"
		case 10 * time.Minute:
			row += " in ten minutes |"
		default:
			row += " |"
		}
		if !strings.Contains(promised, row) {
			t.Errorf("the README has no row %q", row)
		}
	}
	s := newStack(t)
	s.count()
	link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme"})
	for range 300 {
		s.do(t, http.MethodGet, link)
	}
	if got := states(s); got != 30 {
		t.Errorf("300 opens of one link left %d states, want 30", got)
	}
}

// Callers at once must not fail each other below the limit.
func TestBudgets_Concurrent(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.count()
	link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme"})
	var wait sync.WaitGroup
	answers := make([]reply, 50)
	for i := range answers {
		wait.Go(func() { answers[i] = s.do(t, http.MethodGet, link) })
	}
	wait.Wait()
	started := 0
	for _, r := range answers {
		if r.StatusCode == http.StatusFound {
			started++
		} else {
			r.overBudget(t, connector.StartsPerLink)
		}
	}
	if started != 30 || states(s) != 30 {
		t.Errorf("%d starts and %d states, want 30", started, states(s))
	}
}

// A request that a budget refuses uses no other budget, and changes nothing.
func TestBudgets_Refused(t *testing.T) {
	t.Parallel()
	t.Run("import_uses_no_other_budget", func(t *testing.T) {
		t.Parallel()
		for _, refusing := range []connector.BudgetName{connector.ImportsPerOwner, connector.VerificationsPerOwner} {
			s := newStack(t)
			s.service.Budgets = map[connector.BudgetName]int{connector.ImportsPerOwner: 3, connector.VerificationsPerOwner: 3}
			s.service.Budgets[refusing] = 0
			use := imports(true)(t, s, "acme")
			for range 5 {
				use().overBudget(t, refusing)
			}
			s.service.Budgets[refusing] = 3
			for range 3 {
				if r := use(); r.StatusCode == http.StatusTooManyRequests {
					t.Errorf("%s: %s", refusing, r.Body)
				}
			}
		}
	})
	t.Run("refresh_by_the_connection_uses_no_budget_of_the_owner", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Budgets = map[connector.BudgetName]int{connector.RefreshesPerOwner: 11}
		refresh := func(id string) reply { return s.do(t, http.MethodPost, "/connections/"+id+"/refresh") }
		first := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		for i := range 30 {
			if r := refresh(first); i >= 10 && r.refused(t, 429, connector.RateLimited).Reason != "forced_too_often" {
				t.Errorf("refresh %d: %s", i, r.Body)
			}
		}
		second := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
		refresh(second).decode(t, 200, &struct{}{})
		refresh(second).overBudget(t, connector.RefreshesPerOwner)

		// By token-get, too, a caller who forces is told.
		if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+second+`","force_refresh":true}`); failure == nil || failure.Type != "RateLimited" {
			t.Errorf("forced token: %v", failure)
		}
		if token, failure := s.invoke(t, "token-get", `{"connection_id":"`+second+`"}`); failure != nil || token["degraded"] != nil {
			t.Errorf("token: %v, %v", token, failure)
		}
	})
	t.Run("code_is_not_exchanged_and_the_link_stays_good", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Budgets = map[connector.BudgetName]int{connector.ExchangesPerLink: 2}
		link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL})
		for range 2 {
			s.madeUpCode(t, link)
		}
		if location := s.consent(t, link, sandbox.Choice{}); location.Query().Get("error") != "RateLimited" {
			t.Errorf("ended at %s", location)
		}
		if n := s.sandbox.Count("youtube", "token/authorization_code"); n != 2 {
			t.Errorf("%d exchanges, want 2", n)
		}
		s.clock.Advance(10 * time.Minute)
		if location := s.consent(t, link, sandbox.Choice{}); location.Query().Get("status") != "connected" {
			t.Errorf("in the next window: %s", location)
		}
	})
	t.Run("consent_creates_nothing_and_the_link_stays_good", func(t *testing.T) {
		t.Parallel()
		for _, confirm := range []bool{false, true} {
			s := newStack(t)
			s.service.Budgets = map[connector.BudgetName]int{connector.ConnectionsPerOwner: 1}
			link := s.link(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL, "confirm": confirm})
			if location := s.consent(t, link, sandbox.Choice{}); location.Query().Get("error") != "RateLimited" {
				t.Errorf("ended at %s", location)
			}
			if names := append(s.vault.Names("connections/"), s.vault.Names("pending/")...); len(names) > 0 || len(s.connections(t)) > 0 {
				t.Errorf("confirm %v: created %q", confirm, names)
			}
			page := s.sandbox.People("facebook")[0].Pages[0].ID
			if location := s.consent(t, link, sandbox.Choice{Pages: []string{page}}); location.Query().Has("error") {
				t.Errorf("confirm %v: fewer Pages: %s", confirm, location)
			}
		}
	})
	// Renewals are not new, whatever was reserved for them.
	t.Run("renewals_need_no_budget", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		pages := len(s.connect(t, "facebook", "acme", sandbox.Choice{}))
		s.service.Budgets = map[connector.BudgetName]int{connector.ConnectionsPerOwner: pages + 1}
		for range 3 {
			s.connect(t, "facebook", "acme", sandbox.Choice{})
		}
		id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0] // the last one of the day
		again := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "connection_id": id, "return_url": returnURL})
		if location := s.consent(t, again, sandbox.Choice{}); location.Query().Get("status") != "connected" {
			t.Errorf("a re-authorization: %s", location)
		}
		other := s.link(t, map[string]any{"platform": "tiktok", "owner": "acme", "return_url": returnURL})
		if location := s.consent(t, other, sandbox.Choice{}); location.Query().Get("error") != "RateLimited" {
			t.Errorf("one more than the budget: %s", location)
		}
	})
	// A caller that may not act for an owner cannot use up its budget.
	t.Run("foreign_owner_keeps_its_budget", func(t *testing.T) {
		t.Parallel()
		s, _, globex := confinedStack(t)
		s.count()
		own := as(role + "acme/session")
		for _, do := range []func() reply{
			func() reply { return s.do(t, http.MethodPost, "/connections/"+globex+"/verify", own) },
			func() reply { return s.do(t, http.MethodPost, "/connections/"+globex+"/refresh", own) },
			func() reply {
				return s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": "globex"}), own)
			},
			func() reply {
				return s.do(t, http.MethodPost, "/connections", withJSON(t, map[string]any{
					"platform": "youtube", "owner": "globex", "credentials": map[string]string{"access_token": "a", "refresh_token": "b"}}), own)
			},
		} {
			do().refused(t, 404, connector.ConnectionNotFound)
		}
		s.do(t, http.MethodGet, "/connect/"+strings.Repeat("x", 43)).refused(t, 410, connector.LinkGone)
		s.do(t, http.MethodGet, "/oauth/youtube/callback?code=x&state="+strings.Repeat("x", 43)).refused(t, 400, connector.StateInvalid)
		if len(s.counted.counters) > 0 {
			t.Errorf("counted %v", s.counted.counters)
		}
	})
	// A person gets a page that says what to do.
	t.Run("person_gets_a_page", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Budgets = map[connector.BudgetName]int{connector.StartsPerLink: 0}
		r := s.do(t, http.MethodGet, s.link(t, map[string]any{"platform": "youtube", "owner": "acme"}), with("accept", browserUse))
		if r.StatusCode != 429 || r.Headers["retry-after"] == "" || !strings.Contains(r.Body, "Wait a few minutes") {
			t.Errorf("%d %v %s", r.StatusCode, r.Headers, r.Body)
		}
	})
}

// rich is a person with many Pages, and returns their choice.
func (s *stack) rich(pages int) sandbox.Choice {
	person := sandbox.Person{ID: "300000000000001", Name: "Rich Sandbox"}
	for n := range pages {
		person.Pages = append(person.Pages, sandbox.Page{ID: fmt.Sprint(400000000000000 + n), Name: fmt.Sprint("Page ", n), Username: fmt.Sprint("page", n)})
	}
	s.sandbox.AddPerson("facebook", person)
	return sandbox.Choice{Account: person.ID}
}

func TestBudgets_AccountsPerConsent(t *testing.T) {
	t.Parallel()
	t.Run("consent", func(t *testing.T) {
		t.Parallel()
		for _, confirm := range []bool{false, true} {
			s := newStack(t)
			s.service.Budgets = map[connector.BudgetName]int{connector.AccountsPerConsent: 100}
			choice := s.rich(1500)
			id, link := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL, "confirm": confirm})
			if location := s.consent(t, link, choice); location.Query().Get("error") != "RateLimited" || location.Query().Has("connection_id") {
				t.Errorf("ended at %s", location)
			}
			if names := append(s.vault.Names("connections/"), s.vault.Names("pending/")...); len(names) > 0 || len(s.connections(t)) > 0 {
				t.Errorf("created %d secrets", len(names))
			}
			if n := s.sandbox.Count("facebook", "revoke"); n > 1 {
				t.Errorf("%d revocations, want one at most", n)
			}
			if l := s.showLink(t, id); l.Status != "failed" || l.Error != "RateLimited" || l.Reason != "too_many_accounts" || l.Accounts != 0 {
				t.Errorf("the link: %+v", l)
			}
			choice.Pages = []string{"400000000000000", "400000000000001"}
			if location := s.consent(t, link, choice); location.Query().Has("error") {
				t.Errorf("fewer Pages: %s", location)
			}
		}
	})
	t.Run("person_is_told_to_choose_fewer", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Budgets = map[connector.BudgetName]int{connector.AccountsPerConsent: 100}
		f := s.flowOf(t, "facebook", s.link(t, map[string]any{"platform": "facebook", "owner": "acme"}), s.rich(101))
		page := f.finish(t, with("accept", browserUse))
		if page.StatusCode != 429 || !strings.Contains(page.Body, "choose fewer of them") || !strings.Contains(page.Body, "101 accounts") {
			t.Errorf("%d %s", page.StatusCode, page.Body)
		}
	})
	t.Run("as_many_as_allowed", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Budgets = map[connector.BudgetName]int{connector.AccountsPerConsent: 100}
		if ids := s.connect(t, "facebook", "acme", s.rich(100)); len(s.vault.Names("connections/")) != 100 || len(ids) == 0 {
			t.Errorf("%d secrets, want 100", len(s.vault.Names("connections/")))
		}
	})
	// A consent through a link that is spent stores no secret.
	t.Run("consent_through_a_spent_link", func(t *testing.T) {
		t.Parallel()
		for _, confirm := range []bool{false, true} {
			s := newStack(t)
			s.service.Budgets = map[connector.BudgetName]int{connector.AccountsPerConsent: 1000}
			choice := s.rich(1500)
			id, link := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL, "confirm": confirm})
			f := s.flowOf(t, "facebook", link, choice)
			s.endLink(t, id)
			if r := f.finish(t); !strings.Contains(r.Headers["location"], "error=LinkGone") {
				t.Errorf("ended at %v", r.Headers)
			}
			if n := len(s.vault.Names("pending/")) + len(s.vault.Names("connections/")); n != 0 || s.sandbox.Count("facebook", "revoke") != 0 {
				t.Errorf("%d secrets, want none, and no revocation yet", n)
			}
		}
	})
	// A grant that another connection depends on stays.
	t.Run("other_connections_of_the_person_stay", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		choice := s.rich(150)
		few := choice
		few.Pages = []string{"400000000000000"}
		id := s.connect(t, "facebook", "globex", few)[0]
		s.service.Budgets = map[connector.BudgetName]int{connector.AccountsPerConsent: 100}
		link := s.link(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL})
		if location := s.consent(t, link, choice); location.Query().Get("error") != "RateLimited" {
			t.Errorf("ended at %s", location)
		}
		s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
	})
	t.Run("import", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Budgets = map[connector.BudgetName]int{connector.AccountsPerConsent: 0}
		if p := imports(false)(t, s, "acme")().refused(t, 429, connector.RateLimited); p.Reason != "too_many_accounts" || p.RetryAfter != 0 || !strings.Contains(p.Detail, "accounts_per_consent") {
			t.Errorf("%+v", p)
		}
		if n := len(s.connections(t)); n > 0 || s.sandbox.Count("youtube", "revoke") > 0 {
			t.Errorf("%d connections, want none, and no revocation", n)
		}
	})
}
