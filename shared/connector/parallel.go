package connector

import (
	"runtime/debug"
	"sync"
)

// inParallel calls do for 0 to n-1, at most atOnce at a time. It logs the panic of a call,
// and panics with it after the other calls have returned.
func (s *Service) inParallel(n, atOnce int, do func(i int)) {
	if atOnce == 1 {
		for i := range n {
			do(i)
		}
		return
	}
	panics := make([]any, n)
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		running.Go(func() {
			defer func() {
				if panics[i] = recover(); panics[i] != nil {
					s.Log.Error("a panic in parallel", "stack", string(debug.Stack()))
				}
				<-slots
			}()
			do(i)
		})
	}
	running.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
}

// first returns the first error that is not nil.
func first(problems []error) error {
	for _, err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}
