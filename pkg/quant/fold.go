package quant

import (
	"math"

	"sextant/internal/halves"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
)

// norm names the norm whose output is a site's input; "" where that is no norm's.
func (b *shaped) norm(s model.Site) string {
	switch s {
	case model.SiteQKV:
		return b.names.AttnNorm
	case model.SiteGateUp:
		return b.names.MLPNorm
	}
	return ""
}

// before names the matrix whose outputs are, but for a mixing that leaves each to itself, a site's inputs: v of o, where each head of queries
// has its own values, and up of down. "" where there is none, or none that may be changed.
func (b *shaped) before(s model.Site) string {
	c := b.r.job.Checkpoint.Config()
	name := ""
	switch {
	case s == model.SiteO && c.KVHeads == c.Heads:
		name = b.names.V
	case s == model.SiteDown:
		name = b.names.Up
	}
	if b.r.shapes[name] == nil {
		return ""
	}
	return name
}

// folds tells whether a site's inputs can be divided by a scale, so that its matrices' columns can be multiplied with it.
func (b *shaped) folds(s model.Site) bool { return b.norm(s) != "" || b.before(s) != "" }

// fold divides a site's inputs by scale and multiplies its matrices' columns with it, those of ignored ones too: the block as a whole computes
// what it did. It gives the scale that the inputs are divided by in truth: a norm is stored in the checkpoint's dtype, and the columns
// get the quotient of the norms, so that its rounding costs nothing.
func (b *shaped) fold(s model.Site, scale []float32) ([]float32, error) {
	if norm := b.norm(s); norm != "" {
		t, err := b.r.job.Checkpoint.Tensor(norm)
		if err != nil {
			return nil, err
		}
		w, err := b.tensor(norm)
		if err != nil {
			return nil, err
		}
		b.values[norm], scale = foldNorm(w, scale, t.DType)
	} else if err := b.foldRows(b.before(s), scale); err != nil {
		return nil, err
	}
	for _, name := range b.sites[s] {
		w, err := b.dense(name)
		if err != nil {
			return nil, err
		}
		_ = parallel(w.Rows, func(from, to int) error {
			for r := from; r < to; r++ {
				for j, row := 0, w.Row(r); j < len(row); j++ {
					row[j] *= scale[j]
				}
			}
			return nil
		})
		b.values[name] = w.Values
	}
	return scale, nil
}

// foldNorm gives a norm's weight divided by scale, in its dtype, and the scale that this is exactly. Where the quotient is beyond the dtype
// the input keeps 1; so does one whose weight is 0, which is always 0.
func foldNorm(w, scale []float32, dtype string) (folded, exact []float32) {
	folded, exact = make([]float32, len(w)), make([]float32, len(w))
	for j, x := range w {
		y := halves.Round(x/scale[j], dtype)
		quotient := float32(float64(x) / float64(y))
		if q := float64(quotient); x == 0 || y == 0 || q == 0 || math.IsInf(float64(y), 0) || math.IsInf(q, 0) || math.IsNaN(q) {
			y, quotient = x, 1
		}
		folded[j], exact[j] = y, quotient
	}
	return folded, exact
}

// foldRows divides a matrix's outputs, bias and all.
func (b *shaped) foldRows(name string, scale []float32) error {
	w, err := b.dense(name)
	if err != nil {
		return err
	}
	for r := range w.Rows {
		for j, row := 0, w.Row(r); j < len(row); j++ {
			row[j] /= scale[r]
		}
	}
	b.values[name] = w.Values
	bias := checkpoint.BiasName(name)
	if _, err := b.r.job.Checkpoint.Tensor(bias); err != nil {
		return nil // it has none
	}
	v, err := b.tensor(bias)
	if err != nil {
		return err
	}
	for r := range v {
		v[r] /= scale[r]
	}
	b.values[bias] = v
	return nil
}
