package local

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

	"golang.org/x/sys/unix"

	"sextant/scheduler"
)

// parentFD is the first descriptor after the standard ones: where exec.Cmd puts its first extra file.
const parentFD = 3

// start runs a job in its own process group. The mutex is held.
func (s *Scheduler) start(j *job) {
	cmd, err := s.spawn(j)
	j.status = scheduler.Status{State: scheduler.Running, Started: time.Now()}
	if err != nil {
		go s.finish(j, scheduler.Status{State: scheduler.Failed, ExitCode: 126, Reason: err.Error()})
		return
	}
	j.pid = cmd.Process.Pid
	go func() { s.finish(j, reap(cmd)) }()
}

func (s *Scheduler) spawn(j *job) (*exec.Cmd, error) {
	log, err := os.OpenFile(j.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, fmt.Errorf("opening the job's log: %w", err)
	}
	defer log.Close()
	words := j.Words()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = j.Dir, s.environment(j), log, log
	cmd.ExtraFiles = []*os.File{s.parent}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the job: %w", err)
	}
	return cmd, nil
}

// reap waits for the process, ends what is left of its group and tells how it ended. The group is killed before the process is reaped:
// until then nothing else can have its number.
func reap(cmd *exec.Cmd) scheduler.Status {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	signalGroup(cmd.Process.Pid, syscall.SIGKILL)
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return scheduler.Status{State: scheduler.Failed, ExitCode: 1, Reason: err.Error()}
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ws.Signaled():
		return scheduler.Status{State: scheduler.Failed, Signal: int(ws.Signal()), Reason: signalReason(ws.Signal())}
	case ws.ExitStatus() != 0:
		return scheduler.Status{State: scheduler.Failed, ExitCode: ws.ExitStatus(), Reason: fmt.Sprintf("exit code %d", ws.ExitStatus())}
	}
	return scheduler.Status{State: scheduler.Done}
}

func signalReason(sig syscall.Signal) string {
	reason := fmt.Sprintf("killed by signal %d (%s)", int(sig), sig)
	if sig == syscall.SIGKILL {
		reason += "; the kernel does so when memory runs out"
	}
	return reason
}

// signalGroup signals a process group; one that is gone is no error.
func signalGroup(pgid int, sig syscall.Signal) {
	if pgid > 1 {
		_ = syscall.Kill(-pgid, sig)
	}
}

// stop asks a process group to end and, after the grace, makes it.
func (s *Scheduler) stop(pgid int, done <-chan struct{}) {
	signalGroup(pgid, syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(s.opt.Grace):
		signalGroup(pgid, syscall.SIGKILL)
	}
}

// urge makes the processes of a dead submitter leave. They have had end of file on their pipe since it died; SIGTERM says it again to
// those that do not listen, and SIGKILL after the grace is for the rest.
func (s *Scheduler) urge(name string, pids []int) {
	s.mu.Lock()
	first, seen := s.orphans[name]
	if !seen {
		s.orphans[name] = time.Now()
	}
	s.mu.Unlock()
	sig := syscall.SIGTERM
	switch {
	case seen && time.Since(first) < s.opt.Grace:
		return
	case seen:
		sig = syscall.SIGKILL
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}

// forget notes that an orphan has left.
func (s *Scheduler) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.orphans, name)
	delete(s.foreign, name)
}

// alive finds the processes of this user that carry a job's name in their environment: those of every submitter, living or dead.
func alive() (map[string][]int, error) {
	entries, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, fmt.Errorf("looking for processes: %w", err)
	}
	found := map[string][]int{}
	for _, path := range entries {
		env, err := os.ReadFile(path) // a process may have gone, or be another user's: it is none of ours then
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if name, ok := lookup(env, "SEXTANT_JOB="); ok && err == nil {
			found[name] = append(found[name], pid)
		}
	}
	return found, nil
}

func lookup(env []byte, key string) (string, bool) {
	for _, kv := range bytes.Split(env, []byte{0}) {
		if v, ok := bytes.CutPrefix(kv, []byte(key)); ok {
			return string(v), true
		}
	}
	return "", false
}

func join(ids []string) string { return strings.Join(ids, ",") }

// VisibleGPUs lists the GPUs that may be used: those of CUDA_VISIBLE_DEVICES where it is set (as CUDA reads it: up to the first that is
// negative), else all that the driver shows.
func VisibleGPUs() []string {
	if v, ok := os.LookupEnv("CUDA_VISIBLE_DEVICES"); ok {
		ids := []string{}
		for id := range strings.SplitSeq(v, ",") {
			if id = strings.TrimSpace(id); id == "" || strings.HasPrefix(id, "-") {
				break
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	ids := []string{}
	for i := 0; ; i++ {
		if _, err := os.Stat("/dev/nvidia" + strconv.Itoa(i)); err != nil {
			return ids
		}
		ids = append(ids, strconv.Itoa(i))
	}
}
