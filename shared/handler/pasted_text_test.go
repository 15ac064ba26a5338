package handler_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

// pasted returns text with what pasting leaves around it.
func pasted(text string) string { return "\ufeff \u00a0" + text + "\u200b\r\n" }

// innerCharacters are those that no word has inside.
var innerCharacters = []string{"\n", "\r\n", "\t", "\x00", "\u00a0", "\u200b", "\ufeff", "\u202e", "\u2066", "\u2028", "\u3164"}

// TestPasted_Doors: every door takes pasted text as it was meant.
func TestPasted_Doors(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	open := func(method, target string, body any, status int) object {
		t.Helper()
		var changes []change
		if body != nil {
			changes = append(changes, withJSON(t, body))
		}
		route, e := event(t, method, target, changes...)
		return s.sent(t, route.Function, e, status)
	}

	// JSON bodies.
	link := open("POST", "/links", object{
		"platform": pasted("youtube"), "owner": pasted("acme"), "connection_id": pasted(id), "return_url": pasted(returnURL),
		"scopes": []string{pasted("https://www.googleapis.com/auth/youtube.readonly")},
	}, 201)
	if shown := open("GET", "/links/"+link["id"].(string), nil, 200); shown["owner"] != "acme" || shown["connection_id"] != id {
		t.Errorf("the link is %v", shown)
	}
	suspension := open("POST", "/suspensions", object{"owner": pasted("nobody"), "reason": pasted("checked by hand")}, 201)
	if suspension["owner"] != "nobody" || suspension["reason"] != "checked by hand" {
		t.Errorf("the suspension is %v", suspension)
	}
	app := s.sandbox.AppOf("youtube")
	if stored := open("PUT", "/platforms/youtube/app", object{"client_id": pasted(app.ClientID), "client_secret": pasted(app.ClientSecret), "mode": pasted("live")}, 200); stored["client_id"] != app.ClientID {
		t.Errorf("the app is %v", stored)
	}
	full := s.full(t, id)
	for name, value := range full {
		full[name] = pasted(value.(string))
	}
	imported := open("POST", "/connections", object{"platform": pasted("youtube"), "owner": pasted("acme"), "account_name": pasted("My Channel"), "credentials": full}, 200)
	if c := imported["connections"].([]any)[0].(object); c["id"] != id || c["owner"] != "acme" {
		t.Errorf("the import is a connection of its own: %v", c)
	}

	// A byte order mark before the body.
	route, e := event(t, "POST", "/links", withBody(jsonType, "\ufeff"+`{"platform":"youtube","owner":"acme"}`+"\u00a0\n"))
	s.sent(t, route.Function, e, 201)
	route, e = event(t, "POST", "/links", withBody(jsonType, "\ufeff\n"))
	s.sent(t, route.Function, e, 400)

	// Parameters of the query and of the path.
	const around, after = "%EF%BB%BF%20", "%C2%A0%0A"
	for _, target := range []string{
		"/connections?owner=" + around + "acme" + after + "&platform=" + around + "youtube" + after + "&status=active%20&limit=%2010",
		"/connections?owner=acme&cursor=%20",
	} {
		route, e := event(t, "GET", target)
		if list := s.sent(t, route.Function, e, 200)["connections"].([]any); len(list) != 1 {
			t.Errorf("%s: %d connections", target, len(list))
		}
	}
	route, e = event(t, "GET", "/connections/"+id)
	e.PathParameters["id"] = pasted(id)
	s.sent(t, route.Function, e, 200)
	route, e = event(t, "GET", "/connections/"+id+"/token?min_ttl_seconds=%20300%20&scopes=%C2%A0https://www.googleapis.com/auth/youtube.readonly%0A")
	e.PathParameters["id"] = pasted(id)
	s.sent(t, route.Function, e, 200)
	route, e = event(t, "GET", strings.TrimPrefix(link["url"].(string), publicURL))
	e.PathParameters["link"] = pasted(e.PathParameters["link"])
	if r := s.send(t, route.Function, encode(t, e)); r.StatusCode != http.StatusFound {
		t.Errorf("a pasted link: %d %s", r.StatusCode, r.Body)
	}

	// Direct invocations.
	for _, payload := range []string{
		"\ufeff" + `{"connection_id":"` + id + `"}` + "\n",
		`{"connection_id":"\ufeff ` + id + `\n","platform":" youtube "}`,
		`{"owner":"\u00a0acme\u200b","platform":"youtube\r\n","account_id":" ` + imported["connections"].([]any)[0].(object)["account_id"].(string) + ` "}`,
	} {
		if token, failure := s.invoke(t, "token-get", payload); failure != nil || token["connection_id"] != id {
			t.Errorf("%q: %v", payload, failure)
		}
	}
}

// sent sends an event and returns the answer. The events have values that the document
// of the API does not list, because it describes them without the blanks around them.
func (s *stack) sent(t *testing.T, function string, e events.APIGatewayV2HTTPRequest, status int) (answer object) {
	t.Helper()
	s.send(t, function, encode(t, e)).decode(t, status, &answer)
	return answer
}

// TestPasted_Inside: text with such a character inside is refused by the name of its
// field, at every door.
func TestPasted_Inside(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	for _, inner := range append([]string{" "}, innerCharacters...) {
		broken := func(text string) string { return text[:len(text)/2] + inner + text[len(text)/2:] }
		for _, row := range []struct {
			method, target string
			body           object
			field          string
			spaces         bool // are allowed
		}{
			{"POST", "/links", object{"platform": broken("youtube"), "owner": "acme"}, "platform", false},
			{"POST", "/links", object{"platform": "youtube", "owner": broken("acme")}, "owner", true},
			{"POST", "/links", object{"platform": "youtube", "owner": "acme", "connection_id": broken(id)}, "connection_id", false},
			{"POST", "/links", object{"platform": "youtube", "owner": "acme", "return_url": broken(returnURL)}, "return_url", false},
			{"POST", "/links", object{"platform": "youtube", "owner": "acme", "scopes": []string{broken("https://www.googleapis.com/auth/youtube.upload")}}, "scopes", false},
			{"POST", "/connections", object{"platform": "youtube", "owner": "acme", "verify": false, "credentials": object{"refresh_token": broken("test-token")}}, "credentials.refresh_token", false},
			{"POST", "/connections", object{"platform": "youtube", "owner": "acme", "verify": false, "account_name": broken("Channel"), "credentials": object{"refresh_token": "r"}}, "account_name", true},
			{"POST", "/connections/confirm", object{"confirmation": broken("confirmation"), "owner": "acme"}, "confirmation", false},
			{"POST", "/suspensions", object{"owner": broken("nobody"), "reason": "r"}, "owner", true},
			{"POST", "/suspensions", object{"connection_id": broken(id), "reason": "r"}, "connection_id", false},
			{"POST", "/suspensions", object{"owner": "nobody", "reason": broken("reason")}, "reason", true},
			{"PUT", "/platforms/youtube/app", object{"client_id": broken("client"), "client_secret": "s"}, "client_id", false},
			{"PUT", "/platforms/youtube/app", object{"client_id": "client", "client_secret": broken("secret")}, "client_secret", false},
		} {
			if row.spaces && inner == " " {
				continue
			}
			if row.field == "account_name" && (inner == "\t" || inner == "\u00a0") {
				continue // a space in a name, see TestAccountNames
			}
			detail := s.do(t, row.method, row.target, withJSON(t, row.body)).refused(t, 400, connector.InvalidRequest).Detail
			if !strings.HasPrefix(detail, row.field+": ") {
				t.Errorf("%s %s with %q in %s: %q", row.method, row.target, inner, row.field, detail)
			}
		}
		for _, row := range []struct{ field, payload string }{
			{"connection_id", string(encode(t, object{"connection_id": broken(id)}))},
			{"platform", string(encode(t, object{"owner": "acme", "platform": broken("youtube")}))},
			{"account_id", string(encode(t, object{"owner": "acme", "platform": "youtube", "account_id": broken("UCsandbox")}))},
			{"scopes", string(encode(t, object{"connection_id": id, "scopes": []string{broken("scope")}}))},
		} {
			if _, failure := s.invoke(t, "token-get", row.payload); failure == nil || failure.Type != string(connector.InvalidRequest) || !strings.HasPrefix(failure.Message, row.field+": ") {
				t.Errorf("token-get %q: %v", row.payload, failure)
			}
		}
		route, e := event(t, "GET", "/connections/"+id)
		e.PathParameters["id"] = broken(id)
		if p := s.sent(t, route.Function, e, 400); !strings.HasPrefix(p["detail"].(string), "id: ") {
			t.Errorf("an id with %q in the path: %v", inner, p)
		}
		route, e = event(t, "GET", "/connections")
		e.RawQueryString = url.Values{"status": {broken("active")}}.Encode()
		if p := s.sent(t, route.Function, e, 400); !strings.HasPrefix(p["detail"].(string), "status: ") {
			t.Errorf("a status with %q: %v", inner, p)
		}
	}
}

// TestPasted_Confinement: a confined caller's owner is compared as it is stored, so
// that no spelling of another's owner reaches it.
func TestPasted_Confinement(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	const arn = "arn:aws:sts::123456789012:assumed-role/tenant/x"
	signed := func(owners ...string) func(owner string) reply {
		s.confine(handler.Callers{arn: owners})
		return func(owner string) reply {
			route, e := event(t, "POST", "/links", withJSON(t, object{"platform": "youtube", "owner": owner, "connection_id": id}))
			e.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{IAM: &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{UserARN: arn}}
			return s.send(t, route.Function, encode(t, e))
		}
	}
	mint := signed("globex")
	for _, owner := range []string{"acme", pasted("acme"), " acme", "acme\u00a0"} {
		mint(owner).refused(t, 404, connector.ConnectionNotFound)
	}
	if r := signed("acme")(pasted("acme")); r.StatusCode != 201 {
		t.Errorf("the owner's own caller: %d %s", r.StatusCode, r.Body)
	}
}

// TestPasted_Exact: the values of a callback come from machines and are exact.
func TestPasted_Exact(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.flow(t, "youtube", sandbox.Choice{})
	route, e := event(t, "GET", f.callback, withCookie(f.cookie))
	if route.Function != blueprint.OAuthCallback {
		t.Fatal(route.Function)
	}
	e.RawQueryString = strings.Replace(e.RawQueryString, "state=", "state=%20", 1)
	if r := s.send(t, route.Function, encode(t, e)); r.StatusCode != 400 || f.exchanges() != 0 {
		t.Errorf("a state with a blank: %d, %d exchanges", r.StatusCode, f.exchanges())
	}
	if r := f.finish(t); r.StatusCode != 200 {
		t.Errorf("the exact state: %d %s", r.StatusCode, r.Body)
	}
}

// The names of people and of their accounts keep the characters that they
// are spelled with.
func TestAccountNames(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for i, row := range []struct{ sent, want string }{
		{"می\u200cخواهم", "می\u200cخواهم"},                 // Persian, with a non-joiner
		{"शर्\u200dमा", "शर्\u200dमा"},                     // Devanagari, with a joiner
		{"👩\u200d🍳 Ann", "👩\u200d🍳 Ann"},                   // one emoji of two
		{"Ann\u00a0Lee\u2003&\tSons", "Ann Lee & Sons"},    // three blanks
		{"\u200dAnn\u202e\u200bLee\u2066\u200d", "AnnLee"}, // no letter
	} {
		person := sandbox.Person{ID: "90000000000000000000" + string(rune('1'+i)), Name: "Person", Channel: "UCsandboxNames0000000000" + string(rune('1'+i)), ChannelTitle: row.sent}
		s.sandbox.AddPerson("youtube", person)
		id := s.connect(t, "youtube", "acme", sandbox.Choice{Account: person.ID})[0]
		if got := s.show(t, id)["account_name"]; got != row.want {
			t.Errorf("%q is shown as %q, want %q", row.sent, got, row.want)
		}
	}
	imported := s.do(t, http.MethodPost, "/connections", withJSON(t, object{
		"platform": "youtube", "owner": "others", "verify": false, "account_name": " می\u200cخواهم\u00a0و\u2003ما ",
		"credentials": object{"refresh_token": "test-refresh-token", "client_id": "test-client", "client_secret": "test-secret"},
	}))
	var list struct{ Connections []map[string]any }
	imported.decode(t, 201, &list)
	if got := list.Connections[0]["account_name"]; got != "می\u200cخواهم و ما" {
		t.Errorf("an imported name is %q", got)
	}
	s.do(t, http.MethodPost, "/links", withJSON(t, object{"platform": "youtube", "owner": "ac\u200dme"})).refused(t, 400, connector.InvalidRequest)
}
