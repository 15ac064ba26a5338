// Package config names the environment variables of the functions and reads
// them. A missing or malformed value is one error that names it.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

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
	// CallerOwners maps patterns of callers' ARNs to owners. It is nil if no
	// caller is confined.
	CallerOwners map[string][]string
	// Budgets are limits that replace the defaults of connector.Budgets.
	Budgets map[connector.BudgetName]int
	// SecretKMSKeyID is the ARN, id or alias of the KMS key for secrets. If it
	// is empty, Secrets Manager uses its default key.
	SecretKMSKeyID string
}

// Parse reads the variables through get, usually os.Getenv. The error names
// every invalid variable.
func Parse(get func(string) string) (Config, error) {
	var problems []error
	fail := func(name, problem string) {
		problems = append(problems, fmt.Errorf("%s: %s", name, problem))
	}
	required := func(name string) string {
		value := get(name)
		if value == "" {
			fail(name, "missing")
		}
		return value
	}

	c := Config{
		PublicURL:       strings.TrimRight(required(PublicURL), "/"),
		TableName:       required(TableName),
		SecretPrefix:    strings.TrimRight(required(SecretPrefix), "/"),
		RefreshQueueURL: required(RefreshQueueURL),
		EventBusName:    required(EventBusName),
	}
	if c.PublicURL != "" {
		if problem := checkPublicURL(c.PublicURL); problem != "" {
			fail(PublicURL, problem)
		}
	}
	origins, problem := parseOrigins(get(ReturnOrigins))
	if problem != "" {
		fail(ReturnOrigins, problem)
	}
	c.ReturnOrigins = origins
	if value := get(AllowFullCredentials); value != "" {
		allow, err := strconv.ParseBool(value)
		if err != nil {
			fail(AllowFullCredentials, "neither true nor false")
		}
		c.AllowFullCredentials = allow
	}
	if value := get(PlatformEndpoints); value != "" {
		endpoints, problem := parseEndpoints(value)
		if problem != "" {
			fail(PlatformEndpoints, problem)
		}
		c.PlatformEndpoints = endpoints
	}
	if value := get(CallerOwners); value != "" {
		callers, problem := parseCallers(value)
		if problem != "" {
			fail(CallerOwners, problem)
		}
		c.CallerOwners = callers
	}
	if c.Budgets, problem = parseBudgets(get(Budgets)); problem != "" {
		fail(Budgets, problem)
	}
	if c.SecretKMSKeyID = get(SecretKMSKeyID); c.SecretKMSKeyID != "" && !kmsKey.MatchString(c.SecretKMSKeyID) {
		fail(SecretKMSKeyID, "neither the ARN nor the id of a KMS key, nor an alias that begins with alias/")
	}
	if value := get(LogLevel); value != "" {
		if err := c.LogLevel.UnmarshalText([]byte(value)); err != nil {
			fail(LogLevel, "none of debug, info, warn, error")
		}
	}
	return c, errors.Join(problems...)
}

// kmsKey matches a key identifier of KMS, for single-region and multi-region
// keys:
// https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
var kmsKey = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)|alias/[A-Za-z0-9/_-]+|mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// checkPublicURL requires https, except on loopback, because cookies and codes
// are sent to this URL.
func checkPublicURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return "not a URL"
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "has more than scheme, host and path"
	case u.Scheme == "https", u.Scheme == "http" && Loopback(u.Hostname()):
		return ""
	}
	return "neither https nor http on loopback"
}

// parseOrigins reads origins that are separated by commas.
func parseOrigins(s string) (origins []string, problem string) {
	for origin := range strings.SplitSeq(s, ",") {
		if origin = strings.TrimSpace(origin); origin == "" {
			continue
		}
		if problem := checkOrigin(origin); problem != "" {
			return nil, problem
		}
		origins = append(origins, strings.ToLower(strings.TrimRight(origin, "/")))
	}
	return origins, ""
}

func checkOrigin(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "not an http or https origin"
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "has more than scheme, host and port"
	}
	return ""
}

func parseEndpoints(s string) (endpoints map[string]string, problem string) {
	if err := json.Unmarshal([]byte(s), &endpoints); err != nil {
		return nil, "not a JSON object of strings"
	}
	for from, to := range endpoints {
		if p := checkOrigin(from); p != "" {
			return nil, "a key is " + p
		}
		u, err := url.Parse(to)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, "the value of " + from + " is not an http or https origin"
		}
		endpoints[from] = strings.TrimRight(to, "/")
	}
	return endpoints, ""
}

// parseCallers reads {"arn:…": ["owner", …], "arn:…/*": ["*"]}. A pattern is an
// ARN, or the prefix of an ARN with a star at its end.
func parseCallers(s string) (callers map[string][]string, problem string) {
	if err := json.Unmarshal([]byte(s), &callers); err != nil {
		return nil, "not a JSON object of lists of owners"
	}
	if len(callers) == 0 {
		return nil, "names no caller; unset it to confine no caller"
	}
	for _, pattern := range slices.Sorted(maps.Keys(callers)) {
		prefix := strings.TrimSuffix(pattern, "*")
		if pattern != "*" && !strings.HasPrefix(pattern, "arn:") || strings.ContainsAny(prefix, "*? ") {
			return nil, strconv.Quote(pattern) + " is neither an ARN nor the prefix of an ARN with a * at its end"
		}
		for _, owner := range callers[pattern] {
			if owner == "" || len([]rune(owner)) > 128 {
				return nil, "an owner of " + strconv.Quote(pattern) + " must have 1 to 128 characters"
			}
		}
	}
	return callers, ""
}

// Loopback reports whether host is this machine.
func Loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
