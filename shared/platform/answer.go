package platform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/strictjson"
)

// maxDepth bounds the nesting of an answer. Graph's page lists need five.
const maxDepth = 32

// decode reads a platform's answer into v. The answer is one JSON object
// without duplicate names. The error repeats nothing of it.
func decode(body []byte, v any) error {
	err := strictjson.Unmarshal(body, strictjson.Limits{Size: maxBody, Depth: maxDepth}, v)
	var refused *strictjson.Error
	if errors.As(err, &refused) && refused.Problem != strictjson.WrongType {
		return fmt.Errorf("JSON: %s", refused.Problem)
	}
	return err
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
