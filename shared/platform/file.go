package platform

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

// valueKind is what the value of a field in a file is.
type valueKind int

const (
	asWord            valueKind = iota // one word, such as a token or an id
	asTime                             // a time: see parseInstant
	asIssueTime                        // the time at which the tokens were issued
	asLifetime                         // seconds
	asPagePair                         // a Page token, or Postiz's "<token>___<user token>"
	asPair                             // "<access token>:<secret>", or an access token
	asObjectID                         // an object with an id
	notForCredentials                  // known; the file of an app
	notNeeded                          // known; a string, a number or a boolean that nobody reads
	notNeededAny                       // known; of any type
	notForApp                          // known; belongs to a connection and not to an app
)

// alias is a row of a table of names: one field, by the names that files give it.
type alias struct {
	names  string // separated by spaces
	field  string // ours; empty for fields that are not needed
	read   valueKind
	only   string // the values that the field may have, separated by spaces; empty: any
	source string
}

// aliases is the table of the names that the files of one platform have. Names are
// compared without case, underscores and hyphens: CONSUMER_KEY, consumerKey and
// consumer_key are one name.
type aliases struct {
	rows     []alias
	prefixes []string // that names of environment variables begin with
	index    map[string]*alias
}

func newAliases(prefixes string, rows ...[]alias) *aliases {
	a := &aliases{rows: slices.Concat(rows...), prefixes: strings.Fields(prefixes), index: map[string]*alias{}}
	for i := range a.rows {
		for name := range strings.FieldsSeq(a.rows[i].names) {
			a.index[foldName(name)] = &a.rows[i]
		}
	}
	return a
}

// foldName returns the form that all spellings of a name share.
func foldName(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(connector.Trim(name)))
}

// row returns the row of a name, or nil.
func (a *aliases) row(name string) *alias {
	folded := foldName(name)
	if row := a.index[folded]; row != nil {
		return row
	}
	for _, prefix := range a.prefixes {
		if rest, ok := strings.CutPrefix(folded, prefix); ok && a.index[rest] != nil {
			return a.index[rest]
		}
	}
	return nil
}

// fields returns the names of our fields, in the order of the table.
func (a *aliases) fields() (names []string) {
	for _, row := range a.rows {
		if row.field != "" && !slices.Contains(names, row.field) {
			names = append(names, row.field)
		}
	}
	return names
}

// nearest returns the name in the table that a person may have meant, or "".
func (a *aliases) nearest(name string) string {
	folded, best, found := foldName(name), 0, ""
	if len(folded) > maxShownName {
		return ""
	}
	for _, row := range a.rows {
		if row.field == "" {
			continue
		}
		for known := range strings.FieldsSeq(row.names) {
			other := foldName(known)
			d := editDistance(folded, other)
			if d <= max(1, len(other)/4) && (found == "" || d < best) {
				best, found = d, known
			}
		}
	}
	return found
}

// editDistance returns how many letters of a must be changed to get b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

const (
	maxShownName  = 32 // bytes
	maxShownNames = 10 // in one message
)

// shownName matches the names of unknown fields that a message may repeat:
// snake_case, SNAKE_CASE and camelCase without digits. A secret in the place of a
// name has digits, mixes its letters or is longer.
var shownName = regexp.MustCompile(`^([a-z]+(_[a-z]+)*|[A-Z]+(_[A-Z]+)*|[a-z]+([A-Z][a-z]+)+)$`)

// problems collects everything that is wrong with the fields of a file, so that one
// message says all.
type problems struct {
	prefix  string // of the names: "credentials.", or empty
	missing []string
	others  []string
	hidden  int // unknown fields whose names are not shown
}

func (p *problems) add(name, problem string) {
	p.others = append(p.others, p.prefix+name+": "+problem)
}

// unknown adds a field that the table does not have.
func (p *problems) unknown(a *aliases, name string) {
	advice := "the fields are " + strings.Join(a.fields(), ", ")
	if near := a.nearest(name); near != "" {
		advice = "did you mean " + near + "?"
	}
	if name = connector.Trim(name); len(name) > maxShownName || !shownName.MatchString(name) {
		if p.hidden++; p.hidden == 1 {
			p.others = append(p.others, strings.TrimSuffix(cmp.Or(p.prefix, "body"), ".")+": has an unknown field, whose name may be a secret and is not shown; "+advice)
		}
		return
	}
	p.add(name, "unknown; "+advice)
}

// err returns the error that names every problem, or nil.
func (p *problems) err() error {
	parts := p.others
	if more := len(parts) - maxShownNames; more > 0 {
		parts = append(slices.Clone(parts[:maxShownNames]), "and "+strconv.Itoa(more)+" more")
	}
	if len(p.missing) > 0 {
		names := make([]string, len(p.missing))
		for i, name := range p.missing {
			names[i] = p.prefix + name
		}
		parts = append([]string{strings.Join(names, ", ") + ": missing"}, parts...)
	}
	if len(parts) == 0 {
		return nil
	}
	return &connector.Error{Code: connector.InvalidRequest, Message: strings.Join(parts, "; ")}
}

// given is a value in a file, and the name that it has there.
type given struct{ name, value string }

// file is a file of credentials, read by a table of names.
type file struct {
	words    map[string]given // by our names
	times    map[string]time.Time
	named    map[string]string // the names of the times, and of issued, in the file
	lives    map[string]time.Duration
	problems problems
}

// read reads a file of credentials. A value that is empty counts as absent.
func (a *aliases) read(fields connector.Fields) *file {
	f := &file{
		words: map[string]given{}, times: map[string]time.Time{}, named: map[string]string{}, lives: map[string]time.Duration{},
		problems: problems{prefix: "credentials."},
	}
	supabase := a.isSupabase(fields)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		row, value := a.row(name), connector.Trim(fields.Get(name))
		switch {
		case supabase && slices.Contains(supabaseOwn, foldName(name)):
		case row == nil:
			f.problems.unknown(a, name)
		case value == "" || row.read == notNeededAny:
		case row.read == notForCredentials:
			f.problems.add(name, "this is the file of an app and not of a connection: send it to PUT /platforms/{platform}/app")
		default:
			f.readField(row, connector.Trim(name), value)
		}
	}
	return f
}

func (f *file) readField(row *alias, name, value string) {
	switch {
	case row.read != asObjectID && (value[0] == '{' || value[0] == '['):
		f.problems.add(name, "not a string")
	case row.only != "" && !slices.Contains(strings.Fields(row.only), value):
		f.problems.add(name, "not "+strings.Join(strings.Fields(row.only), " or ")+": the file is of another kind")
	case row.read == notNeeded:
	case row.read == asTime, row.read == asIssueTime:
		f.readTime(row, name, value)
	case row.read == asLifetime:
		seconds, ok := parseNumber(value)
		if !ok || seconds < 0 {
			f.problems.add(name, "not a number of seconds")
			return
		}
		f.lives[row.field] = time.Duration(min(seconds, maxLifetime.Seconds())) * time.Second
	case row.read == asPair:
		token, secret, isPair := strings.Cut(value, ":")
		f.set("access_token", name, token)
		if isPair {
			f.set("access_token_secret", name, secret)
		}
	case row.read == asPagePair:
		token, _, _ := strings.Cut(value, "___")
		f.set(row.field, name, token)
	case row.read == asObjectID:
		var object struct{ ID identifier }
		if json.Unmarshal([]byte(value), &object) != nil || object.ID.orEmpty() == "" {
			f.problems.add(name, "not an object with an id")
			return
		}
		f.set(row.field, name, string(object.ID))
	default:
		f.set(row.field, name, value)
	}
}

// set sets a field. Another name may have given it already.
func (f *file) set(field, name, value string) {
	word, problem := connector.Word(value)
	if problem == "" && !isCredential(word) {
		problem = "longer than 8 KiB, or has characters other than printable ASCII"
	}
	before, ok := f.words[field]
	switch {
	case problem != "":
		f.problems.add(name, problem)
	case ok && before.value != word:
		f.conflict(before.name, name)
	case !ok:
		f.words[field] = given{name, word}
	}
}

func (f *file) conflict(one, other string) {
	f.problems.others = append(f.problems.others, "credentials."+one+" and credentials."+other+": two names of one field with two values")
}

// has reports whether the file has a field.
func (f *file) has(field string) bool { _, ok := f.words[field]; return ok }

// move gives a field, where the file has it, another name of ours.
func (f *file) move(field, to string) {
	if from, ok := f.words[field]; ok {
		delete(f.words, field)
		f.set(to, from.name, from.value)
	}
}

// drop removes fields that are not needed beside the others.
func (f *file) drop(fields ...string) {
	for _, field := range fields {
		delete(f.words, field)
	}
}

func (f *file) readTime(row *alias, name, value string) {
	t, ok := parseInstant(value)
	field := row.field
	if row.read == asIssueTime {
		field = "issued"
	}
	before, twice := f.times[field]
	switch {
	case !ok:
		f.problems.add(name, "neither RFC 3339 nor seconds or milliseconds since 1970")
	case t.IsZero():
	case twice && t.Sub(before).Abs() > time.Second:
		f.conflict(f.named[field], name)
	case !twice:
		f.times[field], f.named[field] = t, name
	}
}

// expiry returns when the file says that a token ends, by a time or by its life from
// the time at which it was issued. It is zero where the file says neither.
func (f *file) expiry(field string) time.Time {
	if t, ok := f.times[field]; ok {
		return t
	}
	if issued, ok := f.times["issued"]; ok && f.lives[field] > 0 {
		return issued.Add(f.lives[field])
	}
	return time.Time{}
}

// credentials returns the fields of the file by our names, or everything that is
// wrong with it. A file without any of them lacks the fields of s.
func (f *file) credentials(s shape) (connector.Fields, error) {
	if len(f.words)+len(f.problems.others) == 0 {
		f.problems.missing = s.needed()
	}
	if err := f.problems.err(); err != nil {
		return nil, err
	}
	fields := connector.Fields{}
	for field, given := range f.words {
		fields.Set(field, given.value)
	}
	setTime(fields, "token_expiry", f.expiry("token_expiry"))
	return fields, nil
}

// isSupabase reports whether the file is a session of Supabase, whose access_token
// and refresh_token are Supabase's own.
func (a *aliases) isSupabase(fields connector.Fields) bool {
	for name, value := range fields {
		folded := foldName(name)
		if !value.Empty() && a.index[folded] != nil && (folded == "providertoken" || folded == "providerrefreshtoken") {
			return true
		}
	}
	return false
}

// supabaseOwn are the fields of a session that belong to Supabase.
var supabaseOwn = []string{"accesstoken", "refreshtoken", "expiresat", "expiresin", "tokentype", "user", "weakpassword"}

// zoned are the layouts of a time with its zone. A zone that is a word is read for
// UTC alone, because time.Parse takes every other word for UTC.
var zoned = []string{
	time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z0700",
	"2006-01-02T15:04:05Z07", "2006-01-02 15:04:05Z07", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 -07:00",
	"2006-01-02T15:04Z07:00",
	"2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05 -0700 UTC", "Mon, 02 Jan 2006 15:04:05 GMT", time.RFC1123Z,
}

// local are the layouts of a time without its zone.
var local = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04"}

// The zones of the world
// (https://en.wikipedia.org/wiki/List_of_UTC_offsets, read 2026-11-25).
const (
	firstZone = 14 * time.Hour
	lastZone  = -12 * time.Hour
)

// parseInstant reads a time with its zone, or seconds or milliseconds since 1970,
// which their size tells apart. A time without its zone is read as the earliest
// instant that it can mean, so that a token does not live longer for it. The zero
// time of Go, which its OAuth library writes for a token without an expiry, is zero.
func parseInstant(value string) (t time.Time, ok bool) {
	if n, ok := parseNumber(value); ok {
		return fromUnix(n)
	}
	for _, layout := range zoned {
		t, err := time.Parse(layout, value)
		if err != nil {
			continue
		}
		_, offset := t.Zone()
		if zone := time.Duration(offset) * time.Second; zone > firstZone || zone < lastZone {
			return time.Time{}, false
		}
		return t.UTC(), t.IsZero() || isPlausible(t)
	}
	for _, layout := range local {
		if t, err := time.Parse(layout, value); err == nil {
			return t.Add(-firstZone).UTC(), isPlausible(t)
		}
	}
	return time.Time{}, false
}

// isPlausible reports whether a token can end at t.
func isPlausible(t time.Time) bool { return t.Year() > 1970 && t.Year() < 2200 }

// fromUnix returns the time of seconds or milliseconds since 1970. 1e11 is the year
// 5138 in seconds, and 1973 in milliseconds.
func fromUnix(n float64) (time.Time, bool) {
	const firstMilliseconds, end = 1e11, 7258118400 // 2200-01-01
	if n >= firstMilliseconds {
		n /= 1000
	}
	if n <= 0 || n >= end {
		return time.Time{}, false
	}
	return time.Unix(int64(n), 0).UTC(), true
}

// numberPattern matches what parseNumber reads. strconv.ParseFloat also reads
// infinity and hexadecimal numbers.
var numberPattern = regexp.MustCompile(`^-?[0-9]{1,20}(\.[0-9]{1,20})?([eE]\+?[0-9]{1,2})?$`)

func parseNumber(value string) (float64, bool) {
	if !numberPattern.MatchString(value) {
		return 0, false
	}
	n, err := strconv.ParseFloat(value, 64)
	return n, err == nil
}

// readApp reads a file of an app: it returns the fields of the table by our names,
// and refuses every other. The values are not read. A wrapper is the name of an
// object that holds the fields.
func (a *aliases) readApp(fields map[string]json.RawMessage, wrappers ...string) (map[string]json.RawMessage, error) {
	p := problems{}
	app, names := map[string]json.RawMessage{}, map[string]string{}
	var add func(fields map[string]json.RawMessage, wrappers []string)
	add = func(fields map[string]json.RawMessage, wrappers []string) {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			value := fields[name]
			var inner map[string]json.RawMessage
			if slices.Contains(wrappers, name) && json.Unmarshal(value, &inner) == nil && inner != nil {
				add(inner, nil)
				continue
			}
			row := a.row(name)
			switch {
			case row == nil:
				p.unknown(a, name)
			case row.read == notForApp:
				p.add(name, "belongs to a connection and not to the app: send it to POST /connections")
			case row.field == "":
			case names[row.field] != "" && !sameText(app[row.field], value):
				p.others = append(p.others, names[row.field]+" and "+name+": two names of one field with two values")
			default:
				app[row.field], names[row.field] = value, name
			}
		}
	}
	add(fields, wrappers)
	if err := p.err(); err != nil {
		return nil, err
	}
	return app, nil
}

// sameText reports whether two values are the same string, or the same literal. null,
// which removes a field, is not the empty string.
func sameText(a, b json.RawMessage) bool {
	return connector.Trim(stringOrNumber(a)) == connector.Trim(stringOrNumber(b)) &&
		isPresent(a) == isPresent(b) && (string(a) == "null") == (string(b) == "null")
}
