package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/dlclark/regexp2/v2"
)

// match is a stretch found by a pattern, or a stretch between two.
type match struct {
	start, stop int
	hit         bool
}

// pattern finds stretches of text; the result covers the text without gaps.
type pattern func(text string) []match

func newPattern(p jsonPattern) (pattern, error) {
	switch {
	case p.String != nil && *p.String != "":
		return literalPattern(*p.String), nil
	case p.Regex != nil:
		return regexPattern(*p.Regex)
	}
	return nil, errors.New(`its pattern is neither {"String": ...} nor {"Regex": ...}`)
}

func literalPattern(s string) pattern {
	return func(text string) []match {
		return cover(text, func(yield func(start, stop int)) {
			for at := 0; ; {
				i := strings.Index(text[at:], s)
				if i < 0 {
					return
				}
				yield(at+i, at+i+len(s))
				at += i + len(s)
			}
		})
	}
}

func regexPattern(expr string) (pattern, error) {
	if scan := scanners[expr]; scan != nil {
		return func(text string) []match {
			ms := make([]match, 0, len(text)/4+1)
			for at := 0; at < len(text); {
				stop := scan(text, at)
				ms = append(ms, match{at, stop, true})
				at = stop
			}
			return ms
		}, nil
	}
	if what := foreign(expr); what != "" {
		return nil, fmt.Errorf("regular expression %q is not supported: %s", expr, what)
	}
	// No limit on the engine's stack: it is bounded by the text, and a tokenizer cannot stop half-way. Oniguruma's ^ and $
	// are those of lines.
	re, err := regexp2.Compile(expr, regexp2.Multiline, regexp2.OptionMaxBacktrackingStackSize(-1))
	if err != nil {
		return nil, fmt.Errorf("regular expression %q is not supported: %w", expr, err)
	}
	return func(text string) []match {
		found, _ := re.FindAllStringIndex(text, -1) // fails only for the limits and timeouts that are not set
		return cover(text, func(yield func(start, stop int)) {
			for _, f := range found {
				yield(f[0], f[1])
			}
		})
	}, nil
}

// cover completes the stretches that find yields with those between them.
func cover(text string, find func(yield func(start, stop int))) []match {
	var ms []match
	done := 0
	find(func(start, stop int) {
		if done < start {
			ms = append(ms, match{done, start, false})
		}
		ms = append(ms, match{start, stop, true})
		done = stop
	})
	if done < len(text) {
		ms = append(ms, match{done, len(text), false})
	}
	return ms
}

var intervalPlus = regexp.MustCompile(`[^\\]\{[0-9]*,?[0-9]*\}\+`)

// foreign names what in expr means one thing to Oniguruma, for which tokenizer.json is written, and another to the
// engine here. What the engine does not know at all it refuses by itself.
func foreign(expr string) string {
	if intervalPlus.MatchString(expr) {
		return "a + after an interval {n,m} is possessive in some engines and a repetition in others"
	}
	inClass := false
	for i := 0; i < len(expr); i++ {
		rest := expr[i:]
		switch {
		case expr[i] == '\\':
			i++
		case !inClass && strings.HasPrefix(rest, "(?m"):
			return "(?m) has several meanings"
		case inClass && strings.HasPrefix(rest, "&&"):
			return "the intersection of classes, &&"
		case inClass && expr[i] == '[':
			return "a class inside a class"
		case expr[i] == '[':
			inClass = true
			if strings.HasPrefix(rest, "[^]") || strings.HasPrefix(rest, "[]") {
				return "a class that begins with ]"
			}
		case expr[i] == ']':
			inClass = false
		}
	}
	return ""
}
