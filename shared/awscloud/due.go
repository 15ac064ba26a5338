package awscloud

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/connector"
)

const ticketPrefix = "ticket#"

// recordKey returns the key of a connection or a ticket.
func recordKey(key connector.RecordKey) string {
	if key.Kind == connector.ConnectionKind {
		return connectionKey(connector.ID(key.ID))
	}
	return ticketPrefix + string(key.Kind) + "#" + key.ID
}

// parseRecordKey is the inverse of recordKey. No kind has a "#" in its name.
func parseRecordKey(key string) connector.RecordKey {
	if ticket, ok := strings.CutPrefix(key, ticketPrefix); ok {
		kind, id, _ := strings.Cut(ticket, "#")
		return connector.RecordKey{Kind: connector.Kind(kind), ID: id}
	}
	return connector.RecordKey{Kind: connector.ConnectionKind, ID: string(connectionID(key))}
}

func shardKey(shard int) string { return fmt.Sprintf("due#%02d", shard) }

func shardOf(id string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return int(h.Sum32() % connector.DueShards)
}

// dueItem is what the index of what is due has of a record.
type dueItem struct {
	Key   string    `dynamodbav:"pk"`
	DueAt time.Time `dynamodbav:"due_at"`
}

// Due implements connector.Store.
func (t *Table) Due(ctx context.Context, shard int, now time.Time, limit int) ([]connector.Due, error) {
	pages := dynamodb.NewQueryPaginator(t.client, &dynamodb.QueryInput{
		TableName: t.name, IndexName: aws.String("due"), Limit: aws.Int32(int32(limit)), // #nosec G115 -- the service asks for hundreds
		KeyConditionExpression:    aws.String("#shard = :shard AND #due_at <= :now"),
		ExpressionAttributeNames:  map[string]string{"#shard": "due_shard", "#due_at": "due_at"},
		ExpressionAttributeValues: item{":shard": text(shardKey(shard)), ":now": instant(now)},
	})
	var due []connector.Due
	for pages.HasMorePages() && len(due) < limit {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing what is due: %w", err)
		}
		for _, from := range out.Items {
			i, err := decode[dueItem](from)
			if err != nil {
				return nil, err
			}
			due = append(due, connector.Due{RecordKey: parseRecordKey(i.Key), DueAt: i.DueAt})
		}
	}
	return due[:min(limit, len(due))], nil
}

// Claim implements connector.Store. The nonce in "claimed_by" tells a claim that
// is sent again from another caller's claim until the same instant.
func (t *Table) Claim(ctx context.Context, d connector.Due, until time.Time) error {
	nonce := rand.Text()
	_, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:        t.name,
		Key:              keyOf(recordKey(d.RecordKey)),
		UpdateExpression: aws.String("SET #due_at = :until, #claimed_by = :nonce"),
		// A ticket that was taken is in no shard.
		ConditionExpression:                 aws.String("#due_at = :seen AND attribute_exists(#due_shard)"),
		ExpressionAttributeNames:            map[string]string{"#due_at": "due_at", "#claimed_by": "claimed_by", "#due_shard": "due_shard"},
		ExpressionAttributeValues:           item{":until": instant(until), ":seen": instant(d.DueAt), ":nonce": text(nonce)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if there, failed := conditionFailed(err); failed && hasNonce(there, "claimed_by", nonce) {
		return nil
	}
	if err := portError(err); err != nil {
		return fmt.Errorf("claiming what is due: %w", err)
	}
	return nil
}
