package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// draining are workers of a run as a batch system would start them.
type draining struct {
	t   *testing.T
	dir result.Dir
}

// as makes a command the worker of a batch job's start.
func (d draining) as(cmd *exec.Cmd, name, restart string) {
	cmd.Args = append(cmd.Args, "--drain")
	cmd.Env = append(os.Environ(), "SEXTANT_JOB="+name, "SLURM_RESTART_COUNT="+restart, "SEXTANT_LOAD_DELAY=50ms")
}

// again starts a worker like cmd.
func (d draining) again(like *exec.Cmd, name, restart string) (*exec.Cmd, *bytes.Buffer) {
	d.t.Helper()
	cmd := &exec.Cmd{Path: like.Path, Args: like.Args[:len(like.Args)-1]}
	d.as(cmd, name, restart)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, &log
}

// TestKilledAndRequeued kills a worker in the middle of a ticket, starts another, and the first anew as a requeue does: every row is there
// in the end, those that the dead one had saved are not computed again, and no ticket is done twice.
func TestKilledAndRequeued(t *testing.T) {
	dir, job := sizable(t, "max_partition_size = 120, limit = 100")
	p, err := plan.Load(dir.Plan())
	if err != nil {
		t.Fatal(err)
	}
	o := result.Offer{Pool: job.Pool()}
	for _, j := range p.Jobs {
		o.Tickets = append(o.Tickets, result.Ticket{Job: j.ID, Attempt: 1})
	}
	if err := dir.AddOffer(o); err != nil {
		t.Fatal(err)
	}
	d := draining{t, dir}
	first, _ := start(t, dir, job, func(cmd *exec.Cmd) { d.as(cmd, "first", "0") })
	_ = first.Process.Kill()
	_ = first.Wait()
	second, log2 := d.again(first, "second", "0")
	_, saved, err := result.ReadCheckpoint(dir.Rows(job.Shards[0], 1))
	if err != nil || len(saved) < 4 {
		t.Fatalf("%d rows were saved (%v)", len(saved), err)
	}
	third, log3 := d.again(first, "first", "1")
	for cmd, log := range map[*exec.Cmd]*bytes.Buffer{second: log2, third: log3} {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
	}
	if !strings.Contains(log3.String(), "taking up again") {
		t.Errorf("the requeued worker did not take up its ticket:\n%s", log3)
	}
	d.check(p, job, len(saved))
}

// check counts rows: all have results, each computed once.
func (d draining) check(p *plan.Plan, cut plan.Job, saved int) {
	d.t.Helper()
	for _, sh := range p.Shards {
		if h, _, err := result.Read(d.dir.Result(sh.ID)); err != nil || h.From != sh.From || h.To != sh.To {
			d.t.Errorf("shard %s: %+v, %v", sh.ID, h, err)
		}
		computed := 0
		last, err := d.dir.LastAttempt(sh.ID)
		if err != nil {
			d.t.Error(err)
		}
		for n := 1; n <= last; n++ {
			_, rows, _ := result.ReadCheckpoint(d.dir.Rows(sh.ID, n))
			computed += len(rows)
		}
		if computed != sh.To-sh.From || sh.ID != cut.Shards[0] && last != 1 {
			d.t.Errorf("shard %s: %d rows computed in %d attempts, of %d", sh.ID, computed, last, sh.To-sh.From)
		}
	}
	end, err := result.ReadEnd(d.dir.End(cut.ID, 2))
	sh, _ := p.Shard(cut.Shards[0])
	if err != nil || end.Code != 0 || end.Rows != sh.To-sh.From-saved || end.LoadSeconds < 0.05 {
		d.t.Errorf("the second attempt of what was cut off ended with %+v (%v), want %d rows", end, err, sh.To-sh.From-saved)
	}
}
