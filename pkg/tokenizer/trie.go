package tokenizer

import (
	"slices"
	"strings"
)

// trie is a byte trie over a fixed set of strings, each with a value >= 0.
// A node's edges lie together, sorted by label.
type trie struct {
	nodes  []trieNode
	labels []byte
	kids   []int32
}

type trieNode struct {
	edge  int32 // index of the first edge
	edges int32
	value int32 // noID: no string ends here
}

// trieEntry is a string and its value. Where a string is given twice, the later value is kept.
type trieEntry struct {
	key   string
	value int32
}

// newTrie builds the trie, or returns nil where there is no non-empty string.
func newTrie(entries []trieEntry) *trie {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e trieEntry) bool { return e.key == "" })
	if len(entries) == 0 {
		return nil
	}
	slices.SortStableFunc(entries, func(a, b trieEntry) int { return strings.Compare(a.key, b.key) })
	type work struct{ node, lo, hi, depth int }
	t := &trie{nodes: []trieNode{{value: noID}}}
	for queue := []work{{0, 0, len(entries), 0}}; len(queue) > 0; queue = queue[1:] {
		w := queue[0]
		for w.lo < w.hi && len(entries[w.lo].key) == w.depth {
			t.nodes[w.node].value = entries[w.lo].value
			w.lo++
		}
		t.nodes[w.node].edge = int32(len(t.labels))
		for lo := w.lo; lo < w.hi; {
			label, hi := entries[lo].key[w.depth], lo
			for hi < w.hi && entries[hi].key[w.depth] == label {
				hi++
			}
			t.labels, t.kids = append(t.labels, label), append(t.kids, int32(len(t.nodes)))
			queue = append(queue, work{len(t.nodes), lo, hi, w.depth + 1})
			t.nodes = append(t.nodes, trieNode{value: noID})
			lo = hi
		}
		t.nodes[w.node].edges = int32(len(t.labels)) - t.nodes[w.node].edge
	}
	return t
}

// step follows label from node; -1 where there is no such edge.
func (t *trie) step(node int32, label byte) int32 {
	n := t.nodes[node]
	lo, hi := n.edge, n.edge+n.edges
	for hi-lo > 4 {
		mid := (lo + hi) / 2
		if t.labels[mid] <= label {
			lo = mid
		} else {
			hi = mid
		}
	}
	for ; lo < hi; lo++ {
		if t.labels[lo] == label {
			return t.kids[lo]
		}
	}
	return -1
}

// longest returns the longest string of the trie that s begins with: its length and value; 0 where there is none.
func (t *trie) longest(s string) (length int, value int32) {
	value = noID
	if t == nil {
		return 0, value
	}
	node := int32(0)
	for i := 0; i < len(s); i++ {
		if node = t.step(node, s[i]); node < 0 {
			break
		}
		if v := t.nodes[node].value; v != noID {
			length, value = i+1, v
		}
	}
	return length, value
}
