package shim

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// directives returns the arguments of a script's #SBATCH lines, cut up as sbatch does it: quotes group, a backslash escapes even inside them,
// a # at a word's begin starts a comment, nothing is expanded, and the first command ends it.
func directives(name, script string) ([]string, error) {
	var out []string
	for i, line := range strings.Split(script, "\n") {
		rest, ok := strings.CutPrefix(line, "#SBATCH")
		if !ok {
			if text := strings.TrimSpace(line); text != "" && text[0] != '#' {
				return out, nil
			}
			continue
		}
		args, open := tokens(rest)
		if open != 0 {
			return nil, fmt.Errorf("%s: line %d: Unmatched `%c` in [%s]", name, i+1, open, strings.TrimSpace(rest))
		}
		out = append(out, args...)
	}
	return out, nil
}

// tokens cuts a line into arguments; open is the quote that is not closed.
func tokens(line string) (args []string, open rune) {
	var word []rune
	in, escaped := false, false
	for _, r := range line {
		switch {
		case !in && unicode.IsSpace(r):
			continue
		case !in && r == '#':
			return args, 0
		case escaped:
			word, escaped = append(word, r), false
		case r == '\\':
			escaped = true
		case open == 0 && (r == '"' || r == '\''):
			open = r
		case open != 0 && r == open:
			open = 0
		case open == 0 && unicode.IsSpace(r):
			args, word, in = append(args, string(word)), nil, false
			continue
		default:
			word = append(word, r)
		}
		in = true
	}
	if in {
		args = append(args, string(word))
	}
	return args, open
}

// arraySpec reads "0-9,12,20-30:5%4": sorted indices below size, and the throttle, 0 for none.
func arraySpec(text string, size int) (indices []int, throttle int, ok bool) {
	text, limit, has := strings.Cut(text, "%")
	if has {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 0 {
			return nil, 0, false
		}
		throttle = n
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	for _, part := range strings.Split(text, ",") {
		span, by, stepped := strings.Cut(part, ":")
		low, high, ranged := strings.Cut(span, "-")
		from, err := strconv.Atoi(low)
		to, step := from, 1
		if err == nil && ranged {
			to, err = strconv.Atoi(high)
		}
		if err == nil && stepped {
			step, err = strconv.Atoi(by)
		}
		if err != nil || from < 0 || to < from || to >= size || step < 1 {
			return nil, 0, false
		}
		for i := from; i <= to; i += step {
			indices = append(indices, i)
		}
	}
	slices.Sort(indices)
	return slices.Compact(indices), throttle, true
}

// spans writes indices as Slurm does: "0-3,7".
func spans(indices []int) string {
	var out []string
	for i := 0; i < len(indices); {
		j := i
		for j+1 < len(indices) && indices[j+1] == indices[j]+1 {
			j++
		}
		if j == i {
			out = append(out, strconv.Itoa(indices[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", indices[i], indices[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

// pattern fills in the % of a log's name: "%A_%4a.log".
func (e *element) pattern(text string) string {
	if strings.Contains(text, `\`) {
		return strings.ReplaceAll(text, `\`, "") // as slurmstepd does: nothing is filled in then
	}
	array, index := strconv.Itoa(e.array.id), "4294967294"
	if e.index >= 0 {
		index = strconv.Itoa(e.index)
	}
	values := map[byte]string{'A': array, 'a': index, 'j': strconv.Itoa(e.raw()), 'J': strconv.Itoa(e.raw()), 'x': e.array.name, 'N': e.node,
		'n': "0", 't': "0", 's': "batch", 'u': userName(), '%': "%"}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		j := i + 1
		for text[i] == '%' && j < len(text) && text[j] >= '0' && text[j] <= '9' {
			j++
		}
		v, ok := "", false
		if text[i] == '%' && j < len(text) {
			v, ok = values[text[j]]
		}
		if !ok {
			out.WriteByte(text[i])
			continue
		}
		if width, err := strconv.Atoi(text[i+1 : j]); err == nil && strings.IndexByte("AajJnt", text[j]) >= 0 {
			v = fmt.Sprintf("%0*s", min(width, 10), v)
		}
		out.WriteString(v)
		i = j
	}
	return out.String()
}

// logPath is where the element's output goes.
func (e *element) logPath() string {
	def := "slurm-%j.out"
	if e.index >= 0 {
		def = "slurm-%A_%a.out"
	}
	path := e.pattern(e.array.opts.get("output", def))
	if !filepath.IsAbs(path) {
		path = filepath.Join(e.array.dir, path)
	}
	return path
}

// minutes reads a time limit: "5", "5:30", "1:00:00", "1-0", "1-0:30".
func minutes(text string) (time.Duration, bool) {
	if slices.Contains([]string{"UNLIMITED", "INFINITE"}, strings.ToUpper(text)) {
		return 365 * 24 * time.Hour, true
	}
	days, rest, dated := strings.Cut(text, "-")
	if !dated {
		days, rest = "0", text
	}
	var n []int
	for _, f := range append([]string{days}, strings.Split(rest, ":")...) {
		v, err := strconv.Atoi(f)
		if err != nil || v < 0 {
			return 0, false
		}
		n = append(n, v)
	}
	units := []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second}
	switch {
	case dated:
	case len(n) == 2:
		units = []time.Duration{0, time.Minute}
	case len(n) == 3:
		units = []time.Duration{0, time.Minute, time.Second}
	}
	if len(n) > len(units) {
		return 0, false
	}
	total := time.Duration(0)
	for i, v := range n {
		total += time.Duration(v) * units[i]
	}
	return total, true
}

// span writes a duration as Slurm does: "1-02:03:04". Hours are left out when zero, unless full.
func span(d time.Duration, full bool) string {
	s := int(d.Seconds())
	days, h, m, s := s/86400, s/3600%24, s/60%60, s%60
	switch {
	case days > 0:
		return fmt.Sprintf("%d-%02d:%02d:%02d", days, h, m, s)
	case full:
		return fmt.Sprintf("%02d:%02d:%02d", h, m, s)
	case h > 0:
		return fmt.Sprintf("%d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%d:%02d", m, s)
}

// stamp writes a time, or none where it is not known.
func stamp(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.Local().Format("2006-01-02T15:04:05")
}
