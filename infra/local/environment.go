package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

const (
	defaultRegion = "us-east-1"
	// localKey is both the id and the secret of the access key. The embedded
	// AWS and LocalStack accept any key.
	localKey = "test"
)

// settings are the values of the functions' variables, of package config, and
// of AWS's own.
type settings struct {
	values map[string]string // of package config
	region string
	key    accessKey
}

// accessKey signs the calls to AWS.
type accessKey struct{ id, secret, session string }

// newSettings returns the variables that get has, and defaults for the others.
// The stack sets values that it knows later, such as the queue's URL.
func newSettings(get func(string) string, publicURL string) settings {
	s := settings{
		region: cmp.Or(get("AWS_REGION"), get("AWS_DEFAULT_REGION"), defaultRegion),
		key:    accessKey{localKey, localKey, ""},
	}
	if get(config.AWSEndpointURL) != "" && get("AWS_ACCESS_KEY_ID") != "" {
		s.key = accessKey{get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"), get("AWS_SESSION_TOKEN")}
	}
	s.values = map[string]string{
		config.PublicURL:    publicURL,
		config.TableName:    "platform-connector",
		config.SecretPrefix: "platform-connector",
		config.EventBusName: "platform-connector",
	}
	for _, name := range []string{
		config.PublicURL, config.TableName, config.SecretPrefix, config.RefreshQueueURL, config.EventBusName,
		config.ReturnOrigins, config.AllowFullCredentials, config.HandOutAppKeys, config.PlatformEndpoints, config.AWSEndpointURL, config.LogLevel, config.CallerOwners, config.LinkScopes, config.SecretKMSKeyID,
		config.RefuseUnbound, config.DecoyConnectionID, config.Budgets,
	} {
		if value := get(name); value != "" {
			s.values[name] = value
		}
	}
	s.values[config.ReturnOrigins] = withOrigin(s.values[config.ReturnOrigins], publicURL)
	return s
}

// withOrigin adds the origin of the start page to RETURN_ORIGINS, if it is not in the
// list: it is the return URL of the page's links.
func withOrigin(list, origin string) string {
	for entry := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSuffix(strings.TrimSpace(entry), "/"), origin) {
			return list
		}
	}
	return strings.TrimPrefix(list+","+origin, ",")
}

// of returns the whole environment of a function: the variables that the
// blueprint lists, those that Lambda sets, and those that every process needs.
func (s settings) of(f blueprint.Function, endpoint string) []string {
	environment := []string{
		"_HANDLER=bootstrap",
		"AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023",
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + f.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=local",
		"AWS_REGION=" + s.region,
		"AWS_DEFAULT_REGION=" + s.region,
		"AWS_ACCESS_KEY_ID=" + s.key.id,
		"AWS_SECRET_ACCESS_KEY=" + s.key.secret,
		"AWS_ENDPOINT_URL=" + endpoint,
		// The functions must not read the AWS profiles of the user.
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_SDK_UA_APP_ID=" + functionPrefix + f.Name,
		"LANG=en_US.UTF-8",
		"TZ=:UTC",
	}
	if s.key.session != "" {
		environment = append(environment, "AWS_SESSION_TOKEN="+s.key.session)
	}
	for _, name := range []string{"PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value := os.Getenv(name); value != "" {
			environment = append(environment, name+"="+value)
		}
	}
	for _, name := range f.Environment {
		if value := s.values[name]; value != "" {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}

// readEndpoints returns the JSON of a file for PLATFORM_ENDPOINTS. Package config
// checks it.
func readEndpoints(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the platform endpoints: %w", err)
	}
	// Decoding loses a key that is in the file twice.
	var endpoints map[string]string
	if err := json.Unmarshal(b, &endpoints); err != nil {
		return "", fmt.Errorf("reading the platform endpoints: %s is not a JSON object of strings", path)
	}
	return string(b), nil
}

func encodeEndpoints(endpoints map[string]string) string {
	b, _ := json.Marshal(endpoints) // strings always encode
	return string(b)
}
