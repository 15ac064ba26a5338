package connector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"platform-api-connector/shared/connector"
)

const (
	outageConnections = 10_000
	outageDuration    = time.Hour
	outageLifetime    = 2 * time.Hour // of an access token, as on X and TikTok
	outageWorkers     = 20 * 5        // the maximum of concurrent workers, times the refreshes of each
)

// TestOutage simulates an outage of one hour of virtual time, during which 10,000
// connections become due. Half of the calls time out, and half are refused. Few
// calls are made. Callers get a valid token or a reason to wait. No connection is
// marked needs_reauth. The delayed connections are refreshed at a limited rate.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.faultless, w.platform.lifetime, w.platform.names = true, outageLifetime, true
		setup := w.worker(0, 0)
		setup.service.Budgets = map[connector.BudgetName]int{
			connector.ConnectionsPerOwner: outageConnections, connector.ImportsPerOwner: outageConnections, connector.VerificationsPerOwner: outageConnections,
		}
		for i := range outageConnections {
			imported, err := setup.service.Import(t.Context(), connector.ImportRequest{
				Platform: "rotating", Owner: "owner", Credentials: w.platform.consent(fmt.Sprintf("account-%d", i)),
			})
			if err != nil {
				t.Fatal(err)
			}
			w.ids = append(w.ids, imported.Connections[0].ID)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		work := make(chan connector.RecordKey, 4*outageConnections)
		sweeper := w.worker(1, 0)
		running.Go(func() { sweep(ctx, w, sweeper.service, work) })
		for i := range outageWorkers {
			running.Go(func() { drain(ctx, w.worker(uint64(10+i), 0).service, work) })
		}
		callers := &callers{world: w, service: w.worker(2, 0).service}
		running.Go(func() { callers.run(ctx) })

		time.Sleep(outageLifetime*5/6 - time.Minute) // the connections then become due
		w.platform.setOutage(true)
		exchanges := func() (n int) {
			w.count(func(c *counts) { n = c.exchanges })
			return n
		}
		before := exchanges()
		time.Sleep(outageDuration)
		during := exchanges() - before
		w.platform.setOutage(false)

		ended := time.Now()
		drained := time.Duration(0)
		for time.Since(ended) < 2*time.Hour {
			if w.expired(t) == 0 {
				drained = time.Since(ended)
				break
			}
			time.Sleep(10 * time.Second)
		}
		inTenSeconds, inSweep := w.platform.maxCalls(ended, 10*time.Second), w.platform.maxCalls(ended, 5*time.Minute)
		stop()
		running.Wait()

		var marked int
		for _, id := range w.ids {
			if c, err := w.store.Connection(t.Context(), id); err != nil || c.Status != connector.Active {
				marked++
			}
		}
		t.Logf("%d connections, outage of %v: %d calls of the platform, %d connections marked needs_reauth; drained %v after it, with at most %d calls in 10 s; callers: %d got a token, %d a reason to wait, %d another error",
			outageConnections, outageDuration, during, marked, drained, inTenSeconds, callers.good, callers.wait, callers.other)
		attr(t, "connections", outageConnections)
		attr(t, "platform_calls_in_an_hour", during)
		attr(t, "connections_marked_needs_reauth", marked)
		attr(t, "seconds_to_drain", int(drained.Seconds()))
		attr(t, "most_calls_in_10_s_of_draining", inTenSeconds)
		attr(t, "callers_with_neither_token_nor_reason", callers.other)
		if marked > 0 {
			t.Errorf("%d connections are marked needs_reauth", marked)
		}
		if during > outageConnections/25 {
			t.Errorf("%d calls during the outage", during)
		}
		if drained == 0 {
			t.Errorf("%d connections have no valid token two hours later", w.expired(t))
		}
		if inTenSeconds > 600 {
			t.Errorf("%d calls in 10 s after the outage, want 50 a second", inTenSeconds)
		}
		if inSweep > outageConnections*3/5 {
			t.Errorf("%d calls in the 5 minutes of one sweep, want them spread over several", inSweep)
		}
		if callers.other > 0 {
			t.Errorf("%d callers got neither a token nor a reason to wait", callers.other)
		}
		for _, problem := range w.problems {
			t.Error(problem)
		}
	})
}

// expired returns the number of connections without a valid access token.
func (w *world) expired(t *testing.T) int {
	t.Helper()
	n := 0
	for _, id := range w.ids {
		if c, err := w.store.Connection(t.Context(), id); err != nil || !time.Now().Before(c.ExpiresAt) {
			n++
		}
	}
	return n
}

// sweep queues the due connections every five minutes.
func sweep(ctx context.Context, w *world, s *connector.Service, work chan<- connector.RecordKey) {
	queue := workQueue{work}
	s.Queue = queue
	for {
		sweepCtx, cancel := context.WithTimeout(ctx, time.Minute)
		if _, err := s.QueueDue(sweepCtx); err != nil && ctx.Err() == nil {
			w.problem("a sweep: %v", err)
		}
		cancel()
		if connector.Sleep(ctx, 5*time.Minute) != nil {
			return
		}
	}
}

// workQueue is a queue that loses items when work is full.
type workQueue struct{ work chan<- connector.RecordKey }

func (q workQueue) Enqueue(_ context.Context, items []connector.RecordKey, after time.Duration) ([]connector.RecordKey, error) {
	time.AfterFunc(after, func() {
		for _, id := range items {
			select {
			case q.work <- id:
			default: // the item is queued again when its claim expires
			}
		}
	})
	return nil, nil
}

// drain refreshes the connections of the queue.
func drain(ctx context.Context, s *connector.Service, work <-chan connector.RecordKey) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-work:
			refreshCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			s.HandleDue(refreshCtx, id)
			cancel()
		}
	}
}

// callers request a token every second.
type callers struct {
	world             *world
	service           *connector.Service
	good, wait, other int
}

func (c *callers) run(ctx context.Context) {
	random := rand.New(rand.NewPCG(1, 2))
	for connector.Sleep(ctx, time.Second) == nil {
		callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 29*time.Second)
		_, err := c.world.token(callCtx, c.service, c.world.ids[random.IntN(len(c.world.ids))])
		cancel()
		switch {
		case err == nil:
			c.good++
		case connector.AsError(err).Code.TryLater():
			c.wait++
		default:
			c.other++
		}
	}
}
