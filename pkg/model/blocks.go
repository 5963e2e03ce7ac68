package model

import (
	"context"
	"errors"
	"fmt"

	"sextant/internal/halves"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
)

// Site is a place in a block where matrices share their input: an index of checkpoint.LayerNames.Sites.
type Site int

// The sites of a block, in the order of the computation.
const (
	SiteQKV    Site = iota // queries, keys and values: the attention norm's output, [tokens, hidden]
	SiteO                  // the output matrix of attention: mixed values, [tokens, heads*head_dim]
	SiteGateUp             // gate and up: the MLP norm's output, [tokens, hidden]
	SiteDown               // the last matrix of the MLP: silu(gate) * up, [tokens, intermediate]
)

var siteNames = [...]string{"qkv", "o", "gate_up", "down"}

func (s Site) String() string {
	if s >= 0 && int(s) < len(siteNames) {
		return siteNames[s]
	}
	return fmt.Sprintf("site %d", int(s))
}

// Tap sees what goes into a site's matrices: on the device, in f32, a row for each token of the pass, with a stride that may be larger than
// its columns. It is valid, and holds these values, for what the tap gives to Blocks.Stream before it returns. ErrStop ends the pass.
type Tap func(s Site, in kernels.Tensor) error

// ErrStop from a Tap ends a pass without an error: there is nothing more to see in it.
var ErrStop = errors.New("the pass is to end here")

// passTokens is how many tokens of hidden states are on the device at once, at most: their activations, and the cache of their sequences.
const passTokens = 2048

// blockPage is the positions of a page of that cache.
const blockPage = 64

// Blocks are the blocks of a model, to be run one at a time over hidden states that lie in host memory: for calibration. Only the weights of
// the blocks that are loaded, and a pass of at most 2048 tokens, are on the device; activations are f32 there. Quantized matrices are
// dequantized, and no activation is rounded. A model's own pass runs over them (forward.go): blocks, final norm and output matrix give the
// bits of Model.Forward where that has f32 activations and no quantized matrix. It is used by one goroutine at a time.
type Blocks struct {
	m     *Model // without weights
	ck    *checkpoint.Checkpoint
	kv    *kernels.KV
	pages int // of kv
	ctx   context.Context
}

// OpenBlocks prepares to run ck's blocks on dev; both must stay open until Close. ctx ends a run between two passes.
func OpenBlocks(ctx context.Context, dev *kernels.Device, ck *checkpoint.Checkpoint) (*Blocks, error) {
	if err := ck.FetchAll(); err != nil {
		return nil, fmt.Errorf("opening the blocks: %w", err)
	}
	info, err := dev.Info()
	if err != nil {
		return nil, fmt.Errorf("opening the blocks: %w", err)
	}
	stream, err := dev.NewStream()
	if err != nil {
		return nil, fmt.Errorf("opening the blocks: %w", err)
	}
	return &Blocks{m: &Model{cfg: ck.Config(), dev: dev, info: info, stream: stream, act: kernels.F32}, ck: ck, ctx: ctx}, nil
}

// Close frees what is on the device, but for blocks that are still open. It may be called twice.
func (b *Blocks) Close() {
	if b.kv != nil {
		b.kv.Free()
		b.kv = nil
	}
	b.m.Close()
}

// Stream is where blocks run; a tap gives its own work to it.
func (b *Blocks) Stream() *kernels.Stream { return b.m.stream }

// Device is where blocks run.
func (b *Blocks) Device() *kernels.Device { return b.m.dev }

// Embed gives the hidden states [len(tokens), hidden] that go into the first block.
func (b *Blocks) Embed(tokens []int32) ([]float32, error) {
	c := b.m.cfg
	t, err := b.ck.View(c.EmbedName())
	if err != nil {
		return nil, fmt.Errorf("embedding: %w", err)
	}
	if err := t.Need(b.ctx); err != nil {
		return nil, fmt.Errorf("embedding: %w", err)
	}
	out := make([]float32, len(tokens)*c.Hidden)
	var row []byte
	for i, id := range tokens {
		if id < 0 || int(id) >= c.Vocab {
			return nil, fmt.Errorf("embedding: token %d has id %d, the model's vocabulary is %d", i, id, c.Vocab)
		}
		row = t.Rows(row, int(id), 1)
		halves.Widen(out[i*c.Hidden:(i+1)*c.Hidden], t.DType, row)
	}
	return out, nil
}

// reserve makes a cache for so many pages, or takes the one that is there. Nothing of what is in it is read again.
func (b *Blocks) reserve(pages int) error {
	if pages <= b.pages {
		return nil
	}
	if b.kv != nil {
		b.kv.Free()
		b.kv, b.pages = nil, 0
	}
	kv, err := b.m.dev.NewKV(kernels.KVDesc{Layers: 1, KVHeads: b.m.cfg.KVHeads, HeadDim: b.m.cfg.HeadDim, PageSize: blockPage, Pages: pages,
		DType: kernels.F32})
	if err != nil {
		return fmt.Errorf("making a cache of %d positions: %w", pages*blockPage, err)
	}
	b.kv, b.pages = kv, pages
	return nil
}

// piece is a part of the sequences that goes through the device at once: sequences [from, to), of each the positions [lo, hi). Only one that
// is a sequence alone is less than whole ones, so its rows follow one another.
type piece struct{ from, to, lo, hi int }

// rows are those of p among the rows of all sequences.
func (p piece) rows(seqLen int) (from, to int) {
	from = p.from*seqLen + p.lo
	return from, from + (p.to-p.from)*(p.hi-p.lo)
}

// pieces cuts n sequences into passes of at most passTokens tokens, as even as whole sequences allow, so that none is so small that a device
// sums in another order in it (kernels.Info.Few). Sequences longer than that are cut themselves.
func pieces(n, seqLen int) (all []piece) {
	if seqLen > passTokens {
		cuts := (seqLen + passTokens - 1) / passTokens
		for s := range n {
			for i := range cuts {
				all = append(all, piece{s, s + 1, i * seqLen / cuts, (i + 1) * seqLen / cuts})
			}
		}
		return all
	}
	most := passTokens / seqLen
	passes := (n + most - 1) / most
	for i := range passes {
		all = append(all, piece{i * n / passes, (i + 1) * n / passes, 0, seqLen})
	}
	return all
}

// layOut describes a piece's batch.
func (p piece) layOut(seqLen int) kernels.BatchDesc {
	n, fresh := p.to-p.from, p.hi-p.lo
	d := kernels.BatchDesc{QStart: []int32{0}, MaxPages: pagesOf(seqLen)}
	for i := range n {
		d.QStart = append(d.QStart, int32((i+1)*fresh))
		d.KVLen = append(d.KVLen, int32(p.hi))
	}
	for i := range n * d.MaxPages {
		d.Pages = append(d.Pages, int32(i))
	}
	return d
}

func pagesOf(seqLen int) int { return (seqLen + blockPage - 1) / blockPage }
