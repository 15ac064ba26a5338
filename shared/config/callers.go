package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"platform-api-connector/shared/connector"
)

// maxOwner is the greatest length of an owner, in characters.
const maxOwner = 128

// parseCallers reads {"arn:…": ["owner", …], "arn:…/*": ["*"]}. A pattern is an
// ARN, or the prefix of an ARN with a star at its end.
func parseCallers(s string) (callers map[string][]string, problem string) {
	if problem := unmarshal(s, &callers, `not a JSON object of lists of owners, such as {"arn:…/*":["acme"]}`); problem != "" {
		return nil, problem
	}
	if callers, problem = trimKeys(callers); problem != "" {
		return nil, problem
	}
	if len(callers) == 0 {
		return nil, "names no caller; unset it to confine no caller"
	}
	for _, pattern := range slices.Sorted(maps.Keys(callers)) {
		if problem := checkCaller(pattern); problem != "" {
			return nil, quote(pattern) + " " + problem
		}
		if problem := checkOwners(callers[pattern]); problem != "" {
			return nil, problem + ", in the list of " + quote(pattern)
		}
	}
	return callers, ""
}

// The ARNs that a caller can have: of a session, of a user, of a function under
// which it is invoked.
var (
	callerARN = regexp.MustCompile(`^arn:aws[a-z-]*:(sts::\d{12}:(assumed-role/[!-~]+/[!-~]+|federated-user/[!-~]+)|iam::\d{12}:(root|user/[!-~]+)|lambda:[a-z0-9-]+:\d{12}:function:[!-~]+)$`)
	// callerPrefix matches what precedes a star: it reaches into the resource, so
	// that no pattern covers several accounts.
	callerPrefix = regexp.MustCompile(`^arn:aws[a-z-]*:(sts::\d{12}:(assumed-role|federated-user)/|iam::\d{12}:user/|lambda:[a-z0-9-]+:\d{12}:function:)[!-~]*$`)
	roleARN      = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:role/`)
)

func checkCaller(pattern string) string {
	if pattern == "*" {
		return ""
	}
	prefix, open := strings.CutSuffix(pattern, "*")
	switch {
	case strings.ContainsAny(prefix, "*?"):
		return "has a wildcard that is not one * at its end"
	case roleARN.MatchString(pattern):
		return "is a role, and callers are its sessions: write arn:aws:sts::<account>:assumed-role/<role>/* without the role's path"
	case open && !callerPrefix.MatchString(prefix), !open && !callerARN.MatchString(pattern):
		return "is neither the ARN of a caller, nor the prefix of one, with its account and a * at its end"
	}
	return ""
}

// checkOwners accepts a list of owners, or "*" alone. It removes the blanks around
// each, as the routes do, so that both compare the same text.
func checkOwners(owners []string) string {
	if owners == nil {
		return "null is no list of owners; [] is no owner"
	}
	for i := range owners {
		owner, wrong := connector.Line(owners[i])
		owners[i] = owner
		switch {
		case owner == "" || utf8.RuneCountInString(owner) > maxOwner:
			return "the owner " + quote(owner) + " must have 1 to 128 characters"
		case wrong != "":
			return "the owner " + quote(owner) + " " + wrong
		case owner == "*" && len(owners) > 1:
			return `"*" is every owner and must be the only entry`
		case owner != "*" && strings.Contains(owner, "*"):
			return "the owner " + quote(owner) + ` has a star, and only "*" alone is every owner`
		case slices.Contains(owners[:i], owner):
			return "the owner " + quote(owner) + " is named twice"
		}
	}
	return ""
}
