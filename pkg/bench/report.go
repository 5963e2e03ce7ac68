package bench

// Version is raised whenever a field of Report changes its meaning or goes.
const Version = 1

// Report is what a run found; its JSON is for programs. Times are in seconds, sizes in bytes, rates a second; GFLOP and GB are 1e9.
type Report struct {
	Version int     `json:"version"`
	Time    string  `json:"time"` // when it began, RFC 3339
	Machine Machine `json:"machine"`
	Model   Model   `json:"model"`
	Repeat  int     `json:"repeat"` // samples of each work
	Startup Startup `json:"startup"`
	Peaks   Peaks   `json:"peaks"`
	Works   []Work  `json:"works"`
	// Sharing is the rate of rank over that of rank-alone; 0 without both.
	Sharing float64 `json:"sharing"`
	// PeakRSS is the most memory that this process held in the first round: weights as far as they were touched, mapped files among them.
	PeakRSS int64 `json:"peak_rss"`
}

// Machine is where it ran.
type Machine struct {
	CPU      string `json:"cpu"`
	Features string `json:"features"` // what the backend chose
	Backend  string `json:"backend"`
	Threads  int    `json:"threads"`
	Memory   int64  `json:"memory"` // 0: unknown
}

// Model is what ran.
type Model struct {
	Name       string `json:"name"`   // the directory or the shape
	Random     bool   `json:"random"` // weights of a shape
	DType      string `json:"dtype"`  // of most of the weights, or what they were quantized to
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"` // of the weights
}

// Startup is what comes before the first answer. The time in which random weights were made is not in it, nor is a tokenizer's loading.
type Startup struct {
	Load       float64 `json:"load"`        // from opening the checkpoint until the model is loaded
	FirstToken float64 `json:"first_token"` // from the same moment until a token has been drawn after a prompt of one
}

// Peaks is what the machine can do with the threads of the works: of arithmetic the best that was seen in all rounds, of reading memory the
// median of the rounds, as with works that read for as long.
type Peaks struct {
	Compute   []Compute `json:"compute"`
	Read      float64   `json:"read_gb"`         // GB/s; of a device with memory of its own: copying, bytes read and bytes written
	Reads     []float64 `json:"reads,omitempty"` // of each round
	ReadBytes int64     `json:"read_bytes"`
}

// Compute is the best of one kind of arithmetic.
type Compute struct {
	ISA    string  `json:"isa"`
	DType  string  `json:"dtype"`
	GFLOPs float64 `json:"gflops"`
}

// Work is one work's outcome. The figures that are not lists are medians over the samples.
type Work struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	Skipped string `json:"skipped,omitempty"` // why it was not run; then nothing below holds

	Unit     string    `json:"unit"`     // "tokens" or "rows"
	Units    int       `json:"units"`    // of one run
	Computed int64     `json:"computed"` // tokens that the engine put through the model in one run
	Samples  []float64 `json:"samples"`  // units a second, in the order of the rounds
	Rate     float64   `json:"rate"`     // units a second
	Seconds  float64   `json:"seconds"`  // of one run
	Cores    float64   `json:"cores"`    // processors that the process had: on a shared machine fewer than threads

	GFLOPs float64 `json:"gflops"` // of the arithmetic that no implementation can do without
	GBs    float64 `json:"gbs"`    // of the traffic of weights, keys and values that no implementation can do without
	Bound  string  `json:"bound"`  // "compute" or "memory": which takes longer at the peaks
	Share  float64 `json:"share"`  // the time that the bound takes at the peaks, of the time taken
}

// rate is that of the work named; 0: it was not run.
func (r *Report) rate(name string) float64 {
	for _, w := range r.Works {
		if w.Name == name {
			return w.Rate
		}
	}
	return 0
}

// saw notes a rate if it is the best of its kind.
func (p *Peaks) saw(c Compute) {
	for i := range p.Compute {
		if old := &p.Compute[i]; old.ISA == c.ISA && old.DType == c.DType {
			old.GFLOPs = max(old.GFLOPs, c.GFLOPs)
			return
		}
	}
	p.Compute = append(p.Compute, c)
}

// read notes the rate of a round.
func (p *Peaks) read(gbs float64) {
	p.Reads = append(p.Reads, gbs)
	p.Read = median(p.Reads)
}

// peak is the best arithmetic that may be used with weights of a dtype: products of bf16 are made by its own units or as f32, those of f16
// and f32 as f32.
//
// A device is measured in the one format that its matrices are multiplied in, whatever the weights are.
func (p Peaks) peak(dtype string) (best Compute) {
	for _, c := range p.Compute {
		if (c.DType == "f32" || c.DType == dtype || c.ISA == deviceISA) && c.GFLOPs > best.GFLOPs {
			best = c
		}
	}
	return best
}

// judge fills in what follows from a work's cost, its seconds and the peaks.
func (w *Work) judge(c cost, p Peaks, dtype string) {
	w.GFLOPs, w.GBs = c.ops/w.Seconds/1e9, c.bytes/w.Seconds/1e9
	compute, memory := 0.0, 0.0
	if best := p.peak(dtype).GFLOPs; best > 0 {
		compute = w.GFLOPs / best
	}
	if p.Read > 0 {
		memory = w.GBs / p.Read
	}
	w.Bound, w.Share = "compute", compute
	if memory > compute {
		w.Bound, w.Share = "memory", memory
	}
}
