package sandbox

// Notice is a request that a platform sends on its own.
type Notice struct {
	ContentType string
	Header      map[string]string // without Content-Type
	Body        []byte
}

// noticer is a dialect that sends notices. An empty event is the removal of
// the app.
type noticer interface {
	notice(event, account string) Notice
}

// Notice returns what a platform would post about an account, signed. ok is
// false where the platform sends no notices.
func (s *Sandbox) Notice(platform, event, account string) (n Notice, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.dialect(platform).(noticer)
	if !ok {
		return Notice{}, false
	}
	return d.notice(event, account), true
}
