package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sextant/pkg/engine"
)

// sample is one measurement of a work.
type sample struct {
	seconds  float64 // of one run
	cores    float64
	computed int64 // tokens of one run
}

// take runs w until at least least has gone by, and at least once.
func take(ctx context.Context, eng *engine.Engine, w work, least time.Duration) (sample, error) {
	before, begun, cpu := eng.Tokens(), time.Now(), cpuSeconds()
	for n := 1; ; n++ {
		if err := w.run(ctx, eng); err != nil {
			return sample{}, fmt.Errorf("%s: %w", w.name, err)
		}
		if d := time.Since(begun); d >= least {
			return sample{seconds: d.Seconds() / float64(n), cores: (cpuSeconds() - cpu) / d.Seconds(), computed: (eng.Tokens() - before) / int64(n)}, nil
		}
	}
}

// cpuSeconds is the processor time that this process has used.
func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peakRSS is the most memory that this process has held, in bytes; 0: unknown.
func peakRSS() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64) // 0 where it is no number
			return n << 10
		}
	}
	return 0
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// over gives f of every sample.
func over(list []sample, f func(sample) float64) []float64 {
	out := make([]float64, len(list))
	for i, s := range list {
		out[i] = f(s)
	}
	return out
}

// outcome sums up the samples of w.
func (w work) outcome(list []sample) Work {
	out := Work{Name: w.name, What: w.what, Unit: w.unit, Units: w.units, Computed: list[0].computed,
		Seconds: median(over(list, func(s sample) float64 { return s.seconds })),
		Cores:   median(over(list, func(s sample) float64 { return s.cores })),
		Samples: over(list, func(s sample) float64 { return float64(w.units) / s.seconds })}
	out.Rate = float64(w.units) / out.Seconds
	return out
}
