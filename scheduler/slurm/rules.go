package slurm

import (
	"regexp"

	"sextant/scheduler"
)

// rule is what a message of Slurm means.
type rule struct {
	says  *regexp.Regexp // matches the message in lower case
	class error          // ErrBusy, ErrDown, ErrUnsatisfiable, or nil: a refusal that trying again does not change
	doubt bool           // the command may have had its effect
	tell  string         // what is wrong and what to do; {partition} and the like become what was asked for
}

func says(text string) *regexp.Regexp { return regexp.MustCompile(text) }

// rules are tried in order: what a message means for sure stands before what stands in many. The texts are those of Slurm's
// src/common/slurm_errno.c and of its commands, up to 26.11; they are in English whatever the locale.
var rules = []rule{
	// Since about 20.11 the limit that was reached has a line of its own.
	{says(`submitjob`), scheduler.ErrBusy, false, "as many jobs are queued as the site allows; more are taken when some have ended"},
	{says(`\b(qos|assoc)(grp|max|min|timelimit)[a-z]*|\bmax[a-z]+peraccount\b|\bpartition(time|node)limit\b`), scheduler.ErrUnsatisfiable, false,
		"one job asks for more than this limit of the qos or account: ask for less (time, mem, cpus, num_gpus), or use another qos"},
	{says(`job violates accounting/qos policy`), scheduler.ErrBusy, false,
		"a limit of the account or qos{qos} on queued jobs is reached, or one job is over its limits of size or time; " +
			"`sacctmgr show assoc where user=$USER` shows them"},
	{says(`resource temporarily unavailable|maxjobcount limit reached|job queue full`), scheduler.ErrBusy, false,
		"the cluster's queue is full (MaxJobCount); more jobs are taken when some have ended"},
	{says(`temporarily unable to accept job|job creation temporarily disabled|requested nodes are busy`), scheduler.ErrBusy, false,
		"the cluster takes no jobs at present"},
	{says(`system submissions disabled`), scheduler.ErrBusy, false, "the administrators let no jobs be submitted at present"},
	{says(`required partition not available|partition in down state`), scheduler.ErrBusy, false,
		"the partition{partition} takes no jobs at present; `sinfo -s` shows its state"},
	{says(`i/o error writing script/environment`), scheduler.ErrBusy, false,
		"the controller cannot save jobs, its disk may be full: tell the administrators"},

	// The controller does not answer, or has heard the question and its answer is lost.
	{says(`socket timed out on send/recv|connection timed out (reading|writing)`), scheduler.ErrDown, true,
		"the controller is too slow to answer" + waits},
	{says(`zero bytes were transmitted or received|message (receive|send) failure|\((receive|send|shutdown) failure\)|communication shutdown failure|` +
		`delayed socket error|connection forced closed|connection reset`), scheduler.ErrDown, true, "the connection to the controller broke" + waits},
	{says(`(expired|rewound) credential`), scheduler.ErrDown, true,
		"the clocks of this machine and the controller do not agree, and what they say to each other has run out: tell the administrators"},
	{says(`unexpected message|header lengths are longer than data|insane message length|munge decode failed`), scheduler.ErrDown, true,
		"the controller's answer cannot be read" + waits},
	{says(`shutting down and closing all`), scheduler.ErrDown, true, "the controller is being stopped" + waits},
	{says(`unable to contact slurm controller|communication connection failure|connection timed out establishing|` +
		`connection rejected|connection refused`), scheduler.ErrDown, false, "the controller does not answer" + waits},
	{says(`in standby mode`), scheduler.ErrDown, false, "only the backup controller answers, and it is not in charge" + waits},
	{says(`rate limit exceeded`), scheduler.ErrDown, false, "the controller is asked too much by this user at present"},
	{says(`establish a configuration source|fetch config`), scheduler.ErrDown, false,
		"the cluster's configuration is not found: this machine is not part of a cluster (set SLURM_CONF), or the controller does not answer"},
	{says(`unable to connect to database|connecting to slurmdbd|problem talking to (the )?database`), scheduler.ErrDown, false,
		"the accounting database does not answer"},

	// Who asks.
	{says(`munge encode failed|authentication (error|cred|failure)|authentication plugin`), scheduler.ErrDown, false,
		"the controller does not know who asks: is munge running here, and do the clocks agree? `munge -n | unmunge` shows it"},
	{says(`incompatible versions of client and server`), nil, false,
		"the Slurm commands here are of another version than the controller: use another login node"},
	{says(`accounting storage is disabled`), nil, false, "this cluster keeps no accounts of jobs"},

	// Where it is to run.
	{says(`invalid partition`), nil, false, "there is no partition{partition}; `sinfo -s` lists them"},
	{says(`no partition specified or system default`), nil, false, "this cluster has no default partition: choose one; `sinfo -s` lists them"},
	{says(`invalid qos`), nil, false,
		"there is no qos{qos}, or it is not this user's; " +
			"`sacctmgr -n show assoc where user=$USER format=account,partition,qos` lists those that are"},
	{says(`invalid account|invalid or unknown association`), nil, false,
		"the account{account} is not this user's, or may not use the partition{partition}; " +
			"`sacctmgr -n show assoc where user=$USER format=account,partition` lists what may be used"},
	{says(`qos usage threshold`), nil, false, "the account has used up what the qos{qos} allows: use another qos"},
	{says(`group not permitted to use this partition`), nil, false, "this user may not use the partition{partition}; `sinfo -s` lists them all"},
	{says(`access denied to requested reservation`), nil, false,
		"this user may not use the reservation{reservation}; `scontrol show reservation` tells whose they are"},
	{says(`requested reservation`), nil, false,
		"the reservation{reservation} does not exist, or cannot be used now; `scontrol show reservation` lists them"},
	{says(`permission denied|operation not permitted`), nil, false,
		"this user may not do that: is the partition{partition} or the account{account} his to use, and the job his own?"},
	{says(`invalid feature`), nil, false, "no node has the features of the constraint{constraint}; `sinfo -o '%f %N'` lists them"},
	{says(`invalid node name|invalid --?(nodelist|exclude)`), nil, false,
		"there is no such node: see nodelist{nodelist} and exclude{exclude}; `sinfo -N` lists the nodes"},

	// How much of it.
	{says(`requested nodes not in this partition`), scheduler.ErrUnsatisfiable, false,
		"the nodelist{nodelist} is not in the partition{partition}; `sinfo -s` lists its nodes"},
	{says(`requested node configuration is not available|requested topology configuration`), scheduler.ErrUnsatisfiable, false,
		"no node of the partition{partition} has that many GPUs or CPUs, or that much memory; `sinfo -o '%P %c %m %G'` shows what there is"},
	{says(`requested partition configuration not available`), scheduler.ErrUnsatisfiable, false,
		"the partition{partition} does not allow so many nodes or so long a time; `sinfo -s` shows its limits"},
	{says(`invalid generic resource|invalid gres|insufficient gres|unsupported gres|gres option unsupported|invalid trackable resource`),
		scheduler.ErrUnsatisfiable, false,
		"no node has such GPUs: see num_gpus, gpu_option and gpu_type{gpu_type}; `sinfo -o '%P %G'` shows what there is"},
	{says(`memory specification can not be satisfied|memory required by task is not available`), scheduler.ErrUnsatisfiable, false,
		"no node has so much memory; `sinfo -o '%P %m'` shows what there is"},
	{says(`cpu count|more processors requested than permitted|restrictedcorespergpu`), scheduler.ErrUnsatisfiable, false,
		"no node has so many CPUs: ask for fewer with cpus; `sinfo -o '%P %c'` shows what there is"},
	{says(`node count`), scheduler.ErrUnsatisfiable, false, "the partition{partition} does not allow so many nodes: lower num_procs"},
	{says(`requested time limit is invalid`), scheduler.ErrUnsatisfiable, false,
		"the time limit{time} is longer than the partition or qos allows, or there is none and the site wants one; " +
			"`sinfo -s` shows the partitions' limits"},

	// How it is written.
	{says(`time limit specification required`), nil, false, "this site wants a time limit: give one with time"},
	{says(`invalid --time|invalid time`), nil, false, "a time cannot be read: see time{time} and extra; write minutes, HH:MM:SS or D-HH:MM:SS"},
	{says(`invalid job array`), nil, false, "the array is longer than the cluster allows; `scontrol show config` shows MaxArraySize"},
	{says(`dos line breaks`), nil, false, "the script has carriage returns: end the lines of prologue with a newline alone"},
	{says(`unrecognized option`), nil, false, "this sbatch does not know the option: remove it from extra; `sbatch --help` lists what it knows"},
	{says(`is ambiguous`), nil, false, "this sbatch knows several options that begin so: write the whole name in extra"},
	{says(`requires an argument|doesn't allow an argument`), nil, false,
		"an option in extra is not written as this sbatch wants it; see `man sbatch`"},
	{says(`invalid numeric value|invalid --`), nil, false, "this sbatch does not take that value; see `man sbatch`"},
	{says(`job dependency problem|circular job dependency`), nil, false, "the job to be waited for is not known any more"},
	{says(`invalid job id`), nil, false, "the cluster does not know the job any more"},
	{says(`unspecified error`), nil, false, "a rule of the site refuses the job: do as it says, or ask the administrators"},
}

const waits = "; jobs that are there go on, and `scontrol ping` shows when it is back"
