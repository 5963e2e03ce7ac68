package qformat

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// parts finds the tensors of one module and checks them. After the first error it finds nothing more.
type parts struct {
	module string
	find   func(name string) (Tensor, bool)
	err    error
}

func (p *parts) has(suffix string) bool {
	_, ok := p.find(p.module + suffix)
	return ok
}

func (p *parts) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// want is the tensor with a suffix, of one of some dtypes (parted by spaces) and one of some shapes.
func (p *parts) want(suffix, dtypes string, shapes ...[]int) Tensor {
	if p.err != nil {
		return Tensor{}
	}
	t, ok := p.find(p.module + suffix)
	if !ok {
		p.fail("tensor %q is missing", p.module+suffix)
		return Tensor{}
	}
	t.Name = p.module + suffix
	if !slices.Contains(strings.Fields(dtypes), t.DType) {
		p.fail("tensor %q has dtype %s, expected %s", t.Name, t.DType, dtypes)
		return Tensor{}
	}
	if !slices.ContainsFunc(shapes, func(s []int) bool { return slices.Equal(s, t.Shape) }) {
		p.fail("tensor %q has shape %v, expected %v", t.Name, t.Shape, shapes[0])
		return Tensor{}
	}
	size := sizes[t.DType]
	for _, n := range t.Shape {
		size *= n
	}
	if size != len(t.Data) {
		p.fail("tensor %q %v of %s has %d bytes, expected %d", t.Name, t.Shape, t.DType, len(t.Data), size)
		return Tensor{}
	}
	return t
}

// one is the value of a tensor of a single value, which must be above 0.
func (p *parts) one(suffix string) float32 {
	t := p.want(suffix, "F32 F16 BF16", []int{1}, []int{}, []int{1, 1})
	if p.err != nil {
		return 0
	}
	values, err := floats(t)
	if err == nil && !(values[0] > 0) {
		err = fmt.Errorf("tensor %q is %v, want a value above 0", t.Name, values[0])
	}
	if p.err = err; err != nil {
		return 0
	}
	return values[0]
}

// integer is a value of an I64 or I32 tensor.
func integer(t Tensor, i int) int {
	if t.DType == "I32" {
		return int(int32(binary.LittleEndian.Uint32(t.Data[4*i:])))
	}
	return int(int64(binary.LittleEndian.Uint64(t.Data[8*i:])))
}

// order reads the group of each input; nil where there are -1s, as compressed-tensors leaves what was not set.
func order(t Tensor, wide int) ([]int32, error) {
	g := grid{t.Data, 1}
	out := make([]int32, len(t.Data)/4)
	for c := range out {
		out[c] = int32(g.at(c, 0))
		if out[c] == -1 {
			return nil, nil
		}
		if out[c] < 0 || int(out[c]) >= wide {
			return nil, fmt.Errorf("tensor %q: input %d is in group %d of %d", t.Name, c, out[c], wide)
		}
	}
	return out, nil
}

// packOrder is the inverse of order.
func packOrder(m *Matrix) []byte {
	g := grid{make([]byte, 4*m.Cols), 1}
	for c := range m.Cols {
		i := int32(c / m.Group)
		if m.GroupOf != nil {
			i = m.GroupOf[c]
		}
		g.set(c, 0, uint32(i))
	}
	return g.data
}
