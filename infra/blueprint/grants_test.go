package blueprint_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/connector"
)

// notMade lists calls that callsOf returns although they never happen. A test
// proves the reason of each.
var notMade = map[string][]call{
	// Connections scans for all owners and queries for one. Token always names
	// an owner, and so does the callback, which the worker continues; the hourly count never does. See TestGrants_OwnersConnections.
	blueprint.TokenGet:      {{"dynamodb:Scan", blueprint.OwnerIndex}},
	blueprint.OAuthCallback: {{"dynamodb:Scan", blueprint.OwnerIndex}},
	blueprint.RefreshWorker: {{"dynamodb:Scan", blueprint.OwnerIndex}},
	blueprint.Refresh:       {{"dynamodb:Query", blueprint.OwnerIndex}},
	// Commit writes connections and deletes records. Start commits one new
	// ticket and one replacement; see TestGrants_NewTicket.
	blueprint.OAuthStart: {{"dynamodb:DeleteItem", blueprint.Table}},
}

// notRead lists kinds of tickets that callsOf returns although the function makes no call
// about them.
var notRead = map[string][]connector.Kind{
	// A pending consent may be a ticket of the previous release. Only the sweep meets one:
	// it is due, and the index of persons does not have it.
	blueprint.Connections:    {connector.UnrecordedKind},
	blueprint.PlatformNotice: {connector.UnrecordedKind},
}

// TestGrants compares the grants with the calls that the code can make.
func TestGrants(t *testing.T) {
	program := load(t)
	for _, f := range blueprint.Functions() {
		t.Run(f.Name, func(t *testing.T) {
			calls, tickets, err := program.callsOf(f.Name)
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range notRead[f.Name] {
				if !tickets[kind] {
					t.Errorf("tickets of the kind %s are no longer found: remove them from notRead", kind)
				}
				delete(tickets, kind)
			}
			for kind := range tickets {
				pattern := "ticket#" + string(kind) + "#*"
				if !slices.ContainsFunc(blueprint.Grants(f.Name), func(g blueprint.Grant) bool { return slices.Contains(g.Keys, pattern) }) {
					t.Errorf("the code is about tickets of the kind %s, and no call on %s is granted", kind, pattern)
				}
			}
			for _, c := range notMade[f.Name] {
				if !calls[c] {
					t.Errorf("%s on %q is no longer found: remove it from notMade", c.action, c.resource)
				}
				delete(calls, c)
			}
			granted := map[call]bool{}
			for _, grant := range blueprint.Grants(f.Name) {
				for _, action := range grant.Actions {
					granted[call{action, grant.Resource}] = true
				}
			}
			for c := range calls {
				if !granted[c] {
					t.Errorf("the code calls %s on %q, which is not granted", c.action, c.resource)
				}
			}
			for c := range granted {
				if !calls[c] {
					t.Errorf("%s on %q is granted, but the code never calls it", c.action, c.resource)
				}
			}
		})
	}
}

// TestGrants_Limits holds limits that stay whatever the code calls.
func TestGrants_Limits(t *testing.T) {
	t.Parallel()
	for _, f := range blueprint.Functions() {
		for _, grant := range blueprint.Grants(f.Name) {
			for _, action := range grant.Actions {
				switch {
				case strings.Contains(action, "*"):
					t.Errorf("%s: %s has a wildcard", f.Name, action)
				case f.Name == blueprint.OAuthStart && grant.Resource == blueprint.ConnectionSecrets:
					t.Errorf("oauth-start can reach tokens: %s", action)
				case f.Name == blueprint.TokenGet && action == "dynamodb:Scan":
					t.Error("token-get can go through the table")
				case f.Name == blueprint.Refresh && strings.HasPrefix(action, "secretsmanager:"):
					t.Errorf("refresh can reach secrets: %s", action)
				case grant.Resource == blueprint.Table && slices.Contains([]string{"dynamodb:Scan", "dynamodb:Query"}, action):
					t.Errorf("%s: %s on the whole table, not on an index", f.Name, action)
				}
			}
		}
	}
}

// TestFunctions_SecretKMSKeyID: a function gets the key's id if it creates
// secrets, and otherwise not.
func TestFunctions_SecretKMSKeyID(t *testing.T) {
	t.Parallel()
	for _, f := range blueprint.Functions() {
		creates := slices.ContainsFunc(blueprint.Grants(f.Name), func(g blueprint.Grant) bool {
			return slices.Contains(g.Actions, "secretsmanager:CreateSecret")
		})
		if told := slices.Contains(f.Environment, config.SecretKMSKeyID); told != creates {
			t.Errorf("%s: creates secrets %v, has the key %v", f.Name, creates, told)
		}
	}
}

// recordingTable returns a table whose calls are only recorded.
func recordingTable(t *testing.T, targets *[]string) *awscloud.Table {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*targets = append(*targets, r.Header.Get("X-Amz-Target"))
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, `{"Items":[]}`)
	}))
	t.Cleanup(server.Close)
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
	return awscloud.NewTable(client, "table")
}

func TestGrants_NewTicket(t *testing.T) {
	t.Parallel()
	var targets []string
	table := recordingTable(t, &targets)
	ticket := connector.Ticket{RecordKey: connector.RecordKey{Kind: connector.StateKind, ID: "state"}}
	for _, change := range []connector.Change{
		{Put: []connector.Ticket{ticket}},
		{Replace: []connector.Replacement{{Old: ticket, New: ticket}}},
	} {
		if _, err := table.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"DynamoDB_20120810.PutItem", "DynamoDB_20120810.PutItem"}; !slices.Equal(targets, want) {
		t.Errorf("calls for a new ticket and a replacement = %v, want %v", targets, want)
	}
}

func TestGrants_OwnersConnections(t *testing.T) {
	t.Parallel()
	var targets []string
	table := recordingTable(t, &targets)
	for _, owner := range []string{"acme", ""} {
		if _, _, err := table.Connections(t.Context(), connector.Filter{Owner: owner, Platform: "youtube"}, "", 10); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"DynamoDB_20120810.Query", "DynamoDB_20120810.Scan"}; !slices.Equal(targets, want) {
		t.Errorf("calls for one owner and for all = %v, want %v", targets, want)
	}
}
