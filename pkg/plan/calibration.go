package plan

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// calibrationVersion is the version of calibration.json.
const calibrationVersion = 1

// Calibration is how fast workers were in runs that are over, by their kind: submit keeps it in the work directory, so that the runs to
// come are forecast by it. The zero Calibration knows nothing. It is not safe for concurrent use.
type Calibration struct {
	Version int              `json:"version"`
	Workers map[string]Speed `json:"workers"` // by Plan.Kind
}

// Speed is what the workers of a kind did, added up.
type Speed struct {
	Params      int64   `json:"params"`       // of the model
	Tokens      float64 `json:"tokens"`       // put through it
	Seconds     float64 `json:"seconds"`      // that this took, loads apart
	Loads       float64 `json:"loads"`        // of the model
	LoadSeconds float64 `json:"load_seconds"` // that these took
}

// memory is how many seconds of work of a kind are remembered: of what is older, less and less counts, so that a changed cluster is
// followed within hours of its use.
const memory = 10 * 3600

// LoadCalibration reads a calibration; a file that is not there is the zero Calibration. One that cannot be used gives it too, with the
// error: what it held can be measured again.
func LoadCalibration(path string) (Calibration, error) {
	var c Calibration
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Calibration{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err == nil && c.Version != calibrationVersion {
		err = fmt.Errorf("its format version is %d, this program knows version %d", c.Version, calibrationVersion)
	}
	for kind, s := range c.Workers {
		if err == nil && !s.sound() {
			err = fmt.Errorf("the speed of %q is no speed", kind)
		}
	}
	if err != nil {
		return Calibration{}, fmt.Errorf("loading the calibration %q: %w; it can be removed", path, err)
	}
	return c, nil
}

func (s Speed) sound() bool {
	for _, x := range []float64{s.Tokens, s.Seconds, s.Loads, s.LoadSeconds, float64(s.Params)} {
		if x < 0 || math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return s.Tokens == 0 || s.Seconds > 0
}

// Save commits the calibration as a file.
func (c *Calibration) Save(path string) error { return result.CommitJSON(path, c) }

// Observe takes in how an attempt of a job of the plan ended; each attempt is to be told once. One that computed nothing tells only how
// long its load took.
func (c *Calibration) Observe(p *Plan, j Job, e result.End) {
	v, _ := p.Variant(j.Variant)
	s := Speed{Params: v.Params}
	if seconds := e.Seconds - e.LoadSeconds; e.Tokens > 0 && seconds > 0 {
		s.Tokens, s.Seconds = float64(e.Tokens), seconds
	}
	if e.LoadSeconds > 0 {
		s.Loads, s.LoadSeconds = 1, e.LoadSeconds
	}
	if s.sound() && s.Seconds+s.LoadSeconds > 0 {
		c.add(p.Kind(j), s)
	}
}

// Merge takes in what another calibration knows.
func (c *Calibration) Merge(o Calibration) {
	for kind, s := range o.Workers {
		c.add(kind, s)
	}
}

func (c *Calibration) add(kind string, s Speed) {
	c.Version = calibrationVersion
	if c.Workers == nil {
		c.Workers = map[string]Speed{}
	}
	old := c.Workers[kind]
	s.Tokens, s.Seconds = s.Tokens+old.Tokens, s.Seconds+old.Seconds
	s.Loads, s.LoadSeconds = s.Loads+old.Loads, s.LoadSeconds+old.LoadSeconds
	s.Params = cmp.Or(s.Params, old.Params)
	if over := memory / s.Seconds; over < 1 {
		s.Tokens, s.Seconds = s.Tokens*over, s.Seconds*over
	}
	if over := memory / s.LoadSeconds; over < 1 {
		s.Loads, s.LoadSeconds = s.Loads*over, s.LoadSeconds*over
	}
	c.Workers[kind] = s
}

// Kind names the workers of a job for what their speed depends on: what they do, the size of the model, for another checkpoint of the same
// one is no faster, and where and with what they run.
func (p *Plan) Kind(j Job) string {
	v, _ := p.Variant(j.Variant)
	return fmt.Sprintf("%s:%dp:%db%s", p.does(j, v), v.Params, v.WeightBytes, p.place(j))
}

// making begins the kinds of workers that quantize: nothing of their speed is known from those that evaluate, nor the other way round.
const making = Quantize + "/"

// does is the part of a kind that says what is done to the weights or with them.
func (p *Plan) does(j Job, v Variant) string {
	switch {
	case j.Kind == Quantize:
		q, _ := p.Recipe(v.Recipe)
		return making + q.Method
	case v.Position == "" || v.Position == spec.Transformed:
		return spec.Pretrain // plain weights: as fast as any
	case v.Position == spec.FakeQuant:
		return v.Position
	}
	return v.Recipe
}

// place is the part of a kind that is not the model's.
func (p *Plan) place(j Job) string {
	at := fmt.Sprintf("local:%dt", p.Spec.Local.Threads)
	switch {
	case p.Spec.Infer.Scheduler == "slurm":
		s := p.Spec.Slurm
		at = fmt.Sprintf("slurm:%s:%s:%s:%dc", s.Partition, s.GPUType, s.Constraint, s.CPUs)
	case p.Spec.Infer.Scheduler == "dlc":
		d := p.Spec.DLC
		at = fmt.Sprintf("dlc:%s:%s:%dc", d.ResourceID, strings.Join(d.Extra, " "), d.WorkerCPU)
	case p.Spec.Local.Threads == 0:
		at = fmt.Sprintf("local:1/%d", p.Spec.Infer.MaxNumWorkers) // of this machine's threads
	}
	return fmt.Sprintf("+%dg%dp@%s", j.NumGPUs, j.NumProcs, at)
}

// DLCCPUs is how many processors a job on DLC asks for at least when its spec does not say, as OpenCompass has it.
const DLCCPUs = 12

// rate is how fast the workers of a pool are thought to be.
type rate struct {
	tokens float64 // a second
	load   float64 // seconds
	rough  bool    // not measured for this kind
}

// The guesses that stand in until something is measured. A token takes two operations a parameter. Real workers may be three times as
// fast or slow: less on short outputs of big models, more on long prompts.
const (
	gpuFlops    = 1.5e14 // a second of each GPU
	cpuFlops    = 2e10   // a second of each thread
	cpuThreads  = 4      // of a worker for which none are set
	readBytes   = 1e9    // of weights a second, from a shared disk
	gpuStartup  = 20     // seconds
	cpuStartup  = 1
	guessParams = 7e9 // of a model of which nothing is known
)

// rate finds the speed of a job's workers: what was measured of their kind; else what was measured at the same place of the model nearest
// in size, scaled by parameters; else a guess.
func (c *Calibration) rate(p *Plan, j Job) rate {
	v, _ := p.Variant(j.Variant)
	r := guess(p, j, v)
	s, ok := c.Workers[p.Kind(j)]
	r.rough = !ok || s.Tokens == 0
	scale := 1.0
	if r.rough {
		s, scale = c.nearest(p.does(j, v), p.place(j), v.Params)
	}
	if s.Tokens > 0 {
		r.tokens = s.Tokens / s.Seconds * scale
	}
	if s.Loads > 0 {
		r.load = s.LoadSeconds / s.Loads / scale
	}
	return r
}

// nearest finds the model measured at a place, doing as much, that is nearest in size, and how much faster one of params parameters is than it.
func (c *Calibration) nearest(does, place string, params int64) (best Speed, scale float64) {
	scale = 1
	for _, kind := range slices.Sorted(maps.Keys(c.Workers)) {
		s := c.Workers[kind]
		if !strings.HasSuffix(kind, place) || s.Params == 0 || s.Tokens == 0 || params == 0 {
			continue
		}
		if makes := strings.HasPrefix(does, making); makes != strings.HasPrefix(kind, making) || makes && !strings.HasPrefix(kind, does+":") {
			continue // methods take very different time for a token
		}
		ratio := float64(s.Params) / float64(params)
		if best.Params == 0 || math.Abs(math.Log(ratio)) < math.Abs(math.Log(scale)) {
			best, scale = s, ratio
		}
	}
	return best, scale
}

func guess(p *Plan, j Job, v Variant) rate {
	params := cmp.Or(float64(v.Params), guessParams)
	bytes := cmp.Or(float64(v.WeightBytes), 2*params)
	if j.Kind == Quantize {
		bytes = 2 * params // it reads the plain ones
	}
	if j.NumGPUs > 0 {
		return rate{tokens: gpuFlops * float64(j.NumGPUs) / (2 * params), load: gpuStartup + bytes/readBytes}
	}
	return rate{tokens: cpuFlops * float64(threads(&p.Spec, j)) / (2 * params), load: cpuStartup + bytes/readBytes}
}

// threads are those of a worker, of all its processes together: on Slurm each has its own processors, here they share them.
func threads(s *spec.Spec, j Job) int {
	switch s.Infer.Scheduler {
	case "slurm":
		return cmp.Or(s.Slurm.CPUs, cpuThreads) * max(j.NumProcs, 1)
	case "dlc":
		return cmp.Or(s.DLC.WorkerCPU, DLCCPUs)
	}
	return cmp.Or(s.Local.Threads, cpuThreads)
}
