package awslocal_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func number(n int) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}

// table is a table with the index by_group on group and rank. The attribute rank is a
// number.
type table struct {
	*testing.T
	client *dynamodb.Client
	name   *string
}

func newTable(t *testing.T, projection types.ProjectionType) table {
	t.Helper()
	tb := table{t, dynamodb.NewFromConfig(newCloud(t).Config), aws.String("test")}
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	define := func(name string, kind types.ScalarAttributeType) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: kind}
	}
	if _, err := tb.client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: tb.name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{define("pk", "S"), define("group", "S"), define("rank", "N")},
		KeySchema:            []types.KeySchemaElement{key("pk", "HASH")},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("by_group"), Projection: &types.Projection{ProjectionType: projection},
			KeySchema: []types.KeySchemaElement{key("group", "HASH"), key("rank", "RANGE")},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	return tb
}

func (t table) put(pk, group string, rank int) {
	t.Helper()
	i := item{"pk": text(pk), "name": text("name of " + pk)}
	if group != "" {
		i["group"], i["rank"] = text(group), number(rank)
	}
	if _, err := t.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: t.name, Item: i}); err != nil {
		t.Fatal(err)
	}
}

func (t table) remove(pk string) {
	t.Helper()
	if _, err := t.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: t.name, Key: item{"pk": text(pk)}}); err != nil {
		t.Fatal(err)
	}
}

func keysOf(items []item) string {
	var keys []string
	for _, i := range items {
		keys = append(keys, i["pk"].(*types.AttributeValueMemberS).Value)
	}
	return strings.Join(keys, " ")
}

// group reads a group page by page.
func (t table) group(name string, limit int32, options ...func(*dynamodb.QueryInput)) []item {
	t.Helper()
	input := &dynamodb.QueryInput{
		TableName: t.name, IndexName: aws.String("by_group"), Limit: &limit,
		KeyConditionExpression:    aws.String("#group = :group"),
		ExpressionAttributeNames:  map[string]string{"#group": "group"},
		ExpressionAttributeValues: item{":group": text(name)},
	}
	for _, option := range options {
		option(input)
	}
	var items []item
	for pages := dynamodb.NewQueryPaginator(t.client, input); pages.HasMorePages(); {
		out := must[*dynamodb.QueryOutput](t.T)(pages.NextPage(t.Context()))
		items = append(items, out.Items...)
		if out.ScannedCount > limit {
			t.Errorf("a page read %d items, want at most %d", out.ScannedCount, limit)
		}
	}
	return items
}

func (t table) wantGroup(name, want string) {
	t.Helper()
	for _, limit := range []int32{1, 2, 100} {
		if got := keysOf(t.group(name, limit)); got != want {
			t.Errorf("group %s in pages of %d: %s, want %s", name, limit, got, want)
		}
	}
}

func TestDynamoDB_SparseIndex(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	for pk, rank := range map[string]int{"a": 10, "b": 9, "c": 100, "d": 9} {
		tb.put(pk, "g", rank)
	}
	tb.put("e", "other", 1)
	tb.put("f", "", 0)
	tb.wantGroup("g", "b d a c")

	// The deletion of an item that has left the index must not remove another one.
	tb.put("a", "", 0)
	tb.wantGroup("g", "b d c")
	tb.remove("a")
	tb.wantGroup("g", "b d c")
	tb.put("b", "g", 1000)
	tb.wantGroup("g", "d c b")
	tb.put("f", "g", 50)
	tb.wantGroup("g", "d f c b")

	tb.put("h", "", 0)
	out := must[*dynamodb.ScanOutput](t)(tb.client.Scan(t.Context(), &dynamodb.ScanInput{TableName: tb.name, IndexName: aws.String("by_group")}))
	if out.Count != 5 {
		t.Errorf("a scan of the index: %s, want 5 items", keysOf(out.Items))
	}
}

func TestDynamoDB_PagingAfterDeletion(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	for n, pk := range []string{"a", "b", "c"} {
		tb.put(pk, "g", n)
	}
	query := &dynamodb.QueryInput{
		TableName: tb.name, IndexName: aws.String("by_group"), Limit: aws.Int32(2),
		KeyConditionExpression:    aws.String("#group = :group AND #rank >= :least"),
		ExpressionAttributeNames:  map[string]string{"#group": "group", "#rank": "rank"},
		ExpressionAttributeValues: item{":group": text("g"), ":least": number(0)},
	}
	first := must[*dynamodb.QueryOutput](t)(tb.client.Query(t.Context(), query))
	tb.remove("b")
	query.ExclusiveStartKey = first.LastEvaluatedKey
	second := must[*dynamodb.QueryOutput](t)(tb.client.Query(t.Context(), query))
	if keysOf(first.Items) != "a b" || keysOf(second.Items) != "c" {
		t.Errorf("pages %s and %s, want a b and c", keysOf(first.Items), keysOf(second.Items))
	}
	query.ExclusiveStartKey = item{"pk": text("a")}
	_, err := tb.client.Query(t.Context(), query)
	wantCode(t, "a start key without the keys of the index", err, "ValidationException")
}

func TestDynamoDB_SearchOptions(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeKeysOnly)
	for n, pk := range []string{"a", "b", "c", "d"} {
		tb.put(pk, "g", n)
	}
	descending := tb.group("g", 3, func(q *dynamodb.QueryInput) { q.ScanIndexForward = aws.Bool(false) })
	if got := keysOf(descending); got != "d c b a" {
		t.Errorf("descending: %s, want d c b a", got)
	}
	if len(descending[0]) != 3 {
		t.Errorf("an item of an index of keys: %v, want pk, group and rank", descending[0])
	}
	filtered := tb.group("g", 2, func(q *dynamodb.QueryInput) {
		q.FilterExpression = aws.String("pk = :pk OR pk = :other")
		q.ExpressionAttributeValues[":pk"], q.ExpressionAttributeValues[":other"] = text("d"), text("b")
	})
	if got := keysOf(filtered); got != "b d" {
		t.Errorf("filtered: %s, want b d", got)
	}
	scanned := must[*dynamodb.ScanOutput](t)(tb.client.Scan(t.Context(), &dynamodb.ScanInput{
		TableName: tb.name, ProjectionExpression: aws.String("#name"), ExpressionAttributeNames: map[string]string{"#name": "name"},
	}))
	if len(scanned.Items) != 4 || len(scanned.Items[0]) != 1 || scanned.Items[0]["name"] == nil {
		t.Errorf("projected: %v, want 4 names", scanned.Items)
	}
	_, err := tb.client.Scan(t.Context(), &dynamodb.ScanInput{TableName: tb.name, IndexName: aws.String("by_group"), ConsistentRead: aws.Bool(true)})
	wantCode(t, "a consistent read of an index", err, "ValidationException")
	_, err = tb.client.Scan(t.Context(), &dynamodb.ScanInput{TableName: tb.name, IndexName: aws.String("nope")})
	wantCode(t, "an unknown index", err, "ValidationException")
	_, err = tb.client.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("nope")})
	wantCode(t, "an unknown table", err, "ResourceNotFoundException")
}

func TestDynamoDB_PageSize(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	for n := range 5 {
		i := item{"pk": text(fmt.Sprint(n)), "large": text(strings.Repeat("x", 300_000))}
		if _, err := tb.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: tb.name, Item: i}); err != nil {
			t.Fatal(err)
		}
	}
	var pages []string
	for p := dynamodb.NewScanPaginator(tb.client, &dynamodb.ScanInput{TableName: tb.name}); p.HasMorePages(); {
		pages = append(pages, keysOf(must[*dynamodb.ScanOutput](t)(p.NextPage(t.Context())).Items))
	}
	if got := strings.Join(pages, ", "); got != "0 1 2 3, 4" {
		t.Errorf("pages: %s, want 0 1 2 3, 4", got)
	}
}

// From the returned item, a client can decide whether its own write succeeded.
func TestDynamoDB_FailedCondition(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	tb.put("a", "g", 1)
	values, condition := item{":name": text("another")}, aws.String("#name = :name")
	names := map[string]string{"#name": "name"}
	for _, returned := range []types.ReturnValuesOnConditionCheckFailure{"ALL_OLD", "NONE"} {
		for _, pk := range []string{"a", "absent"} {
			key := item{"pk": text(pk)}
			_, putErr := tb.client.PutItem(t.Context(), &dynamodb.PutItemInput{
				TableName: tb.name, Item: key, ConditionExpression: condition, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
				ReturnValuesOnConditionCheckFailure: returned,
			})
			_, updateErr := tb.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
				TableName: tb.name, Key: key, ConditionExpression: condition, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
				UpdateExpression: aws.String("SET #name = :name"), ReturnValuesOnConditionCheckFailure: returned,
			})
			_, deleteErr := tb.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{
				TableName: tb.name, Key: key, ConditionExpression: condition, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
				ReturnValuesOnConditionCheckFailure: returned,
			})
			want := ""
			if pk == "a" && returned == "ALL_OLD" {
				want = "a"
			}
			for name, err := range map[string]error{"PutItem": putErr, "UpdateItem": updateErr, "DeleteItem": deleteErr} {
				var failed *types.ConditionalCheckFailedException
				if !errors.As(err, &failed) {
					t.Errorf("%s of %s: %v, want a failed condition", name, pk, err)
					continue
				}
				got := ""
				if len(failed.Item) > 0 {
					got = keysOf([]item{failed.Item})
				}
				if got != want {
					t.Errorf("%s of %s, to return %s: item %q, want %q", name, pk, returned, got, want)
				}
			}
		}
	}
}

func TestDynamoDB_Remove(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	for name, update := range map[string]func(expression *string, names map[string]string, values item) (item, error){
		"alone": func(expression *string, names map[string]string, values item) (item, error) {
			out, err := tb.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
				TableName: tb.name, Key: item{"pk": text("a")}, UpdateExpression: expression,
				ExpressionAttributeNames: names, ExpressionAttributeValues: values, ReturnValues: types.ReturnValueAllNew,
			})
			if err != nil {
				return nil, err
			}
			return out.Attributes, nil
		},
		"in a transaction": func(expression *string, names map[string]string, values item) (item, error) {
			_, err := tb.client.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{
				TransactItems: []types.TransactWriteItem{{Update: &types.Update{
					TableName: tb.name, Key: item{"pk": text("a")}, UpdateExpression: expression,
					ExpressionAttributeNames: names, ExpressionAttributeValues: values,
				}}},
			})
			return nil, err
		},
	} {
		for _, expression := range []string{
			"SET #rank = :rank REMOVE #group, added, #absent",
			"REMOVE #group,added , #absent\nSET #rank = :rank",
			"remove #group, added, #absent set #rank = :rank",
		} {
			if _, err := tb.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: tb.name, Item: item{
				"pk": text("a"), "group": text("g"), "rank": number(1), "added": text("x"), "name": text("stays"),
			}}); err != nil {
				t.Fatal(err)
			}
			names := map[string]string{"#group": "group", "#absent": "absent", "#rank": "rank"}
			returned, err := update(&expression, names, item{":rank": number(2)})
			if err != nil {
				t.Fatal(err)
			}
			out := must[*dynamodb.GetItemOutput](t)(tb.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: tb.name, Key: item{"pk": text("a")}}))
			want := item{"pk": text("a"), "rank": number(2), "name": text("stays")}
			if !reflect.DeepEqual(out.Item, want) {
				t.Errorf("%s, %s: the item has %d attributes, want pk, rank and name", expression, name, len(out.Item))
			}
			if returned != nil && !reflect.DeepEqual(returned, want) {
				t.Errorf("%s, %s: returned %d attributes, want pk, rank and name", expression, name, len(returned))
			}
			tb.wantGroup("g", "")
		}
	}
}

func TestDynamoDB_LongExpression(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	_, err := tb.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName: tb.name, Key: item{"pk": text("a")}, UpdateExpression: aws.String("REMOVE " + strings.Repeat("x", 4096)),
	})
	wantCode(t, "an expression of more than 4 KB", err, "ValidationException")
}

func TestDynamoDB_TransactionToken(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	write := func(token, pk string) error {
		_, err := tb.client.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{
			ClientRequestToken: &token,
			TransactItems: []types.TransactWriteItem{{Put: &types.Put{
				TableName: tb.name, Item: item{"pk": text(pk)}, ConditionExpression: aws.String("attribute_not_exists(pk)"),
			}}},
		})
		return err
	}
	for range 2 {
		if err := write("one", "a"); err != nil {
			t.Fatalf("sent with the same token: %v", err)
		}
	}
	wantCode(t, "another transaction with that token", write("one", "b"), "IdempotentParameterMismatchException")
	err := write("two", "a")
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) || *cancelled.CancellationReasons[0].Code != "ConditionalCheckFailed" {
		t.Errorf("with another token: %v, want a cancelled transaction", err)
	}
}

func TestDynamoDB_Tables(t *testing.T) {
	tb := newTable(t, types.ProjectionTypeAll)
	tb.put("a", "g", 1)
	described := must[*dynamodb.DescribeTableOutput](t)(tb.client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: tb.name})).Table
	if described.TableStatus != types.TableStatusActive || *described.ItemCount != 1 || len(described.GlobalSecondaryIndexes) != 1 {
		t.Errorf("DescribeTable: %+v, want an active table with 1 item and 1 index", described)
	}
	if _, err := tb.client.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{
		TableName: tb.name, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)},
	}); err != nil {
		t.Fatal(err)
	}
	ttl := must[*dynamodb.DescribeTimeToLiveOutput](t)(tb.client.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: tb.name})).TimeToLiveDescription
	if ttl.TimeToLiveStatus != types.TimeToLiveStatusEnabled || *ttl.AttributeName != "expires" {
		t.Errorf("DescribeTimeToLive: %+v, want it enabled on expires", ttl)
	}
	if _, err := tb.client.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: tb.name}); err != nil {
		t.Fatal(err)
	}
	if names := must[*dynamodb.ListTablesOutput](t)(tb.client.ListTables(t.Context(), nil)).TableNames; len(names) != 0 {
		t.Errorf("ListTables after DeleteTable: %v, want none", names)
	}
}
