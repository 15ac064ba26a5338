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

// maxDepth bounds the nesting of an answer. Facebook's lists of Pages need five
// levels.
const maxDepth = 32

// decode reads a platform's answer into v. The answer is one JSON object
// without duplicate names. The error repeats no text of the answer.
func decode(body []byte, v any) error {
	err := strictjson.Unmarshal(body, strictjson.Limits{Size: maxBody, Depth: maxDepth}, v)
	var refused *strictjson.Error
	if errors.As(err, &refused) && refused.Problem != strictjson.WrongType {
		return fmt.Errorf("JSON: %s", refused.Problem)
	}
	return err
}

// maxCredential bounds a token or secret. It is many times the longest that was
// seen. All fields of one set fit into the 64 KiB of Secrets Manager.
const maxCredential = 8 << 10

// isCredential reports whether s may stand in a header: printable ASCII (RFC
// 6749, A.12) of at most maxCredential bytes.
func isCredential(s string) bool {
	if len(s) > maxCredential {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// stringOrNumber returns a JSON string, or the literal of a JSON number. For any
// other value it returns "".
func stringOrNumber(raw json.RawMessage) string {
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

// isPresent reports whether a member is there and neither null nor "".
func isPresent(raw json.RawMessage) bool {
	s := string(bytes.TrimSpace(raw))
	return s != "" && s != "null" && s != `""`
}

// identifier is an account id. Platforms send it as a string or as a number. A
// number must not become a float, because Instagram's ids exceed 2^53.
type identifier string

// UnmarshalJSON reads a string or a number.
func (i *identifier) UnmarshalJSON(b []byte) error {
	*i = identifier(stringOrNumber(b))
	return nil
}

// orEmpty returns the id if it is valid, else "".
func (i identifier) orEmpty() string {
	if !accountPattern.MatchString(string(i)) {
		return ""
	}
	return string(i)
}

// maxLifetime is the longest lifetime that parseSeconds returns. The longest
// known one is 365 days, of TikTok's refresh tokens until 2026.
const maxLifetime = 366 * 24 * time.Hour

// parseSeconds reads a lifetime in seconds: a number, or a number in a string. It
// returns zero for one that is not positive, and maxLifetime for a longer one.
func parseSeconds(raw json.RawMessage) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(stringOrNumber(raw)), 64)
	if err != nil || math.IsNaN(n) || n < 1 {
		return 0
	}
	return time.Duration(min(n, maxLifetime.Seconds())) * time.Second
}

// parseInt reads an integer. It returns zero for any other value.
func parseInt(raw json.RawMessage) int {
	n, err := strconv.Atoi(stringOrNumber(raw))
	if err != nil {
		return 0
	}
	return n
}

// parseUnixTime reads a time in seconds since 1970. It returns the zero time for
// 0, which means "never", and for any other value.
func parseUnixTime(raw json.RawMessage) time.Time {
	n, err := strconv.ParseFloat(stringOrNumber(raw), 64)
	if err != nil || math.IsNaN(n) || n < 1 || n > 253402300799 { // 9999-12-31
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

// maxScopes is how many granted scopes are read. The record of a connection has all
// of them, and an item of DynamoDB has 400 KB at most.
const maxScopes = 100

var scopePattern = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,200}$`)

// splitScopes splits a list of scopes at spaces and commas. It leaves out values
// that do not match scopePattern.
func splitScopes(list string) []string {
	scopes := []string{}
	for _, scope := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		if scopePattern.MatchString(scope) && len(scopes) < maxScopes {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

var accountPattern = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}$`)

// account returns the account that a platform names. It returns an error for an
// invalid id, because the id becomes part of keys and URLs.
func account(id, name string) (connector.Account, error) {
	if !accountPattern.MatchString(id) {
		return connector.Account{}, errors.New("an invalid account id")
	}
	return connector.Account{ID: id, Name: displayName(name)}, nil
}

// displayName returns a name that a stranger chose without characters that are
// unsafe in logs and pages. A blank of any kind becomes a space. A joiner stays
// between two characters that are shown: Persian and Indic names are spelled with
// joiners (https://www.unicode.org/L2/L2006/06353-zwj-issues.html, read 2026-11-25),
// and emoji of several parts are written with them.
func displayName(name string) string {
	var shown []rune
	joiner := rune(0)
	for _, r := range name {
		switch {
		case r == '\t' || unicode.Is(unicode.Zs, r):
			shown, joiner = append(shown, ' '), 0
		case r == zeroWidthJoiner || r == zeroWidthNonJoiner:
			if len(shown) > 0 && shown[len(shown)-1] != ' ' {
				joiner = r
			}
		case r == utf8.RuneError || !unicode.IsPrint(r):
		default:
			if joiner != 0 {
				shown, joiner = append(shown, joiner), 0
			}
			shown = append(shown, r)
		}
	}
	return strings.TrimFunc(string(shown[:min(len(shown), 128)]), func(r rune) bool {
		return r == ' ' || r == zeroWidthJoiner || r == zeroWidthNonJoiner
	})
}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)
