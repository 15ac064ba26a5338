package platform

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"platform-api-connector/shared/connector"
)

// mostDepth bounds the nesting of an answer. Graph's page lists need five.
const mostDepth = 32

// decode reads a platform's answer into v: one JSON object, without duplicate
// keys at any level. With two values under one key, two readers may believe
// different ones.
func decode(body []byte, v any) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errors.New("JSON of another shape")
	}
	return nil
}

// checkJSON checks what json.Unmarshal does not: that the value is an object,
// how deep it nests, and its keys. What follows the object is left to it.
func checkJSON(body []byte) error {
	type level struct {
		keys  map[string]bool // nil in an array
		value bool            // whether a value, not a key, comes next
	}
	var levels []level
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	for first := true; first || len(levels) > 0; first = false {
		token, err := decoder.Token()
		if err != nil {
			return errors.New("not JSON")
		}
		if first && token != json.Delim('{') {
			return errors.New("not a JSON object")
		}
		if n := len(levels); n > 0 && levels[n-1].keys != nil && token != json.Delim('}') {
			top := &levels[n-1]
			if !top.value {
				key := token.(string)
				if top.keys[key] {
					return errors.New("JSON with a duplicate key")
				}
				top.keys[key], top.value = true, true
				continue
			}
			top.value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{keys: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
		}
		if len(levels) > mostDepth {
			return errors.New("JSON nested too deeply")
		}
	}
	return nil
}

// mostSecret bounds a token or secret: many times the longest that was seen,
// and few enough that a whole set fits a vault's 64 KiB.
const mostSecret = 8 << 10

// credible reports whether s may travel in a header: printable ASCII (RFC
// 6749, A.12) of some length.
func credible(s string) bool {
	if len(s) > mostSecret {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// text returns a JSON string or the literal of a JSON number; anything else is
// empty.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// says reports whether a member holds anything: neither absent, null nor "".
func says(raw json.RawMessage) bool {
	s := string(bytes.TrimSpace(raw))
	return s != "" && s != "null" && s != `""`
}

// identifier is an account id. Ids of 64 bits and more come as strings or as
// numbers, which must not pass through a float: Instagram's exceed 2^53.
type identifier string

// UnmarshalJSON takes a string or a number.
func (i *identifier) UnmarshalJSON(b []byte) error {
	*i = identifier(text(b))
	return nil
}

// known returns the id, empty where it cannot be one.
func (i identifier) known() string {
	if !accountPattern.MatchString(string(i)) {
		return ""
	}
	return string(i)
}

// longestLife is the longest lifetime that is believed. The longest known is
// 365 days, of TikTok's refresh tokens until 2026.
const longestLife = 366 * 24 * time.Hour

// seconds reads a lifetime: a number, or a number in a string. What is not
// positive, or beyond belief, counts as not said.
func seconds(raw json.RawMessage) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(text(raw)), 64)
	if err != nil || math.IsNaN(n) || n < 1 || n > longestLife.Seconds() {
		return 0
	}
	return time.Duration(n) * time.Second
}

// whole reads an integer, zero where there is none.
func whole(raw json.RawMessage) int {
	n, err := strconv.Atoi(text(raw))
	if err != nil {
		return 0
	}
	return n
}

// unix reads an instant in seconds since 1970, zero where it is absent, 0
// ("never"), or nonsense.
func unix(raw json.RawMessage) time.Time {
	n, err := strconv.ParseFloat(text(raw), 64)
	if err != nil || math.IsNaN(n) || n < 1 || n > 253402300799 { // 9999-12-31
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

var scopePattern = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,200}$`)

// splitScopes reads a list of scopes, separated by spaces or commas. What
// cannot be a scope of these platforms is left out.
func splitScopes(list string) []string {
	scopes := []string{}
	for _, scope := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		if scopePattern.MatchString(scope) && len(scopes) < 100 {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

var accountPattern = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}$`)

// account returns the account that a platform named, or an error if the id
// cannot be one: it becomes part of keys and of URLs.
func account(id, name string) (connector.Account, error) {
	if !accountPattern.MatchString(id) {
		return connector.Account{}, errors.New("an account id that cannot be one")
	}
	return connector.Account{ID: id, Name: displayName(name)}, nil
}

// displayName makes a name that a stranger chose fit for logs and pages.
func displayName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	if runes := []rune(name); len(runes) > 128 {
		name = string(runes[:128])
	}
	return strings.TrimSpace(name)
}
