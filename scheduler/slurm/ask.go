package slurm

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sextant/scheduler"
)

// form is what a value must look like before it may stand in a directive: nothing that sbatch would read as more than one word, as a comment,
// as a quote or as another option. Whoever fills Options checks first and tells the user where he wrote it; this is the last door.
//
// How long a value may be is counted and not part of the pattern: a regular expression with {0,254} takes a millisecond and a megabyte to make.
type form struct {
	is   *regexp.Regexp
	most int // bytes of the value; of an option, of what is behind "="; 0: as the pattern says
	name int // of an option: bytes before "=", dashes too
	says string
}

var (
	wordForm = form{regexp.MustCompile(`^[A-Za-z0-9_(\[][A-Za-z0-9_.,:=+@/&|*()\[\]!-]*$`), 255, 0,
		"at most 255 of A-Z a-z 0-9 _ . , : = + @ / & | * ( ) [ ] ! -, a letter, digit, _ ( or [ first"}
	textForm = form{regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.,:=+@/ -]*$`), 255, 0,
		"at most 255 of A-Z a-z 0-9 _ . , : = + @ / - and space, a letter, digit or _ first"}
	timeForm = form{regexp.MustCompile(
		`^([0-9]{1,7}|[0-9]{1,6}:[0-9]{1,2}|[0-9]{1,5}:[0-9]{1,2}:[0-9]{1,2}|[0-9]{1,4}-[0-9]{1,2}(:[0-9]{1,2}){0,2})$`), 0, 0,
		`minutes, "HH:MM:SS" or "D-HH:MM:SS"`}
	sizeForm   = form{regexp.MustCompile(`^[0-9]{1,12}[KMGT]?$`), 0, 0, `a number of MiB, or with K, M, G or T: "64G"`}
	optionForm = form{regexp.MustCompile(`^--[a-z][a-z0-9-]+(=[A-Za-z0-9_.,:=+@/&|*()\[\]!-]*)?$`), 254, 43,
		`"--name" or "--name=value", without quotes or spaces`}
	nodeForm = form{regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`), 255, 0, "the name of a node"}
	// A name is a job's name, a file's name and a field of a list file in one.
	nameForm = form{regexp.MustCompile(`^[A-Za-z0-9_+][A-Za-z0-9._+=,@:-]*$`), 200, 0,
		"at most 200 of A-Z a-z 0-9 . _ + = , @ : -, a letter, digit, _ or + first"}
	tailForm = form{regexp.MustCompile(`^[A-Za-z0-9_./+=,@:%-]+$`), 1000, 0, "at most 1000 of A-Z a-z 0-9 _ . / + = , @ : % -"}
	// A log's path that is not of this form is left out: then sbatch chooses one.
	logForm = form{regexp.MustCompile(`^[A-Za-z0-9_./+][A-Za-z0-9_./+=,@:-]*$`), 1000, 0, ""}
)

func (f form) fits(value string) bool {
	if !f.is.MatchString(value) {
		return false
	}
	if f.name > 0 {
		var name string
		if name, value, _ = strings.Cut(value, "="); len(name) > f.name {
			return false
		}
	}
	return f.most == 0 || len(value) <= f.most
}

// check is an error that names what was given when a value has not the form.
func (f form) check(what, value string) error {
	if f.fits(value) {
		return nil
	}
	if len(value) > 80 {
		value = value[:80] + "..."
	}
	return fmt.Errorf("%s %q cannot be given to sbatch: write %s", what, value, f.says)
}

// directives collects the options of a script. The first bad value stays.
type directives struct {
	lines []string
	err   error
}

// add adds --name=value when there is a value, and it has the form.
func (d *directives) add(name, value string, f form) {
	if value == "" {
		return
	}
	if err := f.check(name, value); err != nil {
		d.fail(err)
		return
	}
	if strings.Contains(value, " ") {
		value = `"` + value + `"`
	}
	d.lines = append(d.lines, "--"+name+"="+value)
}

// flag adds an option of our own making.
func (d *directives) flag(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *directives) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// ask gives the options by which job j is asked for under the name given, without those that say where its output goes.
func (o *Options) ask(name string, j scheduler.Job, f features) (*directives, error) {
	a, d := o.Ask, &directives{}
	d.add("job-name", name, nameForm)
	d.add("partition", a.Partition, wordForm)
	d.quality(a, f)
	d.add("account", a.Account, wordForm)
	d.add("reservation", a.Reservation, wordForm)
	d.add("time", limitOf(a, j), timeForm)
	d.add("mem", memoryOf(a, j), sizeForm)
	if procs := max(j.Procs, 1); procs == 1 {
		d.flag("--ntasks=1")
		d.flag("--nodes=1")
	} else {
		d.flag("--ntasks=%d", procs)
	}
	if cpus := a.CPUs; cpus > 0 {
		d.flag("--cpus-per-task=%d", cpus)
	} else if j.Threads > 0 {
		d.flag("--cpus-per-task=%d", j.Threads)
	}
	d.gpus(a, j.GPUs)
	d.add("constraint", a.Constraint, wordForm)
	d.add("nodelist", a.Nodelist, wordForm)
	d.exclude(a.Exclude, j.Exclude)
	d.add("comment", a.Comment, textForm)
	d.signal(a, j)
	d.flag("--open-mode=append")
	if a.NoRequeue {
		d.flag("--no-requeue")
	} else {
		d.flag("--requeue")
	}
	d.extra(a)
	return d, d.err
}

// quality asks for a quotatype where sbatch knows such a thing, and for a QOS of that name elsewhere.
func (d *directives) quality(a Ask, f features) {
	qos := a.QOS
	switch {
	case f.quotatype:
		d.add("quotatype", a.Quotatype, wordForm)
	case qos == "":
		qos = a.Quotatype
	case a.Quotatype != "" && a.Quotatype != qos:
		d.fail(fmt.Errorf("quotatype %q would be a qos here, for this sbatch has no --quotatype, and qos is %q: leave out one", a.Quotatype, qos))
	}
	d.add("qos", qos, wordForm)
}

func (d *directives) gpus(a Ask, n int) {
	if n <= 0 {
		return
	}
	kind := ""
	if a.GPUType != "" {
		if err := nodeForm.check("gpu_type", a.GPUType); err != nil {
			d.fail(fmt.Errorf("gpu_type %q cannot be given to sbatch: write a name as `sinfo -o %%G` shows it, \"h100\"", a.GPUType))
			return
		}
		kind = a.GPUType + ":"
	}
	switch a.GPUOption {
	case "", "gres":
		d.flag("--gres=gpu:%s%d", kind, n)
	case "gpus", "gpus-per-node":
		d.flag("--%s=%s%d", a.GPUOption, kind, n)
	case "none":
	default:
		d.fail(fmt.Errorf("gpu_option %q is not known: write gres, gpus, gpus-per-node or none", a.GPUOption))
	}
}

// exclude joins the nodes that the user does not want and those that a job must not have again.
func (d *directives) exclude(never string, nodes []string) {
	if never != "" {
		if err := wordForm.check("exclude", never); err != nil {
			d.fail(err)
			return
		}
	}
	all := []string{never}
	if never == "" {
		all = nil
	}
	for _, node := range slices.Compact(slices.Sorted(slices.Values(nodes))) {
		if err := nodeForm.check("excluded node", node); err != nil {
			d.fail(err)
			return
		}
		all = append(all, node)
	}
	if len(all) > 0 {
		d.flag("--exclude=%s", strings.Join(all, ","))
	}
}

// signal asks for a warning before the time limit. Slurm may give it a minute early, so a job too short for that gets none: it would come
// before the job listens, and end it.
func (d *directives) signal(a Ask, j scheduler.Job) {
	lead := time.Duration(a.SignalLead) * time.Second
	switch limit, ok := duration(limitOf(a, j)); {
	case a.SignalLead < 0 || a.SignalLead > math.MaxUint16:
		d.fail(fmt.Errorf("signal_lead %d cannot be given to sbatch: write 0 to %d seconds", a.SignalLead, math.MaxUint16))
	case a.SignalLead == 0, ok && limit <= lead+time.Minute:
	default:
		d.flag("--signal=B:USR1@%d", a.SignalLead)
	}
}

// ours are the options that extra must not hold: with them a job would not be the one that was meant, would not be found again, or its log
// would not. What to do instead is said by whoever fills Options, who knows where each is asked for.
var ours = strings.Fields(`account array chdir clusters comment constraint cpus-per-task dependency error exclude export-file gid help ignore-pbs
	input job-name mem no-requeue nodelist nodes ntasks open-mode output parsable partition qos quotatype requeue reservation signal test-only
	time uid usage version wait wrap`)

// gpuOptions are the user's only when GPUs are not asked for by GPUOption.
var gpuOptions = []string{"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"}

// extra adds further options. They come last and so win over all others: none may be one of ours, nor what sbatch takes for one. It takes
// every beginning of an option's name that fits one option alone.
func (d *directives) extra(a Ask) {
	for _, option := range a.Extra {
		if err := optionForm.check("extra", option); err != nil {
			d.fail(err)
			return
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		for _, known := range ours {
			if known == name || strings.HasPrefix(known, name) && name != "export" {
				d.fail(fmt.Errorf("extra %q cannot be used: it would set --%s, which is decided elsewhere", option, known))
				return
			}
		}
		for _, known := range gpuOptions {
			if strings.HasPrefix(known, name) && a.GPUOption != "none" {
				d.fail(fmt.Errorf("extra %q cannot be used: GPUs are asked for by num_gpus of the model, or here with gpu_option = \"none\"", option))
				return
			}
		}
		d.lines = append(d.lines, option)
	}
}

// limitOf is the time limit as sbatch takes it, "" for none.
func limitOf(a Ask, j scheduler.Job) string {
	if a.Time != "" || j.Limit <= 0 {
		return a.Time
	}
	minutes := j.Limit / time.Minute
	if j.Limit%time.Minute != 0 {
		minutes++
	}
	return strconv.FormatInt(int64(minutes), 10)
}

// duration reads a time limit of timeForm. A limit of 0 is none.
func duration(text string) (time.Duration, bool) {
	if !timeForm.is.MatchString(text) {
		return 0, false
	}
	days, rest, dashed := strings.Cut(text, "-")
	if !dashed {
		days, rest = "0", text
	}
	units := []time.Duration{time.Minute, time.Second}
	if fields := strings.Count(rest, ":") + 1; dashed || fields == 3 {
		units = []time.Duration{time.Hour, time.Minute, time.Second}
	}
	n, _ := strconv.Atoi(days)
	total := time.Duration(n) * 24 * time.Hour
	for i, field := range strings.Split(rest, ":") {
		n, _ := strconv.Atoi(field)
		total += time.Duration(n) * units[i]
	}
	return total, total > 0
}

// memoryOf is the memory as sbatch takes it: what the user asks for, or what the job needs when that is more. A user's 0 is all of a node.
func memoryOf(a Ask, j scheduler.Job) string {
	need := max(j.Memory, 0) >> 20
	if j.Memory > need<<20 {
		need++
	}
	if need <= 0 || a.Mem != "" && (!sizeForm.is.MatchString(a.Mem) || mebibytes(a.Mem) == 0 || mebibytes(a.Mem) >= float64(need)) {
		return a.Mem
	}
	return strconv.FormatInt(need, 10) + "M"
}

// mebibytes reads a size of sizeForm.
func mebibytes(size string) float64 {
	number := strings.TrimRight(size, "KMGT")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0
	}
	return n * map[string]float64{"": 1, "K": 1. / 1024, "M": 1, "G": 1 << 10, "T": 1 << 20}[size[len(number):]]
}
