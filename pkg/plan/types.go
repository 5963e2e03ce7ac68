package plan

import (
	"fmt"
	"sync/atomic"

	"sextant/pkg/spec"
)

// Plan is every shard of a run with its cost and resources, and the jobs that carry them. It is a value: printed, saved, compared and
// executed. plan.json holds it whole, so that a worker needs no other file but the data and the model.
type Plan struct {
	Version  int       `json:"version"`
	Identity string    `json:"identity"` // of the tasks alone: what is asked, whatever the shard sizes and workers
	Digest   string    `json:"digest"`   // of everything below
	Spec     spec.Spec `json:"spec"`
	Variants []Variant `json:"variants"`
	Tasks    []Task    `json:"tasks"`
	Shards   []Shard   `json:"shards"`
	Jobs     []Job     `json:"jobs"`

	found atomic.Pointer[index]
}

// Variant is a model after a quantization recipe, at a position (spec.Eval); "pretrain" is the untouched model.
type Variant struct {
	ID          string `json:"id"` // the model's abbr for pretrain, else "ABBR-RECIPE" (packed) or "ABBR-RECIPE-POSITION"
	Model       string `json:"model"`
	Recipe      string `json:"recipe"`                 // a spec.Quant's name, or "pretrain"
	Position    string `json:"position,omitempty"`     // packed, fake_quant or transformed; "": pretrain
	Step        string `json:"step,omitempty"`         // the task that makes it; "": pretrain
	Fingerprint string `json:"fingerprint"`            // of config, tokenizer and weights; of what is made of them, of that and of how it is made
	Params      int64  `json:"params,omitempty"`       // the model's parameters; 0: not known
	WeightBytes int64  `json:"weight_bytes,omitempty"` // that a worker loads; of what is yet to be made, estimated
}

// Stored names the variant whose directory (result.Dir.Variant) holds the weights: fake_quant has those of packed. "": they are the model's.
func (v Variant) Stored() string {
	switch v.Position {
	case "":
		return ""
	case spec.FakeQuant:
		return spec.VariantID(v.Model, v.Recipe, spec.Packed)
	}
	return v.ID
}

// Task is one variant on one dataset, or a quantization.
type Task struct {
	ID string `json:"id"` // "VARIANT/DATASET", or "ABBR-RECIPE/quantize"
	// Kind is "" of an evaluation. Quantize: it makes the packed variant (and the others of its recipe), has one row, no dataset, no score.
	Kind     string `json:"kind,omitempty"`
	Variant  string `json:"variant"`
	Dataset  string `json:"dataset"`
	Rows     int    `json:"rows"`     // rolling: windows
	Settings string `json:"settings"` // digest of model fingerprint, mode and decoding settings; part of every row's digest
	Digest   string `json:"digest"`   // of Settings, data files and prompt; equal digests need no look at the rows
	Prompt   string `json:"prompt"`   // 6 hex digits of the prompt configuration, for the report
	Data     string `json:"data"`     // 16 hex digits of the data files' digest
	Factor   int    `json:"factor"`   // OpenCompass cost of a row
	Cost     int    `json:"cost"`     // Rows x Factor
	Tokens   int64  `json:"tokens"`   // estimated, put through the model by all of its shards
}

// Quantize is the kind of a task that makes a packed variant, and the others of its recipe. Its one record's digest is the Fingerprint of the
// packed variant, which the plan has even where it is not evaluated.
const Quantize = "quantize"

// Shard is a half-open row range of one task.
type Shard struct {
	ID     string `json:"id"` // file-name safe
	Task   string `json:"task"`
	From   int    `json:"from"`
	To     int    `json:"to"`
	Cost   int    `json:"cost"`
	Tokens int64  `json:"tokens"` // estimated
}

// Job is what the scheduler runs: shards of one variant, done one after another with one model load.
type Job struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind,omitempty"` // of its tasks
	Variant  string   `json:"variant"`
	Shards   []string `json:"shards"`
	Cost     int      `json:"cost"`
	NumGPUs  int      `json:"num_gpus"`
	NumProcs int      `json:"num_procs"`
	After    []string `json:"after,omitempty"`  // jobs whose shards must be done before this one begins
	Shrink   int      `json:"shrink,omitempty"` // of an attempt after out-of-memory deaths: memory and batches are halved so often
}

// Pool names the workers that can do the job: those with the same model, to the same end, and the same resources. An attempt that was given
// more memory than the others, after it ran out of it twice, is for workers that have it too.
func (j Job) Pool() string {
	pool := fmt.Sprintf("%s+%dg%dp", j.Variant, j.NumGPUs, j.NumProcs)
	if j.Kind != "" {
		pool += "+" + j.Kind
	}
	if j.Shrink > 1 {
		pool += fmt.Sprintf("+m%d", j.Shrink-1)
	}
	return pool
}
