package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
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
	if len(trimJSON(r.body)) == 0 {
		if optional {
			return &object{}, nil
		}
		return nil, connector.Invalid("body", "missing")
	}
	return readObject("body", r.body)
}

// trimJSON removes the blanks around a document, such as a byte order mark.
func trimJSON(b []byte) []byte { return []byte(connector.Trim(string(b))) }

// readObject parses b. Errors call it name.
func readObject(name string, b []byte) (*object, error) {
	o := &object{}
	err := strictjson.Unmarshal(trimJSON(b), strictjson.Limits{Depth: maxDepth}, &o.fields)
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

// text reads a string that is one word, by the rule for pasted text.
func (o *object) text(name string) string { return o.pasted(name, connector.Word) }

// line reads a string that people read, which may have spaces.
func (o *object) line(name string) string { return o.pasted(name, connector.Line) }

// accountName returns the name of an account, or the empty string if the member is
// absent.
func (o *object) accountName(name string) string { return o.pasted(name, connector.AccountName) }

func (o *object) pasted(name string, clean func(string) (string, string)) (s string) {
	o.decode(name, &s, "not a string")
	return o.clean(name, s, clean)
}

// clean returns pasted text as clean does. clean is connector.Word or connector.Line.
func (o *object) clean(name, s string, clean func(string) (string, string)) string {
	s, problem := clean(s)
	if problem != "" {
		o.fail(name, problem)
	}
	return s
}

// selector reads a word that selects records. It refuses an empty string: a
// caller that forgot to fill it in would select more than intended.
func (o *object) selector(name string) string { return o.selecting(name, connector.Word) }

// lineSelector reads a selector that may have spaces.
func (o *object) lineSelector(name string) string { return o.selecting(name, connector.Line) }

func (o *object) selecting(name string, clean func(string) (string, string)) string {
	var given *string
	o.decode(name, &given, "not a string")
	if given == nil {
		return ""
	}
	text := o.clean(name, *given, clean)
	if text == "" {
		o.fail(name, "empty")
	}
	return text
}

// states reports whether the object has the field, and not as null.
func (o *object) states(name string) bool {
	raw, there := o.fields[name]
	return there && string(raw) != "null"
}

func (o *object) secret(name string) connector.Secret { return connector.NewSecret(o.text(name)) }

func (o *object) list(name string) (list []string) {
	o.decode(name, &list, "not a list of strings")
	for i, text := range list {
		list[i] = o.clean(name, text, connector.Word)
	}
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

// credentials reads an object of secrets. It converts every value that is no string
// to its JSON text, and omits null. The table of the platform's names says which
// field may be a list or an object, and the service applies the rule for pasted text.
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
		text := string(value)
		if value[0] == '"' && json.Unmarshal(value, &text) != nil {
			o.fail(name, "not a JSON object of strings")
		}
		if !bytes.Equal(value, []byte("null")) {
			fields[field] = connector.NewSecret(text)
		}
	}
	return fields
}

// strings reads a flat object of strings, as they are: they are signed. The errors name the object alone: the
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

// end returns the first problem, or one for the fields that were not read.
func (o *object) end() error {
	if o.err != nil {
		return o.err
	}
	return allUnknown(o.fields, "unknown field")
}

// parameters decodes a query, in the same way as object decodes a body.
type parameters struct {
	values url.Values
	err    *connector.Error
}

func (r *request) parametersOfQuery() *parameters { return &parameters{values: r.query} }

// text reads a parameter that is one word of at most maximum bytes, by the rule for
// pasted text.
func (p *parameters) text(name string, maximum int) string {
	return p.pasted(name, maximum, connector.Word)
}

// line reads a parameter that people read, which may have spaces.
func (p *parameters) line(name string, maximum int) string {
	return p.pasted(name, maximum, connector.Line)
}

func (p *parameters) pasted(name string, maximum int, clean func(string) (string, string)) string {
	list, given := p.values[name]
	if len(list) == 1 {
		var problem string
		if list[0], problem = clean(list[0]); problem != "" {
			p.fail(name, problem)
		}
	}
	if !given {
		return ""
	}
	return p.exact(name, maximum)
}

// exact reads a parameter of at most maximum bytes that a machine sent. It refuses a repeated
// parameter, and an empty one: a filter that the caller forgot to fill in would
// select everything.
func (p *parameters) exact(name string, maximum int) string {
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
	text := p.line(name, 4<<10)
	values := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	if text != "" && len(values) == 0 {
		p.fail(name, "empty")
	}
	return values
}

// end returns the first problem, or one for the parameters that were not read.
func (p *parameters) end() error {
	if p.err != nil {
		return p.err
	}
	return allUnknown(p.values, "unknown parameter")
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

// maxNamed is how many names one message has.
const maxNamed = 10

// allUnknown returns a problem that has the remaining names, or nil.
func allUnknown[V any](remaining map[string]V, problem string) error {
	if len(remaining) == 0 {
		return nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(remaining)) {
		if name = printable(name); !slices.Contains(names, name) && len(names) < maxNamed {
			names = append(names, name)
		}
	}
	return connector.Invalid(strings.Join(names, ", "), problem)
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
