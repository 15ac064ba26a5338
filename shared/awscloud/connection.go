package awscloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"platform-api-connector/shared/connector"
)

// connectionItem is a connection as it is stored: the attributes of the
// contract's record under its names, what the connector needs besides, and the
// keys of the indexes that the connection is in.
type connectionItem struct {
	Key             string           `dynamodbav:"pk"`
	ID              connector.ID     `dynamodbav:"id"`
	Platform        connector.Name   `dynamodbav:"platform,omitempty"`
	Owner           string           `dynamodbav:"owner,omitempty"`
	AccountID       string           `dynamodbav:"account_id,omitempty"`
	AccountName     string           `dynamodbav:"account_name,omitempty"`
	Scopes          []string         `dynamodbav:"scopes,omitempty"`
	MissingScopes   []string         `dynamodbav:"missing_scopes,omitempty"`
	Status          connector.Status `dynamodbav:"status,omitempty"`
	StatusReason    string           `dynamodbav:"status_reason,omitempty"`
	ExpiresAt       time.Time        `dynamodbav:"expires_at,omitempty"`
	GrantExpiresAt  time.Time        `dynamodbav:"grant_expires_at,omitempty"`
	RefreshAt       time.Time        `dynamodbav:"refresh_at,omitempty"`
	LastRefreshedAt time.Time        `dynamodbav:"last_refreshed_at,omitempty"`
	Failures        int              `dynamodbav:"failures,omitempty"`
	VerifiedAt      time.Time        `dynamodbav:"verified_at,omitempty"`
	CreatedAt       time.Time        `dynamodbav:"created_at,omitempty"`
	UpdatedAt       time.Time        `dynamodbav:"updated_at,omitempty"`
	Revision        int64            `dynamodbav:"revision"`
	UserID          string           `dynamodbav:"user_id,omitempty"`
	StableID        string           `dynamodbav:"stable_id,omitempty"`
	ConsentID       string           `dynamodbav:"consent_id,omitempty"`
	Client          string           `dynamodbav:"client,omitempty"`
	Generation      int64            `dynamodbav:"generation,omitempty"`
	SecretVersion   string           `dynamodbav:"credentials_version,omitempty"`
	Sealed          []byte           `dynamodbav:"sealed,omitempty"`
	// BoundVersion is the generation and version that are bound. A release that
	// does not know the attribute leaves it behind when it writes another version.
	BoundVersion     string         `dynamodbav:"bound_version,omitempty"`
	IssuedAt         time.Time      `dynamodbav:"issued_at,omitempty"`
	LeaseHolder      string         `dynamodbav:"lease_holder,omitempty"`
	LeaseUntil       time.Time      `dynamodbav:"lease_until,omitempty"`
	AttemptOf        int64          `dynamodbav:"attempt_generation,omitempty"`
	AttemptAt        time.Time      `dynamodbav:"attempt_at,omitempty"`
	AttemptUncertain bool           `dynamodbav:"attempt_uncertain,omitempty"`
	AttemptCode      connector.Code `dynamodbav:"attempt_code,omitempty"`
	AttemptMessage   string         `dynamodbav:"attempt_message,omitempty"`
	AttemptRetryAt   time.Time      `dynamodbav:"attempt_retry_at,omitempty"`
	DegradedCode     connector.Code `dynamodbav:"degraded_code,omitempty"`
	DegradedFailures int            `dynamodbav:"degraded_failures,omitempty"`
	DegradedChecked  bool           `dynamodbav:"degraded_checked,omitempty"`
	DegradedWarning  string         `dynamodbav:"degraded_warning,omitempty"`
	ExpiryNoticeDays int            `dynamodbav:"warned,omitempty"`
	ConsentedAt      time.Time      `dynamodbav:"consented_at,omitempty"`
	Purge            bool           `dynamodbav:"purge,omitempty"`
	ForgetSecret     bool           `dynamodbav:"forget_secret,omitempty"`

	// Write is the nonce of the write that wrote the item.
	Write string `dynamodbav:"write"`

	// Account is the key of the account's claim, and User the key of the index
	// by_user. A disconnected connection has no claim, and is deleted at Expires.
	// The previous release removed its User as well.
	Account string `dynamodbav:"account,omitempty"`
	User    string `dynamodbav:"user,omitempty"`
	Expires int64  `dynamodbav:"expires,omitempty"`

	// DueShard and DueAt are the keys of the index of what is due. A claim moves
	// DueAt, and no revision with it.
	DueShard string    `dynamodbav:"due_shard,omitempty"`
	DueAt    time.Time `dynamodbav:"due_at,omitempty"`
}

// encodeConnection returns the item of c, written by the write of that nonce.
func encodeConnection(c connector.Connection, write string) item {
	i := connectionItem{
		Key: connectionKey(c.ID), ID: c.ID, Platform: c.Platform, Owner: c.Owner,
		AccountID: c.AccountID, AccountName: c.AccountName, UserID: c.UserID, StableID: c.StableID, ConsentID: c.ConsentID, Client: c.Client,
		Scopes: c.Scopes, MissingScopes: c.MissingScopes,
		Status: c.Status, StatusReason: c.StatusReason, Failures: c.Failures,
		ExpiresAt: c.ExpiresAt, GrantExpiresAt: c.GrantExpiresAt, RefreshAt: c.RefreshAt,
		LastRefreshedAt: c.LastRefreshedAt, VerifiedAt: c.VerifiedAt,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, Revision: c.Revision,
		Generation: c.Credentials.Generation, SecretVersion: c.Credentials.Version, Sealed: c.Credentials.Sealed,
		IssuedAt:    c.IssuedAt,
		LeaseHolder: c.Lease.Holder, LeaseUntil: c.Lease.Until,
		AttemptOf: c.Attempt.Generation, AttemptAt: c.Attempt.At, AttemptUncertain: c.Attempt.Uncertain,
		AttemptCode: c.Attempt.Code, AttemptMessage: c.Attempt.Message, AttemptRetryAt: c.Attempt.RetryAt,
		DegradedCode: c.Degraded.Code, DegradedFailures: c.Degraded.Failures,
		DegradedChecked: c.Degraded.Checked, DegradedWarning: c.Degraded.Warning,
		ExpiryNoticeDays: c.ExpiryNoticeDays,
		ConsentedAt:      c.ConsentedAt, Purge: c.Purge, ForgetSecret: c.ForgetSecret,
		Write:   write,
		Account: accountOf(c),
	}
	if c.Credentials.Bound {
		i.BoundVersion = boundVersion(c.Credentials)
	}
	if !c.RefreshAt.IsZero() {
		i.DueShard, i.DueAt = shardKey(shardOf(string(c.ID))), c.RefreshAt
	}
	if c.Status == connector.Disconnected {
		i.Expires = ttl(c.UpdatedAt.Add(connector.DisconnectedFor))
	}
	if c.UserID != "" {
		i.User = userKey(c.Platform, c.UserID)
	}
	return encode(i)
}

func decodeConnection(from item) (connector.Connection, error) {
	i, err := decode[connectionItem](from)
	c := connector.Connection{
		ID: i.ID, Platform: i.Platform, Owner: i.Owner,
		AccountID: i.AccountID, AccountName: i.AccountName, UserID: i.UserID, StableID: i.StableID, ConsentID: i.ConsentID, Client: i.Client,
		Scopes: i.Scopes, MissingScopes: i.MissingScopes,
		Status: i.Status, StatusReason: i.StatusReason, Failures: i.Failures,
		ExpiresAt: i.ExpiresAt, GrantExpiresAt: i.GrantExpiresAt, RefreshAt: i.RefreshAt,
		LastRefreshedAt: i.LastRefreshedAt, VerifiedAt: i.VerifiedAt,
		CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt, Revision: i.Revision,
		Credentials: connector.CredentialsRef{Generation: i.Generation, Version: i.SecretVersion, Sealed: i.Sealed},
		IssuedAt:    i.IssuedAt,
		Lease:       connector.Lease{Holder: i.LeaseHolder, Until: i.LeaseUntil},
		Attempt: connector.Attempt{
			Generation: i.AttemptOf, At: i.AttemptAt, Uncertain: i.AttemptUncertain,
			Code: i.AttemptCode, Message: i.AttemptMessage, RetryAt: i.AttemptRetryAt,
		},
		Degraded: connector.Degradation{
			Failures: i.DegradedFailures, Code: i.DegradedCode, Checked: i.DegradedChecked, Warning: i.DegradedWarning,
		},
		ExpiryNoticeDays: i.ExpiryNoticeDays,
		ConsentedAt:      i.ConsentedAt, Purge: i.Purge, ForgetSecret: i.ForgetSecret,
	}
	c.Credentials.Bound = i.BoundVersion != "" && i.BoundVersion == boundVersion(c.Credentials)
	return c, err
}

func boundVersion(ref connector.CredentialsRef) string {
	return fmt.Sprintf("%d %s", ref.Generation, ref.Version)
}

const connectionPrefix = "connection#"

func connectionKey(id connector.ID) string { return connectionPrefix + string(id) }

// userKey is unambiguous because no platform has a "#" in its name.
func userKey(platform connector.Name, userID string) string {
	return string(platform) + "#" + userID
}

// parseUserKey is the inverse of userKey.
func parseUserKey(key string) (connector.Name, string) {
	platform, userID, _ := strings.Cut(key, "#")
	return connector.Name(platform), userID
}

// accountItem is the claim to an account. It has an owner for people who look at
// the table, but no id, so that it is in no index.
type accountItem struct {
	Key          string         `dynamodbav:"pk"`
	ConnectionID connector.ID   `dynamodbav:"connection_id"`
	Owner        string         `dynamodbav:"owner,omitempty"`
	Platform     connector.Name `dynamodbav:"platform,omitempty"`
	AccountID    string         `dynamodbav:"account_id,omitempty"`
}

// accountKey is the key of the claim to an account. The lengths keep apart "a#b"
// with "c" and "a" with "b#c".
func accountKey(owner string, platform connector.Name, accountID string) string {
	h := sha256.New()
	for _, part := range []string{owner, string(platform), accountID} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "account#" + hex.EncodeToString(h.Sum(nil))
}

// accountOf returns the key of the claim that c holds, "" if it holds none.
func accountOf(c connector.Connection) string {
	if c.Status == connector.Disconnected {
		return ""
	}
	return accountKey(c.Owner, c.Platform, c.AccountID)
}

// Connection implements connector.Store.
func (t *Table) Connection(ctx context.Context, id connector.ID) (connector.Connection, error) {
	i, err := t.get(ctx, connectionKey(id))
	if err != nil {
		return connector.Connection{}, fmt.Errorf("reading a connection: %w", err)
	}
	return decodeConnection(i)
}

// FindAccount implements connector.Store.
func (t *Table) FindAccount(ctx context.Context, owner string, platform connector.Name, accountID string) (connector.Connection, error) {
	key := accountKey(owner, platform, accountID)
	// Another connection may claim the account between the two reads.
	for range 3 {
		i, err := t.get(ctx, key)
		if err != nil {
			return connector.Connection{}, fmt.Errorf("finding an account: %w", err)
		}
		claim, err := decode[accountItem](i)
		if err != nil {
			return connector.Connection{}, err
		}
		c, err := t.Connection(ctx, claim.ConnectionID)
		if err != nil && !errors.Is(err, connector.ErrNotFound) {
			return connector.Connection{}, err
		}
		if err == nil && accountOf(c) == key {
			return c, nil
		}
	}
	return connector.Connection{}, connector.ErrNotFound
}

// connectionWrites returns the writes of a change's connection and of the claims
// to its accounts. Neither needs a read: the condition on the revision makes sure
// that the item is what change.Before says.
func (t *Table) connectionWrites(change connector.Change, nonce string) []types.TransactWriteItem {
	var before, after item
	var freed, claimed string
	if change.Before != nil {
		before, freed = encodeConnection(*change.Before, ""), accountOf(*change.Before)
	}
	if change.After != nil {
		after, claimed = encodeConnection(*change.After, nonce), accountOf(*change.After)
	}

	var writes []types.TransactWriteItem
	switch {
	case before != nil && after != nil:
		u := t.update(before, after, "due_at", "due_shard")
		u.ConditionExpression = aws.String("#revision = :seen")
		u.ExpressionAttributeValues[":seen"] = before["revision"]
		writes = append(writes, types.TransactWriteItem{Update: u})
	case after != nil:
		writes = append(writes, t.putNew(after))
	case before != nil:
		writes = append(writes, types.TransactWriteItem{Delete: &types.Delete{
			TableName: t.name, Key: item{partitionKey: before[partitionKey]},
			ConditionExpression:       aws.String("#revision = :seen"),
			ExpressionAttributeNames:  map[string]string{"#revision": "revision"},
			ExpressionAttributeValues: item{":seen": before["revision"]},
		}})
	}
	if freed == claimed {
		return writes
	}
	if freed != "" {
		writes = append(writes, t.freeAccount(freed, change.Before.ID))
	}
	if claimed != "" {
		c := change.After
		writes = append(writes, t.putNew(encode(accountItem{Key: claimed, ConnectionID: c.ID, Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID})))
	}
	return writes
}

func (t *Table) putNew(i item) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{
		TableName: t.name, Item: i, ConditionExpression: aws.String("attribute_not_exists(pk)"),
	}}
}

// freeAccount deletes the claim of a connection to an account. A claim that is
// gone already is no obstacle.
func (t *Table) freeAccount(key string, id connector.ID) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{
		TableName: t.name, Key: keyOf(key),
		ConditionExpression:       aws.String("attribute_not_exists(pk) OR connection_id = :id"),
		ExpressionAttributeValues: item{":id": text(string(id))},
	}}
}

// connectionID returns the id of the connection whose item has that key.
func connectionID(key string) connector.ID {
	return connector.ID(strings.TrimPrefix(key, connectionPrefix))
}
