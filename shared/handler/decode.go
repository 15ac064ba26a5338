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

// maxDepth is the maximum nesting of a JSON body. No documented body has more than
// two levels.
const maxDepth = 16

// object decodes a JSON object field by field. It stores the first problem, which
// names its field. The method end returns that problem, or one for a field that was
// not read.
type object struct {
	fields map[string]json.RawMessage
	err    *connector.Error
}

// object reads the body of the request, which may be empty if optional. The body
// must be JSON. The content type is ignored, because clients such as curl -d send a
// wrong one.
func (r *request) object(optional bool) (*object, error) {
	if len(r.body) == 0 {
		if optional {
			return &object{}, nil
		}
		return nil, connector.Invalid("body", "missing")
	}
	return readObject("body", r.body)
}

// readObject parses b. Errors call it name.
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

// take removes a field and returns it, or nil if it is absent or null.
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

// selector reads a string that selects records. It refuses an empty string: a
// caller that forgot to fill it in would select more than intended.
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

// states reports whether the object has the field, and not as null.
func (o *object) states(name string) bool {
	raw, there := o.fields[name]
	return there && string(raw) != "null"
}

func (o *object) secret(name string) (s connector.Secret) {
	o.decode(name, &s, "not a string")
	return s
}

func (o *object) list(name string) (list []string) {
	o.decode(name, &list, "not a list of strings")
	return list
}

// flag reads a boolean. Value is the default.
func (o *object) flag(name string, value bool) bool {
	o.decode(name, &value, "neither true nor false")
	return value
}

// number reads an integer from minimum to maximum.
func (o *object) number(name string, minimum, maximum, defaultValue int) int {
	raw := o.take(name)
	if raw == nil {
		return defaultValue
	}
	n, problem := parseInteger(string(raw), minimum, maximum)
	if problem != "" {
		o.fail(name, problem)
	}
	return n
}

// credentials reads a flat object of secrets. It converts numbers and booleans to
// their literal text, and omits null. It refuses a nested value and names its field.
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

// strings reads a flat object of strings. The errors name the object alone: the
// names in it are the caller's own.
func (o *object) strings(name string) map[string]string {
	var values map[string]*string
	o.decode(name, &values, "not a JSON object of strings")
	texts := make(map[string]string, len(values))
	for field, value := range values {
		if value == nil {
			o.fail(name, "not a JSON object of strings")
			continue
		}
		texts[field] = *value
	}
	return texts
}

// fieldName matches the names of fields. It does not match a secret that was sent
// in the place of a name, because secrets have digits or are longer.
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

// end returns the first problem, or one for a field that was not read.
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

// text reads a parameter of at most maximum bytes. It refuses a repeated
// parameter, and an empty one: a filter that the caller forgot to fill in would
// select everything.
func (p *parameters) text(name string, maximum int) string {
	list := p.values[name]
	delete(p.values, name)
	switch {
	case len(list) == 0:
		return ""
	case len(list) > 1:
		p.fail(name, "given twice")
	case list[0] == "":
		p.fail(name, "empty")
	case len(list[0]) > maximum:
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

func (p *parameters) number(name string, minimum, maximum, defaultValue int) int {
	text := p.text(name, 20)
	if text == "" {
		return defaultValue
	}
	n, problem := parseInteger(text, minimum, maximum)
	if problem != "" {
		p.fail(name, problem)
	}
	return n
}

// list reads values that are separated by commas, or by spaces as OAuth scopes are.
// The parameter may be repeated.
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

// end returns the first problem, or one for a parameter that was not read.
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

// firstUnknown returns a problem for the first of the remaining names.
func firstUnknown[V any](remaining map[string]V, problem string) error {
	for _, name := range slices.Sorted(maps.Keys(remaining)) {
		return connector.Invalid(printable(name), problem)
	}
	return nil
}

func parseInteger(text string, minimum, maximum int) (n int, problem string) {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, "not a whole number"
	case n < minimum || n > maximum:
		return 0, "not between " + strconv.Itoa(minimum) + " and " + strconv.Itoa(maximum)
	}
	return n, ""
}

// printable returns the name of an unknown field, or a fixed text if the name may be
// a secret that was sent in the wrong place: a name that is long or has characters
// other than letters. Errors and the log contain the result.
func printable(name string) string {
	odd := func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	if name == "" || len(name) > 32 || strings.ContainsFunc(name, odd) {
		return "a name that cannot be shown"
	}
	return name
}
