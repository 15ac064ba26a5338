package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"platform-api-connector/shared/strictjson"
)

var limits = strictjson.Limits{Size: 64, Depth: 3}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, data string
		problem    strictjson.Problem // empty: accepted
		field      string
	}{
		{name: "object", data: `{"name":"a"}`},
		{name: "empty_object", data: "{}"},
		{name: "space_around", data: " \t\r\n{} \n"},
		{name: "null_member", data: `{"name":null}`},
		{name: "unknown_member", data: `{"other":1e400}`},
		{name: "deepest_value", data: `{"a":[{"b":1}]}`},
		{name: "one_name_in_two_objects", data: `{"a":{"b":1},"c":{"b":1}}`},
		{name: "name_equal_to_a_value", data: `{"a":"a","b":"a"}`},
		{name: "largest_document", data: `{"a":"` + strings.Repeat("x", 64-8) + `"}`},
		{name: "one_byte_too_large", data: `{"a":"` + strings.Repeat("x", 64-7) + `"}`, problem: strictjson.TooLarge},
		{name: "nothing", data: "", problem: strictjson.NotJSON},
		{name: "space_alone", data: " ", problem: strictjson.NotJSON},
		{name: "truncated", data: `{"name":`, problem: strictjson.NotJSON},
		{name: "trailing_data", data: `{} x`, problem: strictjson.NotJSON},
		{name: "second_object", data: `{}{}`, problem: strictjson.NotJSON},
		{name: "byte_order_mark", data: "\xef\xbb\xbf{}"},
		{name: "two_byte_order_marks", data: "\xef\xbb\xbf\xef\xbb\xbf{}", problem: strictjson.NotJSON},
		{name: "byte_order_mark_inside", data: "{\xef\xbb\xbf}", problem: strictjson.NotJSON},
		{name: "html", data: "<!doctype html>", problem: strictjson.NotJSON},
		{name: "broken_utf8", data: "{\"name\":\"\xff\"}", problem: strictjson.NotUTF8},
		{name: "array", data: `[]`, problem: strictjson.NotObject},
		{name: "null", data: `null`, problem: strictjson.NotObject},
		{name: "string", data: `"{}"`, problem: strictjson.NotObject},
		{name: "one_level_too_deep", data: `{"a":[{"b":[]}]}`, problem: strictjson.TooDeep},
		{name: "duplicate", data: `{"a":1,"a":2}`, problem: strictjson.Duplicate, field: "a"},
		{name: "duplicate_of_an_escaped_name", data: `{"a":1,"\u0061":2}`, problem: strictjson.Duplicate, field: "a"},
		{name: "duplicate_in_another_case", data: `{"name":"a","NAME":"b"}`, problem: strictjson.Duplicate, field: "NAME"},
		{name: "duplicate_with_long_s", data: `{"s":1,"\u017f":2}`, problem: strictjson.Duplicate, field: "ſ"},
		{name: "duplicate_in_an_array", data: `{"a":[1,{"b":1,"b":2}]}`, problem: strictjson.Duplicate, field: "b"},
		{name: "wrong_type", data: `{"name":1}`, problem: strictjson.WrongType, field: "name"},
		{name: "wrong_type_below", data: `{"inner":{"count":"1"}}`, problem: strictjson.WrongType, field: "inner.count"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var v struct {
				Name  string `json:"name"`
				Inner struct {
					Count int `json:"count"`
				} `json:"inner"`
			}
			err := strictjson.Unmarshal([]byte(test.data), limits, &v)
			if test.problem == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var refused *strictjson.Error
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want a refusal that says %q", err, test.problem)
			}
			if refused.Problem != test.problem || refused.Field != test.field {
				t.Errorf("got %q of field %q, want %q of %q", refused.Problem, refused.Field, test.problem, test.field)
			}
		})
	}
}

func TestUnmarshal_Limits(t *testing.T) {
	t.Parallel()
	deep := []byte(`{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`)
	var v map[string]any
	if err := strictjson.Unmarshal(deep, strictjson.Limits{}, &v); err != nil {
		t.Errorf("without limits: %v", err)
	}
}

func TestError_Error(t *testing.T) {
	t.Parallel()
	var v struct{}
	if got := strictjson.Unmarshal([]byte(`{"a":1,"a":2}`), limits, &v).Error(); got != "a: given twice" {
		t.Errorf("got %q", got)
	}
	if got := strictjson.Unmarshal([]byte(`[]`), limits, &v).Error(); got != "not a JSON object" {
		t.Errorf("got %q", got)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[{"c":null}]}`, `{"a":1,"a":2}`, `{"K":1,"\u212a":2}`, `{"a":{"b":{"c":{}}}}`,
		`[]`, ``, `{} x`, "{\"\xff\":1}", `{"a":1e999}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var object map[string]json.RawMessage
		if strictjson.Unmarshal(data, limits, &object) != nil {
			return
		}
		if len(data) > limits.Size {
			t.Errorf("%d bytes were accepted", len(data))
		}
		depth, names := measure(t, data)
		if depth > limits.Depth {
			t.Errorf("%d levels were accepted", depth)
		}
		var tree map[string]any
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		if err := decoder.Decode(&tree); err != nil {
			t.Fatalf("a document was accepted that encoding/json refuses: %v", err)
		}
		// A map holds one member of each name, so a lost one was a duplicate.
		if kept := count(tree); kept != names {
			t.Errorf("%d names were accepted, %d of them are different", names, kept)
		}
	})
}

// measure returns the depth of a document, and how many names it has.
func measure(t *testing.T, data []byte) (deepest, names int) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var open []bool // whether the level is an object
	isName := false
	for {
		token, err := decoder.Token()
		if err != nil {
			if len(open) > 0 {
				t.Fatalf("a document was accepted that has no end: %v", err)
			}
			return deepest, names
		}
		switch delim, _ := token.(json.Delim); {
		case delim == '{' || delim == '[':
			open = append(open, delim == '{')
			deepest = max(deepest, len(open))
			isName = delim == '{'
			continue
		case delim == '}' || delim == ']':
			open = open[:len(open)-1]
		case isName:
			names++
			isName = false
			continue
		}
		isName = len(open) > 0 && open[len(open)-1]
	}
}

func count(v any) (names int) {
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			names += 1 + count(member)
		}
	case []any:
		for _, element := range v {
			names += count(element)
		}
	}
	return names
}
