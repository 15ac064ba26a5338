package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// grace is how long running requests and invocations may continue when the
// stack ends. The stack ends within five seconds.
const grace = 3 * time.Second

// options are the flags, and the environment.
type options struct {
	addr, aws, sandbox string
	public             string   // an address; empty: no listener for the public routes alone
	hosts              []string // names of this machine besides the loopback ones
	platformEndpoints  string   // a file
	refreshEvery       time.Duration
	readyFile          string
	concurrency        int
	build              string // folder of the binaries; empty: build/local of the module
	getenv             func(string) string
	terminal           *terminal
}

// stack is a running local stack.
type stack struct {
	options
	plan       plan
	guard      guard
	settings   settings
	endpoint   string // of the AWS that the functions use
	embedded   bool
	runtime    *runtimeAPI
	pools      map[string]*pool
	lambda     *lambdaAPI
	caller     caller
	box        *sandbox.Sandbox // nil if the stack uses other platforms
	servers    servers
	stop       context.CancelFunc // ends the poller and the scheduler
	running    chan struct{}      // closed after the pools have been created
	ended      chan struct{}      // closed when close begins
	background sync.WaitGroup
}

// servers are the listeners.
type servers struct{ front, public, aws, sandbox, runtime *server }

// start builds and starts the stack, and returns after every part answers.
func start(ctx context.Context, o options) (*stack, error) {
	s := &stack{options: o, plan: newPlan(o.refreshEvery), guard: guard{o.hosts}, pools: map[string]*pool{}, stop: func() {}, running: make(chan struct{}), ended: make(chan struct{})}
	for _, step := range []func(context.Context) error{
		s.listen, s.serveSandbox, s.serveAWS, s.prepareCloud, s.checkSettings, s.startFunctions, s.serveFront, s.runBackground, s.check, s.writeReadyFile,
	} {
		if err := step(ctx); err != nil {
			s.close()
			return nil, err
		}
		if ctx.Err() != nil {
			s.close()
			return nil, ctx.Err()
		}
	}
	return s, nil
}

// listen opens all ports first, because the parts need each other's URLs.
func (s *stack) listen(context.Context) error {
	s.endpoint = strings.TrimRight(s.getenv(config.AWSEndpointURL), "/")
	s.embedded = s.endpoint == ""
	endpoints := s.getenv(config.PlatformEndpoints)
	if s.platformEndpoints != "" {
		read, err := readEndpoints(s.platformEndpoints)
		if err != nil {
			return err
		}
		endpoints = read
	}
	if s.readyFile != "" {
		// A reader would take the file of an earlier run for the new one.
		if err := os.Remove(s.readyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the old ready file: %w", err)
		}
	}
	var err error
	open := func(addr, flag string) (opened *server) {
		if err == nil {
			if opened, err = listen(addr); err != nil {
				err = fmt.Errorf("%s: %w", flag, err)
			}
		}
		return opened
	}
	s.servers.front = open(s.addr, "-addr")
	s.servers.aws = open(s.aws, "-aws")
	if s.public != "" {
		s.servers.public = open(s.public, "-public")
	}
	s.servers.runtime = open("127.0.0.1:0", "the Runtime API")
	if endpoints == "" {
		s.servers.sandbox = open(s.sandbox, "-sandbox")
	}
	if err != nil {
		return err
	}
	if s.embedded {
		s.endpoint = s.servers.aws.url
	}
	if endpoints == "" {
		endpoints = encodeEndpoints(sandbox.Endpoints(s.servers.sandbox.url))
	}
	s.settings = newSettings(s.getenv, s.servers.front.url)
	s.settings.values[config.PlatformEndpoints] = endpoints
	return nil
}

func (s *stack) serveSandbox(context.Context) error {
	if s.servers.sandbox != nil {
		s.box = sandbox.New(sandbox.Options{})
		s.servers.sandbox.serve(s.guard.protect(s.box), 0)
	}
	return nil
}

// serveAWS serves Lambda's Invoke call and the embedded AWS services.
func (s *stack) serveAWS(context.Context) error {
	s.lambda = &lambdaAPI{functions: map[string]bool{}, describe: s.describe(time.Now()), invoke: s.invoke, terminal: s.terminal}
	for _, f := range s.plan.functions {
		s.lambda.functions[f.Name] = true
	}
	mux := http.NewServeMux()
	s.lambda.register(mux)
	if s.embedded {
		cloud := awslocal.New(awslocal.Options{Now: time.Now, Random: rand.Reader, OnEvent: s.showEvent})
		mux.Handle("/", enforceGrants(cloud, func(problem string) { s.terminal.notify("%s", problem) }))
	}
	s.servers.aws.serve(s.guard.protect(mux), 0)
	return nil
}

// describe returns what describes a function of the stack. It waits until the
// settings are complete.
func (s *stack) describe(since time.Time) func(name string) lambdaFunction {
	return func(name string) lambdaFunction {
		select {
		case <-s.running:
		case <-s.ended:
			return lambdaFunction{FunctionName: name}
		}
		f := blueprint.Function{Name: name}
		if i := slices.IndexFunc(s.plan.functions, func(f blueprint.Function) bool { return f.Name == name }); i >= 0 {
			f = s.plan.functions[i]
		}
		return newLambdaFunction(f, s.settings, since)
	}
}

// showEvent shows an event of the bus on the terminal.
func (s *stack) showEvent(e awslocal.Event) {
	var detail struct{ Platform, Status string }
	_ = json.Unmarshal([]byte(e.Detail), &detail)
	s.terminal.line(plain, "%-38s %-16s %s", "event", detail.Platform, e.DetailType+", "+detail.Status)
}

func (s *stack) prepareCloud(ctx context.Context) error {
	url, _, err := newCloud(s.settings, s.endpoint).prepare(ctx, s.settings, s.plan.queue)
	if err != nil {
		return fmt.Errorf("preparing AWS at %s: %w", s.endpoint, err)
	}
	s.settings.values[config.RefreshQueueURL] = url
	return nil
}

// checkSettings reports invalid variables once. Otherwise every function that
// reads them would report them and exit.
func (s *stack) checkSettings(context.Context) error {
	_, err := config.Parse(func(name string) string { return s.settings.values[name] })
	if err != nil {
		return fmt.Errorf("checking the settings: %w", err)
	}
	return nil
}

// startFunctions builds the functions and starts a process of each. If one
// cannot start, the stack ends, and the terminal shows the function's output.
func (s *stack) startFunctions(ctx context.Context) error {
	directory, err := s.buildAll(ctx)
	if err != nil {
		return err
	}
	s.runtime = newRuntimeAPI(s.servers.runtime.at.Addr().String())
	s.servers.runtime.serve(s.guard.protect(s.runtime), 0)

	var starting sync.WaitGroup
	failures := make(chan error, len(s.plan.functions))
	for _, f := range s.plan.functions {
		p := newPool(f, s.concurrency, filepath.Join(directory, f.Name), s.settings.of(f, s.endpoint),
			s.runtime, s.terminal.function(f.Name), s.terminal.notify)
		s.pools[f.Name] = p
		starting.Go(func() { failures <- p.warmUp(ctx) })
	}
	close(s.running)
	starting.Wait()
	close(failures)
	var failed error
	for err := range failures {
		failed = errors.Join(failed, err)
	}
	return failed
}

func (s *stack) buildAll(ctx context.Context) (directory string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	directory = cmp.Or(s.build, filepath.Join(root, "build", "local"))
	begun := time.Now()
	s.terminal.line(dim, "building %s…", plural(len(s.plan.functions), "function"))
	if err := buildFunctions(ctx, root, directory, s.plan.functions, s.terminal); err != nil {
		return "", err
	}
	s.terminal.line(dim, "built in %s", brief(time.Since(begun)))
	return directory, nil
}

// invoke runs a function once. It waits until the pools exist, because the port
// of Lambda is open before: the embedded AWS shares it.
func (s *stack) invoke(ctx context.Context, function string, payload []byte) (result, error) {
	select {
	case <-s.running:
	case <-s.ended:
		return result{}, errClosed
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
	p, ok := s.pools[function]
	if !ok {
		return result{}, fmt.Errorf("there is no function %q", function)
	}
	return p.invoke(ctx, payload)
}

func (s *stack) serveFront(ctx context.Context) error {
	g := &gateway{routes: s.plan.routes, invoke: s.invoke, now: time.Now}
	s.caller = caller{g, s.servers.front.url}
	if s.box != nil {
		if err := seed(ctx, s.caller, s.box); err != nil {
			return err
		}
	}
	s.servers.front.serve(&front{gateway: g, guard: s.guard, page: newStartPage(s.caller, s.box != nil, s.terminal), terminal: s.terminal}, maxHeaderBytes)
	if s.servers.public != nil {
		open := &gateway{routes: publicRoutes(s.plan.routes), invoke: s.invoke, now: time.Now}
		s.servers.public.serve(&front{gateway: open, guard: s.guard, terminal: s.terminal}, maxHeaderBytes)
	}
	return nil
}

// publicRoutes returns the routes that need no signature.
func publicRoutes(routes []blueprint.Route) []blueprint.Route {
	return slices.DeleteFunc(slices.Clone(routes), func(r blueprint.Route) bool { return r.Auth != blueprint.Public })
}

// runBackground starts the schedule and the pollers of the queue.
func (s *stack) runBackground(ctx context.Context) error {
	cloud := newCloud(s.settings, s.endpoint)
	url := s.settings.values[config.RefreshQueueURL]
	arn, err := cloud.queueARN(ctx, url)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	p := &poller{queue: s.plan.queue, client: cloud.queue, url: url, arn: arn, region: s.settings.region, invoke: s.invoke, terminal: s.terminal}
	for range min(s.concurrency, pollers) {
		s.background.Go(func() { p.run(running) })
	}
	ticks := &scheduler{schedule: s.plan.schedule, invoke: s.invoke, terminal: s.terminal, now: time.Now}
	s.background.Go(func() { ticks.run(running) })
	return nil
}

// pollers is the number of batches that are received concurrently. An event
// source mapping begins with five.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
const pollers = 5

// check requests the start page of the running stack, which uses every part.
func (s *stack) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.servers.front.url+"/", nil)
	if err != nil {
		return fmt.Errorf("requesting the start page: %w", err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("requesting the start page: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the start page answers %s", answer.Status)
	}
	return nil
}

// writeReadyFile writes the URLs to the file of -ready-file. It replaces the
// file atomically.
func (s *stack) writeReadyFile(context.Context) error {
	if s.readyFile == "" {
		return nil
	}
	urls := map[string]string{"addr": s.servers.front.url, "aws": s.servers.aws.url, "sandbox": s.sandboxURL()}
	if s.servers.public != nil {
		urls["public"] = s.servers.public.url
	}
	b, err := json.Marshal(urls)
	if err != nil {
		return fmt.Errorf("encoding the ready file: %w", err)
	}
	unfinished := s.readyFile + ".part"
	if err := os.WriteFile(unfinished, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	if err := os.Rename(unfinished, s.readyFile); err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	return nil
}

// sandboxURL returns the URL of the sandbox, or "" if there is none.
func (s *stack) sandboxURL() string {
	if s.servers.sandbox == nil {
		return ""
	}
	return s.servers.sandbox.url
}

// close ends the stack in this order: the schedule and the pollers, running
// requests and invocations, the processes, the services that they need.
func (s *stack) close() {
	close(s.ended)
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var ending sync.WaitGroup
	ending.Go(func() { closeAll(ctx, s.servers.front, s.servers.public) })
	for _, p := range s.pools {
		ending.Go(func() { p.drain(ctx) })
	}
	ending.Wait()
	for _, p := range s.pools {
		ending.Go(p.close)
	}
	ending.Wait()
	if s.lambda != nil {
		s.lambda.work.Wait()
	}
	s.background.Wait()
	// No process polls any more.
	closeAll(ctx, s.servers.aws, s.servers.sandbox, s.servers.runtime)
}

func closeAll(ctx context.Context, all ...*server) {
	var closing sync.WaitGroup
	for _, s := range all {
		if s != nil {
			closing.Go(func() { s.close(ctx) })
		}
	}
	closing.Wait()
}
