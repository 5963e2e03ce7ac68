package qformat

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rawArgs are compressed-tensors' QuantizationArgs.
type rawArgs struct {
	Bits      int             `json:"num_bits"`
	Type      string          `json:"type"`
	Symmetric *bool           `json:"symmetric"`
	Strategy  strategy        `json:"strategy"`
	Group     *int            `json:"group_size"`
	Block     json.RawMessage `json:"block_structure"` // [128, 128], once "128x128"
	Dynamic   any             `json:"dynamic"`
}

// defaults sets what compressed-tensors takes for keys that are absent.
func (a *rawArgs) defaults() {
	if a.Bits == 0 {
		a.Bits = 8
	}
	yes := true
	if a.Symmetric == nil {
		a.Symmetric = &yes
	}
	a.Type = strings.ToLower(first(a.Type, "int"))
	a.Strategy = strategy(strings.ToLower(string(a.Strategy)))
	if a.Strategy == "" {
		switch {
		case a.Group == nil:
			a.Strategy = perTensor
		case *a.Group == -1:
			a.Strategy = perChannel
		default:
			a.Strategy = perGroup
		}
	}
}

// dynamic says that scales are found while running; "local", which is of 4-bit floats, is neither.
func (a *rawArgs) dynamic() bool { return a.Dynamic == true }

func (a *rawArgs) group() (int, error) {
	if a.Group == nil || *a.Group < 1 || *a.Group > 1<<30 {
		return 0, errors.New("strategy group needs a group_size of at least 1")
	}
	return *a.Group, nil
}

func (c *rawConfig) compressed() (reader, error) {
	if err := c.plainly(); err != nil {
		return nil, err
	}
	s := &compressedScheme{}
	for _, text := range c.Ignore {
		p, err := newPattern(text)
		if err != nil {
			return nil, fmt.Errorf("ignore: %w", err)
		}
		s.ignore = append(s.ignore, p)
	}
	if len(c.Groups) == 0 {
		return nil, errors.New("config_groups is missing or empty")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Groups)) {
		if err := s.add(c.Groups[name]); err != nil {
			return nil, fmt.Errorf("config_groups[%q]: %w", name, err)
		}
	}
	s.sortTargets()
	return s, nil
}

// plainly says what besides the groups makes the files unreadable.
func (c *rawConfig) plainly() error {
	if err := checkForm(c.Format); err != nil {
		return err
	}
	if !empty(c.Sparsity) {
		var sparse struct {
			Format string `json:"format"`
		}
		if json.Unmarshal(c.Sparsity, &sparse) != nil || sparse.Format != "dense" {
			return fmt.Errorf("sparsity_config of format %q is not supported (weights with zeros left out)", sparse.Format)
		}
	}
	if !empty(c.Transform) {
		return errors.New("transform_config is not supported (matrices that are rotated while running)")
	}
	return nil
}

func checkForm(form string) error {
	switch form {
	case "", "dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision":
		return nil
	}
	return fmt.Errorf("format = %q is not supported; supported: pack-quantized, int-quantized, float-quantized, naive-quantized", form)
}

// add reads one config group.
func (s *compressedScheme) add(raw json.RawMessage) error {
	var g struct {
		Targets []string        `json:"targets"`
		Weights *rawArgs        `json:"weights"`
		Inputs  *rawArgs        `json:"input_activations"`
		Outputs json.RawMessage `json:"output_activations"`
		Format  string          `json:"format"`
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return fmt.Errorf("want an object with targets and weights: %w", err)
	}
	if err := checkForm(g.Format); err != nil {
		return err
	}
	if !empty(g.Outputs) {
		return errors.New("output_activations are not supported: outputs are not rounded")
	}
	if g.Weights == nil {
		return errors.New("has no weights: rounding inputs alone is not supported")
	}
	a, err := g.Weights.weight()
	if err == nil && g.Inputs != nil {
		err = g.Inputs.input(a)
	}
	if err != nil {
		return err
	}
	for _, text := range g.Targets {
		p, err := newPattern(text)
		if err != nil {
			return fmt.Errorf("targets: %w", err)
		}
		s.targets, s.args = append(s.targets, target{p}), append(s.args, a)
	}
	if len(g.Targets) == 0 {
		return errors.New("targets is missing or empty")
	}
	return nil
}

// weight reads a group's "weights".
func (r *rawArgs) weight() (*compressedArgs, error) {
	r.defaults()
	a := &compressedArgs{bits: r.Bits, float: r.Type == "float", symmetric: *r.Symmetric, strategy: r.Strategy}
	switch {
	case r.Type != "int" && r.Type != "float":
		return nil, fmt.Errorf("weights: type = %q: want int or float", r.Type)
	case a.float && r.Bits != 8:
		return nil, fmt.Errorf("weights: %d-bit floats are not supported; supported: 8 bits (e4m3)", r.Bits)
	case r.Bits < 2 || r.Bits > 8:
		return nil, fmt.Errorf("weights: num_bits = %d is not supported; supported: 2 to 8", r.Bits)
	case r.Dynamic != nil && r.Dynamic != false:
		return nil, errors.New("weights: dynamic scales are not supported")
	case a.float && !a.symmetric:
		return nil, errors.New("weights: floats that are not symmetric are not supported")
	}
	var err error
	switch r.Strategy {
	case perTensor, perChannel:
	case perGroup:
		a.group, err = r.group()
	case perBlock:
		a.rows, a.group, err = r.block()
	default:
		err = fmt.Errorf("strategy = %q is not supported; supported: tensor, channel, group, block", r.Strategy)
	}
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	return a, nil
}

func (r *rawArgs) block() (rows, cols int, err error) {
	var sides []int
	if json.Unmarshal(r.Block, &sides) != nil {
		var text string
		if json.Unmarshal(r.Block, &text) == nil {
			sides = make([]int, 2)
			if n, _ := fmt.Sscanf(text, "%dx%d", &sides[0], &sides[1]); n != 2 {
				sides = nil
			}
		}
	}
	if len(sides) != 2 || min(sides[0], sides[1]) < 1 || max(sides[0], sides[1]) > 1<<30 {
		return 0, 0, fmt.Errorf("block_structure = %s: want the outputs and the inputs of a block", r.Block)
	}
	return sides[0], sides[1], nil
}

// input reads a group's "input_activations".
func (r *rawArgs) input(a *compressedArgs) (err error) {
	r.defaults()
	switch {
	case r.Bits != 8 || r.Type != "int" && r.Type != "float":
		return fmt.Errorf("input_activations: %d-bit %ss are not supported; supported: 8-bit int and float", r.Bits, r.Type)
	case !*r.Symmetric:
		return errors.New("input_activations that are not symmetric are not supported")
	}
	a.act.Format = "int8"
	if r.Type == "float" {
		a.act.Format = "fp8"
	}
	switch {
	case r.Strategy == "token" && r.dynamic():
	case r.Strategy == perTensor && r.Dynamic != nil && r.Dynamic != false:
		return errors.New("input_activations: a dynamic scale of a whole batch is not supported: results would depend on what is computed together")
	case r.Strategy == perTensor:
		a.staticActs = true
	case r.Strategy == perGroup && r.dynamic():
		if a.act.Group, err = r.group(); err != nil {
			return fmt.Errorf("input_activations: %w", err)
		}
	default:
		return fmt.Errorf("input_activations: strategy %q, dynamic %v is not supported; supported: token and group, dynamic; tensor, static",
			r.Strategy, r.Dynamic)
	}
	return nil
}
