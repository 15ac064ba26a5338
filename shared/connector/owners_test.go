package connector_test

import (
	"testing"

	"platform-api-connector/shared/connector"
)

// A caller that is confined twice may act for the owners that both allow.
func TestConfine_Twice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	acme := b.connect(t, "youtube")
	owners := map[string]connector.Owners{
		"a": connector.OnlyOwners("acme", "globex"), "b": connector.OnlyOwners("globex"), "all": {}, "none": connector.OnlyOwners(),
	}
	for _, row := range []struct {
		sets []string
		sees bool
	}{{nil, true}, {[]string{"a"}, true}, {[]string{"a", "all"}, true}, {[]string{"all", "a"}, true}, {[]string{"a", "b"}, false}, {[]string{"b", "a"}, false}, {[]string{"all", "none"}, false}} {
		ctx := t.Context()
		for _, name := range row.sets {
			ctx = connector.Confine(ctx, owners[name])
		}
		if _, err := b.Connection(ctx, acme.ID); (err == nil) != row.sees {
			t.Errorf("within %v: %v", row.sets, err)
		}
	}
}
