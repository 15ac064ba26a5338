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
