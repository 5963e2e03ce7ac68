package dlcshim

import (
	"encoding/json"
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

// How long a job is in each of its first phases, and between being asked to end and being made to.
const (
	phase = 15 * time.Millisecond
	grace = 300 * time.Millisecond
)

func (s *shim) path(id, suffix string) string { return filepath.Join(s.dir, "jobs", id+suffix) }

// put writes a value whole.
func put(path string, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path+".tmp", text, 0o644)
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	return err
}

// begin makes a job and a process that looks after it.
func (s *shim) begin(j job) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := errors.Join(put(s.path(j.ID, ".state"), state{Status: "Creating"}), put(s.path(j.ID, ".json"), j)); err != nil {
		return err
	}
	cmd := exec.Command(self, "supervise", j.ID)
	cmd.Env = append(os.Environ(), envDir+"="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

func (s *shim) state(id string) state {
	var st state
	text, _ := os.ReadFile(s.path(id, ".state"))
	_ = json.Unmarshal(text, &st)
	return st
}

// supervise takes a job through its life.
func (s *shim) supervise(id string) int {
	var j job
	text, _ := os.ReadFile(s.path(id, ".json"))
	if json.Unmarshal(text, &j) != nil {
		return 1
	}
	st := state{Supervisor: os.Getpid()}
	to := func(status, code, message string) {
		st.Status, st.Code, st.Message = status, code, message
		_ = put(s.path(id, ".state"), st)
	}
	stopped := func() bool {
		_, err := os.Stat(s.path(id, ".stop"))
		return err == nil
	}
	for _, status := range []string{"Creating", "Queuing", "EnvPreparing"} {
		to(status, "", "")
		time.Sleep(phase)
		if stopped() {
			st.Finished = time.Now()
			to("Stopped", "JobStoppedByUser", "Job is stopped by user.")
			return 0
		}
	}
	log, err := os.Create(s.path(id, ".log"))
	if err != nil {
		return 1
	}
	cmd := exec.Command("/bin/sh", "-c", j.Command)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 1
	}
	st.Group, st.Running = cmd.Process.Pid, time.Now()
	to("Running", "", "")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	asked := time.Time{}
	for {
		select {
		case err = <-done:
			_ = syscall.Kill(-st.Group, syscall.SIGKILL) // the container is gone, and all that is in it
			st.Finished = time.Now()
			switch {
			case stopped():
				to("Stopped", "JobStoppedByUser", "Job is stopped by user.")
			case err != nil:
				to("Failed", "JobFailed", fmt.Sprintf("PyTorchJob %s is failed because 1 Master replica(s) failed.", id))
			default:
				to("Succeeded", "JobSucceeded", fmt.Sprintf("PyTorchJob %s is successfully completed.", id))
			}
			return 0
		case <-time.After(10 * time.Millisecond):
		}
		switch {
		case asked.IsZero() && stopped():
			asked = time.Now()
			to("Stopping", "", "")
			_ = syscall.Kill(st.Group, syscall.SIGTERM)
		case !asked.IsZero() && time.Since(asked) > grace:
			_ = syscall.Kill(-st.Group, syscall.SIGKILL)
		}
	}
}

// jobs lists the jobs, newest first, as the service does.
func (s *shim) jobs() []job {
	files, _ := filepath.Glob(filepath.Join(s.dir, "jobs", "*.json"))
	var all []job
	for _, path := range files {
		var j job
		if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &j) == nil {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, func(a, b job) int { return b.Created.Compare(a.Created) })
	return all
}

// shown is what is told of a job's state.
func (s *shim) shown(id string) state {
	st := s.state(id)
	var over []string
	if text, err := os.ReadFile(filepath.Join(s.dir, "show")); err == nil && json.Unmarshal(text, &over) == nil && len(over) == 3 && over[0] != "" {
		st.Status, st.Code, st.Message = over[0], over[1], over[2]
	}
	return st
}

func (s *shim) list(flags map[string]string, fault string) int {
	size, page := 10, 1
	if n, err := strconv.Atoi(flags["page_size"]); err == nil {
		size = min(n, 100)
	}
	if n, err := strconv.Atoi(flags["page_num"]); err == nil {
		page = n
	}
	since, _ := time.Parse(time.RFC3339, flags["start_time"])
	var rows [][]string
	for _, j := range s.jobs() {
		st := s.shown(j.ID)
		if fault == "hide" || !strings.Contains(j.Name, flags["display_name"]) || j.Workspace != flags["workspace_id"] || j.Created.Before(since) {
			continue
		}
		rows = append(rows, []string{j.Name, j.ID, j.Workspace, st.Status, stamp(j.Created), stamp(st.Finished)})
	}
	from := min((page-1)*size, len(rows))
	table([]string{"Name", "JobId", "WorkspaceId", "JobStatus", "CreateTime", "FinishTime"}, rows[from:min(from+size, len(rows))])
	return 0
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (s *shim) find(id string) (job, bool) {
	for _, j := range s.jobs() {
		if j.ID == id {
			return j, true
		}
	}
	return job{}, false
}

func (s *shim) get(id string) int {
	j, ok := s.find(id)
	if !ok {
		return fail("[FAILED] code: 404, Job " + id + " does not exist request id: 0F0F")
	}
	st := s.shown(id)
	text, _ := json.MarshalIndent(map[string]any{
		"JobId": j.ID, "DisplayName": j.Name, "JobType": "PyTorchJob", "Status": st.Status, "ReasonCode": st.Code, "ReasonMessage": st.Message,
		"GmtCreateTime": stamp(j.Created), "GmtRunningTime": stamp(st.Running), "GmtFinishTime": stamp(st.Finished), "UserCommand": j.Command,
		"Pods": []map[string]string{{"PodId": j.ID + "-master-0", "Type": "master"}},
	}, "", "   ")
	fmt.Println(string(text))
	return 0
}

func (s *shim) stop(id string, flags map[string]string) int {
	if _, sure := flags["force"]; !sure {
		fmt.Print("Are you sure? [y/n] ")
		return 1
	}
	if _, ok := s.find(id); !ok {
		return fail("[FAILED] code: 404, Job " + id + " does not exist request id: 0F0F")
	}
	switch st := s.state(id); st.Status {
	case "Succeeded", "Failed", "Stopped":
		return fail("[FAILED] code: 400, Job can't be stopped, because it is " + st.Status + " request id: 0F0F")
	}
	if err := os.WriteFile(s.path(id, ".stop"), nil, 0o644); err != nil {
		return fail(err.Error())
	}
	fmt.Printf("[OK] Job [%s] was stopped successfully\n", id)
	return 0
}

func (s *shim) logs(words []string) int {
	if len(words) != 3 || words[2] != words[1]+"-master-0" {
		return fail("[FAILED] code: 404, there is no such pod")
	}
	text, err := os.ReadFile(s.path(words[1], ".log"))
	if err != nil || len(text) == 0 {
		fmt.Println("[WARN] No logs found for the pod")
		return 0
	}
	os.Stdout.Write(text)
	return 0
}

// killAll ends the jobs and who looks after them.
func (l *Lab) killAll() {
	s := &shim{dir: l.Dir}
	for _, j := range s.jobs() {
		st := s.state(j.ID)
		for _, pid := range []int{st.Supervisor, -st.Group} {
			if pid < -1 || pid > 1 {
				if st.Finished.IsZero() {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
}
