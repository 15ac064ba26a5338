package main

import (
	"crypto/rand"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
)

// A call that the blueprint does not grant to the function that makes it fails as on
// AWS: each write of a transaction, and each query of an index.
func TestEnforceGrants(t *testing.T) {
	t.Parallel()
	var refused []string
	server := httptest.NewServer(enforceGrants(awslocal.New(awslocal.Options{Now: time.Now, Random: rand.Reader}), func(problem string) { refused = append(refused, problem) }))
	t.Cleanup(server.Close)
	table := func(function string) *awscloud.Table {
		cfg := aws.Config{
			Region: "us-east-1", BaseEndpoint: &server.URL,
			Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		}
		if function != "" {
			cfg.AppID = functionPrefix + function
		}
		return awscloud.NewTable(dynamodb.NewFromConfig(cfg), "table")
	}
	if err := awscloud.CreateTable(t.Context(), dynamodb.New(dynamodb.Options{
		BaseEndpoint: &server.URL, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}), "table"); err != nil {
		t.Fatal(err)
	}
	connection := func() connector.Change {
		id, err := connector.NewID(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return connector.Change{After: &connector.Connection{ID: id, Owner: "acme", Platform: "youtube", AccountID: string(id), Status: connector.Active}}
	}
	state := func() connector.Change {
		return connector.Change{Put: []connector.Ticket{{RecordKey: connector.RecordKey{Kind: connector.StateKind, ID: rand.Text()}, ExpiresAt: time.Now().Add(time.Minute)}}}
	}
	commit := func(change func() connector.Change) func(*awscloud.Table) error {
		return func(table *awscloud.Table) error {
			_, err := table.Commit(t.Context(), change())
			return err
		}
	}
	list := func(owner string) func(*awscloud.Table) error {
		return func(table *awscloud.Table) error {
			_, _, err := table.Connections(t.Context(), connector.Filter{Owner: owner}, "", 10)
			return err
		}
	}
	for name, row := range map[string]struct {
		function string
		call     func(*awscloud.Table) error
		allowed  bool
	}{
		"state by oauth-start":        {blueprint.OAuthStart, commit(state), true},
		"connection by oauth-start":   {blueprint.OAuthStart, commit(connection), false},
		"connection by callback":      {blueprint.OAuthCallback, commit(connection), true},
		"state by token-get":          {blueprint.TokenGet, commit(state), false},
		"owner's list by token-get":   {blueprint.TokenGet, list("acme"), true},
		"everybody's by token-get":    {blueprint.TokenGet, list(""), false},
		"everybody's by the sweep":    {blueprint.Refresh, list(""), true},
		"connection by somebody else": {"", commit(connection), true},
	} {
		before := len(refused)
		err := row.call(table(row.function))
		var denied smithy.APIError
		if row.allowed && err != nil || !row.allowed && (!errors.As(err, &denied) || denied.ErrorCode() != "AccessDeniedException") {
			t.Errorf("%s: %v, want allowed %t", name, err, row.allowed)
		}
		if (len(refused) > before) == row.allowed {
			t.Errorf("%s: reported %q", name, refused[before:])
		}
	}
}
