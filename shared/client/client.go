// Package client gets tokens from a deployed connector. It invokes the
// function token-get and decodes its answers and errors. The calling role
// needs the deployment's TokenCallerPolicy.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"platform-api-connector/shared/connector"
)

// Client invokes one deployment's token-get. Its methods may be called from
// any goroutine.
type Client struct {
	lambda   *lambda.Client
	function string
	now      func() time.Time
}

// New returns a client of a token-get function, given its name or ARN. The
// ARN is the stack's output TokenGetArn.
func New(api *lambda.Client, function string) *Client {
	return &Client{lambda: api, function: function, now: time.Now}
}

// Request selects a connection by ConnectionID, or by Owner and Platform and,
// where the owner has several, AccountID.
type Request struct {
	ConnectionID connector.ID
	Owner        string
	Platform     connector.Name
	AccountID    string

	// MinTTL is the minimum remaining lifetime of the token, in whole seconds.
	// Zero means connector.DefaultMinTTL.
	MinTTL time.Duration

	// Scopes are required: if one is not granted, the error is ScopeMissing.
	Scopes []string

	// ForceRefresh refreshes the token even if it has not expired. Use it after
	// the platform refused the previous token.
	ForceRefresh bool
}

// MarshalJSON encodes the request as token-get expects it.
func (r Request) MarshalJSON() ([]byte, error) {
	var ttl *int64
	if r.MinTTL != 0 {
		seconds := int64(r.MinTTL / time.Second)
		ttl = &seconds
	}
	return json.Marshal(struct {
		ConnectionID  connector.ID   `json:"connection_id,omitempty"`
		Owner         string         `json:"owner,omitempty"`
		Platform      connector.Name `json:"platform,omitempty"`
		AccountID     string         `json:"account_id,omitempty"`
		MinTTLSeconds *int64         `json:"min_ttl_seconds,omitempty"`
		Scopes        []string       `json:"scopes,omitempty"`
		ForceRefresh  bool           `json:"force_refresh,omitempty"`
	}{r.ConnectionID, r.Owner, r.Platform, r.AccountID, ttl, r.Scopes, r.ForceRefresh})
}

// Token contains credentials that are valid now.
type Token struct {
	ConnectionID connector.ID     `json:"connection_id"`
	Platform     connector.Name   `json:"platform"`
	Owner        string           `json:"owner"`
	AccountID    string           `json:"account_id"`
	AccountName  string           `json:"account_name"`
	Status       connector.Status `json:"status"`
	Scopes       []string         `json:"scopes"`
	AccessToken  connector.Secret `json:"access_token"`
	TokenType    string           `json:"token_type"`
	// ExpiresAt is zero if the token does not expire.
	ExpiresAt time.Time `json:"expires_at"`
	// Credentials are the platform's other fields that a caller needs:
	// page_id, open_id, api_key…
	Credentials connector.Fields `json:"credentials"`
	// Degraded reports that a refresh was due and failed with the code
	// DegradedReason. The token is still valid.
	Degraded       bool           `json:"degraded"`
	DegradedReason connector.Code `json:"degraded_reason"`
}

// Token returns a token of the connection that r selects. If token-get refuses
// the request, the error is a *connector.Error: test its code with errors.Is
// and a connector.Code, and read its details with errors.As. An error without
// a code means that token-get could not be invoked or did not answer.
func (c *Client) Token(ctx context.Context, r Request) (Token, error) {
	payload, err := json.Marshal(r)
	if err != nil {
		return Token{}, fmt.Errorf("encoding the request: %w", err)
	}
	out, err := c.lambda.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: &c.function, Payload: payload, InvocationType: types.InvocationTypeRequestResponse,
	})
	if err != nil {
		return Token{}, fmt.Errorf("invoking token-get: %w", err)
	}
	if out.FunctionError != nil {
		return Token{}, readFailure(out.Payload)
	}
	var token Token
	if err := json.Unmarshal(out.Payload, &token); err != nil || token.AccessToken.Empty() {
		// The error of json.Unmarshal may quote a secret of the answer.
		return Token{}, errors.New("reading the answer of token-get: not a token")
	}
	return token, nil
}

// readFailure reads the payload of a failed invocation:
//
//	{"errorType":"RateLimited","errorMessage":"…wait [retry_after: 30]"}
func readFailure(payload []byte) error {
	var failure struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(payload, &failure); err != nil {
		return errors.New("reading the failure of token-get: not JSON")
	}
	code := connector.Code(failure.ErrorType)
	if !slices.Contains(connector.Codes(), code) {
		return fmt.Errorf("token-get did not answer: %s", failure.ErrorType)
	}
	e := &connector.Error{Code: code, Message: failure.ErrorMessage}
	for _, match := range detail.FindAllStringSubmatch(failure.ErrorMessage, -1) {
		readDetail(e, match[1], match[2])
	}
	return e
}

var detail = regexp.MustCompile(` \[([a-z_]+): ([^\]]+)\]`)

// readDetail stores a detail of the message in its field of e. The error of an
// invocation has no fields besides its type and message.
func readDetail(e *connector.Error, name, value string) {
	switch name {
	case "missing_scopes":
		e.MissingScopes = strings.Split(value, ", ")
	case "connection_ids":
		for id := range strings.SplitSeq(value, ", ") {
			e.ConnectionIDs = append(e.ConnectionIDs, connector.ID(id))
		}
	case "retry_after":
		if seconds, err := strconv.Atoi(value); err == nil {
			e.RetryAfter = time.Duration(seconds) * time.Second
		}
	case "resets_at":
		if at, err := time.Parse(time.RFC3339, value); err == nil {
			e.ResetsAt = at
		}
	}
}
