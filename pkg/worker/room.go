package worker

import (
	"sextant/pkg/pipeline"
)

// room tells what passes and what cache this process has memory for (pipeline.Measure): for 0 tokens, of how many its passes may be. Memory of 0 is
// not known.
func (l *loaded) room(o Options, m pipeline.Measure) (pipeline.Measure, error) {
	infos, err := l.infos()
	if err != nil {
		return m, err
	}
	onDevice := l.footprint().Device > 0
	m.PositionBytes = l.positionBytes()
	switch {
	case m.Tokens == 0:
		m.Tokens = l.passTokens(infos, m.Rows)
	case !onDevice:
		m.Memory = l.cacheMemory(o, infos[0].Free, l.hostWork(m.Tokens, m.Rows), processors(l.threads, threadsOf(infos)))
	case o.Memory > 0:
		m.Memory = o.Memory
	default:
		m.Memory = l.devicesCache(infos, m.Tokens, m.Rows)
	}
	return m, nil
}

// rooms is room in all ranks: the tokens that each has room for, and the cache of all, as many positions as the rank with the least room has.
func (l *loaded) rooms(o Options, m pipeline.Measure) (pipeline.Measure, error) {
	all := make([]pipeline.Measure, 1)
	var err error
	if all[0], err = l.room(o, m); err != nil || l.crew == nil {
		return all[0], err
	}
	others, err := l.crew.host.Measure(m)
	if err != nil {
		return m, err
	}
	out := all[0]
	for _, r := range others {
		out.Tokens = min(out.Tokens, r.Tokens)
		out.PositionBytes += r.PositionBytes
	}
	if out.Memory = o.Memory; out.Memory > 0 {
		return out, nil
	}
	positions := int64(0)
	for _, r := range append(all, others...) {
		positions = least(positions, r.Memory/max(r.PositionBytes, 1))
	}
	out.Memory = positions * out.PositionBytes
	return out, nil
}
