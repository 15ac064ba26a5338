package connectortest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"platform-api-connector/shared/connector"
)

// Sealer is a connector.Sealer that binds, and hides nothing.
type Sealer struct{}

var _ connector.Sealer = Sealer{}

// Prepare implements connector.Sealer.
func (Sealer) Prepare(context.Context) error { return nil }

// Seal implements connector.Sealer.
func (Sealer) Seal(_ context.Context, plain connector.Secret, purpose string) ([]byte, error) {
	return fmt.Appendf(nil, "%s\n%s", purpose, plain.Reveal()), nil
}

// Open implements connector.Sealer.
func (Sealer) Open(_ context.Context, sealed []byte, purpose string) (connector.Secret, error) {
	plain, ok := strings.CutPrefix(string(sealed), purpose+"\n")
	if !ok {
		return connector.Secret{}, errors.New("sealed for another purpose")
	}
	return connector.NewSecret(plain), nil
}
