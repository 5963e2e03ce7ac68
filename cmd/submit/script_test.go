package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"sextant/internal/dlcshim"
	"sextant/internal/mlflowlab"
	"sextant/internal/slurmlab"
	"sextant/internal/smalldisk"
	"sextant/pkg/sandbox"
	"sextant/pkg/track"

	"github.com/rogpeppe/go-internal/testscript"
)

// bin holds the two real binaries, built once: submit without cgo, as it is shipped.
var bin string

func TestMain(m *testing.M) {
	sandbox.Main()
	if os.Getenv(asSubmit) != "" {
		os.Exit(submitWithPoints())
	}
	smalldisk.Enter()
	code, err := withBinaries(func() int { return slurmlab.Main(m) })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withBinaries(run func() int) (int, error) {
	dir, err := os.MkdirTemp("", "sextant-bin-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	for name, cgo := range map[string]string{"submit": "0", "worker": "1"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), "sextant/cmd/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	if err := dlcshim.Build(dir); err != nil {
		return 1, err
	}
	bin = dir
	return run(), nil
}

// pocket is the embedded example: model, data, goldens.
func pocket() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "examples", "pocket")
}

// TestScripts runs the command line as a user does; each testdata/script/*.txt is one session.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("POCKET", pocket())
			env.Setenv("SOURCE", filepath.Dir(filepath.Dir(pocket())))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "net-namespace" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return exec.Command("unshare", "-rn", "true").Run() == nil, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": status,
			"mlflow": func(ts *testscript.TestScript, _ bool, _ []string) {
				lab := mlflowlab.New()
				ts.Defer(lab.Close)
				ts.Setenv(track.EnvURI, lab.URL)
			},
		},
	})
}

// status runs a command and wants exactly the exit code given first: status 2 submit ...
func status(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND [ARGS]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if err != nil {
		var ok bool
		if exit, ok = err.(*exec.ExitError); !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
