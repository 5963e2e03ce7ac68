package qformat

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// A pattern is a name of a module, or, behind "re:", a regular expression of Python's that matches from the name's beginning.
type pattern struct {
	text string
	re   *regexp2.Regexp // nil: a name
}

// matchTime is how long one expression may take for one name, since some take for ever.
const matchTime = 200 * time.Millisecond

func newPattern(text string) (pattern, error) {
	expr, ok := strings.CutPrefix(text, "re:")
	if !ok {
		return pattern{text: text}, nil
	}
	re, err := regexp2.Compile(`\A(?:`+expr+`)`, regexp2.None)
	if err != nil {
		return pattern{}, fmt.Errorf("%q is not a regular expression: %w", text, err)
	}
	re.MatchTimeout = matchTime
	return pattern{text: text, re: re}, nil
}

func (p pattern) matches(module string) (bool, error) {
	if p.re == nil {
		return p.text == module, nil
	}
	ok, err := p.re.MatchString(module)
	if err != nil {
		return false, fmt.Errorf("matching %q with module %q: %w", p.text, module, err)
	}
	return ok, nil
}

// A target is a pattern, or "Linear": every matrix.
type target struct{ pattern }

func (t target) matches(module string) (bool, error) {
	if t.class() {
		return true, nil
	}
	return t.pattern.matches(module)
}

func (t target) class() bool { return t.re == nil && t.text == "Linear" }

// rank orders targets as compressed-tensors does: names, then expressions, then classes.
func (t target) rank() int {
	switch {
	case t.class():
		return 2
	case t.re != nil:
		return 1
	}
	return 0
}

// sortTargets puts the first one that counts first, with what belongs to it.
func (s *compressedScheme) sortTargets() {
	index := make([]int, len(s.targets))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int {
		x, y := s.targets[a], s.targets[b]
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), strings.Compare(x.text, y.text))
	})
	targets, args := make([]target, 0, len(index)), make([]*compressedArgs, 0, len(index))
	for _, i := range index {
		if n := len(targets); n > 0 && targets[n-1].text == s.targets[i].text {
			args[n-1] = s.args[i] // said twice: the later one counts
			continue
		}
		targets, args = append(targets, s.targets[i]), append(args, s.args[i])
	}
	s.targets, s.args = targets, args
}
