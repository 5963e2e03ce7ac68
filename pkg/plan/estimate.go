package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"sextant/pkg/checkpoint"
	"sextant/pkg/dataset"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// Estimate is how many tokens the rows of a task put through a model, as a straight line over their sizes. The zero Estimate says that
// nothing is known: every row of the task weighs the same.
type Estimate struct {
	Sizes   []uint32 // of each row: bytes shown to the model, rolling: tokens; nil: all rows are alike. Tasks of a dataset share them
	Shared  int64    // tokens that all rows begin with; each shard computes them once
	Fixed   int64    // of a row, whatever its size; in fractions of a token
	PerUnit int64    // and for each unit of its size; in fractions of a token
}

// fractions of a token: integers, so that a plan does not depend on how a processor rounds.
const fractions = 1 << 20

// maxPerUnit keeps the product with any size an int64: a thousand tokens a byte.
const maxPerUnit = 1 << 30

// row is how many tokens a row takes, at least 1.
func (e *Estimate) row(i int) int64 {
	n := e.Fixed
	if i < len(e.Sizes) {
		n += e.PerUnit * int64(e.Sizes[i])
	}
	return max((n+fractions/2)/fractions, 1)
}

// even says that all rows weigh the same.
func (e *Estimate) even() bool {
	return e.PerUnit == 0 || len(e.Sizes) == 0 || !slices.ContainsFunc(e.Sizes, func(n uint32) bool { return n != e.Sizes[0] })
}

// Of a task with more rows than this, as many are looked at, spread evenly over it.
const sampledRows = 32

// outShare is the part of its output limit that a generated row is thought to use: stop strings end most answers early. It is a guess;
// what is learnt from finished runs is only how fast workers are.
const outShare = 0.5

// cachePage is how many tokens the engine shares at a time: of each further text of a row, half a page in the mean is computed again.
const cachePage = 16

// estimator looks at rows with a model's own tokenizer.
type estimator struct {
	model *spec.Model
	data  spec.Dataset
	tok   *tokenizer.Tokenizer
	roles *dataset.Roles
	limit int // tokens of a sequence; more are cut off
}

// sample is one row looked at: its texts, and its tokens without what all rows share.
type sample struct {
	texts  []string // sorted, so that those with a common beginning are neighbours
	alone  []string // texts that begin with nothing of the row
	size   uint32
	tokens int64

	rendered bool // by a chat template
}

// encode tokenizes a piece of a row's texts; first says that it is their beginning.
func (e *estimator) encode(s *sample, text string, first bool) []int32 {
	switch {
	case s.rendered:
		return e.tok.EncodeRendered(text)
	case first:
		return e.tok.EncodePrompt(text)
	}
	return e.tok.Encode(text)
}

// items estimates the rows of a set. A row's texts (its labels' prompts, or the context with each continuation) count as an engine
// computes them that shares prefixes: what a text has in common with another of the row counts once, and what all rows begin with, their
// fixed examples, goes to Shared.
func (e *estimator) items(set *dataset.Set, sizes []uint32) (Estimate, error) {
	n := min(set.Len(), sampledRows)
	samples := make([]sample, n)
	for i := range samples {
		row := i * set.Len() / n
		item, err := set.Item(row, e.roles)
		if err != nil {
			return Estimate{}, err
		}
		samples[i] = sample{size: sizes[row]}
		samples[i].add(item)
	}
	prefix := commonPrefix(samples)
	shared := len(e.encode(&samples[0], prefix, true))
	longest := 0
	for i := range samples {
		longest = max(longest, e.count(&samples[i], len(prefix)))
	}
	if over := shared + longest - e.limit; over > 0 { // examples are dropped
		shared = max(0, shared-over)
	}
	est := fit(samples)
	est.Sizes, est.Shared = sizes, int64(shared/cachePage*cachePage)
	est.Fixed += int64(shared%cachePage+e.output()) * fractions
	return est, nil
}

// add gives a sample the texts of a row that go through the model.
func (s *sample) add(item *dataset.Item) {
	for _, p := range item.Prompts(item.Examples()) {
		s.rendered = p.Rendered
		if len(p.Continuations) == 0 {
			s.texts = append(s.texts, p.Text)
		}
		for i, c := range p.Continuations {
			s.texts = append(s.texts, p.Text+c)
			if i < len(p.Normalizing) {
				s.alone = append(s.alone, p.Normalizing[i]+c)
			}
		}
	}
	slices.Sort(s.texts)
}

// count sets the tokens of a row behind the first skip bytes of its texts, and gives those of its longest text.
func (e *estimator) count(s *sample, skip int) (longest int) {
	for i, text := range s.texts {
		from := skip
		if i > 0 {
			from = max(skip, dataset.Common(s.texts[i-1], text))
		}
		n := min(len(e.encode(s, text[from:], false)), e.limit)
		if longest = max(longest, n); i > 0 {
			n += cachePage / 2
		}
		if e.data.Mode != spec.Gen {
			n-- // the last token is only predicted
		}
		s.tokens += int64(max(n, 0))
	}
	for _, text := range s.alone {
		s.tokens += int64(min(len(e.tok.EncodePrompt(text)), e.limit))
	}
	return longest
}

// output is how many tokens a row is expected to generate.
func (e *estimator) output() int {
	if e.data.Mode != spec.Gen {
		return 0
	}
	most := e.data.Gen.MaxOutLen
	if e.model.MaxOutLen > 0 {
		most = min(most, e.model.MaxOutLen)
	}
	return int(math.Ceil(outShare * float64(most)))
}

// commonPrefix is what all texts of all samples begin with; with one sample nothing is known to be shared.
func commonPrefix(samples []sample) string {
	first := samples[0].texts[0]
	n := len(first)
	for _, s := range samples {
		for _, text := range s.texts {
			n = min(n, dataset.Common(first, text))
		}
	}
	if len(samples) == 1 {
		n = 0
	}
	return first[:n]
}

// fit lays a line through the samples by least squares, from their sizes to their tokens. It never falls, nor begins below 0. The
// conversions forbid that products and sums are rounded at once, as only some processors do.
func fit(samples []sample) Estimate {
	var x, y, xx, xy float64
	n := float64(len(samples))
	for _, s := range samples {
		x, y = x+float64(s.size), y+float64(s.tokens)
	}
	x, y = x/n, y/n
	for _, s := range samples {
		dx, dy := float64(s.size)-x, float64(s.tokens)-y
		xx, xy = xx+float64(dx*dx), xy+float64(dx*dy)
	}
	slope := 0.0
	if xx > 0 {
		slope = min(max(xy/xx, 0), y/x)
	}
	return Estimate{Fixed: fraction(y - float64(slope*x)), PerUnit: min(fraction(slope), maxPerUnit)}
}

func fraction(tokens float64) int64 { return int64(math.Round(max(tokens, 0) * fractions)) }

// windowSizes counts a rolling dataset's tokens, of which a window's last is only predicted.
func windowSizes(windows []dataset.Window) Estimate {
	e := Estimate{Sizes: make([]uint32, len(windows)), PerUnit: fractions}
	for i, w := range windows {
		e.Sizes[i] = uint32(len(w.Tokens) - 1)
	}
	return e
}

// params counts a model's parameters by its architecture, and the bytes of its weights by the format of its embedding.
func params(ck *checkpoint.Checkpoint) (params, bytes int64, err error) {
	c := ck.Config()
	embed, err := ck.View(c.EmbedName())
	if err != nil {
		return 0, 0, fmt.Errorf("counting parameters: %w", err)
	}
	hidden, attn, kv := int64(c.Hidden), int64(c.Heads)*int64(c.HeadDim), int64(c.KVHeads)*int64(c.HeadDim)
	layer := hidden*(2*attn+2*kv) + 3*hidden*int64(c.Intermediate) + 2*hidden
	tables := int64(2)
	if c.TieEmbeddings {
		tables = 1
	}
	params = int64(c.Layers)*layer + tables*int64(c.Vocab)*hidden + hidden
	width := int64(2)
	if strings.HasSuffix(embed.DType, "32") {
		width = 4
	}
	return params, params * width, nil
}

// contextOf is the longest sequence that a model takes.
func contextOf(m *spec.Model, c *checkpoint.Config) int {
	most := cmp.Or(m.MaxSeqLen, c.MaxPositions)
	if c.MaxPositions > 0 {
		most = min(most, c.MaxPositions)
	}
	return most
}
