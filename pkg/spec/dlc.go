package spec

import (
	"maps"
	"slices"
	"strings"
)

// DLC is what jobs ask of Aliyun PAI's DLC. The keys that OpenCompass's aliyun_cfg has too are named as there. Zero values have defaults of
// their own, told with each, so that a spec which has nothing to do with DLC has nothing of it.
type DLC struct {
	Program            string            `toml:"program" spec:"program" json:"program,omitempty"`                             // the command; default "dlc"
	Config             string            `toml:"config" spec:"path" json:"config,omitempty"`                                  // its file with keys and endpoint; default: its own
	JobCmd             string            `toml:"job_cmd" spec:"oneof=create|submit" json:"job_cmd,omitempty"`                 // default "create"
	WorkspaceID        string            `toml:"workspace_id" spec:"env,form=word" json:"workspace_id,omitempty"`             // required
	ResourceID         string            `toml:"resource_id" spec:"env,form=word" json:"resource_id,omitempty"`               // quota
	WorkerImage        string            `toml:"worker_image" spec:"env,form=word" json:"worker_image,omitempty"`             // required
	DataSources        []string          `toml:"data_sources" spec:"form=word" json:"data_sources,omitempty"`                 // mounted; one of them holds the run directory, at the same path as here
	Priority           int               `toml:"priority" spec:"max=9" json:"priority,omitempty"`                             // 0: 1
	WorkerCPU          int               `toml:"worker_cpu" spec:"max=4096" json:"worker_cpu,omitempty"`                      // at least; eight a GPU where that is more; 0: 12
	WorkerMemory       int               `toml:"worker_memory" spec:"max=65536" json:"worker_memory,omitempty"`               // GiB, at least; 128 a GPU where that is more; 0: 192
	WorkerSharedMemory int               `toml:"worker_shared_memory" spec:"max=65536" json:"worker_shared_memory,omitempty"` // GiB; 0: DLC's default
	Preemptible        bool              `toml:"preemptible" json:"preemptible,omitempty"`                                    // jobs of higher priority may take its place
	MaxMinutes         int               `toml:"max_minutes" spec:"max=1000000" json:"max_minutes,omitempty"`                 // DLC ends a job after this; 0: never
	Extra              []string          `toml:"extra" spec:"form=dlc" json:"extra,omitempty"`                                // further options of dlc, "--name=value"
	Prologue           string            `toml:"prologue" spec:"nonempty" json:"prologue,omitempty"`                          // shell lines before the worker
	Env                map[string]string `toml:"env" json:"env,omitempty"`                                                    // exported in the container; ${VAR} is the container's
	Worker             string            `toml:"worker" spec:"program" json:"worker,omitempty"`                               // its path in the containers; default: as local.worker
	PollMin            int               `toml:"poll_min" spec:"max=3600" json:"poll_min,omitempty"`                          // seconds between looks, at first; 0: 20
	PollMax            int               `toml:"poll_max" spec:"max=3600" json:"poll_max,omitempty"`                          // and in the end; 0: 120
}

// Remote says that jobs run elsewhere, and go on without submit: on Slurm, or on DLC.
func (i *Infer) Remote() bool { return i.Scheduler == "slurm" || i.Scheduler == "dlc" }

// dlcOurs are the options of dlc that [dlc] extra must not hold, each with what to do instead.
var dlcOurs = map[string]string{
	"name": "jobs are found by their names", "command": "it is the worker's", "kind": "jobs are PyTorchJobs", "worker_count": "a job is one worker",
	"workers": "a job is one worker", "masters": "a job is one worker", "job_file": "it would win over all other options",
	"interactive": "submit waits by itself", "config": "write dlc.config", "workspace_id": "write dlc.workspace_id",
	"resource_id": "write dlc.resource_id", "priority": "write dlc.priority", "worker_cpu": "write dlc.worker_cpu",
	"worker_gpu": "it is the model's run_cfg.num_gpus", "worker_memory": "write dlc.worker_memory",
	"worker_shared_memory": "write dlc.worker_shared_memory", "worker_image": "write dlc.worker_image", "data_sources": "write dlc.data_sources",
	"enable_priority_preemption": "write dlc.preemptible", "job_max_running_time_minutes": "write dlc.max_minutes", "envs": "write [dlc.env]",
	"access_id": "keys stand in the file that `dlc config` writes: dlc.config", "access_key": "keys stand in the file that `dlc config` writes: dlc.config",
	"security_token":      "keys stand in the file that `dlc config` writes: dlc.config",
	"image_repo_password": "a command line can be read by others; leave the password in PAI", "password": "a command line can be read by others",
}

// maxDLCGPUs is how many GPUs a machine of DLC has at most.
const maxDLCGPUs = 16

// dlc checks what the tags of [dlc] cannot say.
func (c *checker) dlc(root *node, s *Spec) {
	n, used := root.get("dlc"), s.Infer.Scheduler == "dlc"
	if n != nil && n.kind != table {
		return
	}
	if used {
		c.dlcUsed(root, n, s)
	}
	if n == nil {
		return
	}
	d := &s.DLC
	if d.PollMax > 0 && d.PollMax < d.PollMin {
		c.add(n, "dlc", []string{"poll_max"}, "poll_max is %d and poll_min is %d; poll_max must not be less", d.PollMax, d.PollMin)
	}
	if problem := badPrologue(d.Prologue); problem != "" {
		c.add(n, "dlc", []string{"prologue"}, "%s", problem)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		problem := badVariable(name, d.Env[name])
		if secretName.MatchString(name) && problem != "" {
			problem = "looks like a secret, and what is written here can be read in the scripts; have dlc.prologue read it from a file of yours"
		}
		if problem != "" {
			c.add(n, "dlc", []string{"env", name}, "%s", problem)
		}
	}
	if l := n.get("extra"); l != nil && l.kind == list {
		for _, item := range l.items {
			text, _ := item.value.(string)
			name, _, _ := strings.Cut(strings.TrimPrefix(text, "--"), "=")
			if advice, ours := dlcOurs[strings.ReplaceAll(name, "-", "_")]; ours {
				c.p.add(item, "dlc.extra", "%q cannot be here; %s", text, advice)
			}
		}
	}
}

// dlcUsed checks what must be there for jobs on DLC.
func (c *checker) dlcUsed(root, n *node, s *Spec) {
	for key, advice := range map[string]string{
		"workspace_id": `write the workspace's id under [dlc], or give submit OpenCompass's settings: --aliyun-cfg FILE`,
		"worker_image": `write the image of the containers under [dlc], or give submit OpenCompass's settings: --aliyun-cfg FILE`,
	} {
		if n == nil {
			c.add(root, "", []string{"dlc", key}, "missing; %s", advice)
		} else {
			c.required(n, "dlc", []string{key}, advice)
		}
	}
	models := root.get("models")
	for i, m := range s.Models {
		if models == nil || models.kind != list || models.items[i].kind != table {
			continue
		}
		at, key := models.items[i], entryKey("models", models.items[i])
		if m.RunCfg.NumGPUs > maxDLCGPUs {
			c.add(at, key, []string{"run_cfg", "num_gpus"}, "%d are more than a machine of DLC has; write at most %d", m.RunCfg.NumGPUs, maxDLCGPUs)
		}
	}
}
