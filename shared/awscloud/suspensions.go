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

// suspensionsItem is the record of all suspensions as it is stored.
type suspensionsItem struct {
	Key      string           `dynamodbav:"pk"`
	List     []suspensionItem `dynamodbav:"suspensions,omitempty"`
	Revision int64            `dynamodbav:"revision"`
	Write    string           `dynamodbav:"write,omitempty"`
}

// suspensionItem is one suspension in that record. A release that does not know an
// attribute of it removes the attribute when it writes the record.
type suspensionItem struct {
	ID           connector.ID   `dynamodbav:"id"`
	ConnectionID connector.ID   `dynamodbav:"connection_id,omitempty"`
	Owner        string         `dynamodbav:"owner,omitempty"`
	Platform     connector.Name `dynamodbav:"platform,omitempty"`
	All          bool           `dynamodbav:"all,omitempty"`
	Reason       string         `dynamodbav:"reason,omitempty"`
	Rest         bool           `dynamodbav:"rest,omitempty"`
	CreatedAt    time.Time      `dynamodbav:"created_at,omitempty"`
	CreatedBy    string         `dynamodbav:"created_by,omitempty"`
}

const suspensionsKey = "suspensions#all"

// Suspensions implements connector.Store.
func (t *Table) Suspensions(ctx context.Context) (connector.Suspensions, error) {
	from, err := t.get(ctx, suspensionsKey)
	if errors.Is(err, connector.ErrNotFound) {
		return connector.Suspensions{}, nil
	}
	if err != nil {
		return connector.Suspensions{}, fmt.Errorf("reading the suspensions: %w", err)
	}
	i, err := decode[suspensionsItem](from)
	all := connector.Suspensions{Revision: i.Revision}
	for _, x := range i.List {
		all.List = append(all.List, connector.Suspension{
			ID:               x.ID,
			SuspensionTarget: connector.SuspensionTarget{ConnectionID: x.ConnectionID, Owner: x.Owner, Platform: x.Platform, All: x.All},
			Reason:           x.Reason, Rest: x.Rest, CreatedAt: x.CreatedAt, CreatedBy: x.CreatedBy,
		})
	}
	return all, err
}

// PutSuspensions implements connector.Store.
func (t *Table) PutSuspensions(ctx context.Context, all connector.Suspensions) (connector.Suspensions, error) {
	seen, nonce := all.Revision, rand.Text()
	all.Revision++
	i := suspensionsItem{Key: suspensionsKey, Revision: all.Revision, Write: nonce}
	for _, x := range all.List {
		i.List = append(i.List, suspensionItem{
			ID: x.ID, ConnectionID: x.ConnectionID, Owner: x.Owner, Platform: x.Platform, All: x.All,
			Reason: x.Reason, Rest: x.Rest, CreatedAt: x.CreatedAt, CreatedBy: x.CreatedBy,
		})
	}
	u := t.update(item{}, encode(i), attributesOf(suspensionsItem{})...)
	u.ExpressionAttributeValues[":seen"] = number(seen)
	u.ConditionExpression = aws.String("#revision = :seen")
	if seen == 0 {
		u.ConditionExpression = aws.String("attribute_not_exists(#revision) OR #revision = :seen")
	}
	if err := t.write(ctx, []types.TransactWriteItem{{Update: u}}, nonce); err != nil {
		return connector.Suspensions{}, fmt.Errorf("writing the suspensions: %w", err)
	}
	return all, nil
}
