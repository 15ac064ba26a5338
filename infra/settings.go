package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"platform-api-connector/shared/config"
)

// Settings is what a deployer decides about one deployment: the context of
// the CDK app, read and checked. Every value has a default.
type Settings struct {
	// Stage tells deployments of one account apart and is part of every name:
	// "dev", "prod". In prod data is protected from deletion.
	Stage string

	// DomainName and CertificateARN put the API under a name of the
	// deployer's; either both or none. The certificate lives in the same
	// region.
	DomainName, CertificateARN string

	// ReturnOrigins, AllowFullCredentials, PlatformEndpoints and LogLevel
	// become the functions' variables of the same names.
	ReturnOrigins        string
	AllowFullCredentials bool
	PlatformEndpoints    string
	LogLevel             string

	// CallerOwners becomes the variable of the same name: JSON that confines
	// callers to owners.
	CallerOwners string

	// AWSEndpointURL becomes the SDK's own variable, for emulators that run
	// the functions beside a stand-in for AWS. Never in prod.
	AWSEndpointURL string

	// TokenCallers are the principals, besides those of this account that an
	// administrator gave the caller policy, who may invoke token-get: ARNs of
	// roles or users, or account ids.
	TokenCallers []string

	// KeyARN is a customer-managed KMS key for the table, the queues and the
	// secrets; without it keys of AWS are used. It is not an alias: IAM grants
	// the use of keys.
	KeyARN string

	// AlarmEmail and AlarmTopicARN say who is woken: an address, or an SNS
	// topic that exists.
	AlarmEmail, AlarmTopicARN string

	// ReserveConcurrency sets concurrency aside for functions that have a cap
	// and no event source to cap it. A new AWS account has too little to
	// reserve any, and the deployment would fail there.
	ReserveConcurrency bool
}

// Prod reports whether the deployment holds data that must not be lost.
func (s Settings) Prod() bool { return s.Stage == "prod" }

// Name returns the name of a part of the deployment.
func (s Settings) Name(part string) string {
	return "platform-api-connector-" + s.Stage + "-" + part
}

// SecretPrefix returns what the names of all secrets begin with.
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

// ReadSettings reads the context through get, which returns nil for what is
// not set. The error names every value that cannot be used.
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
		TokenCallers:         r.list("tokenCallers"),
		KeyARN:               r.matching("keyArn", arnPattern("kms", "key/"), ""),
		AlarmEmail:           r.matching("alarmEmail", emailPattern, ""),
		AlarmTopicARN:        r.matching("alarmTopicArn", arnPattern("sns", ""), ""),
	}
	if s.LogLevel == "" {
		s.LogLevel = "info"
	}
	if s.AWSEndpointURL = r.matching("awsEndpointUrl", endpointPattern, ""); s.AWSEndpointURL != "" && s.Prod() {
		r.fail("awsEndpointUrl", "not in prod")
	}
	s.ReserveConcurrency = r.boolean("reserveConcurrency", false)
	if (s.DomainName == "") != (s.CertificateARN == "") {
		r.fail("domainName, certificateArn", "one needs the other")
	}
	if s.AlarmEmail != "" && s.AlarmTopicARN != "" {
		r.fail("alarmEmail, alarmTopicArn", "name one of them")
	}
	for _, caller := range s.TokenCallers {
		if !callerPattern.MatchString(caller) {
			r.fail("tokenCallers", "neither the ARN of a role or user nor an account id: "+caller)
		}
	}
	r.checkAsFunctionsDo(s)
	return s, errors.Join(r.problems...)
}

type reader struct {
	get      func(name string) any
	problems []error
}

func (r *reader) fail(name, problem string) {
	r.problems = append(r.problems, fmt.Errorf("context %s: %s", name, problem))
}

// text returns a value as it is, or as JSON where cdk.json has more than a
// string.
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

// list takes a JSON array, as in cdk.json, or a comma-separated string, as on
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

// checkAsFunctionsDo holds the values that become variables against the
// functions' own reading of them, so that a typing error stops the deployment
// and not the functions.
func (r *reader) checkAsFunctionsDo(s Settings) {
	environment := map[string]string{
		config.PublicURL: "https://example.com", config.TableName: "table", config.SecretPrefix: "prefix",
		config.RefreshQueueURL: "queue", config.EventBusName: "bus",
		config.ReturnOrigins: s.ReturnOrigins, config.PlatformEndpoints: s.PlatformEndpoints, config.LogLevel: s.LogLevel,
		config.CallerOwners: s.CallerOwners, config.SecretKMSKeyID: s.KeyARN,
	}
	if _, err := config.Parse(func(name string) string { return environment[name] }); err != nil {
		r.problems = append(r.problems, err)
	}
}
