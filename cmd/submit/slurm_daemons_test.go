package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/internal/slurmlab"
)

// TestChaosController stops, kills and restarts slurmctld, one fault after another: its jobs are those of all that runs there.
func TestChaosController(t *testing.T) {
	t.Parallel()
	c := slurmlab.Up(t, slurmlab.Options{Nodes: 2, CredExpire: 5, Conf: []string{"SlurmdTimeout=5", "MessageTimeout=4"}})
	each(t, 1, 1, []trialCase{
		// sbatch gives up, and the controller does what it was asked when it is let go.
		{name: "frozen during sbatch", do: func(t *testing.T) {
			x := newTrial(t, c, setup{})
			x.instead("sbatch", once(fmt.Sprintf("kill -STOP %d; (sleep 7; kill -CONT %[1]d) </dev/null >/dev/null 2>&1 &", c.Pid(t, "slurmctld"))))
			p := x.submit()
			p.want(exitDone)
			x.whole()
			if n := x.arrays(); n != 1 {
				t.Errorf("%d arrays were submitted, want 1", n)
			}
		}},
		{name: "killed before sbatch", slow: true, do: func(t *testing.T) {
			x := newTrial(t, c, setup{})
			x.instead("sbatch", once(fmt.Sprintf("touch $dir/killed; kill -KILL %d", c.Pid(t, "slurmctld"))))
			p := x.submit()
			x.until("sbatch", x.there("killed"))
			time.Sleep(12 * time.Second) // sbatch has given up by then
			c.Start(t, "slurmctld")
			p.want(exitDone, "waiting: ")
			x.whole()
		}},
		// It forgets the job, and gives its number to somebody else, whose job must not come to harm.
		{name: "killed after sbatch", slow: true, do: func(t *testing.T) {
			x := newTrial(t, c, setup{})
			x.instead("sbatch", once(fmt.Sprintf("$real --begin=now+5 \"$@\"; kill -KILL %d; touch $dir/killed; exit 0", c.Pid(t, "slurmctld"))))
			p := x.submit()
			x.until("sbatch", x.there("killed"))
			c.Start(t, "slurmctld")
			id := c.Sbatch(t, "-o", "/dev/null", "-J", "foreign", "--wrap", "sleep 20")
			p.want(exitDone)
			x.whole()
			rows := c.Await(t, patient, func(rows []slurmlab.Row) bool {
				for _, r := range rows {
					if r.ID == id && r.State == "COMPLETED" {
						return true
					}
				}
				return false
			})
			t.Logf("the other's job is %s of %d", id, len(rows))
		}},
		{name: "killed and restarted while jobs run", slow: true, do: onceHit(c, setup{limit: 60, env: loading("1s")}, func(x *trial) {
			x.until("rows", x.rows(5))
			c.Kill(x.t, "slurmctld")
			time.Sleep(3 * time.Second)
			c.Start(x.t, "slurmctld")
		})},
		{name: "frozen while jobs run", slow: true, do: onceHit(c, setup{limit: 60}, func(x *trial) {
			x.until("rows", x.rows(5))
			c.Signal(x.t, "slurmctld", syscall.SIGSTOP)
			time.Sleep(15 * time.Second)
			c.Signal(x.t, "slurmctld", syscall.SIGCONT)
		})},
		{name: "down when submit is killed and comes back", slow: true, do: func(t *testing.T) {
			x := newTrial(t, c, setup{limit: 60, env: loading("1s")})
			p := x.submit()
			x.until("rows", x.rows(5))
			c.Kill(t, "slurmctld")
			_ = p.Process.Kill()
			p.want(-1)
			again := x.submit()
			time.Sleep(3 * time.Second)
			c.Start(t, "slurmctld")
			again.want(exitDone)
			x.whole()
		}},
		{name: "node down", slow: true, do: onceHit(c, setup{limit: 60, env: loading("1s")}, func(x *trial) {
			x.until("rows", x.rows(5))
			node := x.running().Node
			c.Run(x.t, "scontrol", "update", "nodename="+node, "state=down", "reason=chaos")
			x.t.Cleanup(func() { _ = c.Command("scontrol", "update", "nodename="+node, "state=resume").Run() }) // it may be back already
		})},
		// The job is started anew while its first worker is still loading: two do the same.
		{name: "slurmd killed, its worker lives on", slow: true, do: onceHit(c,
			setup{slurm: first("export SEXTANT_LOAD_DELAY=60s"), twice: true, flags: []string{"--max-num-workers", "1"}}, func(x *trial) {
				node := x.running().Node
				x.until("a worker", func() bool { return len(x.workers()) == 1 })
				c.Kill(x.t, "slurmd:"+node)
				x.until("two workers at once", func() bool { return len(x.workers()) == 2 })
				x.t.Cleanup(func() {
					c.Start(x.t, "slurmd:"+node)
					c.Await(x.t, patient, func([]slurmlab.Row) bool {
						return !strings.Contains(c.Run(x.t, "sinfo", "-h", "-o", "%T"), "down")
					})
				})
			})},
	})
}

// TestChaosPreempted has jobs of a better quality of service drive ours out.
func TestChaosPreempted(t *testing.T) {
	t.Parallel()
	if !*chaosAll {
		t.Skip("a cluster with accounting takes long to start: with -chaos only")
	}
	c := slurmlab.Up(t, slurmlab.Options{Nodes: 1, CPUs: 8, CredExpire: 5, Accounting: true})
	hit := func(x *trial) {
		x.until("rows", x.rows(5))
		c.Run(x.t, "sbatch", "-q", "reserved", "-o", "/dev/null", "-c", "8", "--wrap", "sleep 2")
		x.until("a preemption", func() bool {
			for _, r := range c.Queue(x.t) {
				if r.QOS == "reserved" && r.State == "RUNNING" {
					return true
				}
			}
			return false
		})
	}
	each(t, 1, 1, []trialCase{
		{name: "requeued", do: onceHit(c, setup{limit: 60, flags: []string{"-q", "spot"}, env: loading("1s")}, hit)},
		{name: "not requeued", do: onceHit(c, setup{limit: 60, flags: []string{"-q", "spot", "--no-requeue"}, env: loading("1s")}, hit)},
		{name: "while submit is away", do: func(t *testing.T) {
			x := newTrial(t, c, setup{limit: 60, flags: []string{"-q", "spot"}, env: loading("1s")})
			p := x.submit()
			x.until("rows", x.rows(5))
			_ = p.Process.Kill()
			p.want(-1)
			hit(x)
			x.ends()
		}},
	})
}

// TestChaosMemory has the kernel, not Slurm, watch over the memory of jobs.
func TestChaosMemory(t *testing.T) {
	t.Parallel()
	if !*chaosAll {
		t.Skip("one cluster a machine can have cgroups: with -chaos only")
	}
	c := slurmlab.Up(t, slurmlab.Options{Nodes: 1, CredExpire: 5, Cgroup: true})
	each(t, 1, 1, []trialCase{{name: "killed by the kernel", do: memory(c, "40M")}})
}
