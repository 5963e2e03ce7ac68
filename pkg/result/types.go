package result

// Record is a row's outcome: all that scoring needs, so that scores can be computed again without inference.
type Record struct {
	Row    int    `json:"row"`    // number in the split, from 0; rolling: window number
	Digest string `json:"digest"` // of the row, its rendered prompt, decoding settings and model; 16 hex digits

	// ppl, ll, clp: one entry a label. NLL is summed natural-log loss of the tokens counted; ppl counts the whole prompt.
	Labels  []string  `json:"labels,omitempty"`
	NLL     []float64 `json:"nll,omitempty"`
	Tokens  []int     `json:"tokens,omitempty"`   // predicted tokens behind each NLL
	NormNLL []float64 `json:"norm_nll,omitempty"` // ppl with normalizing: NLL(answer|normalizing)
	Chars   []int     `json:"chars,omitempty"`    // ll: characters of each option
	Size    []int     `json:"size,omitempty"`     // ll: and its bytes in UTF-8
	Greedy  []string  `json:"greedy,omitempty"`   // ll: the labels whose continuation is the likeliest token at each step

	// gen
	Text string  `json:"text,omitempty"` // the continuation, cut at its stop
	IDs  []int32 `json:"ids,omitempty"`  // generated tokens
	Stop string  `json:"stop,omitempty"` // why it ended: "eos", "stop", "length"

	// rolling: NLL and Tokens hold one entry; of the text as a whole, on the first window of a document
	Words int `json:"words,omitempty"`
	Bytes int `json:"bytes,omitempty"`

	Gold []string `json:"gold,omitempty"` // accepted answers; ppl, ll, clp: one label

	PromptTokens int `json:"prompt_tokens,omitempty"`
	Dropped      int `json:"dropped,omitempty"` // in-context examples left out for length
	Cut          int `json:"cut,omitempty"`     // tokens cut from the left
}

// Header is a result file's first line: what its records belong to.
type Header struct {
	Version int    `json:"version"` // 1
	Task    string `json:"task"`    // "MODEL/DATASET"
	Digest  string `json:"digest"`  // the task's digest
	From    int    `json:"from"`    // rows [from,to)
	To      int    `json:"to"`
}

// Footer is a result file's last line. The file is valid when it is there and agrees with the lines between.
type Footer struct {
	Count  int    `json:"count"`
	SHA256 string `json:"sha256"` // of every byte before the footer line
}
