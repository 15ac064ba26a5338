package platform

import (
	"context"
	"net/http"

	"platform-api-connector/shared/connector"
)

// On most platforms a code yields lasting credentials of one account. Their clients have
// these methods from wire.

// Extend implements connector.Platform: the code yielded lasting credentials.
func (wire) Extend(_ context.Context, _ connector.App, redeemed connector.Credentials) (connector.Credentials, error) {
	return redeemed, nil
}

// Account implements connector.Platform. It always fails, because Accounts returns no
// incomplete grant.
func (w wire) Account(context.Context, connector.App, connector.Credentials, connector.Grant) (connector.Grant, error) {
	return connector.Grant{}, w.malformed(http.MethodGet, "an account that the list of accounts returned complete")
}

// oneAccount returns the list of a consent to one account.
func oneAccount(g connector.Grant) connector.AccountList {
	return connector.AccountList{Grants: []connector.Grant{g}}
}
