//go:build cgo

package kernels_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"sextant/kernels"
)

var allFormats = []kernels.DType{kernels.F32, kernels.BF16, kernels.F16, kernels.I8, kernels.I4, kernels.F8}

// matrix is a weight's description together with its values in real numbers, decoded by the test itself.
type matrix struct {
	desc  kernels.WeightDesc
	value []float64
}

// size is what an error in value i is measured against: of I4 the code and the zero are summed apart, so that one may hide the other.
func (m matrix) size(i int) float64 {
	if m.desc.DType != kernels.I4 {
		return math.Abs(m.value[i])
	}
	scale, zero := float64(m.desc.Scales[i/m.desc.Group]), float64(m.desc.Zeros[i/m.desc.Group])
	return math.Abs(m.value[i]) + 2*math.Abs(scale*zero)
}

var matrices = map[string]matrix{}

// seededMatrix is randomMatrix of a seed, made once for all backends.
func seededMatrix(seed uint64, dt kernels.DType, rows, cols, group int) matrix {
	key := fmt.Sprint(seed, dt, rows, cols, group)
	m, ok := matrices[key]
	if !ok {
		m = randomMatrix(seeded(seed), dt, rows, cols, group)
		matrices[key] = m
	}
	return m
}

// randomMatrix makes a weight of a format; group is for I4. One of F8 has a scale a row if rows and columns add up to an even number.
func randomMatrix(rng *rand.Rand, dt kernels.DType, rows, cols, group int) matrix {
	m := matrix{desc: kernels.WeightDesc{DType: dt, Rows: rows, Cols: cols}, value: make([]float64, rows*cols)}
	switch dt {
	case kernels.F32:
		return f32Matrix(normal(rng, rows*cols), rows, cols)
	case kernels.BF16, kernels.F16:
		for i := range m.value {
			h := randomHalf(rng, dt)
			m.value[i] = halfValue(dt, h)
			m.desc.Data = binary.LittleEndian.AppendUint16(m.desc.Data, h)
		}
	case kernels.I8:
		m.desc.Scales = scales(rng, rows)
		for i := range m.value {
			q := int8(rng.IntN(256) - 128)
			m.desc.Data = append(m.desc.Data, byte(q))
			m.value[i] = float64(q) * float64(m.desc.Scales[i/cols])
		}
	case kernels.F8:
		m.desc.Scales = scales(rng, 1)
		if (rows+cols)%2 == 0 {
			m.desc.Scales = scales(rng, rows)
		}
		for i := range m.value {
			b := byte(rng.IntN(256))
			if b&0x7f == 0x7f {
				b--
			}
			m.desc.Data = append(m.desc.Data, b)
			m.value[i] = f8Value(b) * float64(m.desc.Scales[i/cols%len(m.desc.Scales)])
		}
	case kernels.I4:
		m.desc.Group = group
		m.desc.Scales, m.desc.Zeros = scales(rng, rows*cols/group), scales(rng, rows*cols/group)
		m.desc.Data = make([]byte, rows*cols/2)
		for i := range m.value {
			q := rng.IntN(16)
			m.desc.Zeros[i/group] = float32(i / group % 16)
			m.desc.Data[i/2] |= byte(q << (i % 2 * 4))
			m.value[i] = (float64(q) - float64(i/group%16)) * float64(m.desc.Scales[i/group])
		}
	}
	return m
}

func f32Matrix(v []float32, rows, cols int) matrix {
	m := matrix{desc: kernels.WeightDesc{Rows: rows, Cols: cols}, value: make([]float64, len(v))}
	for i, f := range v {
		m.value[i] = float64(f)
		m.desc.Data = binary.LittleEndian.AppendUint32(m.desc.Data, math.Float32bits(f))
	}
	return m
}

func scales(rng *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(math.Exp(rng.NormFloat64()) / 64)
	}
	return s
}

// randomHalf gives a finite value of the format, subnormal ones now and then.
func randomHalf(rng *rand.Rand, dt kernels.DType) uint16 {
	if dt == kernels.F16 {
		if rng.IntN(8) == 0 {
			return uint16(rng.IntN(1024)) | uint16(rng.IntN(2))<<15
		}
		return uint16(10+rng.IntN(8))<<10 | uint16(rng.IntN(1024)) | uint16(rng.IntN(2))<<15
	}
	return uint16(120+rng.IntN(10))<<7 | uint16(rng.IntN(128)) | uint16(rng.IntN(2))<<15
}

// halfValue decodes by the definition of the formats, not by moving bits.
func halfValue(dt kernels.DType, h uint16) float64 {
	mant, bias := 10, 15
	if dt == kernels.BF16 {
		mant, bias = 7, 127
	}
	exps := 15 - mant
	e, m := int(h>>mant)&(1<<exps-1), float64(int(h)&(1<<mant-1))
	v := math.Ldexp(1+m/float64(int(1)<<mant), e-bias)
	switch {
	case e == 0:
		v = math.Ldexp(m, 1-bias-mant)
	case e == 1<<exps-1 && m == 0:
		v = math.Inf(1)
	case e == 1<<exps-1:
		v = math.NaN()
	}
	if h>>15 == 1 {
		return -v
	}
	return v
}

func f8Value(b byte) float64 {
	e, m := int(b>>3)&15, float64(b&7)
	v := math.Ldexp(1+m/8, e-7)
	if e == 0 {
		v = math.Ldexp(m/8, -6)
	}
	if b&0x7f == 0x7f {
		v = math.NaN()
	}
	if b>>7 == 1 {
		return -v
	}
	return v
}
