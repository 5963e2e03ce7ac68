package qformat

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sextant/internal/goldens"
)

// peer is a matrix as another program's code stores it (testdata/peers/README.md).
type peer struct {
	Layout    string
	Config    json.RawMessage
	Rows      int
	Cols      int
	Bits      int
	Group     int
	BlockRows int `json:"block_rows"`
	Float     bool
	Symmetric bool
	Codes     []byte
	Zeros     []byte
	Scales    []byte
	GroupOf   []int32 `json:"group_of"`
	Tensors   []Tensor
	Values    []byte
}

func f32s(data []byte) []float32 {
	out := make([]float32, len(data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}

func readPeers(t testing.TB) map[string]peer {
	paths, err := filepath.Glob("testdata/peers/*.json")
	if err != nil || len(paths) < 27 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	all := map[string]peer{}
	for _, path := range paths {
		var p peer
		goldens.ReadJSON(t, path, &p)
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = p
	}
	return all
}

func (p peer) matrix() *Matrix {
	return &Matrix{Rows: p.Rows, Cols: p.Cols, Bits: p.Bits, Float: p.Float, Symmetric: p.Symmetric, Group: p.Group, BlockRows: p.BlockRows,
		Codes: p.Codes, Scales: f32s(p.Scales), Zeros: p.Zeros, GroupOf: p.GroupOf}
}

func (p peer) tensors() map[string]Tensor {
	table := map[string]Tensor{}
	for _, tensor := range p.Tensors {
		table[tensor.Name] = tensor
	}
	return table
}

// TestUnpackPeers reads what other programs' code has packed: the same codes, scales and zeros, and the values that the program itself reads.
func TestUnpackPeers(t *testing.T) {
	for name, p := range readPeers(t) {
		t.Run(name, func(t *testing.T) {
			s, err := ParseConfig(p.Config)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Unpack("m", p.Rows, p.Cols, find(p.tensors()))
			if err != nil {
				t.Fatal(err)
			}
			want := p.matrix()
			if want.normal(); p.Layout == FP8 {
				want.Act.Format, want.Act.Group = "fp8", got.Act.Group
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %s; codes %v, scales %v, zeros %v, order %v", s, got.kind(), bytes.Equal(got.Codes, want.Codes),
					slices.Equal(got.Scales, want.Scales), bytes.Equal(got.Zeros, want.Zeros), slices.Equal(got.GroupOf, want.GroupOf))
			}
			tolerance := 0.0 // compressed-tensors computes in the scales' dtype
			switch tensor := p.tensors()["m.weight_scale"]; tensor.DType {
			case "F16":
				tolerance = 0x1p-10
			case "BF16":
				tolerance = 0x1p-7
			}
			values, out := f32s(p.Values), make([]float32, p.Cols)
			for r := range p.Rows {
				got.Values(out, r)
				for c, v := range out {
					if w := float64(values[r*p.Cols+c]); math.Abs(float64(v)-w) > tolerance*math.Abs(w) {
						t.Fatalf("[%d, %d] is %v, and %v to %s", r, c, v, w, name)
					}
				}
			}
		})
	}
}

// TestPackPeers packs the same matrices: the same bytes.
func TestPackPeers(t *testing.T) {
	for name, p := range readPeers(t) {
		t.Run(name, func(t *testing.T) {
			m := p.matrix()
			switch {
			case name == "hf-fp8-block":
				m.Act = Activation{Format: "fp8", Group: m.Group}
			case name == "hf-fp8-tensor": // vLLM's name and shape are written
				m.Act.Format = "fp8"
				p.Tensors[1].Name, p.Tensors[1].Shape = "m.weight_scale", []int{1}
			case strings.HasPrefix(name, "ct-int8"):
				m.Act.Format = "int8"
			case strings.HasPrefix(name, "gptqmodel-gptq-"):
				if err := Fits(GPTQ, m); err == nil || !strings.Contains(err.Error(), "gptq_v2 has no such doubt") {
					t.Errorf("a zero of 0 as gptq: %v", err)
				}
				return
			}
			got, err := Pack(p.Layout, "m", m)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(p.Tensors) {
				t.Fatalf("%d tensors, want %d", len(got), len(p.Tensors))
			}
			for i, want := range p.Tensors {
				if got[i].Name == "m.weight_scale" && got[i].DType != want.DType { // the smallest that holds them
					a, err1 := floats(got[i])
					b, err2 := floats(want)
					if err1 != nil || err2 != nil || !slices.Equal(a, b) {
						t.Errorf("scales: %v, %v", err1, err2)
					}
				} else if !reflect.DeepEqual(got[i], want) {
					t.Errorf("%s %s %v, want %s %s %v; the same bytes: %v", got[i].Name, got[i].DType, got[i].Shape, want.Name, want.DType, want.Shape,
						bytes.Equal(got[i].Data, want.Data))
				}
			}
		})
	}
}
