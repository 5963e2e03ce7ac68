package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSlurmWatch evaluates two checkpoints side by side on a cluster. The watch is killed when rows are there, and its jobs are not: the next one
// finds them.
func TestSlurmWatch(t *testing.T) {
	t.Parallel()
	x := newTrial(t, accounted(t), setup{})
	w := watched{x.session, filepath.Join(x.dir, "checkpoints")}
	path := w.spec(x.dir)
	w.appear("step100")
	w.appear("step200")
	x.args = []string{"sweep", path, "--watch", w.dir, "-w", x.work, "--once", "--settle", "0s", "-p", "llmeval", "--max-num-workers", "4",
		"--worker", filepath.Join(bin, "worker")}
	killed := x.submit()
	x.until("a row", x.rows(1))
	_ = killed.Process.Signal(syscall.SIGKILL)
	killed.end()
	last := x.submit()
	last.want(exitDone, "going on with batch 1", "checkpoints: 2 done", "rank  model")
	if n := bytes.Count(last.log.Bytes(), []byte("\nbatch ")); n != 1 || strings.Contains(last.log.String(), "batch 2") {
		t.Errorf("it carried out %d batches\n%s", n, &last.log)
	}
	x.wantOnce(2 * 6)
	w.wantInOneRun("step100", "step200")
	x.idle()
}
