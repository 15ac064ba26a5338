package connector_test

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func TestService_Connections(t *testing.T) {
	t.Parallel()

	t.Run("say_when_the_platform_was_asked", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		connected := b.connect(t, "youtube")
		if at := b.clock.Now(); !connected.VerifiedAt.Equal(at) {
			t.Errorf("after a consent: verified %v, want %v", connected.VerifiedAt, at)
		}
		fields := b.full(t, connected.ID)
		for _, test := range []struct {
			name string
			skip bool
		}{{"verified", false}, {"not verified", true}} {
			b.clock.Advance(time.Second)
			imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: test.name, Credentials: fields, SkipVerify: test.skip})
			if err != nil {
				t.Fatal(err)
			}
			var want time.Time
			if !test.skip {
				want = b.clock.Now()
			}
			if got := imported.Connections[0].VerifiedAt; !got.Equal(want) {
				t.Errorf("an import that was %s: verified %v, want %v", test.name, got, want)
			}
		}
	})

	t.Run("pages", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		want := b.many(t, 5)
		var got []connector.ID
		cursor := ""
		for range 3 {
			page, next, err := b.Connections(t.Context(), connector.Filter{Owner: "acme"}, cursor, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page {
				got = append(got, c.ID)
			}
			cursor = next
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || cursor != "" {
			t.Errorf("three pages of two hold %v of %v, then %q", got, want, cursor)
		}
	})

	t.Run("filtered", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		youtube, twitter, gone := b.connect(t, "youtube"), b.connect(t, "twitter"), b.connect(t, "tiktok")
		if err := b.Disconnect(t.Context(), gone.ID, false); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			filter connector.Filter
			want   []connector.ID
		}{
			{connector.Filter{}, []connector.ID{youtube.ID, twitter.ID}},
			{connector.Filter{Owner: "acme", Platform: "youtube"}, []connector.ID{youtube.ID}},
			{connector.Filter{Owner: "other"}, nil},
			{connector.Filter{Status: connector.Disconnected}, []connector.ID{gone.ID}},
		} {
			page, _, err := b.Connections(t.Context(), row.filter, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			var got []connector.ID
			for _, c := range page {
				got = append(got, c.ID)
			}
			slices.Sort(got)
			slices.Sort(row.want)
			if !slices.Equal(got, row.want) {
				t.Errorf("%+v: %v, want %v", row.filter, got, row.want)
			}
		}
	})

	// A caller that may act for several owners lists those, page by page, and never
	// reads the connections of another.
	t.Run("of_several_owners", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		fields := b.full(t, b.connect(t, "youtube").ID)
		want := map[string]int{"beta": 3, "gamma": 2, "zeta": 1, "foreign": 4}
		for owner, n := range want {
			for i := range n {
				fields.Set("refresh_token", owner+string(rune('a'+i))) // another account
				if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: owner, Credentials: fields, SkipVerify: true}); err != nil {
					t.Fatal(err)
				}
			}
		}
		delete(want, "foreign")
		ctx := connector.Confine(t.Context(), connector.OnlyOwners("zeta", "beta", "nobody", "gamma", "beta"))
		for limit := 1; limit <= 7; limit++ {
			got, seen := map[string]int{}, map[connector.ID]bool{}
			cursor, pages := "", 0
			for {
				page, next, err := b.Connections(ctx, connector.Filter{}, cursor, limit)
				if err != nil {
					t.Fatal(err)
				}
				if next != "" && len(page) != limit || len(page) > limit {
					t.Errorf("limit %d: a page of %d", limit, len(page))
				}
				for _, c := range page {
					if seen[c.ID] {
						t.Errorf("limit %d: %s is listed twice", limit, c.ID)
					}
					seen[c.ID] = true
					got[c.Owner]++
				}
				pages++
				if cursor = next; cursor == "" {
					break
				}
			}
			if !maps.Equal(got, want) || pages != (6+limit-1)/limit {
				t.Errorf("limit %d: %v in %d pages, want %v", limit, got, pages, want)
			}
		}

		_, cursor, err := b.Connections(ctx, connector.Filter{}, "", 1)
		if err != nil || cursor == "" {
			t.Fatalf("the first page: %q, %v", cursor, err)
		}
		_, all, err := b.Connections(t.Context(), connector.Filter{}, "", 1)
		if err != nil || all == "" {
			t.Fatalf("the first page of all: %q, %v", all, err)
		}
		other := connector.Confine(t.Context(), connector.OnlyOwners("zeta", "foreign"))
		for name, row := range map[string]struct {
			ctx    context.Context
			filter connector.Filter
			cursor string
		}{
			"of other owners":           {other, connector.Filter{}, cursor},
			"of the listing of all":     {ctx, connector.Filter{}, all},
			"in the listing of all":     {t.Context(), connector.Filter{}, cursor},
			"in that of one owner":      {ctx, connector.Filter{Owner: "beta"}, cursor},
			"in that of a foreign one":  {ctx, connector.Filter{Owner: "foreign"}, cursor},
			"not one":                   {ctx, connector.Filter{}, "x"},
			"without an owner":          {ctx, connector.Filter{}, "e30"},
			"with one that is no owner": {ctx, connector.Filter{}, base64.RawURLEncoding.EncodeToString([]byte(`{"owner":"beta"}`))},
		} {
			if page, _, err := b.Connections(row.ctx, row.filter, row.cursor, 1); !errors.Is(err, connector.InvalidRequest) || len(page) > 0 {
				t.Errorf("a cursor %s: %v, %v", name, page, err)
			}
		}
	})

	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		for _, row := range []struct {
			filter connector.Filter
			cursor string
			limit  int
		}{
			{limit: 0}, {limit: 101},
			{filter: connector.Filter{Platform: "myspace"}, limit: 10},
			{filter: connector.Filter{Status: "other"}, limit: 10},
			{cursor: "other", limit: 10},
		} {
			if _, _, err := b.Connections(t.Context(), row.filter, row.cursor, row.limit); !errors.Is(err, connector.InvalidRequest) {
				t.Errorf("%+v: %v, want %s", row, err, connector.InvalidRequest)
			}
		}
	})
}
