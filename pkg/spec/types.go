package spec

// The toml tags name the keys, the spec tags say what a value must be: see rule. Every error of a value is found from them, and
// docs/spec.md is tested against them.

// Spec is a whole evaluation: includes resolved, defaults filled, validated. It is a value and is not changed after Load, but for
// flags laid over it by the command. Input paths are absolute: a relative one is relative to the file that names it.
type Spec struct {
	Name     string    `toml:"-" json:"name"`                                // the file's base name without extension
	WorkDir  string    `toml:"work_dir" spec:"env,nonempty" json:"work_dir"` // runs are made here; relative to the current directory
	DataDir  string    `toml:"data_dir" spec:"path" json:"data_dir"`         // root of the catalog's files, default "data" beside the spec
	Models   []Model   `toml:"models" json:"models"`
	Datasets []Dataset `toml:"-" json:"datasets"` // what `datasets` names and [[dataset]] tables define, in order
	Groups   []Group   `toml:"groups" json:"groups,omitempty"`
	Quant    []Quant   `toml:"quant" json:"quant,omitempty"`
	Eval     Eval      `toml:"eval" json:"eval,omitzero"`
	Infer    Infer     `toml:"infer" json:"infer"`
	Local    Local     `toml:"local" json:"local"`
	Slurm    Slurm     `toml:"slurm" json:"slurm,omitzero"`
	S3       S3        `toml:"s3" json:"s3,omitzero"`
	DLC      DLC       `toml:"dlc" json:"dlc,omitzero"`
	Notify   Notify    `toml:"notify" json:"notify,omitzero"`
	Track    Track     `toml:"track" json:"track,omitzero"`
	Swept    bool      `toml:"-" json:"swept,omitempty"` // a [sweep], or a glob for models, has made some of the entries
}

// Model is one checkpoint to evaluate.
type Model struct {
	Abbr          string        `toml:"abbr" spec:"nonempty" json:"abbr"` // default: the path's last element
	Path          string        `toml:"path" spec:"path" json:"path"`
	ModelType     string        `toml:"model_type" spec:"oneof=hf|converted" json:"model_type,omitempty"`
	TokenizerPath string        `toml:"tokenizer_path" spec:"path" json:"tokenizer_path"`   // a directory or a file; default: Path
	MaxOutLen     int           `toml:"max_out_len" spec:"max=16777216" json:"max_out_len"` // tokens; ceiling on a dataset's own, 0: none
	MaxSeqLen     int           `toml:"max_seq_len" spec:"max=16777216" json:"max_seq_len"` // tokens; 0: the checkpoint's own context
	BatchSize     int           `toml:"batch_size" spec:"max=65536" json:"batch_size"`      // ceiling of sequences at once; 0: by memory
	RunCfg        RunCfg        `toml:"run_cfg" json:"run_cfg"`
	MetaTemplate  *MetaTemplate `toml:"meta_template" json:"meta_template,omitempty"`

	// Of an instruction model: its own template in the place of a meta template.
	ChatTemplate string         `toml:"chat_template" spec:"program" json:"chat_template,omitempty"` // "auto", the name of one of several, or a path with a slash; "none", "": no chat
	ChatArgs     map[string]any `toml:"chat_args" json:"chat_args,omitempty"`                        // variables for the template: string, bool, int64
	ChatDate     string         `toml:"chat_date" spec:"form=date" json:"chat_date,omitempty"`       // what the template takes for today; "": it is told no date
	System       string         `toml:"system" json:"system,omitempty"`                              // the system's words, before every conversation
}

// RunCfg is what one worker of a model needs.
type RunCfg struct {
	NumGPUs  int `toml:"num_gpus" spec:"max=1024" json:"num_gpus"`         // default 0: the CPU backend
	NumProcs int `toml:"num_procs" spec:"min=1,max=1024" json:"num_procs"` // default 1
}

// MetaTemplate says how a chat model marks its roles.
type MetaTemplate struct {
	Begin string     `toml:"begin" json:"begin,omitempty"`
	Round []MetaRole `toml:"round" json:"round"`
	End   string     `toml:"end" json:"end,omitempty"`
}

// MetaRole is the text around one role's turn.
type MetaRole struct {
	Role     string `toml:"role" spec:"oneof=HUMAN|BOT|SYSTEM" json:"role"` // HUMAN, BOT, SYSTEM
	Begin    string `toml:"begin" json:"begin,omitempty"`
	End      string `toml:"end" json:"end,omitempty"`
	Generate bool   `toml:"generate" json:"generate,omitempty"` // the role whose text the model writes
}

// Mode is what a model must do with a row.
type Mode string

// The modes. See docs/datasets.md for what each computes.
const (
	PPL     Mode = "ppl"     // rank labels by mean NLL of the whole prompt, lowest wins
	LL      Mode = "ll"      // rank continuations by log-likelihood given the context, highest wins
	CLP     Mode = "clp"     // softmax over single-token choices
	Gen     Mode = "gen"     // generate text
	Rolling Mode = "rolling" // perplexity of a text
)

// Dataset is one benchmark: where its rows are, how a row becomes a prompt, and how the answer is scored. A catalog file and a user's
// [[dataset]] table are the same thing.
type Dataset struct {
	Abbr        string            `toml:"abbr" json:"abbr"`
	Base        string            `toml:"base" json:"base,omitempty"` // a catalog entry or earlier dataset to start from; default: the catalog's entry of this abbr, if any
	Description string            `toml:"description" json:"description,omitempty"`
	Source      string            `toml:"source" json:"source,omitempty"` // origin and licence of the data
	Mode        Mode              `toml:"mode" spec:"oneof=ppl|ll|clp|gen|rolling" json:"mode"`
	Test        Files             `toml:"test" json:"test"`
	Train       *Files            `toml:"train" json:"train,omitempty"` // rows for in-context examples
	Columns     map[string]Column `toml:"columns" json:"columns,omitempty"`
	Prompt      Prompt            `toml:"prompt" json:"prompt"`
	FewShot     FewShot           `toml:"few_shot" json:"few_shot"`
	Answer      string            `toml:"answer" json:"answer,omitempty"` // the gold column; ppl, ll, clp: a label
	PPL         PPLOptions        `toml:"ppl" json:"ppl"`
	Gen         GenOptions        `toml:"gen" json:"gen"`
	Rolling     RollingOptions    `toml:"rolling" json:"rolling"`
	Post        []string          `toml:"post" spec:"nonempty" json:"post,omitempty"`                 // post-processors of the generated text, in order: "name" or "name:argument"
	PostGold    []string          `toml:"post_gold" spec:"nonempty" json:"post_gold,omitempty"`       // the same for the gold
	Metric      string            `toml:"metric" json:"metric"`                                       // default: accuracy, exact_match (gen), perplexity (rolling)
	Metrics     []string          `toml:"metrics" spec:"nonempty" json:"metrics,omitempty"`           // further ones of the same answers; groups and comparisons of groups go by Metric
	Cluster     string            `toml:"cluster" json:"cluster,omitempty"`                           // a column: rows with the same value of it share something and are not independent
	Truncate    string            `toml:"truncate" spec:"oneof=error|left" json:"truncate,omitempty"` // when a prompt is too long even without examples: "error" (default) or "left"
	CostFactor  int               `toml:"cost_factor" spec:"min=1,max=1000000" json:"cost_factor,omitempty"`

	// A family's: one dataset for each subset, ABBR-SUBSET. Load has taken families apart, so no Dataset of a Spec has these.
	Subsets map[string]Subset   `toml:"subsets" json:"subsets,omitempty"`
	Groups  map[string][]string `toml:"groups" json:"groups,omitempty"` // name -> subsets, summed up as ABBR-NAME
}

// Subset is one member of a family of datasets: in the family's texts {subset} stands for its name, {subset.title} for its title.
type Subset struct {
	Title      string   `toml:"title" json:"title,omitempty"` // default: the name with spaces for underscores
	Post       []string `toml:"post" spec:"nonempty" json:"post,omitempty"`
	PostGold   []string `toml:"post_gold" spec:"nonempty" json:"post_gold,omitempty"`
	CostFactor int      `toml:"cost_factor" spec:"min=1,max=1000000" json:"cost_factor,omitempty"`
}

// Files is one split of a dataset on disk.
type Files struct {
	Path      string   `toml:"path" spec:"path" json:"path"`                                                    // file; relative: under DataDir for a catalog entry, else beside the spec
	Format    string   `toml:"format" spec:"oneof=jsonl|json|csv|tsv|text|parquet|xml" json:"format,omitempty"` // default by extension
	JSONPath  string   `toml:"json_path" json:"json_path,omitempty"`                                            // json: dotted path to the list of rows; xml: name of the elements that are rows
	Header    *bool    `toml:"header" json:"header,omitempty"`                                                  // csv, tsv: first line names the columns; default: true unless Names is set
	Names     []string `toml:"names" spec:"nonempty" json:"names,omitempty"`                                    // csv, tsv without header: column names
	Labels    string   `toml:"labels" spec:"path" json:"labels,omitempty"`                                      // a file with one label a line for jsonl rows
	LabelName string   `toml:"label_name" json:"label_name,omitempty"`                                          // its column, default "label"
	Unit      string   `toml:"unit" spec:"oneof=line|hf-line|paragraph|file" json:"unit,omitempty"`             // text: a row is a "line" (default), "hf-line", "paragraph" or the "file"; its column is "text"
	Skip      int      `toml:"skip" spec:"max=1000000000" json:"skip,omitempty"`                                // rows left out at the beginning
	Take      int      `toml:"take" spec:"max=1000000000" json:"take,omitempty"`                                // rows taken after those; 0: all
}

// Column makes a new column of a row from others, before templates see it.
type Column struct {
	From     string            `toml:"from" json:"from,omitempty"`                                            // a column, with .key and [i]; parted by |: the first that is there
	Template string            `toml:"template" json:"template,omitempty"`                                    // or text with {column}s; beside From: where that is not there
	List     []string          `toml:"list" spec:"nonempty" json:"list,omitempty"`                            // or a list of such texts
	File     string            `toml:"file" spec:"path" json:"file,omitempty"`                                // or a file's text, the same for every row
	Parse    string            `toml:"parse" spec:"oneof=list" json:"parse,omitempty"`                        // "list": the text of a list, as JSON or Python writes it, is one
	Regex    string            `toml:"regex" json:"regex,omitempty"`                                          // RE2; keeps group 1, or the whole match
	Map      map[string]string `toml:"map" json:"map,omitempty"`                                              // value -> value; a value not in it is an error
	Case     string            `toml:"case" spec:"oneof=upper|lower|capital|uncapital" json:"case,omitempty"` // of all letters, or of the first
	Split    string            `toml:"split" json:"split,omitempty"`                                          // makes a list
	Number   string            `toml:"number" json:"number,omitempty"`                                        // before each item of a list: "A. " counts A. B. C.
	Index    string            `toml:"index" json:"index,omitempty"`                                          // of a list: the numbers, from 0, of the items that equal this text with {column}s
	Join     string            `toml:"join" json:"join,omitempty"`                                            // makes one text of a list
	JSON     bool              `toml:"json" json:"json,omitempty"`                                            // makes a text of any value
}

// Prompt says how a row becomes text. Exactly one of Template, Labels or (Context and Choice) is used: Template for gen, or for ppl with
// Choices; Labels for ppl with a fixed set of labels; Context and Choice for ll and clp.
type Prompt struct {
	Template  *Template           `toml:"template" json:"template,omitempty"`
	Labels    map[string]Template `toml:"labels" json:"labels,omitempty"`       // ppl: label -> the whole prompt with that answer
	Choices   string              `toml:"choices" json:"choices,omitempty"`     // column with the list of options; {choice} is each, labels are "0", "1", ...
	Context   *Template           `toml:"context" json:"context,omitempty"`     // ll, clp
	Choice    string              `toml:"choice" json:"choice,omitempty"`       // ll, clp: the continuation, default " {choice}"
	Example   *Template           `toml:"example" json:"example,omitempty"`     // an in-context example; default: the prompt with its gold answer
	Separator *string             `toml:"separator" json:"separator,omitempty"` // after each example, default "\n"
	IceToken  string              `toml:"ice_token" json:"ice_token,omitempty"` // where examples go; default: before everything
}

// Template is a string, or turns of roles. In TOML it is a string, or a table with begin, round and end.
type Template struct {
	Text  string `toml:"-" json:"text,omitempty"`
	Begin []Turn `toml:"begin" json:"begin,omitempty"`
	Round []Turn `toml:"round" json:"round,omitempty"`
	End   []Turn `toml:"end" json:"end,omitempty"`
}

// Turn is one speaker's part of a template.
type Turn struct {
	Role   string `toml:"role" spec:"oneof=HUMAN|BOT|SYSTEM" json:"role"`
	Prompt string `toml:"prompt" json:"prompt"`
}

// FewShot chooses in-context examples from the train split.
type FewShot struct {
	Kind string `toml:"kind" spec:"oneof=none|fixed|random" json:"kind,omitempty"` // "none" (default), "fixed", "random"
	IDs  []int  `toml:"ids" spec:"max=1000000000" json:"ids,omitempty"`            // fixed: row numbers, from 0
	K    int    `toml:"k" spec:"min=1,max=1000" json:"k,omitempty"`                // random: how many
	Seed uint64 `toml:"seed" json:"seed,omitempty"`                                // random: the draw of row r depends on (seed, r) alone
}

// PPLOptions tune the ppl mode.
type PPLOptions struct {
	Denominator string `toml:"denominator" spec:"oneof=n|n-1" json:"denominator,omitempty"` // "n": all tokens (OpenCompass, default), "n-1": predicted tokens
	Normalizing string `toml:"normalizing" json:"normalizing,omitempty"`                    // NLL(answer|context) - NLL(answer|this)
}

// GenOptions are a dataset's decoding settings.
type GenOptions struct {
	MaxOutLen   int      `toml:"max_out_len" spec:"min=1,max=16777216" json:"max_out_len,omitempty"` // tokens, default 50
	Stop        []string `toml:"stop" spec:"nonempty" json:"stop,omitempty"`                         // generation ends at, and the text is cut before, the first of these
	Temperature float64  `toml:"temperature" spec:"max=100" json:"temperature,omitempty"`            // 0: greedy
	TopK        int      `toml:"top_k" spec:"max=10000000" json:"top_k,omitempty"`
	TopP        float64  `toml:"top_p" spec:"max=1" json:"top_p,omitempty"`
	Seed        uint64   `toml:"seed" json:"seed,omitempty"`
	Samples     int      `toml:"samples" spec:"min=1,max=10000" json:"samples,omitempty"` // texts a row, default 1
}

// RollingOptions tune the rolling mode. docs/datasets.md defines the conventions.
type RollingOptions struct {
	SeqLen     int    `toml:"seq_len" spec:"min=2,max=16777216" json:"seq_len,omitempty"`                                  // tokens a window, default 2048
	Convention string `toml:"convention" spec:"oneof=gptq|gptq-bos|sliding|lm-eval|llama.cpp" json:"convention,omitempty"` // "gptq" (default), "gptq-bos", "sliding", "lm-eval", "llama.cpp"
	Stride     int    `toml:"stride" spec:"min=1,max=16777216" json:"stride,omitempty"`                                    // sliding: tokens, default SeqLen/2
	Join       string `toml:"join" spec:"nonempty" json:"join,omitempty"`                                                  // between rows, default "\n\n"
}

// Group is a named set of datasets summed up in the report.
type Group struct {
	Name    string   `toml:"name" spec:"nonempty" json:"name"`
	Members []string `toml:"members" spec:"nonempty" json:"members"`               // abbrs or globs
	Mean    string   `toml:"mean" spec:"nonempty,oneof=mean|weighted" json:"mean"` // "mean" (default) or "weighted" by rows
}

// Infer is how the inference is run, on whatever scheduler.
type Infer struct {
	Scheduler        string `toml:"scheduler" spec:"oneof=local|slurm|dlc" json:"scheduler"`                  // what runs the jobs, default "local"
	Partition        string `toml:"partition" spec:"oneof=size|workers" json:"partition"`                     // how tasks are cut: see pkg/plan, default "size"
	MaxPartitionSize int    `toml:"max_partition_size" spec:"min=1,max=1000000000" json:"max_partition_size"` // OpenCompass cost units, default 2000
	MaxNumWorkers    int    `toml:"max_num_workers" spec:"min=1,max=1000000" json:"max_num_workers"`          // jobs at once, default 1
	GenTaskCoef      int    `toml:"gen_task_coef" spec:"min=1,max=1000000" json:"gen_task_coef"`              // cost of a generated row, default 20
	Retry            int    `toml:"retry" spec:"max=1000" json:"retry"`                                       // further attempts of a failed shard, default 2
	Limit            int    `toml:"limit" spec:"max=1000000000000" json:"limit,omitempty"`                    // first rows of each dataset only; 0: all
}

// Local is how jobs run on this machine.
type Local struct {
	Threads int    `toml:"threads" spec:"max=4096" json:"threads"` // CPU threads a worker; 0: this machine's, divided among the workers
	Worker  string `toml:"worker" spec:"program" json:"worker"`    // the worker binary; default: beside submit, then on PATH
}

// Slurm is what jobs ask of a Slurm cluster. A value that is not given is left to the cluster. The forms keep out whatever sbatch would
// not read as one plain word.
type Slurm struct {
	Partition      string            `toml:"partition" spec:"env,form=word" json:"partition,omitempty"`
	Quotatype      string            `toml:"quotatype" spec:"env,form=word" json:"quotatype,omitempty"` // --quotatype where sbatch knows it, else --qos
	QOS            string            `toml:"qos" spec:"env,form=word" json:"qos,omitempty"`
	Account        string            `toml:"account" spec:"env,form=word" json:"account,omitempty"`
	Reservation    string            `toml:"reservation" spec:"env,form=word" json:"reservation,omitempty"`
	Time           string            `toml:"time" spec:"form=time" json:"time,omitempty"`                                      // as sbatch takes it; default: by the plan's estimate
	Mem            string            `toml:"mem" spec:"form=size" json:"mem,omitempty"`                                        // of a node, as sbatch takes it
	CPUs           int               `toml:"cpus" spec:"max=4096" json:"cpus,omitempty"`                                       // of a process; 0: 4 without GPUs, else the cluster's default
	GPUOption      string            `toml:"gpu_option" spec:"oneof=gres|gpus|gpus-per-node|none" json:"gpu_option,omitempty"` // how num_gpus is asked for, default "gres"
	GPUType        string            `toml:"gpu_type" spec:"env,form=word" json:"gpu_type,omitempty"`                          // "h100" asks for gpu:h100:N
	Constraint     string            `toml:"constraint" spec:"env,form=word" json:"constraint,omitempty"`                      // node features
	Nodelist       string            `toml:"nodelist" spec:"env,form=word" json:"nodelist,omitempty"`                          // nodes to use
	Exclude        string            `toml:"exclude" spec:"env,form=word" json:"exclude,omitempty"`                            // nodes never to use
	Comment        string            `toml:"comment" spec:"form=text" json:"comment,omitempty"`                                // everybody can read it
	Extra          []string          `toml:"extra" spec:"form=option" json:"extra,omitempty"`                                  // further options of sbatch, "--name=value"
	Prologue       string            `toml:"prologue" spec:"nonempty" json:"prologue,omitempty"`                               // shell lines before the worker, "module load cuda"
	Env            map[string]string `toml:"env" json:"env,omitempty"`                                                         // exported on the node; ${VAR} is the node's
	Worker         string            `toml:"worker" spec:"program" json:"worker,omitempty"`                                    // its path on the nodes; default: as local.worker
	OneShardPerJob bool              `toml:"one_shard_per_job" json:"one_shard_per_job,omitempty"`                             // a job ends after its own shards
	NoRequeue      bool              `toml:"no_requeue" json:"no_requeue,omitempty"`                                           // Slurm must not start a job again
	SignalLead     int               `toml:"signal_lead" spec:"min=10,max=65535" json:"signal_lead"`                           // seconds of warning before the time limit, default 60
	PollMin        int               `toml:"poll_min" spec:"min=1,max=3600" json:"poll_min"`                                   // seconds between looks at the queue, at first; default 20
	PollMax        int               `toml:"poll_max" spec:"min=1,max=3600" json:"poll_max"`                                   // and in the end, default 120
}
