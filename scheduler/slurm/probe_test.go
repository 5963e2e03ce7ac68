package slurm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sextant/scheduler"
)

// fakeCommands puts commands in the place of Slurm's. Each is a script for sh.
func fakeCommands(t *testing.T, commands map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range commands {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin-none:/bin-none")
}

const stock = `case $1 in
--version) echo "Welcome!"; echo "slurm-wlm 22.05.8";;
--help) echo "  -q, --qos=qos   quality of service";;
--test-only)
	while IFS= read -r line; do case $line in *--qos=auto|*--quotatype=auto) asked=${line#*--};; esac; done
	echo "a banner" >&2
	echo "sbatch: Job 6 to start at 2026-11-21T17:37:45 using 1 processors on nodes node1 in partition $asked" >&2;;
esac
`

func TestProbe(t *testing.T) {
	scontrol := `echo "MaxArraySize            = 100001"; echo "MaxJobCount = 5"`
	tests := []struct {
		sbatch, scontrol string
		want             features
	}{
		{stock, scontrol, features{maxArraySize: 100001, asked: true, version: "slurm-wlm 22.05.8"}},
		{strings.Replace(stock, "--qos=qos", "--quotatype=type", 1), "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
			features{quotatype: true, maxArraySize: 1001, version: "slurm-wlm 22.05.8"}},
		{"echo slurm 25.11.1", "echo MaxArraySize = many", features{asked: true, maxArraySize: 1001, version: "slurm 25.11.1"}},
	}
	for _, tt := range tests {
		fakeCommands(t, map[string]string{"sbatch": tt.sbatch, "scontrol": tt.scontrol})
		var c cli
		if got, err := c.probe(t.Context()); err != nil || got != tt.want {
			t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
		}
		if got, err := Quotatype(t.Context()); err != nil || got != tt.want.quotatype {
			t.Errorf("quotatype %v, %v", got, err)
		}
	}
	fakeCommands(t, map[string]string{"sbatch": `echo "sbatch: fatal: Could not establish a configuration source" >&2; exit 1`})
	var c cli
	if _, err := c.probe(t.Context()); !errors.Is(err, scheduler.ErrDown) || !strings.Contains(err.Error(), "SLURM_CONF") {
		t.Errorf("no configuration: %v", err)
	}
}

func TestForecast(t *testing.T) {
	o := Options{Ask: Ask{Quotatype: "auto"}}
	job := func(name string, gpus int) scheduler.Job {
		return scheduler.Job{Name: name, GPUs: gpus, Dir: "/", Args: []string{"/bin/true"}}
	}
	jobs := []scheduler.Job{job("a", 1), job("b", 2), job("c", 2)}
	fakeCommands(t, map[string]string{"sbatch": stock})
	start, text, err := Forecast(t.Context(), o, jobs)
	if want := time.Date(2026, 11, 21, 17, 37, 45, 0, time.Local); err != nil || !start.Equal(want) ||
		text != "a job would start at 2026-11-21T17:37:45 on node1 in partition qos=auto, with 1 CPUs" {
		t.Errorf("%v %q %v", start, text, err)
	}
	fakeCommands(t, map[string]string{"sbatch": strings.Replace(stock, "--qos=qos", "--quotatype=type", 1)})
	if _, text, err := Forecast(t.Context(), o, jobs); err != nil || !strings.Contains(text, "quotatype=auto") {
		t.Errorf("%q %v", text, err)
	}
	fakeCommands(t, map[string]string{
		"sbatch": `[ "$1" != --test-only ] || { echo "allocation failure: Requested node configuration is not available" >&2; exit 1; }`})
	if _, _, err := Forecast(t.Context(), o, jobs); !errors.Is(err, scheduler.ErrUnsatisfiable) {
		t.Errorf("a job that can never run: %v", err)
	}
	o.Ask.Partition = "a b"
	if _, _, err := Forecast(t.Context(), o, jobs); err == nil || !strings.Contains(err.Error(), "partition") {
		t.Errorf("a bad value: %v", err)
	}
	fakeCommands(t, nil)
	if _, _, err := Forecast(t.Context(), o, jobs); !errors.Is(err, ErrNoCluster) {
		t.Errorf("no sbatch: %v", err)
	}
	if _, err := Quotatype(t.Context()); !errors.Is(err, ErrNoCluster) {
		t.Errorf("no sbatch: %v", err)
	}
}

func TestReadForecast(t *testing.T) {
	for _, tt := range []struct{ said, want string }{
		{"sbatch: Job 6 to start at 2026-11-21T17:37:45 using 1 processors on nodes node1 in partition llmeval\n",
			"a job would start at 2026-11-21T17:37:45 on node1 in partition llmeval, with 1 CPUs"},
		{"sbatch: Job 6 to start at 2026-11-21T17:37:45 using 8 processors on node[1-2]\nsbatch:   Preempts: 5\n",
			"a job would start at 2026-11-21T17:37:45 on node[1-2], with 8 CPUs"},
		{"sbatch: Job 6 to start at Unknown using 1 processors on nodes (null) in partition p\n",
			"a job would start at Unknown on (null) in partition p, with 1 CPUs"},
		{"hello", ""},
		{"", ""},
	} {
		start, text, err := readForecast(tt.said)
		if text != tt.want || (err == nil) != (tt.want != "") || start.IsZero() != !strings.Contains(tt.want, "T17") {
			t.Errorf("%q: %v %q %v", tt.said, start, text, err)
		}
	}
}

// FuzzReadForecast holds that what sbatch says is read or refused, in one line.
func FuzzReadForecast(f *testing.F) {
	f.Add("sbatch: Job 6 to start at 2026-11-21T17:37:45 using 1 processors on nodes node1 in partition llmeval\n")
	f.Add("Job 1 to start at x using 1 processor on \r\x00")
	f.Fuzz(func(t *testing.T, said string) {
		start, text, err := readForecast(said)
		if (err == nil) == (text == "") || err != nil && !start.IsZero() || strings.ContainsAny(text, "\n\r\x00\x1b") {
			t.Errorf("%q: %v %q %v", said, start, text, err)
		}
	})
}
