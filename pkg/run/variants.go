package run

import (
	"fmt"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// made gives an error when something that a quantization was to make is not there: a variant's directory, or an export.
func (r *Run) made(t plan.Task) error {
	packed, ok := r.Plan.Variant(t.Variant)
	if !ok {
		return fmt.Errorf("the plan lacks the variant %q", t.Variant)
	}
	m, err := result.CheckVariant(r.Dir.Variant(packed.ID), packed.Fingerprint)
	if err != nil {
		return err
	}
	for _, v := range r.Plan.Variants {
		if v.Step == t.ID && v.Position == spec.Transformed {
			if _, err := result.CheckVariant(r.Dir.Variant(v.ID), packed.Fingerprint); err != nil {
				return err
			}
		}
	}
	for _, e := range r.exports(packed) {
		if m.Exports[e.Layout] == e.Dir { // it was made; what its owner did with it since is his affair
			continue
		}
		if there, err := result.ReadManifest(e.Dir); err != nil || there.Fingerprint != packed.Fingerprint {
			return fmt.Errorf("the export %q is not there", e.Dir)
		}
	}
	return nil
}

// Export is a directory that a quantization writes for other programs.
type Export struct {
	Layout string
	Dir    string
}

func (r *Run) exports(packed plan.Variant) (list []Export) {
	q, _ := r.Plan.Recipe(packed.Recipe)
	for _, layout := range q.Save {
		list = append(list, Export{layout, r.Dir.Export(q.SavePath, packed.ID, layout)})
	}
	return list
}

// Made is what a quantization has made.
type Made struct {
	Task     string
	Variant  string // the packed one
	Dir      string
	Manifest result.Manifest // empty when it was never made; the directory may have been removed since
	Others   []Made          // the plan's other variants of the step that have a directory of their own, with no more than that said
	Exports  []Export
	Missing  error // why it is not, or not all, there
}

// QuantizesOnly says that the run was opened to make variants, and for nothing else.
func (r *Run) QuantizesOnly() bool { return r.quantize }

// Made tells what the plan's quantizations have made, in the plan's order.
func (r *Run) Made() (list []Made) {
	for _, t := range r.Plan.Tasks {
		if t.Kind != plan.Quantize {
			continue
		}
		packed, _ := r.Plan.Variant(t.Variant)
		m := Made{Task: t.ID, Variant: packed.ID, Dir: r.Dir.Variant(packed.ID), Exports: r.exports(packed), Missing: r.made(t)}
		m.Manifest, _ = r.Dir.Manifest(packed.ID, packed.Fingerprint)
		for _, v := range r.Plan.Variants {
			if v.Step == t.ID && v.Position == spec.Transformed {
				other := Made{Variant: v.ID, Dir: r.Dir.Variant(v.ID)}
				other.Manifest, _ = r.Dir.Manifest(v.ID, packed.Fingerprint)
				m.Others = append(m.Others, other)
			}
		}
		list = append(list, m)
	}
	return list
}
