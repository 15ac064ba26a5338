package main

import (
	"net/http"
	"path"
	"strings"
)

// forwardingSign returns what shows that a request was forwarded, or "".
func forwardingSign(r *http.Request) string {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		// By default, nginx before 1.29.7 forwards with HTTP/1.0, its own address as
		// the Host, and no header of its own
		// (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_http_version,
		// read as quoted elsewhere on 2026-11-25). SDKs, curl and browsers use 1.1.
		return r.Proto
	case !strings.HasPrefix(r.RequestURI, "/"):
		// Clients send such a target to a proxy (RFC 9112, 3.2.2), and net/http
		// then replaces the Host header with it.
		return "its request target is not a path"
	}
	for name := range r.Header {
		if sign := forwardingHeader(name); sign != "" {
			return sign
		}
	}
	return ""
}

// forwardingHeader returns the pattern of forwardingHeaders that a name matches, or
// "". Servers for CGI and WSGI take an underscore for a hyphen.
func forwardingHeader(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	for _, pattern := range forwardingHeaders {
		if matched, _ := path.Match(pattern, name); matched {
			return pattern
		}
	}
	return ""
}

// forwardingHeaders are the request headers that reverse proxies, CDNs and tunnels
// add, in lower case. A star matches any characters. A tunnel that sends none of
// them is a new row. Read on 2026-11-25:
//
//	ngrok        https://ngrok.com/docs/universal-gateway/http-s/upstream-headers
//	Cloudflare   https://developers.cloudflare.com/fundamentals/reference/http-headers/
//	dev tunnels  https://github.com/microsoft/dev-tunnels/issues/507
//	localtunnel  https://github.com/localtunnel/localtunnel/issues/482
//	Tailscale    https://tailscale.com/s/serve-headers
//
// X-Amzn-Trace-Id is none of them: the AWS SDK in a function sends it.
var forwardingHeaders = []string{
	"forwarded*",             // RFC 7239; Forwarded-For
	"via",                    // RFC 9110, 7.6.3; Caddy, CloudFront, Squid, Varnish
	"*-via",                  // X-Bluecoat-Via
	"max-forwards",           // RFC 9110, 7.6.2
	"cdn-loop",               // RFC 8586; Cloudflare, Fastly
	"proxy-*",                // what clients send to a proxy; Proxy-Client-IP of WebLogic
	"x-forwarded*",           // nearly all; cloudflared, Tailscale Funnel, localtunnel, VS Code and Azure dev tunnels, ngrok
	"x-original-*",           // X-Original-Host of ngrok, X-Original-Proto of dev tunnels
	"x-orig-*",               // X-Orig-Host
	"x-rewrite-url",          // IIS
	"x-host",                 // proxies of virtual hosts
	"*real-ip",               // X-Real-IP of nginx, Traefik, frp
	"*client-ip",             // True-Client-IP, Fly-Client-IP, X-Client-IP, Fastly-Client-IP, X-Cluster-Client-IP
	"*connecting-ip",         // CF-Connecting-IP
	"*connection-ip",         // X-Nf-Client-Connection-Ip of Netlify
	"*remote-ip",             // X-Remote-IP
	"*remote-addr",           // X-Remote-Addr
	"*originating-ip",        // X-Originating-IP
	"*user-ip",               // X-AppEngine-User-IP, X-ProxyUser-Ip
	"*source-ip",             // X-Source-IP
	"cf-*",                   // Cloudflare, and so cloudflared
	"ngrok-*",                // Ngrok-Auth-User-Email, Ngrok-Skip-Browser-Warning
	"tailscale-*",            // Tailscale-User-Login of Serve
	"x-tailscale-*",          // Caddy with Tailscale
	"x-tunnel-*",             // X-Tunnel-Authorization of dev tunnels
	"bypass-tunnel-*",        // Bypass-Tunnel-Reminder, which clients of localtunnel send
	"x-expose*",              // X-Exposed-By of Expose
	"x-pagekite-*",           // PageKite
	"x-hookdeck-*",           // Hookdeck
	"fly-*",                  // Fly.io
	"fastly-*",               // Fastly
	"akamai-*",               // Akamai
	"cloudfront-*",           // CloudFront
	"x-amz-cf-id",            // CloudFront
	"x-azure-*",              // Azure Front Door
	"x-arr-*",                // Azure App Service, IIS
	"x-appengine-*",          // Google App Engine
	"x-vercel-*",             // Vercel
	"x-nf-*",                 // Netlify
	"x-envoy-*",              // Envoy, Istio
	"surrogate-capability",   // Varnish, Fastly, Akamai
	"x-scheme",               // ingress-nginx
	"x-url-scheme",           // proxies of WSGI servers
	"front-end-https",        // Microsoft
	"x-nginx-proxy",          // many nginx examples
	"x-proxied-*",            // X-Proxied-For
	"x-proxy-*",              // X-Proxy-For
	"x-iinfo",                // Imperva
	"x-goog-authenticated-*", // Google's Identity-Aware Proxy
}
