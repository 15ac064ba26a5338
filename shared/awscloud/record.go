package awscloud

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"

	"platform-api-connector/shared/connector"
)

const connectionPrefix = "connection#"

func connectionKey(id connector.ID) string { return connectionPrefix + string(id) }

// accountKey names the record of who holds an account. The lengths keep
// "a#b" and "c" from meeting "a" and "b#c".
func accountKey(owner string, platform connector.Name, accountID string) string {
	h := sha256.New()
	for _, part := range []string{owner, string(platform), accountID} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "account#" + hex.EncodeToString(h.Sum(nil))
}

// accountOf returns the key of the account that c holds, "" if none.
func accountOf(c connector.Connection) string {
	if c.Status == connector.Disconnected {
		return ""
	}
	return accountKey(c.Owner, c.Platform, c.AccountID)
}

// userKey is unambiguous because no platform has a "#" in its name.
func userKey(platform connector.Name, userID string) string {
	return string(platform) + "#" + userID
}

func shardKey(shard int) string { return fmt.Sprintf("due#%02d", shard) }

func shardOf(id connector.ID) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return int(h.Sum32() % connector.DueShards)
}

// encodeConnection returns c as it is stored: the attributes of the
// contract's record under its names, what the connector needs besides, and
// the keys of the indexes that c belongs in. write names the write itself.
func encodeConnection(c connector.Connection, write string) item {
	i := item{
		"pk":       text(connectionKey(c.ID)),
		"id":       text(string(c.ID)),
		"revision": number(c.Revision),
		"write":    text(write),
	}
	i.setText("platform", string(c.Platform))
	i.setText("owner", c.Owner)
	i.setText("account_id", c.AccountID)
	i.setText("account_name", c.AccountName)
	setList(i, "scopes", c.Scopes, text)
	setList(i, "missing_scopes", c.MissingScopes, text)
	i.setText("status", string(c.Status))
	i.setText("status_reason", c.StatusReason)
	i.setTime("expires_at", c.ExpiresAt)
	i.setTime("grant_expires_at", c.GrantExpiresAt)
	i.setTime("refresh_at", c.RefreshAt)
	i.setTime("last_refreshed_at", c.LastRefreshedAt)
	i.setNumber("failures", int64(c.Failures))
	i.setTime("verified_at", c.VerifiedAt)
	i.setTime("created_at", c.CreatedAt)
	i.setTime("updated_at", c.UpdatedAt)
	i.setText("user_id", c.UserID)
	i.setText("consent_id", c.ConsentID)
	i.setText("credentials_version", c.CredentialsVersion)
	i.setNumber("generation", c.Generation)
	i.setTime("issued_at", c.IssuedAt)
	i.setBytes("sealed", c.Sealed)
	i.setText("lease_holder", c.Lease.Holder)
	i.setTime("lease_until", c.Lease.Until)
	i.setNumber("attempt_generation", c.Attempt.Generation)
	i.setTime("attempt_at", c.Attempt.At)
	i.setFlag("attempt_uncertain", c.Attempt.Uncertain)
	i.setText("attempt_code", string(c.Attempt.Code))
	i.setText("attempt_message", c.Attempt.Message)
	i.setTime("attempt_retry_at", c.Attempt.RetryAt)
	setList(i, "forced_at", c.ForcedAt, instant)
	i.setNumber("warned", int64(c.Warned))

	if !c.RefreshAt.IsZero() {
		i.setText("due_shard", shardKey(shardOf(c.ID)))
		i.setTime("due_at", c.RefreshAt)
	}
	if c.Status == connector.Disconnected {
		i["expires"] = sweepAfter(c.UpdatedAt.Add(connector.DisconnectedFor))
		return i
	}
	i.setText("account", accountOf(c))
	if c.UserID != "" {
		i.setText("user", userKey(c.Platform, c.UserID))
	}
	return i
}

func decodeConnection(i item) (connector.Connection, error) {
	r := &reader{item: i}
	c := connector.Connection{
		ID:                 connector.ID(r.text("id")),
		Platform:           connector.Name(r.text("platform")),
		Owner:              r.text("owner"),
		AccountID:          r.text("account_id"),
		AccountName:        r.text("account_name"),
		Scopes:             getList(r, "scopes", r.textOf),
		MissingScopes:      getList(r, "missing_scopes", r.textOf),
		Status:             connector.Status(r.text("status")),
		StatusReason:       r.text("status_reason"),
		ExpiresAt:          r.time("expires_at"),
		GrantExpiresAt:     r.time("grant_expires_at"),
		RefreshAt:          r.time("refresh_at"),
		LastRefreshedAt:    r.time("last_refreshed_at"),
		Failures:           int(r.number("failures")),
		VerifiedAt:         r.time("verified_at"),
		CreatedAt:          r.time("created_at"),
		UpdatedAt:          r.time("updated_at"),
		Revision:           r.number("revision"),
		UserID:             r.text("user_id"),
		ConsentID:          r.text("consent_id"),
		CredentialsVersion: r.text("credentials_version"),
		Generation:         r.number("generation"),
		IssuedAt:           r.time("issued_at"),
		Sealed:             r.bytes("sealed"),
		Lease: connector.Lease{
			Holder: r.text("lease_holder"),
			Until:  r.time("lease_until"),
		},
		Attempt: connector.Attempt{
			Generation: r.number("attempt_generation"),
			At:         r.time("attempt_at"),
			Uncertain:  r.flag("attempt_uncertain"),
			Code:       connector.Code(r.text("attempt_code")),
			Message:    r.text("attempt_message"),
			RetryAt:    r.time("attempt_retry_at"),
		},
		ForcedAt: getList(r, "forced_at", r.timeOf),
		Warned:   int(r.number("warned")),
	}
	return c, r.err
}

func encodeTicket(t connector.Ticket, write string) item {
	i := item{
		"pk":      text(ticketKey(t.Kind, t.Hash)),
		"write":   text(write),
		"expires": sweepAfter(t.ExpiresAt),
	}
	i.setText("bound", t.Bound)
	i.setText("body", string(t.Body))
	i.setTime("expires_at", t.ExpiresAt)
	if !t.DueAt.IsZero() {
		i.setText("due_shard", shardKey(shardOf(connector.ID(t.Hash))))
		i.setTime("due_at", t.DueAt)
	}
	return i
}

func decodeTicket(kind connector.TicketKind, hash string, i item) (connector.Ticket, error) {
	r := &reader{item: i}
	t := connector.Ticket{
		Kind: kind, Hash: hash,
		Bound:     r.text("bound"),
		Body:      []byte(r.text("body")),
		ExpiresAt: r.time("expires_at"),
		DueAt:     r.time("due_at"),
	}
	return t, r.err
}

const ticketPrefix = "ticket#"

func ticketKey(kind connector.TicketKind, hash string) string {
	return ticketPrefix + string(kind) + "#" + hash
}

// decodeDue reads what the index of what is due has of a record. No kind of
// ticket has a "#" in its name.
func decodeDue(i item) (connector.Due, error) {
	r := &reader{item: i}
	d := connector.Due{ID: idOf(i), DueAt: r.time("due_at")}
	if name, ok := strings.CutPrefix(r.text("pk"), ticketPrefix); ok {
		kind, hash, _ := strings.Cut(name, "#")
		d.Ticket, d.ID = connector.TicketKind(kind), connector.ID(hash)
	}
	return d, r.err
}

// keyOfDue returns the key of the record that is due.
func keyOfDue(d connector.Due) string {
	if d.Ticket != "" {
		return ticketKey(d.Ticket, string(d.ID))
	}
	return connectionKey(d.ID)
}

func idOf(i item) connector.ID {
	r := &reader{item: i}
	return connector.ID(strings.TrimPrefix(r.text("pk"), connectionPrefix))
}
