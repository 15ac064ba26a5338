package awscloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// Vault is the credentialstore.Vault on Secrets Manager: one secret a name, under
// one prefix. A version can be read by its id after a newer Put, until Secrets
// Manager removes it: it has about 100 versions of a secret, and each of them for
// a day at least.
//
// The SDK gives each write a request token, so that a write that is sent twice
// makes one version.
type Vault struct {
	client *secretsmanager.Client
	prefix string
	key    *string
}

var _ credentialstore.Vault = (*Vault)(nil)

// NewVault returns the vault of the secrets whose names begin with prefix and
// a slash. It creates secrets with the KMS key of that ARN, id or alias. Where
// kmsKeyID is empty, it is the key that Secrets Manager has in every account.
func NewVault(client *secretsmanager.Client, prefix, kmsKeyID string) *Vault {
	return &Vault{client: client, prefix: prefix, key: keyOrNil(kmsKeyID)}
}

func keyOrNil(kmsKeyID string) *string {
	if kmsKeyID == "" {
		return nil
	}
	return &kmsKeyID
}

const recoveryWindowDays = 7

const currentStage = "AWSCURRENT"

func (v *Vault) secretID(name string) *string { return aws.String(v.prefix + "/" + name) }

// Put implements credentialstore.Vault. It fails for a secret that is scheduled for
// deletion.
func (v *Vault) Put(ctx context.Context, name string, value connector.Secret) (string, error) {
	version, err := v.putVersion(ctx, name, value)
	if absent(err) {
		version, err = v.create(ctx, name, value)
		if exists := new(types.ResourceExistsException); errors.As(err, &exists) {
			version, err = v.putVersion(ctx, name, value)
		}
	}
	if err != nil {
		return "", fmt.Errorf("storing a secret: %w", err)
	}
	return version, nil
}

// PutVersion implements credentialstore.Vault.
func (v *Vault) PutVersion(ctx context.Context, name string, value connector.Secret) (string, error) {
	version, err := v.putVersion(ctx, name, value)
	if absent(err) || scheduled(err) {
		return "", connector.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("storing a version of a secret: %w", err)
	}
	return version, nil
}

func (v *Vault) putVersion(ctx context.Context, name string, value connector.Secret) (string, error) {
	out, err := v.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: v.secretID(name), SecretString: aws.String(value.Reveal()),
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.VersionId), nil
}

func (v *Vault) create(ctx context.Context, name string, value connector.Secret) (string, error) {
	out, err := v.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: v.secretID(name), SecretString: aws.String(value.Reveal()), KmsKeyId: v.key,
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.VersionId), nil
}

// maxSuccessors is how many versions Replace tries as the successor of one version.
const maxSuccessors = 8

// Replace implements credentialstore.Vault. Secrets Manager has no conditional
// write. But a version is never changed: PutSecretValue with the id of a version
// that exists fails if the value differs, and does nothing if it is the same
// (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html,
// read 2026-11-25). So the id of the new version is computed from the id of the one
// that it replaces, and of several writers that replace one version the first one
// makes it. Where a person made an old version current again, its successor exists
// already, and the next id is tried.
func (v *Vault) Replace(ctx context.Context, name, version string, value connector.Secret) (string, error) {
	if version == "" {
		made, err := v.create(ctx, name, value)
		if exists := new(types.ResourceExistsException); errors.As(err, &exists) {
			return "", connector.ErrConflict
		}
		if err != nil {
			return "", fmt.Errorf("storing a secret: %w", err)
		}
		return made, nil
	}
	for n := range maxSuccessors {
		// Of a version that is not current the successor may have been removed.
		_, current, err := v.Get(ctx, name, "")
		switch {
		case errors.Is(err, connector.ErrNotFound), err == nil && current != version:
			return "", connector.ErrConflict
		case err != nil:
			return "", err
		}
		made, err := v.putSuccessor(ctx, name, version, n, value)
		if exists := new(types.ResourceExistsException); errors.As(err, &exists) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("storing a version of a secret: %w", err)
		}
		if slices.Contains(made.VersionStages, currentStage) {
			return aws.ToString(made.VersionId), nil
		}
	}
	return "", connector.ErrConflict
}

// putSuccessor makes the n-th successor of a version, unless it exists.
func (v *Vault) putSuccessor(ctx context.Context, name, version string, n int, value connector.Secret) (*secretsmanager.PutSecretValueOutput, error) {
	successor := sha256.Sum256(fmt.Appendf(nil, "successor %d of %s", n, version))
	return v.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: v.secretID(name), SecretString: aws.String(value.Reveal()),
		ClientRequestToken: aws.String(hex.EncodeToString(successor[:])),
	})
}

// Get implements credentialstore.Vault. A secret that is scheduled for deletion is
// not found.
func (v *Vault) Get(ctx context.Context, name, version string) (connector.Secret, string, error) {
	out, err := v.read(ctx, name, version)
	if err != nil {
		return connector.Secret{}, "", err
	}
	value := connector.NewSecret(aws.ToString(out.SecretString))
	if slices.Contains(out.VersionStages, currentStage) {
		return value, aws.ToString(out.VersionId), nil
	}
	current, err := v.read(ctx, name, "")
	if err != nil {
		return connector.Secret{}, "", err
	}
	return value, aws.ToString(current.VersionId), nil
}

func (v *Vault) read(ctx context.Context, name, version string) (*secretsmanager.GetSecretValueOutput, error) {
	input := &secretsmanager.GetSecretValueInput{SecretId: v.secretID(name)}
	if version != "" {
		input.VersionId = &version
	}
	out, err := v.client.GetSecretValue(ctx, input)
	if absent(err) || scheduled(err) {
		return nil, connector.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	return out, nil
}

// Delete implements credentialstore.Vault. A purge also ends the recovery window
// of a secret that is scheduled for deletion: Secrets Manager deletes one by force
// whatever its state, and takes a moment for it
// (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html,
// and a report of the same in https://github.com/getmoto/moto/issues/8638, read
// 2026-11-25).
func (v *Vault) Delete(ctx context.Context, name string, purge bool) error {
	input := &secretsmanager.DeleteSecretInput{SecretId: v.secretID(name)}
	if purge {
		input.ForceDeleteWithoutRecovery = aws.Bool(true)
	} else {
		input.RecoveryWindowInDays = aws.Int64(recoveryWindowDays)
	}
	_, err := v.client.DeleteSecret(ctx, input)
	if err == nil || absent(err) || !purge && scheduled(err) {
		return nil
	}
	return fmt.Errorf("deleting a secret: %w", err)
}

func absent(err error) bool {
	missing := new(types.ResourceNotFoundException)
	return errors.As(err, &missing)
}

// scheduled reports whether Secrets Manager refused because the secret is
// scheduled for deletion. InvalidRequestException has other causes too, and
// only its text tells them apart: "…marked for deletion", "…scheduled for
// deletion".
func scheduled(err error) bool {
	refused := new(types.InvalidRequestException)
	return errors.As(err, &refused) && strings.Contains(refused.ErrorMessage(), "delet")
}
