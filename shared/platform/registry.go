package platform

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"platform-api-connector/shared/connector"
)

// Options configures the platforms. The zero Options reach the real platforms.
type Options struct {
	// HTTP has the transport for the calls. Its other fields are ignored. Nil
	// means a transport of the package's own.
	HTTP *http.Client

	// Endpoints maps real origins to the base URLs that replace them. A base URL
	// has a scheme, a host, a port, and possibly a path.
	Endpoints map[string]string

	// Now is the clock. Nil means time.Now.
	Now func() time.Time

	// Random is the source of the nonces of signed calls. Nil means crypto/rand.
	Random io.Reader

	// Timeout bounds one call, from dialing to the last byte of the answer. Zero
	// means ten seconds.
	Timeout time.Duration
}

// All returns every platform, in the order in which people see them. To add a
// platform, add one file to this package, its guide, and one line here.
func All(o Options) []connector.Platform {
	return []connector.Platform{
		newFacebook(o),
		newInstagram(o),
		newThreads(o),
		newYouTube(o),
		newTwitter(o),
		newTikTok(o),
	}
}

//go:embed guides/*.json
var guides embed.FS

// guideOf returns a function that reads the guide of a platform on its first
// call, because every request needs descriptions and few need a guide. The
// guides are part of the program, so that a malformed one fails the tests.
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
