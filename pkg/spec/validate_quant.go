package spec

import (
	"fmt"
	"slices"
	"strings"
)

// quants checks the recipes and the positions.
func (c *checker) quants(root *node, s *Spec) {
	l := root.get("quant")
	if l != nil && l.kind == list {
		for i := range s.Quant {
			if n := l.items[i]; n.kind == table {
				k := recipe{checker: c, n: n, key: entryKey("quant", n), q: &s.Quant[i]}
				k.name()
				k.models(s.Models)
				k.method()
			}
		}
		c.variants(l, s)
	}
	c.positions(root, s)
}

// recipe is one of them being checked.
type recipe struct {
	*checker
	n   *node
	key string
	q   *Quant
}

// written says whether a key is there, with a value that the decoder took.
func (k *recipe) written(path ...string) bool {
	at := k.n.get(path...)
	return at != nil && !slices.ContainsFunc(k.p.list, func(e *Error) bool {
		return e.File == at.src.name && e.Line == at.line && e.Col == at.col
	})
}

// refuse reports a key, or the recipe where it is not written.
func (k *recipe) refuse(key, format string, args ...any) {
	k.add(k.n, k.key, strings.Split(key, "."), format, args...)
}

// idle reports a key that is written and has no effect, with the reason.
func (k *recipe) idle(key, format string, args ...any) {
	if path := strings.Split(key, "."); k.written(path...) {
		k.add(k.n, k.key, path, "has no effect "+format+"; take it out", args...)
	}
}

func (k *recipe) name() {
	switch {
	case !k.written("name"):
	case !isName(k.q.Name):
		k.refuse("name", `%q cannot be used; write 1 to 100 of the characters A-Z a-z 0-9 . _ + -, not "." or "-" first`, k.q.Name)
	case k.q.Name == Pretrain:
		k.refuse("name", "%q is what the untouched model is called; write another name", k.q.Name)
	}
}

func (k *recipe) models(models []Model) {
	var known []string
	for _, m := range models {
		known = append(known, m.Abbr)
	}
	at := k.n.get("models")
	for i, pattern := range k.q.Models {
		if pattern == "" || slices.Contains(known, pattern) || len(matching(pattern, known)) > 0 {
			continue
		}
		if near := Nearest(pattern, known); len(near) > 0 {
			k.p.add(at.items[i], k.key+".models", "no model is named %q; did you mean %s?", pattern, orList(near))
		} else {
			k.p.add(at.items[i], k.key+".models", "no model is named %q; write the abbr of a model, or a glob, or leave the key out for all", pattern)
		}
	}
}

// method checks what belongs together. What depends on a value that the decoder refused is not looked at.
func (k *recipe) method() {
	k.required(k.n, k.key, []string{"method"},
		`write "rtn", "awq", "gptq", "smoothquant" or "fp8"; or the name of a recipe of an included file to change that one`)
	for _, key := range []string{"method", "bits", "granularity", "group", "act", "act_scale", "symmetric", "convention"} {
		if k.n.get(key) != nil && !k.written(key) {
			return
		}
	}
	if k.q.Method == "" {
		return
	}
	if k.bits() && k.granularity() && k.activations() {
		k.save()
	}
	k.settings()
	k.text()
}

func (k *recipe) bits() bool {
	q := k.q
	switch {
	case q.Bits > 4 && q.Bits < 8:
		k.refuse("bits", "is %d; write 2, 3, 4 or 8", q.Bits)
	case q.Method == "fp8" && q.Bits != 8:
		k.refuse("bits", "is %d, and method fp8 has 8; take it out, or write another method", q.Bits)
	case q.Method == "smoothquant" && q.Bits != 8:
		k.refuse("bits", "is %d, and method smoothquant has 8; take it out, or write method = \"awq\", which moves ranges for fewer", q.Bits)
	case q.Bits == 8 && (q.Method == "awq" || q.Method == "gptq"):
		k.refuse("bits", "is 8, and method %s is for 2, 3 or 4, where rounding to the nearest is not enough; write method = \"rtn\"", q.Method)
	default:
		return true
	}
	return false
}

// shares are the granularities of the methods.
var shares = map[string][]string{"rtn": {"group", "channel"}, "awq": {"group", "channel"}, "gptq": {"group", "channel"}, "smoothquant": {"channel"},
	"fp8": {"channel", "tensor", "block"}}

func (k *recipe) granularity() bool {
	q, may := k.q, shares[k.q.Method]
	at := "granularity"
	if !k.written(at) && k.written("group") {
		at = "group"
	}
	switch {
	case slices.Contains(may, q.Granularity) && q.Granularity == "group":
		return true
	case at == "group" && !slices.Contains(may, "group"):
		k.refuse(at, "has no effect with method %s, whose scales are of a granularity of %s; take it out", q.Method, orList(may))
	case !slices.Contains(may, q.Granularity):
		k.refuse(at, "is %q, which method %s does not have; write %s", q.Granularity, q.Method, orList(may))
	default:
		k.idle("group", "with granularity %q", q.Granularity)
		return true
	}
	return false
}

func (k *recipe) activations() bool {
	q := k.q
	switch {
	case q.Method == "smoothquant" && q.Act != "int8":
		k.refuse("act", "is %q, and smoothquant is for inputs rounded to int8; take it out, or write another method", q.Act)
	case q.Method == "fp8" && q.Act == "int8":
		k.refuse("act", `is "int8", which does not go with weights of method fp8; write "fp8" or "none", or method = "rtn" with bits = 8`)
	case q.Act == "none" && q.ActScale != "":
		k.idle("act_scale", `with act = "none"`)
	case q.ActScale == "tensor" && q.Granularity == "block":
		k.refuse("act_scale",
			`is "tensor", and with granularity "block" each 128 inputs of a token have a scale; take it out, or write granularity = "tensor"`)
	default:
		return true
	}
	return false
}

// settings refuses those of other methods, and those of integers for floats: who writes them expects an effect.
func (k *recipe) settings() {
	q := k.q
	if q.Method != "awq" {
		k.idle("awq", "with method %s", q.Method)
	}
	if q.Method != "gptq" {
		k.idle("gptq", "with method %s", q.Method)
	} else if q.GPTQ.ActOrder && !*q.GPTQ.StaticGroups {
		k.refuse("gptq.static_groups", "is false, and act_order needs groups of neighbours whose scales are known before; take one of the two out")
	}
	if q.Method != "smoothquant" {
		k.idle("alpha", "with method %s", q.Method)
	}
	if q.Method == "fp8" {
		k.idle("symmetric", "with method fp8, whose values are floats around 0")
		k.idle("convention", "with method fp8, whose scales are absmax / 448")
	}
}

// text checks what the recipe is calibrated with.
func (k *recipe) text() {
	q := k.q
	if !q.NeedsText() {
		k.idle("calib", "with method %s, which needs no text", q.Method)
		return
	}
	const how = `write calib = { name = "pileval" }, or { file = { path = "FILE" } }, here, or in [calib] for all recipes`
	need := "method " + q.Method
	if q.ActScale == "tensor" && q.Method != "awq" && q.Method != "gptq" && q.Method != "smoothquant" {
		need = `act_scale = "tensor"`
	}
	at := k.n.get("calib")
	if at == nil {
		k.refuse("calib", "missing: %s is found with text; %s", need, how)
		return
	}
	if at.kind != table {
		return // the decoder has said so
	}
	if at.get("name") == nil && at.get("file") == nil {
		k.refuse("calib", "has neither a name nor a file; %s", how)
		return
	}
	c := q.Calib
	k.files(at, k.key+".calib", "file", &c.File)
	if most := 1 << 28; c.Samples > most/max(c.SeqLen, 1) {
		k.refuse("calib.samples", "%d samples of %d tokens are more than %d tokens; ask for fewer, 128 of 512 are usual", c.Samples, c.SeqLen, most)
	}
}

// save checks that the layouts can hold what the recipe makes.
func (k *recipe) save() {
	seen := map[string]bool{}
	for i, layout := range k.q.Save {
		at := k.n.get("save").items[i]
		problem := unfit(layout, k.q)
		if seen[layout] {
			problem = "is there twice; leave one"
		}
		if seen[layout] = true; problem != "" && layout != "" {
			k.p.add(at, k.key+".save", "%q %s", layout, problem)
		}
	}
	if len(k.q.Save) == 0 {
		k.idle("save_path", "without save")
	}
}

// unfit says why a layout cannot hold a recipe's tensors.
func unfit(layout string, q *Quant) string {
	const other = `; "compressed-tensors" can`
	switch layout {
	case "awq", "gptq", "gptq_v2":
		switch {
		case q.Method == "fp8":
			return "cannot hold floats" + other
		case layout == "awq" && q.Bits != 4:
			return fmt.Sprintf("cannot hold %d bits, only 4%s", q.Bits, other)
		case q.Act != "none":
			return fmt.Sprintf("cannot say that inputs are rounded (act = %q)%s", q.Act, other)
		case q.ScaleDType != "f16":
			return fmt.Sprintf(`cannot hold scales of %s; write scale_dtype = "f16"`, q.ScaleDType)
		case layout == "gptq" && !*q.Symmetric:
			return `cannot hold a zero of 0, because it stores zeros less one, and a recipe that is not symmetric has such; write "gptq_v2"`
		}
	case "fp8":
		switch {
		case q.Method != "fp8":
			return "cannot hold integers" + other
		case q.Granularity == "channel":
			return `cannot hold a scale of each output; write granularity = "tensor" or "block", or save = ["compressed-tensors"]`
		case q.Act != "fp8":
			return "cannot say that inputs are not rounded" + other
		}
	case Transformed:
		if !q.Transforms() {
			return fmt.Sprintf("would be the model itself: method %s changes no weight before it rounds them; take it out", q.Method)
		}
	}
	return ""
}

// variants refuses recipes whose variants' names are taken: by a model or by another recipe's.
func (c *checker) variants(l *node, s *Spec) {
	first := map[string]string{}
	for _, m := range s.Models {
		first[m.Abbr] = fmt.Sprintf("model %q", m.Abbr)
	}
	for i := range s.Quant {
		q, n := &s.Quant[i], l.items[i]
		twin := slices.ContainsFunc(s.Quant[:i], func(o Quant) bool { return o.Name == q.Name }) // which is told of by file
		if n.kind != table || q.Name == "" || q.Method == "" || twin {
			continue
		}
		if model, id := q.taken(s.Models, first); id != "" {
			c.add(n, entryKey("quant", n), []string{"name"}, "%q makes of model %q the variant %q, which is %s; write another name",
				q.Name, model, id, first[id])
		}
	}
}

// taken finds a variant of the recipe among the names that are first given to others, and else puts the recipe's own there.
func (q *Quant) taken(models []Model, first map[string]string) (model, id string) {
	for _, m := range models {
		for _, at := range []string{Packed, FakeQuant, Transformed} {
			id := VariantID(m.Abbr, q.Name, at)
			if !q.For(m.Abbr) {
				continue
			}
			if first[id] != "" {
				return m.Abbr, id
			}
			first[id] = fmt.Sprintf("that of model %q and recipe %q", m.Abbr, q.Name)
		}
	}
	return "", ""
}

// positions checks [eval].
func (c *checker) positions(root *node, s *Spec) {
	l := root.get("eval", "positions")
	if l == nil || l.kind != list || len(l.items) != len(s.Eval.Positions) {
		return
	}
	seen := map[string]bool{}
	transforms := slices.ContainsFunc(s.Quant, func(q Quant) bool { return q.Transforms() || q.Method == "" })
	for i, at := range s.Eval.Positions {
		switch {
		case seen[at]:
			c.p.add(l.items[i], "eval.positions", "%q is there twice; leave one", at)
		case at == "" || at == Pretrain:
		case len(s.Quant) == 0:
			c.p.add(l.items[i], "eval.positions", "%q is of recipes, and there is none; add a [[quant]] table, or take it out", at)
		case at == Transformed && !transforms:
			c.p.add(l.items[i], "eval.positions", "%q is of the methods awq and smoothquant, which no recipe has: others change no weight before they "+
				"round them; take it out", at)
		}
		seen[at] = true
	}
}
