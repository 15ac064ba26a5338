package connector_test

import (
	"testing"

	"platform-api-connector/shared/connector"
)

func TestCallers_OwnersOf(t *testing.T) {
	t.Parallel()
	const account = "arn:aws:sts::123456789012:assumed-role/"
	callers := connector.Callers{
		account + "tenant/*":       {"acme", "globex"},
		account + "tenant/special": {"initech"},
		account + "admin/*":        {"*"},
		account + "nobody/*":       {},
		"arn:aws:lambda:*":         {"*"},
		"arn:aws:lambda:eu-west-1:123456789012:function:token-get:acme": {"acme"},
	}
	owners := []string{"acme", "globex", "initech", "*", ""}
	for _, row := range []struct {
		name    string
		callers connector.Callers
		arn     string
		has     string // a letter for each of owners
	}{
		{"nobody is confined", nil, account + "anybody/x", "yyyyy"},
		{"nobody is confined, not even strangers", nil, "", "yyyyy"},
		{"its owners", callers, account + "tenant/session", "yynnn"},
		{"an exact pattern goes first", callers, account + "tenant/special", "nnynn"},
		{"an exact pattern is exact", callers, account + "tenant/special2", "yynnn"},
		{"all", callers, account + "admin/x", "yyyyy"},
		{"none", callers, account + "nobody/x", "nnnnn"},
		{"not listed", callers, account + "stranger/x", "nnnnn"},
		{"not signed", callers, "", "nnnnn"},
		{"a name that begins alike", callers, account + "tenants/x", "nnnnn"},
		{"the role without a session", callers, account + "tenant", "nnnnn"},
		{"another case", callers, account + "Tenant/x", "nnnnn"},
		{"the pattern itself", callers, account + "tenant/*", "yynnn"},
		{"an alias goes before its function", callers, "arn:aws:lambda:eu-west-1:123456789012:function:token-get:acme", "ynnnn"},
		{"a function", callers, "arn:aws:lambda:eu-west-1:123456789012:function:token-get", "yyyyy"},
		{"a catch-all", connector.Callers{"*": {"acme"}}, "", "ynnnn"},
		{"an empty mapping", connector.Callers{}, account + "admin/x", "nnnnn"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			for _, owner := range owners {
				if row.callers.OwnersOf(row.arn).Has(owner) {
					got += "y"
				} else {
					got += "n"
				}
			}
			if got != row.has {
				t.Errorf("%v: %s, want %s", owners, got, row.has)
			}
		})
	}
}

// Who is confined twice may do what both allow.
func TestConfine_Twice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	acme := b.connect(t, "youtube")
	callers := connector.Callers{"a": {"acme", "globex"}, "b": {"globex"}, "all": {"*"}}
	for _, row := range []struct {
		arns []string
		sees bool
	}{{nil, true}, {[]string{"a"}, true}, {[]string{"a", "all"}, true}, {[]string{"all", "a"}, true}, {[]string{"a", "b"}, false}, {[]string{"b", "a"}, false}, {[]string{"all", "x"}, false}} {
		ctx := t.Context()
		for _, arn := range row.arns {
			ctx = connector.Confine(ctx, callers.OwnersOf(arn))
		}
		if _, err := b.Connection(ctx, acme.ID); (err == nil) != row.sees {
			t.Errorf("as %v: %v", row.arns, err)
		}
	}
}
