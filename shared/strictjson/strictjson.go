// Package strictjson reads JSON objects that other parties sent.
//
// encoding/json accepts more than RFC 8259 does, and more than is safe: it
// takes the last of two members of one name, matches names to struct fields in
// any case, replaces bytes that are not UTF-8, and nests as deep as 10,000
// levels. Two readers of such an object may see two different values.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits bounds what Unmarshal accepts. Zero is no limit.
type Limits struct {
	Size  int // bytes
	Depth int // levels of objects and arrays
}

// Problem is the reason for which a document is refused.
type Problem string

// The problems, in the order in which Unmarshal looks for them.
const (
	TooLarge  Problem = "too large"
	NotUTF8   Problem = "not valid UTF-8"
	NotJSON   Problem = "not valid JSON"
	NotObject Problem = "not a JSON object"
	TooDeep   Problem = "nested too deep"
	Duplicate Problem = "given twice"
	WrongType Problem = "of another type"
)

// Error is a refused document.
type Error struct {
	Problem Problem

	// Field names the member that is refused, or is empty. With Duplicate it
	// is the name as it was sent: untrusted text, and possibly a secret in the
	// wrong place. With WrongType it is the path of the Go field.
	Field string
}

// Error returns the problem after the field. It repeats untrusted text, see
// Field.
func (e *Error) Error() string {
	if e.Field == "" {
		return string(e.Problem)
	}
	return e.Field + ": " + string(e.Problem)
}

// Unmarshal reads the JSON object in data into v, as json.Unmarshal does. It
// refuses a document that exceeds limits, is not valid UTF-8, is not one JSON
// object, or has an object with two members of one name. Names that differ in
// case alone count as one, because encoding/json matches them to one struct
// field. It ignores a byte order mark before the document, as RFC 8259 (8.1)
// permits. Every error is an *Error.
func Unmarshal(data []byte, limits Limits, v any) error {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case limits.Size > 0 && len(data) > limits.Size:
		return &Error{Problem: TooLarge}
	case !utf8.Valid(data):
		return &Error{Problem: NotUTF8}
	case !json.Valid(data):
		return &Error{Problem: NotJSON}
	case bytes.TrimLeft(data, " \t\r\n")[0] != '{':
		return &Error{Problem: NotObject}
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := checkValue(decoder, limits.Depth, 0); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		refused := &Error{Problem: WrongType}
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			refused.Field = wrong.Field
		}
		return refused
	}
	return nil
}

// checkValue reads one value of a valid document, which is at depth, and
// checks the nesting and the names below it.
func checkValue(decoder *json.Decoder, maxDepth, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return &Error{Problem: NotJSON}
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if maxDepth > 0 && depth == maxDepth {
		return &Error{Problem: TooDeep}
	}
	names := map[string]bool{}
	for decoder.More() {
		if open == '{' {
			token, err := decoder.Token()
			name, ok := token.(string)
			if err != nil || !ok {
				return &Error{Problem: NotJSON}
			}
			folded := fold(name)
			if names[folded] {
				return &Error{Problem: Duplicate, Field: name}
			}
			names[folded] = true
		}
		if err := checkValue(decoder, maxDepth, depth+1); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return &Error{Problem: NotJSON}
	}
	return nil
}

// fold returns the form that all names share which encoding/json matches to
// one struct field: each rune is replaced by the smallest that differs from it
// in case alone.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, name)
}
