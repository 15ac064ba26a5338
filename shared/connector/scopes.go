package connector

import "slices"

// This file alone computes which scopes a connection has and which it lacks.

// requestedScopes is what a consent asks for: the scopes of the link, or the
// platform's default, and always those that the account cannot be read without.
func requestedScopes(d Description, asked []string) []string {
	if len(asked) == 0 {
		return slices.Clone(d.Scopes)
	}
	return union(d.Required, asked)
}

// setScopes records the scopes that a consent granted, and which of the
// requested ones it lacks.
func (c *Connection) setScopes(requested, granted []string) {
	c.Scopes = slices.Clone(granted)
	c.MissingScopes = missing(requested, granted)
}

// updateScopes records the scopes that the platform named since the consent.
// A scope that the connection had or lacked before, and that is not among
// them, is missing. A platform that names none has said nothing.
func (c *Connection) updateScopes(granted []string) {
	if len(granted) > 0 {
		c.setScopes(union(c.Scopes, c.MissingScopes), granted)
	}
}

// missing returns the requested scopes that are not granted, in their order.
func missing(requested, granted []string) []string {
	var lacking []string
	for _, scope := range requested {
		if !slices.Contains(granted, scope) {
			lacking = append(lacking, scope)
		}
	}
	return lacking
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, scope := range b {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}
