package spec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// quantSpec loads a spec with two models, these lines below them, and one rolling dataset.
func quantSpec(lines string) (*Spec, error) {
	text := "[[models]]\npath = '/m/7b'\n[[models]]\npath = '/m/8b'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n"
	return load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": text + lines + "\n"}))
}

// firstLine is the line of quantSpec's text where its argument begins.
const firstLine = 9

// TestQuantRefuses holds what is said of each recipe that cannot be: the line is that of the lines given.
func TestQuantRefuses(t *testing.T) {
	const text = "\ncalib.name = 'c4'"
	for _, c := range []struct{ lines, want string }{
		{"method = 'rtn'\nbits = 5", `:3:1: quant[rtn-w5g128].bits: is 5; write 2, 3, 4 or 8`},
		{"method = 'rtn'\nbits = 7", `:3:1: quant[rtn-w7g128].bits: is 7; write 2, 3, 4 or 8`},
		{"method = 'rtn'\nbits = 9", `.bits: is 9; the most is 8`},
		{"method = 'rtn'\nbits = 1", `.bits: is 1; the least is 2`},
		{"method = 'fp8'\nbits = 4", `.bits: is 4, and method fp8 has 8`},
		{"method = 'smoothquant'\nbits = 4" + text, `.bits: is 4, and method smoothquant has 8`},
		{"method = 'awq'\nbits = 8" + text, `.bits: is 8, and method awq is for 2, 3 or 4`},
		{"method = 'gptq'\nbits = 8" + text, `.bits: is 8, and method gptq is for 2, 3 or 4`},
		{"method = 'rtn'\ngranularity = 'tensor'", `.granularity: is "tensor", which method rtn does not have; write "group" or "channel"`},
		{"method = 'awq'\ngranularity = 'block'" + text, `.granularity: is "block", which method awq does not have`},
		{"method = 'fp8'\ngranularity = 'group'", `.granularity: is "group", which method fp8 does not have; write "channel", "tensor" or "block"`},
		{"method = 'smoothquant'\ngranularity = 'group'" + text, `.granularity: is "group", which method smoothquant does not have; write "channel"`},
		{"method = 'fp8'\ngroup = 128", `.group: has no effect with method fp8, whose scales are of a granularity of "channel", "tensor" or "block"; take it out`},
		{"method = 'smoothquant'\ngroup = 64" + text, `.group: has no effect with method smoothquant`},
		{"method = 'rtn'\ngranularity = 'channel'\ngroup = 64", `:4:1: quant[rtn-w4].group: has no effect with granularity "channel"; take it out`},
		{"method = 'rtn'\ngroup = -1", `.group: is -1; the least is 1`},
		{"method = 'rtn'\ngroup = 0", `.group: is 0; the least is 1`},
		{"method = 'smoothquant'\nact = 'none'" + text, `.act: is "none", and smoothquant is for inputs rounded to int8`},
		{"method = 'smoothquant'\nact = 'fp8'" + text, `.act: is "fp8", and smoothquant is for inputs rounded to int8`},
		{"method = 'fp8'\nact = 'int8'", `.act: is "int8", which does not go with weights of method fp8`},
		{"method = 'rtn'\nact_scale = 'token'", `.act_scale: has no effect with act = "none"; take it out`},
		{"method = 'fp8'\nact = 'none'\nact_scale = 'tensor'", `.act_scale: has no effect with act = "none"; take it out`},
		{"method = 'fp8'\ngranularity = 'block'\nact_scale = 'tensor'" + text, `.act_scale: is "tensor", and with granularity "block" each 128 inputs of a token have a scale`},
		{"method = 'fp8'\nsymmetric = true", `.symmetric: has no effect with method fp8`},
		{"method = 'fp8'\nconvention = 'llmc'", `.convention: has no effect with method fp8`},
		{"method = 'rtn'\nalpha = 0.5", `.alpha: has no effect with method rtn; take it out`},
		{"method = 'gptq'\nawq.grid = 5" + text, `.awq: has no effect with method gptq; take it out`},
		{"method = 'awq'\ngptq.block = 5" + text, `.gptq: has no effect with method awq; take it out`},
		{"method = 'gptq'\ngptq = { act_order = true, static_groups = false }" + text, `.gptq.static_groups: is false, and act_order needs`},
		{"method = 'gptq'\ngptq.damp = 0" + text, `.gptq.damp: is 0; the least is 0.000001`},
		{"method = 'smoothquant'\nalpha = 0" + text, `.alpha: is 0; the least is 0.01`},
		{"method = 'awq'", `:1:1: quant[awq-w4g128].calib: missing: method awq is found with text; write calib = { name = "pileval" }`},
		{"method = 'gptq'", `.calib: missing: method gptq is found with text`},
		{"method = 'smoothquant'", `.calib: missing: method smoothquant is found with text`},
		{"method = 'fp8'\nact_scale = 'tensor'", `.calib: missing: act_scale = "tensor" is found with text`},
		{"method = 'rtn'\nact = 'int8'\nact_scale = 'tensor'", `.calib: missing: act_scale = "tensor" is found with text`},
		{"method = 'rtn'" + text, `:3:1: quant[rtn-w4g128].calib: has no effect with method rtn, which needs no text; take it out`},
		{"method = 'awq'\ncalib.samples = 5", `:3:1: quant[awq-w4g128].calib: has neither a name nor a file`},
		{"method = 'awq'\ncalib = 'c4'", `.calib: is a string; write a table`},
		{"method = 'awq'\ncalib.file.path = 'x'", `.calib.file.path: the extension does not tell the format`},
		{"method = 'awq'\ncalib.file.format = 'text'", `.calib.file.path: missing; write the file's name`},
		{"method = 'awq'\ncalib = { name = 'c4', samples = 1_000_000, seq_len = 1000 }", `.calib.samples: 1000000 samples of 1000 tokens are more than`},
		{"method = 'awq'\nsave = ['awq']\nbits = 3" + text, `:3:9: quant[awq-w3g128].save: "awq" cannot hold 3 bits, only 4; "compressed-tensors" can`},
		{"method = 'rtn'\nsave = ['awq']\nact = 'int8'", `.save: "awq" cannot say that inputs are rounded (act = "int8"); "compressed-tensors" can`},
		{"method = 'rtn'\nsave = ['gptq_v2']\nscale_dtype = 'bf16'", `.save: "gptq_v2" cannot hold scales of bf16; write scale_dtype = "f16"`},
		{"method = 'rtn'\nsave = ['gptq']", `.save: "gptq" cannot hold a zero of 0`},
		{"method = 'fp8'\nsave = ['gptq']", `.save: "gptq" cannot hold floats; "compressed-tensors" can`},
		{"method = 'rtn'\nbits = 8\nsave = ['fp8']", `.save: "fp8" cannot hold integers; "compressed-tensors" can`},
		{"method = 'fp8'\nsave = ['fp8']", `.save: "fp8" cannot hold a scale of each output; write granularity = "tensor" or "block"`},
		{"method = 'fp8'\nact = 'none'\ngranularity = 'tensor'\nsave = ['fp8']", `.save: "fp8" cannot say that inputs are not rounded`},
		{"method = 'rtn'\nsave = ['transformed']", `.save: "transformed" would be the model itself: method rtn changes no weight`},
		{"method = 'rtn'\nsave = ['fake_quant', 'fake_quant']", `:3:23: quant[rtn-w4g128].save: "fake_quant" is there twice; leave one`},
		{"method = 'rtn'\nsave_path = '/x'", `.save_path: has no effect without save; take it out`},
		{"method = 'rtn'\nname = ''", `.name: is empty`},
		{"method = 'rtn'\nname = '.a'", `quant[.a].name: ".a" cannot be used; write 1 to 100 of the characters`},
		{"method = 'rtn'\nname = 'a b'", `.name: "a b" cannot be used`},
		{"method = 'rtn'\nname = '" + strings.Repeat("a", 101) + "'", `cannot be used; write 1 to 100`},
		{"method = 'rtn'\nname = 'pretrain'", `quant[pretrain].name: "pretrain" is what the untouched model is called`},
		{"method = 'rtn'\nmodels = ['7b', '9b']", `:3:17: quant[rtn-w4g128].models: no model is named "9b"; did you mean "7b" or "8b"?`},
		{"method = 'rtn'\nmodels = ['x*']", `.models: no model is named "x*"; write the abbr of a model, or a glob`},
		{"method = 'rtn'\nmodels = []\nignore = ['']", `.ignore: is empty`},
		{"method = 'rtn'\ngroupsize = 64", `.groupsize: unknown key`},
		{"bits = 4", `:1:1: quant.method: missing; write "rtn"`},
		{"metod = 'rtn'", `:2:1: quant.metod: unknown key; did you mean "method"?`},
		{"method = 'rtn'\n[[quant]]\nmethod = 'rtn'", `:3:1: quant: name "rtn-w4g128" is already that of the entry on line 9; give this one another name`},
		{"method = 'rtn'\nname = 'x'\n[[quant]]\nmethod = 'rtn'\nname = 'x-fake_quant'",
			`:6:1: quant[x-fake_quant].name: "x-fake_quant" makes of model "7b" the variant "7b-x-fake_quant", which is that of model "7b" and recipe "x"; write another name`},
		{"method = 'rtn'\n[[models]]\nabbr = '7b-rtn-w4g128'\npath = '/m'", `:1:1: quant[rtn-w4g128].name: "rtn-w4g128" makes of model "7b" the variant "7b-rtn-w4g128", which is model "7b-rtn-w4g128"`},
		{"method = 'rtn'\n[eval]\npositions = ['transformed']", `:4:14: eval.positions: "transformed" is of the methods awq and smoothquant, which no recipe has`},
		{"method = 'rtn'\n[eval]\npositions = ['packed', 'packed']", `eval.positions: "packed" is there twice; leave one`},
		{"method = 'rtn'\n[eval]\nposition = ['packed']", `eval.position: unknown key; did you mean "positions"?`},
		{"method = 'rtn'\n[[dataset]]\nabbr = 'quantize'\nmode = 'rolling'\ntest.path = '/x.txt'", `:4:1: dataset[quantize].abbr: "quantize" is what the step is called`},
		{"method = 'rtn'\n[calib]\nname = 'wikitext'", `calib.name: is "wikitext"; did you mean "wikitext2"?`},
	} {
		_, err := quantSpec("[[quant]]\n" + c.lines)
		if err == nil {
			t.Errorf("%s: no error", c.lines)
			continue
		}
		want := c.want
		var line, col int
		if n, _ := fmt.Sscanf(want, ":%d:%d:", &line, &col); n == 2 {
			_, rest, _ := strings.Cut(want[1:], ": ")
			want = fmt.Sprintf("eval.toml:%d:%d: %s", firstLine+line-1, col, rest)
		}
		if !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: got\n%v\nwant this alone\n%s", c.lines, err, want)
		}
	}
	if _, err := quantSpec("[eval]\npositions = ['pretrain', 'packed']"); err == nil ||
		err.Error() != `eval.toml:10:26: eval.positions: "packed" is of recipes, and there is none; add a [[quant]] table, or take it out` {
		t.Errorf("positions without a recipe: %v", err)
	}
	for lines, want := range map[string]string{"quant = 3": "is an integer; write an array of tables", "quant = [3]": "is an integer; write a table"} {
		files := map[string]string{"eval.toml": lines + "\n[[models]]\npath = '/m'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n"}
		if _, err := load("eval.toml", Options{}, inMemory(files)); err == nil || !strings.Contains(err.Error(), "quant: "+want) {
			t.Errorf("%s: %v, want %s", lines, err, want)
		}
	}
}

// TestQuantTakes holds recipes that are right, by the names that they get.
func TestQuantTakes(t *testing.T) {
	for lines, want := range map[string]string{
		"method = 'rtn'":                                       "rtn-w4g128",
		"method = 'rtn'\nbits = 8":                             "rtn-w8",
		"method = 'rtn'\nbits = 8\ngroup = 64":                 "rtn-w8g64",
		"method = 'rtn'\ngranularity = 'channel'":              "rtn-w4",
		"method = 'rtn'\nbits = 2\nsymmetric = true":           "rtn-w2g128-sym",
		"method = 'rtn'\nbits = 8\nact = 'int8'":               "rtn-w8a8",
		"method = 'rtn'\nact = 'fp8'\nkv = 'fp8'":              "rtn-w4g128af8-kvf8",
		"method = 'rtn'\nconvention = 'gptq'":                  "rtn-w4g128-gptq",
		"method = 'rtn'\nconvention = 'gptq'\nsave = ['gptq']": "rtn-w4g128-gptq",
		"method = 'rtn'\nscale_dtype = 'f32'\nkv = 'int8'":     "rtn-w4g128-f32-kv8",
		"method = 'awq'\ncalib.name = 'pileval'\nsave = ['awq', 'gptq_v2', 'compressed-tensors', 'transformed']": "awq-w4g128",
		"method = 'awq'\nawq = { clip = false, objective = 'output', grid = 40 }\ncalib.name = 'ptb'":            "awq-w4g128-noclip-output-grid40",
		"method = 'gptq'\ncalib.name = 'c4'\nsave = ['gptq', 'gptq_v2']":                                         "gptq-w4g128",
		"method = 'gptq'\ncalib.name = 'c4'\ngptq = { act_order = true }":                                        "gptq-w4g128-actorder",
		"method = 'gptq'\ncalib.name = 'c4'\ngptq = { static_groups = true }\nsymmetric = false":                 "gptq-w4g128-asym-staticgroups",
		"method = 'smoothquant'\ncalib.file.path = '/x.jsonl'\nsave = ['compressed-tensors', 'fake_quant']":      "smoothquant-w8a8",
		"method = 'smoothquant'\ncalib.name = 'c4'\nact_scale = 'tensor'":                                        "smoothquant-w8a8-static",
		"method = 'fp8'": "fp8",
		"method = 'fp8'\ngranularity = 'block'\nsave = ['fp8', 'compressed-tensors']":                     "fp8-block",
		"method = 'fp8'\ngranularity = 'tensor'\nact_scale = 'tensor'\ncalib.name = 'c4'\nsave = ['fp8']": "fp8-tensor-static",
		"method = 'fp8'\nact = 'none'":                                      "fp8-noact",
		"method = 'rtn'\nname = 'mine'\nmodels = ['7*', '8b']":              "mine",
		"method = 'rtn'\nmodels = ['8b']\n[calib]\nname = 'wikitext2'":      "rtn-w4g128", // [calib] may be a base file's
		"method = 'rtn'\nignore = ['*.down_proj.weight']":                   "rtn-w4g128",
		"method = 'awq'\n[calib]\nfile.path = '/x.txt'\nfile.unit = 'file'": "awq-w4g128",
	} {
		s, err := quantSpec("[quant]\n" + lines)
		if err != nil {
			t.Errorf("%s: %v", lines, err)
			continue
		}
		if s.Quant[0].Name != want {
			t.Errorf("%s: is named %q, want %q", lines, s.Quant[0].Name, want)
		}
		if again := s.Quant[0].WithDefaults(); !reflect.DeepEqual(again, s.Quant[0]) {
			t.Errorf("%s: defaults of defaults: %+v, want %+v", lines, again, s.Quant[0])
		}
		if !slices.Equal(s.Eval.Positions, []string{Pretrain, Packed}) {
			t.Errorf("%s: positions %q", lines, s.Eval.Positions)
		}
	}
}

// TestQuantTableIsAList holds that a single [quant] is a [[quant]] of one.
func TestQuantTableIsAList(t *testing.T) {
	a, err := quantSpec("[quant]\nmethod = 'awq'\nbits = 3\n[quant.calib]\nname = 'c4'")
	if err != nil {
		t.Fatal(err)
	}
	b, err := quantSpec("[[quant]]\nmethod = 'awq'\nbits = 3\n[quant.calib]\nname = 'c4'")
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got %+v, %v, want %+v", a, err, b)
	}
}

// TestQuantIncludes holds how recipes of two files become one list.
func TestQuantIncludes(t *testing.T) {
	base := "data_dir = '/data'\n[[models]]\npath = '/m/7b'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n" +
		"[calib]\nname = 'c4'\nsamples = 9\n[[quant]]\nmethod = 'awq'\nawq.grid = 10\nname = 'a'\ncalib.cut = 'blocks'\n[[quant]]\nmethod = 'rtn'\n"
	for top, want := range map[string]string{
		"": "a awq 4 c4 blocks 9; rtn-w4g128 rtn 4",
		// By name, written or from defaults; new ones follow.
		"[quant]\nname = 'a'\nbits = 3": "a awq 3 c4 blocks 9; rtn-w4g128 rtn 4",
		"[[quant]]\nmethod = 'rtn'\nignore = ['x']\n[[quant]]\nmethod = 'rtn'\nbits = 3": "a awq 4 c4 blocks 9; rtn-w4g128 rtn 4 x; rtn-w3g128 rtn 3",
		"[quant]\nname = 'rtn-w4g128'\nbits = 2":                                         "a awq 4 c4 blocks 9; rtn-w4g128 rtn 2",
		// Another method takes the settings of the base's out.
		"[quant]\nname = 'a'\nmethod = 'gptq'": "a gptq 4 c4 blocks 9; rtn-w4g128 rtn 4",
		// Another text takes the base's out, with what goes with it; numbers stay.
		"[calib]\nname = 'pileval'":                               "a awq 4 pileval blocks 9; rtn-w4g128 rtn 4",
		"[calib]\nfile.path = '/x.txt'":                           "a awq 4 /x.txt blocks 9; rtn-w4g128 rtn 4",
		"[quant]\nname = 'a'\ncalib = { name = 'ptb' }":           "a awq 4 ptb windows 9; rtn-w4g128 rtn 4",
		"[quant]\nname = 'a'\ncalib = { file = { path='/y.txt'}}": "a awq 4 /y.txt blocks 9; rtn-w4g128 rtn 4",
		"[calib]\nsamples = 3":                                    "a awq 4 c4 blocks 3; rtn-w4g128 rtn 4",
	} {
		s, err := load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": "include = ['base.toml']\n" + top + "\n", "base.toml": base}))
		if err != nil {
			t.Errorf("%s: %v", top, err)
			continue
		}
		var got []string
		for _, q := range s.Quant {
			line := fmt.Sprint(q.Name, " ", q.Method, " ", q.Bits)
			if c := q.Calib; c != nil && c.Name != "" {
				line += fmt.Sprint(" ", c.Name, " ", c.Cut, " ", c.Samples)
			} else if c != nil {
				line += fmt.Sprint(" ", c.File.Path, " ", c.Cut, " ", c.Samples)
			}
			got = append(got, strings.Join(append([]string{line}, q.Ignore...), " "))
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("%s: got\n%s\nwant\n%s", top, text, want)
		}
	}
}

// TestPositions holds which variants are evaluated.
func TestPositions(t *testing.T) {
	awq, rtn := &Quant{Method: "awq"}, &Quant{Method: "rtn"}
	for _, c := range []struct {
		e    Eval
		q    *Quant
		want string
	}{
		{Eval{}, nil, "pretrain"}, {Eval{}, awq, "packed"},
		{Eval{[]string{Transformed, Packed}}, nil, ""}, {Eval{[]string{Transformed, Packed}}, awq, "transformed packed"},
		{Eval{[]string{Transformed, Packed}}, rtn, "packed"}, {Eval{[]string{Pretrain}}, rtn, ""},
	} {
		if got := strings.Join(c.e.At(c.q), " "); got != c.want {
			t.Errorf("%v of %+v: %q, want %q", c.e, c.q, got, c.want)
		}
	}
	for at, want := range map[string]string{Pretrain: "m", Packed: "m-r", FakeQuant: "m-r-fake_quant", Transformed: "m-r-transformed"} {
		if got := VariantID("m", "r", at); got != want {
			t.Errorf("%s is named %q, want %q", at, got, want)
		}
	}
}
