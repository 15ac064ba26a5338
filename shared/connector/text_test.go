package connector_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"platform-api-connector/shared/connector"
)

func TestWord(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		pasted, want string
		word, line   string // parts of the problems; empty: none
	}{
		{"abc", "abc", "", ""},
		{" \t\r\n\u00a0\u2007\u3000abc\u200b\u2060\ufeff\u0085\u2028", "abc", "", ""},
		{"\ufeff\u200eabc\u200f\u00ad\u180e\u2800\u3164", "abc", "", ""},
		{"", "", "", ""}, {"\ufeff \n", "", "", ""},
		{"a b", "a b", "a space", ""},
		{"a\nb", "a\nb", "a line end", "a line end"}, {"a\r\nb", "a\r\nb", "a line end", "a line end"}, {"a\u2028b", "a\u2028b", "a line end", "a line end"},
		{"a\tb", "a\tb", "a control", "a control"}, {"a\x00", "a\x00", "a control", "a control"}, {"\x1ba", "\x1ba", "a control", "a control"},
		{"a\u00a0b", "a\u00a0b", "invisible", "invisible"}, {"a\u200bb", "a\u200bb", "invisible", "invisible"}, {"a\u200db", "a\u200db", "invisible", "invisible"},
		{"a\u3164b", "a\u3164b", "invisible", "invisible"}, {"a\u034fb", "a\u034fb", "invisible", "invisible"}, {"a\ufe0f", "a\ufe0f", "invisible", "invisible"},
		{"a\u202eb", "a\u202eb", "invisible", "invisible"}, {"ab\u202e", "ab\u202e", "invisible", "invisible"}, {"\u2066ab", "\u2066ab", "invisible", "invisible"},
		{"a\xffb", "a\xffb", "printed", "printed"}, {"a\ufffdb", "a\ufffdb", "printed", "printed"}, {"a\ue000b", "a\ue000b", "printed", "printed"},
		{"❤\ufe0f", "❤\ufe0f", "", ""}, {" 葛\U000e0100城 ", "葛\U000e0100城", "", ""}, {"Zoë", "Zoë", "", ""},
	} {
		if word, problem := connector.Word(row.pasted); word != row.want || !says(problem, row.word) {
			t.Errorf("Word(%q): %q, %q", row.pasted, word, problem)
		}
		if line, problem := connector.Line(row.pasted); line != row.want || !says(problem, row.line) {
			t.Errorf("Line(%q): %q, %q", row.pasted, line, problem)
		}
	}
}

func TestAccountName(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ pasted, want, problem string }{
		{" می\u200cخواهم\n", "می\u200cخواهم", ""}, {"क्\u200dष", "क्\u200dष", ""},
		{"Ann\u00a0Lee\u2003Oy", "Ann Lee Oy", ""}, {"Ann\tLee", "Ann Lee", ""}, {"\u200dAnn\u200c", "Ann", ""},
		{"Ann\u200bLee", "Ann\u200bLee", "invisible"}, {"Ann\u202eLee", "Ann\u202eLee", "invisible"},
		{"Ann\nLee", "Ann\nLee", "a line end"}, {"a\ufffdb", "a\ufffdb", "printed"},
	} {
		if name, problem := connector.AccountName(row.pasted); name != row.want || !says(problem, row.problem) {
			t.Errorf("AccountName(%q): %q, %q", row.pasted, name, problem)
		}
	}
}

func says(problem, part string) bool {
	return (problem == "") == (part == "") && strings.Contains(problem, part)
}

func FuzzWord(f *testing.F) {
	for _, seed := range []string{"abc", " a b\n", "\ufeffa\u200bb\u202e", "a\xff", "❤\ufe0f", "\u2066", "\u00a0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pasted string) {
		word, wordProblem := connector.Word(pasted)
		line, lineProblem := connector.Line(pasted)
		if word != line || word != connector.Trim(pasted) || word != connector.Trim(word) || !strings.Contains(pasted, word) {
			t.Errorf("%q: word %q, line %q", pasted, word, line)
		}
		if wordProblem == "" && lineProblem != "" {
			t.Errorf("%q is a word and no line: %s", pasted, lineProblem)
		}
		for _, accepted := range []struct {
			text, problem string
			spaces        bool
		}{{word, wordProblem, false}, {line, lineProblem, true}} {
			if accepted.problem != "" {
				continue
			}
			odd := func(r rune) bool {
				return r == utf8.RuneError || !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) && !(accepted.spaces && r == ' ')
			}
			if strings.ContainsFunc(accepted.text, odd) {
				t.Errorf("%q was accepted", accepted.text)
			}
		}
		for _, around := range []string{" ", "\n", "\u00a0", "\ufeff", "\u200b"} {
			if again, _ := connector.Word(around + word + around); again != word {
				t.Errorf("%q with blanks around it: %q", word, again)
			}
		}
	})
}
