package awscloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"platform-api-connector/shared/connector"
)

// counterItem is a counter as it is stored. Beside it are marks, see Reserve.
type counterItem struct {
	Key     string `dynamodbav:"pk"`
	Used    int    `dynamodbav:"used"`
	Expires int64  `dynamodbav:"expires"`
}

func counterKey(counter string) string { return "counter#" + counter }

// markPrefix begins the names of a counter's marks. A mark holds the instant of
// its reservation.
const markPrefix = "reserved_"

// markLife is how long a reservation may be sent again: as long as DynamoDB
// knows the request token of a transaction.
const markLife = 10 * time.Minute

// maxMarks is how many marks one write removes. An expression has 4 KB at most.
const maxMarks = 50

// Reserve implements connector.Store. The write that counts n leaves a mark in
// the item, by which the write is known if it is sent again. A second write
// removes the mark, so that a reservation costs two writes, as a transaction
// would. A transaction would fail where many callers reserve at once, and would
// not return the sum.
func (t *Table) Reserve(ctx context.Context, counter string, n, limit int, expiresAt time.Time) (int, error) {
	mark := markPrefix + rand.Text()
	condition := "#used <= :room"
	if n <= limit {
		condition = "(attribute_not_exists(#used) OR " + condition + ")"
	}
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                t.name,
		Key:                      keyOf(counterKey(counter)),
		UpdateExpression:         aws.String("SET #expires = :expires, #mark = :now ADD #used :n"),
		ConditionExpression:      aws.String("attribute_not_exists(#mark) AND " + condition),
		ExpressionAttributeNames: map[string]string{"#used": "used", "#expires": "expires", "#mark": mark},
		ExpressionAttributeValues: item{
			":n": number(int64(n)), ":room": number(int64(limit - n)),
			":expires": number(ttl(expiresAt)), ":now": instant(time.Now()),
		},
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	there, failed := conditionFailed(err)
	switch {
	case err != nil && !failed:
		return 0, fmt.Errorf("reserving: %w", err)
	case !failed:
		there = out.Attributes
		t.removeMarks(ctx, counter, mark, out)
	}
	i, err := decode[counterItem](there)
	if err == nil && failed && there[mark] == nil {
		err = connector.ErrConflict
	}
	return i.Used, err
}

// removeMarks removes the mark of a reservation that is not sent again, and the
// marks of others that are older than markLife. A failure leaves them to the next
// reservation.
func (t *Table) removeMarks(ctx context.Context, counter, own string, out *dynamodb.UpdateItemOutput) {
	names := map[string]string{}
	var marks []string
	old := time.Now().Add(-markLife).UTC().Format(timeFormat)
	for name, value := range out.Attributes {
		at, ok := value.(*types.AttributeValueMemberS)
		if ok && strings.HasPrefix(name, markPrefix) && (at.Value < old || name == own && !mayArriveAgain(out.ResultMetadata)) {
			marks = append(marks, "#"+name)
			names["#"+name] = name
		}
		if len(marks) == maxMarks {
			break
		}
	}
	if len(marks) == 0 {
		return
	}
	_, _ = t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: t.name, Key: keyOf(counterKey(counter)),
		UpdateExpression:         aws.String("REMOVE " + strings.Join(marks, ", ")),
		ConditionExpression:      aws.String("attribute_exists(pk)"),
		ExpressionAttributeNames: names,
	})
}

// mayArriveAgain reports whether DynamoDB left an attempt of a call without an
// answer. That attempt may still be under way.
func mayArriveAgain(metadata middleware.Metadata) bool {
	attempts, _ := retry.GetAttemptResults(metadata)
	for _, attempt := range attempts.Results {
		var answer smithy.APIError
		if attempt.Err != nil && (!errors.As(attempt.Err, &answer) || answer.ErrorFault() != smithy.FaultClient) {
			return true
		}
	}
	return false
}
