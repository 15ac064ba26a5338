package config

import (
	"maps"
	"slices"
	"strings"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/strictjson"
)

// parseEndpoints reads {"https://real.example.com": "https://other.example.com/base"}.
// A key is an origin of a platform, and so https. Client secrets and tokens are sent
// to the value, and so it is https too, except on loopback.
func parseEndpoints(s string) (endpoints map[string]string, problem string) {
	var read map[string]*string
	if problem := unmarshal(s, &read, "not a JSON object of strings"); problem != "" {
		return nil, problem
	}
	if read, problem = trimKeys(read); problem != "" {
		return nil, problem
	}
	endpoints = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(read)) {
		real, path, problem := splitOrigin(key)
		switch {
		case problem != "":
			return nil, "the key " + quote(key) + " " + problem
		case path != "" && path != "/" || !strings.HasPrefix(real, "https://"):
			return nil, "the key " + quote(key) + " is not the https origin of a platform"
		case endpoints[real] != "":
			return nil, "the key " + quote(key) + " is named twice"
		}
		base, problem := parseBase(read[key])
		if problem != "" {
			return nil, "the value of " + quote(key) + " " + problem
		}
		endpoints[real] = base
	}
	return endpoints, ""
}

// parseBase returns a base URL without a slash at its end.
func parseBase(s *string) (base, problem string) {
	if s == nil {
		return "", "is null"
	}
	origin, path, problem := splitOrigin(connector.Trim(*s))
	if problem != "" {
		return "", problem
	}
	return origin + strings.TrimRight(path, "/"), ""
}

// trimKeys returns an object without the blanks around its names.
func trimKeys[V any](object map[string]V) (trimmed map[string]V, problem string) {
	if object == nil {
		return nil, ""
	}
	trimmed = make(map[string]V, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		name := connector.Trim(key)
		if _, twice := trimmed[name]; twice {
			return nil, quote(name) + " is named twice"
		}
		trimmed[name] = object[key]
	}
	return trimmed, ""
}

// unmarshal reads a JSON object into v. A name that is in an object twice is a
// problem, also in another case; any other problem is shape.
func unmarshal(s string, v any, shape string) (problem string) {
	err := strictjson.Unmarshal([]byte(s), strictjson.Limits{}, v)
	if err == nil {
		return ""
	}
	if refused, ok := err.(*strictjson.Error); ok && refused.Problem == strictjson.Duplicate {
		return quote(refused.Field) + " is named twice"
	}
	return shape
}
