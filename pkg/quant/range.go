package quant

import (
	"fmt"
	"math"

	"sextant/pkg/qformat"
	"sextant/pkg/spec"
)

// Whole as Grid.Group or Grid.BlockRows: all inputs, all outputs.
const Whole = math.MaxInt

// blockSide is the side of the squares that share a scale in granularity "block" (DeepSeek-V3's, arXiv 2412.19437).
const blockSide = 128

// Grid is what a recipe says of codes: which values of a matrix share a scale, and how it follows from their range.
type Grid struct {
	Bits       int    // 2 to 8; of Float 8
	Float      bool   // e4m3fn values instead of integers
	Group      int    // inputs that share a scale, at least 1; more than a matrix has: all
	BlockRows  int    // outputs that share a scale, at least 1; more than a matrix has: all. Integers: 1
	Symmetric  bool   // integers around 0
	Convention string // "llmc", "gptq" or "compressed-tensors"
	Scale      string // "f16", "bf16" or "f32": scales are rounded to it before codes are made
}

// GridOf is the grid of a recipe with its defaults filled in, for a matrix of so many inputs. A group must divide them.
func GridOf(q spec.Quant, cols int) (Grid, error) {
	g := Grid{Bits: q.Bits, Float: q.Method == "fp8", Group: Whole, BlockRows: 1, Convention: q.Convention, Scale: q.ScaleDType}
	g.Symmetric = g.Float || q.Symmetric != nil && *q.Symmetric
	switch q.Granularity {
	case "group":
		g.Group = q.Group
		if q.Group < 1 || cols%q.Group != 0 {
			return g, fmt.Errorf("a matrix of %d inputs does not divide into groups of %d: choose a group that divides it, or granularity %q",
				cols, q.Group, "channel")
		}
	case "channel":
	case "tensor":
		g.BlockRows = Whole
	case "block":
		g.Group, g.BlockRows = blockSide, blockSide
	default:
		return g, fmt.Errorf("granularity %q: want group, channel, tensor or block", q.Granularity)
	}
	return g, g.check()
}

func (g Grid) check() error {
	switch {
	case g.Bits < 2 || g.Bits > 8 || g.Float && g.Bits != 8:
		return fmt.Errorf("codes of %d bits: want 2 to 8, and 8 of fp8", g.Bits)
	case g.Group < 1 || g.BlockRows < 1:
		return fmt.Errorf("a scale of %d outputs and %d inputs: want at least 1", g.BlockRows, g.Group)
	case !g.Float && g.BlockRows != 1:
		return fmt.Errorf("integer codes with a scale of several outputs: only fp8 has granularity %q and %q", "tensor", "block")
	case !g.Float && g.Convention != "llmc" && g.Convention != "gptq" && g.Convention != "compressed-tensors":
		return fmt.Errorf("convention %q: want llmc, gptq or compressed-tensors", g.Convention)
	case formatOf[g.Scale].digits == 0:
		return fmt.Errorf("scale dtype %q: want f16, bf16 or f32", g.Scale)
	}
	return nil
}

// format is a binary floating-point format: the digits of a significand, the exponent of the least normal value, the greatest value.
type format struct {
	digits, least int
	most          float64
}

var formatOf = map[string]format{
	"f16":  {11, -14, 65504},
	"bf16": {8, -126, 0x1.fep127},
	"f32":  {24, -126, math.MaxFloat32},
}

// tiny is the least value above 0.
func (f format) tiny() float64 { return math.Ldexp(1, f.least+1-f.digits) }

// round rounds x >= 0 half to even.
func (f format) round(x float64) float64 {
	_, e := math.Frexp(x)
	unit := max(math.Ldexp(1, e-f.digits), f.tiny())
	return math.RoundToEven(x/unit) * unit
}

// step is how the values of one group become integer codes: w' = (code - zero) * scale.
type step struct{ scale, zero, top float64 }

// code is clamp(round(w/scale) + zero, 0, top), rounding half to even; the quotient is of float64.
func (s step) code(w float64) float64 {
	q := math.RoundToEven(w/s.scale) + s.zero
	if q < 0 {
		return 0
	}
	if q > s.top {
		return s.top
	}
	return q
}

// value is the weight of a code, in float32 as kernels and loaders compute it.
func (s step) value(code float64) float32 { return float32(code-s.zero) * float32(s.scale) }

// ranger makes steps of ranges. It is a Grid with what each group would look up again.
type ranger struct {
	Grid
	format
	top float64
}

func (g Grid) ranger() ranger {
	return ranger{Grid: g, format: formatOf[g.Scale], top: float64(int(1)<<g.Bits - 1)}
}

// step is the step of a group whose values are in [lo, hi], by the convention:
//
//	                    scale, symmetric     scale, asymmetric        zero of asymmetric    no range
//	llmc                absmax / (2^(b-1)-1)  (hi - lo) / (2^b-1)      -round(lo / scale)    range 1e-5
//	gptq                2 absmax / (2^b-1)    the same, 0 in [lo, hi]  -round(lo / scale)    range -1 to 1
//	compressed-tensors  2 absmax / (2^b-1)    the same, 0 in [lo, hi]  -round(lo / scale)    scale = the dtype's epsilon
//
// The zero of a symmetric one is 2^(b-1). In llmc's asymmetric convention the zero of a group whose values are all of one sign is clamped
// to the end of the codes, which loses the group (a row of 0.5 becomes 1e-5): there, and only there, 0 is forced into the range too.
// A scale is rounded before the zero is found; one that would round to 0 is the least of the dtype.
func (r ranger) step(lo, hi float64) (step, error) {
	s := step{top: r.top}
	if r.Symmetric {
		a := max(-lo, hi)
		s.zero = (r.top + 1) / 2
		if r.Convention == "llmc" {
			s.scale = max(a, 1e-5) / (s.zero - 1)
		} else {
			s.scale = r.guard(2*a) / r.top
		}
		return r.rounded(s)
	}
	if r.Convention == "llmc" {
		s.scale = max(hi-lo, 1e-5) / r.top
		s, err := r.rounded(s)
		s.zero = -math.RoundToEven(lo / s.scale)
		if s.zero >= 0 && s.zero <= r.top || err != nil {
			return s, err
		}
	}
	lo, hi = min(lo, 0), max(hi, 0)
	s.scale = r.guard(hi-lo) / r.top
	if hi == lo && r.Convention == "gptq" {
		lo = -1
	}
	s, err := r.rounded(s)
	s.zero = min(max(-math.RoundToEven(lo/s.scale), 0), r.top)
	return s, err
}

// guard is the range of a group that has none.
func (r ranger) guard(width float64) float64 {
	switch {
	case width > 0:
		return width
	case r.Convention == "gptq":
		return 2
	}
	return r.top * math.Ldexp(1, 1-r.digits)
}

// rounded is s with its scale rounded to the dtype.
func (r ranger) rounded(s step) (step, error) {
	scale, err := r.scale(s.scale)
	s.scale = scale
	return s, err
}

func (r ranger) scale(x float64) (float64, error) {
	y := max(r.round(x), r.tiny())
	if y > r.most {
		return y, fmt.Errorf("a scale of %.4g is beyond %s: set scale_dtype to bf16 or f32", x, r.Scale)
	}
	return y, nil
}

// shape is the matrix that the grid makes of one [rows, cols], without codes, scales and zeros.
func (g Grid) shape(rows, cols int) *qformat.Matrix {
	return &qformat.Matrix{Rows: rows, Cols: cols, Bits: g.Bits, Float: g.Float, Symmetric: g.Symmetric || g.Float,
		Group: min(g.Group, cols), BlockRows: min(g.BlockRows, rows)}
}

// blank has room for them.
func (g Grid) blank(rows, cols int) *qformat.Matrix {
	m := g.shape(rows, cols)
	m.Codes = make([]byte, rows*cols)
	m.Scales = make([]float32, m.Tall()*m.Wide())
	if !m.Symmetric {
		m.Zeros = make([]byte, len(m.Scales))
	}
	return m
}
