package platform

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"platform-api-connector/shared/connector"
)

// Options is what the platforms need from outside. The zero value speaks to
// the real platforms.
type Options struct {
	// HTTP is whose transport carries the calls; nothing else of it is used.
	// Nil is a transport of the package's own.
	HTTP *http.Client

	// Endpoints maps a real origin to the base URL to use instead: scheme,
	// host, port, and a path prefix if need be.
	Endpoints map[string]string

	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// Timeout bounds one call, from dialing to the last byte of the answer;
	// zero is ten seconds.
	Timeout time.Duration
}

// All returns every platform, in the order in which people see them. It is
// the only list: a platform is one file of this package, its guide, and one
// line here.
func All(o Options) []connector.Platform {
	return []connector.Platform{
		newFacebook(o),
		newYouTube(o),
		newTwitter(o),
		newTikTok(o),
	}
}

//go:embed guides/*.json
var guides embed.FS

// guideOf returns what reads the text on how to get an app from a platform:
// once, and only when somebody asks, since descriptions are asked for on every
// request. The texts are part of the program, so a malformed one cannot get
// past the tests.
func guideOf(name connector.Name) func() connector.Guide {
	return sync.OnceValue(func() connector.Guide {
		var g connector.Guide
		b, err := guides.ReadFile("guides/" + string(name) + ".json")
		if err == nil {
			err = json.Unmarshal(b, &g)
		}
		if err != nil {
			panic(fmt.Sprintf("guide of %s: %v", name, err))
		}
		return g
	})
}
