package model

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"sextant/internal/halves"
	"sextant/internal/smalldisk"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/packstore"
)

func TestMain(m *testing.M) {
	smalldisk.Enter()
	os.Exit(m.Run())
}

// loadWith loads ck on a fresh device.
func loadWith(t testing.TB, backend string, ck *checkpoint.Checkpoint, o Options) *Model {
	t.Helper()
	dev, err := kernels.Open(backend, kernels.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	m, err := LoadWith(context.Background(), dev, ck, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// TestSameBits holds that it makes no difference whether matrices are one weight or several, who packs them, and in whose memory they are.
func TestSameBits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tmpfs")
	smalldisk.Mount(t, dir, "64m")
	store := &packstore.Store{Dir: filepath.Join(dir, "packs"), Least: 1}
	fused, apart := 0, 0
	for _, quantize := range []string{"", "i8", "i4g4"} {
		for _, name := range goldenNames(t) {
			ck, g := openGolden(t, name)
			want := loadWith(t, "cpu", ck, Options{Quantize: quantize, apart: true})
			own := loadWith(t, "cpu", ck, Options{Quantize: quantize})
			maker := loadWith(t, "cpu", ck, Options{Quantize: quantize, Packs: store})
			user := loadWith(t, "cpu", ck, Options{Quantize: quantize, Packs: store})
			if own.layers[0].qkv.w != nil {
				fused++
			} else {
				apart++
			}
			if f := maker.Footprint(); !f.Shared || !f.Made || user.Footprint().Made || f.Packed == 0 || own.Footprint().Shared {
				t.Errorf("%s: maker %+v, user %+v, own %+v", name, f, user.Footprint(), own.Footprint())
			}
			small := loadWith(t, "cpu", ck, Options{Quantize: quantize, chunk: 1})
			for i, ids := range g.Lists {
				logits := alone(t, want, ids)
				for what, m := range map[string]*Model{"own memory": own, "a panel at a time": small, "its maker": maker, "found": user} {
					sameBits(t, fmt.Sprintf("%s %q, list %d, %s", name, quantize, i, what), alone(t, m, ids), logits)
				}
			}
			maker.Close()
			user.Close()
		}
	}
	if fused == 0 || apart == 0 {
		t.Errorf("%d models have their queries, keys and values in one weight, %d do not: want some of both", fused, apart)
	}
	if left, err := os.ReadDir(store.Dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

// file is a pack that is written to. From byte `full` on it takes nothing.
type file struct {
	b    []byte
	full int64
	busy atomic.Int32
	most int32 // writes at once
}

var errFull = errors.New("full")

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	defer f.busy.Add(-1)
	f.most = max(f.most, f.busy.Add(1))
	if off+int64(len(b)) > f.full {
		return 0, errFull
	}
	return copy(f.b[off:], b), nil
}

// TestFill holds what goes through buffers against what a model has in its own memory, and that a file which fails at any of its chunks, the
// last one too, ends it.
func TestFill(t *testing.T) {
	for _, quantize := range []string{"", "i8", "i4g4"} {
		ck, _ := openGolden(t, "llama")
		m := loadWith(t, "cpu", ck, Options{Quantize: quantize, chunk: 5000})
		l := loader{dev: m.dev, ck: ck, o: Options{Quantize: quantize, chunk: 3000}}
		l.load(context.Background(), &Model{cfg: ck.Config(), dev: m.dev})
		defer l.pack.Close()
		if l.err != nil {
			t.Fatal(l.err)
		}
		size := int64(len(m.pack.Data))
		whole := &file{b: make([]byte, size), full: size}
		if err := l.fill(context.Background(), whole, size); err != nil || !bytes.Equal(whole.b, m.pack.Data) || whole.most != 1 {
			t.Errorf("%q: %v, %d writes at once, or other bytes", quantize, err, whole.most)
		}
		for _, full := range []int64{0, size / 2, size - 1} {
			if err := l.fill(context.Background(), &file{b: whole.b, full: full}, size); !errors.Is(err, errFull) {
				t.Errorf("%q, full from %d of %d on: %v", quantize, full, size, err)
			}
		}
		stopped, stop := context.WithCancelCause(context.Background())
		stop(os.ErrDeadlineExceeded)
		if err := l.fill(stopped, whole, size); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q, stopped: %v", quantize, err)
		}
	}
}

// TestQuantized holds a quantized model on the cpu backend against the oracle, and both against the model as it was.
func TestQuantized(t *testing.T) {
	for _, c := range []struct {
		quantize    string
		from, below float64 // of the difference that rounding makes
	}{{"i8", 1e-6, 0.1}, {"i4g4", 1e-4, 1}} {
		ck, g := openGolden(t, "llama")
		cpu, ref := loadWith(t, "cpu", ck, Options{Quantize: c.quantize}), loadWith(t, "ref", ck, Options{Quantize: c.quantize})
		for i, ids := range g.Lists {
			got := alone(t, cpu, ids)
			if e := maxError(got, alone(t, ref, ids)); !(e <= 1e-4) {
				t.Errorf("%s: the backends differ by %g", c.quantize, e)
			}
			if e := maxError(got, g.logits[i]); !(e > c.from && e < c.below) {
				t.Errorf("%s: rounding makes a difference of %g, want %g to %g", c.quantize, e, c.from, c.below)
			}
		}
	}
}

func TestLoadRefusals(t *testing.T) {
	ck, _ := openGolden(t, "llama")
	stopped, stop := context.WithCancelCause(context.Background())
	stop(os.ErrDeadlineExceeded)
	for _, c := range []struct {
		ctx  context.Context
		o    Options
		kind error
		want string
	}{
		{context.Background(), Options{Quantize: "i5"}, nil, `quantizing to "i5": want i8, i4, or i4gN`},
		{context.Background(), Options{Quantize: "i4g0"}, nil, `"i4g0"`},
		{context.Background(), Options{Quantize: "i4gx"}, nil, `"i4gx"`},
		{context.Background(), Options{Quantize: "i4"}, nil, "do not divide into groups of 128"},
		{context.Background(), Options{Memory: 1000}, kernels.ErrNoMemory, "bytes, and there are 1000"},
		{stopped, Options{}, os.ErrDeadlineExceeded, ""},
	} {
		dev, err := kernels.Open("cpu", kernels.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		_, err = LoadWith(c.ctx, dev, ck, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%+v: error %v, want one that says %q", c.o, err, c.want)
		}
		dev.Close()
	}
}

// TestReleased holds that the pages of a checkpoint do not stay this process's when its weights are packed.
func TestReleased(t *testing.T) {
	dir := writeModel(t, 4096, 64)
	ck := open(t, dir)
	info, err := os.Stat(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	before := residentFile(t)
	m := loadWith(t, "cpu", ck, Options{})
	grown := residentFile(t) - before
	if f := m.Footprint(); f.Packed < info.Size()*9/10 || f.Mapped != 0 || grown > info.Size()/4 {
		t.Errorf("%d bytes of files more are in memory, of %d; %+v", grown, info.Size(), f)
	}
}

// residentFile is the bytes of files that are in this process's memory.
func residentFile(t *testing.T) int64 {
	t.Helper()
	for line := range bytes.Lines(readFile(t, "/proc/self/status")) {
		if f := strings.Fields(string(line)); f[0] == "RssFile:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no RssFile")
	return 0
}

// writeModel writes a tied model of one layer with a vocabulary that makes it large.
func writeModel(t *testing.T, vocab, hidden int) string {
	t.Helper()
	vocab *= 16
	config := fmt.Sprintf(`{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": %d, "hidden_size": %d, "intermediate_size": 64,
		"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
		"rope_theta": 10000, "tie_word_embeddings": true, "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1}`, vocab, hidden)
	var table []string
	at := 0
	add := func(name string, shape ...int) {
		n := 2
		for _, d := range shape {
			n *= d
		}
		dims := strings.ReplaceAll(fmt.Sprint(shape), " ", ",")
		table = append(table, fmt.Sprintf(`"%s": {"dtype": "BF16", "shape": %s, "data_offsets": [%d, %d]}`, name, dims, at, at+n))
		at += n
	}
	add("model.embed_tokens.weight", vocab, hidden)
	add("model.norm.weight", hidden)
	for name, shape := range map[string][]int{"input_layernorm": {hidden}, "post_attention_layernorm": {hidden}, "self_attn.q_proj": {hidden, hidden},
		"self_attn.k_proj": {hidden / 2, hidden}, "self_attn.v_proj": {hidden / 2, hidden}, "self_attn.o_proj": {hidden, hidden},
		"mlp.gate_proj": {64, hidden}, "mlp.up_proj": {64, hidden}, "mlp.down_proj": {hidden, 64}} {
		add("model.layers.0."+name+".weight", shape...)
	}
	head := "{" + strings.Join(table, ", ") + "}"
	data := append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...)
	data = append(data, make([]byte, at)...)
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "model.safetensors"), data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestHeadNorm holds the two ways of norming heads against each other, bit for bit.
func TestHeadNorm(t *testing.T) {
	ck, g := openGolden(t, "qwen3")
	m := loadWith(t, "cpu", ck, Options{})
	ids := g.Lists[1]
	if heads := m.cfg.KVHeads; len(ids) <= heads || m.layers[0].qkv.w == nil {
		t.Fatalf("%d tokens, %d heads: the case shows nothing", len(ids), heads)
	}
	c := newCache(t, m, 1, len(ids))
	s := &seq{tokens: ids, pages: []int32{0}}
	var got []float32
	for range ids {
		got = append(got, run(t, m, c, []*seq{s}, 1)...)
	}
	sameBits(t, "token by token", got, alone(t, m, ids))
}

// TestPassBytes holds the promise of what a pass takes against what is made for it.
func TestPassBytes(t *testing.T) {
	ck, g := openGolden(t, "qwen2")
	m := loadWith(t, "cpu", ck, Options{})
	ids := g.Lists[1]
	alone(t, m, ids)
	made := m.logits.Buf.Bytes()
	for _, s := range m.scratch.slots(m.cfg) {
		made += s.t.Buf.Bytes()
	}
	if said := m.PassBytes(len(ids), len(ids)); said < made || said > 2*made {
		t.Errorf("%d bytes are said, %d made", said, made)
	}
}

func TestRounding(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ recipe, dtype string }{{"i8", "F32"}, {"i8", "F16"}, {"i4g32", "BF16"}, {"i4g2", "F32"}, {"i4g3", "F32"}, {"i4", "F16"}} {
		k, err := parseRTN(c.recipe)
		if err != nil {
			t.Fatal(err)
		}
		const rows, cols = 5, 384
		data := make([]byte, rows*cols*halves.Bytes(c.dtype))
		for i := range data {
			data[i] = byte(r.Uint32()) & 0xbf // of an exponent below that of 2
		}
		values := make([]float32, rows*cols)
		halves.Widen(values, c.dtype, data)
		d := newRounding(k, cols, rows).round(c.dtype, data, 3)
		for i, want := range values {
			var got, step float32
			if k.bits == 8 {
				step = d.Scales[i/cols]
				got = float32(int8(d.Data[i])) * step
			} else {
				q := d.Data[i/2] >> (i % 2 * 4) & 15
				step = d.Scales[i/k.group]
				got = (float32(q) - d.Zeros[i/k.group]) * step
			}
			if !(math.Abs(float64(got-want)) <= 0.501*float64(step)+1e-36) {
				t.Fatalf("%s of %s: value %d is %g, want %g within half of %g", c.recipe, c.dtype, i, got, want, step)
			}
		}
	}
	for _, values := range [][]float32{{0, 0}, {1e-45, 0}, {float32(math.NaN()), 1}} {
		codes := make([]byte, 2)
		scale8 := round8(codes, values)
		scale4, zero := round4(codes, 0, values)
		if math.IsNaN(float64(scale8)) || math.IsNaN(float64(scale4)) || math.IsNaN(float64(zero)) {
			t.Errorf("%v: scales %v, %v, zero %v", values, scale8, scale4, zero)
		}
	}
}
