package qformat

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Config is config.json's quantization_config for the matrices ms, by module, stored in layout, so that its loaders and ParseConfig know them.
// ignore names the matrices that are stored plain, the output matrix among them; kv is the rounding of the cache, "", "int8" or "fp8". Codes,
// scales and zeros are not looked at: they may be nil.
func Config(layout string, ms map[string]*Matrix, ignore []string, kv string) (map[string]any, error) {
	f, err := findFormat(layout)
	if err != nil {
		return nil, err
	}
	if len(ms) == 0 {
		return nil, errors.New("no matrix is quantized")
	}
	for _, module := range slices.Sorted(maps.Keys(ms)) {
		if err := Fits(layout, ms[module]); err != nil {
			return nil, fmt.Errorf("module %q: %w", module, err)
		}
	}
	config, err := f.config(ms, slices.Sorted(slices.Values(ignore)))
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", layout, err)
	}
	switch kv {
	case "":
	case "fp8": // without scales in the files, which stand for 1
		config["kv_cache_scheme"] = map[string]any{"num_bits": 8, "type": "float", "symmetric": true, "strategy": "tensor", "dynamic": false}
	case "int8":
		config["kv_cache_scheme"] = map[string]any{"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true}
	default:
		return nil, fmt.Errorf("cache rounded to %q: want int8 or fp8", kv)
	}
	return config, nil
}

// named are matrices that are stored alike.
type named struct {
	args    compressedArgs
	form    string
	modules []string
}

func (f compressed) config(ms map[string]*Matrix, ignore []string) (map[string]any, error) {
	groups := f.alike(ms)
	config := map[string]any{"quant_method": CompressedTensors, "quantization_status": "compressed", "format": groups[0].form, "ignore": ignore,
		"kv_cache_scheme": nil, "global_compression_ratio": nil}
	if ignore == nil {
		config["ignore"] = []string{}
	}
	mixed := slices.ContainsFunc(groups, func(g *named) bool { return g.form != groups[0].form })
	all := map[string]any{}
	for i, g := range groups {
		targets := g.modules
		if i == 0 {
			targets = []string{"Linear"}
		}
		group := map[string]any{"targets": targets, "weights": g.args.weights(), "input_activations": g.args.inputs(), "output_activations": nil}
		if mixed {
			group["format"], config["format"] = g.form, "mixed-precision"
		}
		all[fmt.Sprintf("group_%d", i)] = group
	}
	config["config_groups"] = all
	return config, nil
}

// alike gathers the matrices that are stored alike, the largest group first. The names in a group are sorted.
func (f compressed) alike(ms map[string]*Matrix) []*named {
	known, rows, cols := map[compressedArgs]bool{}, 0, 0
	for _, m := range ms {
		known[argsOf(m)] = true
		if m.blocked() {
			rows, cols = max(rows, m.BlockRows), max(cols, m.Group)
		}
	}
	type key struct {
		args compressedArgs
		form string
	}
	found := map[key]*named{}
	for _, module := range slices.Sorted(maps.Keys(ms)) {
		m := ms[module]
		a := argsOf(m)
		if group := a; a.strategy == perChannel { // a row that is as long as others' groups is one
			group.strategy, group.group = perGroup, m.Cols
			if known[group] {
				a = group
			}
		}
		if m.blocked() && m.BlockRows == min(rows, m.Rows) && m.Group == min(cols, m.Cols) { // a part of a block is one
			a.strategy, a.rows, a.group, a.act.Group = perBlock, rows, cols, cols
		}
		k := key{a, f.form(m)}
		if found[k] == nil {
			found[k] = &named{args: a, form: k.form}
		}
		found[k].modules = append(found[k].modules, module)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *named) int {
		return cmp.Or(cmp.Compare(len(b.modules), len(a.modules)), cmp.Compare(a.modules[0], b.modules[0]))
	})
}

// blocked says that a matrix of e4m3 values goes with inputs that are rounded in groups, as those with blocks of scales do.
func (m *Matrix) blocked() bool { return m.Float && (m.strategy() == perBlock || m.Act.Group > 0) }

func argsOf(m *Matrix) compressedArgs {
	a := compressedArgs{bits: m.Bits, float: m.Float, symmetric: m.Symmetric || m.Float, strategy: m.strategy(), reordered: m.GroupOf != nil,
		act: m.Act, staticActs: m.Act.Scale != 0}
	a.act.Scale = 0
	switch a.strategy {
	case perGroup:
		a.group = m.Group
	case perBlock:
		a.rows, a.group = m.BlockRows, m.Group
	}
	return a
}

// weights is a group's "weights".
func (a *compressedArgs) weights() map[string]any {
	w := map[string]any{"num_bits": a.bits, "type": "int", "symmetric": a.symmetric, "strategy": string(a.strategy), "dynamic": false}
	if a.float {
		w["type"] = "float"
	}
	switch a.strategy {
	case perGroup:
		w["group_size"] = a.group
	case perBlock:
		w["block_structure"] = []int{a.rows, a.group}
	}
	if a.reordered {
		w["actorder"] = "group"
	}
	return w
}

// inputs is a group's "input_activations".
func (a *compressedArgs) inputs() any {
	if a.act.Format == "" {
		return nil
	}
	in := map[string]any{"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true}
	if a.act.Format == "fp8" {
		in["type"] = "float"
	}
	switch {
	case a.staticActs:
		in["strategy"], in["dynamic"] = "tensor", false
	case a.act.Group > 0:
		in["strategy"], in["group_size"] = "group", a.act.Group
	}
	return in
}
