// Package blueprint describes the deployment: its functions, their routes,
// environment, schedule and queue. The CDK app builds it on AWS, and the local
// stack on loopback. A test compares the two.
package blueprint

import (
	"time"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/platform"
)

// Auth is who may call a route.
type Auth string

// The kinds of Auth.
const (
	Public Auth = "NONE"
	IAM    Auth = "AWS_IAM"
)

// Right is what a caller may do with the routes that need IAM auth. Each is a
// managed policy of the deployment.
type Right string

// The rights.
const (
	GetTokens         Right = "get tokens"
	MintLinks         Right = "mint links"
	ManageConnections Right = "manage connections"
	ManageApps        Right = "manage apps"
)

// Function is one Lambda, built from functions/<Name>.
type Function struct {
	Name     string
	Job      string // one line, for the console and for people
	MemoryMB int
	Timeout  time.Duration
	// MaxConcurrency limits the concurrent invocations. Zero means no limit of
	// its own. The functions that anybody can call have one: a slow platform, or
	// the holder of a link, must not use up the account's concurrency, which
	// token-get shares.
	MaxConcurrency int
	// Environment lists its environment variables, which package config names.
	Environment []string
}

// Route is one route of the HTTP API.
type Route struct {
	Method, Path string
	Auth         Auth
	Right        Right // of a route with IAM auth
	Function     string
	// RatePerSecond and Burst throttle the route.
	RatePerSecond, Burst int
}

// Key is the route as API Gateway writes it: "GET /connections/{id}".
func (r Route) Key() string { return r.Method + " " + r.Path }

// Schedule invokes a function at regular intervals.
type Schedule struct {
	Function string
	Every    time.Duration
}

// Queue invokes a function with batches of messages.
type Queue struct {
	Name       string
	Function   string
	BatchSize  int
	Window     time.Duration // the longest wait for a full batch
	Visibility time.Duration // the visibility timeout
	MaxReceive int           // receives before the dead-letter queue
	Retention  time.Duration
}

// Names of the parts.
const (
	OAuthStart     = "oauth-start"
	OAuthCallback  = "oauth-callback"
	TokenGet       = "token-get"
	Refresh        = "refresh"
	RefreshWorker  = "refresh-worker"
	Connections    = "connections"
	PlatformNotice = "platform-notice"
)

var common = []string{
	config.PublicURL, config.TableName, config.SecretPrefix, config.RefreshQueueURL,
	config.EventBusName, config.PlatformEndpoints, config.LogLevel,
}

func with(names ...string) []string { return append(append([]string{}, common...), names...) }

// Functions returns every function of the deployment.
func Functions() []Function {
	return []Function{
		{Name: OAuthStart, Job: "checks a connect link and sends the browser to the platform", MemoryMB: 256, Timeout: 10 * time.Second, MaxConcurrency: 50, Environment: with(config.LinkScopes, config.Budgets)},
		{Name: OAuthCallback, Job: "redeems the code of a consent and stores the connections", MemoryMB: 512, Timeout: 29 * time.Second, MaxConcurrency: 50, Environment: with(config.ReturnOrigins, config.SecretKMSKeyID, config.RefuseUnbound, config.Budgets)},
		{Name: TokenGet, Job: "hands out credentials that work now", MemoryMB: 512, Timeout: 29 * time.Second, Environment: with(config.AllowFullCredentials, config.HandOutAppKeys, config.DecoyConnectionID, config.CallerOwners, config.SecretKMSKeyID, config.RefuseUnbound, config.Budgets)},
		{Name: Refresh, Job: "finds what is due and queues it", MemoryMB: 256, Timeout: 60 * time.Second, MaxConcurrency: 1, Environment: common},
		{Name: RefreshWorker, Job: "refreshes the connections of a batch", MemoryMB: 512, Timeout: 60 * time.Second, MaxConcurrency: 20, Environment: with(config.SecretKMSKeyID, config.RefuseUnbound, config.Budgets)},
		{Name: Connections, Job: "serves the operator's routes", MemoryMB: 512, Timeout: 29 * time.Second, Environment: with(config.ReturnOrigins, config.CallerOwners, config.LinkScopes, config.SecretKMSKeyID, config.RefuseUnbound, config.Budgets)},
		{Name: PlatformNotice, Job: "takes what platforms send on their own", MemoryMB: 256, Timeout: 29 * time.Second, MaxConcurrency: 20, Environment: common},
	}
}

// ResourceName returns the name of a part of the deployment of a stage on AWS.
func ResourceName(stage, part string) string {
	return "platform-api-connector-" + stage + "-" + part
}

// Reserved returns what a deployment reserves for f if it reserves any concurrency.
// The queue limits the worker without: a limit on that function would lose messages.
func (f Function) Reserved() int {
	if f.Name == RefreshQueue().Function {
		return 0
	}
	return f.MaxConcurrency
}

// ReservedConcurrency returns the sum of what such a deployment reserves.
func ReservedConcurrency() int {
	sum := 0
	for _, f := range Functions() {
		sum += f.Reserved()
	}
	return sum
}

// Routes returns every route of the HTTP API. The platforms tell which notices
// they send.
func Routes() []Route {
	public := func(method, path, function string) Route {
		return Route{Method: method, Path: path, Auth: Public, Function: function, RatePerSecond: 50, Burst: 100}
	}
	iam := func(method, path, function string, right Right) Route {
		return Route{Method: method, Path: path, Auth: IAM, Right: right, Function: function, RatePerSecond: 200, Burst: 400}
	}
	routes := []Route{
		public("GET", "/connect/{link}", OAuthStart),
		public("GET", "/oauth/{platform}/callback", OAuthCallback),
		public("POST", "/oauth/{platform}/choose", OAuthCallback),
	}
	for _, p := range platform.All(platform.Options{}) {
		d := p.Describe()
		for _, kind := range d.Notices {
			routes = append(routes, public("POST", kind.Path(d.Name), PlatformNotice))
			if kind.Deletion {
				routes = append(routes, public("GET", kind.StatusPath(d.Name, "{code}"), PlatformNotice))
			}
		}
	}
	return append(routes,
		iam("GET", "/platforms", Connections, ManageApps),
		iam("GET", "/platforms/{platform}", Connections, ManageApps),
		iam("PUT", "/platforms/{platform}/app", Connections, ManageApps),
		iam("POST", "/links", Connections, MintLinks),
		iam("GET", "/links/{id}", Connections, MintLinks),
		iam("DELETE", "/links/{id}", Connections, MintLinks),
		iam("POST", "/connections", Connections, ManageConnections),
		iam("POST", "/connections/confirm", Connections, MintLinks),
		iam("GET", "/connections", Connections, ManageConnections),
		iam("GET", "/connections/{id}", Connections, ManageConnections),
		iam("GET", "/connections/{id}/token", TokenGet, GetTokens),
		iam("POST", "/connections/{id}/sign", TokenGet, GetTokens),
		iam("POST", "/connections/{id}/verify", Connections, ManageConnections),
		iam("POST", "/connections/{id}/refresh", Connections, ManageConnections),
		iam("POST", "/connections/{id}/usage", Connections, ManageConnections),
		iam("DELETE", "/connections/{id}", Connections, ManageConnections),
		iam("POST", "/suspensions", Connections, ManageConnections),
		iam("GET", "/suspensions", Connections, ManageConnections),
		iam("GET", "/suspensions/{id}", Connections, ManageConnections),
		iam("DELETE", "/suspensions/{id}", Connections, ManageConnections),
	)
}

// RefreshSchedule returns the schedule of the refresh function.
func RefreshSchedule() Schedule {
	return Schedule{Function: Refresh, Every: 5 * time.Minute}
}

// RefreshQueue returns the queue between the refresh function and the workers.
func RefreshQueue() Queue {
	return Queue{
		Name: "refresh", Function: RefreshWorker,
		BatchSize: 10, Window: 0,
		Visibility: 6 * time.Minute, MaxReceive: 5, Retention: 24 * time.Hour,
	}
}
