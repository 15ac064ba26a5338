package awscloud

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"platform-api-connector/shared/connector"
)

// Connections implements connector.Store. The connections of one owner are in
// the order of their ids, those of all owners in an order of DynamoDB's own.
func (t *Table) Connections(ctx context.Context, f connector.Filter, cursor string, limit int) ([]connector.Connection, string, error) {
	start, err := decodeCursor(cursor, f.Owner)
	if err != nil {
		return nil, "", err
	}
	var page []connector.Connection
	// Most listings need one call. Where the filter selects few records,
	// further calls read as much as DynamoDB returns.
	most := aws.Int32(int32(limit) + 1) // #nosec G115 -- the service asks for 100 at most
	for {
		items, next, err := t.listed(ctx, f.Owner, start, most)
		if err != nil {
			return nil, "", fmt.Errorf("listing connections: %w", err)
		}
		for _, i := range items {
			c, err := decodeConnection(i)
			if err != nil {
				return nil, "", err
			}
			if !f.Match(c) {
				continue
			}
			if len(page) == limit {
				return page, encodeCursor(page[limit-1]), nil
			}
			page = append(page, c)
		}
		if len(next) == 0 {
			return page, "", nil
		}
		start, most = next, nil
	}
}

// listed returns some connections of one owner, or of all, and the start of the
// next call.
func (t *Table) listed(ctx context.Context, owner string, start item, most *int32) ([]item, item, error) {
	index := aws.String("by_owner")
	if owner == "" {
		out, err := t.client.Scan(ctx, &dynamodb.ScanInput{TableName: t.name, IndexName: index, ExclusiveStartKey: start, Limit: most})
		if err != nil {
			return nil, nil, err
		}
		return out.Items, out.LastEvaluatedKey, nil
	}
	out, err := t.client.Query(ctx, &dynamodb.QueryInput{
		TableName: t.name, IndexName: index, ExclusiveStartKey: start, Limit: most,
		KeyConditionExpression:    aws.String("#owner = :owner"),
		ExpressionAttributeNames:  map[string]string{"#owner": "owner"},
		ExpressionAttributeValues: item{":owner": text(owner)},
	})
	if err != nil {
		return nil, nil, err
	}
	return out.Items, out.LastEvaluatedKey, nil
}

// cursor is the position of a connection in the listing.
type cursor struct {
	Owner string       `json:"owner"`
	ID    connector.ID `json:"id"`
}

func encodeCursor(last connector.Connection) string {
	b, err := json.Marshal(cursor{Owner: last.Owner, ID: last.ID})
	if err != nil {
		panic(err) // strings can be encoded
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s, owner string) (item, error) {
	if s == "" {
		return nil, nil
	}
	var at cursor
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err != nil || !at.ID.Valid() || at.Owner == "" || owner != "" && owner != at.Owner {
		return nil, connector.Invalid("cursor", "not one that this listing returned")
	}
	return item{
		partitionKey: text(connectionKey(at.ID)), "owner": text(at.Owner), "id": text(string(at.ID)),
	}, nil
}

// keyItem is what the index by_user has of a record.
type keyItem struct {
	Key string `dynamodbav:"pk"`
}

// UserConnections implements connector.Store. The index may lag behind by a
// moment. The connections that it names are then read consistently.
func (t *Table) UserConnections(ctx context.Context, platform connector.Name, userID string) ([]connector.Connection, error) {
	keys, err := t.UserRecords(ctx, platform, userID)
	if err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(key connector.RecordKey) bool { return key.Kind != connector.ConnectionKind })
	read, problems := make([]connector.Connection, len(keys)), make([]error, len(keys))
	slots := make(chan struct{}, readsAtOnce)
	var running sync.WaitGroup
	for n, key := range keys {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			read[n], problems[n] = t.Connection(ctx, connector.ID(key.ID))
		})
	}
	running.Wait()
	var found []connector.Connection
	for n, c := range read {
		if err := problems[n]; err != nil && !errors.Is(err, connector.ErrNotFound) {
			return nil, err
		}
		if problems[n] == nil && c.Platform == platform && c.UserID == userID && c.Status != connector.Disconnected {
			found = append(found, c)
		}
	}
	return found, nil
}

// readsAtOnce is how many connections of a person are read at once. A person may have
// thousands.
const readsAtOnce = 16

// UserRecords implements connector.Store. The index may lag behind by a moment.
func (t *Table) UserRecords(ctx context.Context, platform connector.Name, userID string) ([]connector.RecordKey, error) {
	pages := dynamodb.NewQueryPaginator(t.client, &dynamodb.QueryInput{
		TableName: t.name, IndexName: aws.String("by_user"),
		KeyConditionExpression:    aws.String("#user = :user"),
		ExpressionAttributeNames:  map[string]string{"#user": "user"},
		ExpressionAttributeValues: item{":user": text(userKey(platform, userID))},
	})
	var found []connector.RecordKey
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing a user's records: %w", err)
		}
		for _, i := range out.Items {
			key, err := decode[keyItem](i)
			if err != nil {
				return nil, err
			}
			found = append(found, parseRecordKey(key.Key))
		}
	}
	return found, nil
}
