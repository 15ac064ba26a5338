package connector

import (
	"context"
	"slices"
)

// ScopeLists are the scopes that a link may ask for, by platform. A platform that
// is not in them is not limited by them.
type ScopeLists map[Name][]string

type scopesKey struct{}

// LimitScopes returns a context in which links may ask only for scopes of to, in
// place of those of the service, and of what limits ctx already.
func LimitScopes(ctx context.Context, to ScopeLists) context.Context {
	return context.WithValue(ctx, scopesKey{}, append(slices.Clone(scopeLimits(ctx)), to))
}

func scopeLimits(ctx context.Context) []ScopeLists {
	limits, _ := ctx.Value(scopesKey{}).([]ScopeLists)
	return limits
}

// listOf returns the scopes that lists, or else otherwise, have for the platform of
// d, or else those that the platform documents for what the connector does: its
// defaults, and those of its guide. What every consent must have may be asked for
// anyway.
func (lists ScopeLists) listOf(d Description, otherwise ScopeLists) []string {
	list, ok := lists[d.Name]
	if !ok {
		list, ok = otherwise[d.Name]
	}
	if !ok {
		list = slices.Clone(d.Scopes)
		for _, scope := range d.Guide.Scopes {
			list = append(list, scope.Name)
		}
	}
	return union(d.Required, list)
}

// linkScopes returns the scopes that the caller's links for a platform may ask for.
func (s *Service) linkScopes(ctx context.Context, d Description) []string {
	limits := scopeLimits(ctx)
	if len(limits) == 0 {
		limits = []ScopeLists{nil}
	}
	allowed := limits[0].listOf(d, s.LinkScopes)
	for _, limit := range limits[1:] {
		list := limit.listOf(d, s.LinkScopes)
		allowed = slices.DeleteFunc(allowed, func(scope string) bool { return !slices.Contains(list, scope) })
	}
	return allowed
}

// requestedScopes is what a link asks for: the scopes of its request, or those of
// the platform's defaults that the caller may ask for, and always those that the
// account cannot be read without.
func (s *Service) requestedScopes(ctx context.Context, d Description, asked []string) ([]string, error) {
	allowed := s.linkScopes(ctx, d)
	outside := func(scope string) bool { return !slices.Contains(allowed, scope) }
	if len(asked) == 0 {
		return slices.DeleteFunc(slices.Clone(d.Scopes), outside), nil
	}
	if i := slices.IndexFunc(asked, outside); i >= 0 {
		return nil, Invalid("scopes", asked[i]+" is not one that a link for "+string(d.Name)+" may ask for; the operator lists them in LINK_SCOPES")
	}
	return union(d.Required, asked), nil
}

// mayStart reports whether some caller's link may ask for scopes, by the setting as
// it is now. The link may have been minted before it changed.
func (s *Service) mayStart(d Description, scopes []string) bool {
	allowed := s.LinkScopes.listOf(d, nil)
	for _, lists := range s.CallerScopes {
		allowed = union(allowed, lists[d.Name])
	}
	return !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(allowed, scope) })
}
