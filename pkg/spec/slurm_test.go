package spec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// slurmSpec loads a spec whose [slurm] has these lines.
func slurmSpec(lines string) (*Spec, error) {
	text := "[slurm]\n" + lines + "\n[[models]]\npath = '/m'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n"
	return load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": text}))
}

// unsafe are values that would be more than one plain word in a script or on a command line.
var unsafe = map[string]string{
	"newline": `"a\nb"`, "directive": `"a\n#SBATCH --array=0-9"`, "return": `"a\r"`, "quote": `"a\"b"`, "single quote": `"a'b"`, "hash": `"a#b"`, "percent": `"a%j"`,
	"dash": `"-a"`, "dashes": `"--array=0-9"`, "long": `"` + strings.Repeat("a", 300) + `"`, "unicode": `"größe"`, "wide": `"评测"`, "backslash": `'a\b'`, "backquote": "'a`id`'",
	"dollar": `"a$$b"`, "command": `"$$(id)"`, "semicolon": `"a;b"`, "redirect": `"a>b"`, "NUL": `"a\u0000b"`, "tab": `"a\tb"`, "tail newline": `"a\n"`, "brace": `"{a}"`,
}

func TestFormsRefuse(t *testing.T) {
	keys := []string{"partition", "quotatype", "qos", "account", "reservation", "gpu_type", "constraint", "nodelist", "exclude", "comment", "time", "mem"}
	for what, value := range unsafe {
		for _, key := range keys {
			if _, err := slurmSpec(key + " = " + value); err == nil || !strings.Contains(err.Error(), "slurm."+key) {
				t.Errorf("%s = %s (%s): %v", key, value, what, err)
			}
		}
		option := `"--licenses=` + value[1:len(value)-1] + `"`
		if value[0] == '\'' {
			option = "'--licenses=" + value[1:len(value)-1] + "'"
		}
		if _, err := slurmSpec("extra = [" + option + "]"); what != "dash" && what != "dashes" && (err == nil || !strings.Contains(err.Error(), "slurm.extra")) {
			t.Errorf("extra = [%s] (%s): %v", option, what, err)
		}
	}
	if _, err := slurmSpec(`partition = "a b"`); err == nil {
		t.Error("a partition with a space is taken")
	}
}

// TestExpandedFormsRefuse holds that what the environment brings in is looked at too.
func TestExpandedFormsRefuse(t *testing.T) {
	for _, value := range []string{"a\n#SBATCH --uid=0", "-p", "a b", "ä", strings.Repeat("x", 256)} {
		t.Setenv("SPEC_TEST_PART", value)
		if _, err := slurmSpec(`partition = "${SPEC_TEST_PART}"`); err == nil {
			t.Errorf("a partition of %q is taken", value)
		}
	}
	t.Setenv("SPEC_TEST_PART", "llmeval")
	if s, err := slurmSpec(`partition = "${SPEC_TEST_PART}2"`); err != nil || s.Slurm.Partition != "llmeval2" {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestSecretsStay holds that a variable which is a secret by its name is not taken into a plan.
func TestSecretsStay(t *testing.T) {
	for _, name := range []string{"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "password"} {
		t.Setenv(name, "hidden")
		if got, err := expand("/a/${" + name + "}"); err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), name) {
			t.Errorf("${%s} becomes %q, %v", name, got, err)
		}
	}
}

func TestFormsTake(t *testing.T) {
	for key, values := range map[string][]string{
		"word": {"llmeval", "a,b", "normal_2", "gpu:8", "h100|a100", "[intel*2&amd*2]", "(a&b)|c", "node[001-128,200],gpu-7", "me@site", "v1.2+x", "a=b", strings.Repeat("a", 255), "9"},
		"text": {"eval of 7b, step 2000: all", "x", "a-b_c/d=e+f@g.h", strings.Repeat("a", 255)},
		"option": {"--exclusive", "--nice=100", "--licenses=matlab:2,ansys@db:1", "--switches=1@00:10:00", "--mail-type=END,FAIL", "--mem-per-gpu=8G", "--begin=",
			"--" + strings.Repeat("a", 41), "--a-b=" + strings.Repeat("a", 254)},
		"dlc":  {"--a_b=" + strings.Repeat("a", 1000), "--" + strings.Repeat("a", 61) + "=1"},
		"time": {"60", "60:00", "1:00:00", "2-0", "2-12:30", "2-12:30:15", "0"},
		"size": {"64G", "64000", "0", "1T", "5K"},
	} {
		for _, v := range values {
			if !forms[key].fits(v) {
				t.Errorf("%q is not taken as %s", v, key)
			}
		}
	}
	for key, values := range map[string][]string{
		"time": {"", "1h", "1:2:3:4", "-1", "1-", "2-12:", "UNLIMITED", "12345678", "1:200"},
		"size": {"", "64 G", "64GB", "-1", "1.5G", "64g", "1234567890123"},
		"option": {"", "-p", "--", "--a", "-p llm", "--Name=x", "--name=x y", "--name value", "--=x", "name", "--nice=-1\n", "--n_x",
			"--" + strings.Repeat("a", 42), "--" + strings.Repeat("a", 42) + "=1", "--a-b=" + strings.Repeat("a", 255)},
		"dlc":  {"--a_b=" + strings.Repeat("a", 1001), "--" + strings.Repeat("a", 62)},
		"word": {strings.Repeat("a", 256)},
		"text": {strings.Repeat("a", 256)},
	} {
		for _, v := range values {
			if forms[key].fits(v) {
				t.Errorf("%q is taken as %s", v, key)
			}
		}
	}
}

func TestSlurmExtra(t *testing.T) {
	for _, c := range []struct{ option, want string }{
		{"--array=0-9", "the plan decides"}, {"--output=x", "where logs are"}, {"--error=x", "where logs are"}, {"--job-name=x", "names"},
		{"--chdir=x", "run directory"}, {"--wrap=x", "scripts"}, {"--parsable", "what sbatch says"}, {"--wait", "--detach"}, {"--test-only", "--dry-run"},
		{"--dependency=afterok:1", "follows"}, {"--input=x", "read nothing"}, {"--open-mode=append", "logs"}, {"--signal=USR1", "slurm.signal_lead"},
		{"--requeue", "slurm.no_requeue"}, {"--no-requeue", "slurm.no_requeue = true"}, {"--export-file=x", "[slurm.env]"}, {"--clusters=a", "SLURM_CLUSTERS"},
		{"--partition=x", "write slurm.partition"}, {"--qos=x", "write slurm.qos"}, {"--quotatype=auto", "write slurm.quotatype"},
		{"--account=x", "write slurm.account"}, {"--time=5", "write slurm.time"}, {"--mem=5", "write slurm.mem"}, {"--gres=gpu:8", "run_cfg.num_gpus"},
		{"--gpus=8", "run_cfg.num_gpus"}, {"--gpus-per-node=8", "run_cfg.num_gpus"}, {"--cpus-per-task=4", "write slurm.cpus"},
		{"--ntasks=4", "run_cfg.num_procs"}, {"--nodes=4", "run_cfg.num_procs"}, {"--constraint=x", "write slurm.constraint"},
		{"--nodelist=x", "write slurm.nodelist"}, {"--exclude=x", "write slurm.exclude"}, {"--reservation=x", "write slurm.reservation"},
		{"--comment=x", "write slurm.comment"}, {"--help", "submit nothing"}, {"--usage", "submit nothing"}, {"--version", "submit nothing"}, {"--uid=0", "the submitter's"},
		// sbatch takes abbreviations.
		{"--arr=0-9", "--array"}, {"--part=x", "--partition"}, {"--job=x", "--job-name"}, {"--dep=x", "--dependency"}, {"--tim=5", "--time"}, {"--cluster=a", "--clusters"},
		{"--export=ALL,HF_TOKEN=x", "[slurm.env]"},
	} {
		_, err := slurmSpec(fmt.Sprintf("extra = ['--exclusive', '%s']", c.option))
		if err == nil || !strings.HasPrefix(err.Error(), "eval.toml:2:") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something about %q", c.option, err, c.want)
		}
	}
	for _, option := range []string{"--exclusive", "--mem-per-cpu=4G", "--time-min=10", "--wait-all-nodes=1", "--gres-flags=enforce-binding", "--export=NONE",
		"--ntasks-per-node=8", "--cpus-per-gpu=8", "--nice=100", "--licenses=x", "--hold", "--mail-type=END"} {
		if _, err := slurmSpec(fmt.Sprintf("extra = ['%s']", option)); err != nil {
			t.Errorf("%s: %v", option, err)
		}
	}
	if _, err := slurmSpec("gpu_option = 'none'\nextra = ['--gres=gpu:8', '--gpus-per-task=1']"); err != nil {
		t.Errorf("with gpu_option none: %v", err)
	}
	if _, err := slurmSpec("gpu_option = 'none'\nextra = ['--mem=8']"); err == nil {
		t.Error("with gpu_option none --mem is taken")
	}
}

func TestSlurmChecks(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"poll_min = 30\npoll_max = 20", "eval.toml:3:1: slurm.poll_max: poll_max is 20 and poll_min is 30; poll_max must not be less"},
		{"poll_min = 200", "eval.toml:2:1: slurm.poll_min: poll_max is 120 and poll_min is 200; poll_max must not be less"},
		{"prologue = \"a\\r\\nb\"", "eval.toml:2:1: slurm.prologue: has a carriage return"},
		{"prologue = \"a\\u0000\"", "slurm.prologue: contains a NUL"},
		{"prologue = '''\nmodule load cuda\n#SBATCH --uid=0\n'''", "slurm.prologue: has a line"},
		{`prologue = "module load a \\\n"`, "slurm.prologue: ends with a backslash"},
		{"gpu_type = 'a,b'", "slurm.gpu_type: \"a,b\" cannot be a type of GPU"},
		{"env = { UID = '0' }", "slurm.env.UID: cannot be set"},
		{"env = { A = 'x', 'B C' = 'y' }", "eval.toml:2:18: slurm.env.\"B C\": cannot be a variable's name"},
		{"env = { '9A' = 'x' }", "cannot be a variable's name"},
		{"env = { 'A=B' = 'x' }", "cannot be a variable's name"},
		{"env = { '' = 'x' }", "cannot be a variable's name"},
		{"env = { 'ä' = 'x' }", "cannot be a variable's name"},
		{`env = { A = "x\ny" }`, "slurm.env.A: has a line break"},
		{`env = { A = "x\u0000" }`, "slurm.env.A: has a line break"},
		{`env = { HF_TOKEN = "hf_abc" }`, `write HF_TOKEN = "${HF_TOKEN}"`},
		{`env = { AWS_SECRET_ACCESS_KEY = "abc" }`, "looks like a secret"},
		{"env = { A = 3 }", "slurm.env.A: is an integer"},
		{"env = 'x'", "slurm.env: is a string"},
		{"extra = '--exclusive'", "slurm.extra: is a string"},
		{"extra = [3]", "slurm.extra: is an integer"},
		{"gpu_option = 'gpu'", `slurm.gpu_option: is "gpu"; did you mean "gpus"?`},
		{"patrition = 'x'", `slurm.patrition: unknown key; did you mean "partition"?`},
		{"signal_lead = 5", "slurm.signal_lead: is 5; the least is 10"},
	} {
		if _, err := slurmSpec(c.lines); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.lines, err, c.want)
		}
	}
}

// TestSlurmEnv holds that values for the nodes are left as they are written.
func TestSlurmEnv(t *testing.T) {
	s, err := slurmSpec(`env = { HF_TOKEN = "${HF_TOKEN}", TMPDIR = "/local/${SLURM_JOB_ID}", EMPTY = "", Q = "a 'b' \"c\" \\ # % ä", MAX_TOKENS = "5" }`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"HF_TOKEN": "${HF_TOKEN}", "TMPDIR": "/local/${SLURM_JOB_ID}", "EMPTY": "", "Q": `a 'b' "c" \ # % ä`, "MAX_TOKENS": "5"}
	if !reflect.DeepEqual(s.Slurm.Env, want) {
		t.Errorf("got %q", s.Slurm.Env)
	}
}
