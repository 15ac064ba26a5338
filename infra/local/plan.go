package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
)

// plan lists the functions, routes, schedule and queue of a stack.
type plan struct {
	functions []blueprint.Function
	routes    []blueprint.Route
	schedule  blueprint.Schedule
	queue     blueprint.Queue
}

// newPlan returns the plan of the blueprint with another refresh interval.
func newPlan(refreshEvery time.Duration) plan {
	p := plan{blueprint.Functions(), blueprint.Routes(), blueprint.RefreshSchedule(), blueprint.RefreshQueue()}
	p.schedule.Every = refreshEvery
	return p
}

// description is the JSON form of a plan, for comparison with a template. It
// contains the names of variables without their values.
type description struct {
	Functions map[string][]string    `json:"functions"` // function to the names of its variables
	Routes    map[string]destination `json:"routes"`    // by key
	Schedule  struct {
		Function string  `json:"function"`
		Seconds  float64 `json:"seconds"`
	} `json:"schedule"`
	Queue struct {
		Function   string  `json:"function"`
		BatchSize  int     `json:"batch_size"`
		MaxReceive int     `json:"max_receive"`
		Visibility float64 `json:"visibility_seconds"`
		Retention  float64 `json:"retention_seconds"`
	} `json:"queue"`
}

type destination struct {
	Auth     blueprint.Auth `json:"auth"`
	Function string         `json:"function"`
}

// writePlan writes the plan of a stack with these options. It starts nothing.
func writePlan(out io.Writer, o options) error {
	p := newPlan(o.refreshEvery)
	s := newSettings(o.getenv, "http://"+o.addr)
	// Only a running stack knows these values.
	for _, name := range []string{config.PlatformEndpoints, config.RefreshQueueURL} {
		s.values[name] = "set by the running stack"
	}
	d := description{Functions: map[string][]string{}, Routes: map[string]destination{}}
	for _, f := range p.functions {
		for _, variable := range s.of(f, "set by the running stack") {
			name, _, _ := strings.Cut(variable, "=")
			d.Functions[f.Name] = append(d.Functions[f.Name], name)
		}
		slices.Sort(d.Functions[f.Name])
	}
	for _, r := range p.routes {
		d.Routes[r.Key()] = destination{r.Auth, r.Function}
	}
	d.Schedule.Function, d.Schedule.Seconds = p.schedule.Function, p.schedule.Every.Seconds()
	d.Queue.Function, d.Queue.BatchSize, d.Queue.MaxReceive = p.queue.Function, p.queue.BatchSize, p.queue.MaxReceive
	d.Queue.Visibility, d.Queue.Retention = p.queue.Visibility.Seconds(), p.queue.Retention.Seconds()
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		return fmt.Errorf("writing the description: %w", err)
	}
	return nil
}
