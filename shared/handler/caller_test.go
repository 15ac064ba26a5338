package handler_test

import (
	"testing"

	"platform-api-connector/shared/handler"
)

func TestCallers_OwnersOf(t *testing.T) {
	t.Parallel()
	const account = "arn:aws:sts::123456789012:assumed-role/"
	callers := handler.Callers{
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
		callers handler.Callers
		arn     string
		has     string // a letter for each of owners
	}{
		{"nobody_is_confined", nil, account + "anybody/x", "yyyyy"},
		{"nobody_is_confined_not_even_strangers", nil, "", "yyyyy"},
		{"its_owners", callers, account + "tenant/session", "yynnn"},
		{"an_exact_pattern_goes_first", callers, account + "tenant/special", "nnynn"},
		{"an_exact_pattern_is_exact", callers, account + "tenant/special2", "yynnn"},
		{"all", callers, account + "admin/x", "yyyyy"},
		{"none", callers, account + "nobody/x", "nnnnn"},
		{"not_listed", callers, account + "stranger/x", "nnnnn"},
		{"not_signed", callers, "", "nnnnn"},
		{"a_name_that_begins_alike", callers, account + "tenants/x", "nnnnn"},
		{"the_role_without_a_session", callers, account + "tenant", "nnnnn"},
		{"another_case", callers, account + "Tenant/x", "nnnnn"},
		{"the_pattern_itself", callers, account + "tenant/*", "yynnn"},
		{"an_alias_goes_before_its_function", callers, "arn:aws:lambda:eu-west-1:123456789012:function:token-get:acme", "ynnnn"},
		{"a_function", callers, "arn:aws:lambda:eu-west-1:123456789012:function:token-get", "yyyyy"},
		{"a_catch_all", handler.Callers{"*": {"acme"}}, "", "ynnnn"},
		{"an_empty_mapping", handler.Callers{}, account + "admin/x", "nnnnn"},
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
