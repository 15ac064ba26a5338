package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/strictjson"
)

// maxDepth is how deep a JSON body may nest; the deepest of ours has two
// levels.
const maxDepth = 16

// object is a JSON object that is taken apart field by field. The first
// problem sticks and names its field; end reports it, or a field that nobody
// asked for.
type object struct {
	fields map[string]json.RawMessage
	err    *connector.Error
}

// object reads the request's body, which may be empty where optional. The body
// itself must be JSON; its content type is not held against it, since curl -d
// and others name a wrong one.
func (r *request) object(optional bool) (*object, error) {
	if len(r.body) == 0 {
		if optional {
			return &object{}, nil
		}
		return nil, connector.Invalid("body", "missing")
	}
	return readObject("body", r.body)
}

// readObject parses b, which is called name in errors.
func readObject(name string, b []byte) (*object, error) {
	o := &object{}
	err := strictjson.Unmarshal(b, strictjson.Limits{Depth: maxDepth}, &o.fields)
	var refused *strictjson.Error
	switch {
	case err == nil:
		return o, nil
	case !errors.As(err, &refused):
		return nil, connector.Invalid(name, "not a JSON object")
	case refused.Problem == strictjson.Duplicate:
		name = printable(refused.Field)
	}
	return nil, connector.Invalid(name, string(refused.Problem))
}

// take removes a field and returns it, nil where it is absent or null.
func (o *object) take(name string) json.RawMessage {
	raw := o.fields[name]
	delete(o.fields, name)
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func (o *object) fail(name, problem string) {
	if o.err == nil {
		o.err = connector.Invalid(name, problem)
	}
}

func (o *object) decode(name string, into any, problem string) {
	if raw := o.take(name); raw != nil && json.Unmarshal(raw, into) != nil {
		o.fail(name, problem)
	}
}

func (o *object) text(name string) (s string) {
	o.decode(name, &s, "not a string")
	return s
}

// selector reads a string that says what is meant. An empty one is refused:
// to somebody who forgot to fill it in, it would select more than they meant.
func (o *object) selector(name string) string {
	var given *string
	o.decode(name, &given, "not a string")
	if given == nil {
		return ""
	}
	if *given == "" {
		o.fail(name, "empty")
	}
	return *given
}

func (o *object) secret(name string) (s connector.Secret) {
	o.decode(name, &s, "not a string")
	return s
}

func (o *object) list(name string) (list []string) {
	o.decode(name, &list, "not a list of strings")
	return list
}

func (o *object) flag(name string, otherwise bool) bool {
	o.decode(name, &otherwise, "neither true nor false")
	return otherwise
}

// number reads a whole number from least to most.
func (o *object) number(name string, least, most, otherwise int) int {
	raw := o.take(name)
	if raw == nil {
		return otherwise
	}
	n, problem := wholeNumber(string(raw), least, most)
	if problem != "" {
		o.fail(name, problem)
	}
	return n
}

// credentials reads a flat object of secrets. Numbers and booleans become their
// literal text, null is left out; anything nested is refused, naming the field.
func (o *object) credentials(name string) connector.Fields {
	raw := o.take(name)
	if raw == nil {
		return nil
	}
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) != nil {
		o.fail(name, "not a JSON object of strings")
		return nil
	}
	fields := make(connector.Fields, len(values))
	for field, value := range values {
		text, err := literal(value)
		switch {
		case err == nil && !bytes.Equal(value, []byte("null")):
			fields[field] = connector.NewSecret(text)
		case err != nil && !fieldName.MatchString(field):
			o.fail(name, "has a field that no platform has")
		case err != nil:
			o.fail(name+"."+field, "not a string")
		}
	}
	return fields
}

// fieldName matches the names of fields. Secrets, which may be pasted into the
// place of a name, have digits or are longer.
var fieldName = regexp.MustCompile(`^[a-z][a-z_]{0,31}$`)

// literal returns the text of a JSON string, number or boolean.
func literal(value json.RawMessage) (string, error) {
	switch value[0] {
	case '"':
		var text string
		err := json.Unmarshal(value, &text)
		return text, err
	case '{', '[':
		return "", errors.New("nested")
	}
	return string(value), nil
}

// end returns the first problem, or names a field that nobody asked for.
func (o *object) end() error {
	if o.err != nil {
		return o.err
	}
	return firstUnknown(o.fields, "unknown field")
}

// parameters decodes a query, in the same way as object decodes a body.
type parameters struct {
	values url.Values
	err    *connector.Error
}

func (r *request) parametersOfQuery() *parameters { return &parameters{values: r.query} }

// text reads a parameter of at most most bytes. It refuses a repeated
// parameter, and an empty one: a filter that the caller forgot to fill in would
// select everything.
func (p *parameters) text(name string, most int) string {
	list := p.values[name]
	delete(p.values, name)
	switch {
	case len(list) == 0:
		return ""
	case len(list) > 1:
		p.fail(name, "given twice")
	case list[0] == "":
		p.fail(name, "empty")
	case len(list[0]) > most:
		p.fail(name, "too long")
	}
	return list[0]
}

func (p *parameters) fail(name, problem string) {
	if p.err == nil {
		p.err = connector.Invalid(name, problem)
	}
}

func (p *parameters) flag(name string) bool {
	switch p.text(name, 5) {
	case "", "false":
		return false
	case "true":
		return true
	}
	p.fail(name, "neither true nor false")
	return false
}

func (p *parameters) number(name string, least, most, otherwise int) int {
	text := p.text(name, 20)
	if text == "" {
		return otherwise
	}
	n, problem := wholeNumber(text, least, most)
	if problem != "" {
		p.fail(name, problem)
	}
	return n
}

// list reads values that are separated by commas or, as OAuth separates scopes,
// by spaces. The parameter may be repeated.
func (p *parameters) list(name string) []string {
	if all := p.values[name]; len(all) > 1 {
		p.values[name] = []string{strings.Join(all, ",")}
	}
	text := p.text(name, 4<<10)
	values := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	if text != "" && len(values) == 0 {
		p.fail(name, "empty")
	}
	return values
}

func (p *parameters) end() error {
	if p.err != nil {
		return p.err
	}
	return firstUnknown(p.values, "unknown parameter")
}

// onlyBody returns the body of a request. It refuses query parameters.
func (r *request) onlyBody() (*object, error) {
	if err := r.parametersOfQuery().end(); err != nil {
		return nil, err
	}
	return r.object(false)
}

// expectNoInput refuses a request that has query parameters or fields in its
// body.
func (r *request) expectNoInput() error {
	if err := r.parametersOfQuery().end(); err != nil {
		return err
	}
	if r.method == http.MethodGet {
		return nil
	}
	o, err := r.object(true)
	if err != nil {
		return err
	}
	return o.end()
}

func firstUnknown[V any](left map[string]V, problem string) error {
	for _, name := range slices.Sorted(maps.Keys(left)) {
		return connector.Invalid(printable(name), problem)
	}
	return nil
}

func wholeNumber(text string, least, most int) (n int, problem string) {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, "not a whole number"
	case n < least || n > most:
		return 0, "not between " + strconv.Itoa(least) + " and " + strconv.Itoa(most)
	}
	return n, ""
}

// printable returns a name that somebody sent if it looks like one, or stands
// in for it: it goes into the log, and may be a secret in the wrong place,
// which is longer, or has more in it than letters.
func printable(name string) string {
	odd := func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	if name == "" || len(name) > 32 || strings.ContainsFunc(name, odd) {
		return "a name that is none of ours"
	}
	return name
}
