package run

import (
	"fmt"
	"slices"

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
	i := slices.IndexFunc(r.Plan.Spec.Quant, func(q spec.Quant) bool { return q.Name == packed.Recipe })
	if i < 0 {
		return nil
	}
	q := r.Plan.Spec.Quant[i]
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
	Manifest result.Manifest
	Others   []string // directories of the plan's other variants of the step, where they have one of their own
	Exports  []Export
	Missing  error // why it is not, or not all, there; Manifest may be empty then
}

// Made tells what the plan's quantizations have made, in the plan's order.
func (r *Run) Made() (list []Made) {
	for _, t := range r.Plan.Tasks {
		if t.Kind != plan.Quantize {
			continue
		}
		packed, _ := r.Plan.Variant(t.Variant)
		m := Made{Task: t.ID, Variant: packed.ID, Dir: r.Dir.Variant(packed.ID), Exports: r.exports(packed), Missing: r.made(t)}
		if there, err := result.ReadManifest(m.Dir); err == nil {
			m.Manifest = there
		}
		for _, v := range r.Plan.Variants {
			if v.Step == t.ID && v.Position == spec.Transformed {
				m.Others = append(m.Others, r.Dir.Variant(v.ID))
			}
		}
		list = append(list, m)
	}
	return list
}

// quantizations is the part of a plan that makes variants, and what that comes after.
func quantizations(p *plan.Plan) *plan.Plan {
	kind := map[string]string{}
	for _, t := range p.Tasks {
		kind[t.ID] = t.Kind
	}
	part := &plan.Plan{Version: p.Version, Identity: p.Identity, Digest: p.Digest, Spec: p.Spec, Variants: p.Variants}
	wanted := map[string]bool{}
	for _, s := range p.Shards {
		wanted[s.ID] = kind[s.Task] == plan.Quantize
	}
	for _, t := range p.Tasks {
		if t.Kind == plan.Quantize {
			part.Tasks = append(part.Tasks, t)
		}
	}
	for _, s := range p.Shards {
		if wanted[s.ID] {
			part.Shards = append(part.Shards, s)
		}
	}
	for _, j := range p.Jobs {
		if slices.ContainsFunc(j.Shards, func(s string) bool { return wanted[s] }) {
			part.Jobs = append(part.Jobs, j)
		}
	}
	return part
}
