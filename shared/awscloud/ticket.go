package awscloud

import (
	"context"
	"crypto/rand"
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
	i := encodeTicket(ticket, rand.Text())
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:           t.name,
		Item:                i,
		ConditionExpression: aws.String("attribute_not_exists(pk)"),
	})
	err = portError(err)
	if errors.Is(err, connector.ErrConflict) {
		if there, readErr := t.get(ctx, ticketKey(ticket.Kind, ticket.Hash)); readErr == nil && sameWrite(there, i) {
			return nil
		}
	}
	if err != nil {
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

// TakeTicket implements connector.Store: one conditional delete, which returns
// the ticket to the one caller for whom it succeeds. If that answer is lost on
// its way, nobody gets the ticket.
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
