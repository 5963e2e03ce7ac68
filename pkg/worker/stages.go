package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/model"
	"sextant/pkg/packstore"
	"sextant/pkg/pipeline"
	"sextant/pkg/spec"
)

// stage is a part of the model on a device of its own.
type stage struct {
	dev *kernels.Device
	m   *model.Model // nil before it is loaded
}

// divide says among how many processes, and how many devices of each, a model is divided. Each process needs a layer at least.
func (to *loading) divide(r spec.RunCfg, layers int) {
	to.asked = max(r.NumProcs, 1)
	to.procs = min(to.asked, layers)
	to.stages = min((r.NumGPUs+to.asked-1)/to.asked, layers)
	if to.procs > 1 && !to.tasks() {
		to.threads = threadsEach(to.threads, to.procs)
	}
}

// openStages opens n devices of the backend: of GPUs the first that the process may see, from to.device on; of the cpu each has its part of the
// threads, and there are no more than threads. Those that are open have to be closed also when there is an error.
func (to loading) openStages(n int) (stages []stage, backend string, err error) {
	dev, backend, err := to.open(to.log)
	if err != nil {
		return nil, "", fmt.Errorf("opening the backend: %w", err)
	}
	stages = []stage{{dev: dev}}
	if n <= 1 {
		return stages, backend, nil
	}
	info, err := dev.Info()
	if err != nil {
		return stages, "", fmt.Errorf("asking the backend: %w", err)
	}
	onGPU := info.ComputeCapability > 0
	if !onGPU {
		n = min(n, info.Threads)
		dev.Close()
		stages = nil
	}
	for i := len(stages); i < n; i++ {
		o := kernels.Options{Device: to.device + i}
		if !onGPU {
			o = kernels.Options{Threads: (i+1)*info.Threads/n - i*info.Threads/n}
		}
		dev, err := kernels.Open(backend, o)
		if err != nil {
			return stages, "", fmt.Errorf("opening device %d for run_cfg.num_gpus: %w", o.Device, err)
		}
		stages = append(stages, stage{dev: dev})
	}
	return stages, backend, nil
}

// keep closes all devices but the first n.
func (l *loaded) keep(n int) {
	for _, s := range l.stages[n:] {
		s.dev.Close()
	}
	l.stages = l.stages[:n]
}

// divided loads the model, in whatever stages and processes.
func (l *loaded) divided(ctx context.Context, to loading) error {
	if to.procs > 1 {
		return l.together(ctx, to)
	}
	speeds, err := l.speeds()
	if err != nil {
		return err
	}
	parts, share, err := model.Parts(l.ck, speeds)
	if err != nil {
		return err
	}
	if err := l.fill(ctx, to, parts, share); err != nil || len(parts) == 1 {
		return err
	}
	l.pipe = pipeline.New(l.models())
	return nil
}

// fill loads the stages, all at once: each packs its part with its own threads. share is each part's of the weights.
func (l *loaded) fill(ctx context.Context, to loading, parts []model.Part, share []float64) error {
	infos, err := l.infos()
	if err != nil {
		return err
	}
	room, here := roomFor(to.limit), 0.0
	for _, s := range share[:len(parts)] {
		here += s
	}
	errs := make([]error, len(l.stages))
	var loading sync.WaitGroup
	for i := range l.stages {
		o := model.Options{Part: parts[i], Packs: packstore.Default(os.Getenv), Memory: int64(float64(room) * (share[i] / here)), Dequantize: to.dequantize}
		if o.Packs != nil { // who has all processors is not expected to have company
			o.Packs.Guest = processors(to.threads, threadsOf(infos)) >= machineCPUs("/")
		}
		loading.Go(func() { l.stages[i].m, errs[i] = model.LoadWith(ctx, l.stages[i].dev, l.ck, o) })
	}
	loading.Wait()
	return errors.Join(errs...)
}

// infos describe the devices as they are now.
func (l *loaded) infos() (all []kernels.Info, err error) {
	for _, s := range l.stages {
		info, err := s.dev.Info()
		if err != nil {
			return nil, fmt.Errorf("asking the backend: %w", err)
		}
		all = append(all, info)
	}
	return all, nil
}

// gpuThreads is about how many threads of a CPU do as many operations as a GPU.
const gpuThreads = 5000

// speeds are those of the devices as far as is known before they have done anything, in threads of a CPU. Nothing is measured: workers that share
// a machine are to cut a model alike, for then they share what they pack, and times of a machine that others use too would have each cut it otherwise.
func (l *loaded) speeds() (all []float64, err error) {
	infos, err := l.infos()
	for _, info := range infos {
		if info.ComputeCapability > 0 {
			info.Threads = gpuThreads
		}
		all = append(all, float64(max(info.Threads, 1)))
	}
	return all, err
}

func threadsOf(infos []kernels.Info) (n int) {
	for _, info := range infos {
		n += info.Threads
	}
	return n
}

func (l *loaded) models() (all []*model.Model) {
	for _, s := range l.stages {
		all = append(all, s.m)
	}
	return all
}

// layout says in words which layers are where.
func (l *loaded) layout() string {
	var parts []string
	for _, m := range l.models() {
		parts = append(parts, m.Part().String())
	}
	return strings.Join(parts, ", ")
}

// engine makes one for the model, in whatever stages.
func (l *loaded) engine(o engine.Options, positionBytes int64) (*engine.Engine, error) {
	if l.pipe == nil {
		return engine.New(l.stages[0].m, o)
	}
	shape := engine.ShapeOf(l.ck.Config(), positionBytes)
	shape.Passes = l.pipe.Passes()
	return engine.NewRunner(l.pipe, shape, o)
}

// footprint is that of all stages. Shared: all of them are.
func (l *loaded) footprint() model.Footprint {
	sum := l.stages[0].m.Footprint()
	for _, m := range l.models()[1:] {
		f := m.Footprint()
		sum.Device, sum.Packed, sum.Mapped = sum.Device+f.Device, sum.Packed+f.Packed, sum.Mapped+f.Mapped
		sum.Shared, sum.Made = sum.Shared && f.Shared, sum.Made || f.Made
		if sum.Why == "" {
			sum.Why = f.Why
		}
	}
	return sum
}

func (l *loaded) positionBytes() (n int64) {
	for _, m := range l.models() {
		n += m.PositionBytes()
	}
	return n
}

// hostWork is the memory of the host that passes of so many tokens take, in bytes, with those that are under way between stages.
func (l *loaded) hostWork(tokens, logits int) (n int64) {
	for _, m := range l.models() {
		n += m.PassBytes(tokens, logits)
	}
	if l.pipe != nil {
		n += int64(l.pipe.Passes()) * 4 * int64(tokens) * int64(l.ck.Config().Hidden)
	}
	return n
}

// devicesCache is how much the cache may take on devices with memory of their own, all stages together: as many positions as the one with the
// least room for its layers has. 0: not known.
func (l *loaded) devicesCache(infos []kernels.Info, tokens, logits int) int64 {
	all, least := l.positionBytes(), int64(0)
	for i, m := range l.models() {
		if infos[i].Free <= 0 {
			return 0
		}
		room := deviceCache(infos[i].Free, m.PassBytes(tokens, logits))
		if total := int64(float64(room) / float64(m.PositionBytes()) * float64(all)); i == 0 || total < least {
			least = total
		}
	}
	return max(1, least)
}
