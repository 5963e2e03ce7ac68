package spec

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A progress is a word of training with its number, between separators: "step4000", "global_step1200", "iter_0001000", "epoch=3", "step-2k".
var progress = regexp.MustCompile(`(?i)(^|[-_.@])(?:(?:global|train|training)[-_]?)?` +
	`(step|iter|iteration|checkpoint|ckpt|epoch|token)s?[-_=]?(\d+(?:\.\d+)?)([kmbt]?)($|[-_.@])`)

// The words, the surest one first: of "epoch=3-step=4000" 4000 is the step. Tokens alone are none: a name may boast of them.
var progressWords = []string{"step", "iter", "iteration", "checkpoint", "ckpt", "epoch"}

var (
	progressUnits = map[string]float64{"": 1, "k": 1e3, "m": 1e6}
	wholeNumber   = regexp.MustCompile(`^\d{1,15}$`)
	aDate         = regexp.MustCompile(`^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$`)
)

// Step finds the training step in a checkpoint's path, as trainers write it: a word of training with its number in the last element
// ("my-7b/step4000", "checkpoint-500", "iter_0001000", "epoch=3-step=4000.ckpt") or in the one before it ("step4000/hf"), or a last element
// that is a number and no date ("1006_pr/5499/"). series is the path without it, the same of all checkpoints of a training that are named
// alike; "" where nothing else is in the path. ok is false of a path that has no step; sizes and versions ("llama-7b", "Qwen2-1.5B") are none.
func Step(path string) (series string, step int64, ok bool) {
	elements := strings.Split(strings.TrimRight(path, "/"), "/")
	last := len(elements) - 1
	for i := last; i >= max(0, last-1); i-- {
		rest, n, found := stepOf(elements[i])
		if i == last && !found && wholeNumber.MatchString(elements[i]) && !aDate.MatchString(elements[i]) {
			n, _ = strconv.ParseInt(elements[i], 10, 64) // of 15 digits it cannot overflow
			rest, found = "", true
		}
		if !found {
			continue
		}
		if elements[i] = rest; rest == "" {
			elements = slices.Delete(elements, i, i+1)
		}
		return strings.Join(elements, "/"), n, true
	}
	return "", 0, false
}

// stepOf takes every word of training with its number out of a path's element; step is that of the surest one.
func stepOf(element string) (rest string, step int64, ok bool) {
	rest = element
	sure := len(progressWords)
	for {
		m := progress.FindStringSubmatchIndex(rest)
		if m == nil {
			return rest, step, ok
		}
		part := func(i int) string { return strings.ToLower(rest[m[2*i]:m[2*i+1]]) }
		for i, word := range progressWords[:sure] {
			if n, whole := stepNumber(part(3), part(4)); word == part(2) && whole && !version(rest[m[10]:]) {
				sure, step, ok = i, n, true
				break
			}
		}
		before, after := rest[:m[0]], rest[m[1]:]
		if before != "" && after != "" {
			before += part(5)
		}
		rest = before + after
	}
}

// version says that a number goes on after its point, as in "step-1.5v".
func version(text string) bool {
	return len(text) > 1 && text[0] == '.' && '0' <= text[1] && text[1] <= '9'
}

// stepNumber is a number with its unit where that is a whole number of steps.
func stepNumber(digits, unit string) (int64, bool) {
	v, err := strconv.ParseFloat(digits, 64)
	factor, known := progressUnits[unit]
	v *= factor
	if err != nil || !known || v >= 1e15 || v != float64(int64(v)) {
		return 0, false
	}
	return int64(v), true
}
