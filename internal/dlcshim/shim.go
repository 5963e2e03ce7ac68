// Package dlcshim is the command `dlc` of PAI's DLC for tests: as far as the scheduler uses it, it takes the arguments and prints the tables
// and the JSON that the real one is documented and seen to, keeps its jobs in a directory, and runs them as processes of this machine. Files
// in that directory tell it to fail.
package dlcshim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// envDir names the shim's state's directory.
const envDir = "SEXTANT_DLC_SHIM"

// Main is the command. It does not return.
func Main() {
	s := &shim{dir: os.Getenv(envDir)}
	os.Unsetenv(envDir) // it is not for jobs
	os.Exit(s.run(os.Args[1:]))
}

// built is the command, when Build has made it.
var built string

// Build makes the command in a directory, for Install. TestMain is to call it: a test binary itself would be slow to start.
func Build(dir string) error {
	built = filepath.Join(dir, "dlc-shim")
	if out, err := exec.Command("go", "build", "-o", built, "sextant/internal/dlcshim/dlc").CombinedOutput(); err != nil {
		return fmt.Errorf("building the stand-in of dlc: %w\n%s", err, out)
	}
	return nil
}

// Lab is a DLC of a test's own.
type Lab struct {
	Dir     string // its state
	Program string // the command
}

// Install makes a DLC. Its jobs are gone when the test ends.
func Install(t testing.TB) *Lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "dlc-shim")
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{Dir: dir, Program: filepath.Join(dir, "bin", "dlc")}
	script := fmt.Sprintf("#!/bin/sh\n%s='%s' exec '%s' \"$@\"\n", envDir, dir, built)
	for _, sub := range []string{"bin", "jobs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(l.Program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.killAll()
		os.RemoveAll(dir)
	})
	return l
}

// Fault has the next n calls of a command ("create", "get", "list", "stop", "logs") go wrong in a way:
//
//	refuse        it answers code 400
//	denied        it answers code 403, and names the access key
//	busy          it answers that it is asked too often
//	down          it cannot be reached
//	lost          it does what it is told, and the answer is lost
//	garbage       it does what it is told, and says something else
//	hide          of list: the jobs are not there
func (l *Lab) Fault(t testing.TB, command, way string, n int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(l.Dir, "fault-"+command), []byte(way+" "+strconv.Itoa(n)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Show has get and list print this status for all jobs, whatever they do, with a reason; "": the truth again.
func (l *Lab) Show(t testing.TB, status, code, message string) {
	t.Helper()
	text, _ := json.Marshal([]string{status, code, message})
	if err := os.WriteFile(filepath.Join(l.Dir, "show"), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Call is one call of the command.
type Call struct {
	Time time.Time
	Args []string
}

// Calls lists the calls there were, of a command or, for "", all.
func (l *Lab) Calls(t testing.TB, command string) []Call {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.Dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var calls []Call
	for line := range strings.Lines(string(text)) {
		var c Call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if command == "" || verb(c.Args) == command {
			calls = append(calls, c)
		}
	}
	return calls
}

// Jobs are the display names of the jobs that were made, by id.
func (l *Lab) Jobs(t testing.TB) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, j := range (&shim{dir: l.Dir}).jobs() {
		names[j.ID] = j.Name
	}
	return names
}

// job is a job as its file holds it.
type job struct {
	ID, Name, Workspace, Command, Image, Sources, GPU, CPU, Memory string
	Created                                                        time.Time
}

// state is what became of a job.
type state struct {
	Status, Code, Message      string
	Running, Finished          time.Time
	Supervisor, Group, Stopped int // process, process group; 1: it was asked to stop
}

type shim struct{ dir string }

// verb names a call.
func verb(args []string) string {
	switch words := strings.Join(args[:min(len(args), 2)], " "); {
	case words == "create job", words == "submit pytorchjob":
		return "create"
	case words == "stop job":
		return "stop"
	case words == "get job" && len(args) > 2 && !strings.HasPrefix(args[2], "-"):
		return "get"
	case words == "get job":
		return "list"
	case args[0] == "logs":
		return "logs"
	}
	return args[0]
}

func (s *shim) run(args []string) int {
	if len(args) == 2 && args[0] == "supervise" {
		return s.supervise(args[1])
	}
	if len(args) == 0 {
		return fail("Error: unknown command")
	}
	line, _ := json.Marshal(Call{time.Now(), args})
	if f, err := os.OpenFile(filepath.Join(s.dir, "calls"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err == nil {
		fmt.Fprintf(f, "%s\n", line)
		f.Close()
	}
	what := verb(args)
	flags, words := options(args)
	fault := s.fault(what)
	switch fault {
	case "refuse":
		return fail("[FAILED] code: 400, the parameter ResourceId is not valid request id: 0F0F")
	case "denied":
		return fail("[FAILED] code: 403, Forbidden.NoPermission: access_key=LTAI5tExampleKeyId00 may not do this request id: 0F0F")
	case "busy":
		return fail("[FAILED] code: 429, Throttling.User: Request was denied due to user flow control. request id: 0F0F")
	case "down":
		return fail("Post \"https://pai-dlc.example.com/api/v1/jobs\": dial tcp 10.0.0.1:443: connect: connection refused")
	}
	switch what {
	case "create":
		return s.create(flags, len(strings.Join(args, " ")), fault)
	case "list":
		return s.list(flags, fault)
	case "get":
		return s.get(words[2])
	case "stop":
		return s.stop(words[2], flags)
	case "logs":
		return s.logs(words)
	}
	return fail("Error: unknown command \"" + what + "\" for \"dlc\"")
}

func fail(text string) int {
	fmt.Fprintln(os.Stderr, text)
	return 1
}

// options parts flags, "--name=value" or "--name value", from words.
func options(args []string) (flags map[string]string, words []string) {
	flags = map[string]string{}
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "--")
		if !ok {
			words = append(words, args[i])
			continue
		}
		key, value, has := strings.Cut(name, "=")
		if !has && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			value = args[i]
		}
		flags[key] = value
	}
	return flags, words
}

// fault takes one of the faults that a test has ordered.
func (s *shim) fault(command string) string {
	path := filepath.Join(s.dir, "fault-"+command)
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	way, count, _ := strings.Cut(string(text), " ")
	n, _ := strconv.Atoi(count)
	if n--; n <= 0 {
		os.Remove(path)
	} else {
		_ = os.WriteFile(path, []byte(way+" "+strconv.Itoa(n)), 0o644)
	}
	return way
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,256}$`)

func (s *shim) create(flags map[string]string, size int, fault string) int {
	switch {
	case !validName.MatchString(flags["name"]):
		return fail("[FAILED] code: 400, DisplayName is not valid: at most 256 of letters, digits, _ . - request id: 0F0F")
	case size > 65536:
		return fail("[FAILED] code: 400, the request is larger than 65536 bytes request id: 0F0F")
	case flags["command"] == "" || flags["workspace_id"] == "":
		return fail("Error: required flag(s) \"command\", \"workspace_id\" not set")
	}
	j := job{ID: fmt.Sprintf("dlc%x", time.Now().UnixNano()), Name: flags["name"], Workspace: flags["workspace_id"], Command: flags["command"],
		Image: flags["worker_image"], Sources: flags["data_sources"], GPU: flags["worker_gpu"], CPU: flags["worker_cpu"],
		Memory: flags["worker_memory"], Created: time.Now()}
	if err := s.begin(j); err != nil {
		return fail("[FAILED] code: 500, " + err.Error())
	}
	switch fault {
	case "lost":
		return fail("Post \"https://pai-dlc.example.com/api/v1/jobs\": EOF")
	case "garbage":
		fmt.Println("a new version of dlc is available")
		return 0
	}
	request, _ := json.MarshalIndent(map[string]any{"DisplayName": j.Name, "UserCommand": j.Command, "WorkspaceId": j.Workspace}, "", "   ")
	fmt.Println(string(request))
	table([]string{"JobId", "RequestId"}, [][]string{{j.ID, "71CB9CAA-87F6-5F8E-A38A-8D0E32F2559F"}})
	return 0
}

// table prints as the client does: heads in the middle, cells of at most 30 characters a line, on as many lines as it takes.
func table(heads []string, rows [][]string) {
	const most = 30
	width := make([]int, len(heads))
	var lines [][]string
	for _, r := range rows {
		for more := true; more; {
			more = false
			line := make([]string, len(r))
			for i, cell := range r {
				line[i] = cell[:min(len(cell), most)]
				r[i] = cell[len(line[i]):]
				more = more || r[i] != ""
				width[i] = max(width[i], len(line[i]))
			}
			lines = append(lines, line)
		}
	}
	rule := "+"
	for i, h := range heads {
		width[i] = max(width[i], len(h))
		rule += strings.Repeat("-", width[i]+2) + "+"
	}
	fmt.Println(rule)
	for i, h := range heads {
		left := (width[i] - len(h)) / 2
		fmt.Printf("| %*s%-*s ", left, "", width[i]-left, h)
	}
	fmt.Printf("|\n%s\n", rule)
	for _, line := range lines {
		for i, cell := range line {
			fmt.Printf("| %-*s ", width[i], cell)
		}
		fmt.Println("|")
	}
	fmt.Println(rule)
}
