package plan

import (
	"fmt"
	"reflect"
	"strings"

	"sextant/pkg/spec"
)

// Difference is what sets one plan apart from another.
type Difference struct {
	Changes []Change `json:"changes"` // models, recipes, variants, datasets, settings, then sizes, each in the order of the plans
	Reuse   Reuse    `json:"reuse"`
}

// Change is one thing that is not the same in both plans.
type Change struct {
	Of   string `json:"of"`             // "model", "recipe", "variant", "dataset", "setting", "plan"
	Name string `json:"name,omitempty"` // of the model, recipe, variant or dataset
	What string `json:"what"`           // "added", "removed", or what of it: "path", "rows", "max_partition_size", "shards", ...
	From string `json:"from,omitempty"` // empty like To: what is too long to show, or not to be shown
	To   string `json:"to,omitempty"`
}

// String is the change in words.
func (c Change) String() string {
	name := c.What
	if c.Name != "" {
		name = fmt.Sprintf("%s %q", c.Of, c.Name)
		if c.What == "added" || c.What == "removed" {
			return name + " " + c.What
		}
		name += ": " + c.What
	}
	if c.From == "" && c.To == "" {
		return name + " changed"
	}
	return fmt.Sprintf("%s %s -> %s", name, or(c.From), or(c.To))
}

func or(value string) string {
	if value == "" {
		return "(none)"
	}
	return value
}

// Reuse is what the rows of the second plan can take from results of the first; quantizations have none. Stale rows are those whose task is
// in both under another digest: a run still takes such a row when its own digest holds, which only a look at the data tells.
type Reuse struct {
	Same  int `json:"same"`  // of tasks with equal digests
	Stale int `json:"stale"` // of tasks with other digests
	New   int `json:"new"`   // of tasks, or beyond the rows, that the first plan does not have
}

// String is the reuse in words.
func (r Reuse) String() string {
	return fmt.Sprintf("%d rows can be reused, %d are stale, %d are new", r.Same, r.Stale, r.New)
}

// Diff tells what is different in b from a.
func Diff(a, b *Plan) Difference {
	d := differ{a: a, b: b}
	d.models()
	d.datasets()
	d.settings()
	d.sizes()
	return Difference{Changes: d.changes, Reuse: reuse(a, b)}
}

type differ struct {
	a, b    *Plan
	changes []Change
}

// compare notes a change of a value, if it is one.
func (d *differ) compare(of, name, what string, from, to any) {
	if x, y := fmt.Sprint(from), fmt.Sprint(to); x != y {
		d.changes = append(d.changes, Change{Of: of, Name: name, What: what, From: x, To: y})
	}
}

// both calls change for each name of both lists and notes those of one.
func (d *differ) both(of string, a, b []string, change func(name string)) {
	has := map[string]bool{}
	for _, name := range b {
		has[name] = true
	}
	for _, name := range a {
		if !has[name] {
			d.changes = append(d.changes, Change{Of: of, Name: name, What: "removed"})
			continue
		}
		delete(has, name)
		change(name)
	}
	for _, name := range b {
		if has[name] {
			d.changes = append(d.changes, Change{Of: of, Name: name, What: "added"})
		}
	}
}

func abbrs[T any](list []T, abbr func(*T) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = abbr(&list[i])
	}
	return out
}

func (d *differ) models() {
	d.both("model", abbrs(d.a.Spec.Models, modelAbbr), abbrs(d.b.Spec.Models, modelAbbr), func(name string) {
		x, _ := d.a.Model(name)
		y, _ := d.b.Model(name)
		d.fields("model", name, "", x, y)
	})
	d.both("recipe", abbrs(d.a.Spec.Quant, recipeName), abbrs(d.b.Spec.Quant, recipeName), func(name string) {
		x, _ := d.a.Recipe(name)
		y, _ := d.b.Recipe(name)
		d.fields("recipe", name, "", x, y)
	})
	d.both("variant", abbrs(extra(d.a), variantID), abbrs(extra(d.b), variantID), func(string) {})
	for _, y := range d.b.Variants {
		if x, ok := d.a.Variant(y.ID); ok {
			of := "model"
			if y.ID != y.Model {
				of = "variant"
			}
			d.compare(of, y.ID, "fingerprint", x.Fingerprint, y.Fingerprint)
		}
	}
}

// extra are the variants that do not stand and fall with their model.
func extra(p *Plan) []Variant {
	var out []Variant
	for _, v := range p.Variants {
		if v.ID != v.Model {
			out = append(out, v)
		}
	}
	return out
}

// differs notes that a value too big to show is another.
func (d *differ) differs(of, name, what string, x, y any) {
	if !reflect.DeepEqual(x, y) {
		d.changes = append(d.changes, Change{Of: of, Name: name, What: what})
	}
}

// fields compares two values of a struct of the spec, key by key.
func (d *differ) fields(of, name, prefix string, x, y any) {
	a, b := reflect.ValueOf(x), reflect.ValueOf(y)
	for i := range a.NumField() {
		key := prefix + a.Type().Field(i).Tag.Get("toml")
		from, to := a.Field(i).Interface(), b.Field(i).Interface()
		switch a.Field(i).Kind() {
		case reflect.Struct:
			d.fields(of, name, key+".", from, to)
		case reflect.Pointer:
			d.pointer(of, name, key, a.Field(i), b.Field(i))
		case reflect.Map, reflect.Slice:
			d.differs(of, name, key, from, to)
		default:
			d.compare(of, name, key, from, to)
		}
	}
}

// pointer compares what is there or not.
func (d *differ) pointer(of, name, key string, a, b reflect.Value) {
	switch {
	case a.Type().Elem().Kind() == reflect.Struct && !a.IsNil() && !b.IsNil():
		d.fields(of, name, key+".", a.Elem().Interface(), b.Elem().Interface())
	case a.Type().Elem().Kind() == reflect.Struct:
		d.differs(of, name, key, a.Interface(), b.Interface())
	default:
		d.compare(of, name, key, pointed(a), pointed(b))
	}
}

func pointed(v reflect.Value) any {
	if v.IsNil() {
		return ""
	}
	return v.Elem().Interface()
}

func (d *differ) datasets() {
	d.both("dataset", abbrs(d.a.Spec.Datasets, datasetAbbr), abbrs(d.b.Spec.Datasets, datasetAbbr), func(name string) {
		x, _ := d.a.Dataset(name)
		y, _ := d.b.Dataset(name)
		d.compare("dataset", name, "path", x.Test.Path, y.Test.Path)
		d.compare("dataset", name, "mode", x.Mode, y.Mode)
		d.compare("dataset", name, "metric", x.Metric, y.Metric)
		d.compare("dataset", name, "metrics", strings.Join(x.Metrics, ", "), strings.Join(y.Metrics, ", "))
		d.compare("dataset", name, "cluster", x.Cluster, y.Cluster)
		d.fields("dataset", name, "ppl.", x.PPL, y.PPL)
		d.fields("dataset", name, "gen.", x.Gen, y.Gen)
		d.fields("dataset", name, "rolling.", x.Rolling, y.Rolling)
		d.differs("dataset", name, "post-processing", [2][]string{x.Post, x.PostGold}, [2][]string{y.Post, y.PostGold})
		d.compare("dataset", name, "cost_factor", x.CostFactor, y.CostFactor)
		d.tasks(name, x, y)
	})
}

// tasks compares what a dataset is to the first model of both plans.
func (d *differ) tasks(name string, x, y spec.Dataset) {
	for _, t := range d.b.Tasks {
		old, ok := d.a.Task(t.ID)
		if t.Dataset != name || !ok {
			continue
		}
		if old.Prompt != t.Prompt {
			d.compare("dataset", name, "prompt", old.Prompt, t.Prompt)
			d.compare("dataset", name, "few_shot", shots(x), shots(y))
		}
		d.compare("dataset", name, "data", old.Data, t.Data)
		d.compare("dataset", name, "rows", old.Rows, t.Rows)
		return
	}
}

func shots(d spec.Dataset) string {
	switch f := d.FewShot; f.Kind {
	case "fixed":
		return fmt.Sprint(f.Kind, " ", f.IDs)
	case "random":
		return fmt.Sprintf("%s %d, seed %d", f.Kind, f.K, f.Seed)
	}
	return ""
}

func (d *differ) settings() {
	x, y := d.a.Spec, d.b.Spec
	d.compare("setting", "", "work_dir", x.WorkDir, y.WorkDir)
	d.compare("setting", "", "data_dir", x.DataDir, y.DataDir)
	d.differs("setting", "", "groups", x.Groups, y.Groups)
	d.fields("setting", "", "eval.", x.Eval, y.Eval)
	d.fields("setting", "", "", x.Infer, y.Infer)
	d.fields("setting", "", "local.", x.Local, y.Local)
	d.fields("setting", "", "slurm.", x.Slurm, y.Slurm)
	d.fields("setting", "", "notify.", x.Notify, y.Notify)
	d.differs("setting", "", "track", x.Track, y.Track)
	d.fields("setting", "", "dlc.", x.DLC, y.DLC)
}

func (d *differ) sizes() {
	rows := func(p *Plan) (n int, tokens int64) {
		for _, t := range p.Tasks {
			if t.Kind == "" {
				n, tokens = n+t.Rows, tokens+t.Tokens
			}
		}
		return n, tokens
	}
	rowsA, tokensA := rows(d.a)
	rowsB, tokensB := rows(d.b)
	d.compare("plan", "", "tasks", len(d.a.Tasks), len(d.b.Tasks))
	d.compare("plan", "", "rows", rowsA, rowsB)
	d.compare("plan", "", "tokens", tokensA, tokensB)
	d.compare("plan", "", "shards", len(d.a.Shards), len(d.b.Shards))
	d.compare("plan", "", "jobs", len(d.a.Jobs), len(d.b.Jobs))
}

func reuse(a, b *Plan) (r Reuse) {
	for _, t := range b.Tasks {
		if t.Kind != "" {
			continue
		}
		old, _ := a.Task(t.ID) // none: no rows
		n := min(old.Rows, t.Rows)
		r.New += t.Rows - n
		if old.Digest == t.Digest {
			r.Same += n
		} else {
			r.Stale += n
		}
	}
	return r
}
