package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"time"
)

// App is the OAuth client that is registered with a platform. Every value is
// fixed and plainly not real.
type App struct {
	ClientID     string
	ClientSecret string
	RedirectURIs []string
	// Extras are the fields that the platform adds to an app.
	Extras map[string]string
}

// Person is somebody with an account on a platform.
type Person struct {
	// ID is how the platform names the person to the app, and what Choice
	// and Kill take: a user id, Google's sub, TikTok's open_id.
	ID string
	// Name is what the account chooser shows.
	Name     string
	Username string
	// Channel and ChannelTitle are of a Google person who has one.
	Channel, ChannelTitle string
	// UnionID and Private are TikTok's.
	UnionID string
	Private bool
	// Pages are those that the person can manage, of Facebook.
	Pages []Page
}

// Page is a Facebook Page.
type Page struct {
	ID, Name, Username string
	// InstagramID and InstagramUsername are of the linked professional
	// account, if any.
	InstagramID, InstagramUsername string
	// Business is the id of the portfolio through which alone the person has
	// a role on the Page; empty for a Page that is the person's own.
	Business string
	// Client says that the portfolio manages the Page for somebody else.
	Client bool
}

// AppOf returns the app that is registered with a platform.
func (s *Sandbox) AppOf(platform string) App {
	s.mu.Lock()
	defer s.mu.Unlock()
	app := *s.dialect(platform).common().app
	app.RedirectURIs = slices.Clone(app.RedirectURIs)
	return app
}

// People returns who has an account on a platform. The first is whom Consent
// takes where the choice names nobody.
func (s *Sandbox) People(platform string) []Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	var people []Person
	for _, p := range s.dialect(platform).common().people {
		people = append(people, *p)
	}
	return people
}

// AddPerson gives somebody an account on a platform, at the end of the cast.
func (s *Sandbox) AddPerson(platform string, p Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dialect(platform).common()
	d.people = append(d.people, &p)
}

// platform is what all dialects keep: an app, people, and what was issued.
type platform struct {
	sandbox *Sandbox
	name    string
	title   string
	app     *App
	retired []string // former client secrets that are still taken
	people  []*Person
	codes   map[string]*code
	tokens  map[string]*token
	grants  []*grant

	knobs   any               // a pointer to the platform's own
	aliases map[string]string // from hosts to those that answer for them
	secrets []string          // fixed ones, beside the app's
}

func newPlatform(s *Sandbox, name, title string, knobs any, app App, people ...*Person) *platform {
	return &platform{
		sandbox: s, name: name, title: title, knobs: knobs, app: &app, people: people,
		codes: map[string]*code{}, tokens: map[string]*token{},
	}
}

func (p *platform) common() *platform { return p }

// takes reports whether a client secret is good.
func (p *platform) takes(secret string) bool {
	return secret == p.app.ClientSecret || slices.Contains(p.retired, secret)
}

// person finds somebody by id; the empty id is the first of the cast.
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

// grant is one consent of one person. Tokens are good as long as theirs.
type grant struct {
	person *Person
	scopes []string
	at     time.Time
	dead   bool
	reason int      // Facebook's subcode for the death
	pages  []string // ticked, of Facebook
}

func (p *platform) newGrant(person *Person, scopes []string, at time.Time) *grant {
	g := &grant{person: person, scopes: scopes, at: at}
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

// kind is what a token is for.
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
	spent   bool   // rotated away
	long    bool   // Facebook's 60 days
	page    string // of a Facebook Page token
}

func (p *platform) newToken(prefix string, t token) string {
	value := p.sandbox.newSecret(prefix)
	t.serial = len(p.tokens)
	p.tokens[value] = &t
	return value
}

// find returns a token that is good at now, else nil.
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

// windows count calls by what is limited: a user, a token, a day.
type windows map[string]window

// hit counts one call in the window of key, which lasts for length.
func (w windows) hit(key string, now time.Time, length time.Duration) window {
	current := w[key]
	if now.Sub(current.start) >= length {
		current = window{start: now}
	}
	current.calls++
	w[key] = current
	return current
}

// later is a lifetime's end; zero seconds never end.
func later(now time.Time, seconds int) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// left is how many whole seconds remain until end.
func left(now, end time.Time) int {
	return int(end.Sub(now) / time.Second)
}

// Expire ends every access token of a platform now, Page tokens too, as if its
// life were over. Refresh tokens and grants stay. It returns how many were ended.
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

// Kill ends the grants of one person, or of everybody where account is empty,
// as a person does who removes the app. On Facebook reason is the subcode that
// its tokens are refused with from now on: 458 app removed, 460 password
// changed, 463 session expired, 467 logged out, 493 unused for 90 days; zero
// is 458. It returns how many grants were ended.
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

// Secrets returns every code, token and app secret so far, for tests that look
// for them in logs and answers.
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

// challengeS256 is RFC 7636, 4.2.
func challengeS256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// challengeHex is TikTok's own form of it.
func challengeHex(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return hex.EncodeToString(sum[:])
}

// provesChallenge is RFC 7636, 4.6; a code without a challenge needs no proof.
func provesChallenge(c *code, verifier string) bool {
	switch {
	case c.challenge == "":
		return true
	case !wellFormedVerifier(verifier):
		return false
	case c.method == "S256":
		return challengeS256(verifier) == c.challenge
	}
	return verifier == c.challenge
}

// wellFormedVerifier is RFC 7636, 4.1: 43 to 128 unreserved characters.
func wellFormedVerifier(s string) bool {
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

// unreserved is RFC 3986, 2.3.
func unreserved(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' ||
		b == '-' || b == '.' || b == '_' || b == '~'
}
