package qformat

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/internal/halves"
)

// random fills a matrix whose sizes are set.
func random(m *Matrix, seed uint64) *Matrix {
	r := rand.New(rand.NewPCG(seed, 1))
	m.Codes = make([]byte, m.Rows*m.Cols)
	for i := range m.Codes {
		m.Codes[i] = byte(r.UintN(1 << m.Bits))
		if m.Float && m.Codes[i]&127 == 127 {
			m.Codes[i]--
		}
	}
	m.Scales = make([]float32, m.Tall()*m.Wide())
	for i := range m.Scales {
		m.Scales[i] = halves.FromF16(uint16(0x1400 + r.UintN(0x1000)))
	}
	if !m.Symmetric && !m.Float {
		m.Zeros = make([]byte, len(m.Scales))
		for i := range m.Zeros {
			m.Zeros[i] = byte(1 + r.UintN(1<<m.Bits-1))
		}
		m.Zeros[0] = 1
	}
	return m
}

// reordered gives the inputs of a matrix to groups in another order.
func reordered(m *Matrix, seed uint64) *Matrix {
	m.GroupOf = make([]int32, m.Cols)
	for i, c := range rand.New(rand.NewPCG(seed, 2)).Perm(m.Cols) {
		m.GroupOf[c] = int32(i / m.Group)
	}
	return m
}

// stored packs a matrix and gives what finds its tensors again, and the scheme of its configuration.
func stored(t interface {
	Helper()
	Fatal(...any)
}, layout string, m *Matrix) (*Scheme, map[string]Tensor) {
	t.Helper()
	tensors, err := Pack(layout, "model.layers.0.mlp.down_proj", m)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Config(layout, map[string]*Matrix{"model.layers.0.mlp.down_proj": m}, []string{"lm_head"}, "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]Tensor{}
	for i, tensor := range tensors {
		if i > 0 && tensor.Name <= tensors[i-1].Name {
			t.Fatal("tensors are not sorted: ", tensor.Name)
		}
		table[tensor.Name] = tensor
	}
	return s, table
}

func find(table map[string]Tensor) func(string) (Tensor, bool) {
	return func(name string) (Tensor, bool) { t, ok := table[name]; return t, ok }
}

// drawMatrix draws a matrix that a layout can hold.
func drawMatrix(t *rapid.T, layout string) *Matrix {
	m := &Matrix{Bits: 4, BlockRows: 1}
	seed := rapid.Uint64().Draw(t, "seed")
	switch layout {
	case AWQ, GPTQ, GPTQv2:
		m.Rows, m.Group = 32*rapid.IntRange(1, 3).Draw(t, "rows"), 16*rapid.IntRange(1, 3).Draw(t, "group")
		m.Cols = 2 * m.Group * rapid.IntRange(1, 3).Draw(t, "groups")
		if layout != AWQ {
			m.Bits = rapid.SampledFrom([]int{2, 3, 4, 8}).Draw(t, "bits")
		}
	case FP8:
		m.Rows, m.Cols = rapid.IntRange(1, 300).Draw(t, "rows"), rapid.IntRange(1, 300).Draw(t, "cols")
		m.Bits, m.Float, m.BlockRows, m.Group, m.Act.Format = 8, true, m.Rows, m.Cols, "fp8"
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			m.BlockRows, m.Group = min(m.Rows, 128), min(m.Cols, 128)
			m.Act.Group = m.Group
		case 1:
			m.Act.Scale = 0.125
		}
	default:
		drawCompressed(t, m)
	}
	if m.Bits == 3 && layout != CompressedTensors {
		m.Cols = (m.Cols + 31) / 32 * 32
		m.Group = 32
	}
	if !m.Float {
		m.Symmetric = rapid.Bool().Draw(t, "symmetric")
	}
	random(m, seed)
	if !m.Float && m.strategy() == perGroup && layout != AWQ && rapid.Bool().Draw(t, "reordered") {
		reordered(m, seed)
	}
	return m
}

func drawCompressed(t *rapid.T, m *Matrix) {
	m.Rows, m.Bits = rapid.IntRange(1, 70).Draw(t, "rows"), rapid.IntRange(2, 8).Draw(t, "bits")
	m.Group = rapid.IntRange(1, 40).Draw(t, "group")
	m.Cols = m.Group * rapid.IntRange(1, 4).Draw(t, "groups")
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		m.Group = m.Cols
		m.Act.Format = rapid.SampledFrom([]string{"", "int8"}).Draw(t, "act")
	case 1:
		m.Bits, m.Float, m.Group, m.BlockRows, m.Act = 8, true, m.Cols, m.Rows, Activation{Format: "fp8", Scale: 0.5}
	case 2:
		m.Bits, m.Float, m.BlockRows, m.Group = 8, true, min(16, m.Rows), min(16, m.Cols)
		m.Act = Activation{Format: "fp8", Group: m.Group}
	}
}

// TestRoundTrip packs and unpacks matrices of all kinds that a layout holds: nothing is lost.
func TestRoundTrip(t *testing.T) {
	for _, layout := range []string{CompressedTensors, AWQ, GPTQ, GPTQv2, FP8} {
		t.Run(layout, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := drawMatrix(t, layout)
				s, table := stored(t, layout, m)
				got, err := s.Unpack("model.layers.0.mlp.down_proj", m.Rows, m.Cols, find(table))
				if err != nil {
					t.Fatal(err)
				}
				m.normal()
				if !reflect.DeepEqual(got, m) {
					t.Fatalf("%s: came back as %s (%s)", m.kind(), got.kind(), s)
				}
				look, err := s.Look("model.layers.0.mlp.down_proj", m.Rows, m.Cols, find(table))
				if err != nil || look.Codes != nil || look.Bits != m.Bits || look.Group != m.Group || look.Act != m.Act {
					t.Fatalf("Look gives %+v, %v", look, err)
				}
			})
		})
	}
}

// TestValues holds Values to the definition.
func TestValues(t *testing.T) {
	for _, m := range []*Matrix{
		random(&Matrix{Rows: 4, Cols: 12, Bits: 4, BlockRows: 1, Group: 4}, 1),
		random(&Matrix{Rows: 4, Cols: 11, Bits: 3, BlockRows: 1, Group: 4, Symmetric: true}, 2),
		random(&Matrix{Rows: 5, Cols: 12, Bits: 8, BlockRows: 2, Group: 5, Float: true}, 3),
		reordered(random(&Matrix{Rows: 4, Cols: 12, Bits: 8, BlockRows: 1, Group: 4}, 4), 4),
	} {
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		out := make([]float32, m.Cols)
		for r := range m.Rows {
			m.Values(out, r)
			for c, v := range out {
				g := c / m.Group
				if m.GroupOf != nil {
					g = int(m.GroupOf[c])
				}
				i, q := r/m.BlockRows*m.Wide()+g, m.Codes[r*m.Cols+c]
				want := float32(int(q)-int(m.Zero(i))) * m.Scales[i]
				if m.Float {
					want = e4m3[q] * m.Scales[i]
				}
				if v != want {
					t.Fatalf("%s: [%d, %d] is %v, want %v", m.kind(), r, c, v, want)
				}
			}
		}
	}
}

// TestNumbers holds the tables of small floats to facts about them.
func TestNumbers(t *testing.T) {
	for code, want := range map[byte]float32{0: 0, 1: 0x1p-9, 7: 7 * 0x1p-9, 8: 0x1p-6, 0x38: 1, 0x7e: 448, 0xfe: -448, 0xb8: -1} {
		if e4m3[code] != want {
			t.Errorf("e4m3 %#x is %v, want %v", code, e4m3[code], want)
		}
	}
	if v := e4m3[0xff]; v == v || math.Float32bits(e4m3[0x80]) != 1<<31 {
		t.Error("e4m3 lacks its NaN or its -0")
	}
	inf := float32(math.Inf(1))
	for dtype, all := range map[string][]float32{"F16": {65520, 1.0009, 0x1p-25, 0x1.8p-24, inf, inf - inf}, "BF16": {1.005, -inf, 0x1p-140}} {
		for _, v := range all {
			if inexact([]float32{1, v}, dtype) != 1 {
				t.Errorf("%v is no value of %s", v, dtype)
			}
		}
	}
}

func TestFits(t *testing.T) {
	whole := func(m Matrix) *Matrix { m.BlockRows = 1; return &m }
	for _, c := range []struct {
		layout string
		m      *Matrix
		want   string // of the error; "": none
	}{
		{AWQ, whole(Matrix{Rows: 8, Cols: 128, Bits: 4, Group: 64}), ""},
		{AWQ, whole(Matrix{Rows: 8, Cols: 128, Bits: 8, Group: 64}), "holds integers of 4 bits"},
		{AWQ, whole(Matrix{Rows: 12, Cols: 128, Bits: 4, Group: 64}), "12 outputs"},
		{AWQ, whole(Matrix{Rows: 8, Cols: 120, Bits: 4, Group: 64}), "groups of 64 do not divide 120"},
		{GPTQ, whole(Matrix{Rows: 32, Cols: 96, Bits: 3, Group: 32}), ""},
		{GPTQ, whole(Matrix{Rows: 16, Cols: 96, Bits: 3, Group: 32}), "do not fill whole words"},
		{GPTQ, whole(Matrix{Rows: 32, Cols: 96, Bits: 5, Group: 32}), "2, 3, 4 or 8"},
		{GPTQ, whole(Matrix{Rows: 32, Cols: 96, Bits: 4, Group: 32, Zeros: []byte{3, 0}}), "zero 1 is 0"},
		{GPTQv2, whole(Matrix{Rows: 32, Cols: 96, Bits: 4, Group: 32, Zeros: []byte{3, 0}}), ""},
		{GPTQ, whole(Matrix{Rows: 32, Cols: 96, Bits: 4, Group: 32, Scales: []float32{1, 1.0001}}),
			`scale 1 is 1.0001: round them with scale_dtype = "f16"`},
		{GPTQ, whole(Matrix{Rows: 32, Cols: 96, Bits: 8, Group: 96, Act: Activation{Format: "int8"}}),
			"no place for inputs rounded to int8"},
		{FP8, whole(Matrix{Rows: 32, Cols: 96, Bits: 8, Float: true, Group: 96, Act: Activation{Format: "fp8"}}),
			"a scale for each output"},
		{CompressedTensors, whole(Matrix{Rows: 32, Cols: 96, Bits: 8, Float: true, Group: 96, Act: Activation{Format: "fp8"}}), ""},
		{CompressedTensors, whole(Matrix{Rows: 3, Cols: 10, Bits: 4, Group: 4}), "do not divide"},
		{"gguf", whole(Matrix{Rows: 3, Cols: 10, Bits: 4, Group: 5}), `layout "gguf" is not known; known: compressed-tensors`},
		{AWQ, whole(Matrix{Rows: 8, Cols: 0, Bits: 4, Group: 5}), "a quantized matrix [8, 0]"},
	} {
		err := Fits(c.layout, c.m)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %+v: %v, want %q", c.layout, *c.m, err, c.want)
		}
	}
}

func TestNative(t *testing.T) {
	for bits, want := range map[int]string{2: CompressedTensors, 3: GPTQv2, 4: CompressedTensors, 8: CompressedTensors} {
		if got := Native(&Matrix{Rows: 64, Cols: 64, Bits: bits, BlockRows: 1, Group: 32}); got != want {
			t.Errorf("%d bits are stored as %s, want %s", bits, got, want)
		}
	}
	if got := Native(&Matrix{Rows: 40, Cols: 64, Bits: 3, BlockRows: 1, Group: 32}); got != CompressedTensors {
		t.Errorf("3 bits that do not fill words are stored as %s", got)
	}
}

// TestBits checks that nothing is wasted: the bits of the codes on disk.
func TestBits(t *testing.T) {
	for bits := 2; bits <= 8; bits++ {
		m := random(&Matrix{Rows: 64, Cols: 960, Bits: bits, BlockRows: 1, Group: 64}, 7)
		tensors, err := Pack(Native(m), "m", m)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range tensors {
			if strings.HasSuffix(tensor.Name, "weight_packed") || strings.HasSuffix(tensor.Name, "qweight") {
				if per := 32 / bits; bits != 3 && len(tensor.Data) != 64*((960+per-1)/per)*4 || bits == 3 && len(tensor.Data) != 64*960*3/8 {
					t.Errorf("%d bits: %d bytes for %d codes", bits, len(tensor.Data), 64*960)
				}
			}
		}
	}
}

// TestMixedGroups: matrices of several kinds in one configuration.
func TestMixedGroups(t *testing.T) {
	ms := map[string]*Matrix{}
	for i := range 4 {
		ms[fmt.Sprintf("l.%d.a", i)] = random(&Matrix{Rows: 16, Cols: 64, Bits: 4, BlockRows: 1, Group: 32}, 1)
		ms[fmt.Sprintf("l.%d.b", i)] = random(&Matrix{Rows: 16, Cols: 32, Bits: 4, BlockRows: 1, Group: 32}, 2)
	}
	ms["l.1.c"] = random(&Matrix{Rows: 16, Cols: 64, Bits: 8, BlockRows: 1, Group: 64, Symmetric: true, Act: Activation{Format: "int8"}}, 3)
	config, err := Config(CompressedTensors, ms, []string{"z", "lm_head"}, "int8")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(config["config_groups"].(map[string]any)); n != 2 || config["format"] != "mixed-precision" {
		t.Errorf("%d groups of format %v", n, config["format"])
	}
	raw, _ := json.Marshal(config)
	s, err := ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	if want := "compressed-tensors w8, inputs int8, w4 g32 asymmetric, cache int8"; s.String() != want || s.KV() != "int8" {
		t.Errorf("it is %q, want %q", s, want)
	}
	table := map[string]Tensor{"plain.weight": {DType: "BF16"}, "lm_head.weight": {DType: "I8"}}
	for module, m := range ms {
		tensors, err := Pack(CompressedTensors, module, m)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range tensors {
			table[tensor.Name] = tensor
		}
	}
	for module, m := range ms {
		m.normal()
		got, err := s.Unpack(module, m.Rows, m.Cols, find(table))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: %s came back as %+v, %v", module, m.kind(), got, err)
		}
	}
	for _, module := range []string{"plain", "absent"} {
		if got, err := s.Unpack(module, 3, 3, find(table)); got != nil || err != nil {
			t.Errorf("%s: %v, %v", module, got, err)
		}
	}
	if _, err := s.Unpack("lm_head", 3, 3, find(table)); err == nil || !strings.Contains(err.Error(), "ignores it") {
		t.Errorf("an ignored module that is quantized: %v", err)
	}
}
