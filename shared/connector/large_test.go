package connector_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
)

const (
	largeAccounts = 1500
	awsLatency    = 15 * time.Millisecond
)

// A person with 1,500 Pages consents. Each call of AWS takes 15 ms, and each call of the
// platform 200 ms. The browser gets its answer within 25 seconds, and all Pages are
// connected within five minutes, none twice, at ten new secrets a second at most.
func TestConsent_Large(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]largeConsent{
		"all":                   {accounts: largeAccounts},
		"tokens_must_be_asked":  {accounts: largeAccounts, incomplete: true},
		"chosen":                {accounts: largeAccounts, choose: true},
		"confirmed":             {accounts: largeAccounts, confirm: true},
		"slow_list":             {accounts: largeAccounts, list: 2500 * time.Millisecond},
		"slow_list_chosen":      {accounts: largeAccounts, list: 2500 * time.Millisecond, choose: true},
		"many_connected_before": {accounts: largeAccounts, before: largeAccounts - 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newLargeWorld(l)
				w.run(t)
				attr(t, "answer_ms", int(w.answered.Milliseconds()))
				attr(t, "connected_s", int(w.connected.Seconds()))
				t.Logf("answered after %v, connected after %v", w.answered, w.connected)
				if w.answered > 25*time.Second || w.connected > 5*time.Minute {
					t.Errorf("answered after %v, connected after %v", w.answered, w.connected)
				}
				if n := w.maxSecretsPerSecond(); n > 10 {
					t.Errorf("%d new secrets in a second", n)
				}
			})
		})
	}
}

// The functions that save a large consent crash at random calls. In the end all accounts
// are connected, none twice, and the link names each once.
func TestConsent_LargeCrashes(t *testing.T) {
	crashes, schedules := 0, number(t, "CONNECTOR_SCHEDULES", 300)/5
	for seed := range schedules {
		synctest.Test(t, func(t *testing.T) {
			l := largeConsent{accounts: 150, crashes: 6, seed: seed, choose: seed%3 == 0, confirm: seed%3 == 1}
			if seed%4 == 3 { // more parts than one caller has time for
				l.accounts, l.list = 250, 9*time.Second
			}
			w := newLargeWorld(l)
			w.run(t)
			crashes += w.crashed
			if t.Failed() {
				t.Errorf("seed %d", seed)
			}
		})
	}
	attr(t, "crashes", crashes)
	if crashes == 0 {
		t.Error("nothing crashed")
	}
}

// largeConsent is a consent of one person with many accounts.
type largeConsent struct {
	accounts        int
	before          int  // accounts that are connected already
	incomplete      bool // the list has no tokens
	choose, confirm bool
	list            time.Duration // that one part of the list takes; zero: as any call
	latency         time.Duration // of a call of the platform; zero: platformLatency
	crashes         int           // of functions
	seed            uint64
}

// largeWorld runs a large consent in virtual time.
type largeWorld struct {
	largeConsent
	store   *connectortest.Store
	vault   *connectortest.Vault
	queue   *connectortest.Queue
	events  *connectortest.Events
	service *connector.Service
	random  *rand.Rand

	mu      sync.Mutex
	secrets []time.Time // when each was created
	left    int         // crashes that are still to come
	dead    bool        // the process that runs has crashed
	armed   bool

	began               time.Time
	answered, connected time.Duration
	crashed             int
	calls               int // of the platform
}

func newLargeWorld(l largeConsent) *largeWorld {
	w := &largeWorld{
		largeConsent: l, left: l.crashes, random: rand.New(rand.NewPCG(l.seed, 7)),
		store: connectortest.NewStore(), vault: connectortest.NewVault(), queue: connectortest.NewQueue(), events: connectortest.NewEvents(),
	}
	w.service = &connector.Service{
		Platforms:     []connector.Platform{portfolio{w: w}},
		Now:           time.Now,
		Random:        &lockedRandom{source: rand.NewChaCha8([32]byte{byte(l.seed)})},
		Sleep:         connector.Sleep,
		Log:           slog.New(slog.NewTextHandler(io.Discard, nil)),
		PublicURL:     publicURL,
		ReturnOrigins: []string{"https://product.example.com"},
	}
	ports := connectortest.Ports{Store: w.store, Vault: w.vault, Sealer: connectortest.Sealer{}, Queue: w.queue, Events: w.events}
	ports.Wire(w.service, w.hook, credentialstore.Options{})
	return w
}

type lockedRandom struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (r *lockedRandom) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(p)
}

// hook delays each call as AWS does, and crashes the process before or after some.
func (w *largeWorld) hook(_ context.Context, call connectortest.Call, next func() error) error {
	time.Sleep(awsLatency)
	if w.crashes(1500) {
		panic(crash{})
	}
	err := next()
	if call.Name == "Vault.Put" && err == nil {
		w.mu.Lock()
		w.secrets = append(w.secrets, time.Now())
		w.mu.Unlock()
	}
	if w.crashes(1500) {
		panic(crash{})
	}
	return err
}

// crashes reports whether the process crashes at this step, of about that many.
func (w *largeWorld) crashes(steps int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.armed {
		return false
	}
	if !w.dead && w.left > 0 && w.random.IntN(steps) == 0 {
		w.left--
		w.crashed++
		w.dead = true
	}
	return w.dead
}

// maxSecretsPerSecond returns the largest number of secrets that were created in one second.
func (w *largeWorld) maxSecretsPerSecond() int {
	slices.SortFunc(w.secrets, time.Time.Compare)
	most, first := 0, 0
	for i, at := range w.secrets {
		for at.Sub(w.secrets[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// invoke runs one invocation of a function, until it returns or crashes.
func (w *largeWorld) invoke(t *testing.T, timeout time.Duration, call func(ctx context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	w.armed = true
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.dead, w.armed = false, false
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			err = errFunctionCrashed
		}
	}()
	return call(ctx)
}

var errFunctionCrashed = errors.New("the function crashed")

func (w *largeWorld) run(t *testing.T) {
	w.putApp(t)
	if w.before > 0 {
		all := w.accounts
		w.accounts = w.before
		w.consent(t, connector.LinkRequest{Platform: "portfolio", Owner: "acme"})
		w.accounts, w.secrets = all, nil
	}
	w.consent(t, connector.LinkRequest{Platform: "portfolio", Owner: "acme", ReturnURL: returnURL, Choose: w.choose, Confirm: w.confirm})
	w.check(t)
}

// A link is ended while the worker still saves the accounts of its consent. It saves no
// more of them; what was connected stays, and the link lists it.
func TestEndLink_WhileTheWorkerSaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLargeWorld(largeConsent{accounts: largeAccounts})
		w.putApp(t)
		request := connector.LinkRequest{Platform: "portfolio", Owner: "acme", ReturnURL: returnURL}
		link, callback := w.begin(t, request)
		if err := w.browse(t, request, callback); err != nil {
			t.Fatal(err)
		}
		if err := w.service.EndLink(t.Context(), link.ID); err != nil {
			t.Fatal(err)
		}
		before := len(w.vault.Names("connections/"))
		for range 200 {
			w.work(t)
		}
		state, err := w.service.ShowLink(t.Context(), link.ID, "", 100)
		if err != nil || state.Status != connector.LinkFailed || state.Failure != connector.LinkGone || state.Reason != "ended_by_operator" {
			t.Errorf("the link is %s (%s, %s), %v", state.Status, state.Failure, state.Reason, err)
		}
		if n := len(w.vault.Names("connections/")); before == 0 || n > before+10 || state.Connected != n {
			t.Errorf("%d accounts were connected before, %d now; the link says %d", before, n, state.Connected)
		}
		if _, err := w.service.Callback(t.Context(), callback); !errors.Is(err, connector.LinkGone) {
			t.Errorf("the browser, again: %v", err)
		}
	})
}

// A person whose Pages several owners have consents to few of them. To mark the others
// takes longer than the browser waits: the worker marks the rest.
func TestCoverage_Large(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLargeWorld(largeConsent{accounts: largeAccounts})
		w.putApp(t)
		owners := []string{"acme", "beta", "gamma", "delta"}
		for _, owner := range owners {
			w.consent(t, connector.LinkRequest{Platform: "portfolio", Owner: owner})
		}
		w.accounts, w.answered = 20, 0
		time.Sleep(time.Hour)
		request := connector.LinkRequest{Platform: "portfolio", Owner: "omega", ReturnURL: returnURL}
		_, callback := w.begin(t, request)
		if err := w.browse(t, request, callback); err != nil && !errors.Is(err, connector.PlatformUnavailable) {
			t.Error(err)
		}
		if w.answered > 25*time.Second {
			t.Errorf("answered after %v", w.answered)
		}
		for range 10 {
			w.work(t)
		}
		for _, owner := range owners {
			active := 0
			for cursor := ""; ; {
				page, next, err := w.service.Connections(t.Context(), connector.Filter{Owner: owner, Status: connector.Active}, cursor, 100)
				if err != nil {
					t.Fatal(err)
				}
				active += len(page)
				if cursor = next; cursor == "" {
					break
				}
			}
			if active != w.accounts {
				t.Errorf("%s has %d connections that work, want %d", owner, active, w.accounts)
			}
		}
	})
}

// A platform that lists no part of the accounts in the time that a worker has is not
// asked without end: the consent fails after a day of tries.
func TestConsent_ListTooSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLargeWorld(largeConsent{accounts: largeAccounts, list: time.Minute})
		w.putApp(t)
		request := connector.LinkRequest{Platform: "portfolio", Owner: "acme", ReturnURL: returnURL, ExpiresIn: connector.MaxLinkLife}
		link, callback := w.begin(t, request)
		if err := w.browse(t, request, callback); !errors.Is(err, connector.PlatformUnavailable) {
			t.Fatal(err)
		}
		for time.Since(w.began) < 30*time.Hour {
			_ = w.invoke(t, time.Minute, func(ctx context.Context) error { _, err := w.service.QueueDue(ctx); return err })
			for n := 0; n < 10 && time.Since(w.began) < 30*time.Hour; n++ {
				w.work(t)
			}
			time.Sleep(5 * time.Minute)
		}
		state, err := w.service.ShowLink(t.Context(), link.ID, "", 1)
		if err != nil || state.Status != connector.LinkFailed {
			t.Errorf("the link is %s (%s, %s), %v", state.Status, state.Failure, state.Reason, err)
		}
		if w.calls > 1000 {
			t.Errorf("%d calls of the platform in a day", w.calls)
		}
	})
}

// putApp stores the app of the platform.
func (w *largeWorld) putApp(t *testing.T) {
	app := connector.App{ClientID: "client", ClientSecret: connector.NewSecret("made-up-secret")}
	if _, err := w.service.PutApp(t.Context(), "portfolio", app); err != nil {
		t.Fatal(err)
	}
}

// begin mints a link, opens it, and returns what the browser brings back.
func (w *largeWorld) begin(t *testing.T, request connector.LinkRequest) (link connector.MintedLink, callback connector.CallbackRequest) {
	link, err := w.service.MintLink(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	w.began = time.Now()
	return link, w.open(t, link)
}

// consent takes the person through a consent, and runs the worker and the sweep until the
// link is connected.
func (w *largeWorld) consent(t *testing.T, request connector.LinkRequest) {
	link, callback := w.begin(t, request)
	// The browser reloads until it has an answer.
	for {
		err := w.browse(t, request, callback)
		if err == nil {
			break
		}
		if errors.Is(err, connector.StateInvalid) { // after ten minutes of crashes
			if state, err := w.service.ShowLink(t.Context(), link.ID, "", 1); err != nil || state.Connected > 0 {
				break
			}
			callback = w.open(t, link)
			continue
		}
		if !errors.Is(err, errFunctionCrashed) && !errors.Is(err, connector.PlatformUnavailable) && !errors.Is(err, connector.Internal) {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		w.work(t)
	}
	for swept := time.Now(); ; time.Sleep(time.Second) {
		state, err := w.service.ShowLink(t.Context(), link.ID, "", 1)
		if err == nil && state.Status == connector.LinkConnected {
			w.connected = time.Since(w.began)
			w.wantNamed(t, link.ID)
			return
		}
		if time.Since(w.began) > time.Hour {
			t.Fatalf("the link is %+v after an hour: %v", state, err)
		}
		if time.Since(swept) > 5*time.Minute {
			swept = time.Now()
			w.service.QueueDue(t.Context())
		}
		w.work(t)
	}
}

// open opens the link, and returns what the browser brings back from the platform.
func (w *largeWorld) open(t *testing.T, link connector.MintedLink) connector.CallbackRequest {
	at, err := url.Parse(link.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	started, err := w.service.Start(t.Context(), connector.NewSecret(at.Path[len("/connect/"):]))
	if err != nil {
		t.Fatal(err)
	}
	if at, err = url.Parse(started.URL.Reveal()); err != nil {
		t.Fatal(err)
	}
	return connector.CallbackRequest{
		Platform: "portfolio", State: connector.NewSecret(at.Query().Get("state")), Code: connector.NewSecret("code"),
		Browser: func(string) connector.Secret { return started.CookieValue },
	}
}

// browse is one request of the person's browser, with the choice and the confirmation.
func (w *largeWorld) browse(t *testing.T, request connector.LinkRequest, callback connector.CallbackRequest) error {
	begun := time.Now()
	var result connector.CallbackResult
	err := w.invoke(t, 29*time.Second, func(ctx context.Context) (err error) {
		result, err = w.service.Callback(ctx, callback)
		return err
	})
	w.answered = max(w.answered, time.Since(begun))
	if err != nil {
		return err
	}
	if w.before > 0 && w.accounts > w.before {
		for _, c := range result.Connections[:w.accounts-w.before] {
			if c.AccountID < (portfolio{}).grant(w.before).Account.ID {
				t.Errorf("%s was connected before, and comes ahead of a new account", c.AccountID)
			}
		}
	}
	if result.Choices != nil {
		if len(result.Choices) != w.accounts {
			t.Errorf("%d choices", len(result.Choices))
		}
		var ids []string
		for _, c := range result.Choices {
			ids = append(ids, c.ID)
		}
		begun = time.Now()
		err := w.invoke(t, 29*time.Second, func(ctx context.Context) (err error) {
			result, err = w.service.Choose(ctx, callback, ids)
			return err
		})
		w.answered = max(w.answered, time.Since(begun))
		if err != nil {
			return err
		}
	}
	if request.Confirm && !result.Confirmation.Empty() {
		begun = time.Now()
		err := w.invoke(t, 29*time.Second, func(ctx context.Context) error {
			_, err := w.service.Confirm(ctx, result.Confirmation, "acme")
			return err
		})
		w.answered = max(w.answered, time.Since(begun))
		if errors.Is(err, connector.ConnectionNotFound) {
			return nil // confirmed before
		}
		return err
	}
	return nil
}

// work has the worker handle what is queued.
func (w *largeWorld) work(t *testing.T) {
	for _, item := range w.queue.Drain() {
		time.Sleep(time.Second) // the delay of the message
		_ = w.invoke(t, time.Minute, func(ctx context.Context) error { _, err := w.service.HandleDue(ctx, item); return err })
	}
}

// wantNamed wants the link to name each account once.
func (w *largeWorld) wantNamed(t *testing.T, link string) {
	named := map[string]bool{}
	for cursor := ""; ; {
		state, err := w.service.ShowLink(t.Context(), link, cursor, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range state.Connections {
			if named[c.AccountID] {
				t.Errorf("the link names %s twice", c.AccountID)
			}
			named[c.AccountID] = true
		}
		if cursor = state.Next; cursor == "" {
			if len(named) != w.accounts || state.Accounts != w.accounts || state.Connected != w.accounts {
				t.Errorf("the link names %d accounts of %d, and says %d of %d", len(named), w.accounts, state.Connected, state.Accounts)
			}
			return
		}
	}
}

// check wants one connection an account, and no secret without a connection.
func (w *largeWorld) check(t *testing.T) {
	for range 3 { // for what a crash left
		time.Sleep(time.Hour)
		w.service.QueueDue(t.Context())
		w.work(t)
	}
	accounts := map[string]bool{}
	for cursor := ""; ; {
		page, next, err := w.service.Connections(t.Context(), connector.Filter{Owner: "acme"}, cursor, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			if accounts[c.AccountID] || c.Status != connector.Active {
				t.Errorf("%s: twice, or %s", c.AccountID, c.Status)
			}
			accounts[c.AccountID] = true
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if len(accounts) != w.accounts {
		t.Errorf("%d accounts are connected, of %d", len(accounts), w.accounts)
	}
	if secrets := w.vault.Names("connections/"); len(secrets) != w.accounts {
		t.Errorf("%d secrets", len(secrets))
	}
	if pending := w.vault.Names("pending/"); len(pending) != 0 {
		t.Errorf("secrets of a consent are left: %d", len(pending))
	}
	if strings.Contains(w.store.Text(), string(connector.ConsentAccountsKind)) {
		t.Error("a list of accounts is left")
	}
	connected := 0
	for _, e := range w.events.All() {
		if e.Type == connector.EventConnected {
			connected++
		}
	}
	if connected < w.accounts {
		t.Errorf("%d events", connected)
	}
}

// portfolio is a platform on which one person has many accounts.
type portfolio struct {
	connector.Platform
	w *largeWorld
}

const platformLatency = 200 * time.Millisecond

func (portfolio) Describe() connector.Description {
	return connector.Description{
		Name: "portfolio", Title: "Portfolio", Scopes: []string{"post"}, UncoveredReason: "not_covered",
		Cadence: connector.Cadence{Model: connector.Permanent, CheckEvery: 7 * 24 * time.Hour},
	}
}

func (portfolio) AuthorizeURL(_ connector.App, a connector.Authorization) (string, error) {
	return "https://portfolio.example/authorize?state=" + a.State.Reveal(), nil
}

func (portfolio) Refresh(_ context.Context, _ connector.App, c connector.Credentials) (connector.Credentials, error) {
	return c, nil
}

func (portfolio) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	return c.Fields["token"], "Bearer", nil
}

func (portfolio) AppKey(connector.App, connector.Credentials) string { return "" }

func (p portfolio) call() {
	p.w.mu.Lock()
	p.w.calls++
	p.w.mu.Unlock()
	time.Sleep(cmp.Or(p.w.latency, platformLatency))
}

func (p portfolio) Redeem(context.Context, connector.App, connector.Authorization, connector.Secret) (connector.Credentials, error) {
	p.call()
	return connector.Credentials{Fields: connector.Fields{"user_token": connector.NewSecret("short")}, IssuedAt: time.Now()}, nil
}

func (p portfolio) Extend(_ context.Context, _ connector.App, c connector.Credentials) (connector.Credentials, error) {
	p.call()
	c.Fields = connector.Fields{"user_token": connector.NewSecret("long")}
	return c, nil
}

func (p portfolio) grant(n int) connector.Grant {
	return connector.Grant{
		Account: connector.Account{ID: fmt.Sprintf("2000000%05d", n), Name: fmt.Sprintf("Page %d", n)}, UserID: "person",
		Credentials: connector.Credentials{Fields: connector.Fields{"token": connector.NewSecret(strconv.Itoa(n))}, Scopes: []string{"post"}, IssuedAt: time.Now()},
	}
}

func (p portfolio) Accounts(ctx context.Context, _ connector.App, c connector.Credentials, cursor string) (connector.AccountList, error) {
	if connector.Sleep(ctx, max(platformLatency, p.w.list)) != nil {
		return connector.AccountList{}, &connector.Error{Code: connector.PlatformUnavailable, Message: "no answer in time"}
	}
	if c.Fields.Get("user_token") != "long" {
		return connector.AccountList{}, &connector.Error{Code: connector.Internal, Message: "not the lasting token"}
	}
	from := 0
	if cursor != "" {
		from, _ = strconv.Atoi(cursor)
	}
	var list connector.AccountList
	to := min(from+100, p.w.accounts)
	for n := from; n < to; n++ {
		g := p.grant(n)
		if p.w.incomplete {
			g.Incomplete, g.Credentials.Fields = true, nil
		}
		list.Grants = append(list.Grants, g)
	}
	if to < p.w.accounts {
		list.Next = strconv.Itoa(to)
		return list, nil
	}
	for n := range p.w.accounts {
		list.Covered = append(list.Covered, p.grant(n).Account.ID)
	}
	return list, nil
}

func (p portfolio) Account(_ context.Context, _ connector.App, _ connector.Credentials, g connector.Grant) (connector.Grant, error) {
	p.call()
	n, err := strconv.Atoi(g.Account.ID[len("2000000"):])
	if err != nil {
		return connector.Grant{}, err
	}
	return p.grant(n), nil
}
