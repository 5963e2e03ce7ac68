package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-multierror"

	"sextant/pkg/chat"
	"sextant/pkg/checkpoint"
	"sextant/pkg/dataset"
	"sextant/pkg/objstore"
	"sextant/pkg/result"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// UseStore makes the object store of a spec that of this process, of which models, tokenizers and datasets are opened by their addresses.
func UseStore(s spec.Spec) {
	objstore.Use(objstore.Options{Profiles: s.S3.Profiles, CacheDir: s.S3.CacheDir, CacheLimit: s.S3.CacheLimit})
}

// Survey opens every dataset, model, tokenizer and calibration text of a spec and gathers what Make needs. Nothing runs on bad input: all
// that is wrong is reported at once, as a multierror whose entries name the dataset, the model, or the model and the recipe.
func Survey(s spec.Spec) (Inputs, error) {
	v := surveyor{spec: &s, sets: map[string]*openSet{}, texts: map[string]calibText{}}
	v.datasets()
	var in Inputs
	for i := range s.Models {
		v.model(&s.Models[i], &in)
	}
	if err := v.errs.ErrorOrNil(); err != nil {
		return Inputs{}, err
	}
	return in, nil
}

// surveyor holds what was opened and what is wrong. The errors are unlike each other: one that several models run into is told once.
type surveyor struct {
	spec  *spec.Spec
	sets  map[string]*openSet
	texts map[string]calibText // by what decides them
	errs  *multierror.Error
}

type openSet struct {
	*dataset.Set
	digest string
	sizes  []uint32 // nil: rolling
}

func (v *surveyor) add(err error) {
	if v.errs != nil {
		for _, old := range v.errs.Errors {
			if old.Error() == err.Error() {
				return
			}
		}
	}
	v.errs = multierror.Append(v.errs, err)
}

func (v *surveyor) datasets() {
	for _, d := range v.spec.Datasets {
		set, err := dataset.Open(d, v.spec.Infer.Limit)
		if err != nil {
			v.add(err)
			continue
		}
		digest, err := set.Digest()
		if err != nil {
			v.add(err)
			continue
		}
		open := &openSet{Set: set, digest: digest}
		if d.Mode != spec.Rolling {
			open.sizes = set.Sizes()
		}
		v.sets[d.Abbr] = open
	}
}

// tasks surveys one model on every dataset that could be opened, for whatever variant.
func (v *surveyor) tasks(m *spec.Model, look *estimator) []TaskInput {
	var tasks []TaskInput
	for _, d := range v.spec.Datasets {
		set := v.sets[d.Abbr]
		if set == nil {
			continue
		}
		t := TaskInput{Dataset: d.Abbr, Data: set.digest, Prompt: dataset.PromptHash(d, look.roles), Chat: look.roles.ChatDigest(d.Mode)}
		look.data = d.WithDefaults()
		if err := look.task(&t, set); err != nil {
			v.add(err)
			continue
		}
		tasks = append(tasks, t)
	}
	return tasks
}

// task counts a task's rows and labels, and estimates its tokens.
func (e *estimator) task(t *TaskInput, set *openSet) (err error) {
	if e.data.Mode == spec.Rolling {
		w, err := Windows(e.data, set.Set, e.tok)
		if err != nil {
			return fmt.Errorf("dataset %s: %w", e.data.Abbr, err)
		}
		t.Rows, t.Estimate = len(w), windowSizes(w)
		return nil
	}
	t.Rows = set.Len()
	if t.Labels, err = countLabels(set.Set, e.roles); err != nil {
		return err
	}
	t.Estimate, err = e.items(set.Set, set.sizes)
	return err
}

// labelledRows are looked at for the number of labels, which few datasets vary from row to row. It only decides the cost.
const labelledRows = 64

func countLabels(set *dataset.Set, roles *dataset.Roles) (int, error) {
	n := 0
	for row := range min(set.Len(), labelledRows) {
		item, err := set.Item(row, roles)
		if err != nil {
			return 0, err
		}
		n = max(n, len(item.Labels))
	}
	return n, nil
}

// Windows tokenizes a rolling dataset and cuts it: its rows are these windows, for the plan and for who computes them. The token before a
// text is BOS where the tokenizer puts it there; lm-eval wants one in any case, BOS or else EOS.
func Windows(d spec.Dataset, set *dataset.Set, tok *tokenizer.Tokenizer) ([]dataset.Window, error) {
	var docs []dataset.TokenDocument
	for _, doc := range set.Documents() {
		docs = append(docs, dataset.TokenDocument{Tokens: tok.Encode(doc.Text), Words: doc.Words, Bytes: doc.Bytes})
	}
	windows, err := dataset.Windows(d.Rolling, docs, startToken(tok, d.Rolling.Convention == "lm-eval"))
	if n := set.MaxWindows(); n > 0 && n < len(windows) {
		windows = windows[:n]
	}
	return windows, err
}

func startToken(tok *tokenizer.Tokenizer, wanted bool) int32 {
	bos, has := tok.BOS()
	ids := tok.EncodePrompt("")
	if has && (wanted || len(ids) > 0 && ids[0] == bos) {
		return bos
	}
	if eos, ok := tok.EOS(); ok && wanted {
		return eos
	}
	return -1
}

// ModelFiles is a model's checkpoint, which is to be closed, and its tokenizer. Fingerprint is of both: a variant's of the untouched model.
type ModelFiles struct {
	Checkpoint  *checkpoint.Checkpoint
	Tokenizer   *tokenizer.Tokenizer
	Fingerprint string
}

// OpenModel opens the files of a model and checks that they fit together.
func OpenModel(m *spec.Model) (f ModelFiles, err error) {
	if f.Checkpoint, err = checkpoint.Open(m.Path); err != nil {
		return ModelFiles{}, err
	}
	path := cmp.Or(m.TokenizerPath, m.Path)
	if err := fits(m, f.Checkpoint); err != nil {
		f.Checkpoint.Close()
		return ModelFiles{}, err
	}
	if f.Tokenizer, err = tokenizer.Load(path); err == nil {
		if have, room := f.Tokenizer.VocabSize(), f.Checkpoint.Config().Vocab; have > room {
			err = fmt.Errorf("the tokenizer %q has %d tokens, the model's embedding only %d: set tokenizer_path to the tokenizer it was trained with",
				path, have, room)
		}
	}
	var weights string
	if err == nil {
		weights, err = f.Checkpoint.Fingerprint()
	}
	if err == nil {
		f.Fingerprint, err = fingerprint(weights, f.Tokenizer)
	}
	if err != nil {
		f.Checkpoint.Close()
		return ModelFiles{}, err
	}
	return f, nil
}

// fits holds the files against the layout that the spec names: a directory that has both, or the wrong one, is not taken for the other.
func fits(m *spec.Model, c *checkpoint.Checkpoint) error {
	switch {
	case m.ModelType == "converted" && !c.Original():
		return fmt.Errorf("model %q: model_type = \"converted\" wants params.json and consolidated.NN.pth alone, and config.json is there: "+
			"take model_type out, or name the directory of the original weights", m.Path)
	case m.ModelType == "hf" && c.Original():
		return fmt.Errorf("model %q: model_type = \"hf\" wants config.json, and there is params.json: write model_type = \"converted\", or take it out", m.Path)
	}
	return nil
}

// fingerprint joins the model's fingerprint with the bytes of the files that define its tokenizer, wherever they lie.
func fingerprint(model string, tok *tokenizer.Tokenizer) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, model)
	for _, path := range tok.Files() {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		body := sha256.New()
		_, err = io.Copy(body, f)
		f.Close()
		if err != nil {
			return "", fmt.Errorf("reading %q: %w", path, err)
		}
		fmt.Fprintf(h, "%q %x\n", filepath.Base(path), body.Sum(nil))
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// RolesOf is how a model wants turns written. A chat template is read from beside the tokenizer.
func RolesOf(m *spec.Model) (*dataset.Roles, error) {
	roles := &dataset.Roles{Meta: m.MetaTemplate}
	t, err := chat.Load(m)
	if t != nil {
		roles.Chat = t
	}
	return roles, err
}

// SameRow makes the test that decides on a record of a task that was made under another task digest: whether its row's own digest is what
// the plan would ask of that row now. The data is opened at the first call; a task that cannot be opened has no row that is the same.
func SameRow(p *Plan, t Task) func(result.Record) bool {
	var digest func(row int) (string, error)
	return func(r result.Record) bool {
		if digest == nil {
			UseStore(p.Spec)
			var err error
			if digest, err = rowDigests(p, t); err != nil {
				digest = func(int) (string, error) { return "", err }
			}
		}
		d, err := digest(r.Row)
		return err == nil && d == r.Digest
	}
}

func rowDigests(p *Plan, t Task) (func(row int) (string, error), error) {
	v, okVariant := p.Variant(t.Variant)
	if t.Kind == Quantize {
		if !okVariant {
			return nil, fmt.Errorf("the plan lacks the variant of task %q", t.ID)
		}
		return func(int) (string, error) { return v.Fingerprint, nil }, nil
	}
	m, okModel := p.Model(v.Model)
	d, okData := p.Dataset(t.Dataset)
	if !okModel || !okData {
		return nil, fmt.Errorf("the plan lacks the model or dataset of task %q", t.ID)
	}
	set, err := dataset.Open(d, p.Spec.Infer.Limit)
	if err != nil {
		return nil, err
	}
	if d.Mode != spec.Rolling {
		roles, err := RolesOf(&m)
		if err != nil {
			return nil, err
		}
		return func(row int) (string, error) {
			item, err := set.Item(row, roles)
			if err != nil {
				return "", err
			}
			return item.Digest(t.Settings), nil
		}, nil
	}
	tok, err := tokenizer.Load(cmp.Or(m.TokenizerPath, m.Path))
	if err != nil {
		return nil, err
	}
	windows, err := Windows(d, set, tok)
	if err != nil {
		return nil, err
	}
	return func(row int) (string, error) {
		if row < 0 || row >= len(windows) {
			return "", fmt.Errorf("window %d of %d", row, len(windows))
		}
		return windows[row].Digest(t.Settings), nil
	}, nil
}
