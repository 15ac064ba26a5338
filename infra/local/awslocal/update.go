package awslocal

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// updateInput is an UpdateItem, or an update in a transaction.
type updateInput struct {
	TableName                string
	Key                      item
	UpdateExpression         string
	ExpressionAttributeNames map[string]string
	ReturnValues             string
}

// maxExpression is the maximum length of an expression.
const maxExpression = 4096

var removeClause = regexp.MustCompile(`(?is)\bREMOVE\s+(.*?)\s*(?:\b(?:SET|ADD|DELETE)\s|$)`)

// removed returns the attributes that an update removes. It ignores elements of lists
// and maps.
func (u updateInput) removed() (names []string) {
	match := removeClause.FindStringSubmatch(u.UpdateExpression)
	if match == nil {
		return nil
	}
	for path := range strings.SplitSeq(match[1], ",") {
		path = strings.TrimSpace(path)
		if strings.ContainsAny(path, ".[") {
			continue
		}
		if name, ok := u.ExpressionAttributeNames[path]; ok {
			path = name
		}
		names = append(names, path)
	}
	return names
}

// updateItem removes the attributes of a REMOVE clause, which minidyn leaves in
// the item.
func (d *dynamoDB) updateItem(_ *http.Request, body []byte) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var input updateInput
	if json.Unmarshal(body, &input) == nil && len(input.UpdateExpression) > maxExpression {
		return nil, refuse("ValidationException", "Invalid UpdateExpression: Expression size has exceeded the maximum allowed size;")
	}
	a := d.ask("UpdateItem", body)
	if a.status != http.StatusOK {
		return a, nil
	}
	names := input.removed()
	if err := d.remove(input, names); err != nil {
		return nil, err
	}
	var output struct {
		Attributes item `json:",omitempty"`
	}
	if len(names) == 0 || input.ReturnValues != "ALL_NEW" || json.Unmarshal(a.body.Bytes(), &output) != nil {
		return a, nil
	}
	for _, name := range names {
		delete(output.Attributes, name)
	}
	return output, nil
}

// remove removes attributes of an item. The caller must hold the mutex.
func (d *dynamoDB) remove(u updateInput, names []string) error {
	if len(names) == 0 {
		return nil
	}
	var stored struct{ Item item }
	if err := d.call("GetItem", map[string]any{"TableName": u.TableName, "Key": u.Key}, &stored); err != nil {
		return err
	}
	for _, name := range names {
		delete(stored.Item, name)
	}
	return d.call("PutItem", map[string]any{"TableName": u.TableName, "Item": stored.Item}, new(struct{}))
}
