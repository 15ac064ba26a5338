package config

import (
	"log/slog"
	"regexp"
	"strings"
)

// The parsers of this file return the value of a variable, and its problem or "".

// tableName matches the name or the ARN of a table:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html,
// read on 2026-11-25.
var tableName = regexp.MustCompile(`^(arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:\d{12}:table/)?[A-Za-z0-9_.-]{3,255}$`)

func parseTableName(s string) (string, string) {
	if !tableName.MatchString(s) {
		return "", quote(s) + " is no name of a table, which has 3 to 255 letters, digits, dots, hyphens and underscores"
	}
	return s, ""
}

// secretPrefix matches the beginning of a secret's name, with room for the rest:
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html,
// read on 2026-11-25.
var secretPrefix = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,256}$`)

func parseSecretPrefix(s string) (string, string) {
	prefix := strings.TrimRight(s, "/")
	if !secretPrefix.MatchString(prefix) {
		return "", quote(s) + " is no prefix of secrets' names, which has 1 to 256 letters, digits and characters of /_+=.@-"
	}
	return prefix, ""
}

// eventBus matches the name or the ARN of an event bus:
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html,
// read on 2026-11-25.
var eventBus = regexp.MustCompile(`^(arn:aws[a-z-]*:events:[a-z0-9-]+:\d{12}:event-bus/)?[A-Za-z0-9/_.-]{1,256}$`)

func parseEventBusName(s string) (string, string) {
	if !eventBus.MatchString(s) {
		return "", quote(s) + " is no name of an event bus, which has 1 to 256 letters, digits and characters of /_.-"
	}
	return s, ""
}

// kmsKey matches a key identifier of KMS, for single-region and multi-region
// keys:
// https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
var kmsKey = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)|alias/[A-Za-z0-9/_-]+|mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

func parseKMSKeyID(s string) (string, string) {
	if !kmsKey.MatchString(s) {
		return "", "neither the ARN nor the id of a KMS key, nor an alias that begins with alias/"
	}
	return s, ""
}

// connectionID matches the id of a connection, a UUID of version 4.
var connectionID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func parseConnectionID(s string) (string, string) {
	if !connectionID.MatchString(s) {
		return "", quote(s) + " is no id of a connection"
	}
	return s, ""
}

// parseBoolean accepts the two words only: strconv.ParseBool also takes a t or a 1
// for true.
func parseBoolean(s string) (bool, string) {
	switch s {
	case "true":
		return true, ""
	case "false":
		return false, ""
	}
	return false, quote(s) + " is neither true nor false"
}

// parseLogLevel accepts the four words only, in any case: slog also takes info+2.
func parseLogLevel(s string) (level slog.Level, problem string) {
	switch strings.ToLower(s) {
	case "debug", "info", "warn", "error":
		_ = level.UnmarshalText([]byte(s)) // the words are those of slog
		return level, ""
	}
	return level, quote(s) + " is none of debug, info, warn, error"
}
