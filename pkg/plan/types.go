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

// Variant is a model after a quantization recipe. Only "pretrain", the untouched model, exists so far.
type Variant struct {
	ID          string `json:"id"` // the model's abbr for pretrain, else "ABBR-RECIPE"
	Model       string `json:"model"`
	Recipe      string `json:"recipe"`
	Fingerprint string `json:"fingerprint"`            // of config, tokenizer and weights
	Params      int64  `json:"params,omitempty"`       // the model's parameters; 0: not known
	WeightBytes int64  `json:"weight_bytes,omitempty"` // that a worker loads
}

// Task is one variant on one dataset.
type Task struct {
	ID       string `json:"id"` // "VARIANT/DATASET"
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
	Variant  string   `json:"variant"`
	Shards   []string `json:"shards"`
	Cost     int      `json:"cost"`
	NumGPUs  int      `json:"num_gpus"`
	NumProcs int      `json:"num_procs"`
	Shrink   int      `json:"shrink,omitempty"` // of an attempt after out-of-memory deaths: memory and batches are halved so often
}

// Pool names the workers that can do the job: those with the same model and the same resources. An attempt that was given more memory than
// the others, after it ran out of it twice, is for workers that have it too.
func (j Job) Pool() string {
	pool := fmt.Sprintf("%s+%dg%dp", j.Variant, j.NumGPUs, j.NumProcs)
	if j.Shrink > 1 {
		pool += fmt.Sprintf("+m%d", j.Shrink-1)
	}
	return pool
}
