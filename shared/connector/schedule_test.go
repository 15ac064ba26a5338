package connector_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// pacedPlatform is a platform with another cadence.
type pacedPlatform struct {
	connector.Platform
	cadence connector.Cadence
}

func (p pacedPlatform) Describe() connector.Description {
	d := p.Platform.Describe()
	d.Cadence = p.cadence
	return d
}

func TestSchedule_RefreshAt(t *testing.T) {
	t.Parallel()

	for _, name := range []connector.Name{"youtube", "twitter", "tiktok"} {
		t.Run("well_before_the_end/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			seen := map[time.Time]bool{}
			c := b.connect(t, name)
			for range 8 {
				life := c.ExpiresAt.Sub(c.IssuedAt)
				if left := c.ExpiresAt.Sub(c.RefreshAt); left > life/6 || left < life/12 {
					t.Errorf("due %v before the end of %v", left, life)
				}
				seen[c.RefreshAt.Add(-c.IssuedAt.Sub(noon))] = true
				b.clock.Advance(time.Hour)
				var err error
				if c, err = b.Refresh(t.Context(), c.ID); err != nil {
					t.Fatal(err)
				}
			}
			if len(seen) < 4 {
				t.Errorf("no jitter: %v", seen)
			}
		})
	}

	t.Run("permanent_token_is_checked_weekly", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		if days := c.RefreshAt.Sub(noon).Hours() / 24; !c.ExpiresAt.IsZero() || days < 6 || days > 7 {
			t.Fatalf("expires %v, checked after %.1f days", c.ExpiresAt, days)
		}
		b.clock.Advance(7 * 24 * time.Hour)
		if got, err := b.HandleDue(t.Context(), dueKey(c.ID)); err != nil || got != connector.Refreshed {
			t.Fatalf("got %s, %v", got, err)
		}
		after := b.connection(t, c.ID)
		if after.VerifiedAt.IsZero() || !after.VerifiedAt.Equal(b.clock.Now()) || !reflect.DeepEqual(after.Credentials, c.Credentials) {
			t.Errorf("verified %v, the credentials moved from %+v to %+v", after.VerifiedAt, c.Credentials, after.Credentials)
		}
	})

	// The end of an imported token tells its age.
	t.Run("minimum_age_of_an_import", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		wrapPlatforms(b.Service, func(p connector.Platform) connector.Platform {
			return pacedPlatform{p, connector.Cadence{Model: connector.Extending, Lifetime: 60 * 24 * time.Hour, MinimumAge: 24 * time.Hour}}
		})
		c := b.connect(t, "youtube") // its token lives an hour
		if c.RefreshAt.After(c.ExpiresAt) {
			t.Errorf("due at %v, after the token's end at %v", c.RefreshAt, c.ExpiresAt)
		}
	})

	const hour = time.Hour // of Google's access tokens, less a second
	for _, test := range []struct {
		name           string
		cadence        connector.Cadence
		from, to       time.Duration // after the token was issued
		noRefreshToken bool
	}{
		{"last_sixth", connector.Cadence{Model: connector.Stable}, 50 * time.Minute, 52*time.Minute + 30*time.Second, false},
		{"extending", connector.Cadence{Model: connector.Extending}, 50 * time.Minute, 52*time.Minute + 30*time.Second, false},
		{"extending_needs_no_refresh_token", connector.Cadence{Model: connector.Extending}, 50 * time.Minute, 52*time.Minute + 30*time.Second, true},
		{"minimum_age", connector.Cadence{Model: connector.Extending, MinimumAge: 55 * time.Minute}, 55 * time.Minute, 55 * time.Minute, false},
		{"nothing_to_renew_with", connector.Cadence{Model: connector.Stable}, hour, hour, true},
	} {
		t.Run("cadence_is_data/"+test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if test.noRefreshToken {
				b.sandbox.Tune(func(k *sandbox.Knobs) { k.YouTube().OmitRefreshToken = true })
			}
			wrapPlatforms(b.Service, func(p connector.Platform) connector.Platform { return pacedPlatform{p, test.cadence} })
			c := b.connect(t, "youtube")
			if age := c.RefreshAt.Sub(c.IssuedAt); age < test.from-2*time.Second || age > test.to {
				t.Errorf("due after %v, want %v to %v", age, test.from, test.to)
			}
		})
	}
}

func TestSchedule_Expiring(t *testing.T) {
	t.Parallel()

	// The 90 days of Facebook's data access are an end that only a person can
	// prevent.
	t.Run("owner_is_told_14_and_7_and_1_days_before", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		if c.GrantExpiresAt.IsZero() {
			t.Fatal("the grant has no end")
		}
		published := func() int {
			return len(slices.DeleteFunc(b.published(connector.EventExpiring), func(e connector.Event) bool { return e.ConnectionID != c.ID }))
		}
		var told []int
		for b.clock.Now().Before(c.GrantExpiresAt) {
			next := b.connection(t, c.ID).RefreshAt
			if !next.After(b.clock.Now()) {
				next = b.clock.Now().Add(time.Hour)
			}
			b.clock.Advance(next.Sub(b.clock.Now()))
			before := published()
			if _, err := b.HandleDue(t.Context(), dueKey(c.ID)); err != nil {
				t.Fatal(err)
			}
			if published() > before {
				left := c.GrantExpiresAt.Sub(b.clock.Now())
				told = append(told, int((left+23*time.Hour).Hours()/24))
			}
			if len(told) == 3 {
				break
			}
		}
		if !slices.Equal(told, []int{14, 7, 1}) {
			t.Errorf("told %v days before the end, want 14, 7, 1", told)
		}
	})

	// A refresh token that is not used for months lapses. Every renewal begins that
	// time anew.
	for _, name := range []connector.Name{"youtube", "twitter"} {
		t.Run("renewal_moves_the_lapse/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, name)
			b.clock.Advance(time.Hour)
			renewed, err := b.Refresh(t.Context(), c.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !renewed.GrantExpiresAt.Equal(c.GrantExpiresAt.Add(time.Hour)) || c.GrantExpiresAt.IsZero() {
				t.Errorf("the lapse moved from %v to %v with a renewal an hour later", c.GrantExpiresAt, renewed.GrantExpiresAt)
			}
		})
	}
}
