package platform

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

const (
	// signedRequestLife is how old a signed_request may be. Facebook documents
	// neither an end nor whether it sends one again. The longest outage of ours that
	// loses no notice is thus a day.
	signedRequestLife = 24 * time.Hour
	// maxSignedRequest is far longer than one with the documented fields.
	maxSignedRequest = 4096
)

// CheckNotice implements connector.Noticer.
func (m meta) CheckNotice(kind string, raw connector.RawNotice) error {
	_, err := m.parseNotice(kind, raw)
	return err
}

// ReadNotice implements connector.Noticer. Meta signs a deauthorization and a data
// deletion in the same way, and names neither in what it signs
// (https://developers.facebook.com/docs/development/create-an-app/app-dashboard/data-deletion-callback,
// read 2026-11-25). The signature identifies the notice.
func (m meta) ReadNotice(app connector.App, kind string, raw connector.RawNotice) (connector.Notice, error) {
	r, err := m.parseNotice(kind, raw)
	if err != nil {
		return connector.Notice{}, err
	}
	if app.ClientSecret.Empty() {
		return connector.Notice{}, m.noApp()
	}
	if !r.signedWith(app.ClientSecret) {
		return connector.Notice{}, m.notSigned(errors.New("signature does not match"))
	}
	notice := connector.Notice{ID: hex.EncodeToString(r.signature), UserID: r.userID, At: m.past(r.issuedAt)}
	if kind == metaDeletion {
		notice.Delete, notice.Reason = true, "data_deletion"
	} else {
		notice.Revoked, notice.Reason = true, "deauthorized"
	}
	return notice, nil
}

// parseNotice reads a notice and checks everything but the signature.
func (m meta) parseNotice(kind string, raw connector.RawNotice) (signedRequest, error) {
	if kind != metaDeauthorize && kind != metaDeletion {
		return signedRequest{}, connector.Invalid("notice", "neither deauthorize nor data-deletion")
	}
	form, err := url.ParseQuery(string(raw.Body))
	if err != nil || len(form["signed_request"]) != 1 {
		return signedRequest{}, connector.Invalid("signed_request", "missing")
	}
	r, err := parseSignedRequest(form.Get("signed_request"))
	if err == nil {
		err = r.checkTime(m.now())
	}
	if err != nil {
		return signedRequest{}, m.notSigned(err)
	}
	return r, nil
}

// signedRequest is a signed_request, whose signature was not verified yet.
type signedRequest struct {
	signature []byte
	payload   string // as it was sent: the signature covers that
	userID    string
	issuedAt  time.Time
}

// parseSignedRequest reads a signed_request, which is base64url(signature) "."
// base64url(JSON). One that holds a code or a token was made for a page or the
// JavaScript SDK in a browser, and is no notice
// (https://developers.facebook.com/docs/reference/login/signed-request, read
// 2026-11-25).
func parseSignedRequest(signed string) (signedRequest, error) {
	if len(signed) > maxSignedRequest {
		return signedRequest{}, errors.New("too long")
	}
	encoded, payload, ok := strings.Cut(signed, ".")
	if !ok {
		return signedRequest{}, errors.New("no dot")
	}
	given, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil || len(given) != sha256.Size {
		return signedRequest{}, errors.New("no signature")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return signedRequest{}, errors.New("payload is not base64url")
	}
	var body struct {
		Algorithm string          `json:"algorithm"`
		UserID    identifier      `json:"user_id"`
		IssuedAt  json.RawMessage `json:"issued_at"`
		Code      json.RawMessage `json:"code"`
		Token     json.RawMessage `json:"oauth_token"`
	}
	if err := decode(b, &body); err != nil {
		return signedRequest{}, err
	}
	switch {
	case body.Algorithm != "HMAC-SHA256":
		return signedRequest{}, errors.New("another algorithm")
	case !accountPattern.MatchString(string(body.UserID)):
		return signedRequest{}, errors.New("no user id")
	case isPresent(body.Code) || isPresent(body.Token):
		return signedRequest{}, errors.New("made for a browser")
	}
	return signedRequest{signature: given, payload: payload, userID: string(body.UserID), issuedAt: parseUnixTime(body.IssuedAt)}, nil
}

// checkTime returns an error for a signed_request without a time, that is too old,
// or from the future. Without a time a replay could not be told from a new one.
func (r signedRequest) checkTime(now time.Time) error {
	switch age := now.Sub(r.issuedAt); {
	case r.issuedAt.IsZero():
		return errors.New("no time")
	case age > signedRequestLife:
		return errors.New("too old")
	case age < -noticeWindow:
		return errors.New("from the future")
	}
	return nil
}

// signedWith reports whether the app of that secret signed r.
func (r signedRequest) signedWith(secret connector.Secret) bool {
	return hmac.Equal(r.signature, signature(secret, []byte(r.payload)))
}
