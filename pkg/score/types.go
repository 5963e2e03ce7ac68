package score

// Score is one metric of one task, with what is needed to believe it.
type Score struct {
	Model   string             `json:"model"` // the variant
	Dataset string             `json:"dataset"`
	Metric  string             `json:"metric"`
	Mode    string             `json:"mode"`
	Unit    Unit               `json:"unit"`               // "percent" or "perplexity"
	Value   *float64           `json:"value"`              // in Unit; nil when no row was scored
	StdErr  *float64           `json:"stderr"`             // same unit; nil where none is defined; see shareStdErr for values of 0 and 100
	Low     *float64           `json:"low,omitempty"`      // of the 95 % interval, where the numbers above do not give it: see Interval
	High    *float64           `json:"high,omitempty"`     // likewise
	N       int                `json:"n"`                  // rows scored
	Missing int                `json:"missing"`            // rows planned and not scored
	Worst   *float64           `json:"worst,omitempty"`    // the value if all missing rows were wrong; nil: none is missing, or nothing bounds it
	Best    *float64           `json:"best,omitempty"`     // and if all were right
	Correct int                `json:"correct,omitempty"`  // rows that are right
	Further bool               `json:"further,omitempty"`  // not the dataset's main metric, which groups go by
	Cluster int                `json:"clusters,omitempty"` // the standard error takes so many clusters of rows as independent; 0: the rows are
	Layers  []string           `json:"layers,omitempty"`   // generated code: what confined every program
	Detail  map[string]float64 `json:"detail,omitempty"`   // e.g. bits_per_byte, byte_perplexity, tokens
	Note    string             `json:"note,omitempty"`     // conventions that change the number: "n-1", "gptq 512"
	Members []string           `json:"members,omitempty"`  // groups: the datasets in it, with a value or without
	Prompt  string             `json:"prompt"`             // 6 hex digits of the prompt configuration; groups: ""
	Hash    string             `json:"hash"`               // of prompt, data, settings and scorer; 12 hex digits
	Reason  string             `json:"reason,omitempty"`   // why rows are missing, or a group's members are missing or partial
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
	Scores  []Score `json:"scores"`           // in the order of the plan's tasks, a task's main metric first
	Groups  []Score `json:"groups,omitempty"` // Dataset is the group's name, N the members with a value, Missing those without

	// Of a plan that quantizes: every variant, and how each stands to the untouched model.
	Variants    []Variant    `json:"variants,omitempty"`
	Comparisons []Comparison `json:"comparisons,omitempty"`
}

// Partial tells a value that rests on fewer rows, or fewer members, than planned.
func (s Score) Partial() bool {
	return s.Value != nil && (s.Missing > 0 || s.Reason != "")
}
