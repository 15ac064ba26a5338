package sandbox

// Knobs change how the platforms behave. Lifetimes are in seconds; what is
// issued already keeps its own.
type Knobs struct {
	Facebook FacebookKnobs `json:"facebook"`
	YouTube  YouTubeKnobs  `json:"youtube"`
	Twitter  TwitterKnobs  `json:"twitter"`
	TikTok   TikTokKnobs   `json:"tiktok"`
}

func defaultKnobs() Knobs {
	return Knobs{
		Facebook: defaultFacebookKnobs(),
		YouTube:  defaultYouTubeKnobs(),
		Twitter:  defaultTwitterKnobs(),
		TikTok:   defaultTikTokKnobs(),
	}
}
