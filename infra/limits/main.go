// Command limits asks AWS how many functions the account may run at once, before
// a deployment that reserves a part of them. It fails only where that is known to
// be too few, and says what to do.
//
//	limits -c stage=prod [-c reserveConcurrency=false] …
//
// It takes the arguments of the CDK and reads the files of context that the CDK
// reads.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"platform-api-connector/infra/blueprint"
)

// mustStayUnreserved is what Lambda keeps for functions without reserved
// concurrency:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
// (read 2026-11-25).
const mustStayUnreserved = 100

// usualQuota is the quota of an account that AWS has not limited:
// https://docs.aws.amazon.com/lambda/latest/operatorguide/scaling-concurrency.html
// (read 2026-11-25).
const usualQuota = 1000

const patience = 20 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := run(ctx, os.Args[1:], contextFiles(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments, files []string, out io.Writer) error {
	s, err := readSettings(arguments, files)
	if err != nil {
		return err
	}
	if !s.reserves {
		fmt.Fprintln(out, "limits: this deployment reserves no concurrency (reserveConcurrency)")
		return nil
	}
	a, err := askAccount(ctx, s)
	needed := blueprint.ReservedConcurrency() + mustStayUnreserved
	switch {
	// The limit may be known to be too small although the rest is not known.
	case a.limit > 0 && a.limit < needed+a.others:
		return tooSmall(a, needed)
	case err != nil:
		fmt.Fprintf(out, "limits: the account's limit of concurrent functions is not known (%v); the deployment needs %d\n", err, needed)
		return nil
	}
	fmt.Fprintf(out, "limits: in %s the account may run %d functions at once; the deployment needs %d\n", a.region, a.limit, needed)
	return nil
}

func tooSmall(a account, needed int) error {
	others := ""
	if a.others > 0 {
		others = fmt.Sprintf(" The other functions of the account reserve %d.", a.others)
	}
	return fmt.Errorf(`limits: in %s the account may run %d functions at once, and this deployment needs %d: %d for functions with a limit of their own, and %d that Lambda keeps unreserved.%s
Raise the quota "Concurrent executions" of Lambda to %d or more, and deploy again once AWS has granted it:
  aws service-quotas request-service-quota-increase --region %s --service-code lambda --quota-code L-B99A9384 --desired-value %d
Or deploy without limits of their own for these functions, so that a rush on them can delay token-get:
  make deploy CONTEXT='-c reserveConcurrency=false'`,
		a.region, a.limit, needed, blueprint.ReservedConcurrency(), mustStayUnreserved, others,
		needed+a.others, a.region, max(needed+a.others, usualQuota))
}

// account is what AWS says about the account.
type account struct {
	region string
	limit  int // of concurrent functions; zero: not known
	others int // what functions of no such deployment reserve
}

// askAccount asks AWS. Beside an error the result has what is known.
func askAccount(ctx context.Context, s settings) (account, error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRetryMaxAttempts(2),
		awsconfig.WithSharedConfigProfile(s.profile), awsconfig.WithRegion(s.region))
	if err != nil {
		return account{}, err
	}
	a := account{region: cfg.Region}
	if a.region == "" {
		return a, errors.New("no region is set: AWS_REGION")
	}
	client := lambda.NewFromConfig(cfg)
	answer, err := client.GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil {
		return a, fmt.Errorf("lambda:GetAccountSettings: %w", err)
	}
	if answer.AccountLimit == nil {
		return a, errors.New("AWS named no limit")
	}
	a.limit = int(answer.AccountLimit.ConcurrentExecutions)
	if answer.AccountLimit.UnreservedConcurrentExecutions == nil {
		return a, errors.New("AWS did not say how much is unreserved")
	}
	reserved := a.limit - int(*answer.AccountLimit.UnreservedConcurrentExecutions)
	if reserved+blueprint.ReservedConcurrency()+mustStayUnreserved <= a.limit {
		return a, nil // whoever reserved it
	}
	own, err := ownReservation(ctx, client, s.stage)
	if err != nil {
		return a, fmt.Errorf("lambda:GetFunctionConcurrency: %w", err)
	}
	a.others = reserved - own
	return a, nil
}

// ownReservation returns what an earlier deployment of the stage reserves. A
// deployment replaces it.
func ownReservation(ctx context.Context, client *lambda.Client, stage string) (sum int, err error) {
	for _, f := range blueprint.Functions() {
		if f.Reserved() == 0 {
			continue
		}
		name := blueprint.ResourceName(stage, f.Name)
		answer, err := client.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: &name})
		var missing *types.ResourceNotFoundException
		switch {
		case errors.As(err, &missing):
		case err != nil:
			return 0, err
		case answer.ReservedConcurrentExecutions != nil:
			sum += int(*answer.ReservedConcurrentExecutions)
		}
	}
	return sum, nil
}
