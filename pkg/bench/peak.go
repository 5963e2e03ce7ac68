package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"sextant/kernels/peak"
)

// probe measures the best of the units that multiply short numbers, with a number of threads.
type probe struct {
	threads int
	units   []peak.Unit
	rounds  []int // of each unit, for about slice
}

const (
	slice     = 5 * time.Millisecond // that a trial of arithmetic takes: short, so that some find the processors idle
	trials    = 20                   // of each in a round
	cacheFold = 4                    // a buffer is so many times the last cache
	leastRead = 1 << 30
	fewRead   = 64 << 20
)

func newProbe(threads int) *probe {
	p := &probe{threads: threads, units: peak.Units()}
	for _, u := range p.units {
		rounds := 1 << 10
		for begun := time.Now(); ; begun = time.Now() {
			u.Run(rounds)
			if time.Since(begun) > slice/2 {
				break
			}
			rounds *= 2
		}
		p.rounds = append(p.rounds, rounds)
	}
	return p
}

// each runs f on every thread at once and gives the seconds until the last is done.
func (p *probe) each(f func(thread int)) float64 {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(p.threads)
	for i := range p.threads {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	begun := time.Now()
	close(start)
	done.Wait()
	return time.Since(begun).Seconds()
}

// compute gives the operations a second of a unit, the best of some trials.
func (p *probe) compute(i int) (best float64) {
	ops := make([]float64, p.threads)
	for range trials {
		seconds := p.each(func(thread int) { ops[thread] = p.units[i].Run(p.rounds[i]) })
		sum := 0.0
		for _, n := range ops {
			sum += n
		}
		best = max(best, sum/seconds)
	}
	return best
}

// readBytes is how much memory to read for the bandwidth: several times the last cache, but no more than a quarter of what is free, 0 for unknown.
func readBytes(cache, free int64) int64 {
	n := max(cacheFold*cache, leastRead)
	if free > 0 {
		n = min(n, free/4)
	}
	return max(n, fewRead)
}

// lastCache is the largest cache that the system's files under dir tell of, in bytes; 0: none.
func lastCache(dir string) (bytes int64) {
	files, _ := filepath.Glob(filepath.Join(dir, "index*", "size"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		text, unit := strings.TrimSpace(string(data)), int64(1)
		if t, ok := strings.CutSuffix(text, "K"); ok {
			text, unit = t, 1<<10
		} else if t, ok := strings.CutSuffix(text, "M"); ok {
			text, unit = t, 1<<20
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			bytes = max(bytes, n*unit)
		}
	}
	return bytes
}
