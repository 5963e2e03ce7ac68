package sandbox

import (
	"context"
	"runtime"
	"sync"
)

// Each runs n programs, b.Parallel at a time, and hands over each outcome as it comes. Program and done are called by several goroutines at
// once, each i once. When ctx is done no further program starts, those that run end, and Each returns ctx's error.
func (b Box) Each(ctx context.Context, n int, program func(i int) Program, done func(i int, o Outcome, err error)) error {
	parallel := b.Parallel
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(parallel, n, usersOfEach) {
		workers.Go(func() {
			for i := range next {
				o, err := b.Run(ctx, program(i))
				done(i, o, err)
			}
		})
	}
	defer workers.Wait()
	defer close(next)
	for i := range n {
		if ctx.Err() != nil { // select would choose at random
			return context.Cause(ctx)
		}
		select {
		case next <- i:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
