package main

import (
	"fmt"
	"strings"
	"time"
)

// connectionRecord is a connection in the form of the HTTP API.
type connectionRecord struct {
	ID              string    `json:"id"`
	Platform        string    `json:"platform"`
	Owner           string    `json:"owner"`
	AccountID       string    `json:"account_id"`
	AccountName     string    `json:"account_name"`
	Scopes          []string  `json:"scopes"`
	MissingScopes   []string  `json:"missing_scopes"`
	Status          string    `json:"status"`
	StatusReason    string    `json:"status_reason"`
	ExpiresAt       time.Time `json:"expires_at"`
	LastRefreshedAt time.Time `json:"last_refreshed_at"`
	Failures        int       `json:"failures"`
}

// connectionCard is a connection in the form of the start page.
type connectionCard struct {
	connectionRecord
	Title                   string // of the platform
	Reason                  string // the reason of the status
	StatusText, StatusClass string
	Expiry, LastRefreshed   string
	Actions                 []action
}

// action is a button of a connection.
type action struct{ Name, Label string }

func newConnectionCard(c connectionRecord, platform platformSummary, now time.Time) connectionCard {
	card := connectionCard{
		connectionRecord: c,
		Title:            platform.Title,
		Reason:           strings.ReplaceAll(c.StatusReason, "_", " "),
		Expiry:           expiry(c.ExpiresAt, now),
	}
	if !c.LastRefreshedAt.IsZero() {
		card.LastRefreshed = ago(now.Sub(c.LastRefreshedAt))
	}
	disconnect := action{"disconnect", "Disconnect"}
	switch c.Status {
	case "active":
		card.StatusText, card.StatusClass = "active", "good"
		if !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(now) {
			card.Expiry += "; refreshed when it is asked for"
		}
		card.Actions = []action{{"token", "Get token"}, {"verify", "Verify"}, {"refresh", "Refresh"}, disconnect}
		if len(c.MissingScopes) > 0 {
			card.Actions = append([]action{{"reconnect", "Reconnect"}}, card.Actions...)
		}
	case "needs_reauth":
		card.StatusText, card.StatusClass = "needs reauthorization", "bad"
		card.Expiry = "none is handed out"
		card.Actions = []action{{"reconnect", "Reconnect"}, disconnect}
	case "manual":
		card.StatusText, card.StatusClass = "manual: post by hand", "warn"
		card.Expiry = "none"
		card.Actions = []action{disconnect}
		if platform.Connectable() {
			card.Actions = []action{{"reconnect", "Connect"}, disconnect}
		}
	default:
		card.StatusText = c.Status
	}
	return card
}

// expiry describes when a token expires. The zero time means never.
func expiry(at, now time.Time) string {
	left := at.Sub(now)
	switch {
	case at.IsZero():
		return "does not expire"
	case left <= 0:
		return "expired " + ago(-left)
	}
	return "good for " + span(left)
}

func ago(d time.Duration) string {
	if d < time.Minute {
		return "just now"
	}
	return span(d) + " ago"
}

// span describes a duration by its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d/time.Hour), int(d%time.Hour/time.Minute))
	}
	return plural(int(d/(24*time.Hour)), "day")
}
