package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/sandbox"
)

// TestHostile sends what hostile browsers and callers could to the real
// functions, over HTTP. The names are those of SECURITY.md's table.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, w *world)
	}{
		{"01_callback_without_parameters", callbackWithoutParameters},
		{"03_unknown_state_looks_like_a_replayed_one", unknownState},
		{"05_same_state_50_times_at_once", stateFiftyTimes},
		{"13_state_and_code_of_a_megabyte", megabytes},
		{"14_post_to_a_get_route", postToGet},
		{"15_host_headers_change_nothing", hostHeaders},
		{"25_platforms_that_are_none", noPlatforms},
		{"26_links_that_are_none", noLinks},
		{"27_return_urls_elsewhere", returnURLs},
		{"28_states_and_links_carry_their_end", ticketsEnd},
		{"29_cross_site_posts", crossSite},
		{"30_another_owners_connection_looks_absent", anotherOwner},
		{"32_200_callers_of_one_expired_token", callersAtOnce},
		{"41_schedule_twice_at_once", scheduleTwice},
		{"45_notices_forged", forgedNotices},
		{"47_payloads_of_other_fronts", otherPayloads},
		{"encodings", encodings},
		{"parameters_twice", parametersTwice},
	} {
		t.Run(attack.name, func(t *testing.T) {
			attack.run(t, &world{t: t, s: w.s, box: w.box, said: w.said, seen: w.seen})
		})
	}
}

// get returns status and body of a GET, with headers in pairs.
func (w *world) get(path string, header ...string) (int, string) {
	w.t.Helper()
	return w.send(http.MethodGet, path, "", header...)
}

func (w *world) send(method, path, body string, header ...string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.s.servers.front.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// told is a problem without the id of its invocation.
func told(body string) string {
	var problem map[string]any
	if json.Unmarshal([]byte(body), &problem) != nil {
		return body
	}
	delete(problem, "instance")
	b, _ := json.Marshal(problem)
	return string(b)
}

func callbackWithoutParameters(t *testing.T, w *world) {
	for platform := range accountsOf {
		for _, query := range []string{"", "?", "?code=test-code", "?state=", "?code=test-code&state=x", "?&&&", "?=", "?state"} {
			if status, body := w.get("/oauth/" + platform + "/callback" + query); status != 400 || !strings.Contains(body, "StateInvalid") {
				t.Errorf("%s%s: %d %s", platform, query, status, body)
			}
		}
	}
}

func unknownState(t *testing.T, w *world) {
	b := w.browser()
	callback := b.authorize(w.link(object{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})
	if told := b.comeBack(callback); told.Get("status") != "connected" {
		t.Fatalf("%v", told)
	}
	_, replayed := w.get(strings.TrimPrefix(callback, w.s.servers.front.url))
	status, unknown := w.get("/oauth/youtube/callback?code=x&state=" + strings.Repeat("A", 43))
	if status != 400 || told(unknown) != told(replayed) {
		t.Errorf("unknown: %d %s\nreplayed: %s", status, unknown, replayed)
	}
}

func stateFiftyTimes(t *testing.T, w *world) {
	b := w.browser()
	callback := b.authorize(w.link(object{"platform": "tiktok", "owner": "fifty"}), sandbox.Choice{})
	before := w.box.Count("tiktok", "token/authorization_code")
	var browsers sync.WaitGroup
	ends := make(chan string, 50)
	for range 50 {
		browsers.Go(func() {
			status, location := b.visit(callback)
			ends <- http.StatusText(status) + " " + queryOf(location, "status")
		})
	}
	browsers.Wait()
	close(ends)
	count := map[string]int{}
	for end := range ends {
		count[end]++
	}
	if count["Found connected"] != 1 || count["Bad Request "] != 49 {
		t.Errorf("answers: %v", count)
	}
	if n := w.box.Count("tiktok", "token/authorization_code") - before; n != 1 {
		t.Errorf("%d exchanges", n)
	}
	list, _ := w.must("GET", "/connections?owner=fifty", nil)["connections"].([]any)
	if len(list) != 1 {
		t.Errorf("%d connections", len(list))
	}
}

func megabytes(t *testing.T, w *world) {
	long := strings.Repeat("a", 1<<20)
	for _, path := range []string{
		"/oauth/youtube/callback?code=x&state=" + long, "/oauth/youtube/callback?state=x&code=" + long, "/connect/" + long,
		"/oauth/" + long + "/callback", "/connections?owner=" + long, "/connections?cursor=" + long,
	} {
		// The server may stop reading before all of it was sent.
		c, err := net.Dial("tcp", strings.TrimPrefix(w.s.servers.front.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		}()
		answer := make([]byte, 12)
		if _, err := io.ReadFull(c, answer); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
			t.Errorf("%.30s: %q, %v", path, answer, err)
		}
		_ = c.Close()
	}
	for _, path := range []string{"/links", "/connections", "/platforms/facebook/deauthorize", "/platforms/tiktok/webhook"} {
		if status, body := w.send("POST", path, `{"a":"`+long+`"}`, "Content-Type", "application/json"); status != 400 {
			t.Errorf("POST %s: %d %.80s", path, status, body)
		}
	}
}

func postToGet(t *testing.T, w *world) {
	b := w.browser()
	link := w.link(object{"platform": "youtube", "owner": "acme"})
	callback := b.authorize(link, sandbox.Choice{})
	path, query, _ := strings.Cut(strings.TrimPrefix(callback, w.s.servers.front.url), "?")
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		for _, path := range []string{path, strings.TrimPrefix(link, w.s.servers.front.url)} {
			if status, body := w.send(method, path, query, "Content-Type", "application/x-www-form-urlencoded"); status != 405 {
				t.Errorf("%s %.20s: %d %s", method, path, status, body)
			}
		}
	}
	if told := b.comeBack(callback); told.Get("status") != "connected" {
		t.Errorf("the state was spent: %v", told)
	}
}

func hostHeaders(t *testing.T, w *world) {
	link := w.link(object{"platform": "youtube", "owner": "acme"})
	r, err := http.NewRequestWithContext(t.Context(), "GET", link, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example"
	r.Header = http.Header{"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"https"}, "Forwarded": {"host=evil.example"}}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if got := queryOf(response.Header.Get("Location"), "redirect_uri"); got != w.s.servers.front.url+"/oauth/youtube/callback" {
		t.Errorf("redirect_uri %q", got)
	}
	w.seen.add("a state", queryOf(response.Header.Get("Location"), "state"))
	if status, _ := w.get("/connections", "Host", "evil.example"); status != 403 {
		t.Errorf("an operator's route under another name: %d", status)
	}
}

func noPlatforms(t *testing.T, w *world) {
	for _, name := range []string{"myspace", "FACEBOOK", "__proto__", "facebook%00", "..%2ffacebook", "%2e%2e%2ffacebook", "facebook%20", "faceb%D0%BEok"} {
		if status, _ := w.get("/oauth/" + name + "/callback?state=x"); status != 400 && status != 404 {
			t.Errorf("callback of %s: %d", name, status)
		}
		if status, _ := w.get("/platforms/" + name); status != 400 && status != 404 {
			t.Errorf("guide of %s: %d", name, status)
		}
		plain, _ := url.PathUnescape(name)
		w.refused(400, "InvalidRequest", "POST", "/links", object{"platform": plain, "owner": "acme"})
	}
}

func noLinks(t *testing.T, w *world) {
	var bodies []string
	for _, link := range []string{
		strings.Repeat("C", 43), strings.Repeat("C", 42), strings.Repeat("C", 44), "x", "%00", "%0d%0a", "..%2fconnections", "%ff",
		"eyJhbGciOiJub25lIn0.eyJvd25lciI6ImFjbWUifQ.", strings.Repeat("%41", 43),
	} {
		status, body := w.get("/connect/" + link)
		if status != 410 && status != 404 {
			t.Errorf("%s: %d", link, status)
		}
		if status == 410 {
			bodies = append(bodies, told(body))
		}
	}
	if slices.Sort(bodies); len(bodies) == 0 || len(slices.Compact(bodies)) != 1 {
		t.Errorf("they are told apart: %q", bodies)
	}
}

func returnURLs(t *testing.T, w *world) {
	ours := w.s.servers.front.url
	host := strings.TrimPrefix(ours, "http://")
	for _, target := range []string{
		"//evil.example", "https:evil.example", ours + ".evil.example", ours + "@evil.example/", "http://" + host + `\@evil.example`, `\\evil.example`,
		"javascript:alert(1)", "data:text/html,x", ours + "/%0d%0aSet-Cookie:x=y", ours + "/?x=%0a", "http://127。0。0。1/", "http://127.0.0.1./", "http://127.0.0.1/",
		"https://" + host + "/", "http://127.0.0.1:1/", "http://localhost/", "http://0x7f.1/", "http://evil.example/?" + ours, "",
	} {
		if target == "" {
			continue // none at all is a page of ours
		}
		w.refused(400, "InvalidRequest", "POST", "/links", object{"platform": "youtube", "owner": "acme", "return_url": target})
	}
	b := w.browser()
	callback := b.authorize(w.link(object{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})
	if _, location := b.visit(callback + "&return_url=http%3A%2F%2Fevil.example"); !strings.HasPrefix(location, ours+"/?") || strings.Contains(location, "evil") {
		t.Errorf("the callback's query sends to %q", location)
	}
}

func ticketsEnd(t *testing.T, w *world) {
	link := w.link(object{"platform": "youtube", "owner": "acme"})
	for range 20 {
		if status, location := w.browser().visit(link); status != http.StatusFound {
			t.Fatalf("start: %d", status)
		} else {
			w.seen.add("a state", queryOf(location, "state"))
		}
	}
	client := dynamodb.NewFromConfig(newCloud(w.s.settings, w.s.endpoint).config)
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{
		TableName: aws.String("platform-connector"), FilterExpression: aws.String("begins_with(pk, :ticket)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":ticket": &types.AttributeValueMemberS{Value: "ticket#"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Items) < 20 {
		t.Fatalf("%d tickets", len(out.Items))
	}
	for _, item := range out.Items {
		if _, ends := item["expires"].(*types.AttributeValueMemberN); !ends {
			t.Error("a ticket that the table never sweeps")
		}
	}
}

func crossSite(t *testing.T, w *world) {
	link := strings.TrimPrefix(w.link(object{"platform": "youtube", "owner": "acme"}), w.s.servers.front.url)
	foreign := []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Content-Type", "text/plain"}
	for path, want := range map[string]int{link: 405, "/links": 403, "/connections": 403, "/local/connect": 403} {
		if status, body := w.send("POST", path, `{"platform":"youtube","owner":"evil"}`, foreign...); status != want {
			t.Errorf("POST %.12s: %d %s, want %d", path, status, body, want)
		}
	}
	for _, path := range []string{"/connections", "/platforms/youtube"} {
		if status, _ := w.get(path, foreign...); status != 403 {
			t.Errorf("GET %s: %d", path, status)
		}
	}
}

func anotherOwner(t *testing.T, w *world) {
	id := w.connect("youtube", "first", sandbox.Choice{})[0]
	foreign, _ := w.invoke("token-get", object{"connection_id": id, "owner": "mallory"})
	absent, errorType := w.invoke("token-get", object{"connection_id": "00000000-0000-4000-8000-000000000000", "owner": "mallory"})
	if errorType != "ConnectionNotFound" || foreign["errorType"] != absent["errorType"] || foreign["errorMessage"] != absent["errorMessage"] {
		t.Errorf("foreign: %v, absent: %v", foreign, absent)
	}
}

func callersAtOnce(t *testing.T, w *world) {
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 1 })
	id := w.connect("twitter", "two hundred", sandbox.Choice{})[0]
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 7200 })
	w.expired(id)
	before := w.box.Count("twitter", "token/refresh_token")
	var callers sync.WaitGroup
	var mu sync.Mutex
	tokens := map[any]int{}
	for range 200 {
		callers.Go(func() {
			answer, errorType := w.invoke("token-get", object{"connection_id": id})
			mu.Lock()
			defer mu.Unlock()
			if tokens[answer["access_token"]]++; errorType != "" {
				t.Errorf("token-get: %v", answer)
			}
		})
	}
	callers.Wait()
	if n := w.box.Count("twitter", "token/refresh_token") - before; n != 1 || len(tokens) != 1 {
		t.Errorf("%d refreshes, %d tokens", n, len(tokens))
	}
}

func scheduleTwice(t *testing.T, w *world) {
	w.box.Tune(func(k *sandbox.Knobs) { k.TikTok().AccessSeconds = 3 })
	id := w.connect("tiktok", "scheduled", sandbox.Choice{Account: w.box.People("tiktok")[1].ID})[0]
	w.box.Tune(func(k *sandbox.Knobs) { k.TikTok().AccessSeconds = 86400 })
	before := w.box.Count("tiktok", "token/refresh_token")
	waitFor(t, "it to be due and refreshed", func() bool {
		var schedules sync.WaitGroup
		for range 3 {
			schedules.Go(func() {
				if answer, errorType := w.invoke("refresh", object{"connection_ids": []string{id}}); errorType != "" {
					t.Errorf("refresh: %v", answer)
				}
			})
		}
		schedules.Wait()
		return w.must("GET", "/connections/"+id, nil)["last_refreshed_at"] != nil
	})
	if n := w.box.Count("tiktok", "token/refresh_token") - before; n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

func forgedNotices(t *testing.T, w *world) {
	id := w.connect("facebook", "noticed", sandbox.Choice{})[0]
	signature, payload, _ := strings.Cut(w.box.SignedRequest(w.box.People("facebook")[0].ID), ".")
	body, _ := w.box.TikTokNotice("authorization.removed", w.box.People("tiktok")[0].ID)
	for _, path := range []string{"/platforms/facebook/deauthorize", "/platforms/facebook/data-deletion"} {
		for _, signed := range []string{"A" + signature[1:] + "." + payload[:len(payload)-4], "." + payload, signature + ".", payload + "." + signature} {
			form := url.Values{"signed_request": {signed}}.Encode()
			if status, answer := w.send("POST", path, form, "Content-Type", "application/x-www-form-urlencoded"); status != 401 && status != 400 {
				t.Errorf("%s: %d %s", path, status, answer)
			}
		}
	}
	for _, signed := range []string{"", "t=1,s=00", "t=" + time.Now().Format("0") + ",s=", "s=00,t=1,t=2"} {
		if status, answer := w.send("POST", "/platforms/tiktok/webhook", string(body), "Content-Type", "application/json", "TikTok-Signature", signed); status != 401 {
			t.Errorf("webhook with %q: %d %s", signed, status, answer)
		}
	}
	if got := w.must("GET", "/connections/"+id, nil)["status"]; got != "active" {
		t.Errorf("status %v", got)
	}
}

func otherPayloads(t *testing.T, w *world) {
	for _, payload := range []object{
		{"version": "1.0", "httpMethod": "GET", "path": "/connections", "resource": "/connections", "headers": object{}, "multiValueHeaders": object{"Accept": []string{"*/*"}}, "requestContext": object{}},
		{"httpMethod": "GET", "path": "/connections", "requestContext": object{"elb": object{}}},
		{"version": "2.0", "routeKey": "GET /connections", "body": "!", "isBase64Encoded": true},
		{"version": "2.0", "routeKey": "GET /connections", "headers": "x"},
		{"version": "2.0", "routeKey": nil, "requestContext": nil},
	} {
		for _, function := range []string{"oauth-start", "oauth-callback", "connections", "token-get", "platform-notice"} {
			answer, errorType := w.invoke(function, payload)
			status, _ := answer["statusCode"].(float64)
			if errorType == "" && (status < 400 || status > 499) || errorType != "" && errorType != "InvalidRequest" {
				t.Errorf("%s with %v: %v", function, payload, answer)
			}
		}
	}
}

func encodings(t *testing.T, w *world) {
	for path, want := range map[string][]int{
		"/connections?owner=%ff":                     {400},
		"/connections?owner=%zz":                     {400},
		"/connections?owner=a;limit=1":               {400},
		"/connections?owner=%00":                     {400},
		"/connections?owner=%E2%80%AE":               {400},
		"/connections?%6fwner=acme":                  {200},
		"/connections?owner=acme%0d%0aX:y":           {400},
		"/connections/%2e%2e/token":                  {404},
		"/connections//token":                        {404},
		"/connections/a%2fb":                         {404},
		"/oauth/youtube/callback?state=%F0%9F%98%80": {400},
		"/%63onnections":                             {200},
	} {
		if status, body := w.get(path); !slices.Contains(want, status) {
			t.Errorf("%s: %d %s, want %v", path, status, body, want)
		}
	}
	for _, body := range []string{"\xef\xbb\xbf{}", "{\"platform\":\"youtube\",\"owner\":\"\xff\"}", `{"platform":"youtube","owner":"\ud800"}`, `{"platform":"youtube","owner":"a\u0000"}`} {
		if status, answer := w.send("POST", "/links", body, "Content-Type", "application/json"); status != 400 {
			t.Errorf("%q: %d %s", body, status, answer)
		}
	}
}

func parametersTwice(t *testing.T, w *world) {
	b := w.browser()
	callback := b.authorize(w.link(object{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})
	for _, again := range []string{"&state=x", "&code=x", "&error=a&error=b", "&iss=a&iss=b", "&%73tate=x"} {
		if status, _ := b.visit(callback + again); status != 400 {
			t.Errorf("%s: %d", again, status)
		}
	}
	for _, path := range []string{"/connections?limit=1&limit=2", "/connections?owner=a&owner=b", "/connections?owner=a&Owner=b"} {
		if status, _ := w.get(path); status != 400 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if told := b.comeBack(callback); told.Get("status") != "connected" {
		t.Errorf("the duplicates spent the state: %v", told)
	}
}
