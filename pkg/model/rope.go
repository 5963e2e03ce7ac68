package model

import (
	"fmt"
	"math"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// firstPositions is the size the table of rotations begins with; it doubles when a sequence is longer.
const firstPositions = 2048

// reach makes the table of rotations hold the first n positions, n <= MaxPositions.
func (m *Model) reach(n int) error {
	if n <= m.rope.Rows {
		return nil
	}
	rows := firstPositions
	for rows < n {
		rows *= 2
	}
	rows = min(rows, m.cfg.MaxPositions)
	m.graphs.drop()
	free(&m.rope) // a pass that still reads it does so to its end
	t, err := m.dev.NewTensor(rows, m.cfg.HeadDim, kernels.F32)
	if err != nil {
		return fmt.Errorf("making rotations for %d positions: %w", rows, err)
	}
	m.rope = t
	return m.stream.UploadF32(t, rotations(&m.cfg.Rope, m.cfg.HeadDim, rows))
}

// rotations gives for each of n positions the cosines of dims/2 angles, then their sines (RoFormer, arXiv 2104.09864). Angles are computed
// in float64 and rounded once.
//
// Dynamic scaling makes frequencies depend on the length of the sequence. Here position p turns as the last one of a sequence of p+1
// tokens: what transformers computes when it takes a sequence token by token. Taking a sequence beyond the original positions in one go,
// transformers turns all of it by its final length; scores would then depend on how a sequence is cut into passes.
func rotations(r *checkpoint.RopeConfig, dims, n int) []float32 {
	scale := 1.0
	if r.Type == "yarn" {
		scale = r.AttentionFactor
	}
	freq := frequencies(r, dims, r.Theta)
	out := make([]float32, n*dims)
	for p := range n {
		if r.Type == "dynamic" && p >= r.OriginalMax {
			freq = frequencies(r, dims, dynamicTheta(r, dims, p+1))
		}
		row := out[p*dims : (p+1)*dims]
		for i, f := range freq {
			sin, cos := math.Sincos(float64(p) * f)
			row[i], row[dims/2+i] = float32(cos*scale), float32(sin*scale)
		}
	}
	return out
}

// frequencies gives the dims/2 angles a position turns by, in radians.
func frequencies(r *checkpoint.RopeConfig, dims int, theta float64) []float64 {
	freq := make([]float64, dims/2)
	for i := range freq {
		f := math.Pow(theta, -2*float64(i)/float64(dims))
		switch r.Type {
		case "linear":
			f /= r.Factor
		case "llama3":
			f = llama3(r, f)
		case "yarn":
			kept := 1 - yarnRamp(r, dims, i)
			f = f*kept + f/r.Factor*(1-kept)
		}
		freq[i] = f
	}
	return freq
}

// dynamicTheta is the base for a sequence of n tokens, more than the original positions: NTK-aware scaling by the length.
func dynamicTheta(r *checkpoint.RopeConfig, dims, n int) float64 {
	stretch := r.Factor*float64(n)/float64(r.OriginalMax) - (r.Factor - 1)
	return r.Theta * math.Pow(stretch, float64(dims)/float64(dims-2))
}

// llama3 divides long wavelengths by the factor, keeps short ones and blends between (Llama 3.1's model card and code).
func llama3(r *checkpoint.RopeConfig, f float64) float64 {
	turns := float64(r.OriginalMax) * f / (2 * math.Pi) // over the original positions
	kept := (turns - r.LowFreqFactor) / (r.HighFreqFactor - r.LowFreqFactor)
	kept = min(max(kept, 0), 1)
	return f*kept + f/r.Factor*(1-kept)
}

// yarnRamp is the share of frequency i that is stretched: 0 for fast ones, 1 for slow ones (YaRN, arXiv 2309.00071).
func yarnRamp(r *checkpoint.RopeConfig, dims, i int) float64 {
	dim := func(turns float64) float64 { // where a frequency makes so many turns over the original positions
		return float64(dims) * math.Log(float64(r.OriginalMax)/(turns*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high := dim(r.BetaFast), dim(r.BetaSlow)
	if !r.Untruncated {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(dims-1))
	if low == high {
		high += 0.001
	}
	return min(max((float64(i)-low)/(high-low), 0), 1)
}
