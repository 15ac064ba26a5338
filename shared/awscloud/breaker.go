package awscloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/connector"
)

// breakerItem is a breaker as it is stored.
type breakerItem struct {
	Key              string         `dynamodbav:"pk"`
	Platform         connector.Name `dynamodbav:"platform,omitempty"`
	Failures         int            `dynamodbav:"failures,omitempty"`
	ConsecutiveTrips int            `dynamodbav:"openings,omitempty"`
	Code             connector.Code `dynamodbav:"code,omitempty"`
	Message          string         `dynamodbav:"message,omitempty"`
	OpenUntil        time.Time      `dynamodbav:"open_until,omitempty"`
	Revision         int64          `dynamodbav:"revision"`
	Write            string         `dynamodbav:"write,omitempty"`
}

func breakerKey(platform connector.Name) string { return "breaker#" + string(platform) }

func encodeBreaker(b connector.Breaker, write string) item {
	return encode(breakerItem{
		Key: breakerKey(b.Platform), Platform: b.Platform,
		Failures: b.Failures, ConsecutiveTrips: b.ConsecutiveTrips,
		Code: b.Code, Message: b.Message, OpenUntil: b.OpenUntil,
		Revision: b.Revision, Write: write,
	})
}

// Breaker implements connector.Store.
func (t *Table) Breaker(ctx context.Context, platform connector.Name) (connector.Breaker, error) {
	from, err := t.get(ctx, breakerKey(platform))
	if errors.Is(err, connector.ErrNotFound) {
		return connector.Breaker{}, nil
	}
	if err != nil {
		return connector.Breaker{}, fmt.Errorf("reading a breaker: %w", err)
	}
	i, err := decode[breakerItem](from)
	return connector.Breaker{
		Platform: platform, Failures: i.Failures, ConsecutiveTrips: i.ConsecutiveTrips,
		Code: i.Code, Message: i.Message, OpenUntil: i.OpenUntil, Revision: i.Revision,
	}, err
}

// PutBreaker implements connector.Store.
func (t *Table) PutBreaker(ctx context.Context, b connector.Breaker) (connector.Breaker, error) {
	seen, nonce := b.Revision, rand.Text()
	b.Revision++
	u := t.update(item{}, encodeBreaker(b, nonce), attributesOf(breakerItem{})...)
	u.ExpressionAttributeValues[":seen"] = number(seen)
	u.ConditionExpression = aws.String("#revision = :seen")
	if seen == 0 {
		u.ConditionExpression = aws.String("attribute_not_exists(#revision) OR #revision = :seen")
	}
	if err := t.write(ctx, []types.TransactWriteItem{{Update: u}}, nonce); err != nil {
		return connector.Breaker{}, fmt.Errorf("writing a breaker: %w", err)
	}
	return b, nil
}
