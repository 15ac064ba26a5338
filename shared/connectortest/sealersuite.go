package connectortest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/credentialstore"
)

// TestSealer checks a sealer that encrypts against the duties of
// credentialstore.Sealer. open returns another sealer each time, all with the same
// key.
func TestSealer(t *testing.T, open func(t *testing.T) credentialstore.Sealer) {
	const (
		value   = `{"refresh_token":"test-refresh-token"}`
		purpose = "connection a, generation 1"
	)
	seal := func(t *testing.T, s credentialstore.Sealer) []byte {
		t.Helper()
		sealed, err := s.Seal(t.Context(), connector.NewSecret(value), purpose)
		if err != nil {
			t.Fatalf("Seal: %v", err)
		}
		return sealed
	}
	t.Run("another_sealer_opens", func(t *testing.T) {
		sealed := seal(t, open(t))
		if got, err := open(t).Open(t.Context(), sealed, purpose); err != nil || got.Reveal() != value {
			t.Errorf("Open = %q, %v, want the value", got.Reveal(), err)
		}
	})
	t.Run("prepare_is_optional", func(t *testing.T) {
		s := open(t)
		for range 2 {
			if err := s.Prepare(t.Context()); err != nil {
				t.Fatalf("Prepare: %v", err)
			}
		}
		if got, err := s.Open(t.Context(), seal(t, s), purpose); err != nil || got.Reveal() != value {
			t.Errorf("Open = %q, %v, want the value", got.Reveal(), err)
		}
	})
	t.Run("ciphertexts_differ", func(t *testing.T) {
		s := open(t)
		first, second := seal(t, s), seal(t, s)
		if bytes.Contains(first, []byte("refresh_token")) {
			t.Error("the ciphertext contains the plain text")
		}
		if bytes.Equal(first, second) {
			t.Error("two ciphertexts of one value are equal")
		}
	})
	t.Run("another_purpose_or_a_changed_bit_does_not_open", func(t *testing.T) {
		s := open(t)
		sealed := seal(t, s)
		changed := bytes.Clone(sealed)
		changed[len(changed)-1] ^= 1
		for name, attempt := range map[string]struct {
			sealed  []byte
			purpose string
		}{
			"another purpose": {sealed, "connection b, generation 1"},
			"no purpose":      {sealed, ""},
			"a changed bit":   {changed, purpose},
			"cut short":       {sealed[:len(sealed)-1], purpose},
			"nothing":         {nil, purpose},
		} {
			got, err := s.Open(t.Context(), attempt.sealed, attempt.purpose)
			if !errors.Is(err, credentialstore.ErrUnsealable) || !got.Empty() {
				t.Errorf("Open with %s: got a value: %t, %v, want %v", name, !got.Empty(), err, credentialstore.ErrUnsealable)
			} else if strings.Contains(err.Error(), "refresh") {
				t.Errorf("Open with %s: the error holds a part of the value: %v", name, err)
			}
		}
	})
}
