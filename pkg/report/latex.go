package report

import (
	"strings"

	"sextant/pkg/score"
)

// LaTeX renders the scores as a table of the package booktabs, groups below a rule, the best of each line in bold. What a star or a dash
// means stands in comments below it.
func LaTeX(s score.Scores) string {
	v := newView(s)
	var b strings.Builder
	b.WriteString("% \\usepackage{booktabs}\n\\begin{tabular}{ll" + strings.Repeat("r", len(v.models)) + "}\n\\toprule\n")
	head := []string{"dataset", "metric"}
	for _, m := range v.models {
		head = append(head, latexText(m))
	}
	b.WriteString(strings.Join(head, " & ") + " \\\\\n\\midrule\n")
	for i, l := range v.lines {
		if l.group && i > 0 && !v.lines[i-1].group {
			b.WriteString("\\midrule\n")
		}
		b.WriteString(l.latex())
	}
	b.WriteString("\\bottomrule\n\\end{tabular}\n")
	for _, n := range v.notes {
		b.WriteString("% " + clean(n) + "\n")
	}
	return b.String()
}

func (l line) latex() string {
	cells := []string{latexText(l.dataset), latexText(l.metric)}
	best := l.best()
	for i, s := range l.scores {
		text := ""
		if s != nil {
			text = strings.ReplaceAll(strings.ReplaceAll(value(*s), " ± ", " $\\pm$ "), "*", "$^{*}$")
		}
		if best[i] {
			text = "\\textbf{" + text + "}"
		}
		cells = append(cells, text)
	}
	return strings.Join(cells, " & ") + " \\\\\n"
}

// latexText escapes what TeX takes for its own.
var latexEscapes = strings.NewReplacer(`\`, `\textbackslash{}`, `&`, `\&`, `%`, `\%`, `$`, `\$`, `#`, `\#`, `_`, `\_`, `{`, `\{`, `}`, `\}`,
	`~`, `\textasciitilde{}`, `^`, `\textasciicircum{}`)

func latexText(s string) string { return latexEscapes.Replace(clean(s)) }
