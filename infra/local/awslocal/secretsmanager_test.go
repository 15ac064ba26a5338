package awslocal_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func TestSecretsManager_Stages(t *testing.T) {
	client := secretsmanager.NewFromConfig(newCloud(t).Config)
	ctx, id := t.Context(), aws.String("a/b")
	put := func(value string) *string {
		t.Helper()
		return must[*secretsmanager.PutSecretValueOutput](t)(client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: &value})).VersionId
	}
	created := must[*secretsmanager.CreateSecretOutput](t)(client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String("1")}))
	first, second, third := created.VersionId, put("2"), put("3")

	wantStages := func(version *string, want ...string) {
		t.Helper()
		got := must[*secretsmanager.GetSecretValueOutput](t)(client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: created.ARN, VersionId: version}))
		slices.Sort(got.VersionStages)
		if !slices.Equal(got.VersionStages, want) {
			t.Errorf("version with %q has stages %v, want %v", *got.SecretString, got.VersionStages, want)
		}
	}
	wantStages(first)
	wantStages(second, "AWSPREVIOUS")
	wantStages(third, "AWSCURRENT")

	if _, err := client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: id, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: first, RemoveFromVersionId: third,
	}); err != nil {
		t.Fatal(err)
	}
	wantStages(first, "AWSCURRENT")
	wantStages(second)
	wantStages(third, "AWSPREVIOUS")

	_, err := client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: id, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: second, RemoveFromVersionId: third,
	})
	wantCode(t, "moving a stage from a version that lacks it", err, "InvalidParameterException")
	_, err = client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id, VersionStage: aws.String("TEST")})
	wantCode(t, "an unknown stage", err, "ResourceNotFoundException")
}

func TestSecretsManager_RequestToken(t *testing.T) {
	client := secretsmanager.NewFromConfig(newCloud(t).Config)
	ctx, id, token := t.Context(), aws.String("a"), aws.String(strings.Repeat("t", 32))
	create := &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String("1"), ClientRequestToken: token}
	for range 2 {
		if out, err := client.CreateSecret(ctx, create); err != nil || *out.VersionId != *token {
			t.Fatalf("CreateSecret: %v, %v, want version %s", out, err, *token)
		}
	}
	_, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("2"), ClientRequestToken: token})
	wantCode(t, "another value with the same token", err, "ResourceExistsException")
	_, err = client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String("1")})
	wantCode(t, "creating it with another token", err, "ResourceExistsException")
}

func TestSecretsManager_RecoveryWindow(t *testing.T) {
	c := newCloud(t)
	client := secretsmanager.NewFromConfig(c.Config)
	ctx, id := t.Context(), aws.String("a")
	create := func() {
		t.Helper()
		if _, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String("test-value")}); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(days int64) error {
		_, err := client.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: &days})
		return err
	}
	create()
	wantCode(t, "a window of 6 days", remove(6), "InvalidParameterException")
	if err := remove(7); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "deleting it twice", remove(7), "InvalidRequestException")
	_, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String("test-value")})
	wantCode(t, "creating it again", err, "InvalidRequestException")
	_, err = client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id})
	wantCode(t, "reading the deleted secret", err, "InvalidRequestException")

	c.Advance(7*24*time.Hour - time.Second)
	if _, err := client.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	if out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id}); err != nil || *out.SecretString != "test-value" {
		t.Errorf("reading the restored secret: %v, %v", out, err)
	}
	if err := remove(7); err != nil {
		t.Fatal(err)
	}
	c.Advance(7 * 24 * time.Hour)
	_, err = client.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: id})
	wantCode(t, "restoring after the window", err, "ResourceNotFoundException")
	create()
}

func TestSecretsManager_ForcedDeletion(t *testing.T) {
	client := secretsmanager.NewFromConfig(newCloud(t).Config)
	ctx, id := t.Context(), aws.String("a")
	if _, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String("test-value")}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := client.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
			t.Errorf("forced deletion: %v, want success, also for a deleted secret", err)
		}
	}
	_, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: id})
	wantCode(t, "describing it", err, "ResourceNotFoundException")
	_, err = client.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: aws.Int64(7), ForceDeleteWithoutRecovery: aws.Bool(true)})
	wantCode(t, "force and a recovery window", err, "InvalidParameterException")
}

func TestSecretsManager_List(t *testing.T) {
	client := secretsmanager.NewFromConfig(newCloud(t).Config)
	for _, name := range []string{"b/1", "a/2", "a/1", "a/3"} {
		if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("test-value")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("a/3")}); err != nil {
		t.Fatal(err)
	}
	list := func(planned bool, prefix ...string) (names []string) {
		input := &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(1), IncludePlannedDeletion: &planned}
		if len(prefix) > 0 {
			input.Filters = []types.Filter{{Key: types.FilterNameStringTypeName, Values: prefix}}
		}
		for pages := secretsmanager.NewListSecretsPaginator(client, input); pages.HasMorePages(); {
			for _, secret := range must[*secretsmanager.ListSecretsOutput](t)(pages.NextPage(t.Context())).SecretList {
				names = append(names, *secret.Name)
			}
		}
		return names
	}
	for _, listing := range []struct{ got, want []string }{
		{list(false), []string{"a/1", "a/2", "b/1"}},
		{list(true), []string{"a/1", "a/2", "a/3", "b/1"}},
		{list(false, "a/"), []string{"a/1", "a/2"}},
	} {
		if !slices.Equal(listing.got, listing.want) {
			t.Errorf("ListSecrets: %v, want %v", listing.got, listing.want)
		}
	}
}
