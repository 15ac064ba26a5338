// Command limits asks AWS how many functions the account may run at once, before
// a deployment that reserves a part of them. It fails only where that is known to
// be too few, and says what to do.
//
//	limits -stage prod [-c reserveConcurrency=false] …
//
// It takes the arguments of the CDK, and looks only at reserveConcurrency.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"platform-api-connector/infra/blueprint"
)

// unreserved is what Lambda keeps for functions without reserved concurrency:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
// (read 2026-11-25).
const unreserved = 100

const patience = 20 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, out io.Writer) error {
	reserves, err := reservesConcurrency(arguments)
	if err != nil {
		return err
	}
	if !reserves {
		fmt.Fprintln(out, "limits: this deployment reserves no concurrency (reserveConcurrency)")
		return nil
	}
	needed := blueprint.ReservedConcurrency() + unreserved
	region, limit, err := accountLimit(ctx)
	if err != nil {
		fmt.Fprintf(out, "limits: the account's limit of concurrent functions is not known (%v); the deployment needs %d\n", err, needed)
		return nil
	}
	if limit < needed {
		return fmt.Errorf(`limits: in %s the account may run %d functions at once, and this deployment needs %d: %d for the functions that anybody can call, and %d that Lambda keeps unreserved.
Raise the quota "Concurrent executions" of Lambda to %d or more, and deploy again once AWS has granted it:
  aws service-quotas request-service-quota-increase --region %s --service-code lambda --quota-code L-B99A9384 --desired-value %d
Or deploy without limits of their own for these functions, so that a rush on them can delay token-get:
  make deploy CONTEXT='-c reserveConcurrency=false'`,
			region, limit, needed, needed-unreserved, unreserved, needed, region, max(needed, 1000))
	}
	fmt.Fprintf(out, "limits: in %s the account may run %d functions at once; the deployment needs %d\n", region, limit, needed)
	return nil
}

// contextFlag collects the values of -c.
type contextFlag map[string]string

func (c contextFlag) String() string { return "" }

func (c contextFlag) Set(pair string) error {
	name, value, ok := strings.Cut(pair, "=")
	if !ok {
		return errors.New("not name=value")
	}
	c[name] = value
	return nil
}

// reservesConcurrency reports whether the deployment that the arguments describe
// reserves concurrency, as ReadSettings of the CDK app decides it.
func reservesConcurrency(arguments []string) (bool, error) {
	flags := flag.NewFlagSet("limits", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	stage := flags.String("stage", "dev", "")
	settings := contextFlag{}
	flags.Var(settings, "c", "")
	flags.Var(settings, "context", "")
	if err := flags.Parse(arguments); err != nil {
		return false, fmt.Errorf("limits: %w", err)
	}
	if text, set := settings["reserveConcurrency"]; set {
		reserves, err := strconv.ParseBool(text)
		if err != nil {
			return false, errors.New("limits: reserveConcurrency is neither true nor false")
		}
		return reserves, nil
	}
	return *stage == "prod", nil
}

// accountLimit returns how many functions the account may run at once.
func accountLimit(ctx context.Context) (region string, limit int, err error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRetryMaxAttempts(2))
	if err != nil {
		return "", 0, err
	}
	if cfg.Region == "" {
		return "", 0, errors.New("no region is set: AWS_REGION")
	}
	answer, err := lambda.NewFromConfig(cfg).GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil {
		return cfg.Region, 0, fmt.Errorf("lambda:GetAccountSettings: %w", err)
	}
	if answer.AccountLimit == nil {
		return cfg.Region, 0, errors.New("AWS named no limit")
	}
	return cfg.Region, int(answer.AccountLimit.ConcurrentExecutions), nil
}
