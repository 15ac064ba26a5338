// Command local runs the whole connector on loopback. It builds the functions
// as they deploy, and runs them behind replacements for the HTTP API, the
// schedule and the queue, with an embedded AWS and with sandbox platforms that
// ask for consent. It needs no AWS account and no platform account. Package
// blueprint lists the functions, routes and queues.
//
// SIGTERM, SIGINT, or the end of the `go run` that started it, ends the command
// and all its processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

func main() {
	o := options{getenv: os.Getenv}
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8422", "the address of the HTTP API and the start page; port 0 chooses a free one")
	flag.StringVar(&o.aws, "aws", "127.0.0.1:4566", "the address of AWS: Lambda invoke and the embedded services")
	flag.StringVar(&o.sandbox, "sandbox", "127.0.0.1:8423", "the address of the sandbox platforms")
	flag.StringVar(&o.public, "public", "", "an `address` that serves the public routes alone, for a tunnel")
	hosts := flag.String("hosts", "", "`names` of this machine that callers use besides the loopback ones, separated by commas, such as host.docker.internal")
	flag.StringVar(&o.platformEndpoints, "platform-endpoints", "", "a JSON `file` that maps real origins to the origins to use instead; starts no sandbox")
	flag.DurationVar(&o.refreshEvery, "refresh-every", blueprint.RefreshSchedule().Every, "the interval of the refresh function")
	flag.StringVar(&o.readyFile, "ready-file", "", "the `file` for the URLs, as JSON; written when every part answers")
	flag.IntVar(&o.concurrency, "concurrency", 10, "the maximum number of processes of each function")
	flag.StringVar(&o.build, "build", "", "the `folder` of the function binaries (default build/local)")
	describe := flag.Bool("describe", false, "write the functions, routes, schedule and queue as JSON, and start nothing")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "The flags of go run ./infra/local, which make run takes as ARGS='…':")
		flag.PrintDefaults()
	}
	flag.Parse()
	o.hosts = splitHosts(*hosts)
	if err := checkFlags(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(2)
	}
	if *describe {
		if err := writePlan(os.Stdout, o); err != nil {
			fmt.Fprintln(os.Stderr, "local:", err)
			os.Exit(1)
		}
		return
	}
	o.terminal = newTerminal(os.Stdout, strings.EqualFold(os.Getenv(config.LogLevel), "debug"))
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

func checkFlags(o options, rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag; -h lists them", rest[0])
	case o.concurrency < 1:
		return errors.New("-concurrency: must be at least 1")
	case o.refreshEvery < time.Second:
		return errors.New("-refresh-every: must be at least 1s")
	}
	for _, host := range o.hosts {
		if !hostNamePattern.MatchString(host) {
			return fmt.Errorf("-hosts: %q is not a host name without scheme and port, such as host.docker.internal", host)
		}
	}
	return nil
}

// hostNamePattern matches a host name. It has no star: each name that is not
// reserved for this machine can be rebound to it.
var hostNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// splitHosts returns the names of a list that is separated by commas, in lower case.
func splitHosts(list string) []string {
	if list == "" {
		return nil
	}
	hosts := strings.Split(strings.ToLower(list), ",")
	for i, host := range hosts {
		hosts[i] = strings.TrimSpace(host)
	}
	return hosts
}

// run runs the stack until a signal ends it. A signal is not an error.
func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, stopWithParent := withParent(ctx)
	defer stopWithParent()

	s, err := start(ctx, o)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	s.banner()
	<-ctx.Done()
	// A second Ctrl-C kills the command and its processes at once.
	stop()
	o.terminal.line(dim, "ending…")
	s.close()
	return nil
}
