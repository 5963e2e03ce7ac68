package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/spec"
)

// hash is the first n hex digits of the SHA-256 of v's JSON.
func hash(n int, v any) (string, error) {
	h := sha256.New()
	e := json.NewEncoder(h)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:n], nil
}

// settings digests what decides a row's outcome beside its prompt: the model, the mode and how it is decoded.
func settings(m *spec.Model, d *spec.Dataset, fingerprint, chat string) (string, error) {
	v := struct {
		Fingerprint string
		Mode        spec.Mode
		MaxSeqLen   int
		Truncate    string
		Gen         *spec.GenOptions
		Normalizing string
		Rolling     *spec.RollingOptions
		Options     bool   `json:",omitempty"` // ll: records measure the options; those of older versions do not
		Chat        string `json:",omitempty"` // it says what a turn ends with too
	}{Chat: chat, Fingerprint: fingerprint, Mode: d.Mode, MaxSeqLen: m.MaxSeqLen, Truncate: d.Truncate}
	switch d.Mode {
	case spec.PPL:
		v.Normalizing = d.PPL.Normalizing
	case spec.LL:
		v.Options = true
	case spec.Gen:
		gen := d.Gen
		if m.MaxOutLen > 0 {
			gen.MaxOutLen = min(gen.MaxOutLen, m.MaxOutLen)
		}
		v.Gen = &gen
	case spec.Rolling:
		v.Rolling = &d.Rolling
	}
	return hash(16, v)
}

// TaskDigest digests all that decides the records of a task's rows, of in only Data, Chat and a rolling dataset's Rows. Equal digests mean equal
// rows, so that one comparison serves for all; another one leaves the decision to each row's own digest. The limit is not in it, for a row
// does not depend on how many follow: but a window of a text does.
func TaskDigest(m *spec.Model, d *spec.Dataset, settings string, in TaskInput) (string, error) {
	v := struct {
		Settings string
		Data     string
		Windows  int
		Dataset  spec.Dataset
		Meta     *spec.MetaTemplate
		Chat     string `json:",omitempty"`
	}{Chat: in.Chat, Settings: settings, Data: in.Data, Dataset: inference(*d), Meta: m.MetaTemplate}
	if d.Mode == spec.Rolling {
		v.Windows = in.Rows
	}
	return hash(16, v)
}

// inference leaves of a dataset what reaches a record: names, scoring and places of files do not.
func inference(d spec.Dataset) spec.Dataset {
	d.Abbr, d.Base, d.Description, d.Source = "", "", "", ""
	d.Post, d.PostGold, d.Metric, d.CostFactor = nil, nil, "", 0
	d.Metrics, d.Cluster = nil, ""
	d.PPL.Denominator = ""
	d.Test = placeless(d.Test)
	if d.Train != nil {
		train := placeless(*d.Train)
		d.Train = &train
	}
	return d
}

// placeless keeps of a path the extension, which may decide the format.
func placeless(f spec.Files) spec.Files {
	f.Path, f.Labels = filepath.Ext(f.Path), filepath.Ext(f.Labels)
	return f
}

// identity digests what is asked: the tasks, their digests and rows, in whatever order, whatever the shard sizes and workers.
func identity(tasks []Task) string {
	var lines []string
	for _, t := range tasks {
		lines = append(lines, fmt.Sprintf("%q %s %d", t.ID, t.Digest, t.Rows))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:16])
}

// digestSize is the length of a plan's digest in hex digits.
const digestSize = 32

// digest is of the plan's JSON with an empty digest.
func digest(p *Plan) (string, error) {
	stated := p.Digest
	p.Digest = ""
	d, err := hash(digestSize, p)
	p.Digest = stated
	if err != nil {
		return "", fmt.Errorf("digesting the plan: %w", err)
	}
	return d, nil
}

// fileDigest is what digest gave for the plan in a file. It goes by the file's own bytes, so that a plan of a version with other fields
// verifies too.
func fileDigest(file []byte, stated string) (string, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, file); err != nil {
		return "", err
	}
	body := bytes.Replace(b.Bytes(), fmt.Appendf(nil, `"digest":%q`, stated), []byte(`"digest":""`), 1)
	sum := sha256.Sum256(append(body, '\n'))
	return hex.EncodeToString(sum[:])[:digestSize], nil
}
