package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"sextant/scheduler"
)

// clusterJobs are a run's jobs on a cluster.
type clusterJobs struct {
	cluster
	queue string       // what they wait in, for people
	say   func(string) // to the user; nil: nobody listens
	told  string       // last
}

func (j *clusterJobs) Close() error {
	if c, ok := j.cluster.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Poll tells the user, when no job runs, what they wait for: once for each reason.
func (j *clusterJobs) Poll(ctx context.Context, refs []scheduler.Ref) (map[string]scheduler.Status, error) {
	status, err := j.cluster.Poll(ctx, refs)
	if text := waiting(status, j.queue); err == nil && j.say != nil && text != "" && text != j.told {
		j.told = text
		j.say(text)
	}
	return status, err
}

// waiting says what jobs wait for, "" when one runs or nothing is known.
func waiting(status map[string]scheduler.Status, queue string) string {
	reasons := map[string]int{}
	for _, st := range status {
		switch {
		case st.State == scheduler.Running:
			return ""
		case st.State == scheduler.Pending && st.Reason != "" && st.Reason != "JobArrayTaskLimit":
			reasons[st.Reason]++
		}
	}
	if len(reasons) == 0 {
		return ""
	}
	text := "no job runs yet; " + queue + ": "
	var names []string
	for name := range reasons {
		names = append(names, name)
	}
	slices.Sort(names) // not by number, which changes all the time
	for i, name := range names {
		names[i] = name + meaning(name)
	}
	return text + strings.Join(names, ", ")
}

// meanings are what reasons of Slurm mean that do not pass by themselves, by their beginning.
var meanings = []struct{ reason, means string }{
	{"PartitionTimeLimit", "the time limit is longer than the partition allows, so they never start; submit cancel DIR, and ask for less with --time"},
	{"PartitionNodeLimit", "the partition does not allow so many nodes, so they never start; submit cancel DIR, and lower num_procs"},
	{"PartitionDown", "the partition is down; `sinfo -s` shows its state"},
	{"PartitionInactive", "the partition takes no jobs; `sinfo -s` shows its state"},
	{"BadConstraints", "no node is as the jobs want it; submit cancel DIR, and ask for less"},
	{"ReqNodeNotAvail", "the nodes that the jobs may use are down, drained or reserved; `sinfo -R` tells why"},
	{"Reservation", "the reservation has not begun, or is full; `scontrol show reservation` tells"},
	{"JobHeld", "somebody holds them; `scontrol release` lets them go"},
	{"DependencyNeverSatisfied", "what they wait for cannot come; submit cancel DIR, then submit resume DIR"},
	{"InvalidAccount", "the account is not valid any more; submit cancel DIR, and choose another with -A"},
	{"InvalidQOS", "the qos is not valid any more; submit cancel DIR, and choose another with -q"},
	{"QOSMaxWall", "the time limit is longer than the qos allows, so they never start; submit cancel DIR, and ask for less with --time"},
	{"AssocMaxWall", "the time limit is longer than the account allows, so they never start; submit cancel DIR, and ask for less with --time"},
	{"QOS", "a limit of the qos is reached; `sacctmgr show qos` shows it"},
	{"Assoc", "a limit of the account is reached; `sacctmgr show assoc where user=$USER` shows it"},
}

func meaning(reason string) string {
	for _, m := range meanings {
		if strings.HasPrefix(reason, m.reason) {
			return fmt.Sprintf(" (%s)", m.means)
		}
	}
	return ""
}
