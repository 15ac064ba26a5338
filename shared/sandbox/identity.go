package sandbox

import "strings"

// Names of the parameters that carry a client id, a code or a token.
var (
	clientParameters = []string{"client_id", "client_key"}
	secretParameters = []string{"code", "refresh_token", "access_token", "token", "fb_exchange_token", "input_token"}
)

// signer is a dialect that accepts signed calls. signature returns the client and
// the account that the signature of a call names, unverified, or two empty strings.
type signer interface {
	signature(c *call) (client, account string)
}

// identify returns the client and the account of a call. Nothing is verified, so
// that a fault also applies to a client that the platform does not know. The client
// is the one that the call names, or to which its token was issued. The account is
// the id of the person whose code, token or key the call has.
func identify(d dialect, c *call) (client, account string) {
	if s, ok := d.(signer); ok {
		if client, account = s.signature(c); client != "" {
			return client, account
		}
	}
	p := d.common()
	client = namedClient(c)
	for _, value := range shownSecrets(c) {
		if g := p.grantOf(value); g != nil {
			account = g.person.ID
			if client == "" {
				client = g.client
			}
		}
	}
	return client, account
}

// namedClient returns the client id in HTTP Basic, in a parameter, or in an app
// access token of the form id|secret.
func namedClient(c *call) string {
	if user, _, ok := c.basic(); ok {
		return user
	}
	for _, name := range clientParameters {
		if value := c.parameter(name); value != "" {
			return value
		}
	}
	if id, _, ok := strings.Cut(sentToken(c), "|"); ok {
		return id
	}
	return ""
}

// shownSecrets returns the codes and tokens of a call.
func shownSecrets(c *call) []string {
	values := []string{c.bearer()}
	for _, name := range secretParameters {
		values = append(values, c.parameter(name))
	}
	return values
}

// grantOf returns the grant of a code or a token, or nil.
func (p *platform) grantOf(value string) *grant {
	if t := p.tokens[value]; t != nil {
		return t.grant
	}
	if code := p.codes[value]; code != nil {
		return code.grant
	}
	return nil
}
