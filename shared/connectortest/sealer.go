package connectortest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"strings"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// Sealer is a credentialstore.Sealer that binds. The same text is sealed to the
// same bytes, so that a simulation can be repeated.
type Sealer struct {
	// Hides says that it also hides, with a key that everybody knows.
	Hides bool
}

var _ credentialstore.Sealer = Sealer{}

func testCipher() cipher.AEAD {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		panic(err) // the key has the right length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// Prepare implements credentialstore.Sealer.
func (Sealer) Prepare(context.Context) error { return nil }

// Seal implements credentialstore.Sealer.
func (s Sealer) Seal(_ context.Context, plain connector.Secret, purpose string) ([]byte, error) {
	if !s.Hides {
		return fmt.Appendf(nil, "%s\n%s", purpose, plain.Reveal()), nil
	}
	sum := sha256.Sum256([]byte(purpose + "\n" + plain.Reveal()))
	nonce := sum[:12]
	return testCipher().Seal(nonce, nonce, []byte(plain.Reveal()), []byte(purpose)), nil
}

// Open implements credentialstore.Sealer.
func (s Sealer) Open(_ context.Context, sealed []byte, purpose string) (connector.Secret, error) {
	if !s.Hides {
		plain, ok := strings.CutPrefix(string(sealed), purpose+"\n")
		if !ok {
			return connector.Secret{}, credentialstore.ErrUnsealable
		}
		return connector.NewSecret(plain), nil
	}
	if len(sealed) < 12 {
		return connector.Secret{}, credentialstore.ErrUnsealable
	}
	plain, err := testCipher().Open(nil, sealed[:12], sealed[12:], []byte(purpose))
	if err != nil {
		return connector.Secret{}, credentialstore.ErrUnsealable
	}
	return connector.NewSecret(string(plain)), nil
}
