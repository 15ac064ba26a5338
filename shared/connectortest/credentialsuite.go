package connectortest

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// StoreUnderTest is a credential store whose storage can refuse writes.
type StoreUnderTest struct {
	connector.CredentialStore
	// RefuseWrites makes the storage refuse writes, and accept them again. The
	// store must have a stand-in for that time.
	RefuseWrites func(refused bool)
}

// NewSecretsUnderTest returns a credential store over a vault whose writes can
// be refused.
func NewSecretsUnderTest(vault credentialstore.Vault, sealer credentialstore.Sealer) StoreUnderTest {
	var refused atomic.Bool
	// No test reads the log, and the suite's clock never moves.
	s := &connector.Service{
		Now:   func() time.Time { return time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC) },
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Log:   slog.New(slog.DiscardHandler),
	}
	Ports{Vault: vault, Sealer: sealer}.Wire(s, func(_ context.Context, call Call, next func() error) error {
		if call.Name == "Vault.Put" && refused.Load() {
			return errors.New("the vault takes no writes")
		}
		return next()
	}, credentialstore.Options{Cached: 10, CacheLife: time.Minute})
	return StoreUnderTest{s.CredentialStore, refused.Store}
}

// TestCredentialStore checks a credential store against the duties of
// connector.CredentialStore. open returns one store, used by one check at a time.
// Each check has credentials of its own.
func TestCredentialStore(t *testing.T, open func(t *testing.T) StoreUnderTest) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, s credentialsCheck)
	}{
		{"credentials_are_stored", credentialsAreStored},
		{"get_returns_the_referenced_credentials", getReturnsTheReferencedCredentials},
		{"get_does_not_share_values", getDoesNotShareValues},
		{"latest_finds_newer_ones_without_a_record", latestFindsNewerOnesWithoutARecord},
		{"latest_ignores_older_ones_that_were_stored_later", latestIgnoresOlderOnesThatWereStoredLater},
		{"latest_without_a_reference", latestWithoutAReference},
		{"credentials_of_another_key_are_a_mismatch", credentialsOfAnotherKeyAreAMismatch},
		{"unknown_account_matches_any", unknownAccountMatchesAny},
		{"absent_credentials_are_not_found", absentCredentialsAreNotFound},
		{"put_after_delete_is_gone", putAfterDeleteIsGone},
		{"delete_is_idempotent", deleteIsIdempotent},
		{"stand_in_while_writes_are_refused", standInWhileWritesAreRefused},
		{"stand_in_before_the_first_version", standInBeforeTheFirstVersion},
		{"stand_in_belongs_to_its_key", standInBelongsToItsKey},
		{"held_credentials_outlast_what_is_stored", heldCredentialsOutlastWhatIsStored},
		{"held_credentials_of_an_account_with_a_new_id", heldCredentialsOfAnAccountWithANewID},
		{"rescue_is_found_by_latest", rescueIsFoundByLatest},
		{"errors_hold_no_secret", errorsHoldNoSecret},
	} {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			s := credentialsCheck{StoreUnderTest: open(t), key: connector.CredentialsKey{
				Kind: connector.OfConnection, ID: string(newID(t)), Owner: "owner", Platform: "youtube", AccountID: "account",
			}}
			if err := s.Prepare(t.Context()); err != nil {
				t.Fatalf("Prepare: %v", err)
			}
			check.run(t, s)
		})
	}
}

// credentialsCheck is one check's view of a credential store.
type credentialsCheck struct {
	StoreUnderTest
	key connector.CredentialsKey // of this check alone
}

// generation returns credentials of that generation. No two are equal.
func generation(n int64) connector.Credentials {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	return connector.Credentials{
		Fields: connector.Fields{
			"access_token":  connector.NewSecret("test-access-" + rand.Text()),
			"refresh_token": connector.NewSecret("test-refresh-" + rand.Text()),
		},
		Scopes: []string{"a", "b"}, IssuedAt: at, ExpiresAt: at.Add(time.Hour), GrantExpiresAt: at.Add(1000 * time.Hour),
		Generation: n, ClientID: "client", ConsentID: "consent",
		VerifiedKey: "key", KnownSecret: "secret", AccountID: "account", AccountOwed: true,
	}
}

func (s credentialsCheck) put(t *testing.T, prev connector.CredentialsRef, c connector.Credentials) connector.CredentialsRef {
	t.Helper()
	ref, err := s.Put(t.Context(), s.key, prev, c)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if ref.IsZero() || ref.Generation != c.Generation {
		t.Fatalf("Put returned %+v, want a reference of generation %d", ref, c.Generation)
	}
	return ref
}

func sameCredentials(a, b connector.Credentials) bool {
	equal := a.Fields.Equal(b.Fields)
	a.Fields, b.Fields = nil, nil
	return equal && reflect.DeepEqual(a, b)
}

func (s credentialsCheck) wantGet(t *testing.T, ref connector.CredentialsRef, want connector.Credentials) {
	t.Helper()
	for range 2 { // the second time from the cache
		got, err := s.Get(t.Context(), s.key, ref)
		if err != nil || !sameCredentials(got, want) {
			t.Errorf("Get = %+v, %v, want %+v", got, err, want)
		}
	}
}

// wantLatest calls Latest with ref, and wants credentials whose reference then
// reads the same.
func (s credentialsCheck) wantLatest(t *testing.T, ref connector.CredentialsRef, want connector.Credentials) (latest connector.CredentialsRef) {
	t.Helper()
	got, latest, err := s.Latest(t.Context(), s.key, ref)
	if err != nil || !sameCredentials(got, want) {
		t.Errorf("Latest = %+v, %v, want %+v", got, err, want)
	}
	if latest.Generation != want.Generation {
		t.Errorf("Latest returned a reference of generation %d, want %d", latest.Generation, want.Generation)
	}
	s.wantGet(t, latest, want)
	return latest
}

func credentialsAreStored(t *testing.T, s credentialsCheck) {
	full := generation(1)
	minimal := connector.Credentials{Fields: connector.Fields{"access_token": connector.NewSecret("test-access")}, Generation: 2}
	ref := s.put(t, connector.CredentialsRef{}, full)
	s.wantGet(t, ref, full)
	s.wantLatest(t, ref, full)
	ref = s.put(t, ref, minimal)
	s.wantGet(t, ref, minimal)
	s.wantLatest(t, ref, minimal)
	if s.Stale(ref) {
		t.Error("a reference is stale although the storage took the write")
	}

	consent := s
	consent.key.Kind, consent.key.ID = connector.OfConsent, s.key.ID+"/0"
	pending := generation(1)
	consent.wantGet(t, consent.put(t, connector.CredentialsRef{}, pending), pending)
	s.wantGet(t, ref, minimal)
}

func getReturnsTheReferencedCredentials(t *testing.T, s credentialsCheck) {
	first, second := generation(1), generation(2)
	older := s.put(t, connector.CredentialsRef{}, first)
	newer := s.put(t, older, second)
	s.wantGet(t, older, first)
	s.wantGet(t, newer, second)
	s.wantGet(t, older, first)
}

func getDoesNotShareValues(t *testing.T, s credentialsCheck) {
	want := generation(1)
	ref := s.put(t, connector.CredentialsRef{}, want)
	for range 2 {
		got, err := s.Get(t.Context(), s.key, ref)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		got.Fields.Set("access_token", "changed by a reader")
	}
	s.wantGet(t, ref, want)
}

func latestFindsNewerOnesWithoutARecord(t *testing.T, s credentialsCheck) {
	recorded := s.put(t, connector.CredentialsRef{}, generation(1))
	unrecorded := generation(2)
	s.put(t, recorded, unrecorded)
	s.wantLatest(t, recorded, unrecorded)
}

func latestIgnoresOlderOnesThatWereStoredLater(t *testing.T, s credentialsCheck) {
	first := s.put(t, connector.CredentialsRef{}, generation(1))
	third := generation(3)
	recorded := s.put(t, first, third)
	s.put(t, first, generation(2)) // a slow writer
	s.wantLatest(t, recorded, third)
	// The same generation again, as after a consent that replaced another.
	s.put(t, first, generation(3))
	s.wantLatest(t, recorded, third)
}

func latestWithoutAReference(t *testing.T, s credentialsCheck) {
	want := generation(1)
	s.put(t, connector.CredentialsRef{}, want)
	s.wantLatest(t, connector.CredentialsRef{}, want)
}

// others returns keys that differ from key in one part.
func others(key connector.CredentialsKey) map[string]connector.CredentialsKey {
	owner, platform, account := key, key, key
	owner.Owner, platform.Platform, account.AccountID = "another", "tiktok", "another"
	return map[string]connector.CredentialsKey{"owner": owner, "platform": platform, "account": account}
}

func credentialsOfAnotherKeyAreAMismatch(t *testing.T, s credentialsCheck) {
	want := generation(1)
	ref := s.put(t, connector.CredentialsRef{}, want)
	s.wantGet(t, ref, want) // a cache must not hide the mismatch
	for name, other := range others(s.key) {
		_, err := s.Get(t.Context(), other, ref)
		wantError(t, "Get with another "+name, err, connector.ErrMismatch)
		_, _, err = s.Latest(t.Context(), other, ref)
		wantError(t, "Latest with another "+name, err, connector.ErrMismatch)
	}
	// A reference that was copied into the record of another connection. A store
	// may look for it under the other id.
	another := s.key
	another.ID = string(newID(t))
	if _, err := s.Get(t.Context(), another, ref); !errors.Is(err, connector.ErrNotFound) && !errors.Is(err, connector.ErrMismatch) {
		t.Errorf("Get with another id: got error %v, want %v or %v", err, connector.ErrNotFound, connector.ErrMismatch)
	}
}

func unknownAccountMatchesAny(t *testing.T, s credentialsCheck) {
	unknown, known := s, s
	unknown.key.AccountID = ""
	first, second := generation(1), generation(2)
	ref := unknown.put(t, connector.CredentialsRef{}, first)
	known.wantGet(t, ref, first)
	ref = known.put(t, ref, second)
	unknown.wantGet(t, ref, second)
	unknown.wantLatest(t, ref, second)
}

func absentCredentialsAreNotFound(t *testing.T, s credentialsCheck) {
	ref := s.put(t, connector.CredentialsRef{}, generation(1))
	absent := s.key
	absent.ID = string(newID(t))
	for _, r := range []connector.CredentialsRef{{}, ref} {
		_, _, err := s.Latest(t.Context(), absent, r)
		wantError(t, "Latest", err, connector.ErrNotFound)
	}
}

func putAfterDeleteIsGone(t *testing.T, s credentialsCheck) {
	ref := s.put(t, connector.CredentialsRef{}, generation(1))
	for _, purge := range []bool{false, true} {
		if err := s.Delete(t.Context(), s.key, ref, purge); err != nil {
			t.Fatalf("Delete with purge %v: %v", purge, err)
		}
		for range 2 { // the first one must not have created anything
			_, err := s.Put(t.Context(), s.key, ref, generation(2))
			wantError(t, "Put", err, connector.ErrGone)
		}
		_, _, err := s.Latest(t.Context(), s.key, ref)
		wantError(t, "Latest", err, connector.ErrNotFound)
	}
}

func deleteIsIdempotent(t *testing.T, s credentialsCheck) {
	remove := func(ref connector.CredentialsRef, purges ...bool) {
		t.Helper()
		for _, purge := range purges {
			if err := s.Delete(t.Context(), s.key, ref, purge); err != nil {
				t.Errorf("Delete with purge %v: %v", purge, err)
			}
		}
	}
	remove(connector.CredentialsRef{}, false, true)
	ref := s.put(t, connector.CredentialsRef{}, generation(1))
	remove(ref, false, false, true, true, false)
	_, _, err := s.Latest(t.Context(), s.key, ref)
	wantError(t, "Latest", err, connector.ErrNotFound)
}

func standInWhileWritesAreRefused(t *testing.T, s credentialsCheck) {
	ref := s.put(t, connector.CredentialsRef{}, generation(1))
	s.RefuseWrites(true)
	var newest connector.Credentials
	for n := range int64(2) { // also a stand-in for a stand-in
		newest = generation(2 + n)
		ref = s.put(t, ref, newest)
		if !s.Stale(ref) {
			t.Error("the reference of a stand-in is not stale")
		}
		s.wantGet(t, ref, newest)
		s.wantLatest(t, ref, newest)
	}
	s.RefuseWrites(false)
	ref = s.put(t, ref, newest)
	if s.Stale(ref) {
		t.Error("the reference is still stale after the credentials were stored again")
	}
	s.wantGet(t, ref, newest)
	s.wantLatest(t, ref, newest)
}

func standInBeforeTheFirstVersion(t *testing.T, s credentialsCheck) {
	s.RefuseWrites(true)
	want := generation(1)
	ref := s.put(t, connector.CredentialsRef{}, want)
	if !s.Stale(ref) {
		t.Error("the reference of a stand-in is not stale")
	}
	s.wantGet(t, ref, want)
	s.wantLatest(t, ref, want)
	s.RefuseWrites(false)
	ref = s.put(t, ref, want)
	if s.Stale(ref) {
		t.Error("the reference is still stale after the credentials were stored again")
	}
	s.wantLatest(t, ref, want)
}

func standInBelongsToItsKey(t *testing.T, s credentialsCheck) {
	ref := s.put(t, connector.CredentialsRef{}, generation(1))
	s.RefuseWrites(true)
	ref = s.put(t, ref, generation(2))
	for name, other := range others(s.key) {
		_, err := s.Get(t.Context(), other, ref)
		wantError(t, "Get with another "+name, err, connector.ErrMismatch)
	}
	another, later := s.key, ref
	another.ID = string(newID(t))
	later.Generation++
	for name, attempt := range map[string]struct {
		key connector.CredentialsKey
		ref connector.CredentialsRef
	}{"id": {another, ref}, "generation": {s.key, later}} {
		if c, err := s.Get(t.Context(), attempt.key, attempt.ref); err == nil || len(c.Fields) > 0 {
			t.Errorf("Get with another %s returned %d fields, %v, want an error", name, len(c.Fields), err)
		}
	}
}

func rescueIsFoundByLatest(t *testing.T, s credentialsCheck) {
	recorded := s.put(t, connector.CredentialsRef{}, generation(1))
	for n, refused := range []bool{false, true} {
		want := generation(int64(2 + n))
		s.RefuseWrites(refused)
		ref := s.put(t, recorded, want)
		s.RefuseWrites(false)
		if err := s.Rescue(t.Context(), s.key, ref, want); err != nil {
			t.Fatalf("Rescue: %v", err)
		}
		s.wantLatest(t, recorded, want)
	}
}

// errorsHoldNoSecret makes every call fail that can, and looks for the secrets.
func errorsHoldNoSecret(t *testing.T, s credentialsCheck) {
	c := generation(1)
	ref := s.put(t, connector.CredentialsRef{}, c)
	s.RefuseWrites(true)
	sealed := s.put(t, ref, c)
	s.RefuseWrites(false)
	changed := sealed
	changed.Sealed = append([]byte{}, sealed.Sealed...)
	changed.Sealed[0] ^= 1

	var problems []error
	collect := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("a call succeeded that should fail")
			return
		}
		problems = append(problems, err)
	}
	for _, other := range others(s.key) {
		for _, r := range []connector.CredentialsRef{ref, sealed, changed} {
			_, err := s.Get(t.Context(), other, r)
			collect(err)
		}
	}
	_, err := s.Get(t.Context(), s.key, changed)
	collect(err)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	s.RefuseWrites(true)
	if err := s.Rescue(cancelled, s.key, sealed, c); err != nil {
		problems = append(problems, err)
	}
	s.RefuseWrites(false)
	if err := s.Delete(t.Context(), s.key, ref, true); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err = s.Put(t.Context(), s.key, ref, c)
	collect(err)
	collect(s.Rescue(t.Context(), s.key, sealed, c))
	for _, err := range problems {
		for name, secret := range c.Fields {
			if strings.Contains(err.Error(), secret.Reveal()) {
				t.Errorf("an error holds %s: %v", name, err)
			}
		}
	}
}

// heldCredentialsOfAnAccountWithANewID checks that what is stored under the former id of
// the account does not hide the held credentials, and is not returned for the new id.
func heldCredentialsOfAnAccountWithANewID(t *testing.T, s credentialsCheck) {
	s.put(t, connector.CredentialsRef{}, generation(1))
	renamed, held := s, generation(2)
	renamed.key.AccountID = "account under another id"
	ref, err := renamed.Hold(t.Context(), renamed.key, held)
	if err != nil {
		t.Fatal(err)
	}
	renamed.wantLatest(t, ref, held)
	_, _, err = renamed.Latest(t.Context(), renamed.key, connector.CredentialsRef{})
	wantError(t, "Latest without a reference", err, connector.ErrMismatch)
	_, _, err = s.Latest(t.Context(), s.key, ref)
	if err == nil {
		t.Error("the former id has the credentials of the new one")
	}
}

// heldCredentialsOutlastWhatIsStored checks that a reference from Hold holds the
// credentials whatever is stored, and that they are stored anew after a deletion.
func heldCredentialsOutlastWhatIsStored(t *testing.T, s credentialsCheck) {
	s.put(t, connector.CredentialsRef{}, generation(1))
	held := generation(2)
	ref, err := s.Hold(t.Context(), s.key, held)
	if err != nil || ref.Generation != 2 || !s.Stale(ref) {
		t.Fatalf("Hold = %+v, %v, want a stale reference of generation 2", ref, err)
	}
	for _, moment := range []string{"while older ones are stored", "after they were deleted"} {
		got, latest, err := s.Latest(t.Context(), s.key, ref)
		if err != nil || !sameCredentials(got, held) || latest.Generation != 2 {
			t.Errorf("Latest %s = generation %d, %v, want the held ones", moment, latest.Generation, err)
		}
		s.wantGet(t, ref, held)
		if err := s.Delete(t.Context(), s.key, ref, true); err != nil {
			t.Fatal(err)
		}
	}
	stored := s.put(t, ref, held)
	if s.Stale(stored) {
		t.Error("the credentials were held again, not stored")
	}
	s.wantGet(t, stored, held)
}
