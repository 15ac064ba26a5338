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
// A connection and the record of who holds its account change in one
// transaction, so that a crash cannot leave one without the other.
type Table struct {
	client *dynamodb.Client
	name   *string
}

var _ connector.Store = (*Table)(nil)

// NewTable returns the store on the table of that name.
func NewTable(client *dynamodb.Client, name string) *Table {
	return &Table{client: client, name: &name}
}

// RetryContention makes a client try again when DynamoDB turned a write away
// because a transaction touched the same record. That says nothing about the
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

// Connection implements connector.Store.
func (t *Table) Connection(ctx context.Context, id connector.ID) (connector.Connection, error) {
	i, err := t.get(ctx, connectionKey(id))
	if err != nil {
		return connector.Connection{}, fmt.Errorf("reading a connection: %w", err)
	}
	return decodeConnection(i)
}

// FindAccount implements connector.Store.
func (t *Table) FindAccount(ctx context.Context, owner string, platform connector.Name, accountID string) (connector.Connection, error) {
	key := accountKey(owner, platform, accountID)
	// The account may pass to another connection between the two reads.
	for range 3 {
		i, err := t.get(ctx, key)
		if err != nil {
			return connector.Connection{}, fmt.Errorf("finding an account: %w", err)
		}
		r := &reader{item: i}
		c, err := t.Connection(ctx, connector.ID(r.text("connection_id")))
		if err != nil && !errors.Is(err, connector.ErrNotFound) {
			return connector.Connection{}, err
		}
		if err == nil && accountOf(c) == key {
			return c, nil
		}
	}
	return connector.Connection{}, connector.ErrNotFound
}

// Create implements connector.Store.
func (t *Table) Create(ctx context.Context, c connector.Connection) (connector.Connection, error) {
	c.Revision = 1
	writes := []types.TransactWriteItem{t.putNew(encodeConnection(c, rand.Text()))}
	if key := accountOf(c); key != "" {
		writes = append(writes, t.putNew(encodeAccount(key, c)))
	}
	if err := t.transact(ctx, writes); err != nil {
		return connector.Connection{}, fmt.Errorf("creating a connection: %w", err)
	}
	return c, nil
}

// Update implements connector.Store.
func (t *Table) Update(ctx context.Context, c connector.Connection) (connector.Connection, error) {
	revision := c.Revision
	c.Revision++
	next := encodeConnection(c, rand.Text())

	if c.Status != connector.Disconnected {
		err := t.replace(ctx, next, revision)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, connector.ErrConflict) {
			return connector.Connection{}, fmt.Errorf("updating a connection: %w", err)
		}
	}
	if err := t.move(ctx, c, next, revision); err != nil {
		return connector.Connection{}, fmt.Errorf("updating a connection: %w", err)
	}
	return c, nil
}

// replace writes next where the account stays the same.
func (t *Table) replace(ctx context.Context, next item, revision int64) error {
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                 t.name,
		Item:                      next,
		ConditionExpression:       aws.String("#revision = :revision AND #account = :account"),
		ExpressionAttributeNames:  map[string]string{"#revision": "revision", "#account": "account"},
		ExpressionAttributeValues: item{":revision": number(revision), ":account": next["account"]},
	})
	return portError(err)
}

// move writes next together with what changes about the account.
func (t *Table) move(ctx context.Context, c connector.Connection, next item, revision int64) error {
	i, err := t.get(ctx, connectionKey(c.ID))
	if errors.Is(err, connector.ErrNotFound) {
		return connector.ErrConflict
	}
	if err != nil {
		return err
	}
	if sameWrite(i, next) {
		return nil
	}
	before, after := &reader{item: i}, &reader{item: next}
	if before.number("revision") != revision {
		return connector.ErrConflict
	}
	writes := []types.TransactWriteItem{{Put: &types.Put{
		TableName:                 t.name,
		Item:                      next,
		ConditionExpression:       aws.String("#revision = :revision"),
		ExpressionAttributeNames:  map[string]string{"#revision": "revision"},
		ExpressionAttributeValues: item{":revision": number(revision)},
	}}}
	freed, claimed := before.text("account"), after.text("account")
	if freed != claimed && freed != "" {
		writes = append(writes, t.freeAccount(freed, c.ID))
	}
	if freed != claimed && claimed != "" {
		writes = append(writes, t.putNew(encodeAccount(claimed, c)))
	}
	return t.transact(ctx, writes)
}

// sameWrite reports whether what is there came of the very write that its
// condition refused: it got through, its answer was lost, and the condition
// then failed for the SDK's second attempt.
func sameWrite(there, written item) bool {
	found, own := &reader{item: there}, &reader{item: written}
	return found.text("write") == own.text("write")
}

// Delete implements connector.Store.
func (t *Table) Delete(ctx context.Context, id connector.ID, revision int64) error {
	i, err := t.get(ctx, connectionKey(id))
	if errors.Is(err, connector.ErrNotFound) {
		return connector.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("deleting a connection: %w", err)
	}
	writes := []types.TransactWriteItem{{Delete: &types.Delete{
		TableName:                 t.name,
		Key:                       keyOf(connectionKey(id)),
		ConditionExpression:       aws.String("#revision = :revision"),
		ExpressionAttributeNames:  map[string]string{"#revision": "revision"},
		ExpressionAttributeValues: item{":revision": number(revision)},
	}}}
	r := &reader{item: i}
	if account := r.text("account"); account != "" {
		writes = append(writes, t.freeAccount(account, id))
	}
	if err := t.transact(ctx, writes); err != nil {
		return fmt.Errorf("deleting a connection: %w", err)
	}
	return nil
}

// encodeAccount returns the record of who holds an account. It has an owner
// for people who look at the table, but no id, so that it is in no index.
func encodeAccount(key string, c connector.Connection) item {
	i := item{"pk": text(key), "connection_id": text(string(c.ID))}
	i.setText("owner", c.Owner)
	i.setText("platform", string(c.Platform))
	i.setText("account_id", c.AccountID)
	return i
}

func (t *Table) putNew(i item) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{
		TableName:           t.name,
		Item:                i,
		ConditionExpression: aws.String("attribute_not_exists(pk)"),
	}}
}

// freeAccount deletes the record of who holds an account. One that is gone
// already must not keep a connection from ending.
func (t *Table) freeAccount(key string, id connector.ID) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{
		TableName:                 t.name,
		Key:                       keyOf(key),
		ConditionExpression:       aws.String("attribute_not_exists(pk) OR connection_id = :id"),
		ExpressionAttributeValues: item{":id": text(string(id))},
	}}
}

// transact does all of writes or none. The SDK's request token makes its
// retries harmless.
func (t *Table) transact(ctx context.Context, writes []types.TransactWriteItem) error {
	_, err := t.client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: writes})
	return portError(err)
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

func keyOf(key string) item { return item{"pk": text(key)} }

// portError returns ErrConflict where a condition failed, and also where
// other transactions were in the way to the end: either way the caller should
// read again.
func portError(err error) error {
	if failed := new(types.ConditionalCheckFailedException); errors.As(err, &failed) {
		return connector.ErrConflict
	}
	if contended(err) || cancelledFor(err, "ConditionalCheckFailed") {
		return connector.ErrConflict
	}
	return err
}

func contended(err error) bool {
	conflict := new(types.TransactionConflictException)
	return errors.As(err, &conflict) || cancelledFor(err, "TransactionConflict")
}

// cancelledFor reports whether a transaction was cancelled for the reason of
// that code, unless a failed condition decides the matter.
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
