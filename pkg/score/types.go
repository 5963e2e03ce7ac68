package score

// Score is one metric of one task, with what is needed to believe it.
type Score struct {
	Model   string             `json:"model"` // the variant
	Dataset string             `json:"dataset"`
	Metric  string             `json:"metric"`
	Mode    string             `json:"mode"`
	Unit    Unit               `json:"unit"`
	Value   *float64           `json:"value"`   // in Unit; nil when no row was scored
	StdErr  *float64           `json:"stderr"`  // same unit; nil where none is defined
	N       int                `json:"n"`       // rows scored
	Missing int                `json:"missing"` // rows planned and not scored
	Correct int                `json:"correct,omitempty"`
	Detail  map[string]float64 `json:"detail,omitempty"`  // e.g. bits_per_byte, byte_perplexity, tokens
	Note    string             `json:"note,omitempty"`    // conventions that change the number: "n-1", "gptq 512"
	Members []string           `json:"members,omitempty"` // groups: the datasets in it, with a value or without
	Prompt  string             `json:"prompt"`            // 6 hex digits of the prompt configuration; groups: ""
	Hash    string             `json:"hash"`              // of prompt, data, settings and scorer; 12 hex digits
	Reason  string             `json:"reason,omitempty"`  // why rows are missing, or a group's members are missing or partial
}

// Unit is what a value is measured in.
type Unit string

// The units.
const (
	Percent    Unit = "percent"    // 0..100
	Perplexity Unit = "perplexity" // 1 and up
)

// Scores is what scores.json holds: the same bytes whatever the shard size, the workers, the order or the retries.
type Scores struct {
	Version int     `json:"version"`
	Scores  []Score `json:"scores"`           // in the order of the plan's tasks
	Groups  []Score `json:"groups,omitempty"` // Dataset is the group's name, N the members with a value, Missing those without

	// Of a plan that quantizes: every variant, and how each stands to the untouched model.
	Variants    []Variant    `json:"variants,omitempty"`
	Comparisons []Comparison `json:"comparisons,omitempty"`
}

// Partial tells a value that rests on fewer rows, or fewer members, than planned.
func (s Score) Partial() bool {
	return s.Value != nil && (s.Missing > 0 || s.Reason != "")
}
