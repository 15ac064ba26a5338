package platform_test

import (
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// checkAppKey: VerifiedKey is the fingerprint of the app's key after an import that
// the platform accepted with this key, and empty after any other.
func checkAppKey(t *testing.T, row row) {
	w := newWorld(t, row)
	full := w.pasted()
	key := w.platform.AppKey(w.app, w.connect().Credentials)
	rotated, other := w.app, w.app
	rotated.ClientSecret, other.ClientID = connector.NewSecret("test-other-secret"), "test-other-client"
	leaning := full.Clone()
	delete(leaning, row.shape[0])
	delete(leaning, row.shape[1])
	c := connector.Credentials{Fields: leaning}
	if key == "" || w.platform.AppKey(rotated, c) != key {
		t.Errorf("the key is %q, and %q with another secret", key, w.platform.AppKey(rotated, c))
	}
	if got := w.platform.AppKey(other, c); got == "" || got == key {
		t.Errorf("the key of another client is %q, that of the app %q", got, key)
	}
	if got := w.platform.AppKey(w.app, connector.Credentials{Fields: full}); got != "" {
		t.Errorf("credentials with their own client use the key %q", got)
	}
	if got := w.platform.AppKey(connector.App{}, c); got != "" {
		t.Errorf("no app has the key %q", got)
	}
	for name, verify := range map[string]bool{"verified": true, "unverified": false} {
		want := ""
		if verify && row.proves {
			want = key
		}
		for which, fields := range map[string]connector.Fields{"without the app": leaning, "with the app": full} {
			grants, err := w.platform.Import(t.Context(), w.app, fields, verify)
			if err != nil {
				t.Fatal(err)
			}
			if got := grants[0].Credentials.VerifiedKey; got != want {
				t.Errorf("%s import %s: the proof is %q, want %q", name, which, got, want)
			}
		}
		grants, err := w.platform.Import(t.Context(), connector.App{}, full, verify)
		if err != nil || grants[0].Credentials.VerifiedKey != "" {
			t.Errorf("%s import with its own client: %+v, %v", name, grants, err)
		}
	}
	if !row.expires || row.extends {
		return
	}
	w.box.Expire(row.name)
	grants, err := w.platform.Import(t.Context(), w.app, leaning, true)
	if err != nil || grants[0].Credentials.VerifiedKey != key || grants[0].Credentials.AccountID != row.account {
		t.Errorf("an import that needed a refresh: %+v, %v, want proofs of key and account", grants, err)
	}
}

// checkWithoutApp: Full has neither id nor secret where no app is passed.
func checkWithoutApp(t *testing.T, row row) {
	w := newWorld(t, row)
	c := w.connect().Credentials
	full := w.platform.Full(connector.App{}, c)
	for _, name := range row.shape[:2] {
		if value, ok := full[name]; ok {
			t.Errorf("%s is there, empty: %t", name, value.Empty())
		}
	}
	if len(full) != len(row.shape)-2 {
		t.Errorf("%d fields, want all but the id and the secret of %v", len(full), row.shape)
	}
}

// checkRefreshNamesAccount: a refresh returns the account that the answer names, and
// none where it names none.
func checkRefreshNamesAccount(t *testing.T, row row) {
	w := newWorld(t, row)
	for account, choice := range map[string]sandbox.Choice{row.account: {}, row.others: {Account: w.box.People(row.name)[1].ID}} {
		a := w.authorization()
		grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, choice))
		if err != nil {
			t.Fatal(err)
		}
		w.age()
		renewed, err := w.platform.Refresh(t.Context(), w.app, grants[0].Credentials)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if row.names {
			want = account
		}
		if renewed.AccountID != want {
			t.Errorf("%s: the refresh named %q, want %q", account, renewed.AccountID, want)
		}
		if grants[0].Account.ID != account {
			t.Errorf("the account is %q, want %q", grants[0].Account.ID, account)
		}
	}
}

// checkImportOfTwoAccounts: an import with the access token of one account and the
// refresh token of another is refused, or says after the refresh whose it is.
func checkImportOfTwoAccounts(t *testing.T, row row) {
	if !row.expires || row.extends {
		t.Skip("one token is all")
	}
	w := newWorld(t, row)
	mixed := w.pasted()
	a := w.authorization()
	grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{Account: w.box.People(row.name)[1].ID}))
	if err != nil {
		t.Fatal(err)
	}
	mixed["refresh_token"] = grants[0].Credentials.Fields["refresh_token"]
	imported, err := w.platform.Import(t.Context(), w.app, mixed, true)
	if err != nil {
		w.fails(err, connector.InvalidRequest, false)
		return
	}
	if imported[0].Account.ID != row.account || imported[0].Credentials.AccountID != "" {
		t.Errorf("imported as %q, confirmed as %q", imported[0].Account.ID, imported[0].Credentials.AccountID)
	}
	renewed, err := w.platform.Refresh(t.Context(), w.app, imported[0].Credentials)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := w.platform.Verify(t.Context(), w.app, renewed)
	if err != nil || verified.Account.ID != row.others {
		t.Errorf("after the refresh the account is %q, %v, want %q", verified.Account.ID, err, row.others)
	}
	if row.names && renewed.AccountID != row.others {
		t.Errorf("the refresh named %q, want %q", renewed.AccountID, row.others)
	}
}
