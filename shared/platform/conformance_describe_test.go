package platform_test

import (
	"embed"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
)

func checkDescription(t *testing.T, row row) {
	p := find(t, row.name, platform.Options{})
	d := p.Describe()
	if d.Title == "" || d.AuthKind == "" || len(d.Issuers) == 0 {
		t.Error("the description lacks title, auth kind or issuer")
	}
	if lacking := without(d.Required, d.Scopes); len(lacking) > 0 {
		t.Errorf("required scopes %v are not default ones", lacking)
	}
	if diff := cmp.Diff(row.cadence, d.Cadence); diff != "" {
		t.Errorf("cadence (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(row.extras, d.AppFields); diff != "" {
		t.Errorf("extras of the app (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(row.notices, d.Notices); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	if _, ok := p.(connector.Noticer); ok != (len(d.Notices) > 0) {
		t.Errorf("%d kinds of notices, reads notices: %t", len(d.Notices), ok)
	}
}

func checkGuide(t *testing.T, row row) {
	d := find(t, row.name, platform.Options{}).Describe()
	g := d.Guide
	if g.PortalURL == "" || g.Checked == "" || len(g.Steps) == 0 || g.Review == "" || len(g.Gotchas) == 0 || len(g.Sources) == 0 {
		t.Error("the guide has an empty part")
	}
	var explained []string
	for _, scope := range g.Scopes {
		explained = append(explained, scope.Name)
	}
	if diff := cmp.Diff(sorted(d.Scopes), sorted(explained)); diff != "" {
		t.Errorf("scopes (-requested +explained):\n%s", diff)
	}
	if row.manual != (len(g.Manual) > 0) {
		t.Errorf("%d steps for posting by hand", len(g.Manual))
	}
	b, err := guides.ReadFile("guides/" + row.name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(b)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&connector.Guide{}); err != nil {
		t.Error(err)
	}
}

// checkNotices: every kind of notice that the sandbox sends is read, and one
// that the app did not sign is not.
func checkNotices(t *testing.T, row row) {
	w := newWorld(t, row)
	noticer, ok := w.platform.(connector.Noticer)
	sent, sends := w.box.Notice(row.name, "", row.account)
	if ok != sends {
		t.Fatalf("reads notices: %t, the sandbox sends some: %t", ok, sends)
	}
	if !ok {
		return
	}
	raw := connector.RawNotice{Body: sent.Body, Header: map[string]string{"content-type": sent.ContentType}}
	for name, value := range sent.Header {
		raw.Header[strings.ToLower(name)] = value
	}
	for _, kind := range w.platform.Describe().Notices {
		if err := noticer.CheckNotice(kind.Name, raw); err != nil {
			t.Errorf("%s: the check: %v", kind.Name, err)
		}
		got, err := noticer.ReadNotice(w.app, kind.Name, raw)
		if err != nil {
			t.Errorf("%s: %v", kind.Name, err)
		}
		if len(w.platform.Describe().Notices) > 1 && got.ID == "" {
			t.Errorf("%s: one notice is read as each of several kinds, and has no id", kind.Name)
		}
		if got.UserID != row.account || got.Delete != kind.Deletion || got.Revoked == kind.Deletion || got.Reason == "" || !got.At.Equal(w.now) {
			t.Errorf("%s: got %+v", kind.Name, got)
		}
		other := w.app
		other.ClientSecret = connector.NewSecret("another-secret")
		_, err = noticer.ReadNotice(other, kind.Name, raw)
		w.fails(err, connector.StateInvalid, false)
	}
	_, err := noticer.ReadNotice(w.app, "no-such-kind", raw)
	w.fails(err, connector.InvalidRequest, false)
	w.fails(noticer.CheckNotice("no-such-kind", raw), connector.InvalidRequest, false)
	w.now = w.now.Add(connector.NoticeMemory)
	for _, kind := range w.platform.Describe().Notices {
		w.fails(noticer.CheckNotice(kind.Name, raw), connector.StateInvalid, false) // older than is remembered
	}
}

//go:embed guides/*.json
var guides embed.FS

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
