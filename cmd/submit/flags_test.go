package main

import (
	"context"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/cliargs"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

// parse runs f where the command would run, with a command line parsed as submit does it.
func parse(t *testing.T, line []string, f func(*cli.Context) error) error {
	t.Helper()
	e := env{args: append([]string{"submit"}, line...), stdout: io.Discard, stderr: io.Discard}
	app := e.app()
	app.Action = f
	cliargs.Harden(app)
	app.OnUsageError = func(c *cli.Context, err error, _ bool) error { return explain(err, c.App.Flags, elsewhere) }
	args, err := cliargs.Reorder(app, bareFlags(e.args))
	if err != nil {
		return err
	}
	return app.RunContext(context.Background(), args)
}

// TestOverrides holds what each flag means in the spec. A flag with a key of its own that is missing here fails the test.
func TestOverrides(t *testing.T) {
	all := map[string]bool{}
	for _, k := range keyedFlags() {
		all[k.flag.Names()[0]] = true
	}
	for _, c := range []struct {
		line []string
		want []spec.Override
	}{
		{[]string{"eval.toml"}, nil},
		{[]string{"eval.toml", "--slurm", "-p", "llmeval", "-q", "auto", "--max-num-workers", "32", "--max-partition-size", "4000"}, []spec.Override{
			{Key: "infer.max_num_workers", Value: 32, From: "--max-num-workers"}, {Key: "infer.max_partition_size", Value: 4000, From: "--max-partition-size"},
			{Key: "infer.scheduler", Value: "slurm", From: "--slurm"}, {Key: "slurm.partition", Value: "llmeval", From: "--slurm-partition"},
			{Key: "slurm.quotatype", Value: "auto", From: "--quotatype"}}},
		{[]string{"--slurm=false"}, []spec.Override{{Key: "infer.scheduler", Value: "local", From: "--slurm"}}},
		{[]string{"--dlc", "--aliyun-cfg", "a.py"}, []spec.Override{{Key: "infer.scheduler", Value: "dlc", From: "--dlc"}}},
		{[]string{"--partition", "workers", "--gen-task-coef=3", "--retry", "0", "--limit", "5"}, []spec.Override{
			{Key: "infer.limit", Value: 5, From: "--limit"}, {Key: "infer.retry", Value: 0, From: "--retry"},
			{Key: "infer.gen_task_coef", Value: 3, From: "--gen-task-coef"}, {Key: "infer.partition", Value: "workers", From: "--partition"}}},
		{[]string{"--qos", "normal", "-A", "nlp", "--reservation", "r", "--time", "4:00:00", "--mem", "64G", "--cpus", "8", "--gpu-option", "gpus", "--gpu-type", "h100",
			"-C", "a&b", "--nodelist", "n[1-2]", "--exclude", "n3", "--comment", "a b"}, []spec.Override{
			{Key: "slurm.qos", Value: "normal", From: "--qos"}, {Key: "slurm.account", Value: "nlp", From: "--account"},
			{Key: "slurm.reservation", Value: "r", From: "--reservation"}, {Key: "slurm.time", Value: "4:00:00", From: "--time"},
			{Key: "slurm.mem", Value: "64G", From: "--mem"}, {Key: "slurm.cpus", Value: 8, From: "--cpus"},
			{Key: "slurm.gpu_option", Value: "gpus", From: "--gpu-option"}, {Key: "slurm.gpu_type", Value: "h100", From: "--gpu-type"},
			{Key: "slurm.constraint", Value: "a&b", From: "--constraint"}, {Key: "slurm.nodelist", Value: "n[1-2]", From: "--nodelist"},
			{Key: "slurm.exclude", Value: "n3", From: "--exclude"}, {Key: "slurm.comment", Value: "a b", From: "--comment"}}},
		{[]string{"--sbatch-option=--nice=100", "--sbatch-option", "--licenses=a:1,b:2", "--one-shard-per-job", "--no-requeue", "--detach", "--allow-code-execution"}, []spec.Override{
			{Key: "slurm.extra", Value: []string{"--nice=100", "--licenses=a:1,b:2"}, From: "--sbatch-option"},
			{Key: "slurm.one_shard_per_job", Value: true, From: "--one-shard-per-job"}, {Key: "slurm.no_requeue", Value: true, From: "--no-requeue"}}},
		{[]string{"--threads", "2", "--worker", "w", "-w", "runs", "--debug", "-r", "-m", "infer", "--dry-run", "--show-scripts", "--json",
			"-l", "--no-notify"}, []spec.Override{
			{Key: "work_dir", Value: "runs", From: "--work-dir"}, {Key: "infer.max_num_workers", Value: 1, From: "--debug"},
			{Key: "local.threads", Value: 2, From: "--threads"}, {Key: "local.worker", Value: "w", From: "--worker"}}},
	} {
		var got []spec.Override
		err := parse(t, c.line, func(ctx *cli.Context) error {
			got = overrides(ctx)
			for name := range all {
				if ctx.IsSet(name) {
					delete(all, name)
				}
			}
			return nil
		})
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v\n got %v\nwant %v", c.line, err, got, c.want)
		}
	}
	for name := range all {
		t.Errorf("--%s is not tested", name)
	}
}

// TestFlagsHaveKeys holds that each key of [slurm] with a flag's name is what the flag sets, and that no flag's key is unknown.
func TestFlagsHaveKeys(t *testing.T) {
	keys := map[string]bool{"work_dir": true}
	for prefix, v := range map[string]any{"infer.": spec.Infer{}, "local.": spec.Local{}, "slurm.": spec.Slurm{}} {
		s := reflect.TypeOf(v)
		for i := range s.NumField() {
			keys[prefix+s.Field(i).Tag.Get("toml")] = true
		}
	}
	for _, k := range keyedFlags() {
		if k.key != "" && !keys[k.key] {
			t.Errorf("--%s sets %s, which the spec does not have", k.flag.Names()[0], k.key)
		}
	}
}

func TestBareFlags(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"submit eval.toml -r", "submit eval.toml -r latest"},
		{"submit -r eval.toml", "submit -r latest eval.toml"},
		{"submit eval.toml -r --debug", "submit eval.toml -r latest --debug"},
		{"submit -r 20260801 eval.toml", "submit -r 20260801 eval.toml"},
		{"submit --dry-run eval.toml", "submit --dry-run= eval.toml"},
		{"submit --dry-run=x eval.toml", "submit --dry-run=x eval.toml"},
		{"submit -- --dry-run -r", "submit -- --dry-run -r"},
	} {
		if got := bareFlags(strings.Fields(c.in)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: got %q", c.in, got)
		}
	}
}

// TestHelp holds that every flag is in a group and says what it does.
func TestHelp(t *testing.T) {
	for _, k := range keyedFlags() {
		f := k.flag.(cli.DocGenerationFlag)
		if k.flag.(cli.CategorizableFlag).GetCategory() == "" || f.GetUsage() == "" {
			t.Errorf("--%s lacks a group or a text", k.flag.Names()[0])
		}
		if k.key != "" && !strings.Contains(f.GetUsage(), k.key) {
			t.Errorf("--%s does not name its key %s: %q", k.flag.Names()[0], k.key, f.GetUsage())
		}
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{0: "-", -1: "-", 0.04: "0.0s", 12.34: "12.3s", 59.99: "60.0s", 61: "1m01s", 3600: "1h00m", 86400: "24h00m"} {
		if got := duration(seconds); got != want {
			t.Errorf("%v: got %q, want %q", seconds, got, want)
		}
	}
}
