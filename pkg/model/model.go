package model

import (
	"context"
	"fmt"
	"slices"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/packstore"
)

// Model is a loaded model. It is used by one goroutine at a time.
type Model struct {
	cfg    *checkpoint.Config
	part   Part
	dev    *kernels.Device
	info   kernels.Info
	stream *kernels.Stream
	act    kernels.DType // of activations that feed matmuls and attention, and of the cache

	embed, head, norm *kernels.Weight   // head is embed where the two are tied; embed is the first part's, the others the last one's
	layers            []layer           // of the part
	weights           []*kernels.Weight // all of them, to free
	pack              *packstore.Pack   // where the packed ones lie; nil where the backend packs none
	mapped, onDevice  int64
	headRounding      kernels.Rounding // of the output matrix's input
	kvRound           kernels.DType    // what the cache is rounded to; F32: it is not
	runs              map[string]int   // how quantized matrices run, and how many

	rope    kernels.Tensor // rotations of the first positions (rope.go)
	scratch tensors
	logits  kernels.Tensor
	held    kernels.Tensor // for the next part (Hold)
	batch   *kernels.Batch // of the last pass
	graphs  graphs
}

// layer is the weights of one layer. Where matrices of the same input are one weight, their own are nil.
type layer struct {
	attnNorm, mlpNorm *kernels.Weight
	qNorm, kNorm      *kernels.Weight // nil without QKNorm
	qkv, q, k, v, o   linear
	gateUp, gate, up  linear
	down              linear
	window            int
	rounding          [4]kernels.Rounding // of a site's input, for all its matrices
}

// sites are the matrices that share their input.
func (y *layer) sites() [4][]*linear {
	return [4][]*linear{SiteQKV: {&y.qkv, &y.q, &y.k, &y.v}, SiteO: {&y.o}, SiteGateUp: {&y.gateUp, &y.gate, &y.up}, SiteDown: {&y.down}}
}

// linear is a matrix [outputs, inputs] with its bias, nil for none.
type linear struct {
	w, bias  *kernels.Weight
	rounding kernels.Rounding // of its input, where the site's matrices round theirs each in another way
}

// Load is LoadWith without options.
func Load(dev *kernels.Device, ck *checkpoint.Checkpoint) (*Model, error) {
	return LoadWith(context.Background(), dev, ck, Options{})
}

// LoadWith brings ck's weights to dev. ck must stay open until the model is closed: its mapped memory may be used in place.
func LoadWith(ctx context.Context, dev *kernels.Device, ck *checkpoint.Checkpoint, o Options) (*Model, error) {
	m := &Model{cfg: ck.Config(), dev: dev}
	stream, err := dev.NewStream()
	if err != nil {
		return nil, fmt.Errorf("loading the model: %w", err)
	}
	m.stream = stream
	l := loader{dev: dev, ck: ck, o: o}
	l.load(ctx, m)
	m.weights, m.pack, m.mapped, m.onDevice = l.made, l.pack, l.mapped, l.onDevice
	m.info, m.runs = l.info, l.runs
	if m.act = formatOf(l.info, l.formats); o.wide {
		m.act = kernels.F32
	}
	if l.err == nil && m.Quantized() {
		l.err = m.roundCache(m.cfg.Quant.KV())
	}
	if l.err != nil {
		m.Close()
		return nil, fmt.Errorf("loading the model: %w", l.err)
	}
	return m, nil
}

// roundCache has the model's caches rounded as a checkpoint says.
func (m *Model) roundCache(how string) error {
	switch how {
	case "":
		m.kvRound = kernels.F32
		return nil
	case "int8":
		m.kvRound = kernels.I8
	case "fp8":
		m.kvRound = kernels.F8
	default:
		return fmt.Errorf("the checkpoint has a cache of %q, which is not supported; supported: int8, fp8", how)
	}
	if !m.info.RoundsKV {
		return fmt.Errorf("the checkpoint has a cache rounded to %s, and the kernels for %s round none: run it on the cpu backend", how, m.info.Name)
	}
	return nil
}

// Footprint is the memory that a model's weights take, in bytes: the host's, but for Device.
type Footprint struct {
	Device int64  // of a device that has memory of its own
	Packed int64  // in a packed form, in memory that no file stands behind
	Mapped int64  // in the checkpoint's files, of which the system keeps in memory what it has room for
	Shared bool   // the packed form is, with other processes of the machine
	Made   bool   // it was packed here, and not found
	Why    string // it is not shared, in words
}

// Footprint tells where the weights are.
func (m *Model) Footprint() Footprint {
	f := Footprint{Mapped: m.mapped, Device: m.onDevice}
	if m.pack != nil {
		f.Packed, f.Shared, f.Made, f.Why = int64(len(m.pack.Data)), m.pack.Shared, m.pack.Made, m.pack.Why
	}
	return f
}

// Config returns the architecture. It is shared: do not change it.
func (m *Model) Config() *checkpoint.Config { return m.cfg }

// Close frees the model's device memory, not the device. It may be called twice.
func (m *Model) Close() {
	for _, w := range m.weights {
		w.Free()
	}
	m.weights = nil
	if m.pack != nil {
		_ = m.pack.Close() // what it cannot remove, the next process sweeps away
		m.pack = nil
	}
	m.graphs.drop()
	if m.batch != nil {
		m.batch.Free()
		m.batch = nil
	}
	free(&m.rope)
	free(&m.logits)
	free(&m.held)
	m.scratch.free()
	m.stream.Free()
}

// NewKV makes a cache of pages of pageSize positions for the layers of this model.
func (m *Model) NewKV(pages, pageSize int) (*kernels.KV, error) {
	return m.dev.NewKV(kernels.KVDesc{Layers: len(m.layers), KVHeads: m.cfg.KVHeads, HeadDim: m.cfg.HeadDim,
		PageSize: pageSize, Pages: pages, DType: m.act, Round: m.kvRound})
}

// LogProbs gives for each row of h [rows, hidden], which Forward returned, what kernels.LogProbs says, without storing the logits.
func (m *Model) LogProbs(h kernels.Tensor, t kernels.Targets) (kernels.LogProbs, error) {
	return m.stream.LogProb(h, m.head, t)
}

// Logits gives the logits [rows, vocab] in f32 of h [rows, hidden]. They are valid until the next call of Logits or Sample.
func (m *Model) Logits(h kernels.Tensor) (kernels.Tensor, error) {
	if err := m.grow(&m.logits, h.Rows, m.cfg.Vocab, kernels.F32); err != nil {
		return kernels.Tensor{}, fmt.Errorf("making room for logits: %w", err)
	}
	out := m.logits.SliceRows(0, h.Rows)
	return out, m.stream.MatMul(out, h, m.head, nil)
}

// Sample draws a token for each row of h [rows, hidden] as d says, with u[i] in [0,1).
func (m *Model) Sample(h kernels.Tensor, d []kernels.SampleDesc, u []float64) ([]int32, error) {
	if !slices.ContainsFunc(d, func(d kernels.SampleDesc) bool { return !(d.Temperature <= 0) }) {
		lp, err := m.LogProbs(h, kernels.Targets{}) // the logits need not be stored to find the best
		return lp.Best, err
	}
	logits, err := m.Logits(h)
	if err != nil {
		return nil, err
	}
	return m.stream.Sample(logits, d, u)
}

// Download waits for the device and reads t, Rows*Cols values row by row.
func (m *Model) Download(t kernels.Tensor) ([]float32, error) {
	out := make([]float32, t.Rows*t.Cols)
	return out, m.DownloadTo(t, out)
}

// DownloadTo is Download into out, which has Rows*Cols values.
func (m *Model) DownloadTo(t kernels.Tensor, out []float32) error {
	return m.stream.DownloadF32(t, out)
}
