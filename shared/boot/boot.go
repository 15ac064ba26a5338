// Package boot starts a function from its environment. It reads the
// configuration, creates the clients and the connector, and starts one of the
// handler's functions. The mains do nothing else.
package boot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/metrics"
	"platform-api-connector/shared/platform"
)

// awsTimeout limits one attempt of an AWS call. The SDK makes up to three
// attempts.
const awsTimeout = 5 * time.Second

// Start runs the named function, which pick returns, until Lambda ends the
// process. An invalid environment ends it at once, with one line that names
// the invalid variables.
func Start(name string, pick func(*handler.Handler) handler.Function) {
	function, err := Function(context.Background(), name, pick, os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
	lambda.Start(function)
}

// Function returns the named function over the environment that get reads,
// usually os.Getenv. It writes metrics to out and logs to logs, both as JSON
// lines. The SDK itself reads the AWS credentials, region and endpoint.
func Function(ctx context.Context, name string, pick func(*handler.Handler) handler.Function, get func(string) string, out, logs io.Writer) (handler.Function, error) {
	c, err := config.Parse(get)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: c.LogLevel, ReplaceAttr: handler.BoundAttr}))
	sdk, err := sdkConfig(ctx, log)
	if err != nil {
		return nil, err
	}
	service, err := newService(c, log)
	if err != nil {
		return nil, err
	}
	stored := credentialstore.Options{Now: service.Now, Sleep: service.Sleep, Log: log, RefuseUnbound: c.RefuseUnbound}
	if name == "token-get" {
		stored.Cached, stored.CacheLife = cachedConnections, cacheLifetime
	}
	ports := awscloud.New(sdk, c, stored)
	service.Store, service.Apps, service.CredentialStore = ports.Store, ports.Apps, ports.CredentialStore
	service.Queue, service.Events = ports.Queue, ports.Events
	if get(config.AWSEndpointURL) != "" {
		// An emulator of AWS does not convert the lines to metrics.
		return pick(newHandler(c, service, log)), nil
	}
	meter := metrics.New(out, c.SecretPrefix, name, time.Now)
	meter.Observe(service)
	return withMetrics(meter, name, pick(newHandler(c, service, log))), nil
}

// withMetrics wraps a function with the meter.
func withMetrics(meter *metrics.Meter, name string, function handler.Function) handler.Function {
	invoke := metrics.Invoke(function)
	switch name {
	case "token-get":
		invoke = meter.Tokens(invoke)
	case "refresh":
		invoke = meter.Sweeps(invoke)
	}
	return meter.Invocations(invoke)
}

// The limits of the credentials cache of a token-get process.
const (
	cachedConnections = 1000
	cacheLifetime     = 5 * time.Minute
)

func newService(c config.Config, log *slog.Logger) (*connector.Service, error) {
	service := &connector.Service{
		Platforms: platform.All(platform.Options{
			Endpoints: c.PlatformEndpoints,
			Now:       time.Now,
		}),
		Now:           time.Now,
		Random:        rand.Reader,
		Log:           log,
		Sleep:         connector.Sleep,
		PublicURL:     c.PublicURL,
		ReturnOrigins: c.ReturnOrigins,
		Budgets:       c.Budgets,
		AllowFull:     c.AllowFullCredentials,

		SuspensionCache: &connector.SuspensionCache{},
		LinkScopes:      scopeLists(c.LinkScopes.Platforms),
		WithholdAppKeys: !c.HandOutAppKeys,
		Decoy:           connector.ID(c.DecoyConnectionID),
	}
	for _, lists := range c.LinkScopes.Callers {
		service.CallerScopes = append(service.CallerScopes, scopeLists(lists))
	}
	var names []string
	for _, p := range service.Platforms {
		names = append(names, string(p.Describe().Name))
	}
	return service, c.LinkScopes.CheckPlatforms(names)
}

// newHandler returns the handler of a service, with what it needs to know of its
// callers.
func newHandler(c config.Config, service *connector.Service, log *slog.Logger) *handler.Handler {
	scopes := handler.CallerScopes{}
	for pattern, lists := range c.LinkScopes.Callers {
		scopes[pattern] = scopeLists(lists)
	}
	return handler.New(service, log, c.CallerOwners).WithScopes(scopes)
}

func scopeLists(lists config.ScopesByPlatform) connector.ScopeLists {
	scopes := connector.ScopeLists{}
	for name, list := range lists {
		scopes[connector.Name(name)] = list
	}
	return scopes
}

func sdkConfig(ctx context.Context, log *slog.Logger) (aws.Config, error) {
	c, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(awsTimeout)),
		awsconfig.WithLogger(sdkLogger(log)))
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if c.Region == "" {
		return aws.Config{}, errors.New("AWS_REGION: missing")
	}
	return c, nil
}

// sdkLogger writes the messages of the SDK in the form of the other log lines.
func sdkLogger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(class logging.Classification, format string, values ...any) {
		level := slog.LevelDebug
		if class == logging.Warn {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "aws", "message", fmt.Sprintf(format, values...))
	})
}
