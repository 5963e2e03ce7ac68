package engine

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sextant/kernels"
)

// prefixes counts the different beginnings of what must be computed for reqs.
func prefixes(reqs []Sequence) int {
	seen := map[string]bool{}
	for _, r := range reqs {
		for n := 1; n < len(r.Tokens) && max(1, r.From) < len(r.Tokens); n++ {
			key := make([]byte, n)
			for i, id := range r.Tokens[:n] {
				key[i] = byte(id)
			}
			seen[string(key)] = true
		}
	}
	return len(seen)
}

// audit counts everything that e keeps between calls from scratch.
func audit(t rapid.TB, e *Engine) {
	t.Helper()
	if !e.keep {
		if e.cache != nil {
			t.Fatalf("the cache is kept")
		}
		return
	}
	if e.cache == nil { // there was nothing to compute
		return
	}
	c := e.cache
	named := make([]page, len(c.pool.pages))
	order := map[*node]int{}
	for at, el := 0, c.idle.Front(); el != nil; at, el = at+1, el.Next() {
		order[el.Value.(*node)] = at
	}
	nodes := 0
	var walk func(n *node)
	walk = func(n *node) {
		for key, child := range n.children {
			nodes++
			_, idle := order[child]
			if child.parent != n || child.key != key || child.start != n.end() || child.left() != 0 ||
				child.open != 0 || child.gen != nil || child.private || !idle {
				t.Fatalf("a node is left as %+v", child)
			}
			if n.parent != nil && order[n] < order[child] {
				t.Fatalf("a node is dropped before its child")
			}
			if len(child.pages) != ceilDiv(child.end(), c.size)-child.start/c.size {
				t.Fatalf("%d pages for [%d,%d)", len(child.pages), child.start, child.end())
			}
			for _, id := range child.pages {
				named[id].nodes++
			}
			walk(child)
		}
	}
	walk(&c.root)
	spare := 0
	for id, p := range c.pool.pages {
		if p.nodes != named[id].nodes || p.used != 0 {
			t.Fatalf("page %d: %+v, %d nodes name it", id, p, named[id].nodes)
		}
		if p.nodes > 0 {
			spare++
		} else if !slices.Contains(c.free, int32(id)) {
			t.Fatalf("page %d is lost", id)
		}
	}
	if spare != c.spare || spare+len(c.free) != len(named) || nodes != len(order) || c.root.open != 0 {
		t.Fatalf("%d pages in use, %d free, of %d; %d nodes, %d idle", spare, len(c.free), len(named), nodes, len(order))
	}
}

// questions are rows of shots, a question, and options: a prefix that all share, one that four share.
func questions(n, shots, question, option int) (reqs []Sequence) {
	for q := range n {
		for o := range 4 {
			tokens := append(repeat(shots, 3), repeat(question, int32(q%5))...)
			tokens[len(tokens)-1] = int32(q % toyVocab)
			tokens[len(tokens)-2] = int32(q / toyVocab)
			for i := range option {
				tokens = append(tokens, int32((o+i)%toyVocab))
			}
			reqs = append(reqs, Sequence{Tokens: tokens, From: len(tokens) - option})
		}
	}
	return reqs
}

// A prefix that sequences share is computed once, to the token, whatever the page size, and passes are full.
func TestPrefixIsComputedOnce(t *testing.T) {
	for _, c := range []struct {
		name           string
		reqs           []Sequence
		tokens, passes int
	}{
		{"one-token options", questions(40, 31, 10, 1), 31 + 40*10, 8},
		{"longer options", questions(40, 31, 10, 3), 31 + 40*10 + 40*4*2, 14},
		{"options that begin alike", []Sequence{{append(repeat(20, 3), 4, 5, 6), 20}, {append(repeat(20, 3), 4, 5, 7, 8), 20}, {repeat(20, 3), 1}}, 23, 2},
		{"equal", slices.Repeat([]Sequence{{repeat(49, 3), 1}}, 10), 48, 1},
	} {
		for i := range c.reqs { // the tail of a common question differs in a few tokens only
			c.reqs[i].From = min(c.reqs[i].From, 1+i%3)
		}
		e, y := newToy(t, Options{PageSize: 8, TokenBudget: 64, BatchSize: 64})
		for i, got := range score(t, e, c.reqs) {
			if want := plainScore(c.reqs[i]); got != want {
				t.Errorf("%s: request %d: %+v, want %+v", c.name, i, got, want)
			}
		}
		if want := prefixes(c.reqs); y.tokens != want || y.tokens > c.tokens || y.passes > c.passes {
			t.Errorf("%s: %d tokens in %d passes, want %d of at most %d in %d", c.name, y.tokens, y.passes, want, c.tokens, c.passes)
		}
	}
}

// What one call computed need not be computed by the next, but for the token whose prediction of another one is asked for.
func TestKept(t *testing.T) {
	reqs := questions(40, 31, 10, 1)
	e, y := newToy(t, Options{PageSize: 8, TokenBudget: 64})
	e.Keep()
	for first := 0; first < len(reqs); first += 40 {
		score(t, e, reqs[first:first+40])
	}
	if y.tokens != prefixes(reqs) {
		t.Errorf("%d tokens in four calls, want %d", y.tokens, prefixes(reqs))
	}
	e.Close()
	if y.cells != nil {
		t.Error("the cache is not freed")
	}
	y.tokens = 0
	whole := []Sequence{{append(repeat(20, 3), 4, 5, 6), 1}, {append(repeat(20, 3), 5, 5, 6), 1}}
	for _, r := range whole {
		if got, want := score(t, e, []Sequence{r})[0], plainScore(r); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if y.tokens != 22+3 {
		t.Errorf("%d tokens, want 22 and then 3", y.tokens)
	}
	y.tokens = 0
	generate(t, e, []Prompt{{Tokens: append(repeat(20, 3), 4), MaxNew: 1}})
	if y.tokens != 1 {
		t.Errorf("%d tokens for a prompt that was scored", y.tokens)
	}
}

// Prompts of generations are shared as well: the samples of one prompt, and examples before several.
func TestPromptsAreShared(t *testing.T) {
	var reqs []Prompt
	for i := range 24 {
		tokens := append(repeat(30, 3), repeat(1+i/8, 7)...)
		reqs = append(reqs, Prompt{Tokens: tokens, MaxNew: 5, Seed: uint64(i), Sample: kernels.SampleDesc{Temperature: 1}})
	}
	e, y := newToy(t, Options{PageSize: 8, TokenBudget: 64})
	for i, got := range generate(t, e, reqs) {
		if want := plainGenerate(reqs[i], nil, 64); got.Text != want.Text {
			t.Errorf("prompt %d: %+v, want %+v", i, got, want)
		}
	}
	if want := 30 + 1 + 1 + 24*5; y.tokens != want { // the last token of each prompt, and all drawn but the last
		t.Errorf("%d tokens, want %d", y.tokens, want)
	}
}

// Sharing switched off, everything is computed for itself.
func TestNoSharing(t *testing.T) {
	reqs := questions(5, 31, 10, 1)
	e, y := newToy(t, Options{NoSharing: true})
	e.Keep()
	score(t, e, reqs)
	if y.tokens != len(reqs)*41 {
		t.Errorf("%d tokens, want %d", y.tokens, len(reqs)*41)
	}
	audit(t, e)
}

// With memory for little more than the longest path nothing is computed twice; with memory for the longest request alone no branch lies in
// a page, and what is computed twice is less than a page a request.
func TestSharingInLittleMemory(t *testing.T) {
	reqs := questions(40, 30, 10, 3)
	for i := range reqs {
		reqs[i].From = 1
	}
	want := prefixes(reqs)
	for pages, most := range map[int]int{12: want, 9: want, 8: want + 7*len(reqs), 6: want + 7*len(reqs)} {
		e, y := newToy(t, Options{PageSize: 8, TokenBudget: 64, Memory: int64(pages * 8 * toyPositionBytes)})
		for i, got := range score(t, e, reqs) {
			if want := plainScore(reqs[i]); got != want {
				t.Errorf("%d pages: request %d: %+v, want %+v", pages, i, got, want)
			}
		}
		if y.tokens > most {
			t.Errorf("%d pages: %d tokens computed, want at most %d", pages, y.tokens, most)
		}
	}
}

// Generations that outgrow the memory wait, and in the end give way to the first.
func TestGenerationsGiveWay(t *testing.T) {
	var reqs []Prompt
	for i := range 6 {
		reqs = append(reqs, Prompt{Tokens: repeat(9+i, int32(i)), MaxNew: 40})
	}
	for passes := 1; passes <= 3; passes += 2 {
		e, y := newToy(t, Options{PageSize: 4, Memory: 14 * 4 * toyPositionBytes})
		e.shape.Passes, y.most = passes, passes
		for i, got := range generate(t, e, reqs) {
			if want := plainGenerate(reqs[i], nil, 64); got.Text != want.Text {
				t.Errorf("prompt %d: %+v, want %+v", i, got, want)
			}
		}
		if y.tokens <= 6*50 {
			t.Errorf("%d tokens: nothing had to be computed again", y.tokens)
		}
	}
}

// With several passes under way each has its part of what there is: none waits for another while there is something to compute.
func TestPassesUnderWay(t *testing.T) {
	var seqs []Sequence
	var prompts []Prompt
	for i := range 24 {
		seqs = append(seqs, Sequence{Tokens: repeat(30, int32(i%toyVocab)), From: 1 + i/toyVocab})
		prompts = append(prompts, Prompt{Tokens: repeat(3, int32(i%toyVocab)), MaxNew: 20, Seed: uint64(i), Sample: kernels.SampleDesc{Temperature: 1}})
	}
	e, y := newToy(t, Options{PageSize: 4, TokenBudget: 64})
	e.shape.Passes, y.most = 3, 3
	score(t, e, seqs)
	if y.reached != 3 {
		t.Errorf("scoring had %d passes under way, want 3", y.reached)
	}
	y.reached, y.passes = 0, 0
	generate(t, e, prompts)
	if y.reached != 3 || y.passes < 3*20 {
		t.Errorf("generating had %d passes under way of %d, want 3 groups of 20 each", y.reached, y.passes)
	}
}

func TestErrorEmptiesTheCache(t *testing.T) {
	e, y := newToy(t, Options{TokenBudget: 8, BatchSize: 8})
	e.Keep()
	reqs := questions(3, 20, 5, 1)
	full := errors.New("disk full")
	if err := e.Score(context.Background(), reqs, func(int, Scored) error { return full }); !errors.Is(err, full) || y.cells != nil {
		t.Errorf("%v, cache freed: %v", err, y.cells == nil)
	}
	score(t, e, reqs)
	audit(t, e)
}
