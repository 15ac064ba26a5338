package awslocal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// maxPage is the maximum size of a page of a Query or Scan.
const maxPage = 1 << 20

// item is a record in DynamoDB JSON.
type item map[string]attribute

// attribute is a value with its type: {"S":"…"}.
type attribute json.RawMessage

// MarshalJSON implements json.Marshaler.
func (a attribute) MarshalJSON() ([]byte, error) { return a, nil }

// UnmarshalJSON implements json.Unmarshaler.
func (a *attribute) UnmarshalJSON(b []byte) error {
	*a = bytes.Clone(b)
	return nil
}

type searchInput struct {
	TableName                 string
	IndexName                 string            `json:",omitempty"`
	ConsistentRead            bool              `json:",omitempty"`
	KeyConditionExpression    string            `json:",omitempty"`
	FilterExpression          string            `json:",omitempty"`
	ProjectionExpression      string            `json:",omitempty"`
	ExpressionAttributeNames  map[string]string `json:",omitempty"`
	ExpressionAttributeValues item              `json:",omitempty"`
	ExclusiveStartKey         item              `json:",omitempty"`
	Limit                     int               `json:",omitempty"`
	ScanIndexForward          *bool             `json:",omitempty"`
	Select                    string            `json:",omitempty"`
	Segment, TotalSegments    *int              `json:",omitempty"`
}

type searchOutput struct {
	Items            []item `json:",omitempty"`
	Count            int
	ScannedCount     int
	LastEvaluatedKey item `json:",omitempty"`
}

// path is the table or the index that a search reads.
type path struct {
	partitionKey, sortKey string
	// keys are the key attributes of the path and of the table.
	keys       []string
	projection projection
}

func (t *table) path(input searchInput) (path, error) {
	var p path
	schema := t.description.KeySchema
	if input.IndexName != "" {
		n := slices.IndexFunc(t.description.GlobalSecondaryIndexes, func(i indexDescription) bool { return i.IndexName == input.IndexName })
		switch {
		case n < 0:
			return p, refuse("ValidationException", "The table does not have the specified index: %s", input.IndexName)
		case input.ConsistentRead:
			return p, refuse("ValidationException", "Consistent reads are not supported on global secondary indexes")
		}
		index := t.description.GlobalSecondaryIndexes[n]
		schema, p.projection = index.KeySchema, index.Projection
	}
	for _, key := range schema {
		if key.KeyType == "HASH" {
			p.partitionKey = key.AttributeName
		} else {
			p.sortKey = key.AttributeName
		}
	}
	for _, key := range slices.Concat(schema, t.description.KeySchema) {
		if !slices.Contains(p.keys, key.AttributeName) {
			p.keys = append(p.keys, key.AttributeName)
		}
	}
	return p, nil
}

// compare orders items by the keys of the path, and then by the keys of the table.
func (p path) compare(a, b item) int {
	for _, key := range p.keys {
		if order := compareAttributes(a[key], b[key]); order != 0 {
			return order
		}
	}
	return 0
}

func compareAttributes(a, b attribute) int {
	var x, y struct {
		S, N string
		B    []byte
	}
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return bytes.Compare(a, b)
	}
	if x.N != "" && y.N != "" {
		n, okX := new(big.Rat).SetString(x.N)
		m, okY := new(big.Rat).SetString(y.N)
		if okX && okY {
			return n.Cmp(m)
		}
	}
	return cmp.Or(strings.Compare(x.S, y.S), bytes.Compare(x.B, y.B))
}

// contains reports whether i is on the path. An item without the keys of an index is
// not in the index.
func (p path) contains(i item) bool {
	return !slices.ContainsFunc(p.keys, func(key string) bool { return i[key] == nil })
}

func (p path) keyOf(i item) item {
	key := item{}
	for _, name := range p.keys {
		key[name] = i[name]
	}
	return key
}

func (p path) project(i item) item {
	if p.projection.ProjectionType == "" || p.projection.ProjectionType == "ALL" {
		return i
	}
	projected := p.keyOf(i)
	for _, name := range p.projection.NonKeyAttributes {
		if value, ok := i[name]; ok {
			projected[name] = value
		}
	}
	return projected
}

func (d *dynamoDB) query(input searchInput) (searchOutput, error) {
	if input.KeyConditionExpression == "" {
		return searchOutput{}, refuse("ValidationException", "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	return d.search(input)
}

func (d *dynamoDB) scan(input searchInput) (searchOutput, error) {
	if input.TotalSegments != nil && *input.TotalSegments > 1 {
		return searchOutput{}, refuse("ValidationException", "the local stand-in has no parallel scans")
	}
	return d.search(input)
}

// search reads a page of the items that the key condition selects. It then applies
// the filter, as DynamoDB does.
func (d *dynamoDB) search(input searchInput) (searchOutput, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(input.TableName)
	if err != nil {
		return searchOutput{}, err
	}
	p, err := t.path(input)
	if err != nil {
		return searchOutput{}, err
	}
	if len(input.ExclusiveStartKey) > 0 && (len(input.ExclusiveStartKey) != len(p.keys) || !p.contains(input.ExclusiveStartKey)) {
		return searchOutput{}, refuse("ValidationException", "The provided starting key is invalid")
	}
	selected, err := d.match(input, input.KeyConditionExpression)
	if err != nil {
		return searchOutput{}, err
	}
	page, more := p.page(selected, input)
	output := searchOutput{ScannedCount: len(page)}
	if more {
		output.LastEvaluatedKey = p.keyOf(page[len(page)-1])
	}
	if output.Items, err = d.shape(input, p, page); err != nil {
		return searchOutput{}, err
	}
	output.Count = len(output.Items)
	if input.Select == "COUNT" {
		output.Items = nil
	}
	return output, nil
}

// match returns the items of a table that an expression selects. An empty expression
// selects all.
func (d *dynamoDB) match(input searchInput, expression string) ([]item, error) {
	var found struct{ Items []item }
	err := d.call("Scan", searchInput{
		TableName:                 input.TableName,
		FilterExpression:          expression,
		ExpressionAttributeNames:  used(input.ExpressionAttributeNames, expression),
		ExpressionAttributeValues: used(input.ExpressionAttributeValues, expression),
	}, &found)
	return found.Items, err
}

var placeholder = regexp.MustCompile(`[#:][A-Za-z0-9_]+`)

// used returns the placeholders that an expression uses. Unused placeholders are an
// error.
func used[M ~map[string]V, V any](placeholders M, expression string) M {
	found := M{}
	for _, name := range placeholder.FindAllString(expression, -1) {
		if value, ok := placeholders[name]; ok {
			found[name] = value
		}
	}
	return found
}

// page returns the items of one page, and whether more may follow.
func (p path) page(selected []item, input searchInput) (page []item, more bool) {
	compare := p.compare
	if input.ScanIndexForward != nil && !*input.ScanIndexForward {
		compare = func(a, b item) int { return p.compare(b, a) }
	}
	selected = slices.DeleteFunc(selected, func(i item) bool {
		return !p.contains(i) || len(input.ExclusiveStartKey) > 0 && compare(i, input.ExclusiveStartKey) <= 0
	})
	slices.SortFunc(selected, compare)

	size := 0
	for n, i := range selected {
		for name, value := range p.project(i) {
			size += len(name) + len(value)
		}
		if n+1 == input.Limit || size >= maxPage {
			// DynamoDB does not check whether an item follows the limit.
			return selected[:n+1], true
		}
	}
	return selected, false
}

// shape applies the filter and the projections to a page.
func (d *dynamoDB) shape(input searchInput, p path, page []item) ([]item, error) {
	if input.FilterExpression != "" {
		passing, err := d.match(input, input.FilterExpression)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(passing, p.compare)
		page = slices.DeleteFunc(page, func(i item) bool {
			_, passes := slices.BinarySearchFunc(passing, i, p.compare)
			return !passes
		})
	}
	shaped := make([]item, 0, len(page))
	for _, i := range page {
		i = p.project(i)
		if input.ProjectionExpression != "" {
			projected, err := d.projected(input, i)
			if err != nil {
				return nil, err
			}
			i = projected
		}
		shaped = append(shaped, i)
	}
	return shaped, nil
}

// projected returns an item with the requested attributes.
func (d *dynamoDB) projected(input searchInput, i item) (item, error) {
	var got struct{ Item item }
	err := d.call("GetItem", map[string]any{
		"TableName": input.TableName, "Key": d.tables[input.TableName].keyOf(i),
		"ProjectionExpression":     input.ProjectionExpression,
		"ExpressionAttributeNames": used(input.ExpressionAttributeNames, input.ProjectionExpression),
	}, &got)
	return got.Item, err
}
