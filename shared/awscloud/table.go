package awscloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/connector"
)

// Table is the connector.Store on one DynamoDB table, see Schema.
//
// The SDK sends a write again when its answer was lost. Each write can be sent
// twice without a second effect. A transaction has a request token for that. A
// write of one item leaves a random nonce in the item. Where the condition of
// such a write fails, and the item holds its nonce, the write succeeded before.
type Table struct {
	client *dynamodb.Client
	name   *string
}

var _ connector.Store = (*Table)(nil)

// NewTable returns the store on the table of that name.
func NewTable(client *dynamodb.Client, name string) *Table {
	return &Table{client: client, name: &name}
}

// RetryContention makes a client try again when DynamoDB refused a write because
// a transaction was writing the same record. That says nothing about the
// condition of the write.
func RetryContention(o *dynamodb.Options) {
	o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
		s.Retryables = append(s.Retryables, retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if contended(err) {
				return aws.TrueTernary
			}
			return aws.UnknownTernary
		}))
	})
}

// Commit implements connector.Store. A connection and the claim to its account
// change in one transaction, so that a crash cannot leave one without the other.
// A change of one item is a single write, at half the price of a transaction.
func (t *Table) Commit(ctx context.Context, change connector.Change) (connector.Connection, error) {
	if change.After != nil {
		after := *change.After
		after.Revision = 1
		if change.Before != nil {
			after.Revision = change.Before.Revision + 1
		}
		change.After = &after
	}
	nonce := rand.Text()
	writes := t.connectionWrites(change, nonce)
	for _, ticket := range change.Put {
		writes = append(writes, t.putTicket(ticket, nonce))
	}
	for _, replacement := range change.Replace {
		writes = append(writes, t.replaceTicket(replacement, nonce))
	}
	for _, ticket := range change.Overwrite {
		writes = append(writes, types.TransactWriteItem{Put: &types.Put{TableName: t.name, Item: encodeTicket(ticket, nonce)}})
	}
	for _, key := range change.Drop {
		writes = append(writes, types.TransactWriteItem{Delete: &types.Delete{TableName: t.name, Key: keyOf(recordKey(key))}})
	}
	if err := t.write(ctx, writes, nonce); err != nil {
		return connector.Connection{}, fmt.Errorf("committing a change: %w", err)
	}
	if change.After == nil {
		return connector.Connection{}, nil
	}
	return decodeConnection(encodeConnection(*change.After, nonce))
}

// write does all of writes or none. It returns ErrConflict where a condition
// fails. The items that it puts or updates hold the nonce in "write".
func (t *Table) write(ctx context.Context, writes []types.TransactWriteItem, nonce string) error {
	if len(writes) == 0 {
		return nil
	}
	var err error
	switch w := writes[0]; {
	case len(writes) == 1 && w.Put != nil:
		_, err = t.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: w.Put.TableName, Item: w.Put.Item,
			ConditionExpression:                 w.Put.ConditionExpression,
			ExpressionAttributeNames:            w.Put.ExpressionAttributeNames,
			ExpressionAttributeValues:           w.Put.ExpressionAttributeValues,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
	case len(writes) == 1 && w.Update != nil:
		_, err = t.client.UpdateItem(ctx, updateInput(w.Update))
	case len(writes) == 1 && w.Delete != nil && w.Delete.ConditionExpression == nil:
		_, err = t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: w.Delete.TableName, Key: w.Delete.Key})
	default:
		_, err = t.client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: writes})
	}
	if there, failed := conditionFailed(err); failed && hasNonce(there, "write", nonce) {
		return nil
	}
	return portError(err)
}

// updateInput is an update on its own.
func updateInput(u *types.Update) *dynamodb.UpdateItemInput {
	return &dynamodb.UpdateItemInput{
		TableName: u.TableName, Key: u.Key,
		UpdateExpression:                    u.UpdateExpression,
		ConditionExpression:                 u.ConditionExpression,
		ExpressionAttributeNames:            u.ExpressionAttributeNames,
		ExpressionAttributeValues:           u.ExpressionAttributeValues,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

// get reads a record consistently, or returns ErrNotFound.
func (t *Table) get(ctx context.Context, key string) (item, error) {
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: t.name, Key: keyOf(key), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, err
	}
	if len(out.Item) == 0 {
		return nil, connector.ErrNotFound
	}
	return out.Item, nil
}

// conditionFailed reports whether the condition of a single write failed, and
// returns the item as it is.
func conditionFailed(err error) (item, bool) {
	failed := new(types.ConditionalCheckFailedException)
	if !errors.As(err, &failed) {
		return nil, false
	}
	return failed.Item, true
}

// portError returns ErrConflict where a condition failed, and also where other
// transactions were in the way up to the last attempt. Either way the caller
// should read again.
func portError(err error) error {
	if _, failed := conditionFailed(err); failed || contended(err) || cancelledFor(err, "ConditionalCheckFailed") {
		return connector.ErrConflict
	}
	return err
}

func contended(err error) bool {
	conflict := new(types.TransactionConflictException)
	return errors.As(err, &conflict) || cancelledFor(err, "TransactionConflict")
}

// cancelledFor reports whether a transaction was cancelled for the reason of
// that code, and not for a failed condition as well.
func cancelledFor(err error, code string) bool {
	cancelled := new(types.TransactionCanceledException)
	if !errors.As(err, &cancelled) {
		return false
	}
	found := false
	for _, reason := range cancelled.CancellationReasons {
		switch aws.ToString(reason.Code) {
		case code:
			found = true
		case "ConditionalCheckFailed":
			return false
		}
	}
	return found
}
