package spec

import (
	"path/filepath"
	"strings"
)

// defaultSpec is the spec that a file is decoded over.
func defaultSpec() Spec {
	return Spec{
		WorkDir: "outputs",
		Infer:   Infer{Scheduler: "local", Partition: "size", MaxPartitionSize: 2000, MaxNumWorkers: 1, GenTaskCoef: 20, Retry: 2},
		Slurm:   Slurm{GPUOption: "gres", SignalLead: 60, PollMin: 20, PollMax: 120},
	}
}

func (m *Model) setDefaults() { m.RunCfg.setDefaults() }

func (r *RunCfg) setDefaults() { r.NumProcs = 1 }

func (g *Group) setDefaults() { g.Mean = "mean" }

// fill gives a model what its path says.
func (m *Model) fill() {
	if m.Abbr == "" {
		m.Abbr = lastElement(m.Path)
	}
	if m.TokenizerPath == "" {
		m.TokenizerPath = m.Path
	}
	if m.ChatTemplate == "none" { // undoes an included file's
		m.ChatTemplate, m.ChatArgs, m.ChatDate, m.System = "", nil, "", ""
	}
}

// WithDefaults is the dataset with every key that its mode uses written out. Load has done it to the datasets of a Spec; a catalog
// entry is kept as it is written, so that a default of one mode is not laid over another.
func (d Dataset) WithDefaults() Dataset {
	d.Test = d.Test.withDefaults()
	if d.Train != nil {
		train := d.Train.withDefaults()
		d.Train = &train
	}
	if d.Metric == "" {
		d.Metric = map[Mode]string{PPL: "accuracy", LL: "accuracy", CLP: "accuracy", Gen: "exact_match", Rolling: "perplexity"}[d.Mode]
	}
	setDefault(&d.FewShot.Kind, "none")
	if d.Mode == Rolling {
		d.Rolling = d.Rolling.withDefaults()
		return d
	}
	setDefault(&d.Truncate, "error")
	if d.Prompt.Separator == nil {
		newline := "\n"
		d.Prompt.Separator = &newline
	}
	switch d.Mode {
	case PPL:
		setDefault(&d.PPL.Denominator, "n")
	case LL, CLP:
		setDefault(&d.Prompt.Choice, " {choice}")
	case Gen:
		setDefault(&d.Gen.MaxOutLen, 50)
	}
	return d
}

func (r RollingOptions) withDefaults() RollingOptions {
	setDefault(&r.SeqLen, 2048)
	setDefault(&r.Convention, "gptq")
	setDefault(&r.Join, "\n\n")
	if r.Convention == "sliding" {
		setDefault(&r.Stride, r.SeqLen/2)
	}
	return r
}

var formats = map[string]string{
	".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
	".txt": "text", ".text": "text", ".raw": "text", ".tokens": "text", ".xml": "xml",
}

// FormatOf is the format that a file's extension tells, whether it is gzipped (.gz) or not; "": it tells none.
func FormatOf(path string) string {
	path = strings.ToLower(path)
	return formats[filepath.Ext(strings.TrimSuffix(path, ".gz"))]
}

func (f Files) withDefaults() Files {
	setDefault(&f.Format, FormatOf(f.Path))
	switch f.Format {
	case "csv", "tsv":
		if f.Header == nil {
			header := len(f.Names) == 0
			f.Header = &header
		}
	case "text":
		setDefault(&f.Unit, "line")
	}
	if f.Labels != "" {
		setDefault(&f.LabelName, "label")
	}
	return f
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
