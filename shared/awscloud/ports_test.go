package awscloud_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
)

var now = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

func connection(n int) connector.Connection {
	return connector.Connection{
		ID:    connector.ID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)),
		Owner: "acme", Platform: "youtube", AccountID: fmt.Sprint("account ", n), Status: connector.Active,
		UserID: "user", CreatedAt: now, UpdatedAt: now, RefreshAt: now,
	}
}

func create(t *testing.T, table *awscloud.Table, c connector.Connection) connector.Connection {
	t.Helper()
	created, err := table.Commit(t.Context(), connector.Change{After: &c})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func update(t *testing.T, table *awscloud.Table, c connector.Connection, edit func(*connector.Connection)) connector.Connection {
	t.Helper()
	next := c
	edit(&next)
	updated, err := table.Commit(t.Context(), connector.Change{Before: &c, After: &next})
	if err != nil {
		t.Fatal(err)
	}
	return updated
}

// contended refuses some requests as DynamoDB does while a transaction writes
// the record.
type contended struct {
	mu     sync.Mutex
	target string // the operation
	left   int
}

func (c *contended) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	refused := strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+c.target) && c.left > 0
	if refused {
		c.left--
	}
	c.mu.Unlock()
	if !refused {
		return http.DefaultTransport.RoundTrip(r)
	}
	body := `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionConflictException","message":"Transaction is ongoing for the item"}`
	return &http.Response{
		StatusCode: http.StatusBadRequest, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// A transaction on the same record says nothing about the condition of a write.
// The write is tried again. If that does not help, the caller must read again;
// but contention is no reason to say that a ticket is gone or a limit reached.
func TestTable_Contention(t *testing.T) {
	t.Parallel()
	cfg := endpoint(t, dynamoDBEndpoint)
	network := &contended{target: "UpdateItem"}
	cfg.HTTPClient = &http.Client{Transport: network}
	table, _, _ := newTable(t, cfg)
	ticket := connector.Ticket{RecordKey: connector.RecordKey{Kind: connector.StateKind, ID: "id"}, ExpiresAt: now.Add(time.Minute)}
	if _, err := table.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}}); err != nil {
		t.Fatal(err)
	}
	for refused, want := range map[int]error{1: nil, 100: connector.ErrConflict} {
		network.left = refused
		_, err := table.PutBreaker(t.Context(), connector.Breaker{BreakerKey: connector.BreakerKey{Platform: connector.Name(fmt.Sprint("platform-", refused))}})
		if !errors.Is(err, want) {
			t.Errorf("PutBreaker, refused %d times: %v, want %v", refused, err, want)
		}
	}
	network.left = 100
	if _, err := table.TakeTicket(t.Context(), ticket.RecordKey, "", now); err == nil || errors.Is(err, connector.ErrNotFound) {
		t.Errorf("TakeTicket: %v, want another error than %v", err, connector.ErrNotFound)
	}
	if _, err := table.Reserve(t.Context(), "counter", 1, 10, now); err == nil || errors.Is(err, connector.ErrConflict) {
		t.Errorf("Reserve: %v, want another error than %v", err, connector.ErrConflict)
	}
	network.left = 0
	if _, err := table.TakeTicket(t.Context(), ticket.RecordKey, "", now); err != nil {
		t.Errorf("TakeTicket afterwards: %v", err)
	}
}

// A connection can be disconnected although its claim to the account is lost.
func TestTable_DisconnectWithoutClaim(t *testing.T) {
	t.Parallel()
	table, client, name := newTable(t, endpoint(t, dynamoDBEndpoint))
	c := create(t, table, connection(1))
	items, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &name})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items.Items {
		if pk := item["pk"]; strings.HasPrefix(pk.(*types.AttributeValueMemberS).Value, "account#") {
			if _, err := client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &name, Key: map[string]types.AttributeValue{"pk": pk}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	update(t, table, c, func(c *connector.Connection) { c.Status = connector.Disconnected })
}

// A page of DynamoDB ends at 1 MB. A page of a listing must not.
func TestTable_ListingBeyondAPageOfDynamoDB(t *testing.T) {
	t.Parallel()
	table, _, _ := newTable(t, endpoint(t, dynamoDBEndpoint))
	for n := range 6 {
		c := connection(n)
		c.AccountName = strings.Repeat("x", 300_000)
		if n < 5 {
			c.Status = connector.Manual
		}
		create(t, table, c)
	}
	for _, owner := range []string{"", "acme"} {
		page, next, err := table.Connections(t.Context(), connector.Filter{Owner: owner}, "", 6)
		if err != nil || len(page) != 6 || next != "" {
			t.Errorf("owner %q: %d connections, next %q, %v, want all 6", owner, len(page), next, err)
		}
		page, next, err = table.Connections(t.Context(), connector.Filter{Owner: owner, Status: connector.Active}, "", 1)
		if err != nil || len(page) != 1 || next != "" {
			t.Errorf("owner %q, the active one: %d connections, next %q, %v, want 1", owner, len(page), next, err)
		}
	}
}

// People read the table with the AWS console and its command line.
func TestTable_AttributeNames(t *testing.T) {
	t.Parallel()
	table, client, name := newTable(t, endpoint(t, dynamoDBEndpoint))
	c := connection(1)
	c.AccountName, c.StatusReason, c.Failures = "name", "reason", 2
	c.Scopes, c.MissingScopes = []string{"a"}, []string{"b"}
	c.ExpiresAt, c.LastRefreshedAt, c.VerifiedAt = now, now, now
	c.Degraded = connector.Degradation{Failures: 3, Code: connector.ScopeMissing, Checked: true, Warning: "warning"}
	created := create(t, table, c)
	if read, err := table.Connection(t.Context(), c.ID); err != nil || read.Degraded != created.Degraded || read.Degraded != c.Degraded {
		t.Errorf("the degradation is read as %+v, %v", read.Degraded, err)
	}
	out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: &name, Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "connection#" + string(c.ID)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, attribute := range []string{
		"id", "platform", "owner", "account_id", "account_name", "scopes", "missing_scopes", "status", "status_reason",
		"expires_at", "refresh_at", "last_refreshed_at", "failures", "verified_at", "created_at", "updated_at", "revision",
		"degraded_code", "degraded_failures", "degraded_checked", "degraded_warning",
	} {
		if out.Item[attribute] == nil {
			t.Errorf("the record has no attribute %q", attribute)
		}
	}
	at, ok := out.Item["expires_at"].(*types.AttributeValueMemberS)
	if !ok {
		t.Fatalf("expires_at is a %T, want a string", out.Item["expires_at"])
	}
	if got, err := time.Parse(time.RFC3339, at.Value); err != nil || !got.Equal(now) {
		t.Errorf("expires_at is %q, want %v in RFC 3339", at.Value, now)
	}
	if out.Item["expires"] != nil {
		t.Error("an active connection would be deleted")
	}
}

func TestTable_DisconnectedExpires(t *testing.T) {
	t.Parallel()
	table, client, name := newTable(t, endpoint(t, dynamoDBEndpoint))
	c := create(t, table, connection(1))
	update(t, table, c, func(c *connector.Connection) { c.Status = connector.Disconnected })
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &name})
	if err != nil || len(out.Items) != 1 {
		t.Fatalf("%d records, %v, want the connection alone", len(out.Items), err)
	}
	expires, ok := out.Items[0][awscloud.TableSchema().TTLAttribute].(*types.AttributeValueMemberN)
	if want := fmt.Sprint(now.Add(connector.DisconnectedFor).Unix() + 1); !ok || expires.Value != want {
		t.Errorf("expires at %+v, want %s", expires, want)
	}
}

func newQueue(t *testing.T) (*awscloud.Queue, *sqs.Client, *string) {
	t.Helper()
	cfg, _ := cloud(t)
	client := sqs.NewFromConfig(cfg)
	out, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("refresh")})
	if err != nil {
		t.Fatal(err)
	}
	return awscloud.NewQueue(client, *out.QueueUrl), client, out.QueueUrl
}

// keys returns keys of connections and of pending consents.
func keys(count int) (keys []connector.RecordKey) {
	for n := range count {
		kind := connector.ConnectionKind
		if n%2 == 1 {
			kind = connector.PendingKind
		}
		keys = append(keys, connector.RecordKey{Kind: kind, ID: string(connection(n).ID)})
	}
	return keys
}

// The worker of the previous release finds the id of any record in connection_id.
func TestQueue_Messages(t *testing.T) {
	t.Parallel()
	queue, client, url := newQueue(t)
	if failed, err := queue.Enqueue(t.Context(), keys(25), 0); err != nil || len(failed) > 0 {
		t.Fatalf("Enqueue: %v, %v", failed, err)
	}
	var got, want []string
	for _, key := range keys(25) {
		want = append(want, fmt.Sprintf(`{"kind":%q,"id":%q,"connection_id":%q}`, key.Kind, key.ID, key.ID))
	}
	for len(got) < 25 {
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})
		if err != nil || len(out.Messages) == 0 {
			t.Fatalf("ReceiveMessage after %d messages: %v, %v", len(got), out, err)
		}
		for _, m := range out.Messages {
			got = append(got, *m.Body)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
	if failed, err := queue.Enqueue(t.Context(), nil, 0); err != nil || failed != nil {
		t.Errorf("Enqueue of nothing: %v, %v", failed, err)
	}
}

func TestQueue_Delay(t *testing.T) {
	t.Parallel()
	queue, client, url := newQueue(t)
	if failed, err := queue.Enqueue(t.Context(), keys(1), 4*time.Minute); err != nil || len(failed) > 0 {
		t.Fatalf("Enqueue: %v, %v", failed, err)
	}
	out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{
		sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesDelayed,
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "1"}
	if !maps.Equal(out.Attributes, want) {
		t.Errorf("messages %v, want %v", out.Attributes, want)
	}
}

func TestQueue_Failed(t *testing.T) {
	t.Parallel()
	_, client, url := newQueue(t)
	failed, err := awscloud.NewQueue(client, *url+"-nope").Enqueue(t.Context(), keys(12), 0)
	if notThere := new(sqstypes.QueueDoesNotExist); !errors.As(err, &notThere) || !slices.Equal(failed, keys(12)) {
		t.Errorf("no queue: failed %v, %v, want all 12 and that the queue does not exist", failed, err)
	}

	partly := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		io.WriteString(w, `{"Successful":[],"Failed":[{"Id":"1","Code":"InternalError","SenderFault":false}]}`)
	}))
	t.Cleanup(partly.Close)
	failed, err = awscloud.NewQueue(sqs.NewFromConfig(configFor(partly.URL)), *url).Enqueue(t.Context(), keys(12), 0)
	if want := []connector.RecordKey{keys(12)[1], keys(12)[11]}; err != nil || !slices.Equal(failed, want) {
		t.Errorf("the second of each batch refused: failed %v, %v, want %v", failed, err, want)
	}
}

func TestEvents_Publish(t *testing.T) {
	t.Parallel()
	cfg, standIn := cloud(t)
	events := awscloud.NewEvents(eventbridge.NewFromConfig(cfg), "default")
	published := []connector.Event{event(1, connector.EventConnected, ""), event(2, connector.EventReauth, "revoked")}
	for n := range 10 {
		published = append(published, event(n+3, connector.EventRefreshed, ""))
	}
	accepted, err := events.Publish(t.Context(), published...)
	if err != nil || !slices.Equal(accepted, idsOf(published)) {
		t.Fatalf("accepted %v, %v", accepted, err)
	}
	got := standIn.Events()
	if len(got) != len(published) {
		t.Fatalf("%d events, want %d", len(got), len(published))
	}
	const detail = `"connection_id":"00000000-0000-4000-8000-000000000001","owner":"acme","platform":"youtube","account_id":"account 1","status":"active"`
	const moment = `"occurred_at":"2026-11-23T12:00:00Z"`
	for n, want := range []struct{ detailType, detail string }{
		{"Connection Connected", `{"event_id":"event 1",` + detail + `,"revision":1,` + moment + `}`},
		{"Reauthorization Required", `{"event_id":"event 2",` + detail + `,"reason":"revoked","revision":2,` + moment + `}`},
	} {
		if !got[n].Time.Equal(published[n].OccurredAt) {
			t.Errorf("event %d: its time is %v, want %v", n, got[n].Time, published[n].OccurredAt)
		}
		if got[n].Source != "platform-connector" || got[n].DetailType != want.detailType || string(got[n].Detail) != want.detail {
			t.Errorf("event %d: %s %s %s, want platform-connector %s %s", n, got[n].Source, got[n].DetailType, got[n].Detail, want.detailType, want.detail)
		}
	}
}

// event returns the n-th event, of the first connection.
func event(n int, kind connector.EventType, reason string) connector.Event {
	c := connection(1)
	return connector.Event{
		ID: connector.ID(fmt.Sprintf("event %d", n)), Type: kind, ConnectionID: c.ID, Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID,
		Status: c.Status, Reason: reason, Revision: int64(n), OccurredAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
}

func idsOf(events []connector.Event) (ids []connector.ID) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func TestEvents_Refused(t *testing.T) {
	t.Parallel()
	cfg, standIn := cloud(t)
	all := []connector.Event{event(1, connector.EventConnected, ""), event(2, connector.EventReauth, ""), event(3, connector.EventDisconnected, "")}

	t.Run("no_bus", func(t *testing.T) {
		accepted, err := awscloud.NewEvents(eventbridge.NewFromConfig(cfg), "nope").Publish(t.Context(), all...)
		if err == nil || len(accepted) > 0 {
			t.Errorf("to a bus that does not exist: accepted %v, %v", accepted, err)
		}
	})
	// EventBridge refuses an entry without a detail type, and accepts the others.
	t.Run("one_entry", func(t *testing.T) {
		refused := slices.Clone(all)
		refused[1].Type = ""
		accepted, err := awscloud.NewEvents(eventbridge.NewFromConfig(cfg), "default").Publish(t.Context(), refused...)
		if want := []connector.ID{"event 1", "event 3"}; err == nil || !slices.Equal(accepted, want) {
			t.Errorf("accepted %v, %v, want %v and an error", accepted, err, want)
		}
		if n := len(standIn.Events()); n != 2 {
			t.Errorf("%d events are on the bus, want 2", n)
		}
	})
	// What an answer does not name as accepted is not.
	for name, answer := range map[string]string{
		"throttled":      `{"FailedEntryCount":1,"Entries":[{"EventId":"a"},{"ErrorCode":"ThrottlingException"},{"EventId":"c"}]}`,
		"without_an_id":  `{"FailedEntryCount":0,"Entries":[{"EventId":"a"},{},{"EventId":"c"}]}`,
		"too_few":        `{"FailedEntryCount":0,"Entries":[{"EventId":"a"}]}`,
		"without_result": `{}`,
		"not_json":       `<html>`,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/x-amz-json-1.1")
				io.WriteString(w, answer)
			}))
			t.Cleanup(server.Close)
			accepted, err := awscloud.NewEvents(eventbridge.NewFromConfig(configFor(server.URL)), "default").Publish(t.Context(), all...)
			var want []connector.ID
			if name == "throttled" || name == "without_an_id" {
				want = []connector.ID{"event 1", "event 3"}
			}
			if err == nil || !slices.Equal(accepted, want) {
				t.Errorf("accepted %v, %v, want %v and an error", accepted, err, want)
			}
		})
	}
}

func TestPorts_Cancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	table, _, _ := newTable(t, endpoint(t, dynamoDBEndpoint))
	_, err := table.Connection(ctx, connection(1).ID)
	c := connection(1)
	_, createErr := table.Commit(ctx, connector.Change{After: &c})
	queue, _, _ := newQueue(t)
	failed, queueErr := queue.Enqueue(ctx, keys(2), 0)
	for _, err := range []error{err, createErr, queueErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	}
	if !slices.Equal(failed, keys(2)) {
		t.Errorf("Enqueue returned %v as failed, want both", failed)
	}
}
