package platform

import "platform-api-connector/shared/connector"

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
