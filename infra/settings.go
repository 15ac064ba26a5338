package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/platform"
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

	// ReturnOrigins, AllowFullCredentials, HandOutAppKeys, PlatformEndpoints and
	// LogLevel become the functions' variables of the same names.
	ReturnOrigins        string
	AllowFullCredentials bool
	HandOutAppKeys       bool
	PlatformEndpoints    string
	LogLevel             string

	// RefuseUnboundCredentials becomes the variable of the same name.
	RefuseUnboundCredentials bool

	// DecoyConnectionID becomes the variable of the same name.
	DecoyConnectionID string

	// CallerOwners becomes the variable of the same name. It is JSON that
	// confines callers to owners.
	CallerOwners string

	// LinkScopes becomes the variable of the same name. It is JSON that lists the
	// scopes that connect links may ask for.
	LinkScopes string
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
	// event source enforces. What is reserved is also their limit. It is the
	// default in prod. A new AWS account has too little concurrency to reserve any,
	// and the deployment would fail there: `make deploy` asks first.
	ReserveConcurrency bool
}

// Prod reports whether the deployment contains data that must not be lost.
func (s Settings) Prod() bool { return s.Stage == "prod" }

// Name returns the name of a part of the deployment.
func (s Settings) Name(part string) string {
	return blueprint.ResourceName(s.Stage, part)
}

// SecretPrefix returns the prefix of the names of all secrets.
func (s Settings) SecretPrefix() string { return "platform-api-connector/" + s.Stage }

var (
	decoyPattern  = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
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
		HandOutAppKeys:       r.boolean("handOutAppKeys", true),
		PlatformEndpoints:    r.text("platformEndpoints"),
		LogLevel:             r.text("logLevel"),
		CallerOwners:         r.text("callerOwners"),
		LinkScopes:           r.text("linkScopes"),
		Budgets:              r.text("budgets"),
		TokenCallers:         r.list("tokenCallers"),
		KeyARN:               r.matching("keyArn", arnPattern("kms", "key/"), ""),
		AlarmEmail:           r.matching("alarmEmail", emailPattern, ""),
		AlarmTopicARN:        r.matching("alarmTopicArn", arnPattern("sns", ""), ""),
	}
	s.DecoyConnectionID = r.matching("decoyConnectionId", decoyPattern, "")
	s.RefuseUnboundCredentials = r.boolean("refuseUnboundCredentials", false)
	if s.LogLevel == "" {
		s.LogLevel = "info"
	}
	if s.AWSEndpointURL = r.matching("awsEndpointUrl", endpointPattern, ""); s.AWSEndpointURL != "" && s.Prod() {
		r.fail("awsEndpointUrl", "must not be set in prod")
	}
	s.ReserveConcurrency = r.boolean("reserveConcurrency", s.Prod())
	if (s.DomainName == "") != (s.CertificateARN == "") {
		r.fail("domainName, certificateArn", "set both or none")
	}
	if s.AlarmEmail != "" && s.AlarmTopicARN != "" {
		r.fail("alarmEmail, alarmTopicArn", "set only one of them")
	}
	r.checkTokenCallers(s.TokenCallers)
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
		// An empty value is what a shell leaves of a variable that is not set.
		if value = strings.TrimSpace(value); value == "" {
			r.fail(name, "empty: omit it for its default")
		}
		return value
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
		r.fail(name, fmt.Sprintf("malformed: %q", value))
	}
	return value
}

// list reads a JSON array, as in cdk.json, or a comma-separated string, as on
// the command line.
func (r *reader) list(name string) []string {
	var parts []string
	if values, ok := r.get(name).([]any); ok {
		for _, value := range values {
			part, isText := value.(string)
			if !isText {
				r.fail(name, fmt.Sprintf("%v is not in quotes", value))
			}
			parts = append(parts, part)
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
	r.fail(name, fmt.Sprintf("%q is neither true nor false", r.text(name)))
	return unset
}

func (r *reader) checkTokenCallers(callers []string) {
	for i, caller := range callers {
		switch {
		case !callerPattern.MatchString(caller):
			r.fail("tokenCallers", fmt.Sprintf("%q is neither the ARN of a role or user nor an account id", caller))
		case slices.Contains(callers[:i], caller):
			r.fail("tokenCallers", fmt.Sprintf("%q is named twice", caller))
		}
	}
}

// checkVariables parses the values that become variables in the same way as the
// functions do, so that an invalid value fails the deployment instead of the
// functions.
func (r *reader) checkVariables(s Settings) {
	environment := map[string]string{
		config.PublicURL: "https://example.com", config.TableName: "table", config.SecretPrefix: "prefix",
		config.RefreshQueueURL: "https://sqs.example.com/queue", config.EventBusName: "bus",
		config.ReturnOrigins: s.ReturnOrigins, config.PlatformEndpoints: s.PlatformEndpoints, config.LogLevel: s.LogLevel,
		config.CallerOwners: s.CallerOwners, config.LinkScopes: s.LinkScopes, config.Budgets: s.Budgets, config.SecretKMSKeyID: s.KeyARN,
	}
	c, err := config.Parse(func(name string) string { return environment[name] })
	if err != nil {
		r.failVariables(err)
	}
	var names []string
	for _, p := range platform.All(platform.Options{}) {
		names = append(names, string(p.Describe().Name))
	}
	if err := c.LinkScopes.CheckPlatforms(names); err != nil {
		r.failVariables(err)
	}
	r.checkEndpoints(s, c.PlatformEndpoints)
}
