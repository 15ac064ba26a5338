package awscloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// sealingKeyName is the secret that holds the sealer's keyset, under the prefix
// of all secrets.
const sealingKeyName = "sealing-key"

// Sealer is the credentialstore.Sealer: AES-256-GCM by Tink, under a keyset in
// Secrets Manager. The sealer reads the keyset once, so that it works afterwards
// while Secrets Manager does not.
type Sealer struct {
	client *secretsmanager.Client
	name   string
	key    *string // of KMS

	mu        sync.Mutex
	primitive tink.AEAD // nil until the keyset was read
}

var _ credentialstore.Sealer = (*Sealer)(nil)

// NewSealer returns the sealer whose keyset is under prefix. The first use
// anywhere creates the keyset, with the KMS key as in NewVault.
func NewSealer(client *secretsmanager.Client, prefix, kmsKeyID string) *Sealer {
	return &Sealer{client: client, name: prefix + "/" + sealingKeyName, key: keyOrNil(kmsKeyID)}
}

// Prepare implements credentialstore.Sealer.
func (s *Sealer) Prepare(ctx context.Context) error {
	_, err := s.aead(ctx)
	return err
}

// Seal implements credentialstore.Sealer.
func (s *Sealer) Seal(ctx context.Context, plain connector.Secret, purpose string) ([]byte, error) {
	primitive, err := s.aead(ctx)
	if err != nil {
		return nil, err
	}
	sealed, err := primitive.Encrypt([]byte(plain.Reveal()), []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return sealed, nil
}

// Open implements credentialstore.Sealer.
func (s *Sealer) Open(ctx context.Context, sealed []byte, purpose string) (connector.Secret, error) {
	primitive, err := s.aead(ctx)
	if err != nil {
		return connector.Secret{}, err
	}
	plain, err := primitive.Decrypt(sealed, []byte(purpose))
	if err != nil {
		return connector.Secret{}, fmt.Errorf("decrypting sealed credentials: %w", credentialstore.ErrUnsealable)
	}
	return connector.NewSecret(string(plain)), nil
}

func (s *Sealer) aead(ctx context.Context) (tink.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.primitive != nil {
		return s.primitive, nil
	}
	stored, err := s.keyset(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the sealing key: %w", err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(stored)))
	if err != nil {
		return nil, errors.New("reading the sealing key: not a Tink keyset")
	}
	if s.primitive, err = aead.New(handle); err != nil {
		s.primitive = nil
		return nil, fmt.Errorf("using the sealing key: %w", err)
	}
	return s.primitive, nil
}

// keyset returns the stored keyset, and creates it where there is none. Of
// several processes that create one at once, Secrets Manager accepts one.
func (s *Sealer) keyset(ctx context.Context) ([]byte, error) {
	for range 3 {
		out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.name})
		if err == nil {
			return []byte(aws.ToString(out.SecretString)), nil
		}
		if absent := new(types.ResourceNotFoundException); !errors.As(err, &absent) {
			return nil, err
		}
		fresh, err := newKeyset()
		if err != nil {
			return nil, err
		}
		_, err = s.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
			Name: &s.name, SecretString: aws.String(string(fresh)), KmsKeyId: s.key,
		})
		if taken := new(types.ResourceExistsException); err != nil && !errors.As(err, &taken) {
			return nil, err
		}
	}
	return nil, errors.New("it can neither be read nor created")
}

func newKeyset() ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("creating a keyset: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("writing a keyset: %w", err)
	}
	return b.Bytes(), nil
}
