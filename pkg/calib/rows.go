package calib

import (
	"fmt"
	"strings"

	"sextant/pkg/dataset"
	"sextant/pkg/objstore"
	"sextant/pkg/spec"
)

// rows are the texts of a file.
type rows interface {
	len() int
	bytes() int64 // about what all the texts take
	text(i int) (string, error)
	close()
}

// open finds out how a file is read.
func open(c spec.Calib) (rows, error) {
	f := c.File
	if f.Path == "" {
		return nil, fmt.Errorf("no path is set for the text of %q: set calib.file", c.Name)
	}
	path, err := objstore.Path(f.Path)
	if err != nil {
		return nil, fmt.Errorf("the text: %w", err)
	}
	f.Path = path
	if strings.HasSuffix(f.Path, ".zst") {
		return nil, fmt.Errorf("%s: zstd files are not read: unpack it with zstd -d", f.Path)
	}
	if f.Format == "" {
		f.Format = spec.FormatOf(f.Path)
	}
	if f.Format == "text" && f.Unit == "" && c.Name == "wikitext2" {
		f.Unit = "hf-line" // so its rows are on the Hugging Face hub, from where GPTQ has them
	}
	lines := f.Format == "jsonl" && f.Labels == "" || f.Format == "text" && (f.Unit == "" || f.Unit == "line" || f.Unit == "hf-line")
	if lines && !strings.HasSuffix(f.Path, ".gz") {
		return openLines(f, c.Column)
	}
	return openTexts(f, c.Column)
}

// texts are a file's texts in memory.
type texts struct {
	all  []dataset.Document
	size int64
}

func openTexts(f spec.Files, column string) (rows, error) {
	d := spec.Dataset{
		Abbr: "of the calibration", Mode: spec.Rolling, Test: f,
		Rolling: spec.RollingOptions{Convention: "lm-eval"}, // each row is a text
	}
	if f.Format != "text" && column != "text" {
		d.Columns = map[string]spec.Column{"text": {From: column}}
	}
	set, err := dataset.Open(d, 0)
	if err != nil {
		return nil, err
	}
	t := &texts{all: set.Documents()}
	for _, d := range t.all {
		t.size += int64(d.Bytes)
	}
	return t, nil
}

func (t *texts) len() int                   { return len(t.all) }
func (t *texts) bytes() int64               { return t.size }
func (t *texts) text(i int) (string, error) { return t.all[i].Text, nil }
func (t *texts) close()                     {}
