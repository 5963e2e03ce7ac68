package dataset

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"sextant/pkg/spec"
)

// choiceName is the column that stands for one option where prompt.choices is set.
const choiceName = "choice"

// program is a dataset's prompt, compiled and bound to the columns that its rows have.
type program struct {
	d        spec.Dataset
	makers   makers
	main     template            // gen; ppl with choices; rolling
	labelled map[string]template // ppl with labels
	labels   []string            // their order
	context  template            // ll, clp
	partial  bool                // ll: the context names {choice}, so that each option has its own
	choice   body                // ll, clp
	choices  *ref
	answer   *ref
	cluster  *ref
	example  *template // nil: made of the above
}

// newProgram compiles the dataset for rows with the columns named.
func newProgram(d spec.Dataset, columns []string) (*program, error) {
	known := map[string]bool{}
	for _, c := range columns {
		known[c] = true
	}
	p := &program{d: d}
	var err error
	if p.makers, err = newMakers(d.Columns, known); err != nil {
		return nil, err
	}
	if p.answer, err = bind("answer", d.Answer, known); err != nil {
		return nil, err
	}
	if p.cluster, err = bind("cluster", d.Cluster, known); err != nil {
		return nil, err
	}
	if p.choices, err = bind("prompt.choices", d.Prompt.Choices, known); err != nil {
		return nil, err
	}
	if p.choices != nil {
		known[choiceName] = true
	}
	s := scope{known: known, ice: d.Prompt.IceToken}
	if err := p.compile(s); err != nil {
		return nil, err
	}
	return p, p.compileExample(s)
}

func bind(key, text string, known map[string]bool) (*ref, error) {
	if text == "" {
		return nil, nil
	}
	r, ok := parseRef(text, known)
	if !ok || !known[r.name] {
		return nil, fmt.Errorf("%s = %q: no such column%s", key, text, nearest(text, keys(known)))
	}
	return &r, nil
}

// compile compiles what the mode needs, and says what it lacks.
func (p *program) compile(s scope) error {
	switch p.d.Mode {
	case spec.Gen:
		return p.compileMain(s, "gen mode needs prompt.template")
	case spec.Rolling:
		p.d.Prompt = spec.Prompt{Template: &spec.Template{Text: "{text}"}}
		return p.compileMain(s, "")
	case spec.PPL:
		return p.compilePPL(s)
	case spec.LL, spec.CLP:
		return p.compileContext(s)
	}
	return fmt.Errorf("mode = %q%s", p.d.Mode, nearest(string(p.d.Mode), []string{"ppl", "ll", "clp", "gen", "rolling"}))
}

func (p *program) compileMain(s scope, missing string) (err error) {
	if p.d.Prompt.Template == nil {
		return errors.New(missing)
	}
	if p.main, err = s.template(*p.d.Prompt.Template); err != nil {
		return fmt.Errorf("prompt.template: %w", err)
	}
	return nil
}

func (p *program) compilePPL(s scope) error {
	if len(p.d.Prompt.Labels) == 0 {
		if p.choices == nil {
			return errors.New("ppl mode needs prompt.labels, or prompt.template with prompt.choices")
		}
		if err := p.compileMain(s, "ppl mode with prompt.choices needs prompt.template"); err != nil {
			return err
		}
		if !p.main.names(choiceName) {
			return errors.New("prompt.template does not name {choice}, so every option would give the same prompt")
		}
		if p.d.PPL.Normalizing != "" && p.main.turns != nil {
			return errors.New("ppl.normalizing needs a prompt.template that is a text: the answer begins at its {choice}")
		}
		return nil
	}
	if p.d.PPL.Normalizing != "" {
		return errors.New("ppl.normalizing needs prompt.template with prompt.choices: the answer begins at its {choice}")
	}
	p.labelled = map[string]template{}
	for _, label := range labelOrder(p.d.Prompt.Labels) {
		t, err := s.template(p.d.Prompt.Labels[label])
		if err != nil {
			return fmt.Errorf("prompt.labels.%s: %w", label, err)
		}
		p.labelled[label] = t
		p.labels = append(p.labels, label)
	}
	return nil
}

func (p *program) compileContext(s scope) (err error) {
	if p.d.Prompt.Context == nil || p.choices == nil {
		return fmt.Errorf("%s mode needs prompt.context and prompt.choices", p.d.Mode)
	}
	if p.context, err = s.template(*p.d.Prompt.Context); err != nil {
		return fmt.Errorf("prompt.context: %w", err)
	}
	s.ice = ""
	if p.choice, err = s.compile(p.d.Prompt.Choice); err != nil {
		return fmt.Errorf("prompt.choice: %w", err)
	}
	p.partial = p.d.Mode == spec.LL && p.context.names(choiceName)
	if !p.partial && p.context.names(choiceName) {
		return fmt.Errorf("prompt.context names {choice}, which goes with mode ll alone")
	}
	if !p.partial && !p.choice.names(choiceName) {
		return errors.New("prompt.choice does not name {choice}, so every option would be the same")
	}
	return nil
}

func (p *program) compileExample(s scope) error {
	if p.d.FewShot.Kind == "none" {
		return nil
	}
	if p.d.Prompt.Example != nil {
		t, err := s.template(*p.d.Prompt.Example)
		if err != nil {
			return fmt.Errorf("prompt.example: %w", err)
		}
		p.example = &t
		return nil
	}
	if p.d.Mode == spec.Gen && !p.main.names(p.answer.name) {
		return fmt.Errorf("few_shot needs prompt.example, because prompt.template does not name the answer {%s}", p.d.Answer)
	}
	return nil
}

// labelOrder sorts labels as numbers when all are, else as text.
func labelOrder(labels map[string]spec.Template) []string {
	out := keys(labels)
	for _, l := range out {
		if _, err := strconv.Atoi(l); err != nil {
			return out
		}
	}
	slices.SortStableFunc(out, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	})
	return out
}
