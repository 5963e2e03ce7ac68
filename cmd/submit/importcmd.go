package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/ocimport"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/spec"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/urfave/cli/v2"
)

func (e env) importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "make a run of the predictions that OpenCompass left, and score it", ArgsUsage: "DIR",
		Description: "Reads DIR/predictions/MODEL/DATASET.json (and its parts DATASET_0.json ...) of an OpenCompass run, which it does not change, and\n" +
			"makes a run directory that can be scored like any other. A prediction is given to a row only where its text shows that it is of that\n" +
			"row; the others are missing. Gold answers are those of the dataset's files here. Scores are marked as imported, for what was asked\n" +
			"is not known as it is of a run of our own.\n\n" +
			"Example: submit import outputs/default/20240131_120000 --datasets siqa_gen --datasets mmlu_ppl --data-dir data -w runs\n" +
			"         submit import outputs/default --datasets siqa_gen=my_siqa --spec eval.toml",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "datasets", Usage: "a dataset or family of the catalog or the spec, `NAME` or NAME=FILE, FILE being what the tree calls it; may be repeated"},
			&cli.StringFlag{Name: "spec", Usage: "take datasets, groups and data_dir of this `SPEC`"},
			&cli.StringSliceFlag{Name: "models", Usage: "only this `MODEL` of the tree; may be repeated"},
			&cli.StringFlag{Name: "data-dir", Usage: "`DIR` with the datasets' files", DefaultText: "data, or the spec's"},
			&cli.StringFlag{Name: "work-dir", Aliases: []string{"w"}, Usage: "`DIR` where the run is made", Value: "outputs"},
			&cli.IntFlag{Name: "limit", Usage: "only the first `N` rows of each dataset", DefaultText: "all"},
			codeFlag(),
			jsonFlag("print one JSON document in the place of the table: the scores"),
		},
		Action: e.importRun,
	}
}

// importNote is what a run directory keeps of where its records came from. A run that has it can be scored and not gone on with.
type importNote struct {
	Version int                     `json:"version"`
	Source  string                  `json:"source"`
	Tasks   map[string]importedTask `json:"tasks"`
}

type importedTask struct {
	Files  []string `json:"files"`
	Rows   int      `json:"rows"`             // that got a prediction
	Reason string   `json:"reason,omitempty"` // why the others did not
}

func importFile(dir string) string { return filepath.Join(dir, "imported.json") }

// imported reads a run's note; nil: it was not imported.
func imported(dir string) (*importNote, error) {
	raw, err := os.ReadFile(importFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var n importNote
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil {
		return nil, fmt.Errorf("reading where the run was imported from: %w", err)
	}
	return &n, nil
}

// importer makes the run of one tree.
type importer struct {
	tree  *ocimport.Tree
	spec  *spec.Spec
	names map[string]string // by dataset, what the tree calls it where the user has said
	sets  map[string]*dataset.Set
	note  importNote
	got   map[string][]result.Record // by task
}

func (e env) importRun(c *cli.Context) error {
	args, err := cliargs.Positional(c, "DIR")
	if err != nil {
		return err
	}
	tree, err := ocimport.Open(args[0])
	if err != nil {
		return badInput{err}
	}
	m := &importer{tree: tree, names: map[string]string{}, sets: map[string]*dataset.Set{}, got: map[string][]result.Record{}}
	if m.spec, err = m.readSpec(c); err != nil {
		return err
	}
	source, err := filepath.Abs(tree.Dir)
	if err != nil {
		return err
	}
	m.note = importNote{Version: 1, Source: source, Tasks: map[string]importedTask{}}
	p, err := m.plan(c.StringSlice("models"))
	if err != nil {
		return badInput{err}
	}
	e.code, e.json = c.Bool(allowCode), c.Bool("json")
	if err := e.checkCode(c.Context, p, false); err != nil {
		return err
	}
	r, err := run.Open(m.spec.WorkDir, p, run.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := m.write(r); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "imported from %s\nrun directory: %s\n", relative(source), relative(string(r.Dir)))
	return e.scores(c.Context, r, modeEval)
}

// readSpec makes the spec of the datasets that were named, or reads the one that was given.
func (m *importer) readSpec(c *cli.Context) (*spec.Spec, error) {
	var wanted []string
	for _, d := range c.StringSlice("datasets") {
		name, file, _ := strings.Cut(d, "=")
		wanted = append(wanted, name)
		if file != "" {
			m.names[name] = file
		}
	}
	path := c.String("spec")
	if path == "" && len(wanted) == 0 {
		return nil, cliargs.Usagef("which datasets? --datasets NAME, as submit datasets lists them, or --spec SPEC. The tree has of %s: %s",
			m.tree.Models()[0], strings.Join(m.tree.Datasets(m.tree.Models()[0]), ", "))
	}
	var over []spec.Override
	add := func(key, flag string, value any) {
		over = append(over, spec.Override{Key: key, Value: value, From: "--" + flag})
	}
	if len(wanted) > 0 {
		add("datasets", "datasets", wanted)
	}
	if path == "" || c.IsSet("data-dir") {
		dir := c.String("data-dir")
		if dir == "" {
			dir = "data"
		}
		add("data_dir", "data-dir", dir)
	}
	if path == "" || c.IsSet("work-dir") {
		add("work_dir", "work-dir", c.String("work-dir"))
	}
	if c.IsSet("limit") {
		add("infer.limit", "limit", c.Int("limit"))
	}
	catalog, err := dataset.NewCatalog()
	if err != nil {
		return nil, err
	}
	load := func(o spec.Options) (*spec.Spec, error) { return spec.Load(path, o) }
	if path == "" {
		load = func(o spec.Options) (*spec.Spec, error) { return spec.Parse("import", bareSpec, o) }
	}
	s, err := load(spec.Options{Catalog: catalog, Overrides: over})
	if err == nil {
		err = score.Validate(s)
	}
	if err != nil {
		return nil, badInput{err}
	}
	if c.IsSet("spec") && len(wanted) > 0 {
		s.Datasets = slices.DeleteFunc(s.Datasets, func(d spec.Dataset) bool { return !named(d.Abbr, wanted) })
	}
	s.Quant, s.Eval, s.Infer.Scheduler = nil, spec.Eval{}, "local"
	return s, nil
}

// named says whether a dataset, or the family it is of, is among names, which may be patterns; "/" parts a family from its subset.
func named(abbr string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		n = strings.ReplaceAll(n, "/", "-")
		return strings.HasPrefix(abbr, n+"-") || doublestar.MatchUnvalidated(n, abbr)
	})
}

// bareSpec has no more in it than a spec must have; the models are the tree's.
const bareSpec = "[[models]]\npath = \"imported\"\n"

// plan reads the predictions and makes the plan whose records they are.
func (m *importer) plan(models []string) (*plan.Plan, error) {
	var in plan.Inputs
	m.spec.Models = nil
	for _, want := range models {
		if !slices.Contains(m.tree.Models(), want) {
			return nil, fmt.Errorf("the tree has no model %q; it has %s", want, strings.Join(m.tree.Models(), ", "))
		}
	}
	used := 0
	for _, model := range m.tree.Models() {
		if len(models) > 0 && !slices.Contains(models, model) {
			continue
		}
		m.spec.Models = append(m.spec.Models, spec.Model{Abbr: model, Path: filepath.Join(m.note.Source, model), RunCfg: spec.RunCfg{NumProcs: 1}})
		sum := sha256.New()
		for _, d := range m.spec.Datasets {
			t, from, err := m.task(model, d)
			if err != nil {
				return nil, err
			}
			for i, f := range from.Files {
				fmt.Fprintf(sum, "%q %s\n", filepath.Base(f), from.Sums[i])
			}
			used += len(from.Files)
			in.Tasks = append(in.Tasks, t)
		}
		fingerprint := hex.EncodeToString(sum.Sum(nil))[:32]
		in.Variants = append(in.Variants, plan.Variant{ID: model, Model: model, Recipe: spec.Pretrain, Fingerprint: fingerprint})
	}
	if used == 0 {
		return nil, fmt.Errorf("the tree has predictions of none of the datasets named; it has of %s: %s. --datasets NAME=FILE says which is which",
			m.spec.Models[0].Abbr, strings.Join(m.tree.Datasets(m.spec.Models[0].Abbr), ", "))
	}
	return plan.Make(*m.spec, in)
}

// task reads one model's predictions of one dataset.
func (m *importer) task(model string, d spec.Dataset) (t plan.TaskInput, from ocimport.Predictions, err error) {
	set := m.sets[d.Abbr]
	if set == nil {
		if set, err = dataset.Open(d, m.spec.Infer.Limit); err != nil {
			return t, from, err
		}
		m.sets[d.Abbr] = set
	}
	t = plan.TaskInput{Variant: model, Dataset: d.Abbr, Rows: set.Len(), Labels: 1, Prompt: dataset.PromptHash(d, nil)}
	if t.Data, err = set.Digest(); err != nil {
		return t, from, err
	}
	name := m.names[d.Abbr]
	if name == "" {
		name = ocimport.NameOf(d.Abbr, m.tree.Datasets(model))
	}
	if from, err = m.tree.Read(model, name); err != nil {
		return t, from, err
	}
	got, err := ocimport.Match(d, set, from.Entries)
	if err != nil {
		return t, from, err
	}
	id := model + "/" + d.Abbr
	m.got[id] = got.Records
	m.note.Tasks[id] = importedTask{Files: from.Files, Rows: len(got.Records), Reason: lossReason(got.Lost, from.Lacks)}
	return t, from, nil
}

// lossReason says why rows have no prediction, the commonest reason first.
func lossReason(lost map[string]int, lacks string) string {
	if len(lost) == 0 {
		return ""
	}
	reasons := slices.SortedFunc(maps.Keys(lost), func(a, b string) int {
		if lost[a] != lost[b] {
			return lost[b] - lost[a]
		}
		return strings.Compare(a, b)
	})
	text := fmt.Sprintf("%s (%s)", reasons[0], count(lost[reasons[0]], "row"))
	if len(reasons) > 1 {
		text += fmt.Sprintf("; and %s", count(len(reasons)-1, "other reason"))
	}
	if lacks != "" {
		text = lacks + "; " + text
	}
	return text
}

// write leaves the records in the run directory: a file for each range of rows that there are.
func (m *importer) write(r *run.Run) error {
	for _, t := range r.Plan.Tasks {
		recs := m.got[t.ID]
		for len(recs) > 0 {
			n := 1
			for n < len(recs) && recs[n].Row == recs[n-1].Row+1 {
				n++
			}
			h := result.Header{Task: t.ID, Digest: t.Digest, From: recs[0].Row, To: recs[n-1].Row + 1}
			name := fmt.Sprintf("%s--%d-%d", plan.FileSafe(t.ID), h.From, h.To)
			if err := result.Write(r.Dir.Result(name), h, recs[:n]); err != nil {
				return err
			}
			recs = recs[n:]
		}
	}
	return result.CommitJSON(importFile(string(r.Dir)), m.note)
}
