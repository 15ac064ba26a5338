package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"time"
)

// App is the OAuth client that is registered with a platform. Its values are
// fixed, and visibly not real.
type App struct {
	ClientID     string
	ClientSecret string
	RedirectURIs []string
	// Extras are the fields that the platform adds to an app.
	Extras map[string]string
}

// Person is a person with an account on a platform.
type Person struct {
	// ID is the platform's id of the person, which Choice and Kill take: a user
	// id, Google's sub, TikTok's open_id.
	ID string
	// Name is the name on the consent page.
	Name     string
	Username string
	// Channel and ChannelTitle belong to Google: the channel that Google takes
	// where the person selects none. They are empty for a person without a channel.
	Channel, ChannelTitle string
	// BrandChannels are the channels of the person's brand accounts.
	BrandChannels []Channel
	// UnionID and Private belong to TikTok.
	UnionID string
	Private bool
	// ProfessionalID and AccountType belong to Instagram: the id of the professional
	// account, and its type. An empty type means a business.
	ProfessionalID, AccountType string
	// Pages are the Facebook Pages that the person can manage.
	Pages []Page
}

// Channel is a YouTube channel.
type Channel struct {
	ID, Title string
}

// channels returns the channels of the person, the default one first.
func (p *Person) channels() []Channel {
	if p.Channel == "" {
		return p.BrandChannels
	}
	return append([]Channel{{p.Channel, p.ChannelTitle}}, p.BrandChannels...)
}

// Page is a Facebook Page.
type Page struct {
	ID, Name, Username string
	// InstagramID and InstagramUsername belong to the linked professional
	// account. They are empty where there is none.
	InstagramID, InstagramUsername string
	// Business is the id of the business portfolio that gives the person a role
	// on the Page. It is empty where the person has a role of their own.
	Business string
	// Client is set where the portfolio manages the Page for a client.
	Client bool
	// Tasks are what the person may do on the Page; nil: everything.
	Tasks []string
	// RoleLost is set once the person has no role on the Page any more.
	RoleLost bool
}

func (p Person) clone() Person {
	p.Pages = slices.Clone(p.Pages)
	return p
}

// AppOf returns the app that is registered with a platform.
func (s *Sandbox) AppOf(platform string) App {
	s.mu.Lock()
	defer s.mu.Unlock()
	app := *s.dialect(platform).common().app
	app.RedirectURIs = slices.Clone(app.RedirectURIs)
	return app
}

// People returns the people with an account on a platform. Consent uses the first
// one where the choice has no account.
func (s *Sandbox) People(platform string) []Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	var people []Person
	for _, p := range s.dialect(platform).common().people {
		people = append(people, p.clone())
	}
	return people
}

// AddPerson adds a person to the end of a platform's people.
func (s *Sandbox) AddPerson(platform string, p Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dialect(platform).common()
	p = p.clone()
	d.people = append(d.people, &p)
}

// ChangePage changes a Facebook Page for everybody who has a role on it: its
// Instagram account, the tasks, the role. It reports whether there is such a Page.
func (s *Sandbox) ChangePage(id string, change func(*Page)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, person := range s.dialect(Facebook).common().people {
		for i := range person.Pages {
			if person.Pages[i].ID == id {
				change(&person.Pages[i])
				found = true
			}
		}
	}
	return found
}

// platform is the state of every dialect: the app, the people, and the issued codes
// and tokens.
type platform struct {
	sandbox *Sandbox
	name    string
	title   string
	app     *App
	retired []string // former client secrets that are still accepted
	people  []*Person
	codes   map[string]*code
	tokens  map[string]*token
	grants  []*grant

	knobs   any               // a pointer to the platform's own
	aliases map[string]string // alias hosts to the hosts that answer for them
	secrets []string          // fixed ones, beside the app's

	// refusals are the parameters of a refused redirect that differ from the usual
	// ones, by name.
	refusals map[string][]string
}

func newPlatform(s *Sandbox, name, title string, knobs any, app App, people ...*Person) *platform {
	return &platform{
		sandbox: s, name: name, title: title, knobs: knobs, app: &app, people: people,
		codes: map[string]*code{}, tokens: map[string]*token{},
	}
}

func (p *platform) common() *platform { return p }

// acceptsSecret reports whether a client secret is valid.
func (p *platform) acceptsSecret(secret string) bool {
	return secret == p.app.ClientSecret || slices.Contains(p.retired, secret)
}

// person returns the person with that id, or nil. The empty id means the first
// person.
func (p *platform) person(id string) *Person {
	if id == "" {
		return p.people[0]
	}
	for _, person := range p.people {
		if person.ID == id {
			return person
		}
	}
	return nil
}

// grant is one consent of one person. Its tokens are invalid once it is dead.
type grant struct {
	person *Person
	client string // the client id of the app that it was given to
	scopes []string
	at     time.Time
	dead   bool
	reason int    // Facebook's subcode for a dead grant
	assets assets // of Facebook
	// channel is the YouTube channel; zero where the person has none.
	channel Channel
}

func (p *platform) newGrant(person *Person, scopes []string, at time.Time) *grant {
	g := &grant{person: person, client: p.app.ClientID, scopes: scopes, at: at}
	p.grants = append(p.grants, g)
	return g
}

// code is an authorization code.
type code struct {
	grant       *grant
	redirectURI string
	challenge   string
	method      string
	offline     bool // a refresh token comes with it
	expires     time.Time
	used        bool
}

func (p *platform) newCode(value string, c code) string {
	p.codes[value] = &c
	return value
}

// kind is the kind of a token.
type kind string

const (
	access  kind = "access"
	refresh kind = "refresh"
)

// token is an access token or a refresh token.
type token struct {
	serial  int // in the order of issue
	kind    kind
	grant   *grant
	issued  time.Time
	expires time.Time // zero: never
	used    time.Time
	spent   bool   // replaced by a rotation
	long    bool   // Facebook's 60 days
	page    string // of a Facebook Page token
}

func (p *platform) newToken(prefix string, t token) string {
	value := p.sandbox.newSecret(prefix)
	t.serial = len(p.tokens)
	p.tokens[value] = &t
	return value
}

// find returns a token of that kind if it is valid at now, else nil.
func (p *platform) find(value string, k kind, now time.Time) *token {
	t := p.tokens[value]
	if t == nil || t.kind != k || t.spent || t.grant.dead || t.expired(now) {
		return nil
	}
	return t
}

func (t *token) expired(now time.Time) bool {
	return !t.expires.IsZero() && !now.Before(t.expires)
}

// window is one rate-limit window.
type window struct {
	start time.Time
	calls int
}

// windows count calls by key: a user, a token, a day.
type windows map[string]window

// count adds one call to the window of key, which lasts for length.
func (w windows) count(key string, now time.Time, length time.Duration) window {
	current := w[key]
	if now.Sub(current.start) >= length {
		current = window{start: now}
	}
	current.calls++
	w[key] = current
	return current
}

// expiresAfter returns the end of a lifetime. Zero seconds mean no end.
func expiresAfter(now time.Time, seconds int) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// secondsUntil returns the number of whole seconds until end.
func secondsUntil(now, end time.Time) int {
	return int(end.Sub(now) / time.Second)
}

// Expire makes every access token of a platform expire now, Page tokens too.
// Refresh tokens and grants stay valid. It returns the number of expired tokens.
func (s *Sandbox) Expire(platform string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := 0
	for _, t := range s.dialect(platform).common().tokens {
		if t.kind != refresh && !t.expired(s.now()) {
			t.expires = s.now()
			ended++
		}
	}
	return ended
}

// Kill ends the grants of one person, as if they removed the app. An empty
// account means every person. On Facebook reason is the subcode with which the
// tokens are refused from now on: 458 app removed, 460 password changed, 463
// session expired, 467 logged out, 493 unused for 90 days. Zero means 458. It
// returns the number of grants that it ended.
func (s *Sandbox) Kill(platform, account string, reason int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialect(platform).common().kill(account, reason)
}

func (p *platform) kill(account string, reason int) int {
	ended := 0
	for _, g := range p.grants {
		if !g.dead && (account == "" || g.person.ID == account) {
			g.dead, g.reason = true, reason
			ended++
		}
	}
	return ended
}

// Secrets returns every code, token and app secret so far. Tests search logs and
// answers for them.
func (s *Sandbox) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, d := range s.dialects {
		p := d.common()
		all = append(append(all, p.app.ClientSecret), p.retired...)
		all = append(all, p.secrets...)
		for value := range p.codes {
			all = append(all, value)
		}
		for value := range p.tokens {
			all = append(all, value)
		}
	}
	slices.Sort(all)
	return all
}

// challengeS256 returns the code challenge of a verifier (RFC 7636, 4.2).
func challengeS256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// challengeHex returns TikTok's form of the code challenge.
func challengeHex(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return hex.EncodeToString(sum[:])
}

// matchesChallenge reports whether a verifier proves the challenge of a code (RFC
// 7636, 4.6). A code without a challenge needs no proof.
func matchesChallenge(c *code, verifier string) bool {
	switch {
	case c.challenge == "":
		return true
	case !isVerifier(verifier):
		return false
	case c.method == "S256":
		return challengeS256(verifier) == c.challenge
	}
	return verifier == c.challenge
}

// isVerifier reports whether s consists of 43 to 128 unreserved characters (RFC
// 7636, 4.1).
func isVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if !unreserved(s[i]) {
			return false
		}
	}
	return true
}

// unreserved reports whether b is an unreserved character (RFC 3986, 2.3).
func unreserved(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' ||
		b == '-' || b == '.' || b == '_' || b == '~'
}
