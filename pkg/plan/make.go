package plan

import (
	"errors"
	"fmt"
	"slices"

	"sextant/pkg/calib"
	"sextant/pkg/spec"
)

// Version is the version of plan.json.
const Version = 3

// Inputs is what Make must know of the world, as Survey finds it.
type Inputs struct {
	Variants []Variant   // those evaluated, and the packed ones of Steps
	Tasks    []TaskInput // one for every variant that is evaluated and every dataset, in any order
	Steps    []StepInput // the quantizations, in any order
}

// StepInput is a quantization: what makes a packed variant, of which there need be no task, and the others of its recipe.
type StepInput struct {
	Variant string        // the packed one
	Tokens  int64         // that are put through the model
	Sample  *calib.Tokens // what it is calibrated with; nil: nothing
}

// TaskInput is what the data and the tokenizer say of one task.
type TaskInput struct {
	Variant string
	Dataset string
	Rows    int    // after the limit; rolling: windows
	Labels  int    // ppl, ll: labels of a row; 0 where it does not apply
	Data    string // digest of the bytes of the files used
	Prompt  string // 6 hex digits of the prompt configuration
	Chat    string // digest of the model's chat template, where the task's prompts go through it

	Estimate Estimate // of its rows' tokens
}

// Make plans a spec: every task cut into shards, the shards dealt into jobs of one variant, and the jobs ordered longest first by their
// estimated tokens and the size of their model. A quantization is a job by itself; they stand before all others, and the jobs of what they
// make come After them. It is pure and deterministic. The spec's infer.partition says how tasks are cut:
//
//   - "size" (or ""): as OpenCompass's SizePartitioner does. A task over max_partition_size cost units becomes as many shards of at most
//     that cost (one row at least), each a job; smaller ones of a variant are packed into jobs of at most that cost.
//   - "workers": as its NumWorkerPartitioner does. A task of 16 rows at most stays whole, another becomes shards of
//     max(16, rows / max_num_workers) rows; a variant's shards are dealt into max_num_workers jobs.
//
// Either way the shards of a task are as even in estimated tokens as their number and most rows allow.
func Make(s spec.Spec, in Inputs) (*Plan, error) {
	if s.Infer.MaxPartitionSize < 1 {
		return nil, fmt.Errorf("planning: max_partition_size is %d; it must be at least 1", s.Infer.MaxPartitionSize)
	}
	p := &Plan{Version: Version, Spec: s, Variants: in.Variants}
	known, err := in.index()
	if err != nil {
		return nil, fmt.Errorf("planning: %w", err)
	}
	if p.Tasks, err = makeTasks(&s, in.Variants, known); err != nil {
		return nil, fmt.Errorf("planning: %w", err)
	}
	b := builder{infer: s.Infer, inputs: known.tasks, steps: known.steps, names: names{}}
	if err := b.build(p); err != nil {
		return nil, fmt.Errorf("planning: %w", err)
	}
	p.Identity = identity(p.Tasks)
	if p.Digest, err = digest(p); err != nil {
		return nil, err
	}
	return p, nil
}

type taskKey struct{ variant, dataset string }

// known are the inputs by name.
type known struct {
	tasks map[taskKey]*TaskInput
	steps map[string]*StepInput // by the packed variant
	rows  map[string]bool       // variants that there is a task of
}

func (in *Inputs) index() (*known, error) {
	k := &known{tasks: map[taskKey]*TaskInput{}, steps: map[string]*StepInput{}, rows: map[string]bool{}}
	for i, t := range in.Tasks {
		k.tasks[taskKey{t.Variant, t.Dataset}] = &in.Tasks[i]
		k.rows[t.Variant] = true
	}
	for i, s := range in.Steps {
		k.steps[s.Variant] = &in.Steps[i]
	}
	made := map[string]bool{}
	for _, v := range in.Variants {
		made[v.Step] = made[v.Step] || v.Position == spec.Packed && k.steps[v.ID] != nil
	}
	for _, v := range in.Variants {
		if v.Step != "" && !made[v.Step] {
			return nil, fmt.Errorf("nothing is known of task %q, which makes %q", v.Step, v.ID)
		}
	}
	return k, nil
}

// makeTasks lists the tasks: variants in their order; for each what makes it, and then the datasets in the spec's order.
func makeTasks(s *spec.Spec, variants []Variant, k *known) ([]Task, error) {
	var tasks []Task
	for _, v := range variants {
		i := slices.IndexFunc(s.Models, func(m spec.Model) bool { return m.Abbr == v.Model })
		if i < 0 {
			return nil, fmt.Errorf("variant %q is of model %q, which the spec does not have", v.ID, v.Model)
		}
		if k.steps[v.ID] != nil {
			task, err := newStep(v)
			if err != nil {
				return nil, fmt.Errorf("task %q: %w", task.ID, err)
			}
			if tasks = append(tasks, task); !k.rows[v.ID] {
				continue
			}
		}
		for _, d := range s.Datasets {
			t := k.tasks[taskKey{v.ID, d.Abbr}]
			switch {
			case t == nil:
				return nil, fmt.Errorf("nothing is known of task %q", v.ID+"/"+d.Abbr)
			case t.Rows < 1:
				return nil, fmt.Errorf("dataset %q has no rows for model %q", d.Abbr, v.ID)
			}
			task, err := newTask(s, &s.Models[i], &d, v, *t)
			if err != nil {
				return nil, fmt.Errorf("task %q: %w", task.ID, err)
			}
			tasks = append(tasks, task)
		}
	}
	if len(tasks) == 0 {
		return nil, errors.New("the spec has no model or no dataset")
	}
	return tasks, nil
}

// newStep is the task that makes a packed variant. What is asked is the variant's fingerprint and nothing else.
func newStep(v Variant) (t Task, err error) {
	t = Task{ID: v.Step, Kind: Quantize, Variant: v.ID, Rows: 1, Factor: 1, Cost: 1}
	if t.Settings, err = hash(16, struct{ Kind, Fingerprint string }{Quantize, v.Fingerprint}); err == nil {
		t.Digest, err = hash(16, struct{ Kind, Settings string }{Quantize, t.Settings})
	}
	return t, err
}

func newTask(s *spec.Spec, m *spec.Model, d *spec.Dataset, v Variant, in TaskInput) (t Task, err error) {
	t = Task{ID: v.ID + "/" + d.Abbr, Variant: v.ID, Dataset: d.Abbr, Rows: in.Rows, Prompt: in.Prompt, Data: in.Data[:min(len(in.Data), 16)]}
	if t.Settings, err = settings(m, d, v.Fingerprint, in.Chat); err != nil {
		return t, err
	}
	if t.Digest, err = TaskDigest(m, d, t.Settings, in); err != nil {
		return t, err
	}
	t.Factor = factor(d, in.Labels, s.Infer.GenTaskCoef)
	t.Cost = t.Rows * t.Factor
	return t, nil
}
