package sandbox

// registry creates every platform, in the order on pages. Each platform has one file
// of this package and one line here.
var registry = []func(*Sandbox) dialect{
	newFacebook,
	newInstagram,
	newThreads,
	newYouTube,
	newTwitter,
	newTikTok,
}

// Platforms returns the names of the platforms, in the order on pages.
func Platforms() []string {
	return New(Options{}).names()
}

// names returns the names of the platforms in the order of the registry.
func (s *Sandbox) names() []string {
	names := make([]string, len(s.dialects))
	for i, d := range s.dialects {
		names[i] = d.common().name
	}
	return names
}
