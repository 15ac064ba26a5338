package awslocal

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
)

// Event is an event that a bus accepted.
type Event struct {
	ID         string
	Time       time.Time
	Bus        string
	Source     string
	DetailType string
	Detail     json.RawMessage
}

const eventsKept = 1000

type eventBridge struct {
	now     func() time.Time
	ids     *idSource
	onEvent func(Event)

	mu     sync.Mutex
	buses  []string
	events []Event
}

func newEventBridge(now func() time.Time, ids *idSource, onEvent func(Event)) *eventBridge {
	return &eventBridge{now: now, ids: ids, onEvent: onEvent, buses: []string{"default"}}
}

func (e *eventBridge) service() service {
	return service{
		contentType: "application/x-amz-json-1.1",
		operations: map[string]operation{
			"PutEvents":      handle(e.putEvents),
			"CreateEventBus": handle(e.createEventBus),
			"ListEventBuses": handle(e.listEventBuses),
		},
	}
}

func (e *eventBridge) all() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.events)
}

type putEventsInput struct {
	Entries []struct {
		EventBusName, Source, DetailType, Detail string

		// Time is in seconds of Unix time; zero: now.
		Time float64
	}
}

type putEventsEntry struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

type putEventsOutput struct {
	FailedEntryCount int
	Entries          []putEventsEntry
}

func (e *eventBridge) putEvents(input putEventsInput) (putEventsOutput, error) {
	if n := len(input.Entries); n < 1 || n > 10 {
		return putEventsOutput{}, refuse("ValidationException", "entries must have 1 to 10 members, not %d", n)
	}
	var output putEventsOutput
	for _, entry := range input.Entries {
		event := Event{
			ID: e.ids.uuid(), Time: e.now().UTC(), Bus: busName(entry.EventBusName),
			Source: entry.Source, DetailType: entry.DetailType, Detail: json.RawMessage(entry.Detail),
		}
		if entry.Time != 0 {
			event.Time = time.UnixMilli(int64(entry.Time * 1000)).UTC()
		}
		if code, problem := e.store(event); code != "" {
			output.FailedEntryCount++
			output.Entries = append(output.Entries, putEventsEntry{ErrorCode: code, ErrorMessage: problem})
			continue
		}
		if e.onEvent != nil {
			e.onEvent(event)
		}
		output.Entries = append(output.Entries, putEventsEntry{EventID: event.ID})
	}
	return output, nil
}

// store adds an event, or returns the error that EventBridge would return.
// EventBridge accepts an event for an unknown bus. This stand-in refuses it, because
// it is probably a mistake.
func (e *eventBridge) store(event Event) (code, problem string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var object map[string]any
	switch {
	case event.Source == "" || event.DetailType == "" || len(event.Detail) == 0:
		return "InvalidArgument", "Source, DetailType and Detail must have a value"
	case json.Unmarshal(event.Detail, &object) != nil:
		return "MalformedDetail", "Detail is malformed."
	case !slices.Contains(e.buses, event.Bus):
		return "InvalidArgument", "there is no event bus " + event.Bus
	}
	e.events = append(e.events, event)
	e.events = e.events[max(0, len(e.events)-eventsKept):]
	return "", ""
}

// busName returns the name of a bus from a name or an ARN.
func busName(nameOrARN string) string {
	if nameOrARN == "" {
		return "default"
	}
	return nameOrARN[strings.LastIndex(nameOrARN, "/")+1:]
}

func busARN(name string) string {
	return "arn:aws:events:" + region + ":" + accountID + ":event-bus/" + name
}

type createEventBusInput struct{ Name string }

type createEventBusOutput struct{ EventBusArn string }

func (e *eventBridge) createEventBus(input createEventBusInput) (createEventBusOutput, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case input.Name == "" || strings.Contains(input.Name, "/"):
		return createEventBusOutput{}, refuse("ValidationException", "the name of a bus must have a value, and no slash")
	case slices.Contains(e.buses, input.Name):
		return createEventBusOutput{}, refuse("ResourceAlreadyExistsException", "Event bus %s already exists.", input.Name)
	}
	e.buses = append(e.buses, input.Name)
	return createEventBusOutput{busARN(input.Name)}, nil
}

type eventBus struct{ Name, Arn string }

type listEventBusesOutput struct{ EventBuses []eventBus }

func (e *eventBridge) listEventBuses(struct{}) (listEventBusesOutput, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var output listEventBusesOutput
	for _, name := range e.buses {
		output.EventBuses = append(output.EventBuses, eventBus{name, busARN(name)})
	}
	return output, nil
}
