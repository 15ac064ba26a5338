package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// erasePerson has a person with a connection, a disconnected one, a pending consent and
// a consent page open ask for the deletion of their data.
func erasePerson(t *testing.T) {
	w := newWorld(t, nil)
	person := w.box.People("facebook")[0]
	one := sandbox.Choice{Pages: []string{person.Pages[0].ID}}
	connected := w.connect("facebook", "acme", one)[0]
	disconnected := w.connect("facebook", "beta", one)[0]
	w.must(http.MethodDelete, "/connections/"+disconnected, nil)
	pending := w.consent(object{"platform": "facebook", "owner": "acme", "confirm": true}, one).Get("confirmation")
	b := w.browser()
	open := b.authorize(w.link(object{"platform": "facebook", "owner": "acme"}), one)
	if secrets := w.secretNames(); len(secrets) != 2 { // the consent is sealed into its record
		t.Fatalf("secrets before: %v", secrets)
	}

	post := func(kind, signed string) (int, string) {
		return w.send(http.MethodPost, "/platforms/facebook/"+kind, url.Values{"signed_request": {signed}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	signed := w.box.SignedRequest(person.ID)
	status, answer := post("data-deletion", signed)
	var taken struct {
		URL  string
		Code string `json:"confirmation_code"`
	}
	if err := json.Unmarshal([]byte(answer), &taken); err != nil || status != 200 || taken.Code == "" {
		t.Fatalf("the data deletion: %d %s", status, answer)
	}
	if status, answer := post("deauthorize", signed); status != 401 {
		t.Errorf("the same signed request as a deauthorization: %d %s", status, answer)
	}
	if secrets := w.secretNames(); len(secrets) > 0 {
		t.Errorf("secrets that are left or can be recovered: %v", secrets)
	}
	w.expectError(404, "ConnectionNotFound", http.MethodGet, "/connections/"+connected, nil)
	w.expectError(404, "ConnectionNotFound", http.MethodGet, "/connections/"+disconnected, nil)
	w.expectError(404, "ConnectionNotFound", http.MethodPost, "/connections/confirm", object{"confirmation": pending, "owner": "acme"})
	if query := b.followCallback(open); query.Get("error") != "AccessDenied" {
		t.Errorf("the consent page that was open ended with %v", query)
	}
	shown := w.must(http.MethodGet, strings.TrimPrefix(taken.URL, w.s.servers.front.url), nil)
	if shown["status"] != "in_progress" || shown["deleted"] != 2.0 || shown["consents"] != 1.0 {
		t.Errorf("the status is %v", shown)
	}
	for _, item := range w.itemsWith(person.ID) {
		if !strings.HasPrefix(item, "ticket#erasure#") { // until the second search
			t.Errorf("the table names the person in %s", item)
		}
	}

	again := w.connect("facebook", "acme", one)[0]
	w.token(object{"connection_id": again})
}

// eraseConfirmed has a person ask for the deletion of their data while their consent, which
// was confirmed, waits for the platform. The link says what became of it.
func eraseConfirmed(t *testing.T) {
	w := newWorld(t, nil)
	person := w.box.People("facebook")[0]
	link := w.must(http.MethodPost, "/links", object{"platform": "facebook", "owner": "acme", "confirm": true, "return_url": w.s.servers.front.url + "/"})
	address, _ := link["url"].(string)
	w.secrets.add("a connect link", address[strings.LastIndex(address, "/")+1:])
	b := w.browser()
	confirmation := b.followCallback(b.authorize(address, sandbox.Choice{Account: person.ID})).Get("confirmation")
	w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "accounts", Kind: sandbox.Outage, Times: 100})
	w.expectError(503, "PlatformUnavailable", http.MethodPost, "/connections/confirm", object{"confirmation": confirmation, "owner": "acme"})

	signed := url.Values{"signed_request": {w.box.SignedRequest(person.ID)}}.Encode()
	if status, answer := w.send(http.MethodPost, "/platforms/facebook/data-deletion", signed, "Content-Type", "application/x-www-form-urlencoded"); status != 200 {
		t.Fatalf("the data deletion: %d %s", status, answer)
	}
	if shown := w.must(http.MethodGet, "/links/"+link["id"].(string), nil); shown["status"] != "failed" || shown["error"] != "AccessDenied" {
		t.Errorf("the link is %v", shown)
	}
	for _, item := range w.itemsWith(person.ID) {
		if !strings.HasPrefix(item, "ticket#erasure#") { // until the second search
			t.Errorf("the table names the person in %s", item)
		}
	}
}

// purgeDuringRefresh purges a connection while the platform's answer to its refresh is
// under way, be it new tokens or a refusal.
func purgeDuringRefresh(t *testing.T) {
	w := newWorld(t, nil)
	for _, refused := range []bool{false, true} {
		id := w.connect("tiktok", "acme", sandbox.Choice{})[0]
		if refused {
			w.box.Kill("tiktok", "", 0)
		}
		exchanges, release := w.box.Count("tiktok", "token/refresh_token"), make(chan struct{})
		w.box.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token/refresh_token", Kind: sandbox.Slow, Release: release})
		ended := make(chan string, 1)
		go func() {
			status, answer := w.send(http.MethodPost, "/connections/"+id+"/refresh", "{}", "Content-Type", "application/json")
			ended <- fmt.Sprintf("%d %s", status, answer)
		}()
		waitFor(t, "the refresh to reach the platform", func() bool { return w.box.Count("tiktok", "token/refresh_token") > exchanges })
		if status, answer := w.send(http.MethodDelete, "/connections/"+id+"?purge=true", ""); status != http.StatusNoContent {
			t.Errorf("refused %v: the purge: %d %s", refused, status, answer)
		}
		close(release)
		if answer := <-ended; !strings.HasPrefix(answer, "404 ") || !strings.Contains(answer, "ConnectionNotFound") {
			t.Errorf("refused %v: the refresh: %s", refused, answer)
		}
		if secrets := w.secretNames(); len(secrets) > 0 {
			t.Errorf("refused %v: secrets that are left or can be recovered: %v", refused, secrets)
		}
	}
}

// secretNames returns the names of the secrets of connections and pending consents,
// also of those that can be recovered.
func (w *world) secretNames() []string {
	w.t.Helper()
	prefix := w.s.settings.values[config.SecretPrefix]
	client := secretsmanager.NewFromConfig(newCloud(w.s.settings, w.s.endpoint).config)
	out, err := client.ListSecrets(w.t.Context(), &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, secret := range out.SecretList {
		name := strings.TrimPrefix(aws.ToString(secret.Name), prefix+"/")
		if strings.HasPrefix(name, "connections/") || strings.HasPrefix(name, "pending/") {
			names = append(names, name)
		}
	}
	return names
}

// itemsWith returns the keys of the items of the table that contain text.
func (w *world) itemsWith(text string) []string {
	w.t.Helper()
	client := dynamodb.NewFromConfig(newCloud(w.s.settings, w.s.endpoint).config)
	out, err := client.Scan(w.t.Context(), &dynamodb.ScanInput{TableName: aws.String("platform-connector")})
	if err != nil {
		w.t.Fatal(err)
	}
	var keys []string
	for _, item := range out.Items {
		b, err := json.Marshal(item)
		if err != nil {
			w.t.Fatal(err)
		}
		var key struct {
			PK struct{ Value string } `json:"pk"`
		}
		if err := json.Unmarshal(b, &key); err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(string(b), text) {
			keys = append(keys, key.PK.Value)
		}
	}
	return keys
}
