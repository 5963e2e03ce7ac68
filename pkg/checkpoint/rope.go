package checkpoint

import "math"

// RopeConfig says how positions become angles. Fields a type does not use are 0.
type RopeConfig struct {
	Type  string  // "default", "linear", "dynamic", "llama3", "yarn"
	Theta float64 // base of the frequencies

	Factor          float64 // how far the context is stretched
	OriginalMax     int     // positions before stretching; dynamic: where stretching begins
	LowFreqFactor   float64 // llama3
	HighFreqFactor  float64 // llama3
	BetaFast        float64 // yarn: rotations over OriginalMax above which a frequency is kept
	BetaSlow        float64 // yarn: rotations below which it is divided by Factor
	Untruncated     bool    // yarn: the bounds between the two are not rounded to whole dimensions
	AttentionFactor float64 // yarn: multiplies cosines and sines
}

// rope fills c.Rope and stretches c.MaxPositions. Written by transformers 4 as rope_theta and rope_scaling, by 5 as rope_parameters.
func (f *fields) rope(c *Config) {
	c.Rope = RopeConfig{Type: "default", Theta: f.positive("rope_theta", 10000)}
	key := "rope_scaling"
	if !f.has(key) {
		key = "rope_parameters"
	}
	if !f.has(key) {
		return
	}
	r := &fields{prefix: key + ".", faults: f.faults}
	if !f.decode(key, &r.values, "an object") {
		return
	}
	for _, t := range []string{"full_attention", "sliding_attention"} {
		if r.has(t) {
			r.fail(t, "a rope for each type of layer is not supported")
			return
		}
	}
	c.Rope.Theta = r.positive("rope_theta", c.Rope.Theta)
	c.Rope.Type = r.text("rope_type", r.text("type", "default"))
	if r.number("partial_rotary_factor", 1) != 1 {
		r.fail("partial_rotary_factor", "only 1 is supported")
	}
	r.scaling(c, f.whole("original_max_position_embeddings", 0))
}

// scaling reads what c.Rope.Type needs. original, if not 0, is the model's own original_max_position_embeddings, which wins.
func (f *fields) scaling(c *Config, original int) {
	p := &c.Rope
	if p.Type == "default" {
		return
	}
	if p.Factor = f.number("factor", 0); !(p.Factor >= 1) {
		f.addf("factor = %s: rope type %q needs a number of at least 1", f.raw("factor"), p.Type)
		p.Factor = 1
	}
	if original <= 0 {
		original = f.size("original_max_position_embeddings", max(c.MaxPositions, 1))
	}
	switch p.Type {
	case "linear":
		c.stretch(c.MaxPositions)
	case "dynamic":
		p.OriginalMax = c.MaxPositions
		c.stretch(p.OriginalMax)
		if c.HeadDim < 4 {
			f.addf("rope_type = \"dynamic\": needs a head_dim of at least 4, not %d", c.HeadDim)
		}
	case "llama3":
		p.OriginalMax = original
		p.LowFreqFactor, p.HighFreqFactor = f.positive("low_freq_factor", 0), f.positive("high_freq_factor", 0)
		if !(p.HighFreqFactor > p.LowFreqFactor && p.LowFreqFactor > 0) {
			f.addf("low_freq_factor = %s, high_freq_factor = %s: want 0 < low < high", f.raw("low_freq_factor"), f.raw("high_freq_factor"))
		}
	case "yarn":
		p.OriginalMax = original
		f.yarn(p)
		c.stretch(p.OriginalMax)
	default:
		f.addf("rope_type = %q is not supported; supported: default, linear, dynamic, llama3, yarn", p.Type)
	}
}

// yarn reads the options of YaRN (arXiv 2309.00071), with transformers' defaults.
func (f *fields) yarn(p *RopeConfig) {
	p.BetaFast, p.BetaSlow = f.positive("beta_fast", 32), f.positive("beta_slow", 1)
	if p.BetaFast < p.BetaSlow {
		f.fail("beta_fast", "want at least beta_slow = %v", p.BetaSlow)
	}
	if p.Theta == 1 {
		f.fail("rope_theta", "yarn needs a base other than 1")
	}
	p.Untruncated = !f.boolean("truncate", true)
	mscale := func(m float64) float64 { return 0.1*m*math.Log(p.Factor) + 1 }
	p.AttentionFactor = mscale(1)
	if m, all := f.number("mscale", 0), f.number("mscale_all_dim", 0); m != 0 && all != 0 {
		p.AttentionFactor = mscale(m) / mscale(all)
	}
	p.AttentionFactor = f.positive("attention_factor", p.AttentionFactor)
}

// stretch raises MaxPositions to what scaling so many positions gives. max_position_embeddings is read as the length before linear and
// dynamic scaling; yarn and llama3 say their own.
func (c *Config) stretch(positions int) {
	c.MaxPositions = max(c.MaxPositions, int(min(float64(positions)*c.Rope.Factor, maxSize)))
}
