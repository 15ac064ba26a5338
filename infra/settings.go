package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"platform-api-connector/shared/config"
)

// Settings are the deployer's choices for one deployment, as read from the
// context of the CDK app. Every value has a default.
type Settings struct {
	// Stage distinguishes the deployments of one account and is part of every
	// name: "dev", "prod". In prod, data is protected from deletion.
	Stage string

	// DomainName and CertificateARN set a domain for the API. Either both are
	// set or none. The certificate must be in the region of the deployment.
	DomainName, CertificateARN string

	// ReturnOrigins, AllowFullCredentials, PlatformEndpoints and LogLevel
	// become the functions' variables of the same names.
	ReturnOrigins        string
	AllowFullCredentials bool
	PlatformEndpoints    string
	LogLevel             string

	// CallerOwners becomes the variable of the same name. It is JSON that
	// confines callers to owners.
	CallerOwners string

	// Budgets becomes the variable of the same name. It is JSON that replaces the
	// limits of budgets.
	Budgets string

	// AWSEndpointURL becomes the SDK's variable of this name, for emulators of
	// AWS. It is refused in prod.
	AWSEndpointURL string

	// TokenCallers are principals that may invoke token-get without the
	// TokenCallerPolicy: ARNs of roles or users, or account ids.
	TokenCallers []string

	// KeyARN is a customer-managed KMS key for the table, the queues and the
	// secrets. The default is the keys that AWS manages. It must not be an
	// alias, because IAM grants the use of keys.
	KeyARN string

	// AlarmEmail is the address, and AlarmTopicARN the existing SNS topic, that
	// alarms notify. At most one of them may be set.
	AlarmEmail, AlarmTopicARN string

	// ReserveConcurrency reserves concurrency for functions with a limit that no
	// event source enforces. A new AWS account has too little concurrency to
	// reserve any, and the deployment would fail there.
	ReserveConcurrency bool
}

// Prod reports whether the deployment contains data that must not be lost.
func (s Settings) Prod() bool { return s.Stage == "prod" }

// Name returns the name of a part of the deployment.
func (s Settings) Name(part string) string {
	return "platform-api-connector-" + s.Stage + "-" + part
}

// SecretPrefix returns the prefix of the names of all secrets.
func (s Settings) SecretPrefix() string { return "platform-api-connector/" + s.Stage }

var (
	stagePattern  = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)
	domainPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$`)
	callerPattern = regexp.MustCompile(`^(\d{12}|arn:aws[a-z-]*:iam::\d{12}:(root|(role|user)/[\w+=,.@/-]+))$`)
	arnPattern    = func(service, resource string) *regexp.Regexp {
		return regexp.MustCompile(`^arn:aws[a-z-]*:` + service + `:[a-z0-9-]+:\d{12}:` + resource + `[\w.-]+$`)
	}
	endpointPattern = regexp.MustCompile(`^https?://[a-z0-9.-]+(:\d+)?$`)
	emailPattern    = regexp.MustCompile(`^[^@\s]+@[^@\s]+$`)
)

// ReadSettings reads the context through get, which returns nil for a value
// that is not set. The error names every invalid value.
func ReadSettings(get func(name string) any) (Settings, error) {
	r := reader{get: get}
	s := Settings{
		Stage:                r.matching("stage", stagePattern, "dev"),
		DomainName:           r.matching("domainName", domainPattern, ""),
		CertificateARN:       r.matching("certificateArn", arnPattern("acm", "certificate/"), ""),
		ReturnOrigins:        strings.Join(r.list("returnOrigins"), ","),
		AllowFullCredentials: r.boolean("allowFullCredentials", false),
		PlatformEndpoints:    r.text("platformEndpoints"),
		LogLevel:             r.text("logLevel"),
		CallerOwners:         r.text("callerOwners"),
		Budgets:              r.text("budgets"),
		TokenCallers:         r.list("tokenCallers"),
		KeyARN:               r.matching("keyArn", arnPattern("kms", "key/"), ""),
		AlarmEmail:           r.matching("alarmEmail", emailPattern, ""),
		AlarmTopicARN:        r.matching("alarmTopicArn", arnPattern("sns", ""), ""),
	}
	if s.LogLevel == "" {
		s.LogLevel = "info"
	}
	if s.AWSEndpointURL = r.matching("awsEndpointUrl", endpointPattern, ""); s.AWSEndpointURL != "" && s.Prod() {
		r.fail("awsEndpointUrl", "must not be set in prod")
	}
	s.ReserveConcurrency = r.boolean("reserveConcurrency", false)
	if (s.DomainName == "") != (s.CertificateARN == "") {
		r.fail("domainName, certificateArn", "set both or none")
	}
	if s.AlarmEmail != "" && s.AlarmTopicARN != "" {
		r.fail("alarmEmail, alarmTopicArn", "set only one of them")
	}
	for _, caller := range s.TokenCallers {
		if !callerPattern.MatchString(caller) {
			r.fail("tokenCallers", "neither the ARN of a role or user nor an account id: "+caller)
		}
	}
	r.checkVariables(s)
	return s, errors.Join(r.problems...)
}

type reader struct {
	get      func(name string) any
	problems []error
}

func (r *reader) fail(name, problem string) {
	r.problems = append(r.problems, fmt.Errorf("context %s: %s", name, problem))
}

// text returns a string unchanged and any other value of cdk.json as JSON.
func (r *reader) text(name string) string {
	switch value := r.get(name).(type) {
	case nil:
		return ""
	case string:
		return strings.TrimSpace(value)
	default:
		encoded, err := json.Marshal(value)
		if err != nil {
			r.fail(name, err.Error())
		}
		return string(encoded)
	}
}

func (r *reader) matching(name string, pattern *regexp.Regexp, unset string) string {
	value := r.text(name)
	switch {
	case value == "":
		return unset
	case !pattern.MatchString(value):
		r.fail(name, "malformed: "+value)
	}
	return value
}

// list reads a JSON array, as in cdk.json, or a comma-separated string, as on
// the command line.
func (r *reader) list(name string) []string {
	var parts []string
	if values, ok := r.get(name).([]any); ok {
		for _, value := range values {
			parts = append(parts, fmt.Sprint(value))
		}
	} else {
		parts = strings.Split(r.text(name), ",")
	}
	var list []string
	for _, part := range parts {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

func (r *reader) boolean(name string, unset bool) bool {
	switch r.text(name) {
	case "":
		return unset
	case "true":
		return true
	case "false":
		return false
	}
	r.fail(name, "neither true nor false")
	return unset
}

// checkVariables parses the values that become variables in the same way as the
// functions do, so that an invalid value fails the deployment instead of the
// functions.
func (r *reader) checkVariables(s Settings) {
	environment := map[string]string{
		config.PublicURL: "https://example.com", config.TableName: "table", config.SecretPrefix: "prefix",
		config.RefreshQueueURL: "queue", config.EventBusName: "bus",
		config.ReturnOrigins: s.ReturnOrigins, config.PlatformEndpoints: s.PlatformEndpoints, config.LogLevel: s.LogLevel,
		config.CallerOwners: s.CallerOwners, config.Budgets: s.Budgets, config.SecretKMSKeyID: s.KeyARN,
	}
	if _, err := config.Parse(func(name string) string { return environment[name] }); err != nil {
		r.problems = append(r.problems, err)
	}
}
