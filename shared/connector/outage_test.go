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
	outageLasts       = time.Hour
	outageLife        = 2 * time.Hour // of an access token, as X's and TikTok's
	outageWorkers     = 20 * 5        // as many as the deployment lets run at once, times what each refreshes at once
)

// TestOutage takes a platform away for an hour of virtual time, while 10,000
// connections to it fall due: half of the calls time out, half are refused.
// Few calls are made, callers get tokens that live or a reason to wait, nobody
// is marked needs_reauth, and the delayed connections drain without a rush.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.calm, w.platform.life = true, outageLife
		setup := w.worker(0, 0)
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
		running.Go(func() { callers.ask(ctx) })

		time.Sleep(outageLife*5/6 - time.Minute) // then they fall due
		w.platform.setOutage(true)
		exchanges := func() (n int) {
			w.count(func(t *tally) { n = t.exchanges })
			return n
		}
		before := exchanges()
		time.Sleep(outageLasts)
		during := exchanges() - before
		w.platform.setOutage(false)

		ended := time.Now()
		drained := time.Duration(0)
		for time.Since(ended) < 2*time.Hour {
			if w.stale(t) == 0 {
				drained = time.Since(ended)
				break
			}
			time.Sleep(10 * time.Second)
		}
		rush, tick := w.platform.busiest(ended, 10*time.Second), w.platform.busiest(ended, 5*time.Minute)
		stop()
		running.Wait()

		var condemned int
		for _, id := range w.ids {
			if c, err := w.store.Connection(t.Context(), id); err != nil || c.Status != connector.Active {
				condemned++
			}
		}
		t.Logf("%d connections, outage of %v: %d calls of the platform, %d condemned; drained %v after it, with at most %d calls in 10 s; callers: %d answered well, %d told to wait, %d otherwise",
			outageConnections, outageLasts, during, condemned, drained, rush, callers.good, callers.wait, callers.other)
		attr(t, "connections", outageConnections)
		attr(t, "platform_calls_in_an_hour", during)
		attr(t, "connections_condemned", condemned)
		attr(t, "seconds_to_drain", int(drained.Seconds()))
		attr(t, "most_calls_in_10_s_of_draining", rush)
		attr(t, "callers_with_neither_token_nor_reason", callers.other)
		if condemned > 0 {
			t.Errorf("%d connections were condemned", condemned)
		}
		if during > outageConnections/25 {
			t.Errorf("%d calls of a platform that was down", during)
		}
		if drained == 0 {
			t.Errorf("%d connections are still stale two hours later", w.stale(t))
		}
		if rush > 600 {
			t.Errorf("%d calls in 10 s once it was back, want 50 a second", rush)
		}
		if tick > outageConnections*3/5 {
			t.Errorf("%d calls in the 5 minutes of a sweep: nothing was spread over more", tick)
		}
		if callers.other > 0 {
			t.Errorf("%d callers got neither a token nor a reason to wait", callers.other)
		}
		for _, problem := range w.problems {
			t.Error(problem)
		}
	})
}

// stale is how many connections have no access token that works.
func (w *world) stale(t *testing.T) int {
	t.Helper()
	n := 0
	for _, id := range w.ids {
		if c, err := w.store.Connection(t.Context(), id); err != nil || !time.Now().Before(c.ExpiresAt) {
			n++
		}
	}
	return n
}

func sweep(ctx context.Context, w *world, s *connector.Service, work chan<- connector.RecordKey) {
	queue := connectorQueue{work}
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

// connectorQueue is a queue without a bottom.
type connectorQueue struct{ work chan<- connector.RecordKey }

func (q connectorQueue) Enqueue(_ context.Context, items []connector.RecordKey, after time.Duration) ([]connector.RecordKey, error) {
	time.AfterFunc(after, func() {
		for _, id := range items {
			select {
			case q.work <- id:
			default: // so many are under way that the claim brings it again
			}
		}
	})
	return nil, nil
}

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

// callers ask for a token every second.
type callers struct {
	world             *world
	service           *connector.Service
	good, wait, other int
}

func (c *callers) ask(ctx context.Context) {
	random := rand.New(rand.NewPCG(1, 2))
	for connector.Sleep(ctx, time.Second) == nil {
		askCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 29*time.Second)
		_, err := c.world.token(askCtx, c.service, c.world.ids[random.IntN(len(c.world.ids))])
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
