package spec

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Quant is a quantization recipe: of each model it makes variants. Facts and sources of the methods are in docs/quantization.md.
type Quant struct {
	Name        string   `toml:"name" spec:"nonempty" json:"name"`                                                                       // in the variants' names; default: from the method and what differs from its defaults, "awq-w4g128"
	Models      []string `toml:"models" spec:"nonempty" json:"models,omitempty"`                                                         // abbrs or globs; default: every model
	Method      string   `toml:"method" spec:"oneof=rtn|awq|gptq|smoothquant|fp8" json:"method"`                                         // how codes are found
	Bits        int      `toml:"bits" spec:"min=2,max=8" json:"bits"`                                                                    // of a weight: 2, 3, 4 or 8; default 4, of smoothquant and fp8 8
	Granularity string   `toml:"granularity" spec:"oneof=group|channel|tensor|block" json:"granularity"`                                 // what shares a scale: default group below 8 bits or where group is set, else channel; tensor and block (128x128) are of fp8
	Group       int      `toml:"group" spec:"min=1,max=1048576" json:"group,omitempty"`                                                  // granularity group: inputs that share a scale, default 128
	Symmetric   *bool    `toml:"symmetric" json:"symmetric,omitempty"`                                                                   // integers around 0; default: true of gptq, of 8 bits and of convention "gptq", else false
	Convention  string   `toml:"convention" spec:"oneof=llmc|gptq|compressed-tensors" json:"convention"`                                 // how scales and zeros follow from a range: default llmc, of gptq gptq
	ScaleDType  string   `toml:"scale_dtype" spec:"oneof=f16|bf16|f32" json:"scale_dtype"`                                               // scales are rounded to it before the codes are made: default f16 below 8 bits, else f32
	Act         string   `toml:"act" spec:"oneof=none|int8|fp8" json:"act"`                                                              // rounding of the inputs of quantized matrices: default none, of smoothquant int8, of fp8 fp8
	ActScale    string   `toml:"act_scale" spec:"oneof=token|tensor" json:"act_scale,omitempty"`                                         // act: a scale of each token's own (default), or one from the calibration ("tensor"); granularity block: of 128 inputs of a token
	KV          string   `toml:"kv" spec:"oneof=none|int8|fp8" json:"kv"`                                                                // rounding of the cache's keys and values, default none
	Ignore      []string `toml:"ignore" spec:"nonempty" json:"ignore,omitempty"`                                                         // matrices that stay as they are: names of tensors or globs; the embedding and the output matrix always do
	AWQ         AWQ      `toml:"awq" json:"awq,omitzero"`                                                                                // of method awq alone
	GPTQ        GPTQ     `toml:"gptq" json:"gptq,omitzero"`                                                                              // of method gptq alone
	Alpha       float64  `toml:"alpha" spec:"min=0.01,max=1" json:"alpha,omitempty"`                                                     // smoothquant: how much of the range moves from the inputs to the weights, default 0.85
	Calib       *Calib   `toml:"calib" json:"calib,omitempty"`                                                                           // the text, where NeedsText; nil elsewhere
	Save        []string `toml:"save" spec:"oneof=compressed-tensors|awq|gptq|gptq_v2|fp8|fake_quant|transformed" json:"save,omitempty"` // further directories that are written for other programs
	SavePath    string   `toml:"save_path" spec:"path" json:"save_path,omitempty"`                                                       // where, as SAVE_PATH/VARIANT/FORMAT; default: exports in the run's directory
}

// AWQ tunes method awq (arXiv 2306.00978).
type AWQ struct {
	Grid      int    `toml:"grid" spec:"min=1,max=1000" json:"grid,omitempty"`                // steps of the ratio, default 20
	Clip      *bool  `toml:"clip" json:"clip,omitempty"`                                      // search for a smaller range too; default true
	Objective string `toml:"objective" spec:"oneof=linear|output" json:"objective,omitempty"` // the error that is least: of the matrices' own outputs (default), or of the whole attention or MLP
}

// GPTQ tunes method gptq (arXiv 2210.17323).
type GPTQ struct {
	ActOrder     bool    `toml:"act_order" json:"act_order,omitempty"`                 // columns by falling diagonal of the Hessian; groups stay those of neighbours
	StaticGroups *bool   `toml:"static_groups" json:"static_groups,omitempty"`         // scales from the untouched weights; default: as act_order, which needs it
	Damp         float64 `toml:"damp" spec:"min=0.000001,max=1" json:"damp,omitempty"` // of the mean diagonal, default 0.01
	Block        int     `toml:"block" spec:"min=1,max=65536" json:"block,omitempty"`  // columns, default 128
}

// Calib is text to calibrate with, cut into samples of as many tokens.
type Calib struct {
	Name    string `toml:"name" spec:"oneof=pileval|wikitext2|c4|ptb" json:"name,omitempty"` // a known set: its usual file below data_dir, and how it is joined and cut
	File    Files  `toml:"file" json:"file,omitzero"`                                        // a file of one's own; or, beside Name, where the known one is
	Column  string `toml:"column" spec:"nonempty" json:"column,omitempty"`                   // of a row, that has the text; default "text"
	Cut     string `toml:"cut" spec:"oneof=blocks|windows" json:"cut,omitempty"`             // "blocks": short documents one behind another (pileval's, default); "windows": at random out of the whole text (GPTQ's)
	Samples int    `toml:"samples" spec:"min=1,max=1000000" json:"samples,omitempty"`        // default 128
	SeqLen  int    `toml:"seq_len" spec:"min=2,max=16777216" json:"seq_len,omitempty"`       // tokens, default 512
	Seed    uint64 `toml:"seed" json:"seed,omitempty"`                                       // which documents or windows are drawn
}

// Eval says which variants are evaluated.
type Eval struct {
	// pretrain: the model as it is; packed (with the quantized tensors as they are stored), fake_quant (their values as f32), transformed
	// (what the method made of the weights before it rounded them; of methods that Transform): of each recipe. Default: pretrain and
	// packed; empty where there is no recipe, which is pretrain.
	Positions []string `toml:"positions" spec:"nonempty,oneof=pretrain|transformed|fake_quant|packed" json:"positions,omitempty"`
}

// The positions.
const (
	Pretrain    = "pretrain"
	Transformed = "transformed"
	FakeQuant   = "fake_quant"
	Packed      = "packed"
)

// NeedsText says whether the recipe is calibrated with text.
func (q *Quant) NeedsText() bool {
	return q.Method == "awq" || q.Method == "gptq" || q.Method == "smoothquant" || q.ActScale == "tensor" && q.Act != "none"
}

// Transforms says whether the method changes weights before it rounds them: if not, its transformed variant would be the model itself, and
// there is none.
func (q *Quant) Transforms() bool { return q.Method == "awq" || q.Method == "smoothquant" }

// For says whether the recipe is for a model.
func (q *Quant) For(abbr string) bool {
	if len(q.Models) == 0 {
		return true
	}
	return slices.ContainsFunc(q.Models, func(pattern string) bool {
		return matches(pattern, abbr)
	})
}

// Ignores says whether a matrix stays as it is: a pattern is that of the tensor's name, or of its name without ".weight".
func (q *Quant) Ignores(tensor string) bool {
	return slices.ContainsFunc(q.Ignore, func(pattern string) bool { return Names(pattern, tensor) })
}

// Names says whether an element of Quant.Ignore is of a tensor.
func Names(pattern, tensor string) bool {
	module := strings.TrimSuffix(tensor, ".weight")
	return pattern == tensor || pattern == module || doublestar.MatchUnvalidated(pattern, tensor) || doublestar.MatchUnvalidated(pattern, module)
}

// At gives the positions that are evaluated of a model: pretrain (if wanted) where q is nil, else those of the recipe.
func (e *Eval) At(q *Quant) []string {
	var out []string
	all := e.Positions
	if len(all) == 0 {
		all = []string{Pretrain, Packed}
	}
	for _, at := range all {
		if (at == Pretrain) == (q == nil) && (at != Transformed || q.Transforms()) {
			out = append(out, at)
		}
	}
	return out
}

// VariantID names a model after a recipe, at a position; it is part of file names.
func VariantID(model, recipe, position string) string {
	switch position {
	case Pretrain:
		return model
	case Packed:
		return model + "-" + recipe
	}
	return model + "-" + recipe + "-" + position
}
