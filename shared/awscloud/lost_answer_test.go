package awscloud_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
)

// lossyProxy forwards each request, and loses the answer to the first attempt of
// each write: it closes the connection, or answers with an error of its own.
type lossyProxy struct {
	endpoint string
	lost     atomic.Int64
	// after, if set, runs after a write whose answer is lost.
	after func(operation string)
}

var reads = map[string]bool{
	"GetItem": true, "Query": true, "Scan": true, "DescribeTable": true,
	"GetSecretValue": true, "DescribeSecret": true,
	// No port creates tables.
	"CreateTable": true, "DeleteTable": true,
}

func (p *lossyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, p.endpoint, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	request.Header = r.Header.Clone()
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if !reads[operation] && strings.HasPrefix(r.Header.Get("Amz-Sdk-Request"), "attempt=1;") {
		io.Copy(io.Discard, response.Body)
		if p.after != nil {
			p.after(operation)
		}
		if p.lost.Add(1)%2 == 0 {
			http.Error(w, "{}", http.StatusInternalServerError)
			return
		}
		panic(http.ErrAbortHandler) // closes the connection
	}
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	io.Copy(w, response.Body)
}

// newLossyProxy starts a proxy before the endpoint of cfg. It returns the
// configuration for it.
func newLossyProxy(t *testing.T, cfg aws.Config) (aws.Config, *lossyProxy) {
	t.Helper()
	proxy := &lossyProxy{endpoint: *cfg.BaseEndpoint}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return configFor(server.URL), proxy
}

// impatient makes a client send again at once, and as often as need be: with 50
// callers the SDK's own limits would end the test.
func impatient(r aws.Retryer) aws.Retryer {
	return retry.AddWithMaxAttempts(retry.AddWithMaxBackoffDelay(unlimited{r}, time.Millisecond), 20)
}

// unlimited is a Retryer without the SDK's budget of retries.
type unlimited struct{ aws.Retryer }

func (unlimited) GetRetryToken(context.Context, error) (func(error) error, error) {
	return func(error) error { return nil }, nil
}

func newLossyTable(t *testing.T) (*awscloud.Table, *dynamodb.Client, string, *lossyProxy) {
	t.Helper()
	cfg, proxy := newLossyProxy(t, endpoint(t, dynamoDBEndpoint))
	table, client, name := newTable(t, cfg, func(o *dynamodb.Options) { o.Retryer = impatient(o.Retryer) })
	return table, client, name, proxy
}

// The SDK sends a write again when its answer was lost. What then fails because
// the write succeeded before must not look like another caller's success.
func TestTable_LostAnswers(t *testing.T) {
	t.Parallel()
	table, _, _, proxy := newLossyTable(t)
	open := func(*testing.T) connector.Store { return table }
	t.Run("duties", func(t *testing.T) { connectortest.TestStore(t, open) })
	t.Run("concurrency", func(t *testing.T) { connectortest.TestStoreConcurrency(t, open) })
	if lost := proxy.lost.Load(); lost < 500 {
		t.Errorf("%d answers were lost, want some hundreds", lost)
	}
}

func TestVault_LostAnswers(t *testing.T) {
	t.Parallel()
	cfg, proxy := newLossyProxy(t, endpoint(t, secretsManagerEndpoint))
	client := secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) { o.Retryer = impatient(o.Retryer) })
	t.Run("vault", func(t *testing.T) {
		vault := awscloud.NewVault(client, "connector-test-"+rand.Text(), "")
		connectortest.TestVault(t, func(*testing.T) credentialstore.Vault { return vault })
	})
	t.Run("credential_store", func(t *testing.T) { testCredentialStore(t, client) })
	if proxy.lost.Load() == 0 {
		t.Error("no answer was lost")
	}
}

// A reservation must be counted once, also where others reserve before it is sent
// again.
func TestTable_Reserve(t *testing.T) {
	t.Parallel()
	cfg := endpoint(t, dynamoDBEndpoint)
	lossy, proxy := newLossyProxy(t, cfg)
	table, client, name := newTable(t, lossy, func(o *dynamodb.Options) { o.Retryer = impatient(o.Retryer) })
	direct := awscloud.NewTable(dynamodb.NewFromConfig(cfg), name)
	reserve := func(table *awscloud.Table, want int, wantErr error) {
		t.Helper()
		if got, err := table.Reserve(t.Context(), "counter", 1, 4, now); got != want || !errors.Is(err, wantErr) {
			t.Errorf("Reserve = %d, %v, want %d, %v", got, err, want, wantErr)
		}
	}
	marks := func() (count int) {
		t.Helper()
		out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{
			TableName: &name, Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "counter#counter"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for attribute := range out.Item {
			if strings.HasPrefix(attribute, "reserved_") {
				count++
			}
		}
		return count
	}

	reserve(direct, 1, nil)
	if got := marks(); got != 0 {
		t.Errorf("%d marks after a reservation that was sent once, want none", got)
	}
	others := 0
	proxy.after = func(string) {
		if others++; others > 1 {
			return
		}
		if _, err := direct.Reserve(t.Context(), "counter", 1, 4, now); err != nil {
			t.Errorf("Reserve by another caller: %v", err)
		}
	}
	reserve(table, 3, nil)
	proxy.after = nil
	// The first attempt might still arrive, after the second one.
	if got := marks(); got != 1 {
		t.Errorf("%d marks after a reservation that was sent twice, want 1", got)
	}
	reserve(table, 4, nil)
	reserve(table, 4, connector.ErrConflict)
	reserve(direct, 4, connector.ErrConflict)

	// What is left of an hour ago goes with the next reservation.
	for mark := range 120 {
		if _, err := client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: &name, Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "counter#old"}},
			UpdateExpression:         aws.String("SET #mark = :at"),
			ExpressionAttributeNames: map[string]string{"#mark": "reserved_" + strings.Repeat("A", 24) + string(rune('A'+mark/26)) + string(rune('A'+mark%26))},
			ExpressionAttributeValues: map[string]types.AttributeValue{
				":at": &types.AttributeValueMemberS{Value: "2026-01-02T03:04:05.000000000Z"},
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, err := direct.Reserve(t.Context(), "old", 1, 4, now); err != nil {
			t.Errorf("Reserve: %v", err)
		}
	}
	out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: &name, Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "counter#old"}},
	})
	if err != nil || len(out.Item) > 5 {
		t.Errorf("%d attributes after three reservations, %v, want the old marks removed", len(out.Item), err)
	}
}

// late holds the first request of an operation back, as if it were under way for
// too long.
type late struct {
	operation string
	held      *http.Request
	body      []byte
}

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.held != nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+l.operation) {
		return http.DefaultTransport.RoundTrip(r)
	}
	var err error
	l.held = r.Clone(context.WithoutCancel(r.Context()))
	if l.body, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

// deliver sends the held request.
func (l *late) deliver(t *testing.T) {
	t.Helper()
	l.held.Body = io.NopCloser(bytes.NewReader(l.body))
	response, err := http.DefaultTransport.RoundTrip(l.held)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("the late request was answered with %d, want %d", response.StatusCode, http.StatusBadRequest)
	}
}

// The first attempt of a write may arrive after the second one.
func TestTable_LateArrival(t *testing.T) {
	t.Parallel()
	cfg := endpoint(t, dynamoDBEndpoint)
	c := connection(1)
	ticket := connector.Ticket{RecordKey: connector.RecordKey{Kind: connector.StateKind, ID: "id"}, ExpiresAt: now.Add(time.Minute)}
	for name, write := range map[string]struct {
		operation string
		before    func(*awscloud.Table) error
		run       func(*awscloud.Table) error
		check     func(*awscloud.Table) error
	}{
		"reserve": {
			operation: "UpdateItem",
			run: func(table *awscloud.Table) error {
				_, err := table.Reserve(t.Context(), "counter", 1, 10, now)
				return err
			},
			check: func(table *awscloud.Table) error {
				if used, err := table.Reserve(t.Context(), "counter", 1, 10, now); err != nil || used != 2 {
					return fmt.Errorf("the next Reserve = %d, %w, want 2", used, err)
				}
				return nil
			},
		},
		"claim": {
			operation: "UpdateItem",
			before: func(table *awscloud.Table) error {
				_, err := table.Commit(t.Context(), connector.Change{After: &c})
				return err
			},
			run: func(table *awscloud.Table) error {
				return table.Claim(t.Context(), connector.Due{RecordKey: connector.RecordKey{Kind: connector.ConnectionKind, ID: string(c.ID)}, DueAt: now}, now.Add(time.Hour))
			},
		},
		"delete a taken ticket": {
			operation: "DeleteItem",
			before: func(table *awscloud.Table) error {
				_, err := table.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}})
				return err
			},
			run: func(table *awscloud.Table) error {
				if _, err := table.TakeTicket(t.Context(), ticket.RecordKey, "", now); err != nil {
					return err
				}
				_, err := table.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}})
				return err
			},
			check: func(table *awscloud.Table) error {
				_, err := table.Ticket(t.Context(), ticket.RecordKey, now)
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			network := &late{operation: write.operation}
			slow := cfg
			slow.HTTPClient = &http.Client{Transport: network}
			table, _, name := newTable(t, slow, func(o *dynamodb.Options) { o.Retryer = impatient(o.Retryer) })
			direct := awscloud.NewTable(dynamodb.NewFromConfig(cfg), name)
			if write.before != nil {
				if err := write.before(direct); err != nil {
					t.Fatal(err)
				}
			}
			if err := write.run(table); err != nil {
				t.Fatal(err)
			}
			network.deliver(t)
			if write.check != nil {
				if err := write.check(direct); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A ticket that was taken, and whose deletion failed, is gone for everybody, also
// for functions of the previous release.
func TestTable_TakenTicket(t *testing.T) {
	t.Parallel()
	cfg := endpoint(t, dynamoDBEndpoint)
	network := &failing{operation: "DeleteItem"}
	cfg.HTTPClient = &http.Client{Transport: network}
	table, client, name := newTable(t, cfg)
	want := connector.Ticket{
		RecordKey: connector.RecordKey{Kind: connector.PendingKind, ID: "id"}, Bound: "bound", Body: []byte(`{}`),
		ExpiresAt: now.Add(time.Minute), DueAt: now,
	}
	if _, err := table.Commit(t.Context(), connector.Change{Put: []connector.Ticket{want}}); err != nil {
		t.Fatal(err)
	}
	if got, err := table.TakeTicket(t.Context(), want.RecordKey, want.Bound, now); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("TakeTicket = %+v, %v, want %+v", got, err, want)
	}
	if network.failed.Load() == 0 {
		t.Fatal("the ticket was deleted")
	}
	if _, err := table.TakeTicket(t.Context(), want.RecordKey, want.Bound, now); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("TakeTicket again: %v, want %v", err, connector.ErrNotFound)
	}
	if _, err := table.Ticket(t.Context(), want.RecordKey, now); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("Ticket: %v, want %v", err, connector.ErrNotFound)
	}
	if err := table.Claim(t.Context(), connector.Due{RecordKey: want.RecordKey, DueAt: want.DueAt}, now.Add(time.Hour)); !errors.Is(err, connector.ErrConflict) {
		t.Errorf("Claim: %v, want %v", err, connector.ErrConflict)
	}
	for shard := range connector.DueShards {
		if due, err := table.Due(t.Context(), shard, now.Add(time.Hour), 10); err != nil || len(due) > 0 {
			t.Errorf("Due: %v, %v, want nothing", due, err)
		}
	}
	// The condition of the previous release.
	_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName:                &name,
		Item:                     map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "ticket#pending#id"}},
		ConditionExpression:      aws.String("#expires_at > :now AND (attribute_not_exists(#bound) OR #bound = :bound)"),
		ExpressionAttributeNames: map[string]string{"#expires_at": "expires_at", "#bound": "bound"},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":now":   &types.AttributeValueMemberS{Value: now.Format("2006-01-02T15:04:05.000000000Z")},
			":bound": &types.AttributeValueMemberS{Value: want.Bound},
		},
	})
	if failed := new(types.ConditionalCheckFailedException); !errors.As(err, &failed) {
		t.Errorf("taking it as the previous release does: %v, want a failed condition", err)
	}
	if _, err := table.Commit(t.Context(), connector.Change{Put: []connector.Ticket{want}}); err != nil {
		t.Errorf("putting it again: %v", err)
	}
	if got, err := table.Ticket(t.Context(), want.RecordKey, now); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Ticket = %+v, %v, want %+v", got, err, want)
	}
}

// failing fails the requests of one operation before they are sent.
type failing struct {
	operation string
	failed    atomic.Int64
}

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+f.operation) {
		f.failed.Add(1)
		return nil, errors.New("no route to the service")
	}
	return http.DefaultTransport.RoundTrip(r)
}
