package main

import (
	"slices"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/spec"

	"github.com/urfave/cli/v2"
)

// The groups of flags in --help, which lists them by name.
const (
	groupEvaluation = "Evaluation"
	groupLook       = "What is printed"
	groupShards     = "Shards and workers"
	groupSlurm      = "On Slurm"
	groupDLC        = "On Aliyun PAI's DLC"
	groupLocal      = "On this machine"
)

// keyed is a flag of the evaluation and the key of the spec that it wins over, if there is one.
type keyed struct {
	flag cli.Flag
	key  string
}

func evaluateFlags() []cli.Flag {
	var flags []cli.Flag
	for _, k := range keyedFlags() {
		flags = append(flags, k.flag)
	}
	return flags
}

func keyedFlags() []keyed {
	all := []keyed{
		{&cli.IntFlag{Name: "limit", DefaultText: "all", Usage: "only the first `N` rows of each dataset (in the spec: infer.limit)"}, "infer.limit"},
		{&cli.StringFlag{Name: "work-dir", Aliases: []string{"w"}, DefaultText: "outputs", Usage: "`DIR` where runs are made (work_dir)"}, "work_dir"},
		{&cli.StringFlag{Name: "reuse", Aliases: []string{"r"},
			Usage: "work in this `RUN` of the work dir (a name, a path; \"latest\" where none is named), reusing its rows"}, ""},
		{modeFlag(), ""},
		{&cli.IntFlag{Name: "retry", DefaultText: "2", Usage: "at most `N` further attempts of a failed shard (infer.retry)"}, "infer.retry"},
		{&cli.BoolFlag{Name: "debug", Usage: "one job at a time, its log to the terminal"}, ""},
		{codeFlag(), ""},
		{&cli.BoolFlag{Name: "lark", Aliases: []string{"l"},
			Usage: "tell a Lark (Feishu) bot how the run goes: that of [notify] in the spec, else the one at $" + larkURL}, ""},
		{muteFlag(), ""},
	}
	for i := range all {
		setCategory(all[i].flag, groupEvaluation)
	}
	for _, g := range []struct {
		category string
		flags    []keyed
	}{{groupLook, lookFlags()}, {groupShards, shardFlags()}, {groupSlurm, slurmFlags()}, {groupDLC, dlcFlags()}, {groupLocal, localFlags()}} {
		for _, k := range g.flags {
			setCategory(k.flag, g.category)
			all = append(all, k)
		}
	}
	return all
}

// modeFlag is the flag that chooses parts of the work.
func modeFlag() *cli.StringFlag {
	return &cli.StringFlag{Name: "mode", Aliases: []string{"m"}, Value: modeAll,
		Usage: "`PART` of the work: all; infer: no scores; eval: score what is there; viz: only rewrite the summary"}
}

func setCategory(f cli.Flag, category string) {
	switch f := f.(type) {
	case *cli.IntFlag:
		f.Category = category
	case *cli.StringFlag:
		f.Category = category
	case *cli.BoolFlag:
		f.Category, f.DisableDefaultText = category, true
	case *cli.StringSliceFlag:
		f.Category = category
	}
}

func lookFlags() []keyed {
	return []keyed{
		{&cli.StringFlag{Name: "dry-run",
			Usage: "print the plan and change nothing; with `[=DIR]` write it and its scripts to DIR, to be submitted by hand"}, ""},
		{&cli.BoolFlag{Name: "show-scripts", Usage: "with --dry-run and Slurm: print every batch script after the plan"}, ""},
		{jsonFlag("print one JSON document in the place of the table: the scores, of --dry-run the plan"), ""},
	}
}

func shardFlags() []keyed {
	return []keyed{
		{&cli.IntFlag{Name: "max-num-workers", DefaultText: "1", Usage: "at most `N` jobs at once (infer.max_num_workers)"}, "infer.max_num_workers"},
		{&cli.IntFlag{Name: "max-partition-size", DefaultText: "2000",
			Usage: "`COST` a shard may have, in OpenCompass units (infer.max_partition_size)"}, "infer.max_partition_size"},
		{&cli.IntFlag{Name: "gen-task-coef", DefaultText: "20", Usage: "`COST` of a generated row (infer.gen_task_coef)"}, "infer.gen_task_coef"},
		{&cli.StringFlag{Name: "partition", DefaultText: "size",
			Usage: "the `WAY` tasks are cut: by \"size\", or into as many parts as \"workers\" (infer.partition). Slurm's partition is -p"}, "infer.partition"},
	}
}

func slurmFlags() []keyed {
	text := func(name, usage string, aliases ...string) keyed {
		key := "slurm." + strings.ReplaceAll(name, "-", "_")
		return keyed{&cli.StringFlag{Name: name, Aliases: aliases, Usage: usage + " (" + key + ")"}, key}
	}
	part := text("slurm-partition", "`PARTITION` of the cluster", "p")
	part.key = "slurm.partition"
	part.flag.(*cli.StringFlag).Usage = "`PARTITION` of the cluster (slurm.partition)"
	return []keyed{
		{&cli.BoolFlag{Name: "slurm",
			Usage: "run the jobs on a Slurm cluster (infer.scheduler = \"slurm\"); --slurm=false: on this machine, whatever the spec says"}, ""},
		part,
		text("quotatype", "`TYPE` of quota: --quotatype where sbatch knows it, else --qos", "q"),
		text("qos", "`NAME` of a quality of service"),
		text("account", "`ACCOUNT` that is charged", "A"),
		text("reservation", "`NAME` of a reservation"),
		text("time", "`LIMIT` of a job, \"4:00:00\"; without one by the plan's estimate"),
		text("mem", "`MEMORY` on each node, \"64G\""),
		{&cli.IntFlag{Name: "cpus", DefaultText: "4 without GPUs, else the cluster's",
			Usage: "`N` CPUs of each process (slurm.cpus)"}, "slurm.cpus"},
		{&cli.StringFlag{Name: "gpu-option", DefaultText: "gres",
			Usage: "the `WAY` GPUs are asked for: gres, gpus, gpus-per-node or none (slurm.gpu_option)"}, "slurm.gpu_option"},
		text("gpu-type", "`TYPE` of GPU, \"h100\""),
		text("constraint", "`FEATURES` a node must have", "C"),
		text("nodelist", "`NODES` to use"),
		text("exclude", "`NODES` never to use"),
		text("comment", "`TEXT` that everybody on the cluster can read"),
		{&cli.StringSliceFlag{Name: "sbatch-option",
			Usage: "a further `OPTION` of sbatch, --sbatch-option=--nice=100; may be repeated, and replaces slurm.extra"}, "slurm.extra"},
		{&cli.BoolFlag{Name: "one-shard-per-job",
			Usage: "a job ends after the shards the plan gave it (slurm.one_shard_per_job)"}, "slurm.one_shard_per_job"},
		{&cli.BoolFlag{Name: "no-requeue", Usage: "Slurm must not start a job again by itself (slurm.no_requeue)"}, "slurm.no_requeue"},
		{&cli.BoolFlag{Name: "detach", Usage: "leave when the jobs are queued; one more job gathers their results"}, ""},
	}
}

func dlcFlags() []keyed {
	return []keyed{
		{&cli.BoolFlag{Name: "dlc", Usage: "run the jobs on Aliyun PAI's DLC (infer.scheduler = \"dlc\")"}, ""},
		{&cli.StringFlag{Name: "aliyun-cfg", Usage: "OpenCompass's `FILE` of settings for DLC, in the place of the spec's [dlc]"}, ""},
	}
}

func localFlags() []keyed {
	return []keyed{
		{&cli.IntFlag{Name: "threads", DefaultText: "this machine's, divided among the workers",
			Usage: "`N` CPU threads a worker (local.threads)"}, "local.threads"},
		{&cli.StringFlag{Name: "worker", Usage: "the worker `BINARY` (local.worker)"}, "local.worker"},
	}
}

// overrides are the flags that were given, each with the key of the spec it wins over.
func overrides(c *cli.Context) []spec.Override {
	var out []spec.Override
	add := func(key, flag string, value any) {
		out = append(out, spec.Override{Key: key, Value: value, From: "--" + flag})
	}
	for _, k := range keyedFlags() {
		flag := k.flag.Names()[0]
		switch {
		case !c.IsSet(flag):
		case flag == "slurm":
			add("infer.scheduler", flag, map[bool]string{true: "slurm", false: "local"}[c.Bool(flag)])
		case flag == "dlc":
			add("infer.scheduler", flag, map[bool]string{true: "dlc", false: "local"}[c.Bool(flag)])
		case flag == "debug":
			if c.Bool(flag) {
				add("infer.max_num_workers", flag, 1)
			}
		case k.key != "":
			add(k.key, flag, valueOf(c, k.flag))
		}
	}
	return out
}

func valueOf(c *cli.Context, f cli.Flag) any {
	name := f.Names()[0]
	switch f.(type) {
	case *cli.IntFlag:
		return c.Int(name)
	case *cli.BoolFlag:
		return c.Bool(name)
	case *cli.StringSliceFlag:
		return c.StringSlice(name)
	}
	return c.String(name)
}

// bareFlags gives flags that may stand alone their value: -r, as OpenCompass's users write it, --dry-run and --html.
func bareFlags(args []string) []string {
	var out []string
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		if slices.Contains([]string{"--dry-run", "-dry-run", "--html", "-html"}, a) {
			a += "="
		}
		out = append(out, a)
		if a != "-r" && a != "--reuse" {
			continue
		}
		if i+1 == len(args) || strings.HasPrefix(args[i+1], "-") || strings.HasSuffix(args[i+1], ".toml") {
			out = append(out, "latest")
		}
	}
	return out
}

// checkFlags refuses flags that contradict each other or would have no effect, before anything is read but the spec.
func checkFlags(c *cli.Context) error {
	if err := checkValues(c); err != nil {
		return err
	}
	dry := c.IsSet("dry-run")
	if dry && c.String("dry-run") == "" && c.NArg() > 1 {
		return cliargs.Usagef("unexpected argument %q; a directory to write to is given as --dry-run=DIR", c.Args().Get(1))
	}
	if c.Bool("show-scripts") && !dry {
		return cliargs.Usagef("--show-scripts goes with --dry-run: add that")
	}
	mode, err := modeOf(c)
	if err != nil {
		return err
	}
	for _, name := range []string{"dry-run", "detach"} {
		if c.IsSet(name) && (mode == modeEval || mode == modeViz) {
			return cliargs.Usagef("--%s is of no use with -m %s, which runs no job; leave one of them out", name, mode)
		}
	}
	if c.Bool("json") && !dry {
		if err := checkJSON(c, mode); err != nil {
			return err
		}
	}
	if c.Bool("detach") && c.Bool("debug") {
		return cliargs.Usagef("--debug shows the jobs' logs and --detach leaves before there are any; leave one of them out")
	}
	return checkCluster(c)
}

// checkJSON refuses --json of what ends without scores.
func checkJSON(c *cli.Context, mode string) error {
	switch {
	case mode == modeInfer:
		return cliargs.Usagef("--json prints scores, and -m infer makes none; leave one of them out (submit status DIR --json tells what is there)")
	case c.Bool("detach"):
		return cliargs.Usagef("--json prints scores, and --detach leaves before there are any; leave one of them out (submit status DIR --json looks)")
	}
	return nil
}

// checkCluster refuses flags of a cluster that is not used.
func checkCluster(c *cli.Context) error {
	if c.Bool("slurm") && c.Bool("dlc") {
		return cliargs.Usagef("--slurm and --dlc: the jobs run on one of them; leave one out")
	}
	flag, where := needsSlurm(c), ""
	if flag != "" || c.IsSet("aliyun-cfg") {
		where = whereOf(c)
	}
	switch {
	case flag == "detach" && where == "dlc", flag == "show-scripts" && where == "dlc":
	case flag != "" && where != "" && where != "slurm":
		return cliargs.Usagef("--%s is for a Slurm cluster, and these jobs run %s: add --slurm, or write scheduler = \"slurm\" under [infer] in the spec",
			flag, map[string]string{"local": "on this machine", "dlc": "on DLC"}[where])
	}
	if c.IsSet("aliyun-cfg") && where != "" && where != "dlc" {
		return cliargs.Usagef("--aliyun-cfg is for jobs on DLC: add --dlc, or write scheduler = \"dlc\" under [infer] in the spec")
	}
	return nil
}

// checkValues refuses a flag whose value is empty, most likely an unset variable of the shell, a partition of the wrong kind, and a bot that is told
// while nobody is.
func checkValues(c *cli.Context) error {
	for _, k := range keyedFlags() {
		name := k.flag.Names()[0]
		if _, text := k.flag.(*cli.StringFlag); text && k.key != "" && c.IsSet(name) && c.String(name) == "" {
			return cliargs.Usagef("--%s is empty; give it a value, or leave it out", name)
		}
	}
	if cut := c.String("partition"); cut != "" && cut != "size" && cut != "workers" {
		return cliargs.Usagef("--partition %q: it says how tasks are cut, \"size\" or \"workers\"; Slurm's partition is -p NAME", cut)
	}
	if c.Bool("lark") && c.Bool(noNotify) {
		return cliargs.Usagef("--lark tells a bot and --%s tells nobody; leave one of them out", noNotify)
	}
	return nil
}

// needsSlurm is the first flag given that only a cluster understands, "" when there is none.
func needsSlurm(c *cli.Context) string {
	for _, k := range slurmFlags() {
		if name := k.flag.Names()[0]; name != "slurm" && c.IsSet(name) {
			return name
		}
	}
	if c.Bool("show-scripts") {
		return "show-scripts"
	}
	return ""
}

// whereOf is the scheduler that the flags or the spec choose; "" of a spec that cannot be read: what is wrong with it is told later.
func whereOf(c *cli.Context) string {
	for _, flag := range []string{"slurm", "dlc"} {
		if c.IsSet(flag) && c.Bool(flag) {
			return flag
		}
		if c.IsSet(flag) {
			return "local"
		}
	}
	path, err := specPath(c)
	if err != nil {
		return ""
	}
	catalog, err := dataset.NewCatalog()
	if err != nil {
		return ""
	}
	var over []spec.Override
	if cfg := c.String("aliyun-cfg"); cfg != "" {
		if over, err = spec.Aliyun(cfg); err != nil {
			return ""
		}
	}
	s, err := spec.Load(path, spec.Options{Catalog: catalog, Overrides: over})
	if err != nil {
		return ""
	}
	return s.Infer.Scheduler
}
