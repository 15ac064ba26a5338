package awscloud

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/connector"
)

// ticketItem is a ticket as it is stored.
type ticketItem struct {
	Key       string    `dynamodbav:"pk"`
	Bound     string    `dynamodbav:"bound,omitempty"`
	Body      string    `dynamodbav:"body,omitempty"`
	ExpiresAt time.Time `dynamodbav:"expires_at,omitempty"`
	Expires   int64     `dynamodbav:"expires"`
	DueShard  string    `dynamodbav:"due_shard,omitempty"`
	DueAt     time.Time `dynamodbav:"due_at,omitempty"`

	// User and ID are the keys of the index by_user, of tickets that name a
	// person.
	User string `dynamodbav:"user,omitempty"`
	ID   string `dynamodbav:"id,omitempty"`

	// Write is the nonce of the write that wrote the item.
	Write string `dynamodbav:"write"`

	// TakenBy is the nonce of the call that took the ticket. ExpiresAt is then in
	// the past, and TakenExpiresAt is what it was.
	TakenBy        string    `dynamodbav:"taken_by,omitempty"`
	TakenExpiresAt time.Time `dynamodbav:"taken_expires_at,omitempty"`
}

func encodeTicket(t connector.Ticket, write string) item {
	i := ticketItem{
		Key: recordKey(t.RecordKey), Bound: t.Bound, Body: string(t.Body),
		ExpiresAt: t.ExpiresAt, Expires: ttl(t.ExpiresAt), Write: write,
	}
	if !t.DueAt.IsZero() {
		i.DueShard, i.DueAt = shardKey(shardOf(t.ID)), t.DueAt
	}
	if t.UserID != "" {
		i.User, i.ID = userKey(t.Platform, t.UserID), t.ID
	}
	return encode(i)
}

func decodeTicket(key connector.RecordKey, from item) (connector.Ticket, error) {
	i, err := decode[ticketItem](from)
	t := connector.Ticket{RecordKey: key, Bound: i.Bound, Body: []byte(i.Body), ExpiresAt: i.ExpiresAt, DueAt: i.DueAt}
	t.Platform, t.UserID = parseUserKey(i.User)
	if i.TakenBy != "" {
		t.ExpiresAt = i.TakenExpiresAt
	}
	return t, err
}

// putTicket is the write of a ticket. It may replace one that was taken.
func (t *Table) putTicket(ticket connector.Ticket, nonce string) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{
		TableName: t.name, Item: encodeTicket(ticket, nonce),
		ConditionExpression: aws.String("attribute_not_exists(pk) OR attribute_exists(taken_by)"),
	}}
}

// replaceTicket is the write of a ticket over another, unless that was taken or
// replaced since it was read.
func (t *Table) replaceTicket(r connector.Replacement, nonce string) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{
		TableName: t.name, Item: encodeTicket(r.New, nonce),
		ConditionExpression:       aws.String("#body = :body AND attribute_not_exists(#taken_by)"),
		ExpressionAttributeNames:  map[string]string{"#body": "body", "#taken_by": "taken_by"},
		ExpressionAttributeValues: item{":body": text(string(r.Old.Body))},
	}}
}

// Ticket implements connector.Store.
func (t *Table) Ticket(ctx context.Context, key connector.RecordKey, now time.Time) (connector.Ticket, error) {
	i, err := t.get(ctx, recordKey(key))
	if err != nil {
		return connector.Ticket{}, fmt.Errorf("reading a ticket: %w", err)
	}
	ticket, err := decodeTicket(key, i)
	if err != nil {
		return connector.Ticket{}, err
	}
	if i["taken_by"] != nil || !now.Before(ticket.ExpiresAt) {
		return connector.Ticket{}, connector.ErrNotFound
	}
	return ticket, nil
}

// TakeTicket implements connector.Store. It marks the ticket as taken by a nonce
// and then deletes it. If the answer to the mark is lost, the item still says who
// took it; the answer to a deletion could not be had again. A ticket that could
// not be deleted is never found, and DynamoDB deletes it when it expires.
//
// The mark also moves the end of the ticket into the past, so that functions of
// the previous release, which do not know the mark, take the ticket for expired.
func (t *Table) TakeTicket(ctx context.Context, key connector.RecordKey, bound string, now time.Time) (connector.Ticket, error) {
	nonce := rand.Text()
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:           t.name,
		Key:                 keyOf(recordKey(key)),
		UpdateExpression:    aws.String("SET #taken_by = :nonce, #taken_expires_at = #expires_at, #expires_at = :past REMOVE #due_shard"),
		ConditionExpression: aws.String("#expires_at > :now AND (attribute_not_exists(#bound) OR #bound = :bound)"),
		ExpressionAttributeNames: map[string]string{
			"#taken_by": "taken_by", "#taken_expires_at": "taken_expires_at",
			"#expires_at": "expires_at", "#due_shard": "due_shard", "#bound": "bound",
		},
		ExpressionAttributeValues: item{
			":nonce": text(nonce), ":past": instant(time.Time{}), ":now": instant(now), ":bound": text(bound),
		},
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	there, failed := conditionFailed(err)
	switch {
	case failed && !hasNonce(there, "taken_by", nonce):
		return connector.Ticket{}, connector.ErrNotFound
	case err != nil && !failed:
		return connector.Ticket{}, fmt.Errorf("taking a ticket: %w", err)
	case !failed:
		there = out.Attributes
	}
	// The condition spares a ticket of the same key that was put again.
	_, _ = t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName:                 t.name,
		Key:                       keyOf(recordKey(key)),
		ConditionExpression:       aws.String("#taken_by = :nonce"),
		ExpressionAttributeNames:  map[string]string{"#taken_by": "taken_by"},
		ExpressionAttributeValues: item{":nonce": text(nonce)},
	})
	return decodeTicket(key, there)
}
