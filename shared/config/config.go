// Package config names the environment variables of the functions and reads
// them. A missing or malformed value is one error that names it.
package config

import (
	"errors"
	"fmt"
	"log/slog"

	"platform-api-connector/shared/connector"
)

// The names, as the contract and the deployment use them.
const (
	PublicURL            = "PUBLIC_URL"
	TableName            = "TABLE_NAME"
	SecretPrefix         = "SECRET_PREFIX"
	RefreshQueueURL      = "REFRESH_QUEUE_URL"
	EventBusName         = "EVENT_BUS_NAME"
	ReturnOrigins        = "RETURN_ORIGINS"
	AllowFullCredentials = "ALLOW_FULL_CREDENTIALS"
	PlatformEndpoints    = "PLATFORM_ENDPOINTS"
	AWSEndpointURL       = "AWS_ENDPOINT_URL"
	LogLevel             = "LOG_LEVEL"
	CallerOwners         = "CALLER_OWNERS"
	SecretKMSKeyID       = "SECRET_KMS_KEY_ID"
	RefuseUnbound        = "REFUSE_UNBOUND_CREDENTIALS"
	DecoyConnectionID    = "DECOY_CONNECTION_ID"
	LinkScopes           = "LINK_SCOPES"
	HandOutAppKeys       = "HAND_OUT_APP_KEYS"
	Budgets              = "BUDGETS"
)

// Config is the validated environment of a function.
type Config struct {
	PublicURL            string // no trailing slash
	TableName            string
	SecretPrefix         string // no trailing slash
	RefreshQueueURL      string
	EventBusName         string
	ReturnOrigins        []string
	AllowFullCredentials bool
	PlatformEndpoints    map[string]string
	LogLevel             slog.Level
	// RefuseUnbound refuses credentials of earlier releases that do not name their
	// connection.
	RefuseUnbound bool
	// DecoyConnectionID is the id of the decoy connection; empty: there is none.
	DecoyConnectionID string
	// CallerOwners maps patterns of callers' ARNs to owners. It is nil if no
	// caller is confined.
	CallerOwners map[string][]string
	// Budgets are limits that replace the defaults of connector.Budgets.
	Budgets map[connector.BudgetName]int
	// SecretKMSKeyID is the ARN, id or alias of the KMS key for secrets. If it
	// is empty, Secrets Manager uses its default key.
	SecretKMSKeyID string
	// LinkScopes are the scopes that connect links may ask for. Whether their
	// platforms exist is for CheckPlatforms to say.
	LinkScopes LinkScopeLists
	// HandOutAppKeys lets token-get hand out keys of an app.
	HandOutAppKeys bool
}

// Parse reads the variables through get, usually os.Getenv. The error names
// every invalid variable, and the entry of it that is invalid, one a line.
func Parse(get func(string) string) (Config, error) {
	r := reader{get: get}
	c := Config{
		PublicURL:            read(&r, required, PublicURL, parsePublicURL),
		TableName:            read(&r, required, TableName, parseTableName),
		SecretPrefix:         read(&r, required, SecretPrefix, parseSecretPrefix),
		RefreshQueueURL:      read(&r, required, RefreshQueueURL, queueURLParser(get(AWSEndpointURL) != "")),
		EventBusName:         read(&r, required, EventBusName, parseEventBusName),
		ReturnOrigins:        read(&r, optional, ReturnOrigins, parseReturnOrigins),
		AllowFullCredentials: read(&r, optional, AllowFullCredentials, parseBoolean),
		PlatformEndpoints:    read(&r, optional, PlatformEndpoints, parseEndpoints),
		LogLevel:             read(&r, optional, LogLevel, parseLogLevel),
		CallerOwners:         read(&r, optional, CallerOwners, parseCallers),
		SecretKMSKeyID:       read(&r, optional, SecretKMSKeyID, parseKMSKeyID),
		LinkScopes:           read(&r, optional, LinkScopes, parseLinkScopes),
		HandOutAppKeys:       get(HandOutAppKeys) == "" || read(&r, optional, HandOutAppKeys, parseBoolean),
		Budgets:              read(&r, optional, Budgets, parseBudgets),
		RefuseUnbound:        read(&r, optional, RefuseUnbound, parseBoolean),
		DecoyConnectionID:    read(&r, optional, DecoyConnectionID, parseConnectionID),
	}
	// The SDK reads this variable itself, and as it is.
	read(&r, optional, AWSEndpointURL, parseAWSEndpoint)
	if raw := get(AWSEndpointURL); connector.Trim(raw) != raw {
		r.problems = append(r.problems, fmt.Errorf("%s: has blanks around it", AWSEndpointURL))
	}
	return c, errors.Join(r.problems...)
}

// reader collects the problems of the variables.
type reader struct {
	get      func(string) string
	problems []error
}

const (
	required = true
	optional = false
)

// read returns the value of a variable. The parser returns the problem of a value,
// or "". An optional variable that is not set has the zero value. The blanks around a
// value are removed.
func read[T any](r *reader, needed bool, name string, parse func(string) (T, string)) (value T) {
	raw, problem := connector.Trim(r.get(name)), ""
	switch {
	case raw != "":
		value, problem = parse(raw)
	case r.get(name) != "": // not unset: without CALLER_OWNERS no caller is confined
		problem = "has nothing but blanks"
	case needed:
		problem = "missing"
	}
	if problem != "" {
		r.problems = append(r.problems, fmt.Errorf("%s: %s", name, problem))
	}
	return value
}
