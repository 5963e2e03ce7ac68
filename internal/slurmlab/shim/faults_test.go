package shim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	b := newBench(t, Options{Second: time.Millisecond, RequeueDelay: 1})
	b.script("s.sh", "true")
	const lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
	expect := func(what, text string, code int, words ...string) {
		t.Helper()
		if _, got, c := b.run(words...); got != text || c != code {
			t.Errorf("%s: %d %q, want %d %q", what, c, got, code, text)
		}
	}
	count := func(want int) {
		t.Helper()
		if got := len(b.Elements()); got != want {
			t.Errorf("%d jobs, want %d", got, want)
		}
	}
	b.Set(func(o *Options) { o.LoseRequests = 1 })
	expect("a lost request", lost, 1, "sbatch", "s.sh")
	count(0)
	b.Set(func(o *Options) { o.LoseAnswers = 1 })
	expect("a lost answer", lost, 1, "sbatch", "s.sh")
	count(1)
	b.Set(func(o *Options) { o.LoseAnswers, o.GhostDelay = 1, 100*time.Millisecond })
	expect("a ghost", lost, 1, "sbatch", "s.sh")
	count(1)
	time.Sleep(150 * time.Millisecond)
	count(2)
	b.Set(func(o *Options) { o.Frozen = true })
	expect("a frozen controller", lost, 1, "sbatch", "s.sh")
	count(2)
	b.Set(func(o *Options) { o.Frozen = false })
	count(3)
	b.Set(func(o *Options) { o.Down = true })
	expect("down", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", 1, "squeue")
	expect("down", "scancel: error: Kill job error on job id 1: Unable to contact slurm controller (connect failure)\n", 8, "scancel", "1")
	expect("down", "", 1, "scontrol", "ping")
	b.Set(func(o *Options) { o.Down, o.Errors = false, map[string]int{"squeue": 1} })
	expect("one error", "slurm_load_jobs error: Socket timed out on send/recv operation\n", 1, "squeue")
	expect("and then none", "", 0, "squeue")
	b.Set(func(o *Options) { o.SacctOff = true })
	expect("no accounting", "Slurm accounting storage is disabled\n", 1, "sacct")
	b.Set(func(o *Options) { o.SubmitLimit, o.Pretend = 3, func(Element) Outcome { return Outcome{Never: true} } })
	expect("a limit", "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy "+
		"(job submit limit, user's size and/or time limits)\n", 1, "sbatch", "--array=0-3", "s.sh")
	id := b.submit("s.sh")
	if got := b.LoseLast(); fmt.Sprint(got) != id {
		t.Errorf("lost %d, want %s", got, id)
	}
	if again := b.submit("s.sh"); again != id {
		t.Errorf("the id after %s was lost is %s", id, again)
	}
	b.Set(func(o *Options) { o.BannerOut, o.BannerErr, o.Version = "Welcome", "Maintenance on Monday", "24.05.1" })
	if out, text, _ := b.run("sbatch", "--version"); out != "Welcome\nslurm 24.05.1\nWelcome\n" || text != "Maintenance on Monday\nMaintenance on Monday\n" {
		t.Errorf("%q %q", out, text)
	}
	if n := len(b.Calls("sbatch")); n < 8 || b.Busiest(time.Hour) != len(b.Calls("")) {
		t.Errorf("%d calls of sbatch, %d at most", n, b.Busiest(time.Hour))
	}
}

func TestVanishedUntilSacctKnows(t *testing.T) {
	b := newBench(t, Options{MinJobAge: -1, Faults: Faults{SacctLag: time.Hour}, Pretend: func(Element) Outcome { return Outcome{} }})
	b.Set(func(o *Options) { o.MinJobAge = 0 })
	b.script("s.sh", "true")
	id := b.submit("--array=0-9", "s.sh")
	time.Sleep(50 * time.Millisecond)
	if got := b.queue(); got != "" {
		t.Errorf("squeue: %s", got)
	}
	if out, _, code := b.run("sacct", "-n", "-P", "-j", id); out != "" || code != 0 {
		t.Errorf("sacct: %d %q", code, out)
	}
	b.Set(func(o *Options) { o.SacctLag = 0 })
	if out, _, _ := b.run("sacct", "-X", "-n", "-P", "-o", "State", "-j", id); strings.Count(out, "COMPLETED") != 10 {
		t.Errorf("sacct: %q", out)
	}
}

// TestUpdateOfAPartlyFinishedArray complains of what has ended and does it for the others.
func TestUpdateOfAPartlyFinishedArray(t *testing.T) {
	b := newBench(t, Options{Pretend: func(e Element) Outcome { return Outcome{Never: e.Index > 1} }})
	b.script("s.sh", "true")
	gate := b.submit("--hold", "s.sh")
	id := b.submit("--array=0-4%1", "s.sh")
	waits := b.submit("-d", "afterany:"+gate, "s.sh")
	b.until("COMPLETED", id+"_0", id+"_1")
	b.until("RUNNING", id+"_2")
	_, text, code := b.run("scontrol", "update", "jobid="+id, "ArrayTaskThrottle=2")
	if want := id + "_0-1: Job has already finished\n" + id + "_2-4: No error\n"; code != 1 || text != want {
		t.Errorf("%d %q, want 1 %q", code, text, want)
	}
	b.until("RUNNING", id+"_2", id+"_3")
	b.until("PENDING", id+"_4", waits)
	if _, text, code := b.run("scontrol", "update", "jobid="+waits, "Dependency="); code != 0 || text != "" {
		t.Errorf("%d %q", code, text)
	}
	b.until("COMPLETED", waits)
}

// TestThousands holds the emulator to being fast enough for plans of ten thousand.
func TestThousands(t *testing.T) {
	b := newBench(t, Options{MaxArraySize: 10001, MaxJobCount: 20000, Pretend: func(e Element) Outcome { return Outcome{Never: e.Index%2 == 0} }})
	b.script("s.sh", "true")
	start := time.Now()
	b.submit("--array=0-9999%500", "s.sh")
	out, _, _ := b.run("squeue", "-h", "-r", "-o", "%i|%T")
	if n := strings.Count(out, "\n"); n < 9000 || n > 10000 {
		t.Errorf("%d rows", n)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("submitting and listing took %s", d)
	}
}
