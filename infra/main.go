// Command infra is the CDK app. It deploys the functions, routes and grants of
// package blueprint, which the local stack runs on loopback. README.md in this
// folder explains how to deploy.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

func main() {
	defer jsii.Close()
	app := awscdk.NewApp(nil)
	context, _ := app.Node().GetAllContext(nil).(map[string]any)
	settings, err := ReadSettings(func(name string) any { return context[name] })
	if err := errors.Join(CheckContext(context, contextFiles...), err); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	NewStack(app, settings, "build/functions")
	app.Synth(nil)
}
