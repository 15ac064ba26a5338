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

// breakerItem is a breaker as it is stored. The functions of the previous release
// read the breaker of an app, as far as they know it.
type breakerItem struct {
	Key          string         `dynamodbav:"pk"`
	Platform     connector.Name `dynamodbav:"platform,omitempty"`
	FailedOwners []string       `dynamodbav:"failed_owners,omitempty"`
	Owners       []circuitItem  `dynamodbav:"owners,omitempty"`
	Revision     int64          `dynamodbav:"revision"`
	Write        string         `dynamodbav:"write,omitempty"`
	// Expires is set for the client of an import. Anybody who may import can bring
	// any number of clients.
	Expires int64 `dynamodbav:"expires,omitempty"`

	circuitItem
}

// circuitItem is a circuit as it is stored, of an owner or of everybody.
type circuitItem struct {
	Owner            string         `dynamodbav:"owner_hash,omitempty"`
	Failures         int            `dynamodbav:"failures,omitempty"`
	ConsecutiveTrips int            `dynamodbav:"openings,omitempty"`
	Code             connector.Code `dynamodbav:"code,omitempty"`
	Message          string         `dynamodbav:"message,omitempty"`
	OpenUntil        time.Time      `dynamodbav:"open_until,omitempty"`
}

// breakerLife is how long the breaker of an import's client is stored after its
// last write.
const breakerLife = 3 * 24 * time.Hour

func breakerKey(key connector.BreakerKey) string {
	if key.Client == "" {
		return "breaker#" + string(key.Platform)
	}
	return "breaker#" + string(key.Platform) + "#" + key.Client
}

func encodeCircuit(owner string, c connector.Circuit) circuitItem {
	return circuitItem{Owner: owner, Failures: c.Failures, ConsecutiveTrips: c.ConsecutiveTrips, Code: c.Code, Message: c.Message, OpenUntil: c.OpenUntil}
}

func (i circuitItem) circuit() connector.Circuit {
	return connector.Circuit{Failures: i.Failures, ConsecutiveTrips: i.ConsecutiveTrips, Code: i.Code, Message: i.Message, OpenUntil: i.OpenUntil}
}

func encodeBreaker(b connector.Breaker, write string) item {
	i := breakerItem{
		Key: breakerKey(b.BreakerKey), Platform: b.Platform, circuitItem: encodeCircuit("", b.Circuit),
		FailedOwners: b.FailedOwners, Revision: b.Revision, Write: write,
	}
	for _, o := range b.Owners {
		i.Owners = append(i.Owners, encodeCircuit(o.Owner, o.Circuit))
	}
	if b.Client != "" {
		i.Expires = ttl(time.Now().Add(breakerLife))
	}
	return encode(i)
}

// Breaker implements connector.Store.
func (t *Table) Breaker(ctx context.Context, key connector.BreakerKey) (connector.Breaker, error) {
	from, err := t.get(ctx, breakerKey(key))
	if errors.Is(err, connector.ErrNotFound) {
		return connector.Breaker{}, nil
	}
	if err != nil {
		return connector.Breaker{}, fmt.Errorf("reading a breaker: %w", err)
	}
	i, err := decode[breakerItem](from)
	b := connector.Breaker{BreakerKey: key, Circuit: i.circuit(), FailedOwners: i.FailedOwners, Revision: i.Revision}
	for _, o := range i.Owners {
		b.Owners = append(b.Owners, connector.OwnerCircuit{Owner: o.Owner, Circuit: o.circuit()})
	}
	return b, err
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
