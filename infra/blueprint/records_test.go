package blueprint_test

import (
	"strings"
	"testing"

	"platform-api-connector/infra/blueprint"
)

// During a deployment CloudFormation replaces the policy of a function before its
// code: for a while the functions of the previous release call under these grants.
// The table has what they call, as their tests on the local stack recorded it, and
// what the source adds: a function, an action, and the beginnings of its keys.
func TestAllows_PreviousRelease(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ function, action, keys string }{
		{blueprint.OAuthStart, "GetItem", "ticket#link#"},
		{blueprint.OAuthStart, "PutItem", "ticket#state#"},
		{blueprint.OAuthCallback, "GetItem", "account# connection# ticket#state# ticket#link#"},
		{blueprint.OAuthCallback, "PutItem", "account# connection# ticket#pending# ticket#confirmation#"},
		{blueprint.OAuthCallback, "UpdateItem", "connection# ticket#state# ticket#link#"},
		{blueprint.OAuthCallback, "DeleteItem", "account# ticket#state# ticket#link# ticket#pending#"},
		{blueprint.TokenGet, "GetItem", "account# connection# breaker#"},
		{blueprint.TokenGet, "PutItem", "account#"},
		{blueprint.TokenGet, "UpdateItem", "connection# breaker# counter#forced/ counter#quota/"},
		{blueprint.TokenGet, "DeleteItem", "account#"},
		{blueprint.Refresh, "UpdateItem", "connection# ticket#pending# ticket#unrecorded#"},
		{blueprint.RefreshWorker, "GetItem", "account# connection# breaker# ticket#pending# ticket#unrecorded#"},
		{blueprint.RefreshWorker, "PutItem", "account#"},
		{blueprint.RefreshWorker, "UpdateItem", "connection# breaker# counter#forced/ counter#quota/"},
		{blueprint.RefreshWorker, "DeleteItem", "account# ticket#pending# ticket#unrecorded#"},
		{blueprint.Connections, "GetItem", "account# connection# breaker# ticket#pending#"},
		{blueprint.Connections, "PutItem", "account# connection# ticket#link# ticket#pending# ticket#confirmation#"},
		{blueprint.Connections, "UpdateItem", "connection# breaker# counter#forced/ counter#posts/ counter#quota/ ticket#confirmation#"},
		{blueprint.Connections, "DeleteItem", "account# ticket#pending# ticket#confirmation#"},
		{blueprint.PlatformNotice, "GetItem", "connection# ticket#deletion#"},
		{blueprint.PlatformNotice, "PutItem", "ticket#deletion#"},
		{blueprint.PlatformNotice, "UpdateItem", "connection#"},
		{blueprint.PlatformNotice, "DeleteItem", "account#"},
	} {
		for key := range strings.FieldsSeq(row.keys) {
			if !blueprint.Allows(row.function, "dynamodb:"+row.action, blueprint.Table, []string{key + "x"}) {
				t.Errorf("%s may not %s %s", row.function, row.action, key)
			}
		}
	}
	// Writes of this release that few flows reach.
	for function, key := range map[string]string{blueprint.OAuthCallback: "ticket#link#", blueprint.TokenGet: "ticket#pending#"} {
		if !blueprint.Allows(function, "dynamodb:PutItem", blueprint.Table, []string{key + "x"}) {
			t.Errorf("%s may not put %s", function, key)
		}
	}
	for _, row := range []struct {
		function, action string
		index            blueprint.Resource
		keys             []string
	}{
		{blueprint.OAuthCallback, "Query", blueprint.UserIndex, []string{"youtube#1"}},
		{blueprint.TokenGet, "Query", blueprint.OwnerIndex, []string{"acme"}},
		{blueprint.TokenGet, "Query", blueprint.UserIndex, []string{"youtube#1"}},
		{blueprint.Refresh, "Query", blueprint.DueIndex, []string{"due#0"}},
		{blueprint.Refresh, "Scan", blueprint.OwnerIndex, nil},
		{blueprint.RefreshWorker, "Query", blueprint.UserIndex, []string{"youtube#1"}},
		{blueprint.Connections, "Query", blueprint.OwnerIndex, []string{"acme"}},
		{blueprint.Connections, "Scan", blueprint.OwnerIndex, nil},
		{blueprint.Connections, "Query", blueprint.UserIndex, []string{"youtube#1"}},
		{blueprint.PlatformNotice, "Query", blueprint.UserIndex, []string{"youtube#1"}},
	} {
		if !blueprint.Allows(row.function, "dynamodb:"+row.action, row.index, row.keys) {
			t.Errorf("%s may not %s %s", row.function, row.action, row.index)
		}
	}
}
