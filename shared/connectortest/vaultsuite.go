package connectortest

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// TestVault checks a vault against the duties of credentialstore.Vault. open
// returns one vault, used by one check at a time. Each check has secrets of its
// own.
func TestVault(t *testing.T, open func(t *testing.T) credentialstore.Vault) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, v vaultCheck)
	}{
		{"put_is_read_at_once", putIsReadAtOnce},
		{"absent_is_not_found", absentIsNotFound},
		{"old_version_stays_readable", oldVersionStaysReadable},
		{"put_version_makes_a_version", putVersionMakesAVersion},
		{"put_version_of_absent_is_not_found", putVersionOfAbsentIsNotFound},
		{"put_version_of_deleted_is_not_found", putVersionOfDeletedIsNotFound},
		{"replace_needs_the_current_version", replaceNeedsTheCurrentVersion},
		{"one_of_many_replaces_succeeds", oneOfManyReplacesSucceeds},
		{"names_of_secrets_are_unambiguous", namesOfSecretsAreUnambiguous},
		{"any_text_is_stored", anyTextIsStored},
		{"deleted_is_not_found", deletedIsNotFound},
		{"purged_is_gone", purgedIsGone},
		{"purge_of_deleted_is_for_good", purgeOfDeletedIsForGood},
		{"delete_of_absent_is_no_error", deleteOfAbsentIsNoError},
		{"delete_again_is_no_error", deleteAgainIsNoError},
		{"concurrent_first_puts_all_succeed", concurrentFirstPutsAllSucceed},
		{"put_of_deleted_fails", putOfDeletedFails},
	} {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			check.run(t, vaultCheck{Vault: open(t), name: "connections/" + rand.Text()})
		})
	}
}

// vaultCheck is one check's view of a vault.
type vaultCheck struct {
	credentialstore.Vault
	name string // of this check alone
}

func (v vaultCheck) put(t *testing.T, value string) (version string) {
	t.Helper()
	version, err := v.Put(t.Context(), v.name, connector.NewSecret(value))
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if version == "" {
		t.Fatal("Put returned no version")
	}
	return version
}

// wantValue reads a version and wants its value, and which one is current.
func (v vaultCheck) wantValue(t *testing.T, version, want, current string) {
	t.Helper()
	got, gotCurrent, err := v.Get(t.Context(), v.name, version)
	if err != nil {
		t.Fatalf("Get of version %q: %v", version, err)
	}
	if got.Reveal() != want || gotCurrent != current {
		t.Errorf("Get of version %q = %.40q, current %q, want %.40q, current %q", version, got.Reveal(), gotCurrent, want, current)
	}
}

func (v vaultCheck) wantNotFound(t *testing.T, version string) {
	t.Helper()
	value, _, err := v.Get(t.Context(), v.name, version)
	wantError(t, fmt.Sprintf("Get of version %q", version), err, connector.ErrNotFound)
	if !value.Empty() {
		t.Error("Get returned a value beside its error")
	}
}

func putIsReadAtOnce(t *testing.T, v vaultCheck) {
	for n := range 5 {
		value := fmt.Sprintf(`{"access_token":"test-%d"}`, n)
		version := v.put(t, value)
		v.wantValue(t, "", value, version)
		v.wantValue(t, version, value, version)
	}
}

func absentIsNotFound(t *testing.T, v vaultCheck) {
	v.wantNotFound(t, "")
	version := string(newID(t)) // the form that Secrets Manager gives versions
	v.wantNotFound(t, version)
	v.put(t, "test-value")
	v.wantNotFound(t, version)
}

func oldVersionStaysReadable(t *testing.T, v vaultCheck) {
	var versions []string
	for n := range 4 {
		versions = append(versions, v.put(t, fmt.Sprint("test-value-", n)))
	}
	for n, version := range versions {
		v.wantValue(t, version, fmt.Sprint("test-value-", n), versions[3])
	}
}

func putVersionMakesAVersion(t *testing.T, v vaultCheck) {
	first := v.put(t, "test-value-1")
	second, err := v.PutVersion(t.Context(), v.name, connector.NewSecret("test-value-2"))
	if err != nil || second == first {
		t.Fatalf("PutVersion = %q, %v, want another version than %q", second, err, first)
	}
	v.wantValue(t, "", "test-value-2", second)
	v.wantValue(t, first, "test-value-1", second)
}

// wantNoPutVersion checks that PutVersion finds no secret, and creates none.
func (v vaultCheck) wantNoPutVersion(t *testing.T) {
	t.Helper()
	const canary = "test-canary-value"
	version, err := v.PutVersion(t.Context(), v.name, connector.NewSecret(canary))
	wantError(t, "PutVersion", err, connector.ErrNotFound)
	if version != "" || err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("PutVersion = %q, %v, want no version, and an error without the value", version, err)
	}
	v.wantNotFound(t, "")
}

func putVersionOfAbsentIsNotFound(t *testing.T, v vaultCheck) { v.wantNoPutVersion(t) }

func putVersionOfDeletedIsNotFound(t *testing.T, v vaultCheck) {
	v.put(t, "test-value")
	for _, purge := range []bool{false, true} {
		if err := v.Delete(t.Context(), v.name, purge); err != nil {
			t.Fatalf("Delete with purge %v: %v", purge, err)
		}
		v.wantNoPutVersion(t)
	}
}

func replaceNeedsTheCurrentVersion(t *testing.T, v vaultCheck) {
	replace := func(version, value string) (string, error) {
		return v.Replace(t.Context(), v.name, version, connector.NewSecret(value))
	}
	refused := func(what, version string) {
		t.Helper()
		const canary = "test-canary-value"
		made, err := replace(version, canary)
		wantError(t, what, err, connector.ErrConflict)
		if made != "" || err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: Replace = %q, %v, want no version, and an error without the value", what, made, err)
		}
	}
	refused("a version of an absent secret", string(newID(t)))
	first, err := replace("", "test-value-1")
	if err != nil {
		t.Fatal(err)
	}
	refused("a secret that exists", "")
	second, err := replace(first, "test-value-2")
	if err != nil {
		t.Fatal(err)
	}
	v.wantValue(t, "", "test-value-2", second)
	refused("the version before", first)
	if made, err := replace(first, "test-value-2"); err == nil && made != second {
		t.Errorf("the same value again: %q, want %q or a conflict", made, second)
	}
	third := v.put(t, "test-value-3")
	refused("a version that Put replaced", second)
	fourth, err := replace(third, "test-value-1")
	if err != nil {
		t.Fatal(err)
	}
	v.wantValue(t, "", "test-value-1", fourth)
	if err := v.Delete(t.Context(), v.name, false); err != nil {
		t.Fatal(err)
	}
	refused("a version of a deleted secret", fourth)
}

func oneOfManyReplacesSucceeds(t *testing.T, v vaultCheck) {
	for _, version := range []string{"", v.name} {
		if version != "" {
			_, version, _ = v.Get(t.Context(), v.name, "")
		}
		versions := make([]string, callers)
		succeeded := inParallel(t, connector.ErrConflict, func(n int) (err error) {
			versions[n], err = v.Replace(t.Context(), v.name, version, connector.NewSecret(fmt.Sprint("test-value-", n)))
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d calls with one version succeeded, want 1", succeeded, callers)
		}
		for n, made := range versions {
			if made != "" {
				v.wantValue(t, "", fmt.Sprint("test-value-", n), made)
			}
		}
	}
}

func namesOfSecretsAreUnambiguous(t *testing.T, v vaultCheck) {
	v.put(t, "test-value")
	for _, name := range []string{v.name + "/a", v.name + "-abcdef", "apps/" + v.name, v.name[:len(v.name)-1]} {
		_, _, err := v.Get(t.Context(), name, "")
		wantError(t, "Get of "+name, err, connector.ErrNotFound)
	}
}

func anyTextIsStored(t *testing.T, v vaultCheck) {
	for _, value := range []string{"{}", " \n\t", "\u0000", `"'\`, "漢字 ü 🙂", strings.Repeat("x", 60_000)} {
		version := v.put(t, value)
		v.wantValue(t, "", value, version)
	}
}

func deletedIsNotFound(t *testing.T, v vaultCheck) {
	version := v.put(t, "test-value")
	if err := v.Delete(t.Context(), v.name, false); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	v.wantNotFound(t, "")
	v.wantNotFound(t, version)
}

// putOfDeletedFails also checks that the refused value is not in the error.
func putOfDeletedFails(t *testing.T, v vaultCheck) {
	const canary = "test-canary-value"
	v.put(t, "test-value")
	if err := v.Delete(t.Context(), v.name, false); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err := v.Put(t.Context(), v.name, connector.NewSecret(canary))
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("Put on a secret that is scheduled for deletion: %v, want an error without the value", err)
	}
	v.wantNotFound(t, "")
}

func purgedIsGone(t *testing.T, v vaultCheck) {
	version := v.put(t, "test-value")
	if err := v.Delete(t.Context(), v.name, true); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	v.wantNotFound(t, "")
	v.wantNotFound(t, version)
}

// purgeOfDeletedIsForGood checks that a secret that could be recovered is gone
// after a purge: its name is free again.
func purgeOfDeletedIsForGood(t *testing.T, v vaultCheck) {
	v.put(t, "test-value")
	for _, purge := range []bool{false, true} {
		if err := v.Delete(t.Context(), v.name, purge); err != nil {
			t.Fatalf("Delete with purge %v: %v", purge, err)
		}
	}
	version := v.put(t, "test-value-2")
	v.wantValue(t, "", "test-value-2", version)
}

func deleteOfAbsentIsNoError(t *testing.T, v vaultCheck) {
	for _, purge := range []bool{false, true} {
		if err := v.Delete(t.Context(), v.name, purge); err != nil {
			t.Errorf("Delete with purge %v: %v", purge, err)
		}
	}
}

func deleteAgainIsNoError(t *testing.T, v vaultCheck) {
	v.put(t, "test-value")
	for _, purge := range []bool{false, false, true, true, false} {
		if err := v.Delete(t.Context(), v.name, purge); err != nil {
			t.Errorf("Delete with purge %v: %v", purge, err)
		}
		v.wantNotFound(t, "")
	}
}

func concurrentFirstPutsAllSucceed(t *testing.T, v vaultCheck) {
	versions := make([]string, callers)
	if succeeded := inParallel(t, nil, func(n int) (err error) {
		versions[n], err = v.Put(t.Context(), v.name, connector.NewSecret(fmt.Sprint("test-value-", n)))
		return err
	}); succeeded != callers {
		t.Fatalf("%d of %d concurrent Puts succeeded", succeeded, callers)
	}
	_, current, err := v.Get(t.Context(), v.name, "")
	if err != nil {
		t.Fatal(err)
	}
	for n, version := range versions {
		v.wantValue(t, version, fmt.Sprint("test-value-", n), current)
	}
}
