package main

import (
	"context"
	"encoding/json"
	"time"

	"platform-api-connector/infra/blueprint"
)

// scheduler replaces EventBridge Scheduler.
type scheduler struct {
	schedule blueprint.Schedule
	invoke   invoker
	terminal *terminal
	now      func() time.Time
}

// run invokes the function at each interval until ctx ends. If the function is
// still running, the next invocation waits for a free process, as on AWS.
func (s *scheduler) run(ctx context.Context) {
	ticker := time.NewTicker(s.schedule.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.tick(ctx)
		}
	}
}

func (s *scheduler) tick(ctx context.Context) {
	begun := time.Now()
	result, err := s.invoke(ctx, s.schedule.Function, scheduledEvent(s.schedule.Function, s.now()))
	if err != nil {
		return
	}
	s.terminal.invoked("schedule", s.schedule.Function, result, time.Since(begun), sweep(result))
}

// scheduledEvent returns the event that Scheduler sends to a target without an
// input of its own.
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-templated.html
func scheduledEvent(name string, at time.Time) []byte {
	b, _ := json.Marshal(map[string]any{
		"version":     "0",
		"id":          newRequestID(),
		"detail-type": "Scheduled Event",
		"source":      "aws.scheduler",
		"account":     account,
		"time":        at.UTC().Format(time.RFC3339),
		"region":      defaultRegion,
		"resources":   []string{"arn:aws:scheduler:" + defaultRegion + ":" + account + ":schedule/default/" + name},
		"detail":      "{}",
	})
	return b
}

// sweep describes the result of a sweep, for the terminal.
func sweep(r result) string {
	var answer struct{ Queued *int }
	if json.Unmarshal(r.payload, &answer) != nil || answer.Queued == nil {
		return ""
	}
	if *answer.Queued == 0 {
		return "nothing due"
	}
	return plural(*answer.Queued, "connection") + " queued"
}
