package slurm

import (
	"io"
	"os"
	"regexp"
)

// memoryWords are what a node's slurmstepd writes into the log of a job that it, or the kernel, killed for its use of memory. Without cgroups
// nothing else tells: such a job has failed by signal 9, as one that somebody killed.
var memoryWords = regexp.MustCompile(`(?m)^slurmstepd[^:]*: error: .*([Ee]xceeded (job |step )?memory limit|[Oo]ut [Oo]f [Mm]emory|oom[-_]kill)`)

// ranOut says that the end of a log tells so.
func ranOut(log string) bool {
	f, err := os.Open(log)
	if err != nil {
		return false
	}
	defer f.Close()
	const most = 16 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	return err == nil && memoryWords.Match(b)
}
