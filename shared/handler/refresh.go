package handler

import (
	"context"
	"encoding/json"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
)

const (
	// batchWorkers is how many connections of a batch are refreshed
	// concurrently.
	batchWorkers = 5
	// BatchReserve is the time before the deadline in which no refresh starts.
	// It is longer than one refresh can take, so that the function can still
	// report which messages SQS must deliver again.
	BatchReserve = 20 * time.Second
)

// Refresh returns the function that the schedule invokes. Each invocation is
// one sweep: it finds the due connections and queues them. It uses nothing of
// the event.
func (h *Handler) Refresh() Function {
	return h.function("refresh", func(ctx context.Context, c *call, payload []byte) (any, error) {
		var event map[string]json.RawMessage
		if json.Unmarshal(payload, &event) != nil {
			return nil, connector.Invalid("event", "not a JSON object")
		}
		sweep, err := h.service.QueueDue(ctx)
		c.notes = append(c.notes, slog.Int("queued", sweep.Queued), slog.Bool("complete", sweep.Complete))
		if err != nil {
			return nil, err
		}
		return map[string]any{"queued": sweep.Queued, "complete": sweep.Complete}, nil
	})
}

// RefreshWorker returns the function of the refresh queue. It refreshes each
// connection of a batch and reports the messages that SQS must deliver again.
func (h *Handler) RefreshWorker() Function {
	return h.function("refresh-worker", func(ctx context.Context, c *call, payload []byte) (any, error) {
		var event events.SQSEvent
		if err := json.Unmarshal(payload, &event); err != nil || event.Records == nil {
			return nil, connector.Invalid("Records", "not the event of a queue")
		}
		failed := h.refreshBatch(ctx, c, event.Records)
		c.notes = append(c.notes, slog.Int("messages", len(event.Records)), slog.Int("again", len(failed)))
		return events.SQSEventResponse{BatchItemFailures: failed}, nil
	})
}

func (h *Handler) refreshBatch(ctx context.Context, c *call, messages []events.SQSMessage) []events.SQSBatchItemFailure {
	begin := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		begin, cancel = context.WithDeadline(ctx, deadline.Add(-BatchReserve))
		defer cancel()
	}
	again := make([]bool, len(messages))
	slots := make(chan struct{}, batchWorkers)
	var running sync.WaitGroup
	for i, message := range messages {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			again[i] = begin.Err() != nil || h.refreshMessage(ctx, c, message) != nil
		})
	}
	running.Wait()

	failed := []events.SQSBatchItemFailure{}
	for i, message := range messages {
		if again[i] {
			failed = append(failed, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
		}
	}
	return failed
}

// refreshMessage refreshes the connection of one message. It logs and drops a
// malformed message, because another delivery would not change it.
func (h *Handler) refreshMessage(ctx context.Context, batch *call, message events.SQSMessage) error {
	began := h.service.Now()
	c := &call{function: batch.function, requestID: batch.requestID, route: "message"}
	due, err := messageKey(message.Body)
	if err != nil {
		c.failed = connector.AsError(err)
		h.record(ctx, c, 0)
		return nil
	}
	c.setConnection(connector.ID(due.ID))
	err = h.recovered(ctx, c, func() error {
		result, err := h.service.HandleDue(ctx, due)
		c.notes = append(c.notes, slog.String("refresh", string(result)))
		return err
	})
	c.failed = connector.AsError(err)
	h.record(ctx, c, h.service.Now().Sub(began))
	return err
}

// stateID matches the id of a consent: the hash of its state.
var stateID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// messageKey reads {"kind": "…", "id": "…"}. The previous release sends
// {"connection_id": "…"}, whatever is due.
func messageKey(body string) (connector.RecordKey, error) {
	o, err := readObject("body", []byte(body))
	if err != nil {
		return connector.RecordKey{}, err
	}
	key := connector.RecordKey{Kind: connector.Kind(o.text("kind")), ID: o.text("id")}
	field := "id"
	if key.Kind == "" {
		field, key.ID = "connection_id", o.text("connection_id")
	}
	if o.err != nil {
		return connector.RecordKey{}, o.err
	}
	if !connector.ID(key.ID).Valid() && (key.Kind != connector.StateKind || !stateID.MatchString(key.ID)) {
		return connector.RecordKey{}, connector.Invalid(field, "not an id")
	}
	switch key.Kind {
	case "", connector.ConnectionKind, connector.PendingKind, connector.UnrecordedKind, connector.StateKind, connector.ErasureKind, connector.EventKind:
		return key, nil
	}
	return connector.RecordKey{}, connector.Invalid("kind", "not one that becomes due")
}
