package awslocal

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/truora/minidyn/server"
)

const dynamoJSON = "application/x-amz-json-1.0"

// dynamoDB adds indexes, paging and descriptions of tables to minidyn's items,
// conditions and transactions.
type dynamoDB struct {
	now func() time.Time

	// mu is held for each operation: minidyn does not lock its list of
	// tables, and a search here reads twice.
	mu     sync.Mutex
	items  *server.Server
	tables map[string]*table
	// done are the transactions of the last minutes, by request token.
	done map[string]transaction
}

type transaction struct {
	body [sha256.Size]byte
	at   time.Time
}

// tokenLifetime is how long a request token is stored.
const tokenLifetime = 10 * time.Minute

// table is the description of a table.
type table struct {
	description tableDescription
	ttl         timeToLive
}

type tableDescription struct {
	TableName              string
	TableArn               string
	TableStatus            string
	CreationDateTime       epoch
	AttributeDefinitions   []attributeDefinition
	KeySchema              []keyElement
	GlobalSecondaryIndexes []indexDescription `json:",omitempty"`
	ItemCount              int
	BillingModeSummary     billingMode
}

type attributeDefinition struct{ AttributeName, AttributeType string }

type keyElement struct{ AttributeName, KeyType string }

type billingMode struct{ BillingMode string }

type indexDescription struct {
	IndexName   string
	IndexArn    string `json:",omitempty"`
	IndexStatus string `json:",omitempty"`
	KeySchema   []keyElement
	Projection  projection
}

type projection struct {
	ProjectionType   string
	NonKeyAttributes []string `json:",omitempty"`
}

type timeToLive struct {
	AttributeName string `json:",omitempty"`
	Enabled       bool   `json:"-"`
}

func newDynamoDB(now func() time.Time) *dynamoDB {
	return &dynamoDB{now: now, items: server.NewServer(), tables: map[string]*table{}, done: map[string]transaction{}}
}

func (d *dynamoDB) service() service {
	operations := map[string]operation{
		"CreateTable":        handle(d.createTable),
		"DescribeTable":      handle(d.describeTable),
		"DeleteTable":        handle(d.deleteTable),
		"ListTables":         handle(d.listTables),
		"UpdateTimeToLive":   handle(d.updateTimeToLive),
		"DescribeTimeToLive": handle(d.describeTimeToLive),
		"Query":              handle(d.query),
		"Scan":               handle(d.scan),
		"TransactWriteItems": d.transactWriteItems,
		"UpdateItem":         d.updateItem,
	}
	for _, name := range []string{"PutItem", "DeleteItem"} {
		operations[name] = d.write(name)
	}
	for _, name := range []string{
		"GetItem", "BatchGetItem", "BatchWriteItem", "TransactGetItems",
	} {
		operations[name] = d.pass(name)
	}
	return service{contentType: dynamoJSON, operations: operations}
}

// pass is an operation that minidyn implements completely.
func (d *dynamoDB) pass(name string) operation {
	return func(_ *http.Request, body []byte) (any, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.ask(name, body), nil
	}
}

// write is a PutItem or a DeleteItem. If the condition fails, minidyn does not return
// the stored item.
func (d *dynamoDB) write(name string) operation {
	return func(_ *http.Request, body []byte) (any, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		a := d.ask(name, body)
		var input struct {
			TableName                           string
			Item, Key                           item
			ReturnValuesOnConditionCheckFailure string
		}
		var failure map[string]any
		if a.status == http.StatusOK || json.Unmarshal(body, &input) != nil || json.Unmarshal(a.body.Bytes(), &failure) != nil ||
			input.ReturnValuesOnConditionCheckFailure != "ALL_OLD" || failure["__type"] != "ConditionalCheckFailedException" {
			return a, nil
		}
		t, err := d.table(input.TableName)
		if err != nil {
			return nil, err
		}
		key := input.Key
		if name == "PutItem" {
			key = t.keyOf(input.Item)
		}
		var there struct{ Item item }
		if err := d.call("GetItem", map[string]any{"TableName": input.TableName, "Key": key}, &there); err != nil {
			return nil, err
		}
		if len(there.Item) > 0 {
			failure["Item"] = there.Item
		}
		a.body.Reset()
		return a, json.NewEncoder(&a.body).Encode(failure)
	}
}

// transactWriteItems runs a transaction once for each request token.
func (d *dynamoDB) transactWriteItems(_ *http.Request, body []byte) (any, error) {
	var input struct {
		ClientRequestToken string
		TransactItems      []struct{ Update updateInput }
	}
	if err := json.Unmarshal(body, &input); err != nil {
		return nil, refuse("SerializationException", "the body is not JSON of the expected shape")
	}
	if n := len(input.TransactItems); n < 1 || n > 100 {
		return nil, refuse("ValidationException", "a transaction must have 1 to 100 items, not %d", n)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.done, func(_ string, t transaction) bool { return d.now().Sub(t.at) >= tokenLifetime })
	sum := sha256.Sum256(body)
	if earlier, ok := d.done[input.ClientRequestToken]; ok {
		if earlier.body != sum {
			return nil, refuse("IdempotentParameterMismatchException", "the request token was used with other parameters")
		}
		return struct{}{}, nil
	}
	answer := d.ask("TransactWriteItems", body)
	if answer.status != http.StatusOK {
		return answer, nil
	}
	for _, i := range input.TransactItems {
		if err := d.remove(i.Update, i.Update.removed()); err != nil {
			return nil, err
		}
	}
	if input.ClientRequestToken != "" {
		d.done[input.ClientRequestToken] = transaction{body: sum, at: d.now()}
	}
	return answer, nil
}

// ask sends a request to minidyn. The caller must hold the mutex.
func (d *dynamoDB) ask(name string, body []byte) *answer {
	a := &answer{status: http.StatusOK, header: http.Header{}}
	r, err := http.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	if err != nil {
		panic(err) // method and URL are constants
	}
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+name)
	d.items.ServeHTTP(a, r)
	return a
}

// answer is an http.ResponseWriter that stores the response.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// call sends input to minidyn and reads its output.
func (d *dynamoDB) call(name string, input, output any) error {
	b, err := json.Marshal(input)
	if err != nil {
		return err
	}
	a := d.ask(name, b)
	if a.status != http.StatusOK {
		var failure struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(a.body.Bytes(), &failure); err != nil {
			return err
		}
		return &apiError{a.status, failure.Type, failure.Message}
	}
	return json.Unmarshal(a.body.Bytes(), output)
}

func (d *dynamoDB) table(name string) (*table, error) {
	t, ok := d.tables[name]
	if !ok {
		return nil, refuse("ResourceNotFoundException", "Cannot do operations on a non-existent table")
	}
	return t, nil
}

// keyOf returns the key of an item of the table.
func (t *table) keyOf(i item) item {
	key := item{}
	for _, element := range t.description.KeySchema {
		key[element.AttributeName] = i[element.AttributeName]
	}
	return key
}

type createTableInput struct {
	TableName              string
	AttributeDefinitions   []attributeDefinition
	KeySchema              []keyElement
	GlobalSecondaryIndexes []indexDescription `json:",omitempty"`
	LocalSecondaryIndexes  []json.RawMessage  `json:",omitempty"`
	BillingMode            string
}

func (d *dynamoDB) createTable(input createTableInput) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(input.LocalSecondaryIndexes) > 0 {
		return nil, refuse("ValidationException", "the local stand-in has no local secondary indexes")
	}
	t := &table{description: tableDescription{
		TableName:        input.TableName,
		TableArn:         "arn:aws:dynamodb:" + region + ":" + accountID + ":table/" + input.TableName,
		TableStatus:      "ACTIVE",
		CreationDateTime: epoch(d.now()), AttributeDefinitions: input.AttributeDefinitions,
		KeySchema: input.KeySchema, BillingModeSummary: billingMode{input.BillingMode},
	}}
	for _, index := range input.GlobalSecondaryIndexes {
		index.IndexArn = t.description.TableArn + "/index/" + index.IndexName
		index.IndexStatus = "ACTIVE"
		t.description.GlobalSecondaryIndexes = append(t.description.GlobalSecondaryIndexes, index)
	}
	// minidyn gets no index. Its billing mode has no effect.
	input.GlobalSecondaryIndexes, input.BillingMode = nil, "PAY_PER_REQUEST"
	if err := d.call("CreateTable", input, new(struct{})); err != nil {
		return nil, err
	}
	d.tables[input.TableName] = t
	return map[string]any{"TableDescription": t.description}, nil
}

type tableInput struct{ TableName string }

func (d *dynamoDB) describeTable(input tableInput) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(input.TableName)
	if err != nil {
		return nil, err
	}
	var counted struct {
		Table struct{ ItemCount int }
	}
	if err := d.call("DescribeTable", input, &counted); err != nil {
		return nil, err
	}
	described := t.description
	described.ItemCount = counted.Table.ItemCount
	return map[string]any{"Table": described}, nil
}

func (d *dynamoDB) deleteTable(input tableInput) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(input.TableName)
	if err != nil {
		return nil, err
	}
	if err := d.call("DeleteTable", input, new(struct{})); err != nil {
		return nil, err
	}
	delete(d.tables, input.TableName)
	return map[string]any{"TableDescription": t.description}, nil
}

func (d *dynamoDB) listTables(struct{}) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := slices.AppendSeq([]string{}, maps.Keys(d.tables))
	slices.Sort(names)
	return map[string]any{"TableNames": names}, nil
}

type updateTimeToLiveInput struct {
	TableName               string
	TimeToLiveSpecification struct {
		AttributeName string
		Enabled       bool
	}
}

func (d *dynamoDB) updateTimeToLive(input updateTimeToLiveInput) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(input.TableName)
	if err != nil {
		return nil, err
	}
	t.ttl = timeToLive(input.TimeToLiveSpecification)
	return map[string]any{"TimeToLiveSpecification": input.TimeToLiveSpecification}, nil
}

func (d *dynamoDB) describeTimeToLive(input tableInput) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(input.TableName)
	if err != nil {
		return nil, err
	}
	status := map[string]string{"TimeToLiveStatus": "DISABLED"}
	if t.ttl.Enabled {
		status = map[string]string{"TimeToLiveStatus": "ENABLED", "AttributeName": t.ttl.AttributeName}
	}
	return map[string]any{"TimeToLiveDescription": status}, nil
}
