package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a batch shell with all that it started: they share its session.
type process struct {
	pid int
	log *os.File
}

// shell signals the batch shell alone.
func (p *process) shell(sig syscall.Signal) { _ = syscall.Kill(p.pid, sig) }

// all signals every process of the session, those with process groups of their own too.
func (p *process) all(sig syscall.Signal) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state parent group session
		f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(f) > 3 && string(f[3]) == strconv.Itoa(p.pid) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				_ = syscall.Kill(pid, sig)
			}
		}
	}
}

// launch starts the element's script as slurmd does. A log that cannot be written is a failure with no log at all.
func (c *Cluster) launch(e *element) error {
	a := e.array
	spool := filepath.Join(c.Dir, fmt.Sprintf("spool/%s/job%05d.%d", e.on[0].name, e.raw(), e.run))
	if err := os.MkdirAll(spool, 0o755); err != nil {
		return err
	}
	script := filepath.Join(spool, "slurm_script")
	if err := writeProgram(script, []byte(a.script)); err != nil {
		return err
	}
	mode := os.O_TRUNC
	if strings.HasPrefix(a.opts.values["open-mode"], "a") {
		mode = os.O_APPEND
	}
	log, err := os.OpenFile(e.logPath(), os.O_WRONLY|os.O_CREATE|mode, 0o666)
	if err != nil {
		return err
	}
	cmd := exec.Command(script, a.args...)
	cmd.Dir, cmd.Env = a.dir, c.jobEnv(e)
	if _, err := os.Stat(a.dir); err != nil {
		fmt.Fprintf(log, "slurmstepd-%s: error: couldn't chdir to `%s': No such file or directory: going to /tmp instead\n", e.on[0].name, a.dir)
		cmd.Dir = "/tmp"
	}
	cmd.Stdout, cmd.Stderr = log, log
	if path := a.opts.values["error"]; path != "" {
		stderr, err := os.OpenFile(filepath.Join(a.dir, e.pattern(path)), os.O_WRONLY|os.O_CREATE|mode, 0o666)
		if err != nil {
			return errors.Join(err, log.Close())
		}
		defer stderr.Close()
		cmd.Stderr = stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(log, "slurmstepd-%s: error: execve(): %s: %v\n", e.on[0].name, script, err)
		_ = log.Close()
		c.finish(e, "FAILED", "2:0")
		return nil
	}
	p, run := &process{pid: cmd.Process.Pid, log: log}, e.run
	e.proc = p
	c.procs.Add(1)
	go func() {
		defer c.procs.Done()
		c.reap(e, run, p, cmd)
	}()
	return nil
}

// writeProgram writes a program that can be run at once: a process forked while the descriptor is open for writing would keep the file busy.
func writeProgram(path string, text []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, text, 0o700)
}

// reap waits for the batch shell; when it is gone Slurm kills what it left behind.
func (c *Cluster) reap(e *element, run int, p *process, cmd *exec.Cmd) {
	_ = cmd.Wait()
	p.all(syscall.SIGKILL)
	_ = p.log.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.run != run || e.proc != p {
		return // another run has begun without waiting for this one
	}
	e.proc = nil
	if e.completing { // it was killed, and its end is already told
		e.completing = false
		e.note(true)
		c.release(e)
		if e.requeueAtEnd {
			c.again(e)
		}
		c.kick()
		return
	}
	state, exit := "COMPLETED", "0:0"
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled():
		state, exit = "FAILED", fmt.Sprintf("0:%d", status.Signal())
		e.reason = "NonZeroExitCode"
	case status.ExitStatus() != 0:
		state, exit = "FAILED", fmt.Sprintf("%d:0", status.ExitStatus())
		e.reason = "NonZeroExitCode"
	}
	c.finish(e, state, exit)
}

// kill ends a running element as the controller does: SIGTERM to all, SIGKILL after KillWait; its state is told at once.
func (c *Cluster) kill(e *element, state, exit, why string) {
	p := e.proc
	if p == nil {
		c.finish(e, state, exit)
		return
	}
	fmt.Fprintf(p.log, "slurmstepd-%s: error: *** JOB %d ON %s CANCELLED AT %s%s ***\n", e.on[0].name, e.raw(), e.on[0].name, stamp(time.Now(), ""), why)
	for _, t := range e.timers {
		t.Stop()
	}
	e.timers = nil
	e.state, e.exit, e.end, e.completing = state, exit, time.Now(), true
	p.all(syscall.SIGCONT)
	p.all(syscall.SIGTERM)
	c.later(e, c.o.seconds(c.o.KillWait), func() {
		if e.proc == p {
			p.all(syscall.SIGKILL)
		}
	})
}

// stop ends everything at the end of the test.
func (c *Cluster) stop() {
	c.mu.Lock()
	c.closed = true
	for _, p := range c.running() {
		p.all(syscall.SIGKILL)
	}
	c.mu.Unlock()
	c.procs.Wait()
}

// running returns every process that may live, those of runs that the controller has given up too.
func (c *Cluster) running() []*process {
	var out []*process
	for _, a := range c.arrays {
		for _, e := range a.elements {
			if e.proc != nil {
				out = append(out, e.proc)
			}
		}
	}
	return append(out, c.strays...)
}

// jobEnv is what a job finds in its environment.
func (c *Cluster) jobEnv(e *element) []string {
	a, o := e.array, c.o
	set := map[string]string{"SLURM_JOB_ID": strconv.Itoa(e.raw()), "SLURM_JOBID": strconv.Itoa(e.raw()), "SLURM_JOB_NAME": a.name,
		"SLURMD_NODENAME": e.on[0].name, "SLURM_JOB_NODELIST": e.node, "SLURM_NODELIST": e.node, "SLURM_NNODES": strconv.Itoa(len(e.on)),
		"SLURM_JOB_NUM_NODES": strconv.Itoa(len(e.on)), "SLURM_JOB_PARTITION": a.partition, "SLURM_JOB_QOS": a.qos, "SLURM_JOB_ACCOUNT": a.account,
		"SLURM_CPUS_ON_NODE": strconv.Itoa(a.need.cpus), "SLURM_CLUSTER_NAME": "lab", "SLURM_SUBMIT_DIR": a.dir, "SLURM_PROCID": "0",
		"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_TASKS_PER_NODE": "1", "SLURM_JOB_USER": userName(), "TMPDIR": "/tmp"}
	if v := a.opts.values["cpus-per-task"]; v != "" {
		set["SLURM_CPUS_PER_TASK"] = v
	}
	if v := a.opts.values["ntasks"]; v != "" {
		set["SLURM_NTASKS"], set["SLURM_NPROCS"] = v, v
	}
	if e.restarts > 0 {
		set["SLURM_RESTART_COUNT"] = strconv.Itoa(e.restarts)
	}
	if o.knows("23.02") {
		set["SLURM_JOB_START_TIME"] = strconv.FormatInt(e.start.Unix(), 10)
		set["SLURM_JOB_END_TIME"] = strconv.FormatInt(e.start.Add(a.limit).Unix(), 10)
	}
	if e.index >= 0 {
		last := len(a.elements) - 1
		set["SLURM_ARRAY_JOB_ID"], set["SLURM_ARRAY_TASK_ID"] = strconv.Itoa(a.id), strconv.Itoa(e.index)
		set["SLURM_ARRAY_TASK_COUNT"] = strconv.Itoa(last + 1)
		set["SLURM_ARRAY_TASK_MIN"], set["SLURM_ARRAY_TASK_MAX"] = strconv.Itoa(a.elements[0].index), strconv.Itoa(a.elements[last].index)
	}
	if len(e.gpus) > 0 {
		var ids []string
		for _, g := range e.gpus {
			ids = append(ids, strconv.Itoa(g))
		}
		all := strings.Join(ids, ",")
		set["CUDA_VISIBLE_DEVICES"], set["SLURM_JOB_GPUS"], set["SLURM_GPUS_ON_NODE"] = all, all, strconv.Itoa(len(ids))
	}
	env := a.exported()
	for k, v := range set {
		env = append(env, k+"="+v)
	}
	return env
}

// exported is what --export lets through of the submitter's environment.
func (a *array) exported() []string {
	keep := func(kv, name string) bool { return strings.HasPrefix(kv, name+"=") }
	choice := strings.Split(a.opts.get("export", "ALL"), ",")
	var out []string
	for _, kv := range a.env {
		all := slices.Contains(choice, "ALL") || slices.ContainsFunc(choice, func(name string) bool { return keep(kv, name) })
		if all || keep(kv, "PATH") || keep(kv, "HOME") || keep(kv, "USER") {
			out = append(out, kv)
		}
	}
	for _, kv := range choice {
		if strings.Contains(kv, "=") {
			out = append(out, kv)
		}
	}
	return out
}

// signalOption reads "B:USR1@60".
func signalOption(text string) (sig syscall.Signal, batch bool, lead int, ok bool) {
	name, at, has := strings.Cut(text, "@")
	lead = 60
	if has {
		n, err := strconv.Atoi(at)
		if err != nil || n < 0 {
			return 0, false, 0, false
		}
		lead = n
	}
	flags, rest, flagged := strings.Cut(name, ":")
	if flagged {
		batch, name = strings.Contains(flags, "B"), rest
	}
	sig, ok = signalNumber(name)
	return sig, batch, lead, ok
}

func signalNumber(name string) (syscall.Signal, bool) {
	known := map[string]syscall.Signal{"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT,
		"HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL, "CONT": syscall.SIGCONT, "STOP": syscall.SIGSTOP}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 64 {
		return syscall.Signal(n), true
	}
	sig, ok := known[strings.TrimPrefix(strings.ToUpper(name), "SIG")]
	return sig, ok
}

// kill leaves nothing of the process.
func (p *process) kill() { p.all(syscall.SIGKILL) }
