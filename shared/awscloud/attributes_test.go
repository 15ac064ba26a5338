package awscloud_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/connector"
)

// Two versions of the functions run side by side during a deployment. A write
// must not delete what the other version added.
func TestTable_UnknownAttributes(t *testing.T) {
	t.Parallel()
	table, client, name := newTable(t, endpoint(t, dynamoDBEndpoint))
	unknown := map[string]types.AttributeValue{
		"forced_at":      &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberS{Value: "2026-11-23T11:52:01.000000000Z"}}},
		"added_later":    &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"a": &types.AttributeValueMemberN{Value: "1"}}},
		"attempt_reason": &types.AttributeValueMemberS{Value: "text"},
	}
	add := func(pk string) {
		t.Helper()
		input := &dynamodb.UpdateItemInput{
			TableName: &name, Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: pk}},
			ExpressionAttributeNames: map[string]string{}, ExpressionAttributeValues: map[string]types.AttributeValue{},
		}
		var set []string
		for attribute, value := range unknown {
			set = append(set, "#"+attribute+" = :"+attribute)
			input.ExpressionAttributeNames["#"+attribute], input.ExpressionAttributeValues[":"+attribute] = attribute, value
		}
		input.UpdateExpression = aws.String("SET " + strings.Join(set, ", "))
		if _, err := client.UpdateItem(t.Context(), input); err != nil {
			t.Fatal(err)
		}
	}
	want := func(after, pk string) {
		t.Helper()
		out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &name, Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: pk}}})
		if err != nil {
			t.Fatal(err)
		}
		for attribute, value := range unknown {
			if !reflect.DeepEqual(out.Item[attribute], value) {
				t.Errorf("after %s, %s is %v, want %v", after, attribute, out.Item[attribute], value)
			}
		}
	}

	c := create(t, table, connection(1))
	pk := "connection#" + string(c.ID)
	add(pk)
	if got, err := table.Connection(t.Context(), c.ID); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("Connection = %+v, %v, want %+v", got, err, c)
	}
	for _, step := range []struct {
		name string
		edit func(*connector.Connection)
	}{
		{"an update", func(c *connector.Connection) { c.AccountName, c.Attempt.Code = "name", connector.RateLimited }},
		{"another update", func(c *connector.Connection) { c.AccountName, c.Attempt = "", connector.Attempt{} }},
		{"another account", func(c *connector.Connection) { c.AccountID = "another" }},
		{"a disconnection", func(c *connector.Connection) { c.Status = connector.Disconnected }},
	} {
		c = update(t, table, c, step.edit)
		want(step.name, pk)
	}
	if err := table.Claim(t.Context(), connector.Due{RecordKey: connector.RecordKey{Kind: connector.ConnectionKind, ID: string(c.ID)}, DueAt: c.RefreshAt}, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want("a claim", pk)

	b, err := table.PutBreaker(t.Context(), connector.Breaker{BreakerKey: connector.BreakerKey{Platform: "youtube"}, Circuit: connector.Circuit{Failures: 1, Code: connector.RateLimited}})
	if err != nil {
		t.Fatal(err)
	}
	add("breaker#youtube")
	b.Failures, b.Code = 0, ""
	if _, err := table.PutBreaker(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	want("PutBreaker", "breaker#youtube")

	if _, err := table.Reserve(t.Context(), "posts", 1, 10, now); err != nil {
		t.Fatal(err)
	}
	add("counter#posts")
	if _, err := table.Reserve(t.Context(), "posts", 1, 10, now); err != nil {
		t.Fatal(err)
	}
	want("Reserve", "counter#posts")
}
