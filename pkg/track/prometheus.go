package track

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
)

// RunMark stands for the run's name in the name of a Textfile.
const RunMark = "{run}"

// ErrHeld says that another run keeps the file.
var ErrHeld = errors.New("another run keeps it; write " + RunMark + " into its name, and each run has one of its own")

// Textfile is a file for node_exporter's textfile collector, which reads *.prom of one directory. One that runs may share is one run's at a time:
// whoever keeps it holds a lock on .NAME.lock beside it until Close, or its end.
type Textfile struct {
	Path   string
	shared bool
	lock   *os.File
}

// NewTextfile is a file of a run's: RunMark in its name is the run's.
func NewTextfile(path, run string) *Textfile {
	dir, name := filepath.Split(path)
	return &Textfile{Path: dir + strings.ReplaceAll(name, RunMark, run), shared: !strings.Contains(name, RunMark)}
}

// Write replaces the file by what is known of a run: readers see the whole of the old or of the new one. Everybody may read it. The directory
// must be there. A file that another run keeps is left alone, and ErrHeld.
func (f *Textfile) Write(r Run, now time.Time) error {
	dir := filepath.Dir(f.Path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w; name the directory that node_exporter reads", dir, fs.ErrNotExist)
	}
	if err := f.hold(); err != nil {
		return err
	}
	text, err := exposition(r, now)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if err := renameio.WriteFile(f.Path, text, 0o644, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("writing %s: %w", f.Path, err)
	}
	return nil
}

func (f *Textfile) hold() error {
	if f.lock != nil || !f.shared {
		return nil
	}
	dir, name := filepath.Split(f.Path)
	lock, err := os.OpenFile(dir+"."+name+".lock", os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", f.Path, ErrHeld)
		}
		return nil // a file system without locks
	}
	f.lock = lock
	return nil
}

// Close lets go of the file, which stays.
func (f *Textfile) Close() error {
	if f.lock == nil {
		return nil
	}
	lock := f.lock
	f.lock = nil
	return lock.Close()
}

// family is a metric and its samples. Help and type of a name never change: node_exporter wants them the same in every file.
type family struct {
	*dto.MetricFamily
}

// labels are names and values in turn.
func (f family) add(value float64, labels ...string) {
	m := &dto.Metric{}
	for i := 0; i < len(labels); i += 2 {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(labels[i]), Value: proto.String(strings.ToValidUTF8(labels[i+1], "?"))})
	}
	if f.GetType() == dto.MetricType_COUNTER {
		m.Counter = &dto.Counter{Value: proto.Float64(value)}
	} else {
		m.Gauge = &dto.Gauge{Value: proto.Float64(value)}
	}
	f.Metric = append(f.Metric, m)
}

// pageOf are the metrics of one run. Every sample has the run's name, so that files of several runs go together.
type pageOf struct {
	run string
	all []family
}

func (p *pageOf) metric(kind dto.MetricType, name, help string) func(value float64, labels ...string) {
	f := family{&dto.MetricFamily{Name: proto.String(name), Help: proto.String(help), Type: kind.Enum()}}
	p.all = append(p.all, f)
	return func(value float64, labels ...string) { f.add(value, slices.Concat([]string{"run", p.run}, labels)...) }
}

func (p *pageOf) gauge(name, help string) func(float64, ...string) {
	return p.metric(dto.MetricType_GAUGE, name, help)
}

func (p *pageOf) counter(name, help string) func(float64, ...string) {
	return p.metric(dto.MetricType_COUNTER, name, help)
}

// exposition is a run in the text format (prometheus.io/docs/instrumenting/exposition_formats).
func exposition(r Run, now time.Time) ([]byte, error) {
	p := &pageOf{run: r.Name}
	p.gauge("sextant_run_info", "What is evaluated, where and by what; always 1.")(1, "spec", r.Spec, "dir", r.Dir, "user", r.User,
		"scheduler", r.Scheduler, "version", r.Program)
	state := p.gauge("sextant_run_state", "1 for the state that the run is in, 0 for the others.")
	for _, s := range States {
		state(one(s == r.State), "state", string(s))
	}
	p.gauge("sextant_run_start_timestamp_seconds", "When the submit that wrote this began, in seconds since 1970.")(seconds(r.Began))
	p.gauge("sextant_run_updated_timestamp_seconds", "When this was written, in seconds since 1970.")(seconds(now))
	p.progress(r.Progress)
	p.scores(r.Scores)
	return written(p.all)
}

func (p *pageOf) progress(at Progress) {
	planned := p.gauge("sextant_rows_planned", "Rows of a dataset that a variant is evaluated on.")
	done := p.gauge("sextant_rows_done", "Rows that have a record.")
	for _, t := range at.Tasks {
		planned(float64(t.Rows), "variant", t.Variant, "dataset", t.Dataset)
		done(float64(t.Done), "variant", t.Variant, "dataset", t.Dataset)
	}
	shards := p.gauge("sextant_shards", "Shards by state.")
	for _, name := range slices.Sorted(maps.Keys(at.Shards)) {
		shards(float64(at.Shards[name]), "state", name)
	}
	p.counter("sextant_attempts_total", "Attempts at jobs since the run was begun.")(float64(at.Attempts))
	failures := p.counter("sextant_attempt_failures_total", "Attempts that ended badly, by the class of the reason that submit why tells.")
	for _, name := range slices.Sorted(maps.Keys(at.Failures)) {
		failures(float64(at.Failures[name]), "class", name)
	}
	p.counter("sextant_tokens_total", "Tokens put through models since this submit began.")(float64(at.Tokens))
}

// scores are in base units: a share is from 0 to 1.
func (p *pageOf) scores(list []Score) {
	ratio, perplexity := p.gauge("sextant_score_ratio", "Scores that are shares, from 0 to 1."),
		p.gauge("sextant_score_perplexity", "Scores that are perplexities.")
	ratioErr, perplexityErr := p.gauge("sextant_score_stderr_ratio", "Standard errors of scores that are shares."),
		p.gauge("sextant_score_stderr_perplexity", "Standard errors of scores that are perplexities.")
	rows := p.gauge("sextant_score_rows", "Rows that a score rests on; of a group, members.")
	missing := p.gauge("sextant_score_missing_rows", "Rows planned that have no part in a score; of a group, members.")
	for _, s := range list {
		labels := []string{"variant", s.Variant, "dataset", s.Dataset, "kind", kindOf(s), "metric", s.Metric}
		value, stderr, unit := perplexity, perplexityErr, 1.0
		if s.Percent {
			value, stderr, unit = ratio, ratioErr, 100
		}
		if s.Value != nil {
			value(*s.Value/unit, labels...)
		}
		if s.StdErr != nil {
			stderr(*s.StdErr/unit, labels...)
		}
		rows(float64(s.N), labels...)
		missing(float64(s.Missing), labels...)
	}
}

func written(all []family) ([]byte, error) {
	slices.SortFunc(all, func(a, b family) int { return cmp.Compare(a.GetName(), b.GetName()) })
	var out bytes.Buffer
	for _, f := range all {
		if len(f.Metric) == 0 {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&out, f.MetricFamily); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func kindOf(s Score) string {
	if s.Group {
		return "group"
	}
	return "dataset"
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
