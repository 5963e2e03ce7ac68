//go:build cgo

package kernels

import "sextant/kernels/cpu"

// CPUPeak measures what this machine's CPU does at best on so many threads (0: all that this process may run on), whatever the operations
// of this package make of it. It reads `read` bytes of memory of its own to find the bandwidth: more than the caches hold, 1 GiB and
// above; 0 leaves that out. It takes about a second and a half for 1 GiB, and counts the best of some trials.
func CPUPeak(threads int, read int64) (Peak, error) {
	if threads < 0 || threads > 4096 || read < 0 {
		return Peak{}, invalid("peak", "%d threads, %d bytes to read: want 0 to 4096 threads", threads, read)
	}
	if threads == 0 {
		threads = cpu.Threads()
	}
	p := Peak{Threads: threads}
	for _, isa := range []string{"avx512", "avx2", "scalar"} {
		if !cpu.Runs(isa) {
			continue
		}
		if f := cpu.FMA(isa, threads); f > 0 {
			p.FMA = append(p.FMA, PeakRate{ISA: isa, GFLOPS: f})
		}
	}
	if len(p.FMA) == 0 {
		return Peak{}, &Error{Op: "peak", Text: "cannot start the threads", Kind: ErrNoMemory}
	}
	if read == 0 {
		return p, nil
	}
	if p.ReadGBs = cpu.Read(p.FMA[0].ISA, threads, read); p.ReadGBs == 0 {
		return p, &Error{Op: "peak", Text: "no memory to read", Kind: ErrNoMemory}
	}
	return p, nil
}
