package connector_test

import (
	"errors"
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
