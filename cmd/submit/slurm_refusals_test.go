package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// small is a spec of one small dataset.
const small = "datasets = [\"pocket_cloze\"]\n"

// complaints are the lines in which submit says what is wrong.
func (p *process) complaints() []string {
	return regexp.MustCompile(`(?m)^submit: .*$`).FindAllString(p.log.String(), -1)
}

// TestSlurmRefusals asks a real cluster for what it does not give: one line says what is wrong and what to do.
func TestSlurmRefusals(t *testing.T) {
	t.Parallel()
	c := accounted(t)
	for _, r := range []struct {
		name, says string
		flags      []string
		code       int
	}{
		{"partition", "sbatch: there is no partition \"nope\"; `sinfo -s` lists them (it says: ", []string{"-p", "nope"}, exitFailed},
		{"qos", "sbatch: there is no qos \"nope\", or it is not this user's; `sacctmgr ", []string{"-q", "nope"}, exitFailed},
		{"account", "sbatch: the account \"nope\" is not this user's", []string{"-A", "nope"}, exitFailed},
		{"constraint", "sbatch: no node has the features of the constraint \"nope\"; `sinfo -o '%f %N'`", []string{"-C", "nope"}, exitFailed},
		{"reservation", "sbatch: the reservation \"nope\" does not exist", []string{"--reservation", "nope"}, exitFailed},
		{"nodelist", "sbatch: there is no such node: see nodelist \"nope\"", []string{"--nodelist", "nope"}, exitFailed},
		{"option", "sbatch: this sbatch does not know the option: remove it from extra", []string{"--sbatch-option=--foo=1"}, exitFailed},
		{"newline", "--comment: slurm.comment: ", []string{"--comment", "a\n#SBATCH --nice=99"}, exitUsage},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			x := newTrial(t, c, setup{spec: small, limit: 1, flags: r.flags})
			p := x.submit()
			p.want(r.code)
			if lines := p.complaints(); len(lines) != 1 || !strings.Contains(lines[0], r.says) || len(lines[0]) > 500 {
				t.Errorf("it complains %q, want one line with %q\n%s", lines, r.says, &p.log)
			}
		})
	}
}

// TestSlurmNeverFits has a model that no node can hold: the other one is done.
func TestSlurmNeverFits(t *testing.T) {
	t.Parallel()
	x := newTrial(t, accounted(t), setup{limit: 2, exit: exitIncomplete,
		spec: small + "[[models]]\nabbr = \"huge\"\npath = \"$POCKET/model\"\nrun_cfg = { num_gpus = 99 }\n"})
	p := x.submit()
	p.want(exitIncomplete, "FAILED huge/pocket_cloze: sbatch: no node ", "done pocket/pocket_cloze", "sinfo -o '%P ")
	x.idle()
}

// TestSlurmWaits has jobs that wait, for a limit of the cluster's or for ever: the user is told why.
func TestSlurmWaits(t *testing.T) {
	t.Parallel()
	c := accounted(t)
	t.Run("submit limit", func(t *testing.T) {
		t.Parallel()
		c.Run(t, "sacctmgr", "-i", "modify", "qos", "spot", "set", "MaxSubmitJobsPerUser=2")
		x := newTrial(t, c, setup{spec: small, limit: 4, flags: []string{"-q", "spot", "--max-partition-size", "2"}})
		x.submit().want(exitDone, "waiting: ", "as many jobs are queued as the site allows; more are taken when some have ended")
		x.idle()
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		x := newTrial(t, c, setup{spec: small, limit: 1, flags: []string{"-p", "llmeval", "--time", "9-00:00:00"}})
		p := x.submit()
		x.until("a waiting job", func() bool {
			jobs := x.queue()
			return len(jobs) > 0 && jobs[0].Reason == "PartitionTimeLimit"
		})
		x.subcommand("status").want(exitDone, "1 PartitionTimeLimit")
		time.Sleep(4 * time.Second) // two polls
		x.subcommand("cancel").want(exitDone, "none is left")
		p.want(exitFailed, "submit resume", "PartitionTimeLimit (the time limit is longer than the partition allows, so they never start; submit cancel DIR")
		x.idle()
	})
}

// TestSlurmAbsent has no sbatch at all.
func TestSlurmAbsent(t *testing.T) {
	t.Parallel()
	x := newTrial(t, accounted(t), setup{spec: small, limit: 1, env: []string{"PATH=" + filepath.Join(bin, "none")}})
	p := x.submit()
	p.want(exitFailed, "there is no sbatch here: log in to a machine that submits to a Slurm cluster, or put its commands on PATH")
	if lines := p.complaints(); len(lines) != 1 {
		t.Errorf("it complains %q", lines)
	}
	if dirs, _ := filepath.Glob(filepath.Join(x.work, "*", "results", "*")); len(dirs) > 0 {
		t.Errorf("it left %q", dirs)
	}
}
