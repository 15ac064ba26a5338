package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// controlPath is the path under which tests and people control a sandbox that is
// served, in JSON:
//
//	GET    /_sandbox/              the state: clock, people, grants, counts, faults; hashes, no secret
//	POST   /_sandbox/faults        adds a Fault; "delay_ms" is its Delay
//	DELETE /_sandbox/faults        removes all
//	GET    /_sandbox/knobs         returns the Knobs
//	PATCH  /_sandbox/knobs         changes the named ones
//	POST   /_sandbox/expire        {"platform"}
//	POST   /_sandbox/kill          {"platform","account","reason"}
//	POST   /_sandbox/advance       {"seconds"}
//	POST   /_sandbox/redirect-uris {"platform","uris"}
//	POST   /_sandbox/secrets       {"platform","secrets"}: the client secret, and former ones that are accepted
//	POST   /_sandbox/people        {"platform","person"}: adds one
//	POST   /_sandbox/page          {"platform","page"}: replaces the Page with that ID
//	POST   /_sandbox/notice        {"platform","account","event"}: returns what the platform would post, signed
//
// A request that writes needs Content-Type: application/json. The page of another
// site cannot send that without a preflight request.
const controlPath = "/_sandbox/"

func (s *Sandbox) serveControl(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		s.indexPage().write(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch writes := r.Method == http.MethodPost || r.Method == http.MethodPatch; {
	case err != nil:
		controlError(http.StatusBadRequest, "the body is too large or cut off").write(w)
		return
	case writes && media != "application/json":
		controlError(http.StatusUnsupportedMediaType, "Content-Type has to be application/json").write(w)
		return
	}
	s.control(r.Method+" "+strings.TrimPrefix(r.URL.Path, controlPath), body).write(w)
}

func controlError(status int, message string) reply {
	return answerJSON(status, object{"error": message})
}

// controlRequest is the body of every command except faults and knobs.
type controlRequest struct {
	Platform string   `json:"platform"`
	Account  string   `json:"account"`
	Reason   int      `json:"reason"`
	Seconds  int      `json:"seconds"`
	URIs     []string `json:"uris"`
	Secrets  []string `json:"secrets"`
	Person   *Person  `json:"person"`
	Page     *Page    `json:"page"`
	Event    string   `json:"event"`
}

func (s *Sandbox) control(command string, body []byte) reply {
	switch command {
	case "GET ":
		return answerJSON(200, s.state())
	case "POST faults":
		return s.controlFault(body)
	case "DELETE faults":
		s.ClearFaults()
		return answerJSON(200, object{})
	case "GET knobs", "PATCH knobs":
		return s.controlKnobs(body)
	}
	var o controlRequest
	if err := unmarshalStrictly(body, &o); err != nil {
		return controlError(400, err.Error())
	}
	if s.lookUp(o.Platform) == nil && command != "POST advance" {
		return controlError(400, "platform is none of "+strings.Join(s.names(), ", "))
	}
	switch command {
	case "POST expire":
		return answerJSON(200, object{"ended": s.Expire(o.Platform)})
	case "POST kill":
		return answerJSON(200, object{"ended": s.Kill(o.Platform, o.Account, o.Reason)})
	case "POST advance":
		s.Advance(time.Duration(o.Seconds) * time.Second)
		return answerJSON(200, object{})
	case "POST redirect-uris":
		s.SetRedirectURIs(o.Platform, o.URIs...)
		return answerJSON(200, object{})
	case "POST secrets":
		if len(o.Secrets) == 0 {
			return controlError(400, "secrets is empty")
		}
		s.SetSecrets(o.Platform, o.Secrets[0], o.Secrets[1:]...)
		return answerJSON(200, object{})
	case "POST people":
		return s.controlPerson(o)
	case "POST page":
		return s.controlPage(o)
	case "POST notice":
		return s.controlNotice(o)
	}
	return controlError(404, "no such command: "+command)
}

// unmarshalStrictly decodes JSON and refuses unknown members.
func unmarshalStrictly(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func (s *Sandbox) controlFault(body []byte) reply {
	var f Fault
	if err := unmarshalStrictly(body, &f); err != nil {
		return controlError(400, err.Error())
	}
	if !f.known() {
		return controlError(400, fmt.Sprintf("kind is none of %v %v", refusals, corruptions))
	}
	s.Fault(f)
	return answerJSON(200, object{})
}

func (s *Sandbox) controlKnobs(body []byte) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(body) > 0 {
		if err := s.knobs.patch(body); err != nil {
			return controlError(400, err.Error())
		}
	}
	return answerJSON(200, s.knobs)
}

func (s *Sandbox) controlPerson(o controlRequest) reply {
	if o.Person == nil || o.Person.ID == "" {
		return controlError(400, "person needs an ID")
	}
	s.AddPerson(o.Platform, *o.Person)
	return answerJSON(200, object{})
}

func (s *Sandbox) controlPage(o controlRequest) reply {
	if o.Platform != Facebook || o.Page == nil || !s.ChangePage(o.Page.ID, func(p *Page) { *p = *o.Page }) {
		return controlError(400, "page is none of Facebook's")
	}
	return answerJSON(200, object{})
}

func (s *Sandbox) controlNotice(o controlRequest) reply {
	n, ok := s.Notice(o.Platform, o.Event, o.Account)
	if !ok {
		return controlError(400, o.Platform+" sends no notices")
	}
	answer := object{"content_type": n.ContentType, "body": string(n.Body)}
	if len(n.Header) > 0 {
		answer["headers"] = n.Header
	}
	return answerJSON(200, answer)
}

// state returns everything that is not secret.
func (s *Sandbox) state() object {
	s.mu.Lock()
	defer s.mu.Unlock()
	platforms := object{}
	for _, d := range s.dialects {
		p := d.common()
		platforms[p.name] = p.state(s.now(), s.log.of(p.name))
	}
	faults := []Fault{}
	for _, f := range s.faults {
		faults = append(faults, *f)
	}
	return object{"now": s.now().UTC().Format(time.RFC3339Nano), "platforms": platforms, "faults": faults}
}

func (p *platform) state(now time.Time, calls map[string]int) object {
	people := []object{}
	for _, person := range p.people {
		people = append(people, object{"id": person.ID, "name": person.Name})
	}
	issued, hashes := map[kind]int{}, map[*grant][]string{}
	for value, t := range p.tokens {
		issued[t.kind]++
		if p.find(value, t.kind, now) != nil {
			hashes[t.grant] = append(hashes[t.grant], string(t.kind)+" "+fingerprint(value))
		}
	}
	grants := []object{}
	for _, g := range p.grants {
		slices.Sort(hashes[g])
		grants = append(grants, object{"account": g.person.ID, "scopes": g.scopes, "dead": g.dead, "live": hashes[g]})
	}
	return object{
		"client_id": p.app.ClientID, "redirect_uris": p.app.RedirectURIs, "people": people,
		"calls": calls, "codes": len(p.codes), "tokens": issued, "grants": grants,
	}
}

// fingerprint returns the first 12 hex digits of a SHA-256, for comparison.
func fingerprint(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:6])
}

func (s *Sandbox) indexPage() reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	type card struct {
		Title, ClientID string
		People          []*Person
	}
	var platforms []card
	for _, d := range s.dialects {
		p := d.common()
		platforms = append(platforms, card{p.title, p.app.ClientID, p.people})
	}
	return page(http.StatusOK, "index", platforms)
}
