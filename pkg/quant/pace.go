package quant

import (
	"fmt"
	"time"

	"sextant/pkg/model"
)

// pace is how far the block in hand is. A block is made in phases, each of which is said once. In the first block of an attempt a phase
// counts by the multiplications that it is expected to take, in the others by the seconds that it took in the block before.
type pace struct {
	weight    map[string]float64 // of the block's phases
	whole     float64            // the sum of these
	over      float64            // of the phases that are over
	took      map[string]float64 // seconds that a phase took when it was last over
	phase     string             // in hand; "": none
	begun     time.Time          // of the phase
	units, of float64            // of the phase: that are done, and all; of 0: they are not counted
}

// block begins a block whose phases are expected to take so many multiplications.
func (p *pace) block(work map[string]float64) {
	p.end()
	p.weight, p.whole, p.over = map[string]float64{}, 0, 0
	for phase := range work {
		seconds, ok := p.took[phase]
		if !ok {
			p.weight = work
			break
		}
		p.weight[phase] = seconds
	}
	for _, w := range p.weight {
		p.whole += w
	}
}

// say begins a phase of so many units.
func (p *pace) say(phase string, of float64) {
	p.end()
	p.phase, p.begun, p.units, p.of = phase, time.Now(), 0, of
}

func (p *pace) end() {
	if p.phase == "" {
		return
	}
	p.took[p.phase] = time.Since(p.begun).Seconds()
	p.over += p.weight[p.phase]
	p.phase = ""
}

// part is how much of the block is done, from 0 to 1.
func (p *pace) part() float64 {
	done := p.over
	if p.of > 0 {
		done += p.weight[p.phase] * min(1, p.units/p.of)
	}
	if p.whole == 0 {
		return 0
	}
	return min(1, done/p.whole)
}

// foreseen is the part of a block from which on the time that is left can be told.
const foreseen = 0.05

// tell reports progress.
func (r *runner) tell() {
	if r.job.Progress == nil {
		return
	}
	p := Progress{Block: r.at, Blocks: r.layers(), Phase: r.pace.phase, Part: r.pace.part()}
	if done := float64(r.at-r.first) + p.Part; done >= foreseen {
		p.ETA = time.Duration(float64(time.Since(r.started)) / done * (float64(p.Blocks-p.Block) - p.Part))
	}
	r.job.Progress(p)
}

// say begins a phase of so many units; 0: they are not counted.
func (r *runner) say(phase string, of float64) {
	r.pace.say(phase, of)
	r.tell()
}

// did counts units of the phase in hand.
func (r *runner) did(units float64) {
	r.pace.units += units
	r.tell()
}

// perValue is about how many multiplications take as long as rounding a value.
const perValue = 256

// work is about how many multiplications each phase of the block takes.
func (b *shaped) work() map[string]float64 {
	work, before, grams := map[string]float64{}, 0.0, 0.0
	for s := model.SiteQKV; s <= model.SiteDown; s++ {
		b.siteWork(work, s, before)
		values, cols := b.extent(s)
		before += values
		if b.r.job.Recipe.Method == "awq" && len(b.quantized(s)) > 0 && b.grams(s) {
			grams += cols * cols
		}
	}
	switch {
	case b.r.job.Recipe.Method == "gptq":
		work["loading"] = before
		if b.r.next() != "" {
			work["running the rounded block"] = b.r.sample.tokens() * before
		}
	case b.r.calibrates():
		work["calibrating"] = b.r.sample.tokens() * (before + grams)
	}
	work["writing"] = perValue * before
	return work
}

// siteWork adds the phases of a site, before whose matrices a token has met so many weights.
func (b *shaped) siteWork(work map[string]float64, s model.Site, before float64) {
	rounding := perValue * b.rounded(s)
	if rounding == 0 {
		return
	}
	q := b.r.job.Recipe
	switch q.Method {
	case "gptq":
		_, cols := b.extent(s)
		work[fmt.Sprint("calibrating ", s)] = b.r.sample.tokens() * (before + cols*cols)
		work[fmt.Sprint("rounding ", s)] = rounding + b.gptqCost(s) + cols*cols*cols/3
	case "awq":
		if b.folds(s) {
			search := b.searchCost(s)
			if q.AWQ.Objective == "output" { // that is of tokens
				values, _ := b.extent(s)
				search *= values
			}
			work[fmt.Sprint("searching ", s)] = search + float64(q.AWQ.Grid)*rounding
		}
		if b.clips(s) {
			work[fmt.Sprint("clipping ", s)] = b.clipCost(s) + clipTries*rounding
		}
		work[fmt.Sprint("rounding ", s)] = rounding
	default:
		work["rounding"] += rounding
	}
}

// extent is how many weights a site has, ignored ones too, and how many inputs.
func (b *shaped) extent(s model.Site) (values, cols float64) {
	for _, name := range b.sites[s] {
		if t, err := b.r.job.Checkpoint.View(name); err == nil && len(t.Shape) == 2 {
			cols = float64(t.Shape[1])
			values += float64(t.Shape[0]) * cols
		}
	}
	return values, cols
}

// rounded is how many of them are rounded.
func (b *shaped) rounded(s model.Site) (values float64) {
	for _, name := range b.quantized(s) {
		values += float64(b.r.shapes[name].Rows) * float64(b.r.shapes[name].Cols)
	}
	return values
}

// searchCost is what AWQ's search of a site's scale counts: multiplications, or, with the objective "output", tokens.
func (b *shaped) searchCost(s model.Site) (cost float64) {
	q := b.r.job.Recipe.AWQ
	if q.Objective == "output" {
		return float64(q.Grid+2) * b.r.sample.tokens()
	}
	for _, name := range b.quantized(s) {
		m := b.r.shapes[name]
		cost += float64(q.Grid) * float64(m.Rows) * formCost(m.Cols)
	}
	return cost
}

// clipCost is the multiplications of the search of a site's ranges.
func (b *shaped) clipCost(s model.Site) (cost float64) {
	for _, name := range b.quantized(s) {
		if m := b.r.shapes[name]; b.clipped(name) {
			groups := float64(m.Cols/m.Group)*formCost(m.Group) + formCost(m.Cols%m.Group)
			cost += clipTries * float64(m.Rows) * groups
		}
	}
	return cost
}

// gptqCost is the multiplications of GPTQ on a site.
func (b *shaped) gptqCost(s model.Site) (cost float64) {
	block := b.r.job.Recipe.GPTQ.Block
	for _, name := range b.quantized(s) {
		m := b.r.shapes[name]
		for from := 0; from < m.Cols; from += errorSide {
			wide := min(errorSide, m.Cols-from)
			cost += float64(m.Rows) * float64(wide) * float64(from+wide)
		}
		for from := 0; from < m.Cols; from += block {
			cost += float64(m.Rows) * float64(min(block, m.Cols-from)) * float64(from)
		}
	}
	return cost
}
