package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
	"sextant/pkg/spec"
)

// matrix is a weight that recipes are for.
type matrix struct {
	name  string
	bytes int64 // as it is
	made  *qformat.Matrix
}

// matricesOf are those of a model's layers, with their sizes.
func matricesOf(ck *checkpoint.Checkpoint) ([]matrix, error) {
	var list []matrix
	for i := range ck.Config().Layers {
		sites := ck.Config().LayerNames(i).Sites()
		for _, name := range slices.Concat(sites[:]...) {
			t, err := ck.View(name)
			if err != nil {
				return nil, err
			}
			list = append(list, matrix{name, t.Bytes(), &qformat.Matrix{Rows: t.Shape[0], Cols: t.Shape[1]}})
		}
	}
	return list, nil
}

// block is the side of the squares that share a scale with granularity "block", and how many inputs of a token do.
const block = 128

// shape makes of a matrix what the recipe makes of it, but for codes, scales and zeros.
func shape(q *spec.Quant, m *qformat.Matrix) {
	m.Bits, m.Float = q.Bits, q.Method == "fp8"
	m.Symmetric = m.Float || q.Symmetric != nil && *q.Symmetric
	m.Group, m.BlockRows = m.Cols, 1
	switch q.Granularity {
	case "group":
		m.Group = min(q.Group, m.Cols)
	case "tensor":
		m.BlockRows = m.Rows
	case "block":
		m.Group, m.BlockRows = min(block, m.Cols), min(block, m.Rows)
	}
	if q.Act == "none" || q.Act == "" {
		return
	}
	m.Act.Format = q.Act
	if q.ActScale == "tensor" {
		m.Act.Scale = 1 // of any
	} else if q.Granularity == "block" {
		m.Act.Group = block
	}
}

// packedBytes is what a matrix takes on disk as the recipe makes it.
func packedBytes(q *spec.Quant, m *qformat.Matrix) int64 {
	entries, scale := int64(m.Tall())*int64(m.Wide()), int64(2)
	if q.ScaleDType == "f32" {
		scale = 4
	}
	n := (int64(m.Rows)*int64(m.Cols)*int64(m.Bits)+7)/8 + entries*scale
	if !m.Symmetric {
		n += (entries*int64(m.Bits) + 7) / 8
	}
	return n
}

// suits takes the matrices that a recipe is for, in the form that it gives them, and tells all for which the model and it do not go together.
func suits(q *spec.Quant, ck *checkpoint.Checkpoint) ([]matrix, []error) {
	if have := ck.Config().Quant; have != nil {
		return nil, []error{fmt.Errorf("the checkpoint is quantized already (%s), and recipes are for plain weights: leave it out of the recipe's models, "+
			"or give the checkpoint that it was made of", have)}
	}
	all, err := matricesOf(ck)
	if err != nil {
		return nil, []error{err}
	}
	errs := idle(q, ck, all)
	all = slices.DeleteFunc(all, func(m matrix) bool { return q.Ignores(m.name) })
	if len(all) == 0 {
		return nil, append(errs, errors.New("ignore leaves out every matrix of the model: nothing would be quantized"))
	}
	if err := divide(q, all); err != nil {
		return nil, append(errs, err)
	}
	for i := range all {
		shape(q, all[i].made)
	}
	layouts := append([]string{qformat.Native(all[0].made)}, q.Save...)
	for _, layout := range layouts {
		if layout == spec.FakeQuant || layout == spec.Transformed {
			continue
		}
		for _, m := range all {
			if err := qformat.Fits(layout, m.made); err != nil {
				errs = append(errs, fmt.Errorf("save as %s: tensor %q: %w", layout, m.name, err))
				break
			}
		}
	}
	return all, errs
}

// idle tells of elements of ignore that name nothing: who writes them expects an effect.
func idle(q *spec.Quant, ck *checkpoint.Checkpoint, all []matrix) (errs []error) {
	names := []string{ck.Config().EmbedName(), ck.Config().HeadName(), "lm_head.weight"} // which are never quantized, and often named
	for _, m := range all {
		names = append(names, m.name)
	}
	for _, pattern := range q.Ignore {
		if slices.ContainsFunc(names, func(name string) bool { return spec.Names(pattern, name) }) {
			continue
		}
		modules := make([]string, len(names))
		for i, name := range names {
			modules[i] = strings.TrimSuffix(name, ".weight")
		}
		hint := fmt.Sprintf("its matrices are named like %q", all[0].name)
		if near := spec.Nearest(pattern, modules); len(near) > 0 {
			hint = fmt.Sprintf("did you mean %q?", near[0])
		}
		errs = append(errs, fmt.Errorf("ignore has %q, which names no matrix of the model; %s", pattern, hint))
	}
	return errs
}

// divide checks that groups are whole in every matrix.
func divide(q *spec.Quant, all []matrix) error {
	if q.Granularity != "group" {
		return nil
	}
	var odd []matrix
	common := 0
	for _, m := range all {
		if common = gcd(common, m.made.Cols); m.made.Cols%q.Group != 0 {
			odd = append(odd, m)
		}
	}
	if len(odd) == 0 {
		return nil
	}
	var would []string
	for g := 16; g <= 1024 && g <= common; g *= 2 {
		if common%g == 0 {
			would = append(would, fmt.Sprint(g))
		}
	}
	hint := fmt.Sprintf("no group from 16 to 1024 divides all: write granularity = \"channel\", or group = %d", common)
	if len(would) > 0 {
		hint = fmt.Sprintf("group = %s would do for all, or granularity = \"channel\"", strings.Join(would, " or "))
	}
	more := ""
	if n := len(odd) - 1; n > 0 {
		more = fmt.Sprintf(" (and those of %d more)", n)
	}
	return fmt.Errorf("group is %d, which does not divide the %d inputs of %q%s: %s", q.Group, odd[0].made.Cols, odd[0].name, more, hint)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
