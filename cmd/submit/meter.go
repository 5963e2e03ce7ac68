package main

import (
	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// meter gathers how fast the workers are, for the forecasts of later runs in the same work directory.
type meter struct {
	plan *plan.Plan
	seen plan.Calibration
	some bool
}

func newMeter(p *plan.Plan) *meter { return &meter{plan: p} }

func (m *meter) observe(j plan.Job, e result.End) {
	m.seen.Observe(m.plan, j, e)
	m.some = true
}

// save adds what was seen to what the work directory knows.
func (m *meter) save() error {
	if !m.some {
		return nil
	}
	path := calibrationFile(m.plan.Spec.WorkDir)
	known, err := plan.LoadCalibration(path)
	if err != nil {
		known = plan.Calibration{} // it is only a help: one that cannot be read is begun anew
	}
	known.Merge(m.seen)
	return known.Save(path)
}
