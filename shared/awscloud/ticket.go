package awscloud

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/connector"
)

// PutTicket implements connector.Store.
func (t *Table) PutTicket(ctx context.Context, ticket connector.Ticket) error {
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:           t.name,
		Item:                encodeTicket(ticket),
		ConditionExpression: aws.String("attribute_not_exists(pk)"),
	})
	if err := portError(err); err != nil {
		return fmt.Errorf("keeping a ticket: %w", err)
	}
	return nil
}

// Ticket implements connector.Store.
func (t *Table) Ticket(ctx context.Context, kind connector.TicketKind, hash string, now time.Time) (connector.Ticket, error) {
	i, err := t.get(ctx, ticketKey(kind, hash))
	if err != nil {
		return connector.Ticket{}, fmt.Errorf("reading a ticket: %w", err)
	}
	ticket, err := decodeTicket(kind, hash, i)
	if err != nil {
		return connector.Ticket{}, err
	}
	if !now.Before(ticket.ExpiresAt) {
		return connector.Ticket{}, connector.ErrNotFound
	}
	return ticket, nil
}

// TakeTicket implements connector.Store: one conditional delete, which
// returns the ticket to whom it succeeded for. If that answer is lost on its
// way, nobody gets the ticket.
func (t *Table) TakeTicket(ctx context.Context, kind connector.TicketKind, hash, bound string, now time.Time) (connector.Ticket, error) {
	out, err := t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName:                 t.name,
		Key:                       keyOf(ticketKey(kind, hash)),
		ConditionExpression:       aws.String("#expires_at > :now AND (attribute_not_exists(#bound) OR #bound = :bound)"),
		ExpressionAttributeNames:  map[string]string{"#expires_at": "expires_at", "#bound": "bound"},
		ExpressionAttributeValues: item{":now": instant(now), ":bound": text(bound)},
		ReturnValues:              types.ReturnValueAllOld,
	})
	err = portError(err)
	if errors.Is(err, connector.ErrConflict) {
		return connector.Ticket{}, connector.ErrNotFound
	}
	if err != nil {
		return connector.Ticket{}, fmt.Errorf("taking a ticket: %w", err)
	}
	return decodeTicket(kind, hash, out.Attributes)
}

// Reserve implements connector.Store. If an answer is lost on its way the
// SDK asks again, and n may count twice; the limit holds even then.
func (t *Table) Reserve(ctx context.Context, counter string, n, limit int, expiresAt time.Time) (int, error) {
	condition := "#used <= :room"
	if n <= limit {
		condition = "attribute_not_exists(#used) OR " + condition
	}
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                           t.name,
		Key:                                 keyOf("counter#" + counter),
		UpdateExpression:                    aws.String("SET #expires = :expires ADD #used :n"),
		ConditionExpression:                 aws.String(condition),
		ExpressionAttributeNames:            map[string]string{"#used": "used", "#expires": "expires"},
		ExpressionAttributeValues:           item{":n": number(int64(n)), ":room": number(int64(limit - n)), ":expires": sweepAfter(expiresAt)},
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if failed := new(types.ConditionalCheckFailedException); errors.As(err, &failed) {
		used, err := usedOf(failed.Item)
		return used, errors.Join(connector.ErrConflict, err)
	}
	if err != nil {
		return 0, fmt.Errorf("reserving: %w", err)
	}
	return usedOf(out.Attributes)
}

func usedOf(i item) (int, error) {
	r := &reader{item: i}
	return int(r.number("used")), r.err
}
