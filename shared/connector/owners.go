package connector

import (
	"context"
	"slices"
)

// Owners is a set of owners. The zero Owners is all of them.
type Owners struct {
	confined bool
	names    []string
}

// OnlyOwners returns the set of the named owners, and of no others.
func OnlyOwners(names ...string) Owners { return Owners{confined: true, names: names} }

// Has reports whether owner is one of o.
func (o Owners) Has(owner string) bool { return !o.confined || slices.Contains(o.names, owner) }

// only returns the one owner of o, or "" if they are more, or none.
func (o Owners) only() string {
	if o.confined && len(o.names) == 1 {
		return o.names[0]
	}
	return ""
}

// none reports whether there is no owner in o.
func (o Owners) none() bool { return o.confined && len(o.names) == 0 }

// and returns the owners that are in both.
func (o Owners) and(other Owners) Owners {
	if !o.confined {
		return other
	}
	o.names = slices.DeleteFunc(slices.Clone(o.names), func(name string) bool { return !other.Has(name) })
	return o
}

type ownersKey struct{}

// Confine returns a context in which nothing can be done for owners that are
// not in to, nor for those that ctx excludes already: whatever is another's
// looks as if it were not there.
func Confine(ctx context.Context, to Owners) context.Context {
	return context.WithValue(ctx, ownersKey{}, ownersIn(ctx).and(to))
}

func ownersIn(ctx context.Context) Owners {
	owners, _ := ctx.Value(ownersKey{}).(Owners)
	return owners
}

// mayActFor reports whether who calls may act for owner.
func mayActFor(ctx context.Context, owner string) bool { return ownersIn(ctx).Has(owner) }

// checkUnconfined refuses what concerns all owners at once.
func checkUnconfined(ctx context.Context) error {
	if ownersIn(ctx).confined {
		return Invalid("caller", "confined to some owners, and this is everybody's")
	}
	return nil
}
