package dlc

import (
	"fmt"
	"regexp"
	"strings"

	"sextant/scheduler"
)

// phases are the statuses of a job of DLC, each with what it means here. A job that holds its machine after its command has ended, for somebody
// to look at it, has ended. Stopped is not Failed: somebody, or the service, ended it.
var phases = map[string]struct {
	state scheduler.State
	text  string // of one that waits
}{
	"Creating":           {scheduler.Pending, "DLC is creating it"},
	"Queuing":            {scheduler.Pending, "it waits in the quota's queue; `dlc get quota` shows what is free"},
	"Bidding":            {scheduler.Pending, "it bids for a preemptible machine"},
	"EnvPreparing":       {scheduler.Pending, "its container is being made ready"},
	"SanityChecking":     {scheduler.Pending, "its machine is being checked"},
	"Running":            {scheduler.Running, ""},
	"Restarting":         {scheduler.Running, "DLC is starting it again"},
	"Stopping":           {scheduler.Running, "it is being stopped"},
	"SucceededReserving": {scheduler.Done, ""},
	"FailedReserving":    {scheduler.Failed, ""},
	"Succeeded":          {scheduler.Done, ""},
	"Failed":             {scheduler.Failed, ""},
	"Stopped":            {scheduler.Cancelled, ""},
	"Closed":             {scheduler.Cancelled, ""}, // the client's documentation has it beside Stopped
}

// phaseOf is what a status means. One that is not known leaves a job where it was.
func phaseOf(status string, was scheduler.State) (scheduler.State, string) {
	for name, p := range phases {
		if strings.EqualFold(name, status) {
			return p.state, p.text
		}
	}
	if was.Terminal() || was == "" {
		was = scheduler.Pending
	}
	return was, fmt.Sprintf("DLC says %q, a status that is not known here", status)
}

// causes are what reasons of DLC mean, by its code and message.
var causes = []struct {
	says  *regexp.Regexp
	cause scheduler.Cause
}{
	{regexp.MustCompile(`(?i)preempt|evict|reclaim|bid.*fail`), scheduler.Preempted},
	{regexp.MustCompile(`(?i)out ?of ?memory|\boom`), scheduler.Memory},
	{regexp.MustCompile(`(?i)max(imum)? ?running ?time|deadline ?exceeded|running.*timed? ?out`), scheduler.TimeLimit},
	{regexp.MustCompile(`(?i)node.*(fail|not ?ready|unhealthy|lost)|hardware|sanity ?check`), scheduler.Node},
	{regexp.MustCompile(`(?i)image.*pull|pull.*image|errimage|mount|data ?source|container.*(create|start)`), scheduler.Launch},
}

func causeOf(d detail) scheduler.Cause {
	for _, c := range causes {
		if c.says.MatchString(d.ReasonCode + " " + d.ReasonMessage) {
			return c.cause
		}
	}
	return ""
}
