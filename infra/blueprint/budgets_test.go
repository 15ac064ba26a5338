package blueprint_test

import (
	"slices"
	"testing"
	"time"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
)

func function(t *testing.T, name string) blueprint.Function {
	t.Helper()
	all := blueprint.Functions()
	i := slices.IndexFunc(all, func(f blueprint.Function) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("there is no function %s", name)
	}
	return all[i]
}

// TestFunctions_Timeout ties the timeouts of the deployment to the time budgets
// of the domain (I3, I4).
func TestFunctions_Timeout(t *testing.T) {
	const attempt = connector.ExchangeBudget + connector.StoreBudget
	for _, name := range []string{blueprint.OAuthCallback, blueprint.TokenGet, blueprint.Connections} {
		if got := function(t, name).Timeout; got < attempt+connector.StoreBudget {
			t.Errorf("%s ends after %v, but an exchange needs %v, and reading and waiting before it need time", name, got, attempt)
		}
	}
	worker, queue := function(t, blueprint.RefreshWorker), blueprint.RefreshQueue()
	if handler.BatchReserve < attempt {
		t.Errorf("the worker begins a refresh %v before its end, but one needs %v", handler.BatchReserve, attempt)
	}
	if worker.Timeout < 2*handler.BatchReserve {
		t.Errorf("the worker ends after %v, so that it begins nothing in the second half", worker.Timeout)
	}
	if queue.Visibility < worker.Timeout+connector.LeaseMargin {
		t.Errorf("a message is delivered again after %v, while the lease of its worker may hold for %v", queue.Visibility, worker.Timeout+connector.LeaseMargin)
	}
	if every := blueprint.RefreshSchedule().Every; connector.ClaimLife < every+queue.Visibility {
		t.Errorf("a claim lasts %v, so that a sweep queues a record again that the queue still delivers (%v + %v)", connector.ClaimLife, every, queue.Visibility)
	}
	if connector.ClaimLife > 3*5*time.Minute {
		t.Errorf("a lost message delays a refresh by %v", connector.ClaimLife)
	}
}
