package handler_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

// The trouble of one owner's client delays no other owner: each row is a platform,
// and the credentials that bring a client to it.
func TestIsolation_ClientOfAnImport(t *testing.T) {
	t.Parallel()
	const imports, loops, rounds = 12, 5, 10
	for platform, credentials := range map[string]map[string]string{
		"youtube": {"client_id": "client-of-mallory", "client_secret": "made-up", "access_token": "access-%d", "refresh_token": "refresh-%d"},
		"twitter": {"client_id": "client-of-mallory", "client_secret": "made-up", "access_token": "access-%d", "refresh_token": "refresh-%d"},
		"tiktok":  {"client_key": "client-of-mallory", "client_secret": "made-up", "open_id": "open-%d", "access_token": "access-%d", "refresh_token": "refresh-%d"},
	} {
		for _, trouble := range []sandbox.Kind{sandbox.Throttled, sandbox.Outage, sandbox.WrongClient} {
			t.Run(platform+"/"+string(trouble), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				s.confine(map[string][]string{role + "mallory/*": {"mallory"}, "*": {"*"}})
				mallory := as(role + "mallory/session")
				honest := s.connect(t, platform, "acme", sandbox.Choice{})[0]
				s.sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: "token", Client: "client-of-mallory", Kind: trouble, Times: -1})
				var ids []string
				for i := range imports {
					own := map[string]string{}
					for name, value := range credentials {
						own[name] = strings.ReplaceAll(value, "%d", strconv.Itoa(i))
					}
					var imported struct {
						Connections []struct {
							ID string `json:"id"`
						} `json:"connections"`
					}
					s.do(t, http.MethodPost, "/connections", mallory, withJSON(t, map[string]any{
						"platform": platform, "owner": "mallory", "credentials": own, "verify": false,
					})).decode(t, http.StatusCreated, &imported)
					ids = append(ids, imported.Connections[0].ID)
				}
				failed := 0
				for range rounds {
					s.clock.Advance(25 * time.Hour) // the token expires
					for n := range loops * imports {
						s.do(t, http.MethodPost, "/connections/"+ids[n%imports]+"/refresh", mallory)
						s.clock.Advance(time.Second)
					}
					if _, failure := s.invoke(t, "token-get", fmt.Sprintf(`{"connection_id":%q}`, honest)); failure != nil {
						failed++
					}
				}
				if failed > 0 {
					t.Errorf("%d of %d expired tokens of another owner could not be refreshed", failed, rounds)
				}
			})
		}
	}
}
