package kernels

import (
	"errors"
	"fmt"
)

// DType is a number format. F8 is e4m3fn with one scale, or one a row; I8 has one scale a row; I4 has a scale and a zero for each group of inputs.
type DType int32

// The formats, with the numbers of kernels.h.
const (
	F32 DType = iota
	BF16
	F16
	I8
	I4
	F8
)

var dtypeNames = [...]string{"f32", "bf16", "f16", "i8", "i4", "f8"}

func (t DType) String() string {
	if t >= 0 && int(t) < len(dtypeNames) {
		return dtypeNames[t]
	}
	return fmt.Sprintf("dtype %d", int32(t))
}

// Bytes is the size of an activation or of a value of a cache of this format; 0 when tensors cannot have it.
func (t DType) Bytes() int64 {
	switch t {
	case F32:
		return 4
	case BF16, F16:
		return 2
	}
	return 0
}

// What an error of this package is about; test with errors.Is.
var (
	ErrInvalid     = errors.New("invalid argument")
	ErrNoMemory    = errors.New("out of memory")
	ErrUnsupported = errors.New("unsupported")
	ErrDevice      = errors.New("device failure")
)

// Error is a refused or failed operation.
type Error struct {
	Op   string // "matmul"
	Text string // what is wrong, with the shapes
	Kind error  // one of the Err values
}

func (e *Error) Error() string { return "kernels: " + e.Op + ": " + e.Text }

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

func invalid(op, format string, args ...any) error {
	return &Error{Op: op, Text: fmt.Sprintf(format, args...), Kind: ErrInvalid}
}

// Options choose a device of a backend.
type Options struct {
	Device  int // ordinal among the visible devices; cpu and ref have one
	Threads int // cpu: worker threads; 0 is all this process may run on
}

// Info describes an open device.
type Info struct {
	Name              string // "AMD EPYC ..."
	Features          string // what was chosen, as "avx2 fma, 2 threads"
	Memory, Free      int64  // bytes; 0 when unknown
	Threads           int
	ComputeCapability int // 90 for sm_90; 0 on CPUs
	// Layout names the form that Pack gives weights; "" where the backend has none. Devices of one layout can use what another packed.
	Layout string
	Narrow bool // activations and caches may be BF16 and F16, also beside F32 in one call; sums are of F32
	Pieces bool // a weight may be made without data, for Weight.Put to fill
	// Few is the number of rows up to which MatMul sums in another order than beyond: a row has the same bits in all calls of up to so
	// many rows, and in all larger ones. 0: one order.
	Few int
	// RoundsKV: a cache may round what is written into it, as KVDesc.Round says.
	RoundsKV bool
}

// Peak is what a CPU does at best, by CPUPeak.
type Peak struct {
	Threads int
	FMA     []PeakRate // of f32 multiply-adds (two operations each), one for each build that runs here, the best build first
	ReadGBs float64    // reading memory, in 1e9 bytes a second; 0 when it was not measured
}

// PeakRate is the rate of one build.
type PeakRate struct {
	ISA    string // avx512, avx2 or scalar
	GFLOPS float64
}

// WeightDesc is a matrix [Rows = outputs, Cols = inputs] in host memory. Data holds Rows*Cols values, little-endian, row-major; I4 holds
// two codes a byte, low nibble first, with w = (q - zero) * scale. Scales: I8 [Rows]; I4 [Rows, Cols/Group]; F8 [1] or [Rows]; else nil. Zeros: I4
// [Rows, Cols/Group]. Without Data, Scales and Zeros a device whose Info has Pieces makes a weight that Put fills.
type WeightDesc struct {
	DType             DType
	Group, Rows, Cols int
	Data              []byte
	Scales, Zeros     []float32
	// Borrow lets the backend read Data, Scales and Zeros in place for the life of the weight. They must then lie outside the Go heap (as
	// a mapped file does) and stay unchanged; otherwise they are copied.
	Borrow bool
	// Embed says that the weight is for Embed alone. It stays as it is: of a mapped file only the rows that are asked for come to memory.
	Embed bool
	// Packed says that Data is what Pack wrote for a device of the same layout. Scales and Zeros are in it.
	Packed bool
}

// KVDesc is a paged cache of keys and values; a page holds PageSize positions of every layer. DType is F32 or BF16, or where Info has Narrow
// F16.
type KVDesc struct {
	Layers, KVHeads, HeadDim, PageSize, Pages int
	DType                                     DType
	// Round is how keys, once they are rotated, and values are rounded as Stream.Round does before they are stored in DType: F32 not at all;
	// I8 each head's vector of a token by its own scale; F8 with the scale 1. ErrUnsupported where Info has no RoundsKV.
	Round DType
}

// Rounding is how Stream.Round rounds: to I8 or F8 (e4m3fn), with Scale if it is greater than 0, whatever the group; for Scale 0 with a scale
// for each Group inputs of a row, the last of which may be fewer; Group 0: for the whole row.
type Rounding struct {
	To    DType
	Scale float32
	Group int
}

// BatchDesc lays out one forward pass as sx_batch_desc does: sequence s has the new tokens [QStart[s], QStart[s+1]) and with them KVLen[s]
// positions; its position p lives in page Pages[s*MaxPages+p/PageSize].
// Tokens, one for each new token, are for EmbedBatch; nil: none.
type BatchDesc struct {
	QStart, KVLen, Pages []int32
	MaxPages             int
	Tokens               []int32
}

// check holds what C cannot see: the lengths of the arrays.
func (d BatchDesc) check() error {
	if len(d.QStart) == 0 || len(d.KVLen) != len(d.QStart)-1 || d.MaxPages < 0 || len(d.Pages) != len(d.KVLen)*d.MaxPages {
		return invalid("batch", "%d q_start, %d kv_len, %d pages with max_pages %d: want n+1, n and n*max_pages",
			len(d.QStart), len(d.KVLen), len(d.Pages), d.MaxPages)
	}
	if last := int(d.QStart[len(d.KVLen)]); d.Tokens != nil && len(d.Tokens) != last {
		return invalid("batch", "%d tokens for sequences that have %d", len(d.Tokens), last)
	}
	return nil
}

// Rope tells how q and k are rotated. Table is an f32 tensor [positions, Dims]: cosines of Dims/2 angles, then their sines. Only the
// first Dims of a head turn: pairs (i, i+Dims/2) as HF stores them, or (2i, 2i+1) when Interleaved.
type Rope struct {
	Table       Tensor
	Dims        int
	Interleaved bool
}

// RopeArgs are the arguments of RopeKV: q [T, heads*HeadDim] is rotated in place; k and v [T, KVHeads*HeadDim] go into the cache.
type RopeArgs struct {
	Q, K, V Tensor
	Rope    Rope
	KV      *KV
	Batch   *Batch
	Layer   int
}

// AttentionArgs are the arguments of Attention; Out and Q are [T, Heads*HeadDim]. Window 0 sees all earlier positions, else position p
// sees (p-Window, p].
type AttentionArgs struct {
	Out, Q               Tensor
	KV                   *KV
	Batch                *Batch
	Layer, Heads, Window int
	Scale                float32
}

// Targets are single logits that are wanted, any number of a row: that of token IDs[j] in row Rows[j]. Rows must not decrease; nil is one
// target a row.
type Targets struct{ Rows, IDs []int32 }

// LogProbs are the outcomes of rows of logits: for each row the log of the sum of their exponentials, the first argmax and its logit, and
// for each target its logit.
type LogProbs struct {
	LSE       []float64
	Target    []float32
	Best      []int32
	BestLogit []float32
}

// SampleDesc tells how to draw a token: Temperature <= 0 is argmax, TopK 0 and TopP >= 1 are off.
type SampleDesc struct {
	Temperature float32
	TopK        int
	TopP        float32
}

// rowScales tells whether a matrix of F8 has a scale a row.
func (w WeightDesc) rowScales() bool {
	return w.DType == F8 && w.Scales != nil && len(w.Scales) == w.Rows
}

// check holds what C cannot see: the lengths of the arrays.
func (w WeightDesc) check() error {
	if w.Rows < 0 || w.Cols < 0 || w.Group < 0 || (w.Cols > 0 && w.Rows > (1<<60)/w.Cols) {
		return invalid("weight", "[%d, %d] %v with group %d", w.Rows, w.Cols, w.DType, w.Group)
	}
	n := w.Rows * w.Cols
	data, scales, zeros := 0, 0, 0
	switch w.DType {
	case F32:
		data = 4 * n
	case BF16, F16:
		data = 2 * n
	case I8:
		data, scales = n, w.Rows
	case F8:
		data, scales = n, 1
		if w.rowScales() {
			scales = w.Rows
		}
	case I4:
		if w.Group == 0 || w.Cols%2 != 0 || w.Cols%w.Group != 0 {
			return invalid("weight", "[%d, %d] i4 with group %d: want cols even and a multiple of the group", w.Rows, w.Cols, w.Group)
		}
		data, scales, zeros = n/2, n/w.Group, n/w.Group
	default:
		return invalid("weight", "unknown %v", w.DType)
	}
	if w.Packed || w.Data == nil && w.Scales == nil && w.Zeros == nil { // the backend knows its size, or whether it can be filled later
		return nil
	}
	if len(w.Data) != data || len(w.Scales) != scales || len(w.Zeros) != zeros {
		return invalid("weight", "[%d, %d] %v has %d bytes, %d scales, %d zeros: want %d, %d, %d",
			w.Rows, w.Cols, w.DType, len(w.Data), len(w.Scales), len(w.Zeros), data, scales, zeros)
	}
	return nil
}
