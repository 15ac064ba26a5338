package connector

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file has the one rule for text that people paste. Every door applies it: the
// fields of a body, the parameters of a query and of a path, the payload of a direct
// invocation, the fields of credentials and of an app, and the configuration. The
// blanks around text are removed. A blank, a line end or a control character inside
// it is refused. The values that only machines send, such as a state, a code or a
// cookie, are exact.

// Trim returns text without the blanks around it.
func Trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return isBlank(r) && !turnsText(r) })
}

// Word returns pasted text that is one word, such as an id, a URL, a scope or a
// token, without the blanks around it. If the word has a character that no word
// has, problem says so.
func Word(text string) (word, problem string) {
	word = Trim(text)
	return word, innerProblem(word, false)
}

// Line returns pasted text that people read, such as a name or a reason, without
// the blanks around it. It may have spaces. If it has a character that no line has,
// problem says so.
func Line(text string) (line, problem string) {
	line = Trim(text)
	return line, innerProblem(line, true)
}

// AccountName returns the pasted name of an account, without the blanks around it. A
// blank of any kind inside becomes a space. A joiner inside stays, because Persian and
// Indic names are spelled with joiners
// (https://www.unicode.org/L2/L2006/06353-zwj-issues.html, read 2026-11-25). If the
// name has a character that no line has, problem says so.
func AccountName(text string) (name, problem string) {
	name = strings.Map(func(r rune) rune {
		if r == '\t' || unicode.Is(unicode.Zs, r) {
			return ' '
		}
		return r
	}, Trim(text))
	return name, innerProblem(joiners.Replace(name), true)
}

// joiners removes the zero-width non-joiner and the zero-width joiner.
var joiners = strings.NewReplacer("\u200c", "", "\u200d", "")

// isBlank reports whether a person sees nothing of r: white space, a line end, a
// byte order mark, a character of format such as a zero-width space or a mark of
// direction, and a letter that is a filler
// (https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point, read
// 2026-11-25). A variation selector is none, because it belongs to the character
// before it.
func isBlank(r rune) bool {
	const brailleBlank = '\u2800'
	return unicode.In(r, unicode.White_Space, unicode.Z, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point) || r == brailleBlank
}

// turnsText reports whether r begins or ends a part of text with another direction
// (https://www.unicode.org/reports/tr9/#Explicit_Directional_Embeddings, read
// 2026-11-25). Text that has one shows in another order than it is stored.
func turnsText(r rune) bool { return r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' }

func innerProblem(text string, spaces bool) string {
	before := rune(0)
	for _, r := range text {
		switch {
		case r == ' ' && spaces:
		case r == ' ':
			return "has a space inside"
		case strings.ContainsRune("\n\r\v\f\u0085\u2028\u2029", r):
			return "has a line end inside"
		case unicode.IsControl(r):
			return "has a control character inside"
		case isBlank(r), unicode.Is(unicode.Variation_Selector, r) && before <= lastLatin:
			return "has a blank or an invisible character inside"
		// A decoder replaces invalid bytes by U+FFFD. Two names that differ in
		// such bytes alone would look equal.
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return "has a character that cannot be printed"
		}
		before = r
	}
	return ""
}

// lastLatin is the last letter of the Latin blocks. A variation selector after a
// Latin letter or a digit changes nothing that a person sees.
const lastLatin = '\u024f'
