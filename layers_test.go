package sextant

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// floors gives each package its floor. A package may import only packages of lower floors. The names are below "sextant/".
var floors = map[string]int{
	"internal/browser":        0,
	"internal/clidoc":         1,
	"internal/cudalib":        0,
	"internal/dlcshim":        0,
	"internal/dlcshim/dlc":    1,
	"internal/goldens":        0,
	"internal/halves":         -1,
	"internal/mlflowlab":      0,
	"internal/points":         0,
	"internal/s3lab":          0,
	"internal/slurmlab":       0,
	"internal/smalldisk":      0,
	"internal/slurmlab/shim":  0,
	"pkg/result":              0,
	"pkg/spec":                0,
	"pkg/notify":              0,
	"pkg/track":               0,
	"pkg/cliargs":             0,
	"pkg/jinja":               0,
	"pkg/metric":              0,
	"pkg/objstore":            0,
	"pkg/packstore":           0,
	"pkg/pickle":              0,
	"pkg/pickle/pickletest":   0,
	"pkg/sandbox":             0,
	"pkg/sweep":               0,
	"pkg/qformat":             0,
	"pkg/quant":               3,
	"scheduler":               0,
	"kernels/ref":             0,
	"kernels/cpu":             0,
	"kernels/peak":            0,
	"kernels":                 1,
	"scheduler/schedulertest": 1,
	"scheduler/batch":         1,
	"scheduler/dlc":           2,
	"scheduler/local":         2,
	"scheduler/slurm":         2,
	"pkg/tokenizer":           1,
	"pkg/checkpoint":          1,
	"pkg/dataset":             1,
	"pkg/chat":                1,
	"pkg/calib":               2,
	"pkg/plan":                3,
	"pkg/model":               2,
	"pkg/pipeline":            4,
	"pkg/score":               4,
	"pkg/ocimport":            4,
	"pkg/engine":              3,
	"pkg/report":              5,
	"pkg/run":                 5,
	"pkg/worker":              5,
	"pkg/export":              6,
	"pkg/bench":               5,
	"cmd/submit":              7,
	"cmd/worker":              7,
}

// closed lists imports that must not be reached at all, even through others, with the reason.
var closed = []struct{ from, to, why string }{
	{"cmd/submit", "kernels", "submit is static and runs on login nodes without a C library of ours"},
	{"cmd/submit", "pkg/model", "submit never loads a model"},
	{"cmd/submit", "pkg/engine", "submit never runs a model"},
	{"cmd/submit", "pkg/worker", "the worker is a program of its own"},
	{"scheduler", "pkg/", "a scheduler knows jobs and states, nothing of evaluation"},
	{"scheduler/dlc", "pkg/", "a scheduler knows jobs and states, nothing of evaluation"},
	{"scheduler/local", "pkg/", "a scheduler knows jobs and states, nothing of evaluation"},
	{"scheduler/slurm", "pkg/", "a scheduler knows jobs and states, nothing of evaluation"},
	{"kernels", "pkg/", "kernels know shapes, nothing of models"},
	{"cmd/worker", "pkg/run", "a worker does one job; the run is the submitter's"},
	{"cmd/worker", "scheduler", "a worker does one job; the run is the submitter's"},
}

type pkg struct {
	ImportPath, Doc string
	Imports, Deps   []string
}

const module = "sextant/"

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,Deps", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestImportsGoDown holds the picture of docs/architecture.md against the code.
func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		name, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok || strings.HasPrefix(name, "examples/") {
			continue
		}
		floor, ok := floors[name]
		if !ok && !strings.Contains(name, "/internal/") && !strings.Contains(name, "/testdata/") {
			t.Errorf("%s has no floor: give it one in layers_test.go and its place in docs/architecture.md", name)
			continue
		}
		for _, imp := range p.Imports {
			if below, ok := floors[strings.TrimPrefix(imp, module)]; ok && below >= floor && strings.HasPrefix(imp, module) {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", name, floor, imp, below)
			}
			if imp == "C" && !strings.HasPrefix(name, "kernels") {
				t.Errorf("%s imports \"C\": only kernels may", name)
			}
		}
		for _, c := range closed {
			for _, dep := range p.Deps {
				if name == c.from && strings.HasPrefix(dep+"/", module+c.to) {
					t.Errorf("%s reaches %s: %s", name, dep, c.why)
				}
			}
		}
	}
}

// TestEveryPackageSaysWhatItIsFor asks a doc comment of every package.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.Doc) < 20 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
