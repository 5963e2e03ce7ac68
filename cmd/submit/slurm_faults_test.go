package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sextant/internal/slurmlab"
	"sextant/internal/smalldisk"
)

// onceHit is a case in which something is done to a run at work, which goes on by itself to the right end.
func onceHit(c *slurmlab.Cluster, o setup, hit func(x *trial)) func(t *testing.T) {
	return func(t *testing.T) {
		x := newTrial(t, c, o)
		p := x.submit()
		hit(x)
		p.want(x.exit)
		x.whole()
	}
}

// loading makes workers take time to load, so that there is time to hit them.
func loading(d string) []string { return []string{"SEXTANT_LOAD_DELAY=" + d} }

// TestChaosJobs does to jobs and workers what clusters and people do to them.
func TestChaosJobs(t *testing.T) {
	t.Parallel()
	c := quietCluster(t)
	each(t, 5, 4, []trialCase{
		{name: "worker killed", do: onceHit(c, setup{limit: 40}, func(x *trial) {
			for n := range 3 {
				x.until("rows", x.rows(20+40*n))
				if pids := x.workers(); len(pids) > 0 {
					_ = syscall.Kill(pids[0], syscall.SIGKILL)
				}
			}
		})},
		{name: "scontrol requeue", do: onceHit(c, setup{env: loading("2s")}, func(x *trial) {
			x.cluster.Run(x.t, "scontrol", "requeue", x.running().ID)
		})},
		{name: "scancel of a running job", do: onceHit(c, setup{env: loading("2s")}, func(x *trial) {
			x.cluster.Run(x.t, "scancel", x.running().ID)
		})},
		{name: "scancel of all jobs", do: onceHit(c, setup{limit: 40}, func(x *trial) {
			x.until("rows", x.rows(20))
			for _, r := range x.queue() {
				x.cluster.Run(x.t, "scancel", r.ID)
			}
		})},
		{name: "warned of the time limit", do: onceHit(c, setup{limit: 40}, func(x *trial) {
			x.until("rows", x.rows(20))
			_ = x.cluster.Command("scancel", "-b", "-s", "USR1", x.running().ID).Run() // Slurm 22.05 sometimes says 229 though it did
		})},
		// The worker stands still from its first rows on, so that it hears no warning: Slurm kills it at the limit.
		{name: "time limit", slow: true, do: onceHit(c, setup{limit: 40, flags: []string{"--time", "1", "--max-num-workers", "1"},
			slurm: "signal_lead = 10\n" + first("(until cat $DIR/runs/*/attempts/*/*/rows.jsonl >/dev/null 2>&1; do sleep 0.1; done; kill -STOP $$) &")},
			func(*trial) {})},
		{name: "node that fails everything", do: blackHole(c)},
		{name: "node drained", do: onceHit(c, setup{limit: 40, flags: []string{"--cpus", "40"}}, func(x *trial) {
			x.until("rows", x.rows(20))
			node := x.running().Node
			x.cluster.Run(x.t, "scontrol", "update", "nodename="+node, "state=drain", "reason=chaos")
			x.t.Cleanup(func() { x.cluster.Run(x.t, "scontrol", "update", "nodename="+node, "state=resume") })
		})},
		{name: "memory", do: memory(c, "40M")},
	})
}

// blackHole has a node on which no worker begins.
func blackHole(c *slurmlab.Cluster) func(t *testing.T) {
	return func(t *testing.T) {
		x := newTrial(t, c, setup{limit: 40, slurm: `prologue = '[ "$SLURMD_NODENAME" = node3 ] && exit 1'`,
			flags: []string{"--max-num-workers", "4", "--cpus", "40"}}) // of 64: one worker a node
		x.submit().want(exitDone, "were not used any more: node3")
		x.whole()
	}
}

// memory gives workers too little of it at first.
func memory(c *slurmlab.Cluster, size string) func(t *testing.T) {
	return func(t *testing.T) {
		x := newTrial(t, c, setup{limit: 24, flags: []string{"--mem", size}})
		p := x.submit()
		p.want(exitDone)
		x.whole()
	}
}

// TestChaosFiles damages what a run has on disk, and takes the disk away.
func TestChaosFiles(t *testing.T) {
	t.Parallel()
	c := quietCluster(t)
	damages := map[string]func(text []byte) []byte{
		"truncated":  func(b []byte) []byte { return b[:len(b)*2/3] },
		"flipped":    func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"emptied":    func([]byte) []byte { return nil },
		"duplicated": func(b []byte) []byte { return append(b, b...) },
	}
	var cases []trialCase
	for name, damage := range damages {
		for _, when := range []string{"while it runs", "afterwards"} {
			cases = append(cases, trialCase{name: name + " " + when, slow: when == "while it runs", do: func(t *testing.T) {
				damaged(newTrial(t, c, setup{limit: 24}), damage, when != "afterwards")
			}})
		}
	}
	for _, size := range []string{"40k", "150k", "400k"} {
		cases = append(cases, trialCase{name: "full disk of " + size, do: func(t *testing.T) { fullDisk(newTrial(t, c, setup{limit: 24}), size) }})
	}
	cases = append(cases, trialCase{name: "copied over each other", do: func(t *testing.T) { swapped(newTrial(t, c, setup{})) }})
	each(t, 4, 4, cases)
}

// results are the files of a run.
func (x *trial) results() []string {
	files, _ := filepath.Glob(filepath.Join(x.work, "*", "results", "*.jsonl"))
	return files
}

func (x *trial) rewrite(path string, change func([]byte) []byte) {
	x.t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(text), 0o644)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// damaged damages result files. What submit still saw whole may count for it; the same command finds out.
func damaged(x *trial, damage func([]byte) []byte, early bool) {
	p := x.submit()
	if early {
		x.until("two results", func() bool { return len(x.results()) > 1 })
	} else {
		p.want(exitDone)
	}
	for _, f := range x.results()[:2] {
		x.rewrite(f, damage)
	}
	if code := p.end(); code != exitDone && code != exitIncomplete {
		x.t.Errorf("exit code %d\n%s", code, &p.log)
	}
	x.ends()
}

// swapped puts each result in the place of another.
func swapped(x *trial) {
	x.ends()
	files := x.results()
	last, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		x.t.Fatal(err)
	}
	for _, f := range files {
		x.rewrite(f, func(b []byte) []byte { b, last = last, b; return b })
	}
	x.ends()
}

func fullDisk(x *trial, size string) {
	x.calm()
	smalldisk.Mount(x.t, x.work, size)
	p := x.submit()
	p.want(exitFailed, "no space left")
	x.idle()
	smalldisk.Resize(x.t, x.work, "64m")
	x.ends()
}

// TestChaosPeople does what people do to submit.
func TestChaosPeople(t *testing.T) {
	t.Parallel()
	c := quietCluster(t)
	slow := setup{limit: 24, env: loading("1s")}
	each(t, 3, 4, []trialCase{
		{name: "the terminal goes away", do: func(t *testing.T) {
			x := newTrial(t, c, slow)
			p := x.submit()
			x.running()
			_ = p.Process.Signal(syscall.SIGHUP)
			p.want(exitInterrupted, "detached")
			x.until("the end of all jobs", func() bool { return len(x.queue()) == 0 })
			if n := len(x.computed()); n != 7*24 {
				t.Errorf("%d rows were done without submit, want all", n)
			}
			x.subcommand("resume").want(exitDone)
			x.whole()
		}},
		{name: "Ctrl-C", do: func(t *testing.T) {
			x := newTrial(t, c, slow)
			p := x.submit()
			x.until("rows", x.rows(5))
			_ = p.Process.Signal(os.Interrupt)
			p.want(exitInterrupted)
			x.idle()
			x.ends()
		}},
		{name: "detach", do: func(t *testing.T) {
			x := newTrial(t, c, slow)
			x.submit("--detach").want(exitDone, "gathers")
			x.until("scores", func() bool { _, err := os.Stat(filepath.Join(x.run(), "scores.json")); return err == nil })
			x.until("the end of all jobs", func() bool { return len(x.queue()) == 0 })
			x.whole()
			p := x.submit()
			p.want(exitDone, "nothing to do")
		}},
		{name: "detach and killed workers", do: func(t *testing.T) {
			x := newTrial(t, c, slow)
			x.submit("--detach").want(exitDone, "gathers")
			x.until("rows", x.rows(10))
			for _, pid := range x.workers() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			x.until("scores", func() bool { _, err := os.Stat(filepath.Join(x.run(), "scores.json")); return err == nil })
			x.until("the end of all jobs", func() bool { return len(x.queue()) == 0 })
			x.whole()
		}},
		{name: "cancelled from elsewhere", do: func(t *testing.T) {
			x := newTrial(t, c, slow)
			p := x.submit()
			x.until("rows", x.rows(5))
			x.subcommand("cancel").want(exitDone, "none is left")
			x.idle()
			p.want(exitFailed, "cancelled by another submit")
			x.ends()
		}},
		{name: "two at once", do: func(t *testing.T) {
			x := newTrial(t, c, slow)
			p := x.submit()
			x.until("rows", x.rows(5))
			x.submit().want(exitFailed, "another submit works on it: pid ")
			x.subcommand("resume").want(exitFailed, "another submit works on it: pid ")
			x.subcommand("status").want(exitDone, "submit at work: pid ")
			p.want(exitDone)
			x.whole()
		}},
		{name: "killed, and its jobs cancelled by submit cancel", do: func(t *testing.T) {
			x := newTrial(t, c, slow)
			p := x.submit()
			x.until("rows", x.rows(5))
			_ = p.Process.Kill()
			p.want(-1)
			x.subcommand("cancel").want(exitDone, "none is left")
			x.idle()
			x.ends()
		}},
	})
}
