package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/strictjson"
)

// LinkScopeLists are the scopes that connect links may ask for, as LINK_SCOPES
// lists them. The zero value limits nothing.
type LinkScopeLists struct {
	// Platforms are the lists of callers without one of their own.
	Platforms ScopesByPlatform
	// Callers maps patterns of callers' ARNs to their lists.
	Callers map[string]ScopesByPlatform
}

// ScopesByPlatform lists scopes by the name of a platform.
type ScopesByPlatform = map[string][]string

// CheckPlatforms returns an error for a list of a platform that is not known. Only
// the caller knows the platforms.
func (c LinkScopeLists) CheckPlatforms(known []string) error {
	check := func(lists ScopesByPlatform, of string) error {
		for _, platform := range slices.Sorted(maps.Keys(lists)) {
			if !slices.Contains(known, platform) {
				return fmt.Errorf("%s: %s%s is not a platform: use %s", LinkScopes, of, strconv.Quote(platform), strings.Join(known, ", "))
			}
		}
		return nil
	}
	if err := check(c.Platforms, ""); err != nil {
		return err
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.Callers)) {
		if err := check(c.Callers[pattern], strconv.Quote(pattern)+": "); err != nil {
			return err
		}
	}
	return nil
}

// parseLinkScopes reads
//
//	{"youtube": ["scope", …], "arn:…/*": {"youtube": ["scope", …]}}
//
// A key is a platform, or a pattern of callers as in CALLER_OWNERS.
func parseLinkScopes(s string) (c LinkScopeLists, problem string) {
	var entries map[string]json.RawMessage
	if problem := unmarshal(s, &entries, "not a JSON object"); problem != "" {
		return c, problem
	}
	if entries, problem = trimKeys(entries); problem != "" {
		return c, problem
	}
	if len(entries) == 0 {
		return c, "lists nothing; unset it to allow the scopes of each platform's guide"
	}
	c = LinkScopeLists{Platforms: ScopesByPlatform{}, Callers: map[string]ScopesByPlatform{}}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		entry, err := string(entries[key]), error(nil)
		if platformName.MatchString(key) {
			c.Platforms[key], err = parseScopes(entry)
		} else if problem := checkCaller(key); problem != "" {
			return c, quote(key) + " is no platform, and as a caller it " + problem
		} else {
			c.Callers[key], err = parseScopesByPlatform(entry)
		}
		if err != nil {
			return c, strconv.Quote(key) + ": " + err.Error()
		}
	}
	return c, ""
}

// platformName matches what may be the name of a platform.
var platformName = regexp.MustCompile(`^[a-z]+$`)

func parseScopesByPlatform(s string) (ScopesByPlatform, error) {
	var lists map[string]json.RawMessage
	if strictjson.Unmarshal([]byte(s), strictjson.Limits{}, &lists) != nil || len(lists) == 0 {
		return nil, errors.New("not an object with a list of scopes for each platform")
	}
	lists, problem := trimKeys(lists)
	if problem != "" {
		return nil, errors.New(problem)
	}
	scopes := ScopesByPlatform{}
	for _, platform := range slices.Sorted(maps.Keys(lists)) {
		list, err := parseScopes(string(lists[platform]))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", platform, err)
		}
		scopes[platform] = list
	}
	return scopes, nil
}

// maxScope is the longest scope that a link may ask for, in characters.
const maxScope = 256

func parseScopes(s string) ([]string, error) {
	var list []string
	if json.Unmarshal([]byte(s), &list) != nil {
		return nil, errors.New("not a list of scopes")
	}
	if len(list) == 0 {
		return nil, errors.New("an empty list of scopes; every link asks for some")
	}
	for i := range list {
		scope := connector.Trim(list[i])
		list[i] = scope
		odd := func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }
		switch {
		case scope == "" || len(scope) > maxScope || strings.ContainsFunc(scope, odd):
			return nil, fmt.Errorf("%q is not a scope: each is one word of at most %d characters", scope, maxScope)
		case strings.Contains(scope, "*"):
			return nil, fmt.Errorf("%q has a star, which stands for nothing here: name each scope", scope)
		case slices.Contains(list[:i], scope):
			return nil, fmt.Errorf("%q is named twice", scope)
		}
	}
	return list, nil
}
