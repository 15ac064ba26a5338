package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/awscloud"
)

// The local stack refuses what the policies of a deployment would: a call of
// DynamoDB that the blueprint does not grant to the function that makes it. A
// function that lacks a grant fails here, and not only on AWS.
//
// The functions are told apart by the application id that the SDK adds to its
// User-Agent. Calls without one are those of the stack, of people and of tests.
const functionPrefix = "function-"

var applicationID = regexp.MustCompile(`(?:^| )app/` + functionPrefix + `([a-z-]+)(?: |$)`)

// callingFunction returns the name of the function that sent r, or "".
func callingFunction(r *http.Request) string {
	match := applicationID.FindStringSubmatch(r.UserAgent())
	if match == nil {
		return ""
	}
	return match[1]
}

// enforceGrants refuses the calls that the blueprint does not grant.
func enforceGrants(h http.Handler, refused func(string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		function := callingFunction(r)
		service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if function == "" || service != "DynamoDB_20120810" {
			h.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		for _, c := range tableCalls(operation, body) {
			if blueprint.Allows(function, c.action, c.resource, c.keys) {
				continue
			}
			problem := fmt.Sprintf("the function %s is not authorized to perform %s on the %s with the leading keys %q: see Grants in infra/blueprint", function, c.action, c.resource, c.keys)
			refused(problem)
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazon.coral.service#AccessDeniedException", "message": problem})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// tableCall is a call as IAM authorizes it.
type tableCall struct {
	action   string
	resource blueprint.Resource
	keys     []string
}

// record is an item, or the key of one.
type record map[string]struct{ S string }

// tableWrite is a read or a write of one record.
type tableWrite struct{ Item, Key record }

func (w tableWrite) leadingKeys() []string {
	partitionKey := awscloud.TableSchema().PartitionKey
	if w.Item != nil {
		return []string{w.Item[partitionKey].S}
	}
	return []string{w.Key[partitionKey].S}
}

// tableQuery is a query of an index.
type tableQuery struct {
	IndexName, KeyConditionExpression string
	ExpressionAttributeNames          map[string]string
	ExpressionAttributeValues         record
}

// leadingKeys returns the value of the index's partition key, none for a scan.
func (q tableQuery) leadingKeys() []string {
	for _, index := range awscloud.TableSchema().Indexes {
		if index.Name != q.IndexName {
			continue
		}
		for alias, attribute := range q.ExpressionAttributeNames {
			match := regexp.MustCompile(regexp.QuoteMeta(alias) + ` = (:\w+)`).FindStringSubmatch(q.KeyConditionExpression)
			if attribute == index.PartitionKey && match != nil {
				return []string{q.ExpressionAttributeValues[match[1]].S}
			}
		}
	}
	return nil
}

// tableCalls returns what IAM authorizes of one request: each write of a
// transaction by itself.
func tableCalls(operation string, body []byte) []tableCall {
	var request struct {
		tableWrite
		tableQuery
		TransactItems []map[string]tableWrite
	}
	if json.Unmarshal(body, &request) != nil {
		return []tableCall{{"dynamodb:" + operation, blueprint.Table, nil}}
	}
	switch operation {
	case "TransactWriteItems":
		actions := map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
		var calls []tableCall
		for _, writes := range request.TransactItems {
			for name, write := range writes {
				calls = append(calls, tableCall{"dynamodb:" + actions[name], blueprint.Table, write.leadingKeys()})
			}
		}
		return calls
	case "Query", "Scan":
		resource := blueprint.Table
		if request.IndexName != "" {
			resource = blueprint.Resource("table index " + request.IndexName)
		}
		return []tableCall{{"dynamodb:" + operation, resource, request.tableQuery.leadingKeys()}}
	}
	return []tableCall{{"dynamodb:" + operation, blueprint.Table, request.tableWrite.leadingKeys()}}
}
