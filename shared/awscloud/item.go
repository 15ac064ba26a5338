package awscloud

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// item is a record as DynamoDB has it. The types connectionItem, accountItem,
// ticketItem, counterItem, breakerItem and suspensionsItem name its attributes. Attributes that
// are empty or zero are left out.
type item = map[string]types.AttributeValue

// timeFormat is RFC 3339 in UTC with a fixed width, so that instants sort as
// strings.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

var (
	encoder = attributevalue.NewEncoder(func(o *attributevalue.EncoderOptions) {
		o.OmitEmptyTime = true
		o.EncodeTime = func(t time.Time) (types.AttributeValue, error) { return instant(t), nil }
	})
	decoder = attributevalue.NewDecoder(func(o *attributevalue.DecoderOptions) {
		o.DecodeTime.S = func(s string) (time.Time, error) { return time.Parse(timeFormat, s) }
	})
)

// encode returns the item of a record, which is a struct with tags.
func encode(record any) item {
	value, err := encoder.Encode(record)
	if err != nil {
		panic(err) // every type of our records can be encoded
	}
	return value.(*types.AttributeValueMemberM).Value
}

func decode[T any](i item) (T, error) {
	var record T
	if err := decoder.Decode(&types.AttributeValueMemberM{Value: i}, &record); err != nil {
		return record, fmt.Errorf("decoding a record: %w", err)
	}
	return record, nil
}

// attributesOf returns the names of the attributes that a record may have.
func attributesOf(record any) []string {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeOf(record)) {
		if field.Anonymous {
			continue // its fields are listed beside it
		}
		name, _, _ := strings.Cut(field.Tag.Get("dynamodbav"), ",")
		names = append(names, name)
	}
	return names
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func instant(t time.Time) types.AttributeValue { return text(t.UTC().Format(timeFormat)) }

// ttl is t for the TTL attribute, rounded up: DynamoDB must not delete a record
// before its time.
func ttl(t time.Time) int64 { return t.Unix() + 1 }

// partitionKey is the name of the key of all records.
const partitionKey = "pk"

func keyOf(key string) item { return item{partitionKey: text(key)} }

// hasNonce reports whether the attribute of i holds the nonce.
func hasNonce(i item, attribute, nonce string) bool {
	value, ok := i[attribute].(*types.AttributeValueMemberS)
	return ok && value.Value == nonce
}

// update returns the update that turns the record before into after. It writes
// the attributes that differ, and those of always in any case. Attributes that
// neither record has stay as they are: another version of this code wrote them.
//
// The caller adds the condition, in which an attribute that is written is named
// "#name".
func (t *Table) update(before, after item, always ...string) *types.Update {
	u := &types.Update{
		TableName: t.name, Key: item{partitionKey: after[partitionKey]},
		ExpressionAttributeNames: map[string]string{}, ExpressionAttributeValues: item{},
	}
	var set, remove []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if name == partitionKey || reflect.DeepEqual(before[name], after[name]) && !slices.Contains(always, name) {
			continue
		}
		set = append(set, "#"+name+" = :"+name)
		u.ExpressionAttributeNames["#"+name], u.ExpressionAttributeValues[":"+name] = name, after[name]
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if after[name] == nil && !slices.Contains(always, name) {
			remove = append(remove, "#"+name)
		}
	}
	for _, name := range always {
		if after[name] == nil {
			remove = append(remove, "#"+name)
		}
	}
	var expression []string
	if len(set) > 0 {
		expression = append(expression, "SET "+strings.Join(set, ", "))
	}
	if len(remove) > 0 {
		expression = append(expression, "REMOVE "+strings.Join(remove, ", "))
		for _, name := range remove {
			u.ExpressionAttributeNames[name] = name[1:]
		}
	}
	u.UpdateExpression = aws.String(strings.Join(expression, " "))
	return u
}
