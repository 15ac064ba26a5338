package connectortest

import (
	"context"
	"fmt"
	"strings"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// Sealer is a credentialstore.Sealer that binds, and hides nothing.
type Sealer struct{}

var _ credentialstore.Sealer = Sealer{}

// Prepare implements credentialstore.Sealer.
func (Sealer) Prepare(context.Context) error { return nil }

// Seal implements credentialstore.Sealer.
func (Sealer) Seal(_ context.Context, plain connector.Secret, purpose string) ([]byte, error) {
	return fmt.Appendf(nil, "%s\n%s", purpose, plain.Reveal()), nil
}

// Open implements credentialstore.Sealer.
func (Sealer) Open(_ context.Context, sealed []byte, purpose string) (connector.Secret, error) {
	plain, ok := strings.CutPrefix(string(sealed), purpose+"\n")
	if !ok {
		return connector.Secret{}, credentialstore.ErrUnsealable
	}
	return connector.NewSecret(plain), nil
}
