package blueprint

import (
	"regexp"
	"slices"
	"strings"
)

// The actions on records of the table.
const (
	get    = "dynamodb:GetItem"
	put    = "dynamodb:PutItem"
	update = "dynamodb:UpdateItem"
	remove = "dynamodb:DeleteItem"
)

// onRecords grants actions on the records of the table whose keys match patterns,
// as IAM's condition dynamodb:LeadingKeys matches them. A transaction needs the
// action of each of its writes:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
// (read 2026-11-25). See TableSchema in shared/awscloud for the keys.
func onRecords(actions []string, keys ...string) Grant {
	return Grant{Resource: Table, Actions: actions, Keys: keys}
}

// Allows reports whether a function may call an action of DynamoDB with these
// leading keys; a Scan has none. The local stack refuses everything else.
func Allows(function, action string, resource Resource, keys []string) bool {
	return slices.ContainsFunc(Grants(function), func(g Grant) bool {
		return g.Resource == resource && slices.Contains(g.Actions, action) && g.covers(keys)
	})
}

// covers reports whether every key matches one of the grant's patterns. A grant
// with patterns covers no call without a key: ForAllValues is true of an empty
// list, and the condition Null of the deployment's policies refuses it.
func (g Grant) covers(keys []string) bool {
	if len(g.Keys) == 0 {
		return len(keys) == 0
	}
	return len(keys) > 0 && !slices.ContainsFunc(keys, func(key string) bool {
		return !slices.ContainsFunc(g.Keys, func(pattern string) bool { return matchesLike(pattern, key) })
	})
}

// matchesLike matches as IAM's StringLike does.
func matchesLike(pattern, text string) bool {
	expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString(text)
}
