package slurm

import (
	"slices"
	"testing"
)

// A job gets the user's environment, his locale too, and nothing that is about this process or the format of the commands' output.
func TestEnvironment(t *testing.T) {
	env := []string{"HOME=/home/x", "LC_ALL=de_DE.UTF-8", "SBATCH_QOS=spot", "SLURM_CONF=/etc/slurm.conf", "SLURM_JOB_ID=3", "SQUEUE_FORMAT=%i",
		"SACCT_FORMAT=x", "SLURM_TIME_FORMAT=relative", "SEXTANT_JOB=other", "SLURMISH=stays"}
	want := []string{"HOME=/home/x", "LC_ALL=de_DE.UTF-8", "SLURM_CONF=/etc/slurm.conf", "SLURMISH=stays"}
	if got := environment("sbatch", env); !slices.Equal(got, want) {
		t.Errorf("sbatch gets %q, want %q", got, want)
	}
	if got, want := environment("squeue", env), append([]string{"SLURM_TIME_FORMAT=standard"}, want...); !slices.Equal(got, want) {
		t.Errorf("squeue gets %q, want %q", got, want)
	}
}
