package handler_test

import (
	"net/http"
	"testing"

	"platform-api-connector/shared/connector"
)

// extended is a platform whose app has one more extra.
type extended struct {
	connector.Platform
	field connector.AppField
}

func (p extended) Describe() connector.Description {
	d := p.Platform.Describe()
	d.AppFields = []connector.AppField{p.field}
	return d
}

func TestConnections_PutAppExtra(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		field  connector.AppField
		given  any
		shown  any // nil: the view omits it
		refuse bool
	}{
		{name: "number", field: connector.AppField{Name: "daily_limit", Number: true}, given: 25, shown: 25.0},
		{name: "zero", field: connector.AppField{Name: "daily_limit", Number: true}, given: 0, shown: 0.0},
		{name: "number_left_out", field: connector.AppField{Name: "daily_limit", Number: true}},
		{name: "number_as_a_string", field: connector.AppField{Name: "daily_limit", Number: true}, given: "25", refuse: true},
		{name: "negative_number", field: connector.AppField{Name: "daily_limit", Number: true}, given: -1, refuse: true},
		{name: "fraction", field: connector.AppField{Name: "daily_limit", Number: true}, given: 2.5, refuse: true},
		{name: "string", field: connector.AppField{Name: "region"}, given: "eu", shown: "eu"},
		{name: "string_as_a_number", field: connector.AppField{Name: "region"}, given: 1, refuse: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			name := s.service.Platforms[0].Describe().Name
			s.service.Platforms[0] = extended{s.service.Platforms[0], test.field}
			app := map[string]any{"client_id": "test-client", "client_secret": "test-secret"}
			if test.given != nil {
				app[test.field.Name] = test.given
			}
			// The OpenAPI document does not have the extra.
			route, e := event(t, http.MethodPut, "/platforms/"+string(name)+"/app", withJSON(t, app))
			r := s.send(t, route.Function, encode(t, e))
			if test.refuse {
				r.refused(t, http.StatusBadRequest, connector.InvalidRequest)
				return
			}
			var shown map[string]any
			r.decode(t, http.StatusOK, &shown)
			if got := shown[test.field.Name]; got != test.shown {
				t.Errorf("%s is shown as %v, want %v", test.field.Name, got, test.shown)
			}
		})
	}
}
