package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/handler/hostiletest"
	"platform-api-connector/shared/sandbox"
)

// TestHostile runs the hostile suite over HTTP on the real functions. The
// tests of shared/handler run it in process.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{config.AllowFullCredentials: "true"})
	hostiletest.Run(t, func(*testing.T) hostiletest.Transport {
		return hostiletest.Transport{
			PublicURL: w.s.servers.front.url, ReturnURL: w.s.servers.front.url + "/", Platforms: slices.Sorted(maps.Keys(accountsOf)),
			Sandbox: w.box, Now: time.Now, Logs: w.output.String, Send: w.roundTrip, Invoke: w.invokeRaw,
			RefusesForwarded: true,
		}
	})
}

// TestHostileStack sends the inputs that only the local stack can receive:
// requests on raw sockets and of other sites, and concurrent invocations of the
// functions over a store and a queue.
func TestHostileStack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, w *world)
	}{
		{"13_state_and_code_of_a_megabyte", megabytes},
		{"15_operators_route_under_another_host", foreignHost},
		{"28_states_and_links_have_an_expiry", ticketsExpire},
		{"29_cross_site_posts", crossSite},
		{"32_200_callers_of_one_expired_token", concurrentCallers},
		{"41_schedule_twice_at_once", scheduleTwice},
		{"escaped_route", escapedRoute},
	} {
		t.Run(attack.name, func(t *testing.T) {
			attack.run(t, &world{t: t, s: w.s, box: w.box, output: w.output, secrets: w.secrets})
		})
	}
}

// roundTrip sends a request, and adds the secrets of the answer to w.secrets.
func (w *world) roundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	for _, cookie := range response.Cookies() {
		w.secrets.add("a cookie", cookie.Value)
	}
	w.secrets.add("a state", queryOf(response.Header.Get("Location"), "state"))
	if r.URL.Path == "/links" {
		b, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return nil, err
		}
		response.Body = io.NopCloser(bytes.NewReader(b))
		var link struct{ URL string }
		if json.Unmarshal(b, &link) == nil && link.URL != "" {
			w.secrets.add("a connect link", link.URL[strings.LastIndex(link.URL, "/")+1:])
		}
	}
	return response, nil
}

// invokeRaw invokes a function with the bytes of a payload.
func (w *world) invokeRaw(function, payload string) (answer []byte, failed bool, err error) {
	response, err := http.Post(w.s.servers.aws.url+"/2015-03-31/functions/"+function+"/invocations", "application/json", strings.NewReader(payload))
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	return answer, response.Header.Get("X-Amz-Function-Error") != "", err
}

// get sends a GET and returns its status and body. The headers are pairs of name
// and value.
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

func megabytes(t *testing.T, w *world) {
	long := strings.Repeat("a", 1<<20)
	for _, path := range []string{
		"/oauth/youtube/callback?code=x&state=" + long, "/oauth/youtube/callback?state=x&code=" + long, "/connect/" + long,
		"/oauth/" + long + "/callback", "/connections?owner=" + long, "/connections?cursor=" + long,
	} {
		// The server may stop reading before the client has sent everything.
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

func ticketsExpire(t *testing.T, w *world) {
	link := w.link(object{"platform": "youtube", "owner": "acme"})
	for range 20 {
		if status, location := w.browser().visit(link); status != http.StatusFound {
			t.Fatalf("start: %d", status)
		} else {
			w.secrets.add("a state", queryOf(location, "state"))
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
		if _, expires := item["expires"].(*types.AttributeValueMemberN); !expires {
			t.Error("a ticket has no expiry: DynamoDB would never delete it")
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

func concurrentCallers(t *testing.T, w *world) {
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 1 })
	id := w.connect("twitter", "two hundred", sandbox.Choice{})[0]
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().AccessSeconds = 7200 })
	w.waitForExpiry(id)
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
	waitFor(t, "the connection to be due and refreshed", func() bool {
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

func foreignHost(t *testing.T, w *world) {
	if status, _ := w.get("/connections", "Host", "evil.example"); status != 403 {
		t.Errorf("status %d, want 403", status)
	}
}

// escapedRoute shows that the gateway matches decoded paths, as API Gateway
// does.
func escapedRoute(t *testing.T, w *world) {
	if status, body := w.get("/%63onnections"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}
