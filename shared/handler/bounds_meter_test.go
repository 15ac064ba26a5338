package handler_test

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/sandbox"
)

// meter has the largest size of each output.
type meter struct {
	mu      sync.Mutex
	largest map[string]int
}

func (m *meter) measure(output string, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.largest[output] = max(m.largest[output], size)
}

// Do measures a call of AWS, as the client of its SDK.
func (m *meter) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		m.measureCall(r.Header.Get("X-Amz-Target"), body)
	}
	return http.DefaultClient.Do(r)
}

func (m *meter) measureCall(target string, body []byte) {
	var call struct {
		Item          json.RawMessage
		TransactItems []json.RawMessage
		SecretString  string
		Entries       []json.RawMessage
	}
	if json.Unmarshal(body, &call) != nil {
		return
	}
	switch _, operation, _ := strings.Cut(target, "."); operation {
	case "PutItem":
		m.measure(tableItem, len(call.Item))
	case "TransactWriteItems":
		m.measure(transactionRows, len(call.TransactItems))
		m.measure(transactionSize, len(body))
	case "PutSecretValue", "CreateSecret":
		m.measure(secretValue, len(call.SecretString))
	case "SendMessageBatch":
		m.measure(queueMessages, len(call.Entries))
		m.measure(queueBatch, len(body))
	case "PutEvents":
		m.measure(eventEntries, len(call.Entries))
		for _, entry := range call.Entries {
			m.measure(eventEntry, len(entry))
		}
	}
}

// measureChange measures what is written to a store in memory.
func (m *meter) measureChange(_ context.Context, call connectortest.Call, next func() error) error {
	c := call.Change
	written := slices.Concat(c.Put, c.Overwrite)
	for _, replacement := range c.Replace {
		written = append(written, replacement.New)
	}
	for _, ticket := range written {
		m.measure(tableItem, len(ticket.Body))
	}
	const ofConnection = 3 // its record, and the claims to the account before and after
	m.measure(transactionRows, len(written)+len(c.Drop)+ofConnection)
	return next()
}

// meteredStack is a stack whose outputs are measured.
type meteredStack struct {
	*stack
	*meter
	scan func(t *testing.T)
}

// newMetered returns a stack over memory or, with real, over the AWS half of the
// ports and the embedded AWS.
func newMetered(t *testing.T, m *meter, real bool) meteredStack {
	t.Helper()
	s := meteredStack{stack: newStack(t), meter: m, scan: func(*testing.T) {}}
	s.service.Budgets = unlimited()
	s.service.Budgets[connector.AccountsPerConsent] = 2000
	if real {
		s.onAWS(t)
	} else {
		s.hook(m.measureChange)
	}
	for name, function := range s.functions {
		s.functions[name] = func(ctx context.Context, payload []byte) ([]byte, error) {
			answer, err := function(ctx, payload)
			m.measure(lambdaAnswer, len(answer))
			m.measureHTTP(answer)
			if err != nil {
				m.measure(invokeMessage, len(err.Error()))
			}
			return answer, err
		}
	}
	return s
}

func (m *meter) measureHTTP(answer []byte) {
	var r reply
	if json.Unmarshal(answer, &r) != nil || r.StatusCode == 0 {
		return
	}
	size := 0
	for name, value := range r.Headers {
		size += len(name) + len(value) + len(": \r\n")
	}
	for _, cookie := range r.Cookies {
		size += len("set-cookie: \r\n") + len(cookie)
	}
	m.measure(answerHeaders, size)
	location := r.Headers["location"]
	switch {
	case strings.HasPrefix(location, "https://product.example.com"):
		m.measure(returnTarget, len(location))
	case location != "":
		m.measure(authorizeURL, len(location))
	}
}

// onAWS replaces the ports by those of AWS.
func (s *meteredStack) onAWS(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(awslocal.New(awslocal.Options{Now: time.Now, Random: cryptorand.Reader}))
	t.Cleanup(server.Close)
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: &server.URL, HTTPClient: s.meter,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
	name := aws.String("connector-test")
	tables := dynamodb.NewFromConfig(cfg, awscloud.RetryContention)
	queue, err := sqs.NewFromConfig(cfg).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: name})
	_, busErr := eventbridge.NewFromConfig(cfg).CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: name})
	if err := errors.Join(err, busErr, awscloud.CreateTable(t.Context(), tables, *name)); err != nil {
		t.Fatal(err)
	}
	secrets := secretsmanager.NewFromConfig(cfg)
	ports := connectortest.Ports{
		Store: awscloud.NewTable(tables, *name), Vault: awscloud.NewVault(secrets, *name, ""), Sealer: awscloud.NewSealer(secrets, *name, ""),
		Queue: awscloud.NewQueue(sqs.NewFromConfig(cfg), *queue.QueueUrl), Events: awscloud.NewEvents(eventbridge.NewFromConfig(cfg), *name),
	}
	ports.Wire(s.service, nil, credentialstore.Options{})
	for _, platform := range sandbox.Platforms() {
		s.putApp(t, platform)
	}
	s.scan = func(t *testing.T) {
		t.Helper()
		pages := dynamodb.NewScanPaginator(tables, &dynamodb.ScanInput{TableName: name})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range page.Items {
				b, err := json.Marshal(i)
				if err != nil {
					t.Fatal(err)
				}
				s.measure(tableItem, len(b))
				for _, attribute := range []string{"pk", "owner", "user", "id", "due_shard"} {
					value, _ := json.Marshal(i[attribute])
					s.measure(tableKey, len(value))
				}
			}
		}
	}
}

// wide is a platform whose consents and imports are as large as platforms can make
// them.
type wide struct {
	connector.Platform
	accounts int
	now      func() time.Time
}

func (p wide) grants(app connector.App) []connector.Grant {
	grants := make([]connector.Grant, p.accounts)
	for n := range grants {
		id := fmt.Sprintf("%0128d", n)
		grants[n] = connector.Grant{
			Account: connector.Account{ID: id, Name: strings.Repeat("𝕏", 120) + fmt.Sprintf("%08d", n)},
			UserID:  "300000000000001", Warning: strings.Repeat("<", 200),
			Credentials: connector.Credentials{
				Fields:   connector.Fields{"page_id": connector.NewSecret(id), "page_access_token": connector.NewSecret(strings.Repeat(`"`, 8<<10))},
				ClientID: app.ClientID, IssuedAt: p.now(), Scopes: longScopes(100, 200),
			},
		}
	}
	return grants
}

func longScopes(n, length int) []string {
	scopes := make([]string, n)
	for i := range scopes {
		scopes[i] = fmt.Sprintf("https://scope.example/%03d%s", i, strings.Repeat("/", length-25))
	}
	return scopes
}

func (p wide) Accounts(_ context.Context, app connector.App, _ connector.Credentials, _ string) (connector.AccountList, error) {
	return connector.AccountList{Grants: p.grants(app)}, nil
}

func (p wide) Import(_ context.Context, app connector.App, _ connector.Fields, _ bool) ([]connector.Grant, error) {
	return p.grants(app), nil
}

// widen makes the consents and imports of Facebook have that many accounts.
func (s meteredStack) widen(accounts int) {
	for n, p := range s.service.Platforms {
		if p.Describe().Name == sandbox.Facebook {
			s.service.Platforms[n] = wide{p, accounts, s.clock.Now}
		}
	}
}

// longOwner has the length that an owner can have, in characters of four bytes.
var longOwner = strings.Repeat("𝕆", 128)

// listAll follows the cursors of a listing, and returns the ids.
func (s meteredStack) listAll(t *testing.T, path string) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for cursor := ""; ; {
		var page struct {
			Connections []struct{ ID string }
			NextCursor  string `json:"next_cursor"`
		}
		s.do(t, http.MethodGet, path+"limit=100&cursor="+url.QueryEscape(cursor)).decode(t, 200, &page)
		for _, c := range page.Connections {
			if ids[c.ID] {
				t.Errorf("%s lists %s twice", path, c.ID)
			}
			ids[c.ID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			return ids
		}
	}
}
