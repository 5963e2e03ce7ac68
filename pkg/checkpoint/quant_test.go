package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sextant/pkg/qformat"
)

const pocket = "../../examples/pocket/model"

// values widens a BF16 tensor.
func values(t testing.TB, tensor Tensor) []float32 {
	t.Helper()
	if tensor.DType != "BF16" {
		t.Fatalf("tensor %q is %s", tensor.Name, tensor.DType)
	}
	out := make([]float32, len(tensor.Data)/2)
	for i := range out {
		out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(tensor.Data[2*i:])) << 16)
	}
	return out
}

// rounded rounds values [m.Rows, m.Cols] to the nearest code with scales that are powers of two, so that every layout has them.
func rounded(m qformat.Matrix, w []float32) *qformat.Matrix {
	m.Codes, m.Scales = make([]byte, m.Rows*m.Cols), make([]float32, m.Tall()*m.Wide())
	top := float64(int(1)<<(m.Bits-1) - 1)
	if m.Float {
		top = 448
	} else if !m.Symmetric {
		m.Zeros = make([]byte, len(m.Scales))
	}
	most := make([]float64, len(m.Scales))
	at := func(i int) int { return i/m.Cols/m.BlockRows*m.Wide() + i%m.Cols/m.Group }
	for i, v := range w {
		most[at(i)] = max(most[at(i)], math.Abs(float64(v)))
	}
	for i, v := range most {
		m.Scales[i] = float32(math.Exp2(math.Ceil(math.Log2(max(v, 1e-5) / top))))
		if m.Zeros != nil {
			m.Zeros[i] = byte(int(top) + i%2) // of both kinds
		}
	}
	for i, v := range w {
		j := at(i)
		q := math.RoundToEven(float64(v / m.Scales[j]))
		if m.Float {
			m.Codes[i] = byte(min(max(int(q), 0), 126)) // any code will do
			continue
		}
		m.Codes[i] = byte(min(max(q+float64(m.Zero(j)), 0), 2*top+1))
	}
	return &m
}

// quantizedPocket writes the pocket model, its layers' matrices as kind has them, in a layout, and gives the matrices.
func quantizedPocket(t testing.TB, dir, layout string, kind qformat.Matrix) map[string]*qformat.Matrix {
	t.Helper()
	ck := mustOpen(t, pocket)
	var shards [2][]qformat.Tensor
	ms, files := map[string]*qformat.Matrix{}, map[string]string{}
	for i, name := range ck.Names() {
		tensor, err := ck.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		tensors := []qformat.Tensor{{Name: name, DType: tensor.DType, Shape: tensor.Shape, Data: tensor.Data}}
		if module, ok := strings.CutSuffix(name, "_proj.weight"); ok {
			m := kind
			m.Rows, m.Cols = tensor.Shape[0], tensor.Shape[1]
			m.Group, m.BlockRows = min(m.Group, m.Cols), min(m.BlockRows, m.Rows)
			m.Act.Group = min(m.Act.Group, m.Cols)
			ms[module+"_proj"] = rounded(m, values(t, tensor))
			if tensors, err = qformat.Pack(layout, module+"_proj", ms[module+"_proj"]); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range tensors {
			files[p.Name] = fmt.Sprintf("model-%05d-of-00002.safetensors", i%2+1)
		}
		shards[i%2] = append(shards[i%2], tensors...)
	}
	config, err := qformat.Config(layout, ms, []string{"lm_head"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := ck.CopyAux(dir, config); err != nil {
		t.Fatal(err)
	}
	for i, tensors := range shards {
		if err := WriteShard(filepath.Join(dir, fmt.Sprintf("model-%05d-of-00002.safetensors", i+1)), tensors); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteIndex(dir, files); err != nil {
		t.Fatal(err)
	}
	return ms
}

var pocketKinds = []struct {
	name   string
	layout string
	kind   qformat.Matrix
	scheme string
	share  float64 // of the plain model's bytes
}{
	{"w4 g128", qformat.CompressedTensors, qformat.Matrix{Bits: 4, Group: 128, BlockRows: 1}, "compressed-tensors w4 g128 asymmetric", 0.36},
	{"w3 g32", qformat.CompressedTensors, qformat.Matrix{Bits: 3, Group: 32, BlockRows: 1, Symmetric: true}, "compressed-tensors w3 g32", 0.34},
	{"w8a8", qformat.CompressedTensors, qformat.Matrix{Bits: 8, Group: 1 << 20, BlockRows: 1, Symmetric: true, Act: qformat.Activation{Format: "int8"}},
		"compressed-tensors w8, inputs int8", 0.56},
	{"fp8 channel", qformat.CompressedTensors,
		qformat.Matrix{Bits: 8, Float: true, Group: 1 << 20, BlockRows: 1, Act: qformat.Activation{Format: "fp8"}},
		"compressed-tensors fp8, inputs fp8", 0.56},
	{"fp8 blocks", qformat.CompressedTensors,
		qformat.Matrix{Bits: 8, Float: true, Group: 128, BlockRows: 128, Act: qformat.Activation{Format: "fp8", Group: 128}},
		"compressed-tensors fp8 blocks of 128x128, inputs fp8", 0.56},
	{"awq", qformat.AWQ, qformat.Matrix{Bits: 4, Group: 64, BlockRows: 1}, "awq w4 g64", 0.36},
	{"gptq", qformat.GPTQ, qformat.Matrix{Bits: 8, Group: 64, BlockRows: 1, Symmetric: true}, "gptq w8 g64", 0.60},
	{"gptq rows", qformat.GPTQ, qformat.Matrix{Bits: 4, Group: 1 << 20, BlockRows: 1}, "gptq w4", 0.35},
	{"gptq_v2", qformat.GPTQv2, qformat.Matrix{Bits: 3, Group: 32, BlockRows: 1}, "gptq_v2 w3 g32", 0.33},
	{"fp8 static", qformat.FP8,
		qformat.Matrix{Bits: 8, Float: true, Group: 1 << 20, BlockRows: 1 << 20, Act: qformat.Activation{Format: "fp8", Scale: 0.5}},
		"fp8 with static inputs", 0.56},
	{"fp8 in blocks", qformat.FP8, qformat.Matrix{Bits: 8, Float: true, Group: 128, BlockRows: 128, Act: qformat.Activation{Format: "fp8", Group: 128}},
		"fp8 blocks of 128x128", 0.56},
}

// TestQuantizedCheckpoints writes the pocket model in each layout, and opens it: the same matrices, the same other tensors.
func TestQuantizedCheckpoints(t *testing.T) {
	plain := mustOpen(t, pocket)
	for _, k := range pocketKinds {
		t.Run(k.name, func(t *testing.T) {
			dir := t.TempDir()
			want := quantizedPocket(t, dir, k.layout, k.kind)
			ck := mustOpen(t, dir)
			if got := ck.Config().Quant.String(); got != k.scheme {
				t.Errorf("the scheme is %q, want %q", got, k.scheme)
			}
			if share := float64(ck.WeightBytes()) / float64(plain.WeightBytes()); share > k.share || share < k.share-0.03 {
				t.Errorf("%.3f of the plain model's bytes", share)
			}
			if fingerprint(t, ck) == fingerprint(t, plain) {
				t.Error("the fingerprint is the plain model's")
			}
			for _, name := range plain.Names() {
				m := want[strings.TrimSuffix(name, ".weight")]
				got, err := ck.Matrix(name)
				if err != nil {
					t.Fatal(err)
				}
				if m == nil {
					a, _ := plain.Tensor(name)
					if b, err := ck.Tensor(name); got != nil || err != nil || !reflect.DeepEqual(a, b) {
						t.Errorf("tensor %q changed: %v, %v", name, got, err)
					}
				} else if !reflect.DeepEqual(got, m) {
					t.Errorf("%q is not what was written", name)
				} else if s := ck.Stored(name); s.Bits != m.Bits || s.Group != m.Group || s.Codes != nil {
					t.Errorf("%q is stored as %+v", name, s)
				}
			}
		})
	}
}

// TestWritersAreDeterministic: the same tensors in another order are the same bytes, and config.json is only changed where it is to be.
func TestWritersAreDeterministic(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		quantizedPocket(t, dir, qformat.CompressedTensors, pocketKinds[0].kind)
	}
	names, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, n := range names {
		x, err1 := os.ReadFile(filepath.Join(a, n.Name()))
		y, err2 := os.ReadFile(filepath.Join(b, n.Name()))
		if err1 != nil || err2 != nil || string(x) != string(y) {
			t.Errorf("%s differs: %v, %v", n.Name(), err1, err2)
		}
		list = append(list, n.Name())
	}
	want := "config.json generation_config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors " +
		"model.safetensors.index.json special_tokens_map.json tokenizer.model tokenizer_config.json"
	if got := strings.Join(list, " "); got != want {
		t.Errorf("files: %s", got)
	}
	tensors := []qformat.Tensor{{Name: "b", DType: "I8", Shape: []int{3}, Data: []byte{1, 2, 3}},
		{Name: "a", DType: "F32", Shape: []int{}, Data: make([]byte, 4)}}
	one, two := filepath.Join(a, "one"), filepath.Join(a, "two")
	for path, list := range map[string][]qformat.Tensor{one: tensors, two: {tensors[1], tensors[0]}} {
		if err := WriteShard(path, list); err != nil {
			t.Fatal(err)
		}
	}
	x, _ := os.ReadFile(one)
	first := `{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"b":`
	if y, _ := os.ReadFile(two); string(x) != string(y) || !strings.HasPrefix(string(x[8:]), first) {
		t.Errorf("%q and %q", x, y)
	}
	ck := mustOpen(t, a)
	if err := ck.CopyAux(b, nil); err != nil {
		t.Fatal(err)
	}
	back, err := os.ReadFile(filepath.Join(b, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := parseConfig(back, nil); err != nil || c.Quant != nil || c.DType != "bfloat16" {
		t.Errorf("without quantization: %+v, %v", c, err)
	}
}

func TestWriteErrors(t *testing.T) {
	dir := t.TempDir()
	one := func(change func(*qformat.Tensor)) []qformat.Tensor {
		x := qformat.Tensor{Name: "x", DType: "F16", Shape: []int{2, 3}, Data: make([]byte, 12)}
		change(&x)
		return []qformat.Tensor{x}
	}
	for want, tensors := range map[string][]qformat.Tensor{
		"10 bytes are not [2 3] of F16":   one(func(x *qformat.Tensor) { x.Data = x.Data[:10] }),
		"12 bytes are not [2 3] of Q4":    one(func(x *qformat.Tensor) { x.DType = "Q4" }),
		"12 bytes are not [-2 -3] of F16": one(func(x *qformat.Tensor) { x.Shape = []int{-2, -3} }),
		`tensor "": want a name`:          one(func(x *qformat.Tensor) { x.Name = "" }),
		`tensor "x": want a name`:         append(one(func(*qformat.Tensor) {}), one(func(*qformat.Tensor) {})...),
		"9223372036854775807":             one(func(x *qformat.Tensor) { x.Shape = []int{math.MaxInt, 4} }),
	} {
		wantError(t, WriteShard(filepath.Join(dir, "x"), tensors), want)
	}
	wantError(t, WriteIndex(dir, map[string]string{"a": "nothing"}), "nothing")
	if err := WriteShard(filepath.Join(dir, "x"), one(func(*qformat.Tensor) {})); err != nil {
		t.Fatal(err)
	}
	wantError(t, WriteIndex(dir, map[string]string{"y": "x"}), `tensor "x" of "x" is missing in the list`)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

// TestQuantizedErrors opens damaged quantized models.
func TestQuantizedErrors(t *testing.T) {
	base := map[string]any{"quantization_config": map[string]any{"quant_method": "awq", "bits": 4, "group_size": 4, "version": "gemm"}}
	module := "model.layers.1.mlp.gate_proj"
	for _, c := range []struct {
		name   string
		config map[string]any
		change func(tensors map[string]rawTensor)
		want   []string
	}{
		{"missing scales", base, func(all map[string]rawTensor) { delete(all, module+".scales") }, []string{`tensor "` + module + `.scales" is missing`}},
		{"wrong shape", base, func(all map[string]rawTensor) {
			all[module+".qweight"] = rawTensor{name: module + ".qweight", dtype: "I32", shape: []int{8, 2}}
		}, []string{module + `.qweight" has shape [8 2], expected [8 1]`}},
		{"two forms", base, func(all map[string]rawTensor) {
			all[module+".weight"] = rawTensor{name: module + ".weight", dtype: "F32", shape: []int{8, 8}}
		}, []string{"stored twice"}},
		{"nothing", base, func(all map[string]rawTensor) {
			for _, s := range []string{".qweight", ".qzeros", ".scales"} {
				delete(all, module+s)
			}
		}, []string{module + `.weight" [8 8] is missing`}},
		{"a bias of its own", base, func(all map[string]rawTensor) {
			all[module+".bias"] = rawTensor{name: module + ".bias", dtype: "F16", shape: []int{8}, fill: 1}
		}, []string{module + `.bias" is not zero`}},
		{"codes without a scheme", map[string]any{}, func(all map[string]rawTensor) {}, []string{module + `.weight" [8 8] is missing`}},
		{"scales of the cache", edited(base, "kv_cache_scheme", map[string]any{"num_bits": 8, "type": "float"}), func(all map[string]rawTensor) {
			all["k"] = rawTensor{name: "model.layers.0.self_attn.k_scale", dtype: "F32", shape: []int{1}, fill: 60}
		}, []string{"k_scale\" scales the cache", "remove kv_cache_scheme"}},
		{"a method of others", map[string]any{"quantization_config": map[string]any{"quant_method": "bitsandbytes"}}, func(all map[string]rawTensor) {},
			[]string{"bitsandbytes", "supported: compressed-tensors"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := map[string]rawTensor{}
			for _, w := range tinyTensors(t) {
				if m, ok := strings.CutSuffix(w.name, ".weight"); ok && strings.HasSuffix(m, "gate_proj") {
					all[m+".qweight"] = rawTensor{name: m + ".qweight", dtype: "I32", shape: []int{8, 1}}
					all[m+".qzeros"] = rawTensor{name: m + ".qzeros", dtype: "I32", shape: []int{2, 1}}
					all[m+".scales"] = rawTensor{name: m + ".scales", dtype: "F16", shape: []int{2, 8}}
					all[m+".bias"] = rawTensor{name: m + ".bias", dtype: "F16", shape: []int{8}} // as AutoGPTQ writes them
					continue
				}
				all[w.name] = w
			}
			size := map[string]any{"intermediate_size": 8}
			open := func(config map[string]any) error {
				var list []rawTensor
				for _, tensor := range all {
					if n := len(tensor.shape); n == 2 && tensor.shape[0] == 12 {
						tensor.shape = []int{8, 8}
					} else if n == 2 && tensor.shape[1] == 12 {
						tensor.shape = []int{8, 8}
					}
					list = append(list, tensor)
				}
				for k, v := range size {
					config[k] = v
				}
				ck, err := Open(writeModel(t, map[string][]byte{"config.json": edit(t, tinyConfig, config), "model.safetensors": safetensorsFile(list)}))
				if err == nil {
					err = ck.Close()
				}
				return err
			}
			if err := open(base); err != nil {
				t.Fatal(err)
			}
			c.change(all)
			wantError(t, open(c.config), c.want...)
		})
	}
}

// edited is a configuration with one more key about quantization.
func edited(base map[string]any, key string, value any) map[string]any {
	quant := map[string]any{key: value}
	for k, v := range base["quantization_config"].(map[string]any) {
		quant[k] = v
	}
	return map[string]any{"quantization_config": quant}
}

// TestQuantFile: older tools describe their files in a file of its own, which counts as a part of config.json.
func TestQuantFile(t *testing.T) {
	dir := t.TempDir()
	quantizedPocket(t, dir, qformat.GPTQ, qformat.Matrix{Bits: 4, Group: 64, BlockRows: 1})
	said := mustOpen(t, dir)
	if err := said.CopyAux(dir, nil); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	wantError(t, err, "down_proj.weight", "is missing")
	for _, c := range []struct{ name, text, want string }{
		{"quant_config.json", `{"w_bit": 4, "q_group_size": 64, "version": "GEMM"}`, "awq w4 g64"},
		{"quantize_config.json", `{"bits": 4, "group_size": 64, "desc_act": false, "sym": false}`, "gptq w4 g64"},
	} {
		if err := os.WriteFile(filepath.Join(dir, c.name), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		config, err := withQuantFile(os.DirFS(dir), []byte(tinyConfig))
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err := parseConfig(config, nil); err != nil || parsed.Quant.String() != c.want {
			t.Errorf("%s: %v, %v", c.name, parsed, err)
		}
	}
	ck := mustOpen(t, dir)
	const name = "model.layers.3.mlp.down_proj.weight"
	a, err1 := said.Matrix(name)
	if b, err2 := ck.Matrix(name); err1 != nil || err2 != nil || a == nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%v, %v", err1, err2)
	}
	if err := os.WriteFile(filepath.Join(dir, "quantize_config.json"), []byte(`[1]`), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	wantError(t, err, `quantize_config.json: want a JSON object, found "[1]"`)
}
