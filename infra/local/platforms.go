package main

import (
	"context"
	"fmt"
	"net/http"

	"platform-api-connector/shared/sandbox"
)

// platformSummary is a platform as GET /platforms lists it.
type platformSummary struct {
	Name          string `json:"name"`
	Title         string `json:"title"`
	AppConfigured bool   `json:"app_configured"`
	AppMode       string `json:"app_mode"`
	RedirectURI   string `json:"redirect_uri"`
}

// Connectable reports whether a person can authorize on the platform: an app is
// configured, and the platform has approved it.
func (p platformSummary) Connectable() bool { return p.AppConfigured && p.AppMode != "manual" }

// IsManual reports whether posts are made by hand until the app is approved.
func (p platformSummary) IsManual() bool { return p.AppConfigured && p.AppMode == "manual" }

func (c caller) platforms(ctx context.Context) ([]platformSummary, error) {
	var answer struct{ Platforms []platformSummary }
	err := c.call(ctx, http.MethodGet, "/platforms", nil, &answer)
	return answer.Platforms, err
}

// seed stores the sandbox's app of each platform, and registers its redirect URI at
// the sandbox.
func seed(ctx context.Context, c caller, box *sandbox.Sandbox) error {
	platforms, err := c.platforms(ctx)
	if err != nil {
		return fmt.Errorf("asking for the platforms: %w", err)
	}
	for _, p := range platforms {
		app := box.AppOf(p.Name)
		body := map[string]any{"client_id": app.ClientID, "client_secret": app.ClientSecret, "mode": "live"}
		for name, value := range app.Extras {
			body[name] = value
		}
		if err := c.call(ctx, http.MethodPut, "/platforms/"+p.Name+"/app", body, nil); err != nil {
			return fmt.Errorf("configuring the sandbox's app of %s: %w", p.Name, err)
		}
		box.SetRedirectURIs(p.Name, p.RedirectURI)
	}
	return nil
}
