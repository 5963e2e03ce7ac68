package qformat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// ct is a compressed-tensors configuration with one group.
func ct(format, weights, inputs, more string) string {
	return fmt.Sprintf(`{"quant_method": "compressed-tensors", "format": %q, "config_groups": {"group_0": {"targets": ["Linear"],
		"weights": %s, "input_activations": %s}}%s}`, format, weights, inputs, more)
}

const (
	w4    = `{"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 128, "actorder": null, "observer": "minmax"}`
	w8    = `{"num_bits": 8, "type": "int", "strategy": "channel", "block_structure": null, "dynamic": false}`
	f8    = `{"num_bits": 8, "type": "float", "strategy": "tensor"}`
	token = `{"num_bits": 8, "type": "int", "strategy": "token", "dynamic": true, "observer": "memoryless"}`
)

// TestParseConfig reads configurations as the tools write them.
func TestParseConfig(t *testing.T) {
	for _, c := range []struct{ config, want, kv string }{
		{ct("pack-quantized", w4, "null", `, "ignore": ["lm_head"], "kv_cache_scheme": null, "quantization_status": "compressed", "sparsity_config": {}`),
			"compressed-tensors w4 g128", ""},
		{ct("int-quantized", w8, token, ""), "compressed-tensors w8, inputs int8", ""},
		{ct("float-quantized", f8, f8, `, "kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false, "symmetric": true}`),
			"compressed-tensors fp8 one scale, inputs fp8 static, cache fp8", "fp8"},
		{ct("naive-quantized", `{"group_size": -1}`, "null", ""), "compressed-tensors w8", ""},
		{ct("float-quantized", `{"type": "FLOAT", "strategy": "block", "block_structure": "128x64"}`,
			`{"type": "float", "group_size": 128, "dynamic": true}`, ""), "compressed-tensors fp8 blocks of 128x64, inputs fp8", ""},
		{`{"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true, "version": "GEMM", "modules_to_not_convert": null}`, "awq w4 g128", ""},
		{`{"quant_method": "awq", "w_bit": 4, "q_group_size": -1}`, "awq w4", ""},
		{`{"quant_method": "gptq", "bits": 3, "group_size": 64, "desc_act": true, "sym": true, "damp_percent": 0.01, "model_file_base_name": "model"}`,
			"gptq w3 g64", ""},
		{`{"quant_method": "gptq", "bits": 8, "group_size": -1, "format": "gptq_v2", "meta": {"quantizer": "gptqmodel:2.1"}}`, "gptq_v2 w8", ""},
		{`{"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128]}`, "fp8 blocks of 128x128", ""},
		{`{"quant_method": "fp8", "activation_scheme": "static", "kv_cache_scheme": "static", "ignored_layers": ["lm_head"]}`,
			"fp8 with static inputs, cache fp8", "fp8"},
	} {
		s, err := ParseConfig(json.RawMessage(c.config))
		if err != nil {
			t.Errorf("%s: %v", c.config, err)
		} else if s.String() != c.want || s.KV() != c.kv {
			t.Errorf("%s is %q with cache %q, want %q, %q", c.config, s, s.KV(), c.want, c.kv)
		}
	}
}

func TestParseConfigErrors(t *testing.T) {
	with := func(weights, inputs string) string { return ct("int-quantized", weights, inputs, "") }
	for _, c := range []struct{ config, want string }{
		{`[]`, "cannot unmarshal array"},
		{`{}`, "quant_method is missing; supported: compressed-tensors"},
		{`{"quant_method": "bitsandbytes", "load_in_4bit": true}`, `"bitsandbytes" is not supported (bitsandbytes' nf4 or int8); supported:`},
		{`{"quant_method": "mxfp4"}`, "blocks of 4-bit floats"},
		{`{"quant_method": "gguf"}`, "llama.cpp's blocks"},
		{`{"quant_method": "something"}`, `quant_method = "something" is not supported; supported`},
		{`{"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"}`, `version "gemv" is not supported`},
		{`{"quant_method": "awq", "bits": 3, "group_size": 128}`, "3 bits"},
		{`{"quant_method": "awq", "bits": 4}`, "group_size is missing"},
		{`{"quant_method": "awq", "bits": "4", "group_size": 128}`, "cannot unmarshal string"},
		{`{"quant_method": "gptq", "bits": 4, "group_size": 0}`, "group_size = 0"},
		{`{"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin"}`, `checkpoint_format "marlin" is not supported`},
		{`{"quant_method": "gptq", "bits": 4, "group_size": 128, "is_marlin_format": true}`, `"marlin"`},
		{`{"quant_method": "gptq", "bits": 5, "group_size": 128, "checkpoint_format": "gptq_v2"}`, "gptq of 5 bits"},
		{`{"quant_method": "gptq", "bits": 4, "group_size": 128, "pack_dtype": "int64"}`, "packed in int64"},
		{`{"quant_method": "fp8", "weight_block_size": [128]}`, "weight_block_size = [128]"},
		{`{"quant_method": "fp8", "weight_block_size": [128, 0]}`, "weight_block_size"},
		{`{"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "static"}`, "dynamic only"},
		{`{"quant_method": "fp8", "scale_fmt": "ue8m0"}`, "powers of two"},
		{`{"quant_method": "fp8", "activation_scheme": "none"}`, `activation_scheme = "none"`},
		{ct("marlin-24", w4, "null", ""), `format = "marlin-24" is not supported; supported: pack-quantized`},
		{ct("nvfp4-pack-quantized", w4, "null", ""), "nvfp4-pack-quantized"},
		{ct("pack-quantized", w4, "null", `, "sparsity_config": {"format": "sparse-24-bitmask"}`), `sparsity_config of format "sparse-24-bitmask"`},
		{ct("pack-quantized", w4, "null", `, "transform_config": {"config_groups": {"a": {}}}`), "rotated while running"},
		{ct("pack-quantized", w4, "null", `, "ignore": ["re:("]`), "not a regular expression"},
		{ct("pack-quantized", w4, "null", `, "kv_cache_scheme": {"num_bits": 4, "type": "int"}`), "kv_cache_scheme of 4-bit int"},
		{ct("pack-quantized", w4, "null", `, "kv_cache_scheme": {"num_bits": 8, "type": "int", "strategy": "tensor"}`),
			`strategy "tensor" is not supported`},
		{ct("pack-quantized", w4, "null", `, "kv_cache_scheme": "dynamic"`), `"dynamic" is not supported`},
		{`{"quant_method": "compressed-tensors"}`, "config_groups is missing or empty"},
		{`{"quant_method": "compressed-tensors", "config_groups": {"W4A16": ["Linear"]}}`, `config_groups["W4A16"]: want an object`},
		{`{"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"]}}}`, "no weights"},
		{`{"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {}}}}`, "targets is missing"},
		{with(`{"num_bits": 4, "type": "float", "strategy": "group", "group_size": 16}`, "null"), "4-bit floats"},
		{with(`{"num_bits": 16}`, "null"), "num_bits = 16"},
		{with(`{"type": "uint"}`, "null"), `type = "uint"`},
		{with(`{"strategy": "group"}`, "null"), "needs a group_size"},
		{with(`{"strategy": "block", "block_structure": [0, 1]}`, "null"), "block_structure = [0, 1]"},
		{with(`{"strategy": "tensor_group", "group_size": 16}`, "null"), `strategy = "tensor_group"`},
		{with(`{"dynamic": true}`, "null"), "dynamic scales"},
		{with(w8, `{"num_bits": 4}`), "4-bit ints are not supported"},
		{with(w8, `{"strategy": "token", "dynamic": true, "symmetric": false}`), "not symmetric"},
		{with(w8, `{"strategy": "tensor", "dynamic": true}`), "computed together"},
		{with(w8, `{"strategy": "tensor", "dynamic": "local"}`), "computed together"},
		{with(w8, `{"strategy": "token"}`), `strategy "token", dynamic <nil>`},
	} {
		if _, err := ParseConfig(json.RawMessage(c.config)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.config, err, c.want)
		}
	}
}

// TestTargets: names before expressions before classes; what is ignored is plain, whatever targets say.
func TestTargets(t *testing.T) {
	bits := func(n int, targets ...string) string {
		list, _ := json.Marshal(targets)
		return fmt.Sprintf(`{"targets": %s, "weights": {"num_bits": %d, "strategy": "channel"}}`, list, n)
	}
	s, err := ParseConfig(json.RawMessage(fmt.Sprintf(`{"quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*\\.5\\..*", "re:(?!model)"],
		"config_groups": {"a": %s, "b": %s, "c": %s, "d": %s}}`,
		bits(8, "Linear"), bits(4, "re:.*down_proj"), bits(3, "model.layers.1.mlp.down_proj", "re:.*up"),
		bits(2, "re:.*up"))))
	if err != nil {
		t.Fatal(err)
	}
	for module, want := range map[string]int{
		"model.layers.0.mlp.gate_proj": 8, "model.layers.0.mlp.down_proj": 4, "model.layers.1.mlp.down_proj": 3, "model.layers.11.mlp.down_proj": 4,
		"model.layers.2.mlp.up_proj": 2, "model.layers.5.mlp.up_proj": 0, "lm_head": 0, "x.up": 0,
	} {
		a, err := s.how.(*compressedScheme).of(module)
		if got := 0; err != nil || a == nil && want != 0 || a != nil && a.bits != want {
			t.Errorf("%s: %+v, %v, want %d bits, not %d", module, a, err, want, got)
		}
	}
	slow, err := ParseConfig(json.RawMessage(ct("pack-quantized", w4, "null", `, "ignore": ["re:(a+)+$"]`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.how.(*compressedScheme).of(strings.Repeat("a", 60) + "b"); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("an expression that takes for ever: %v", err)
	}
}

// TestUnpackErrors: files that are not what their configuration says.
func TestUnpackErrors(t *testing.T) {
	gptq := random(&Matrix{Rows: 32, Cols: 64, Bits: 4, BlockRows: 1, Group: 32}, 1)
	fp8 := random(&Matrix{Rows: 32, Cols: 64, Bits: 8, Float: true, BlockRows: 32, Group: 64, Act: Activation{Format: "fp8", Scale: 1}}, 2)
	w8a8 := random(&Matrix{Rows: 32, Cols: 64, Bits: 8, Symmetric: true, BlockRows: 1, Group: 64, Act: Activation{Format: "int8"}}, 3)
	w4 := reordered(random(&Matrix{Rows: 32, Cols: 64, Bits: 4, BlockRows: 1, Group: 16}, 4), 4)
	const module = "model.layers.0.mlp.down_proj"
	for _, c := range []struct {
		layout string
		m      *Matrix
		suffix string
		change func(*Tensor)
		want   string
	}{
		{GPTQ, gptq, ".qzeros", func(x *Tensor) { x.Shape = []int{1, 8} }, `.qzeros" has shape [1 8], expected [2 4]`},
		{GPTQ, gptq, ".qzeros", func(x *Tensor) { x.DType = "F32" }, `.qzeros" has dtype F32, expected I32`},
		{GPTQ, gptq, ".qzeros", func(x *Tensor) { x.Data = x.Data[:3] }, "has 3 bytes, expected 32"},
		{GPTQ, gptq, ".g_idx", func(x *Tensor) { x.Data[5] = 1 }, "input 1 is in group 256 of 2"},
		{GPTQ, gptq, ".scales", func(x *Tensor) { x.Data[1] = 0x7c }, "value 0 is"},
		{FP8, fp8, ".input_scale", func(x *Tensor) { clear(x.Data) }, "is 0, want a value above 0"},
		{FP8, fp8, ".weight_scale", func(x *Tensor) { x.Shape = []int{2} }, `.weight_scale" has shape [2], expected [1]`},
		{FP8, fp8, ".weight", func(x *Tensor) { x.Data[9] = 0xff }, "code 9 is not a number"},
		{CompressedTensors, w8a8, ".weight_scale", func(x *Tensor) { x.DType = "I32" }, "has dtype I32"},
		{CompressedTensors, w4, ".weight_shape", func(x *Tensor) { x.Data[0] = 33 }, "says [33, 64], expected [32, 64]"},
		{CompressedTensors, w4, ".weight_g_idx", func(x *Tensor) { x.Data[0] = 4 }, "input 0 is in group 4 of 4"},
	} {
		s, table := stored(t, c.layout, c.m)
		tensor := table[module+c.suffix]
		tensor.Data = append([]byte{}, tensor.Data...)
		c.change(&tensor)
		table[module+c.suffix] = tensor
		if _, err := s.Unpack(module, c.m.Rows, c.m.Cols, find(table)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s%s: %v, want %q", c.layout, c.suffix, err, c.want)
		}
		delete(table, module+c.suffix)
		if c.suffix == ".weight" || c.suffix == ".g_idx" || c.suffix == ".weight_shape" || c.suffix == ".weight_g_idx" {
			continue // may be missing
		}
		if _, err := s.Unpack(module, c.m.Rows, c.m.Cols, find(table)); err == nil || !strings.Contains(err.Error(), "is missing") {
			t.Errorf("%s without %s: %v", c.layout, c.suffix, err)
		}
	}
}

// FuzzParseConfig: no configuration panics, and what is read says what it is.
func FuzzParseConfig(f *testing.F) {
	for _, c := range []string{ct("pack-quantized", w4, token, `, "ignore": ["re:.*x$"]`), ct("float-quantized", f8, "null", ""),
		`{"quant_method": "gptq", "bits": 3, "group_size": 64, "dynamic": {"-:x": {}}, "meta": {"quantizer": ["gptqmodel:1"]}}`,
		`{"quant_method": "fp8", "weight_block_size": [128, 64]}`, `{"quant_method": "awq", "bits": 4, "group_size": -1}`} {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseConfig(raw)
		if err != nil {
			return
		}
		if s.String() == "" || s.KV() != "" && s.KV() != "int8" && s.KV() != "fp8" {
			t.Fatalf("%q, %q", s, s.KV())
		}
	})
}

// FuzzUnpack: whatever the configuration and the tensors, Unpack gives an error or a matrix that can be read.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte(`{"quant_method": "gptq", "bits": 4, "group_size": 4, "dynamic": {"x": {}}}`),
		uint8(0), uint8(8), uint8(8), uint8(1), uint8(8), []byte{1, 2, 3})
	f.Add([]byte(ct("pack-quantized", `{"num_bits": 3, "group_size": 4, "symmetric": false}`, "null", "")),
		uint8(1), uint8(5), uint8(8), uint8(5), uint8(1), []byte{0})
	f.Add([]byte(`{"quant_method": "fp8", "weight_block_size": [4, 3]}`), uint8(2), uint8(5), uint8(8), uint8(2), uint8(3), []byte{9})
	f.Add([]byte(`{"quant_method": "awq", "bits": 4, "group_size": 8}`), uint8(0), uint8(8), uint8(8), uint8(8), uint8(1), []byte{7})
	f.Fuzz(func(t *testing.T, raw []byte, form, rows, cols, a, b uint8, data []byte) {
		s, err := ParseConfig(raw)
		if err != nil || len(data) == 0 {
			return
		}
		dtype := []string{"I32", "I32", "F8_E4M3", "I8"}[form%4]
		look := func(name string) (Tensor, bool) {
			_, suffix, _ := strings.Cut(name, ".")
			x := Tensor{DType: dtype, Shape: []int{int(a), int(b)}}
			switch {
			case strings.Contains(suffix, "scale"):
				x.DType, x.Shape = "F16", []int{max(int(rows)/4, 1), max(int(cols)/4, 1)}
			case suffix == "qweight" && form%4 != 0, suffix == "weight_packed" && form%4 != 1,
				suffix == "weight" && form%4 < 2, strings.Contains(suffix, "shape"):
				return x, false
			case strings.Contains(suffix, "g_idx"):
				x.Shape = []int{int(cols)}
			}
			n := sizes[x.DType]
			for _, d := range x.Shape {
				n *= d
			}
			for len(x.Data) < n {
				x.Data = append(x.Data, data...)
			}
			x.Data = x.Data[:n]
			return x, true
		}
		m, err := s.Unpack("m", int(rows), int(cols), look)
		if err != nil || m == nil {
			return
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		out := make([]float32, m.Cols)
		for r := range m.Rows {
			m.Values(out, r)
		}
	})
}
