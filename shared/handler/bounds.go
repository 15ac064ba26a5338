package handler

import (
	"encoding/json"
	"fmt"

	"platform-api-connector/shared/connector"
)

// Lambda takes 6 MB of answer
// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, read
// 2026-11-25). The body of an HTTP answer is a JSON string in that answer, and gets
// longer by its escapes. The bounds of every output are in the README.
const (
	// maxListed is how much of an answer a list takes as it is encoded there.
	maxListed = 4 << 20
	// maxChoices is the same for accounts to choose from. One takes more space on a page
	// than in JSON.
	maxChoices = 1 << 20
	// maxListedIDs is how many ids an answer has beside a list that was cut.
	maxListedIDs = 20_000
	// maxShown is how many accounts a page shows, and how many warnings an answer
	// has.
	maxShown = 100
	// maxLogged is the length of one text of a log line. CloudWatch takes 1 MB of a
	// line, and took 256 KB before
	// (https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html,
	// read 2026-11-25).
	maxLogged = 16 << 10
)

// countFitting returns how many of the first items of a list fit into room bytes of an
// answer.
func countFitting[T any](list []T, room int) int {
	for n, item := range list {
		if room -= encodedLength(item) + 1; room < 0 {
			return n
		}
	}
	return len(list)
}

// encodedLength is the length of value as a part of a body, which is encoded as a
// string once more.
func encodedLength(value any) int {
	body, err := json.Marshal(value)
	if err != nil {
		return 0
	}
	encoded, err := json.Marshal(string(body))
	if err != nil {
		return 0
	}
	return len(encoded)
}

// savedView lists the connections that a consent or an import saved. Where they do
// not all fit, it has the first of them, how many there are, and the ids of all.
type savedView struct {
	Connections   []connectionView `json:"connections"`
	Count         int              `json:"count,omitempty"`
	ConnectionIDs []connector.ID   `json:"connection_ids,omitempty"`
}

func viewSaved(list []connector.Connection) savedView {
	views := viewConnections(list)
	n := countFitting(views, maxListed)
	if n == len(views) {
		return savedView{Connections: views}
	}
	saved := savedView{Connections: views[:n], Count: len(list)}
	for _, c := range list[:min(len(list), maxListedIDs)] {
		saved.ConnectionIDs = append(saved.ConnectionIDs, c.ID)
	}
	return saved
}

// consentView is the JSON form of connector.Saved. GET /links/{id} lists all connections.
type consentView struct {
	savedView
	Connected int    `json:"connected"`
	Accounts  int    `json:"accounts"`
	LeftOut   int    `json:"left_out,omitempty"`
	Link      string `json:"link,omitempty"`
}

func viewConsent(s connector.Saved) consentView {
	return consentView{viewSaved(s.Connections), s.Connected, s.Accounts, s.LeftOut, s.Link}
}

// choiceView is the JSON form of an account that can be chosen.
type choiceView struct {
	AccountID   string `json:"account_id"`
	AccountName string `json:"account_name,omitempty"`
	Connected   bool   `json:"connected"`
}

// viewChoices returns the first choices, as many as fit into an answer.
func viewChoices(choices []connector.AccountChoice) []choiceView {
	views := make([]choiceView, len(choices))
	for i, c := range choices {
		views[i] = choiceView{c.ID, c.Name, c.Connected}
	}
	return views[:countFitting(views, maxChoices)]
}

// viewWarnings returns the first warnings. Each connection has its own as well.
func viewWarnings(warnings []string) []string {
	if len(warnings) <= maxShown {
		return warnings
	}
	return append(warnings[:maxShown:maxShown], fmt.Sprintf("%d more connections have a warning: see the status_reason of each", len(warnings)-maxShown))
}

// fitPage returns one page of a list. Where limit items do not fit into an answer, it
// reads a shorter page.
func fitPage[P any](limit int, read func(limit int) (P, []connectionView, error)) (P, error) {
	for {
		page, views, err := read(limit)
		if err != nil {
			return page, err
		}
		n := countFitting(views, maxListed)
		if n == len(views) || limit == 1 {
			return page, nil
		}
		limit = max(1, n)
	}
}
