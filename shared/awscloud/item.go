package awscloud

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// item is a record as DynamoDB holds it. What is empty or zero is left out.
type item map[string]types.AttributeValue

// timeFormat is RFC 3339 in UTC with a fixed width, so that instants sort as
// strings.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func instant(t time.Time) types.AttributeValue { return text(t.UTC().Format(timeFormat)) }

// sweepAfter is t for the TTL attribute, rounded up: a record must not go
// before its time.
func sweepAfter(t time.Time) types.AttributeValue { return number(t.Unix() + 1) }

func (i item) setText(name, s string) {
	if s != "" {
		i[name] = text(s)
	}
}

func (i item) setNumber(name string, n int64) {
	if n != 0 {
		i[name] = number(n)
	}
}

func (i item) setTime(name string, t time.Time) {
	if !t.IsZero() {
		i[name] = instant(t)
	}
}

func (i item) setBytes(name string, b []byte) {
	if len(b) > 0 {
		i[name] = &types.AttributeValueMemberB{Value: b}
	}
}

func (i item) setFlag(name string, set bool) {
	if set {
		i[name] = &types.AttributeValueMemberBOOL{Value: true}
	}
}

func setList[T any](i item, name string, values []T, encode func(T) types.AttributeValue) {
	if len(values) == 0 {
		return
	}
	list := &types.AttributeValueMemberL{}
	for _, v := range values {
		list.Value = append(list.Value, encode(v))
	}
	i[name] = list
}

// reader reads the attributes of one item and keeps the first trouble.
type reader struct {
	item item
	err  error
}

func (r *reader) fail(name string) {
	if r.err == nil {
		r.err = fmt.Errorf("the attribute %q of a record is malformed", name)
	}
}

func (r *reader) text(name string) string { return r.textOf(name, r.item[name]) }

func (r *reader) textOf(name string, value types.AttributeValue) string {
	switch v := value.(type) {
	case nil:
		return ""
	case *types.AttributeValueMemberS:
		return v.Value
	}
	r.fail(name)
	return ""
}

func (r *reader) number(name string) int64 {
	switch v := r.item[name].(type) {
	case nil:
		return 0
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil {
			r.fail(name)
		}
		return n
	}
	r.fail(name)
	return 0
}

func (r *reader) flag(name string) bool {
	switch v := r.item[name].(type) {
	case nil:
		return false
	case *types.AttributeValueMemberBOOL:
		return v.Value
	}
	r.fail(name)
	return false
}

func (r *reader) bytes(name string) []byte {
	switch v := r.item[name].(type) {
	case nil:
		return nil
	case *types.AttributeValueMemberB:
		return v.Value
	}
	r.fail(name)
	return nil
}

func (r *reader) time(name string) time.Time { return r.timeOf(name, r.item[name]) }

func (r *reader) timeOf(name string, value types.AttributeValue) time.Time {
	s := r.textOf(name, value)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(timeFormat, s)
	if err != nil {
		r.fail(name)
	}
	return t.UTC()
}

func getList[T any](r *reader, name string, decode func(string, types.AttributeValue) T) []T {
	switch v := r.item[name].(type) {
	case nil:
		return nil
	case *types.AttributeValueMemberL:
		values := make([]T, 0, len(v.Value))
		for _, element := range v.Value {
			values = append(values, decode(name, element))
		}
		return values
	}
	r.fail(name)
	return nil
}
