package slurm

import (
	"math"
	"slices"
)

// load is a live array as the throttle sees it. A lane is a chain of arrays of which, when nobody watches, one at a time may run.
type load struct {
	lane     string
	weight   float64 // work left
	live     int     // elements that have not ended, at least 1
	running  int     // of them
	throttle int     // as last set; 0: not known
	waiting  bool    // for the earlier arrays of its lane to end
	fresh    bool    // it is not there yet: it waits, and nothing is kept for it
}

// hold is how many elements the array may run at once as things stand.
func (l load) hold() int {
	switch {
	case l.waiting:
		return 0
	case l.throttle == 0:
		return l.live
	}
	return min(l.live, max(l.throttle, l.running))
}

// capped is how many elements a waiting array may run once it begins.
func (l load) capped() int {
	switch {
	case l.fresh:
		return 0
	case l.throttle == 0:
		return l.live
	}
	return min(l.live, l.throttle)
}

// lane sums up the loads of one chain.
type lane struct {
	weight  float64
	live    int
	hold    int // what its running arrays may run
	reserve int // what it may run when nobody watches: one of its waiting arrays may begin as the running ones end
}

// shares divides workers among lanes by weight: each next worker goes where the weight per worker is then largest, so that the lanes end at
// about one time. No lane gets more than it has live elements; each gets one as long as there are workers, the first lanes first.
func shares(workers int, lanes []lane) []int {
	share := make([]int, len(lanes))
	for i := range lanes {
		if workers > 0 && lanes[i].live > 0 {
			share[i] = 1
			workers--
		}
	}
	for ; workers > 0; workers-- {
		best, most := -1, -1.0
		for i, l := range lanes {
			if w := sane(l.weight) / float64(share[i]+1); share[i] > 0 && share[i] < l.live && w > most {
				best, most = i, w
			}
		}
		if best < 0 {
			break
		}
		share[best]++
	}
	return share
}

// sane is a weight that can be compared and divided.
func sane(w float64) float64 {
	if w > 0 && !math.IsInf(w, 1) {
		return w
	}
	return 1e-9
}

// setting is what an array is told.
type setting struct {
	throttle int
	release  bool // it need not wait any longer
}

// allot gives each array its throttle, and lets waiting ones begin where there is room. What arrays may run at once, watched or not, never
// sums to more than workers: room that is taken from an array is given away only when a later look shows it free.
func allot(workers int, loads []load) []setting {
	lanes, order := chains(loads)
	share := shares(workers, lanes)
	free := workers
	for _, l := range lanes {
		free -= l.reserve
	}
	settings := make([]setting, len(loads))
	for k, l := range lanes {
		room := l.reserve
		switch {
		case share[k] > l.reserve && free > 0:
			grant := min(share[k]-l.reserve, free)
			room += grant
			free -= grant
		case share[k] < l.reserve && worthLowering(l.reserve, share[k], free):
			room = share[k]
		}
		divide(room, l.hold, loads, order[k], settings)
	}
	return settings
}

// worthLowering keeps throttles from following every small change of what is left to do: room is taken from a lane when it is much, or when
// more is held than there is.
func worthLowering(reserve, share, free int) bool {
	return free < 0 || reserve-share > max(1, reserve/4)
}

// chains gathers the loads by lane, in order: the lanes, and which loads are theirs.
func chains(loads []load) ([]lane, [][]int) {
	var lanes []lane
	var order [][]int
	at := map[string]int{}
	for i, l := range loads {
		k, ok := at[l.lane]
		if !ok {
			k = len(lanes)
			at[l.lane] = k
			lanes, order = append(lanes, lane{}), append(order, nil)
		}
		order[k] = append(order[k], i)
		lanes[k].weight += sane(l.weight)
		lanes[k].live += l.live
		lanes[k].hold += l.hold()
		if l.waiting {
			lanes[k].reserve = max(lanes[k].reserve, l.capped())
		}
	}
	for k := range lanes {
		lanes[k].reserve = max(lanes[k].reserve, lanes[k].hold)
	}
	return lanes, order
}

// divide gives a lane's room, of which its running arrays hold some, to its arrays: the earlier ones first; taken from the later ones first.
func divide(room, hold int, loads []load, members []int, settings []setting) {
	spare := room - hold
	over := max(-spare, 0)
	for _, i := range slices.Backward(members) {
		l := loads[i]
		settings[i].throttle = l.throttle
		if l.waiting {
			settings[i].throttle = min(l.capped(), max(room, 1))
			continue
		}
		cut := min(over, l.hold()-1)
		over -= cut
		if t := l.hold() - cut; l.throttle == 0 || t < l.throttle && cut > 0 {
			settings[i].throttle = t
		}
	}
	for _, i := range members {
		l := loads[i]
		extra := max(min(spare, l.live-l.hold()), 0)
		spare -= extra
		if extra > 0 {
			settings[i] = setting{throttle: l.hold() + extra, release: l.waiting}
		}
	}
}
