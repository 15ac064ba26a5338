package platform

import (
	"context"
	"net/http"

	"platform-api-connector/shared/connector"
)

// Most platforms give lasting credentials of one account for a code. Their clients
// have Extend and Account from wire.

// Extend implements connector.Platform: the code yielded lasting credentials.
func (wire) Extend(_ context.Context, _ connector.App, redeemed connector.Credentials) (connector.Credentials, error) {
	return redeemed, nil
}

// Account implements connector.Platform: Accounts returns no incomplete grant.
func (w wire) Account(context.Context, connector.App, connector.Credentials, connector.Grant) (connector.Grant, error) {
	return connector.Grant{}, w.malformed(http.MethodGet, "an account that the list of accounts does not leave open")
}

// oneAccount is the list of a consent that gives access to one account.
func oneAccount(g connector.Grant) connector.AccountList {
	return connector.AccountList{Grants: []connector.Grant{g}}
}
