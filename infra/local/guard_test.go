package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestGuard_IsThisMachine(t *testing.T) {
	t.Parallel()
	g := guard{hosts: []string{"host.docker.internal"}}
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8422": true, "127.9.9.9:1": true, "[::1]": true, "[::1]:8422": true,
		"[::ffff:127.0.0.1]:8422": true, "localhost": true, "LocalHost:8422": true, "localhost.:8422": true,
		"app.localhost:8422": true, "host.docker.internal:8422": true, "HOST.docker.internal": true,

		"": false, ":8422": false, "evil.example": false, "evil.example.": false, "127.0.0.1.evil.example": false,
		"localhost.evil.example:8422": false, "evillocalhost": false, "0.0.0.0:8422": false, "[::]:8422": false,
		"10.0.0.1": false, "192.168.0.1:8422": false, "2130706433": false, "127.1": false, "::1": false,
		"[::1": false, "[::1]x": false, "[localhost]": false, "[fe80::1%25lo]": false,
		"127.0.0.1:": false, "127.0.0.1:http": false, "127.0.0.1:8422:1": false, "127.0.0.1:123456": false,
		"user@127.0.0.1": false, "127.0.0.1@evil.example": false, "127.0.0.1,evil.example": false,
		"evil.example/.localhost": false, "evil.example?.localhost": false, "evil.example .localhost": false,
		"x.host.docker.internal": false, "lоcalhost": false, "localhost\t": false,
	} {
		if got := g.isThisMachine(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}

// spelled returns a header name that matches a pattern of forwardingHeaders.
func spelled(pattern string) string {
	return http.CanonicalHeaderKey(strings.ReplaceAll(pattern, "*", "test"))
}

// TestForwardingHeader tests the names that tunnels and proxies are known to send,
// and names that clients of this machine send.
func TestForwardingHeader(t *testing.T) {
	t.Parallel()
	forwards := []string{
		"Forwarded", "Forwarded-For", "Via", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Forwarded-Scheme",
		"X-Forwarded-Client-Cert", "X-Real-Ip", "X-Real-IP", "True-Client-Ip", "Client-Ip", "X-Client-Ip", "X-Cluster-Client-Ip",
		"Fastly-Client-Ip", "Fly-Client-Ip", "Fly-Forwarded-Port", "X-Original-Host", "X-Original-Proto", "X-Original-For",
		"X-Original-Url", "X-Original-Forwarded-For", "X-Orig-Host", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Ray",
		"Cf-Visitor", "Cf-Ipcountry", "Cf-Warp-Tag-Id", "Cdn-Loop", "Ngrok-Skip-Browser-Warning", "Ngrok-Auth-User-Email",
		"Tailscale-User-Login", "X-Tunnel-Authorization", "Bypass-Tunnel-Reminder", "X-Envoy-External-Address", "X-Scheme",
		"X-Appengine-User-Ip", "X-Azure-Clientip", "X-Azure-Socketip", "Cloudfront-Viewer-Address", "X-Amz-Cf-Id",
		"X-Nf-Client-Connection-Ip", "X-Vercel-Forwarded-For", "Proxy-Connection", "Proxy-Authorization", "Max-Forwards",
		"X-Bluecoat-Via", "X-Remote-Addr", "Wl-Proxy-Client-Ip", "X-Proxyuser-Ip", "Front-End-Https", "Akamai-Origin-Hop",
	}
	for _, name := range forwards {
		for _, form := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			if forwardingHeader(form) == "" {
				t.Errorf("%s does not count as a forwarding header", form)
			}
		}
	}
	for _, pattern := range forwardingHeaders {
		if forwardingHeader(spelled(pattern)) == "" || pattern != strings.ToLower(pattern) {
			t.Errorf("the row %q matches no header", pattern)
		}
	}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "Authorization", "Cache-Control", "Connection",
		"Content-Length", "Content-Type", "Cookie", "Dnt", "Expect", "Lambda-Runtime-Function-Error-Type", "Origin", "Priority", "Referer",
		"Sec-Ch-Ua", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Te", "Traceparent", "Transfer-Encoding", "Upgrade-Insecure-Requests",
		"User-Agent", "X-Amz-Client-Context", "X-Amz-Content-Sha256", "X-Amz-Date", "X-Amz-Invocation-Type", "X-Amz-Log-Type",
		"X-Amz-Security-Token", "X-Amz-Target", "X-Amz-User-Agent", "X-Amzn-Trace-Id", "X-Request-Id", "X-Requested-With", "Tiktok-Signature",
	} {
		if row := forwardingHeader(name); row != "" {
			t.Errorf("%s counts as a forwarding header, by the row %q", name, row)
		}
	}
}

func TestIsOtherSite(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, method string
		header       http.Header
		want         bool
	}{
		{"a_program", "POST", nil, false},
		{"address_bar", "GET", http.Header{"Sec-Fetch-Site": {"none"}, "Sec-Fetch-Mode": {"navigate"}}, false},
		{"own_page", "POST", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://127.0.0.1:8422"}}, false},
		{"own_page_that_sends_no_referrer", "POST", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"null"}}, false},
		{"own_page_in_an_old_browser", "POST", http.Header{"Origin": {"http://127.0.0.1:8422"}}, false},
		{"link_of_another_site", "GET", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}}, false},
		{"redirect_of_a_consent", "GET", http.Header{"Sec-Fetch-Site": {"same-site"}, "Sec-Fetch-Mode": {"navigate"}}, false},

		{"form_of_another_site", "POST", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Origin": {"https://evil.example"}}, true},
		{"form_of_another_port", "POST", http.Header{"Sec-Fetch-Site": {"same-site"}, "Sec-Fetch-Mode": {"navigate"}, "Origin": {"http://127.0.0.1:9000"}}, true},
		{"fetch_by_another_site", "GET", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}}, true},
		{"fetch_by_another_port", "GET", http.Header{"Sec-Fetch-Site": {"same-site"}, "Sec-Fetch-Mode": {"cors"}, "Origin": {"http://127.0.0.1:9000"}}, true},
		{"image_of_another_site", "GET", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"image"}}, true},
		{"web_socket_of_another_site", "GET", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"websocket"}, "Origin": {"https://evil.example"}, "Upgrade": {"websocket"}}, true},
		{"web_socket_in_an_old_browser", "GET", http.Header{"Origin": {"https://evil.example"}, "Upgrade": {"websocket"}}, true},
		{"fetch_in_an_old_browser", "GET", http.Header{"Origin": {"https://evil.example"}}, true},
		{"write_in_an_old_browser", "DELETE", http.Header{"Origin": {"https://evil.example"}}, true},
		{"write_by_a_sandboxed_frame", "POST", http.Header{"Origin": {"null"}}, true},
		{"preflight", "OPTIONS", http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"POST"}}, true},
		{"unknown_site", "GET", http.Header{"Sec-Fetch-Site": {"same-origin, cross-site"}}, true},
		{"two_sites", "GET", http.Header{"Sec-Fetch-Site": {"same-origin", "cross-site"}}, true},
		{"two_origins", "GET", http.Header{"Origin": {"http://127.0.0.1:8422", "https://evil.example"}}, true},
		{"malformed_origin", "GET", http.Header{"Origin": {"http://127.0.0.1:8422/%zz"}}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), row.method, "/connections", nil)
			r.Host, r.Header = "127.0.0.1:8422", row.header
			if r.Header == nil {
				r.Header = http.Header{}
			}
			if got := isOtherSite(r); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestCheckFlags(t *testing.T) {
	t.Parallel()
	for hosts, want := range map[string]bool{
		"": true, "host.docker.internal": true, "HOST.docker.internal, my-machine": true,
		"*": false, "http://host.docker.internal": false, "host:80": false, "a,,b": false, ".local": false, "a b": false,
	} {
		err := checkFlags(options{concurrency: 1, refreshEvery: 1e9, hosts: splitHosts(hosts)}, nil)
		if (err == nil) != want || err != nil && !strings.HasPrefix(err.Error(), "-hosts: ") {
			t.Errorf("%q: %v", hosts, err)
		}
	}
}
