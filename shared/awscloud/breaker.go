package awscloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"platform-api-connector/shared/connector"
)

func breakerKey(platform connector.Name) string { return "breaker#" + string(platform) }

// Breaker implements connector.Store.
func (t *Table) Breaker(ctx context.Context, platform connector.Name) (connector.Breaker, error) {
	i, err := t.get(ctx, breakerKey(platform))
	if errors.Is(err, connector.ErrNotFound) {
		return connector.Breaker{}, nil
	}
	if err != nil {
		return connector.Breaker{}, fmt.Errorf("reading a breaker: %w", err)
	}
	r := &reader{item: i}
	b := connector.Breaker{
		Platform:  platform,
		Failures:  int(r.number("failures")),
		Openings:  int(r.number("openings")),
		Code:      connector.Code(r.text("code")),
		Message:   r.text("message"),
		OpenUntil: r.time("open_until"),
		Revision:  r.number("revision"),
	}
	return b, r.err
}

// PutBreaker implements connector.Store.
func (t *Table) PutBreaker(ctx context.Context, b connector.Breaker) (connector.Breaker, error) {
	condition, before := "#revision = :revision", number(b.Revision)
	if b.Revision == 0 {
		condition = "attribute_not_exists(#revision) OR " + condition
	}
	b.Revision++
	i := item{"pk": text(breakerKey(b.Platform)), "platform": text(string(b.Platform)), "revision": number(b.Revision)}
	i.setNumber("failures", int64(b.Failures))
	i.setNumber("openings", int64(b.Openings))
	i.setText("code", string(b.Code))
	i.setText("message", b.Message)
	i.setTime("open_until", b.OpenUntil)
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                 t.name,
		Item:                      i,
		ConditionExpression:       aws.String(condition),
		ExpressionAttributeNames:  map[string]string{"#revision": "revision"},
		ExpressionAttributeValues: item{":revision": before},
	})
	if err := portError(err); err != nil {
		return connector.Breaker{}, fmt.Errorf("writing a breaker: %w", err)
	}
	return b, nil
}
