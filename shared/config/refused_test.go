package config_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"platform-api-connector/shared/config"
)

const session = "arn:aws:sts::123456789012:assumed-role/tenant/"

// TestParse_Refused has values that a person can write by mistake. Each must be
// refused in one line that names the variable, the entry and what to do.
func TestParse_Refused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ variable, value, line string }{
		// One ARN twice: the last would win.
		{config.CallerOwners, `{"` + session + `a":["acme"],"` + session + `a":["globex"]}`, `"` + session + `a" is named twice`},
		{config.CallerOwners, `{"` + session + `a":["acme"],"` + session + `A":["globex"]}`, `"` + session + `A" is named twice`},
		{config.CallerOwners, `{"` + session + `a":["acme"],"arn\u003aaws:sts::123456789012:assumed-role/tenant/a":["*"]}`, `"` + session + `a" is named twice`},
		{config.CallerOwners, `{"*":["*"],"` + session + `*":["acme"],"*":[]}`, `"*" is named twice`},
		{config.CallerOwners, `{"` + session + `a":["acme","acme"]}`, `the owner "acme" is named twice, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":["*","acme"]}`, `"*" is every owner and must be the only entry, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":["acme*"]}`, `the owner "acme*" has a star, and only "*" alone is every owner, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":["ac\nme"]}`, `the owner "ac\nme" has a line end inside, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":[""]}`, `the owner "" must have 1 to 128 characters, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":[null]}`, `the owner "" must have 1 to 128 characters, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":null}`, `null is no list of owners; [] is no owner, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":["acme"]} {}`, `not a JSON object of lists of owners, such as {"arn:…/*":["acme"]}`},
		{config.CallerOwners, `{"` + session + `a":["acme"]}]`, `not a JSON object of lists of owners, such as {"arn:…/*":["acme"]}`},
		{config.CallerOwners, `{"` + session + `a":{"owners":["acme"]}}`, `not a JSON object of lists of owners, such as {"arn:…/*":["acme"]}`},
		{config.CallerOwners, `[{"` + session + `a":["acme"]}]`, `not a JSON object of lists of owners, such as {"arn:…/*":["acme"]}`},
		{config.CallerOwners, " ", `has nothing but blanks`},
		{config.CallerOwners, "\ufeff\u00a0", `has nothing but blanks`},
		{config.HandOutAppKeys, " ", `has nothing but blanks`},
		{config.CallerOwners, `{"` + session + `a":["acme","acme "]}`, `the owner "acme" is named twice, in the list of "` + session + `a"`},
		{config.CallerOwners, `{"` + session + `a":["acme"],"` + session + `a ":["globex"]}`, `"` + session + `a" is named twice`},
		{config.CallerOwners, `{"` + session + `a":["ac\u200bme"]}`, `the owner "ac\u200bme" has a blank or an invisible character inside, in the list of "` + session + `a"`},
		{config.AWSEndpointURL, "http://127.0.0.1:4566 ", `has blanks around it`},
		{config.CallerOwners, `{}`, `names no caller; unset it to confine no caller`},
		{config.CallerOwners, `{"arn:aws:iam::123456789012:role/tenant":["acme"]}`, `"arn:aws:iam::123456789012:role/tenant" is a role, and callers are its sessions: write arn:aws:sts::<account>:assumed-role/<role>/* without the role's path`},
		{config.CallerOwners, `{"arn:aws:sts::123456789012:assumed-role/tenant":["acme"]}`, `"arn:aws:sts::123456789012:assumed-role/tenant" is neither the ARN of a caller, nor the prefix of one, with its account and a * at its end`},
		{config.CallerOwners, `{"arn:aws:sts::1234*":["acme"]}`, `"arn:aws:sts::1234*" is neither the ARN of a caller, nor the prefix of one, with its account and a * at its end`},
		{config.CallerOwners, `{"arn:*":["acme"]}`, `"arn:*" is neither the ARN of a caller, nor the prefix of one, with its account and a * at its end`},
		{config.CallerOwners, `{"Arn:aws:sts::123456789012:assumed-role/tenant/*":["acme"]}`, `"Arn:aws:sts::123456789012:assumed-role/tenant/*" is neither the ARN of a caller, nor the prefix of one, with its account and a * at its end`},
		{config.CallerOwners, `{"` + session + `* x":["acme"]}`, `"` + session + `* x" has a wildcard that is not one * at its end`},
		{config.CallerOwners, `{"arn:aws:sts::*:assumed-role/tenant/*":["acme"]}`, `"arn:aws:sts::*:assumed-role/tenant/*" has a wildcard that is not one * at its end`},

		// Plain http carries the connection ids of a return URL in the clear.
		{config.ReturnOrigins, "http://app.example.com", `"http://app.example.com" uses http, which is for loopback only: write https`},
		{config.ReturnOrigins, "https://app.example.com,http://app.example.com", `"http://app.example.com" uses http, which is for loopback only: write https`},
		{config.ReturnOrigins, "http://10.0.0.1", `"http://10.0.0.1" uses http, which is for loopback only: write https`},
		{config.ReturnOrigins, "http://localhost.example.com", `"http://localhost.example.com" uses http, which is for loopback only: write https`},
		{config.ReturnOrigins, "http://0.0.0.0:3000", `"http://0.0.0.0:3000" uses http, which is for loopback only: write https`},
		{config.ReturnOrigins, "app.example.com", `"app.example.com" is not an http or https origin, such as https://app.example.com`},
		{config.ReturnOrigins, "//app.example.com", `"//app.example.com" is not an http or https origin, such as https://app.example.com`},
		{config.ReturnOrigins, "https:app.example.com", `"https:app.example.com" is not an http or https origin, such as https://app.example.com`},
		{config.ReturnOrigins, "null", `"null" is not an http or https origin, such as https://app.example.com`},
		{config.ReturnOrigins, "app://x", `"app://x" is not an http or https origin, such as https://app.example.com`},
		{config.ReturnOrigins, "https://app.example.com/done", `"https://app.example.com/done" has more than scheme, host and port`},
		{config.ReturnOrigins, "https://app.example.com//", `"https://app.example.com//" has more than scheme, host and port`},
		{config.ReturnOrigins, "https://app.example.com?", `"https://app.example.com?" has more than scheme, host and port`},
		{config.ReturnOrigins, "https://app.example.com#", `"https://app.example.com#" has more than scheme, host and port`},
		{config.ReturnOrigins, "https://user:word@app.example.com", `"…@app.example.com" has more than scheme, host and port`},
		{config.ReturnOrigins, "https://@app.example.com", `"…@app.example.com" has more than scheme, host and port`},
		{config.ReturnOrigins, "*", `"*" has a star: list each origin`},
		{config.ReturnOrigins, "https://*.example.com", `"https://*.example.com" has a star: list each origin`},
		{config.ReturnOrigins, "https://bücher.example", `"https://bücher.example" has a letter outside ASCII: write the host as browsers send it, with xn--`},
		{config.ReturnOrigins, "https://аpp.example.com", `"https://аpp.example.com" has a letter outside ASCII: write the host as browsers send it, with xn--`},
		{config.ReturnOrigins, "https://app.example.com.", `"https://app.example.com." has a dot at the end of its host, which makes it another origin`},
		{config.ReturnOrigins, "https://app..example.com", `"https://app..example.com" has a malformed host`},
		{config.ReturnOrigins, "https://-.example.com", `"https://-.example.com" has a malformed host`},
		{config.ReturnOrigins, "https://app.example.com:443", `"https://app.example.com:443" names the default port, which browsers leave out: write it without :443`},
		{config.ReturnOrigins, "http://localhost:80", `"http://localhost:80" names the default port, which browsers leave out: write it without :80`},
		{config.ReturnOrigins, "https://app.example.com:", `"https://app.example.com:" has a colon without a port`},
		{config.ReturnOrigins, "https://app.example.com:0", `"https://app.example.com:0" has a malformed port`},
		{config.ReturnOrigins, "https://app.example.com:08443", `"https://app.example.com:08443" has a malformed port`},
		{config.ReturnOrigins, "https://app.example.com:65536", `"https://app.example.com:65536" has a malformed port`},
		{config.ReturnOrigins, "http://127.1:3000", `"http://127.1:3000" has a host that browsers take for an IPv4 address: write its four numbers`},
		{config.ReturnOrigins, "http://0x7f.0.0.1", `"http://0x7f.0.0.1" has a host that browsers take for an IPv4 address: write its four numbers`},
		{config.ReturnOrigins, "http://2130706433", `"http://2130706433" has a host that browsers take for an IPv4 address: write its four numbers`},
		{config.ReturnOrigins, "http://[::ffff:127.0.0.1]:3000", `"http://[::ffff:127.0.0.1]:3000" has an IPv6 address that is an IPv4 address, or has a zone`},
		{config.ReturnOrigins, `https:\\app.example.com`, `"https:\\\\app.example.com" has a character that is not allowed in a URL`},
		{config.ReturnOrigins, "https://app.example.com https://b.example.com", `"https://app.example.com https://b.example.com" has a character that is not allowed in a URL`},
		{config.ReturnOrigins, "https://app.example.com\nhttps://b.example.com", `"https://app.example.com\nhttps://b.example.com" has a character that is not allowed in a URL`},
		{config.ReturnOrigins, "https://app.example.com;https://b.example.com", `"https://app.example.com;https://b.example.com" has a malformed host`},
		{config.ReturnOrigins, "https://app.example.com,https://APP.example.com/", `"https://APP.example.com/" is named twice`},

		// Client secrets and tokens go to an endpoint.
		{config.PlatformEndpoints, `{"https://graph.facebook.com":"http://sandbox.example.com"}`, `the value of "https://graph.facebook.com" uses http, which is for loopback only: write https`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":"http://localhost.example.com:9001"}`, `the value of "https://graph.facebook.com" uses http, which is for loopback only: write https`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":"https://a.example.com","https://graph.facebook.com":"https://b.example.com"}`, `"https://graph.facebook.com" is named twice`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":"https://a.example.com","https://Graph.Facebook.com":"https://b.example.com"}`, `"https://Graph.Facebook.com" is named twice`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":"https://a.example.com","https://graph.facebook.com/":"https://b.example.com"}`, `the key "https://graph.facebook.com/" is named twice`},
		{config.PlatformEndpoints, `{"http://graph.facebook.com":"https://a.example.com"}`, `the key "http://graph.facebook.com" uses http, which is for loopback only: write https`},
		{config.PlatformEndpoints, `{"http://localhost":"https://a.example.com"}`, `the key "http://localhost" is not the https origin of a platform`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com/v26.0":"https://a.example.com"}`, `the key "https://graph.facebook.com/v26.0" is not the https origin of a platform`},
		{config.PlatformEndpoints, `{"graph.facebook.com":"https://a.example.com"}`, `the key "graph.facebook.com" is not an http or https origin, such as https://app.example.com`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":null}`, `the value of "https://graph.facebook.com" is null`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":""}`, `the value of "https://graph.facebook.com" is not an http or https origin, such as https://app.example.com`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":"https://a.example.com?x"}`, `the value of "https://graph.facebook.com" has more than scheme, host and port`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":"https://user:word@a.example.com"}`, `the value of "https://graph.facebook.com" has more than scheme, host and port`},
		{config.PlatformEndpoints, `{"https://graph.facebook.com":1}`, `not a JSON object of strings`},
		{config.PlatformEndpoints, `{} {}`, `not a JSON object of strings`},
		{config.PlatformEndpoints, `null`, `not a JSON object of strings`},

		{config.PublicURL, "http://connect.example.com", `"http://connect.example.com" uses http, which is for loopback only: write https`},
		{config.PublicURL, "https://Connect.example.com", `"https://Connect.example.com" is not written as browsers write it: https://connect.example.com`},
		{config.PublicURL, "HTTPS://connect.example.com", `"HTTPS://connect.example.com" is not written as browsers write it: https://connect.example.com`},
		{config.PublicURL, "https://connect.example.com:443", `"https://connect.example.com:443" names the default port, which browsers leave out: write it without :443`},
		{config.PublicURL, "https://connect.example.com.", `"https://connect.example.com." has a dot at the end of its host, which makes it another origin`},
		{config.PublicURL, "https://connect.example.com?", `"https://connect.example.com?" has more than scheme, host and port`},
		{config.PublicURL, "https://connect.example.com/a//b", `"https://connect.example.com/a//b" has a path with other characters than letters, digits and ._~-`},
		{config.PublicURL, "https://connect.example.com/../b", `"https://connect.example.com/../b" has a path with other characters than letters, digits and ._~-`},
		{config.PublicURL, "https://connect.example.com/%2e", `"https://connect.example.com/%2e" has a path with other characters than letters, digits and ._~-`},
		{config.PublicURL, "https://verbinden.münchen.example", `"https://verbinden.münchen.example" has a letter outside ASCII: write the host as browsers send it, with xn--`},

		{config.AllowFullCredentials, "TRUE", `"TRUE" is neither true nor false`},
		{config.AllowFullCredentials, "t", `"t" is neither true nor false`},
		{config.AllowFullCredentials, "1", `"1" is neither true nor false`},
		{config.AllowFullCredentials, "tr ue", `"tr ue" is neither true nor false`},
		{config.LogLevel, "info+4", `"info+4" is none of debug, info, warn, error`},
		{config.LogLevel, "warning", `"warning" is none of debug, info, warn, error`},
		{config.TableName, "a table", `"a table" is no name of a table, which has 3 to 255 letters, digits, dots, hyphens and underscores`},
		{config.TableName, "ab", `"ab" is no name of a table, which has 3 to 255 letters, digits, dots, hyphens and underscores`},
		{config.SecretPrefix, "connector/*", `"connector/*" is no prefix of secrets' names, which has 1 to 256 letters, digits and characters of /_+=.@-`},
		{config.SecretPrefix, "connector prod", `"connector prod" is no prefix of secrets' names, which has 1 to 256 letters, digits and characters of /_+=.@-`},
		{config.SecretPrefix, "/", `"/" is no prefix of secrets' names, which has 1 to 256 letters, digits and characters of /_+=.@-`},
		{config.EventBusName, "a bus", `"a bus" is no name of an event bus, which has 1 to 256 letters, digits and characters of /_.-`},
		{config.RefreshQueueURL, "arn:aws:sqs:eu-west-1:123456789012:refresh", `"arn:aws:sqs:eu-west-1:123456789012:refresh" is not the URL of a queue, such as https://sqs.eu-west-1.amazonaws.com/123456789012/refresh`},
		{config.RefreshQueueURL, "http://sqs.eu-west-1.amazonaws.com/123456789012/refresh", `"http://sqs.eu-west-1.amazonaws.com/123456789012/refresh" is neither https nor http on loopback`},
		{config.AWSEndpointURL, "127.0.0.1:4566", `"127.0.0.1:4566" is not an http or https URL`},
	} {
		t.Run(row.variable+"="+row.value, func(t *testing.T) {
			t.Parallel()
			environment := maps.Clone(good())
			environment[row.variable] = row.value
			_, err := parse(environment)
			if want := row.variable + ": " + row.line; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "word")) {
				t.Errorf("the line has a line break or a password: %q", err)
			}
		})
	}
}

// TestParse_Normalized has values that are written in another way than browsers
// send them, and mean the same.
func TestParse_Normalized(t *testing.T) {
	t.Parallel()
	origins := func(c config.Config) any { return c.ReturnOrigins }
	endpoints := func(c config.Config) any { return c.PlatformEndpoints }
	for _, row := range []struct {
		variable, value string
		get             func(config.Config) any
		want            any
	}{
		{config.ReturnOrigins, " HTTPS://App.Example.com/ ,, http://localhost:3000,", origins, []string{"https://app.example.com", "http://localhost:3000"}},
		{config.ReturnOrigins, "http://127.0.0.1:8422,http://[0:0:0:0:0:0:0:1]:8422,http://App.localhost", origins, []string{"http://127.0.0.1:8422", "http://[::1]:8422", "http://app.localhost"}},
		{config.ReturnOrigins, "https://xn--bcher-kva.example:8443,https://10.0.0.1,https://my_app.example", origins, []string{"https://xn--bcher-kva.example:8443", "https://10.0.0.1", "https://my_app.example"}},
		{config.PlatformEndpoints, "{}", endpoints, map[string]string{}},
		{config.PlatformEndpoints, `{"https://Graph.Facebook.com/":"https://A.example.com/Base/"}`, endpoints, map[string]string{"https://graph.facebook.com": "https://a.example.com/Base"}},
		{config.PlatformEndpoints, `{"https://api.x.com":"http://[::1]:9001","https://x.com":"http://x.localhost:9001/x.com"}`, endpoints, map[string]string{"https://api.x.com": "http://[::1]:9001", "https://x.com": "http://x.localhost:9001/x.com"}},
		{config.PublicURL, "https://connect.example.com/v1/", func(c config.Config) any { return c.PublicURL }, "https://connect.example.com/v1"},
		{config.SecretPrefix, "/connector/prod//", func(c config.Config) any { return c.SecretPrefix }, "/connector/prod"},
		{config.LogLevel, "WARN", func(c config.Config) any { return c.LogLevel.String() }, "WARN"},
		{config.TableName, "arn:aws:dynamodb:eu-west-1:123456789012:table/connector", func(c config.Config) any { return c.TableName }, "arn:aws:dynamodb:eu-west-1:123456789012:table/connector"},
	} {
		environment := maps.Clone(good())
		environment[row.variable] = row.value
		c, err := parse(environment)
		if got := row.get(c); err != nil || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s=%s: %q, %v, want %q", row.variable, row.value, got, err, row.want)
		}
	}
	environment := maps.Clone(good())
	environment[config.AWSEndpointURL] = "http://host.docker.internal:4566"
	environment[config.RefreshQueueURL] = "http://host.docker.internal:4566/000000000000/refresh"
	if _, err := parse(environment); err != nil {
		t.Errorf("the queue of an emulator: %v", err)
	}
}
