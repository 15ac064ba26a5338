package awscloud_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
)

// The suites run against the embedded AWS, or against the endpoints that these
// variables name, such as DynamoDB Local and moto.
const (
	dynamoDBEndpoint       = "CONNECTOR_TEST_DYNAMODB_ENDPOINT"
	secretsManagerEndpoint = "CONNECTOR_TEST_SECRETSMANAGER_ENDPOINT"
)

// cloud starts the embedded AWS and returns a configuration for it.
func cloud(t *testing.T) (aws.Config, *awslocal.Server) {
	t.Helper()
	standIn := awslocal.New(awslocal.Options{Now: time.Now, Random: rand.Reader})
	server := httptest.NewServer(standIn)
	t.Cleanup(server.Close)
	return configFor(server.URL), standIn
}

func configFor(endpoint string) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
}

// newTable creates a table on the endpoint of cfg.
func newTable(t *testing.T, cfg aws.Config, options ...func(*dynamodb.Options)) (*awscloud.Table, *dynamodb.Client, string) {
	t.Helper()
	client := dynamodb.NewFromConfig(cfg, append([]func(*dynamodb.Options){awscloud.RetryContention}, options...)...)
	name := "connector-test-" + rand.Text()
	if err := awscloud.CreateTable(t.Context(), client, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// t.Context is done by now.
		client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &name})
	})
	return awscloud.NewTable(client, name), client, name
}

// endpoint returns a configuration for what the variable names, or for the
// embedded AWS.
func endpoint(t *testing.T, variable string) aws.Config {
	t.Helper()
	if url := os.Getenv(variable); url != "" {
		return configFor(url)
	}
	cfg, _ := cloud(t)
	return cfg
}

func TestTable(t *testing.T) {
	t.Parallel()
	table, _, _ := newTable(t, endpoint(t, dynamoDBEndpoint))
	open := func(*testing.T) connector.Store { return table }
	t.Run("duties", func(t *testing.T) { connectortest.TestStore(t, open) })
	t.Run("concurrency", func(t *testing.T) { connectortest.TestStoreConcurrency(t, open) })
}

func TestVault(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(endpoint(t, secretsManagerEndpoint))
	vault := awscloud.NewVault(client, "connector-test-"+rand.Text(), "")
	connectortest.TestVault(t, func(*testing.T) credentialstore.Vault { return vault })
}

// An operator can make an old version current again. Its successor exists already.
func TestVault_ReplaceAfterRollback(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(endpoint(t, secretsManagerEndpoint))
	prefix := "connector-test-" + rand.Text()
	vault := awscloud.NewVault(client, prefix, "")
	replace := func(version, value string) string {
		t.Helper()
		made, err := vault.Replace(t.Context(), "apps/test", version, connector.NewSecret(value))
		if err != nil {
			t.Fatalf("replacing %s by %s: %v", version, value, err)
		}
		if got, current, err := vault.Get(t.Context(), "apps/test", ""); err != nil || got.Reveal() != value || current != made {
			t.Fatalf("after replacing %s by %s: %q, version %s, %v, want version %s", version, value, got.Reveal(), current, err, made)
		}
		return made
	}
	first := replace("", "test-value-1")
	second := replace(first, "test-value-2")
	for _, value := range []string{"test-value-2", "test-value-3"} {
		_, current, err := vault.Get(t.Context(), "apps/test", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: aws.String(prefix + "/apps/test"), VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &first, RemoveFromVersionId: &current,
		}); err != nil {
			t.Fatal(err)
		}
		if made := replace(first, value); made == second {
			t.Errorf("%s became version %s, which is an old one", value, made)
		}
	}
}

func TestSealer(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(endpoint(t, secretsManagerEndpoint))
	prefix := "connector-test-" + rand.Text()
	connectortest.TestSealer(t, func(*testing.T) credentialstore.Sealer { return awscloud.NewSealer(client, prefix, "") })
}

func TestVault_CredentialStore(t *testing.T) {
	t.Parallel()
	testCredentialStore(t, secretsmanager.NewFromConfig(endpoint(t, secretsManagerEndpoint)))
}

func testCredentialStore(t *testing.T, client *secretsmanager.Client) {
	prefix := "connector-test-" + rand.Text()
	connectortest.TestCredentialStore(t, func(*testing.T) connectortest.StoreUnderTest {
		return connectortest.NewSecretsUnderTest(awscloud.NewVault(client, prefix, ""), awscloud.NewSealer(client, prefix, ""))
	})
}

func TestVault_KMSKey(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(endpoint(t, secretsManagerEndpoint))
	const key = "arn:aws:kms:us-east-1:123456789012:key/test"
	for want, kmsKeyID := range map[string]string{key: key, "": ""} {
		prefix := "connector-test-" + rand.Text()
		if _, err := awscloud.NewVault(client, prefix, kmsKeyID).Put(t.Context(), "connections/test", connector.NewSecret("test-value")); err != nil {
			t.Fatal(err)
		}
		if err := awscloud.NewSealer(client, prefix, kmsKeyID).Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/connections/test", "/sealing-key"} {
			secret, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(prefix + name)})
			if err != nil {
				t.Fatal(err)
			}
			if got := aws.ToString(secret.KmsKeyId); got != want {
				t.Errorf("%s is encrypted with %q, want %q", name, got, want)
			}
		}
	}
}

// A connection that was disconnected by mistake can be restored for a week.
func TestVault_DeleteRecoveryWindow(t *testing.T) {
	t.Parallel()
	for purge, want := range map[bool]string{
		false: `{"RecoveryWindowInDays":7,"SecretId":"prefix/connections/test"}`,
		true:  `{"ForceDeleteWithoutRecovery":true,"SecretId":"prefix/connections/test"}`,
	} {
		var asked []byte
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked, _ = io.ReadAll(r.Body)
			io.WriteString(w, "{}")
		}))
		t.Cleanup(api.Close)
		vault := awscloud.NewVault(secretsmanager.NewFromConfig(configFor(api.URL)), "prefix", "")
		if err := vault.Delete(t.Context(), "connections/test", purge); err != nil || string(asked) != want {
			t.Errorf("purge %t: asked for %s, %v, want %s", purge, asked, err, want)
		}
	}
}

// A refresh must be able to seal new credentials even if Secrets Manager fails
// after Prepare.
func TestSealer_WithoutSecretsManager(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(awslocal.New(awslocal.Options{Now: time.Now, Random: rand.Reader}))
	t.Cleanup(server.Close)
	sealer := awscloud.NewSealer(secretsmanager.NewFromConfig(configFor(server.URL)), "prefix", "")
	if err := sealer.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Close()
	sealed, err := sealer.Seal(t.Context(), connector.NewSecret("test-value"), "purpose")
	if err != nil {
		t.Fatal(err)
	}
	if value, err := sealer.Open(t.Context(), sealed, "purpose"); err != nil || value.Reveal() != "test-value" {
		t.Errorf("Open: %v", err)
	}
}

func TestTable_CounterExpires(t *testing.T) {
	t.Parallel()
	cfg, _ := cloud(t)
	table, client, name := newTable(t, cfg)
	ends := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	if _, err := table.Reserve(t.Context(), "test", 1, 10, ends); err != nil {
		t.Fatal(err)
	}
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &name})
	if err != nil || len(out.Items) != 1 {
		t.Fatalf("%d records, %v", len(out.Items), err)
	}
	expires, ok := out.Items[0][awscloud.TableSchema().TTLAttribute].(*types.AttributeValueMemberN)
	if want := fmt.Sprint(ends.Unix() + 1); !ok || expires.Value != want {
		t.Errorf("expires at %+v, want %s", expires, want)
	}
}

// All processes must use the key of the one that created it first.
func TestSealer_ConcurrentFirstUses(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(endpoint(t, secretsManagerEndpoint))
	prefix := "connector-test-" + rand.Text()
	var (
		group  sync.WaitGroup
		sealed [10][]byte
	)
	for n := range sealed {
		group.Go(func() {
			var err error
			if sealed[n], err = awscloud.NewSealer(client, prefix, "").Seal(t.Context(), connector.NewSecret("test-value"), "purpose"); err != nil {
				t.Errorf("Seal: %v", err)
			}
		})
	}
	group.Wait()
	for _, b := range sealed {
		if value, err := awscloud.NewSealer(client, prefix, "").Open(t.Context(), b, "purpose"); err != nil || value.Reveal() != "test-value" {
			t.Errorf("Open: %v", err)
		}
	}
}
