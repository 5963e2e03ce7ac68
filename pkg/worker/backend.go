package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"sextant/kernels"
)

// AutoBackend is the choice of cuda where one of its devices can be opened, else of cpu.
const AutoBackend = "auto"

// ChooseBackend resolves AutoBackend; other names are left as they are. why says for what reason it is not cuda.
func ChooseBackend(name string) (backend string, why error) {
	if name != AutoBackend && name != "" {
		return name, nil
	}
	if f := kernels.Probe("cuda", kernels.Options{}); f.Err != nil {
		return "cpu", f.Err
	}
	return "cuda", nil
}

// open opens a device of the backend: of those that the process may see (CUDA_VISIBLE_DEVICES, which batch systems set, says which) the one of
// to's number.
func (to loading) open(log *slog.Logger) (*kernels.Device, string, error) {
	o := kernels.Options{Threads: to.threads}
	onGPU := kernels.Options{Device: to.device}
	switch to.backend {
	case AutoBackend, "", "cuda":
	default:
		dev, err := kernels.Open(to.backend, o)
		return dev, to.backend, err
	}
	dev, err := kernels.Open("cuda", onGPU)
	if to.backend == "cuda" {
		return dev, "cuda", err
	}
	if err == nil {
		return dev, "cuda", nil
	}
	level := slog.LevelInfo
	if gpusGiven(os.Getenv) { // and they will be idle
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, "computing on the cpu: cuda cannot be used", "why", err.Error())
	dev, err = kernels.Open("cpu", o)
	return dev, "cpu", err
}

// gpusGiven tells whether a batch system gave this process GPUs.
func gpusGiven(getenv func(string) string) bool {
	for _, name := range []string{"CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"} {
		if v := getenv(name); v != "" && v != "-1" && v != "NoDevFiles" {
			return true
		}
	}
	return false
}

// deviceCache is how much of a device's own memory the key-value cache may take: nine tenths of what the weights and the passes of work bytes
// leave, for a worker has its device to itself. The rest is for what kernels and the runtime take by the way.
func deviceCache(free, work int64) int64 { return max(1, (free-work)/10*9) }

// where says what a device is, for the log.
func where(info kernels.Info) string { return fmt.Sprintf("%s; %s", info.Name, info.Features) }
