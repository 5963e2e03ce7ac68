package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSlurmEnvironment holds that a job has the environment of a user's: umask, variables of here and of the node, what the prologue does; in a
// work directory with an odd name; and that no secret of it is written anywhere.
func TestSlurmEnvironment(t *testing.T) {
	t.Parallel()
	const secret = "hf_notToBeSeen"
	x := newTrial(t, accounted(t), setup{spec: small, env: []string{"HF_TOKEN=" + secret, "AWS_SECRET_ACCESS_KEY=" + secret, "SBATCH_COMMENT=" + secret},
		slurm: "env = { WHERE = \"node ${SLURMD_NODENAME}: ${HOME}\", HF_TOKEN = \"${HF_TOKEN}\" }\nprologue = '''\n" +
			"module() { export LOADED=\"$2\"; }\nmodule load cuda/12\necho \"$LOADED|$WHERE|$(umask)|$HF_TOKEN|$PWD\" >>$DIR/seen\n" +
			"scontrol show job \"$SLURM_JOB_ID\" >>$DIR/shown\n'''"})
	x.work = filepath.Join(x.dir, `runs $(id) #1 "ü" it's`)
	x.args[2] = strings.ReplaceAll(x.work, "$", "$$")
	x.ends()
	seen := regexp.MustCompile(`^cuda/12\|node node[1-4]: ` + regexp.QuoteMeta(os.Getenv("HOME")) + `\|0\d+\|` + secret + `\|` + regexp.QuoteMeta(x.dir) + `\n`)
	if text := readFile(t, filepath.Join(x.dir, "seen")); !seen.MatchString(text) {
		t.Errorf("a job saw %q", text)
	}
	shown := readFile(t, filepath.Join(x.dir, "shown"))
	if strings.Contains(shown, secret) || !strings.Contains(shown, "Nice=0") || strings.Contains(shown, "Comment=") {
		t.Errorf("Slurm shows\n%s", shown)
	}
	err := filepath.WalkDir(x.run(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if text := readFile(t, path); strings.Contains(text, secret) {
			t.Errorf("the secret is in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSlurmDetach leaves at once; the last job gathers. When jobs failed, it queues them again, and another one gathers.
func TestSlurmDetach(t *testing.T) {
	t.Parallel()
	x := newTrial(t, accounted(t), setup{slurm: "prologue = \"mkdir $DIR/first 2>/dev/null && kill -9 $$\\ntrue\"", flags: []string{"--one-shard-per-job"}})
	x.submit("--detach").want(exitDone, "detached: ", "submit status ")
	x.subcommand("status").want(exitDone, "of 84 rows done")
	x.until("the scores", func() bool {
		_, err := os.Stat(filepath.Join(x.run(), "summary.json"))
		return err == nil
	})
	x.whole()
	x.subcommand("resume").want(exitDone, "nothing to do")
}

// TestSlurmByHand submits what --dry-run=DIR has written, as a user does who trusts nobody, and takes it up with resume.
func TestSlurmByHand(t *testing.T) {
	t.Parallel()
	x := newTrial(t, accounted(t), setup{})
	dir := filepath.Join(x.work, "by_hand")
	x.submit("--dry-run="+dir).want(exitDone, "written; go on with submit resume")
	scripts, err := filepath.Glob(filepath.Join(dir, "scripts", "*-array-*.sbatch"))
	if err != nil || len(scripts) != 1 {
		t.Fatalf("scripts %q, %v", scripts, err)
	}
	x.cluster.Sbatch(t, "--wait", "--chdir="+x.dir, scripts[0])
	if done, _ := filepath.Glob(filepath.Join(dir, "results", "*.jsonl")); len(done) == 0 {
		t.Error("the jobs left no results")
	}
	p := x.subcommand("resume")
	p.want(exitDone, "7/7 tasks, 84/84 rows")
	x.whole()
	x.subcommand("logs").want(exitDone, "pocket--")
	x.submit("-r", dir).want(exitDone, "nothing to do")
	other := newTrial(t, x.cluster, setup{})
	other.submit().want(exitDone)
	x.begin(filepath.Join(bin, "submit"), nil, "plan", "diff", dir, other.run()).want(exitFailed, "84 rows can be reused, 0 are stale, 0 are new")
	here := x.begin(filepath.Join(bin, "submit"), nil, append(slices.Clone(x.args), "-r", dir)...)
	here.want(exitDone, "nothing to do") // rows of the cluster's serve this machine
}

// TestSlurmDebug shows the log of one job at a time while it runs.
func TestSlurmDebug(t *testing.T) {
	t.Parallel()
	x := newTrial(t, accounted(t), setup{spec: small})
	x.submit("--debug").want(exitDone, `msg="shard done" shard=pocket--pocket_cloze--`, "Starting inference process...")
	if text := readFile(t, filepath.Join(x.run(), "slurm", strings.Split(x.tokens(), ",")[0]+".sbatch")); !strings.Contains(text, "%1\n") {
		t.Errorf("more than one job at a time:\n%s", text)
	}
	x.whole()
}

// terminal gives a program a terminal, and what types on it.
func terminal(t *testing.T, cmd *exec.Cmd) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { tty.Close() })
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	return master
}

// TestSlurmCtrlC asks at Ctrl-C what is to become of the jobs, and does it.
func TestSlurmCtrlC(t *testing.T) {
	t.Parallel()
	for answer, says := range map[string]string{"c": "submit: interrupted; rows done are kept", "d": "submit: detached; "} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			x := newTrial(t, accounted(t), setup{env: loading("3s")})
			cmd := exec.Command(filepath.Join(bin, "submit"), append(slices.Clone(x.args), "--slurm")...)
			cmd.Env, cmd.Dir = append(append(os.Environ(), x.cluster.Env()...), x.env...), x.dir
			master := terminal(t, cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said := make(chan string)
			asked := make(chan bool, 1)
			go func() {
				var all bytes.Buffer
				part := make([]byte, 4096)
				for {
					n, err := master.Read(part)
					all.Write(part[:n])
					if strings.Contains(all.String(), "d or c? ") && len(asked) == 0 {
						asked <- true
					}
					if err != nil || strings.Contains(all.String(), says) {
						said <- all.String()
						return
					}
				}
			}()
			x.until("a run", func() bool { d, _ := filepath.Glob(filepath.Join(x.work, "*", "slurm", "*.id")); return len(d) > 0 })
			_, _ = master.WriteString("\x03")
			x.until("the question", func() bool { return len(asked) > 0 })
			_, _ = master.WriteString(answer + "\n")
			select {
			case text := <-said:
				if !strings.Contains(text, says) {
					t.Errorf("it said\n%s", text)
				}
			case <-time.After(patient):
				t.Fatal("it says nothing")
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			if n := len(x.queue()); answer == "c" && n > 0 || answer == "d" && n == 0 {
				t.Errorf("%d jobs are left", n)
			}
			x.subcommand("resume").want(exitDone)
			x.whole()
		})
	}
}
