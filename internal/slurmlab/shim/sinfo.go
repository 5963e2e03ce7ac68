package shim

import (
	"strconv"
	"strings"
)

func (n *node) state(o Options) string {
	switch {
	case n.down:
		return "down"
	case n.drained && n.cpus < o.CPUs:
		return "draining"
	case n.drained:
		return "drained"
	case n.cpus == o.CPUs:
		return "idle"
	case n.cpus == 0:
		return "allocated"
	}
	return "mixed"
}

var shortStates = map[string]string{"down": "down", "draining": "drng", "drained": "drain", "idle": "idle", "allocated": "alloc", "mixed": "mix"}

// sinfo lists partitions with their nodes, those of equal state together, or with -N each node.
func (c *Cluster) sinfo(_ *Call, p *parsed) *reply {
	if why := c.reach("sinfo", 9, nil); why != "" {
		return failed(1, "slurm_load_partitions: %s", why)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := new(reply)
	format := p.get("format", "%9P %.5a %.10l %.6D %.6t %N")
	if !p.has("noheader") {
		r.printf("%s\n", render(format, func(f byte) string {
			return map[byte]string{'P': "PARTITION", 'a': "AVAIL", 'l': "TIMELIMIT", 'D': "NODES", 't': "STATE", 'T': "STATE", 'N': "NODELIST", 'G': "GRES",
				'c': "CPUS", 'm': "MEMORY", 'f': "AVAIL_FEATURES"}[f]
		}))
	}
	for i, part := range c.o.Partitions {
		if !p.accepts("partition", part) {
			continue
		}
		name := part
		if i == 0 {
			name += "*"
		}
		for _, group := range c.groups(p.has("Node")) {
			var names []string
			for _, n := range group {
				names = append(names, n.name)
			}
			list := nodeList(&element{node: strings.Join(names, ",")})
			state := group[0].state(c.o)
			r.printf("%s\n", render(format, func(f byte) string {
				return map[byte]string{'P': name, 'a': "up", 'l': "1-00:00:00", 'D': strconv.Itoa(len(group)), 't': shortStates[state], 'T': state,
					'N': list, 'G': "gpu:" + strconv.Itoa(len(group[0].gpus)), 'c': strconv.Itoa(c.o.CPUs), 'm': "512000", 'f': "(null)", 'R': part}[f]
			}))
		}
	}
	return r
}

// groups puts nodes of one state together.
func (c *Cluster) groups(apart bool) (out [][]*node) {
	at := map[string]int{}
	for _, n := range c.nodes {
		key := n.state(c.o)
		if apart {
			key = n.name
		}
		i, ok := at[key]
		if !ok {
			i, at[key] = len(out), len(out)
			out = append(out, nil)
		}
		out[i] = append(out[i], n)
	}
	return out
}
