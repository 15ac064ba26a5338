package awscloud_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// landed is what testdata/landed/expectations.json holds. Its README describes
// it.
type landed struct {
	Now          time.Time
	SecretPrefix string `json:"secret_prefix"`
	PublicURL    string `json:"public_url"`
	Connections  []landedConnection
	Due          []struct {
		Kind connector.Kind
		ID   string
	}
	Link  struct{ Token string }
	State struct {
		Platform    connector.Name
		State       string
		CookieName  string `json:"cookie_name"`
		CookieValue string `json:"cookie_value"`
		ReturnURL   string `json:"return_url"`
	}
	Pending struct {
		ID, Confirmation, Owner string
		DueAt                   time.Time `json:"due_at"`
		Confirmed               []landedConfirmed
	}
	Unrecorded struct {
		ID, Secret    string
		PlatformCalls []string `json:"platform_calls"`
	}
	Deletion struct {
		Code        string
		Deleted     int
		RequestedAt time.Time `json:"requested_at"`
	}
	Counter struct {
		ConnectionID connector.ID `json:"connection_id"`
		Used, Limit  int
		ResetsAt     time.Time `json:"resets_at"`
	}
	Breakers []struct {
		Platform           connector.Name
		Failures, Openings int
		Code               connector.Code
		Message            string
		OpenUntil          time.Time `json:"open_until"`
		Revision           int64
	}
	App struct {
		Platform             connector.Name
		ClientSecret         string    `json:"client_secret"`
		PreviousClientSecret string    `json:"previous_client_secret"`
		PreviousUntil        time.Time `json:"previous_until"`
	}
}

type landedConnection struct {
	Situation    string
	ConnectionID connector.ID `json:"connection_id"`
	Token        *landedToken
	TokenError   *landedError `json:"token_error"`
	// TokenCalls are the calls of the platform for a token. The previous release
	// stored no proof that keys were verified with the app's key.
	TokenCalls   []string `json:"token_calls"`
	Record       landedRecord
	Events       []string
	RefreshError *landedError `json:"refresh_error"`
	Due          struct {
		Outcome       connector.DueResult
		PlatformCalls []string `json:"platform_calls"`
		Status        connector.Status
		StatusReason  string `json:"status_reason"`
		Secret        string
	}
}

type landedToken struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresAt   time.Time `json:"expires_at"`
	Credentials map[string]string
}

type landedError struct {
	Code   connector.Code
	Reason string
}

type landedRecord struct {
	Status        connector.Status
	StatusReason  string   `json:"status_reason"`
	AccountID     string   `json:"account_id"`
	AccountName   string   `json:"account_name"`
	Scopes        []string `json:"scopes"`
	MissingScopes []string `json:"missing_scopes"`
	Generation    int64
	ExpiresAt     time.Time `json:"expires_at"`
}

type landedConfirmed struct {
	AccountID   string `json:"account_id"`
	AccountName string `json:"account_name"`
	AccessToken string `json:"access_token"`
}

func readLanded(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "landed", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// attribute is an attribute in DynamoDB's JSON.
type attribute struct {
	S, N *string
	B    []byte
	BOOL *bool
	L    []attribute
}

func (a attribute) value() types.AttributeValue {
	switch {
	case a.S != nil:
		return &types.AttributeValueMemberS{Value: *a.S}
	case a.N != nil:
		return &types.AttributeValueMemberN{Value: *a.N}
	case a.B != nil:
		return &types.AttributeValueMemberB{Value: a.B}
	case a.BOOL != nil:
		return &types.AttributeValueMemberBOOL{Value: *a.BOOL}
	}
	list := &types.AttributeValueMemberL{}
	for _, element := range a.L {
		list.Value = append(list.Value, element.value())
	}
	return list
}

// deployment is a service over a fresh copy of the landed table and secrets, on
// the embedded AWS. Its sandbox platforms know none of the stored tokens.
type deployment struct {
	*connector.Service
	landed  landed
	clock   *connectortest.Clock
	events  *connectortest.Events
	sandbox *sandbox.Sandbox
	secrets *secretsmanager.Client
	aws     *awslocal.Server
	cfg     aws.Config
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{events: connectortest.NewEvents()}
	readLanded(t, "expectations.json", &d.landed)
	d.clock = connectortest.NewClock(d.landed.Now)
	d.aws = awslocal.New(awslocal.Options{Now: d.clock.Now, Random: rand.NewChaCha8([32]byte{2})})
	server := httptest.NewServer(d.aws)
	t.Cleanup(server.Close)
	d.cfg = configFor(server.URL)
	cfg := d.cfg
	table, client, name := newTable(t, cfg)
	loadTable(t, client, name)
	d.secrets = secretsmanager.NewFromConfig(cfg)
	loadSecrets(t, d.secrets)

	uris := map[string][]string{}
	for _, name := range []string{sandbox.Facebook, sandbox.YouTube, sandbox.Twitter, sandbox.TikTok} {
		uris[name] = []string{d.landed.PublicURL + "/oauth/" + name + "/callback"}
	}
	d.sandbox = sandbox.New(sandbox.Options{Now: d.clock.Now, RedirectURIs: uris})
	platforms := httptest.NewServer(d.sandbox)
	t.Cleanup(platforms.Close)
	d.Service = &connector.Service{
		Platforms: platform.All(platform.Options{HTTP: platforms.Client(), Endpoints: sandbox.Endpoints(platforms.URL), Now: d.clock.Now}),
		Now:       d.clock.Now,
		// The seed of the stored records was {1}.
		Random: rand.NewChaCha8([32]byte{9}),
		Log:    slog.New(slog.DiscardHandler),
		Sleep: func(ctx context.Context, wait time.Duration) error {
			d.clock.Advance(wait)
			return ctx.Err()
		},
		PublicURL:     d.landed.PublicURL,
		ReturnOrigins: []string{"https://product.example.com"},
		AllowFull:     true,
	}
	connectortest.Ports{
		Store:  table,
		Vault:  awscloud.NewVault(d.secrets, d.landed.SecretPrefix, ""),
		Sealer: awscloud.NewSealer(d.secrets, d.landed.SecretPrefix, ""),
		Queue:  connectortest.NewQueue(),
		Events: d.events,
	}.Wire(d.Service, nil, credentialstore.Options{})
	return d
}

func loadTable(t *testing.T, client *dynamodb.Client, name string) {
	t.Helper()
	var items []map[string]attribute
	readLanded(t, "table.json", &items)
	for _, attributes := range items {
		i := map[string]types.AttributeValue{}
		for name, a := range attributes {
			i[name] = a.value()
		}
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &name, Item: i}); err != nil {
			t.Fatal(err)
		}
	}
}

func loadSecrets(t *testing.T, client *secretsmanager.Client) {
	t.Helper()
	var secrets map[string]struct {
		DeletedAt *time.Time `json:"deleted_at"`
		Versions  []struct {
			ID     string
			Stages []string
			Value  json.RawMessage
		}
	}
	readLanded(t, "secrets.json", &secrets)
	for name, secret := range secrets {
		for n, version := range secret.Versions {
			var value bytes.Buffer
			if err := json.Compact(&value, version.Value); err != nil {
				t.Fatal(err)
			}
			var err error
			if n == 0 {
				_, err = client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
					Name: &name, ClientRequestToken: &version.ID, SecretString: aws.String(value.String()),
				})
			} else {
				_, err = client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
					SecretId: &name, ClientRequestToken: &version.ID, SecretString: aws.String(value.String()), VersionStages: version.Stages,
				})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if secret.DeletedAt != nil {
			if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &name, RecoveryWindowInDays: aws.Int64(7)}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// calls returns the calls of the platforms.
func (d *deployment) calls() (calls []string) {
	for _, name := range []string{sandbox.Facebook, sandbox.YouTube, sandbox.Twitter, sandbox.TikTok} {
		for _, call := range d.sandbox.Calls(name, "") {
			calls = append(calls, name+"/"+call.Endpoint)
		}
	}
	return calls
}

// secretState returns live, recoverable or none.
func (d *deployment) secretState(t *testing.T, name string) string {
	t.Helper()
	described, err := d.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	switch {
	case err != nil && strings.Contains(err.Error(), "ResourceNotFound"):
		return "none"
	case err != nil:
		t.Fatal(err)
	case described.DeletedDate != nil:
		return "recoverable"
	}
	return "live"
}

func wantLandedError(t *testing.T, what string, got error, want landedError) {
	t.Helper()
	e := connector.AsError(got)
	if e == nil || e.Code != want.Code || e.Reason != want.Reason {
		t.Errorf("%s: got error %v, want %+v", what, got, want)
	}
}

// Every connection that the previous release stored can be read and used.
func TestLanded_Connections(t *testing.T) {
	t.Parallel()
	for _, want := range newDeployment(t).landed.Connections {
		t.Run(want.Situation, func(t *testing.T) {
			t.Parallel()
			t.Run("token", func(t *testing.T) { checkLandedToken(t, newDeployment(t), want) })
			t.Run("refresh", func(t *testing.T) { checkLandedRefresh(t, newDeployment(t), want) })
			// The previous release sends messages without a kind.
			for name, kind := range map[string]connector.Kind{"due": connector.ConnectionKind, "due_without_kind": ""} {
				t.Run(name, func(t *testing.T) { checkLandedDue(t, newDeployment(t), want, kind) })
			}
		})
	}
}

func checkLandedToken(t *testing.T, d *deployment, want landedConnection) {
	token, err := d.Token(t.Context(), connector.TokenRequest{ConnectionID: want.ConnectionID, MinTTL: connector.DefaultMinTTL})
	if want.TokenError != nil {
		wantLandedError(t, "Token", err, *want.TokenError)
	} else if err != nil {
		t.Fatalf("Token: %v", err)
	} else {
		got := landedToken{token.AccessToken.Reveal(), token.TokenType, token.ExpiresAt, token.Credentials.Reveal()}
		if len(got.Credentials) == 0 {
			got.Credentials = nil
		}
		if diff := cmp.Diff(want.Token, &got); diff != "" {
			t.Errorf("Token (-want +got):\n%s", diff)
		}
	}
	c, err := d.Store.Connection(t.Context(), want.ConnectionID)
	if err != nil {
		t.Fatal(err)
	}
	got := landedRecord{c.Status, c.StatusReason, c.AccountID, c.AccountName, c.Scopes, c.MissingScopes, c.Credentials.Generation, c.ExpiresAt}
	if diff := cmp.Diff(want.Record, got); diff != "" {
		t.Errorf("the connection (-want +got):\n%s", diff)
	}
	var events []string
	for _, event := range d.events.All() {
		events = append(events, string(event.Type))
	}
	if !slices.Equal(events, want.Events) {
		t.Errorf("events %q, want %q", events, want.Events)
	}
	if calls := d.calls(); !slices.Equal(calls, want.TokenCalls) {
		t.Errorf("called %q, want %q", calls, want.TokenCalls)
	}
}

func checkLandedRefresh(t *testing.T, d *deployment, want landedConnection) {
	if want.RefreshError == nil || want.RefreshError.Reason == "forced_too_often" {
		// This version counts forced refreshes in a counter, and does not read
		// the list of the previous release.
		t.Skip("the outcome depends on the platform")
	}
	_, err := d.Refresh(t.Context(), want.ConnectionID)
	wantLandedError(t, "Refresh", err, *want.RefreshError)
	if calls := d.calls(); len(calls) > 0 {
		t.Errorf("called %q, want no call of a platform", calls)
	}
}

func checkLandedDue(t *testing.T, d *deployment, want landedConnection, kind connector.Kind) {
	result, err := d.HandleDue(t.Context(), connector.RecordKey{Kind: kind, ID: string(want.ConnectionID)})
	if err != nil {
		t.Fatalf("HandleDue: %v", err)
	}
	if calls := d.calls(); !slices.Equal(calls, want.Due.PlatformCalls) {
		t.Errorf("called %q, want %q", calls, want.Due.PlatformCalls)
	}
	if want.Due.Outcome == "" {
		return // it depends on the platform
	}
	if result != want.Due.Outcome {
		t.Errorf("HandleDue = %q, want %q", result, want.Due.Outcome)
	}
	c, err := d.Store.Connection(t.Context(), want.ConnectionID)
	if want.Due.Status == "" {
		if !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("Connection: %v, want %v", err, connector.ErrNotFound)
		}
	} else if err != nil || c.Status != want.Due.Status || c.StatusReason != want.Due.StatusReason {
		t.Errorf("Connection: %s, %q, %v, want %s, %q", c.Status, c.StatusReason, err, want.Due.Status, want.Due.StatusReason)
	}
	if got := d.secretState(t, d.landed.SecretPrefix+"/connections/"+string(want.ConnectionID)); got != want.Due.Secret {
		t.Errorf("the secret is %s, want %s", got, want.Due.Secret)
	}
}

func TestLanded_QueueDue(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	if _, err := d.QueueDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, want := map[connector.RecordKey]bool{}, map[connector.RecordKey]bool{}
	for _, key := range d.Queue.(*connectortest.Queue).Drain() {
		got[key] = true
	}
	for _, due := range d.landed.Due {
		want[connector.RecordKey{Kind: due.Kind, ID: due.ID}] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("queued %v, want %v", got, want)
	}
}

func TestLanded_Start(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	started, err := d.Start(t.Context(), connector.NewSecret(d.landed.Link.Token))
	if err != nil {
		t.Fatal(err)
	}
	if u, err := url.Parse(started.URL.Reveal()); err != nil || u.Query().Get("state") == "" {
		t.Errorf("the authorize URL is malformed or has no state: %v", err)
	}
}

func TestLanded_Callback(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	state := d.landed.State
	for _, want := range []connector.Code{connector.AccessDenied, connector.AccessDenied} { // a reload gets the same answer
		result, err := d.Callback(t.Context(), connector.CallbackRequest{
			Platform: state.Platform, State: connector.NewSecret(state.State), Refusal: connector.Refusal{"error": "access_denied"},
			Browser: func(name string) connector.Secret {
				if name != state.CookieName {
					return connector.Secret{}
				}
				return connector.NewSecret(state.CookieValue)
			},
		})
		if !errors.Is(err, want) {
			t.Errorf("Callback: %v, want %s", err, want)
		}
		if result.ReturnURL != state.ReturnURL {
			t.Errorf("Callback returned %q, want %q", result.ReturnURL, state.ReturnURL)
		}
	}
}

func TestLanded_Confirm(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	pending := d.landed.Pending
	confirmed, err := d.Confirm(t.Context(), connector.NewSecret(pending.Confirmation), pending.Owner)
	if err != nil {
		t.Fatal(err)
	}
	var got []landedConfirmed
	for _, c := range confirmed.Connections {
		token, err := d.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, MinTTL: connector.DefaultMinTTL})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, landedConfirmed{c.AccountID, c.AccountName, token.AccessToken.Reveal()})
	}
	if diff := cmp.Diff(pending.Confirmed, got); diff != "" {
		t.Errorf("confirmed (-want +got):\n%s", diff)
	}
	if calls := d.calls(); len(calls) > 0 {
		t.Errorf("called %q, want no call of a platform", calls)
	}
	d.wantNoPending(t)
	if _, err := d.Confirm(t.Context(), connector.NewSecret(pending.Confirmation), pending.Owner); !errors.Is(err, connector.ConnectionNotFound) {
		t.Errorf("Confirm again: %v, want %s", err, connector.ConnectionNotFound)
	}
}

// wantNoPending checks that the pending consent and its secrets are gone.
func (d *deployment) wantNoPending(t *testing.T) {
	t.Helper()
	key := connector.RecordKey{Kind: connector.PendingKind, ID: d.landed.Pending.ID}
	if _, err := d.Store.Ticket(t.Context(), key, d.Now()); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("Ticket: %v, want %v", err, connector.ErrNotFound)
	}
	for _, n := range []string{"0", "1"} {
		if got := d.secretState(t, d.landed.SecretPrefix+"/pending/"+key.ID+"/"+n); got != "none" {
			t.Errorf("the secret of grant %s is %s, want none", n, got)
		}
	}
}

func TestLanded_Pending(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]connector.Kind{"typed": connector.PendingKind, "without_kind": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			key := connector.RecordKey{Kind: kind, ID: d.landed.Pending.ID}
			if result, err := d.HandleDue(t.Context(), key); result != connector.NotDue || err != nil {
				t.Errorf("HandleDue while it can be confirmed = %q, %v, want %q", result, err, connector.NotDue)
			}
			d.clock.Advance(d.landed.Pending.DueAt.Sub(d.Now()))
			if result, err := d.HandleDue(t.Context(), key); result != connector.Expired || err != nil {
				t.Errorf("HandleDue = %q, %v, want %q", result, err, connector.Expired)
			}
			d.wantNoPending(t)
		})
	}
}

func TestLanded_Unrecorded(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]connector.Kind{"typed": connector.UnrecordedKind, "without_kind": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			orphan := d.landed.Unrecorded
			if got := d.secretState(t, orphan.Secret); got != "live" {
				t.Fatalf("the secret is %s, want live", got)
			}
			if result, err := d.HandleDue(t.Context(), connector.RecordKey{Kind: kind, ID: orphan.ID}); result != connector.Gone || err != nil {
				t.Errorf("HandleDue = %q, %v, want %q", result, err, connector.Gone)
			}
			if calls := d.calls(); !slices.Equal(calls, orphan.PlatformCalls) {
				t.Errorf("called %q, want %q", calls, orphan.PlatformCalls)
			}
			if got := d.secretState(t, orphan.Secret); got != "none" {
				t.Errorf("the secret is %s, want none", got)
			}
			if _, err := d.Store.Ticket(t.Context(), connector.RecordKey{Kind: connector.UnrecordedKind, ID: orphan.ID}, d.Now()); !errors.Is(err, connector.ErrNotFound) {
				t.Errorf("Ticket: %v, want %v", err, connector.ErrNotFound)
			}
		})
	}
}

func TestLanded_Deletion(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	want := d.landed.Deletion
	got, err := d.DeletionStatus(t.Context(), connector.NewSecret(want.Code))
	if err != nil || got.Deleted != want.Deleted || !got.RequestedAt.Equal(want.RequestedAt) {
		t.Errorf("DeletionStatus = %+v, %v, want %+v", got, err, want)
	}
}

func TestLanded_Counter(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	want := d.landed.Counter
	got, err := d.Reserve(t.Context(), want.ConnectionID, 1)
	if err != nil || got.Used != want.Used+1 || got.Limit != want.Limit || !got.ResetsAt.Equal(want.ResetsAt) {
		t.Errorf("Reserve = %+v, %v, want %+v and one more", got, err, want)
	}
}

func TestLanded_Breaker(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	for _, want := range d.landed.Breakers {
		key := connector.BreakerKey{Platform: want.Platform}
		got, err := d.Store.Breaker(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(connector.Breaker{
			BreakerKey: key, Revision: want.Revision,
			Circuit: connector.Circuit{
				Failures: want.Failures, ConsecutiveTrips: want.Openings,
				Code: want.Code, Message: want.Message, OpenUntil: want.OpenUntil,
			},
		}, got); diff != "" {
			t.Errorf("Breaker of %s (-want +got):\n%s", want.Platform, diff)
		}
		got.Failures = 0
		if _, err := d.Store.PutBreaker(t.Context(), got); err != nil {
			t.Errorf("PutBreaker of %s: %v", want.Platform, err)
		}
	}
}

func TestLanded_App(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	want := d.landed.App
	got, err := d.PlatformStatus(t.Context(), want.Platform)
	if err != nil {
		t.Fatal(err)
	}
	if got.App.ClientSecret.Reveal() != want.ClientSecret || got.App.PreviousSecret.Reveal() != want.PreviousClientSecret || !got.App.PreviousUntil.Equal(want.PreviousUntil) {
		t.Errorf("PlatformStatus = %+v, want the secret, the previous one, and its end at %v", got.App, want.PreviousUntil)
	}
}
