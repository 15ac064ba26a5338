package platform

import (
	"strings"

	"platform-api-connector/shared/connector"
)

// meta is what the platforms of Meta share: the errors of the Graph API, and signed
// notices.
type meta struct{ wire }

func newMeta(title string, o Options) meta { return meta{newWire(title, o)} }

const (
	metaDeauthorize = "deauthorize"
	metaDeletion    = "data-deletion"
)

// metaNotices returns the kinds of notices that Meta sends.
func metaNotices() []connector.NoticeKind {
	return []connector.NoticeKind{{Name: metaDeauthorize}, {Name: metaDeletion, Deletion: true}}
}

// codeMessage returns the error for the exchange of a code that its message alone
// tells, or nil. A message about the code also names the redirect URI where that is
// the cause (https://github.com/chatwoot/chatwoot/issues/11403 and
// https://github.com/PhantomAppDevelopment/socialmedia-as3/issues/2, read 2026-11-25).
func (m meta) codeMessage(message string, cause error) *connector.Error {
	switch has := func(part string) bool { return strings.Contains(strings.ToLower(message), part) }; {
	case has("redirect_uri"), has("redirect uri"):
		return m.appRefused("the redirect URI is not one that the app lists, or not the one of the consent", cause)
	case has("code was not found"), has("code has been used"), has("code has expired"), has("verification code"):
		return m.codeRejected(cause)
	}
	return nil
}
