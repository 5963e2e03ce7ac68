package checkpoint

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

const (
	paramsFile  = "params.json"
	partPattern = "consolidated.%02d.pth"
)

// isOriginal tells whether a directory is a model as Meta publishes it: there is params.json, and not what transformers reads.
func isOriginal(fsys fs.FS) bool {
	_, err := fs.Lstat(fsys, paramsFile)
	if err != nil {
		return false
	}
	_, err = fs.Lstat(fsys, "config.json")
	return err != nil || !hasWeights(fsys)
}

// part is one of the files of a model that was trained on several devices: each has a share of every matrix.
type part struct {
	file  string
	m     *mapping
	table map[string]entry
}

// openOriginal opens a model as Meta publishes it.
func (c *Checkpoint) openOriginal() error {
	c.source = paramsFile
	params, err := fs.ReadFile(c.fsys, paramsFile)
	if err != nil {
		return err
	}
	parts, err := c.openParts()
	if err == nil {
		err = c.fetchSamples()
	}
	if err != nil {
		return err
	}
	config, err := fromParams(params, parts)
	if err != nil {
		return fmt.Errorf("%s: %w", paramsFile, err)
	}
	if err := c.describe(config); err != nil {
		return fmt.Errorf("%s, read as: %w", paramsFile, err)
	}
	if err := c.misfit(c.merge(parts)); err != nil {
		return err
	}
	return c.check()
}

// openParts maps consolidated.00.pth and those that follow it.
func (c *Checkpoint) openParts() (parts []part, err error) {
	found, err := fs.Glob(c.fsys, "consolidated.*.pth")
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no consolidated.00.pth beside %s%s; %s", paramsFile, foundInstead(c.fsys), supported)
	}
	slices.Sort(found)
	for i, file := range found {
		want := fmt.Sprintf(partPattern, i)
		if file != want {
			return nil, fmt.Errorf("found %s, but not %s: the parts of a model are numbered from 00 without a gap", file, want)
		}
		m, err := c.mapFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", want, err)
		}
		p := part{file: want, m: m, table: make(map[string]entry, len(m.entries))}
		for _, e := range m.entries {
			p.table[e.name] = e
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// originalNames gives Meta's names by those that the tensors have in transformers.
func (c *Config) originalNames() map[string]string {
	names := map[string]string{c.EmbedName(): embedOriginal, c.NormName(): "norm.weight", c.HeadName(): headOriginal}
	if c.TieEmbeddings {
		names[c.EmbedName()] = embedOriginal
	}
	for i := range c.Layers {
		n := c.LayerNames(i)
		for name, original := range map[string]string{
			n.AttnNorm: "attention_norm", n.Q: "attention.wq", n.K: "attention.wk", n.V: "attention.wv", n.O: "attention.wo",
			n.MLPNorm: "ffn_norm", n.Gate: "feed_forward.w1", n.Up: "feed_forward.w3", n.Down: "feed_forward.w2",
		} {
			names[name] = fmt.Sprintf("layers.%d.%s.weight", i, original)
		}
	}
	return names
}

const (
	embedOriginal = "tok_embeddings.weight"
	headOriginal  = "output.weight"
)

// merge takes the tensors that the architecture needs out of the parts, under the names of transformers. It returns what is wrong with them.
func (c *Checkpoint) merge(parts []part) (faults []string) {
	names, used := c.config.originalNames(), map[string]bool{}
	for _, w := range c.config.wants() {
		name := names[w.name]
		used[name] = true
		if err := c.mergeOne(w, name, parts); err != nil {
			faults = append(faults, fmt.Sprintf("tensor %q: %v", name, err))
		}
	}
	for _, p := range parts {
		for _, name := range slices.Sorted(maps.Keys(p.table)) {
			if !used[name] && !strings.HasSuffix(name, "rope.freqs") { // what every reader computes by itself
				faults = append(faults, fmt.Sprintf("tensor %q in %s is not one of a Llama model, so the model is another one", name, p.file))
			}
		}
	}
	return faults
}

// mergeOne takes one tensor: from all parts, or, where each has all of it, from the first.
func (c *Checkpoint) mergeOne(w want, name string, parts []part) error {
	var found []entry
	for _, p := range parts {
		e, ok := p.table[name]
		switch {
		case !ok:
			return fmt.Errorf("is missing in %s", p.file)
		case e.unfit != "":
			return fmt.Errorf("in %s: %s", p.file, e.unfit)
		case len(found) > 0 && (!slices.Equal(e.shape, found[0].shape) || e.dtype != found[0].dtype):
			return fmt.Errorf("is %s %v in %s, but %s %v in %s", found[0].dtype, found[0].shape, parts[0].file, e.dtype, e.shape, p.file)
		}
		found = append(found, e)
	}
	first, n := found[0], len(parts)
	m := &merged{}
	switch s := first.shape; {
	case slices.Equal(s, w.shape):
		if err := sameParts(found, parts); err != nil {
			return err
		}
		parts = parts[:1]
	case len(s) == 2 && len(w.shape) == 2 && s[0] == w.shape[0] && s[1]*n == w.shape[1]:
		m.columns = true
	case len(s) != 2 || len(w.shape) != 2 || s[0]*n != w.shape[0] || s[1] != w.shape[1]:
		return fmt.Errorf("is %v in each of %d files, expected %v in all; is a part missing, or does params.json belong to another model?", s, n, w.shape)
	}
	if n := c.config.LayerNames(layerOf(name)); w.name == n.Q || w.name == n.K {
		m.head = c.config.HeadDim
	}
	if len(parts) == 1 && m.head == 0 {
		first.name = w.name
		c.add(parts[0].m, first)
		return nil
	}
	for i, p := range parts {
		m.parts = append(m.parts, p.m.of(found[i]))
	}
	m.rows, m.width = w.shape[0], w.shape[1]*dtypeSizes[first.dtype]
	c.tensors[w.name] = Tensor{Name: w.name, DType: first.dtype, Shape: w.shape}
	c.merged[w.name] = m
	return nil
}

// layerOf is the layer of one of Meta's names; 0 for a tensor of none.
func layerOf(name string) (i int) {
	_, _ = fmt.Sscanf(name, "layers.%d.", &i)
	return i
}

// sameParts refuses a tensor of which each part has all, but not the same.
func sameParts(found []entry, parts []part) error {
	for i, p := range parts[1:] {
		if !slices.Equal(samples(p.m.of(found[i+1])), samples(parts[0].m.of(found[0]))) {
			return fmt.Errorf("is whole in each of %d files, but differs between %s and %s: they are not parts of one model", len(parts), parts[0].file, p.file)
		}
	}
	return nil
}

// originalRefused are keys of params.json that change the computation.
var originalRefused = map[string]string{
	"moe": "mixtures of experts are not supported", "moe_args": "mixtures of experts are not supported",
	"num_experts": "mixtures of experts are not supported", "vision_chunk_size": "models with images are not supported",
	"vision_args": "models with images are not supported", "lora_args": "adapters are not supported",
	"quantization_args": "Meta's quantized models are not supported", "sliding_window": "windows are read of config.json only; use the model in transformers' layout",
}

// fromParams gives the config.json that says what params.json does. Sizes that params.json leaves to the weights are read of the parts.
func fromParams(data []byte, parts []part) ([]byte, error) {
	f, err := newFields(data)
	if err != nil {
		return nil, err
	}
	if f.has("model") { // some releases have it within
		if f, err = newFields(f.values["model"]); err != nil {
			return nil, fmt.Errorf("model: %w", err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(originalRefused)) {
		if f.has(key) && string(f.values[key]) != "false" {
			f.fail(key, "%s", originalRefused[key])
		}
	}
	p := originalParams{fields: f, dim: f.size("dim", 0), layers: f.size("n_layers", 0), heads: f.size("n_heads", 0)}
	p.vocab = p.vocabulary(parts)
	config := p.config()
	if parts[0].table[headOriginal].name == "" {
		config["tie_word_embeddings"] = true
	}
	if t, ok := map[string]string{"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[parts[0].table[embedOriginal].dtype]; ok {
		config["torch_dtype"] = t
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return json.Marshal(config)
}

// originalParams are the keys of params.json, and those of its sizes on which others depend.
type originalParams struct {
	*fields
	dim, layers, heads, vocab int
}

// vocabulary is vocab_size, or, where that is -1 or absent, the rows of the embedding, whose parts are of its rows (Llama 3) or of its columns
// (Llama 1 and 2).
func (p originalParams) vocabulary(parts []part) int {
	if v := p.whole("vocab_size", -1); v != -1 {
		return p.size("vocab_size", 1)
	}
	e, ok := parts[0].table[embedOriginal]
	if !ok || len(e.shape) != 2 || p.dim == 0 {
		p.addf("vocab_size = %s: the weights have no embedding %q to tell it", p.raw("vocab_size"), embedOriginal)
		return 1
	}
	if e.shape[1] == p.dim {
		return e.shape[0] * len(parts)
	}
	return e.shape[0]
}

// config translates the keys. What Meta's programs compute is computed here, with their defaults (the ModelArgs of their releases).
func (p originalParams) config() map[string]any {
	wide := float64(int(2 * float64(4*p.dim) / 3))
	if p.has("ffn_dim_multiplier") {
		wide = float64(int(p.positive("ffn_dim_multiplier", 1) * wide))
	}
	multiple := p.size("multiple_of", 256)
	hidden := (int(min(wide, maxSize)) + multiple - 1) / multiple * multiple
	theta := p.positive("rope_theta", 10000)
	bos, eos := 1, []int{2} // of the SentencePiece models of Llama 1 and 2
	if p.vocab >= 128256 {
		bos, eos = 128000, []int{128001, 128008, 128009} // of Llama 3: the ends of a text, of a message and of a turn
	}
	if ids := p.ints("eos_token_id"); len(ids) > 0 {
		eos = ids
	}
	if ids := p.ints("bos_token_id"); len(ids) > 0 {
		bos = ids[0]
	}
	config := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "vocab_size": p.vocab, "hidden_size": p.dim,
		"intermediate_size": p.size("hidden_dim", max(hidden, 1)), "num_hidden_layers": p.layers, "num_attention_heads": p.heads,
		"num_key_value_heads": p.size("n_kv_heads", max(p.heads, 1)), "rms_norm_eps": p.number("norm_eps", 1e-5), "rope_theta": theta,
		"max_position_embeddings": p.positions(theta), "hidden_act": "silu", "bos_token_id": bos, "eos_token_id": eos, "tie_word_embeddings": false,
	}
	if p.has("head_dim") {
		config["head_dim"] = p.size("head_dim", 0)
	}
	if p.boolean("use_scaled_rope", false) {
		config["rope_scaling"] = map[string]any{"rope_type": "llama3", "factor": p.stretch(), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
			"original_max_position_embeddings": 8192}
	}
	return config
}

// stretch is the factor of use_scaled_rope, which params.json does not tell: 8 in Llama 3.1 and 3.3, 32 in the two text models of Llama 3.2.
func (p originalParams) stretch() float64 {
	factor := 8.0
	if p.dim == 2048 && p.layers == 16 || p.dim == 3072 && p.layers == 28 {
		factor = 32
	}
	return p.positive("rope_scaling_factor", factor)
}

// positions is how many a sequence may have: max_seq_len of params.json, where a user has added it, for Meta's do not tell. Else what the release
// was trained with: 131072 with use_scaled_rope (Llama 3.1 and later), 8192 with a rope_theta of 500000 (Llama 3), 16384 with another that is
// not 10000 (Code Llama), 4096 for Llama 2 and 2048 for Llama 1. Llama 1 has norm_eps 1e-6, but 1e-5 in the largest, whose n_kv_heads and
// ffn_dim_multiplier Llama 2's does not lack.
func (p originalParams) positions(theta float64) int {
	def := 4096
	switch {
	case p.boolean("use_scaled_rope", false):
		def = 131072
	case theta == 500000:
		def = 8192
	case theta != 10000:
		def = 16384
	case p.number("norm_eps", 1e-5) < 1e-5, p.dim >= 6656 && !p.has("n_kv_heads") && !p.has("ffn_dim_multiplier"):
		def = 2048
	}
	return p.size("max_seq_len", def)
}
