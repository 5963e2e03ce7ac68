package score

import (
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Fill adds to the variants what their quantizations made: made has the manifests, by the name of the variant's directory ("ABBR-RECIPE",
// "ABBR-RECIPE-transformed"), and runs tells by variant what the model computed with. A variant that either lacks is left as it is. Scores
// that were read from a file are to be filled again, for the file does not have the seconds.
func (s *Scores) Fill(made map[string]result.Manifest, runs map[string]string) {
	for i := range s.Variants {
		v := &s.Variants[i]
		if text, ok := runs[v.Model]; ok {
			v.Runs = text
		}
		dir := v.Model
		if v.Position == spec.FakeQuant {
			dir = v.Of + "-" + v.Recipe // it is the packed one, with its values as f32
		}
		m, ok := made[dir]
		if !ok || v.Position == spec.Pretrain {
			continue
		}
		v.Layout, v.Bits, v.Quantized, v.Parameters, v.Bytes = m.Layout, m.Bits, m.Quantized, m.Parameters, m.Bytes
		v.Calib, v.Seconds, v.Reason = m.Calib, m.Seconds, ""
	}
}
