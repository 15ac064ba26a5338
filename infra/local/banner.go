package main

import (
	"fmt"
	"net/url"
	"strings"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/platform"
)

// banner prints the URLs of the stack and the next step.
func (s *stack) banner() {
	t := s.terminal
	t.print("")
	t.print("  Platform API Connector runs on this machine")
	t.print("")
	row := func(name, url, note string) {
		t.print(fmt.Sprintf("  %-12s %s", name, t.paint(green, url)) + t.paint(dim, note))
	}
	row("Start page", s.servers.front.url+"/", "")
	if s.servers.public != nil {
		row("Public", s.servers.public.url, "  the public routes alone: the end of a tunnel")
	}
	row("AWS", s.servers.aws.url, "  "+describeAWS(s.endpoint, s.embedded))
	if s.box != nil {
		row("Sandbox", s.sandboxURL(), "  the simulated platforms")
	}
	t.print("")
	if s.servers.public == nil && !isOnThisMachine(s.settings.values[config.PublicURL]) {
		t.print(t.paint(yellow, "  PUBLIC_URL is not on this machine: start with -public 127.0.0.1:8424 and point the"))
		t.print(t.paint(yellow, "  tunnel at that address, so that other machines reach the public routes alone."))
		t.print("")
	}
	t.print("  Open the start page, press Connect, and then ask for a token as another Lambda does:")
	t.print("")
	t.print("    curl -d '{\"owner\":\"me\",\"platform\":\"PLATFORM\"}' \\")
	t.print("      " + s.servers.aws.url + "/2015-03-31/functions/token-get/invocations")
	t.print("")
	t.print("  PLATFORM is one of " + strings.Join(platformNames(), ", ") + ".")
	t.print("")
	t.print(t.paint(dim, "  Ctrl-C ends everything."))
	t.print("")
}

// isOnThisMachine reports whether a URL leads to loopback.
func isOnThisMachine(address string) bool {
	u, err := url.Parse(address)
	return err == nil && config.Loopback(u.Hostname())
}

// platformNames returns the names of the platforms that the connector knows.
func platformNames() []string {
	var names []string
	for _, p := range platform.All(platform.Options{}) {
		names = append(names, string(p.Describe().Name))
	}
	return names
}

// describeAWS describes which AWS the stack uses.
func describeAWS(endpoint string, embedded bool) string {
	if embedded {
		return "embedded DynamoDB, Secrets Manager, SQS, EventBridge, and Lambda invoke"
	}
	return "Lambda invoke; everything else is " + strings.TrimRight(endpoint, "/")
}
