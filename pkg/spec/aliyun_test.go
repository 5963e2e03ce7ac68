package spec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// opencompass is a file of settings as users of OpenCompass have it.
const opencompass = `# our cluster
bashrc_path = '/cpfs/me/.bashrc'
conda_env_name = "opencompass"
dlc_config_path = "/cpfs/me/.dlc/config"   # keys
workspace_id = 'ws1abc'
resource_id = "quota1"
worker_image = ("registry-vpc.cn-shanghai.aliyuncs.com/"
                'team/img:1')
data_sources = [
    'd-1',  # cpfs
    'd-2',
]
dlc_job_cmd = 'create'
priority = 3
hf_offline = True
http_proxy = None
extra_envs = ['NCCL_DEBUG=INFO', "A=b=c"]
dlc_sleep_time = 15
`

// asDict is the same as the value that a configuration of OpenCompass has it in.
const asDict = `aliyun_cfg = dict(bashrc_path='/cpfs/me/.bashrc', conda_env_name="opencompass", dlc_config_path="/cpfs/me/.dlc/config",
    workspace_id='ws1abc', resource_id="quota1", worker_image="registry-vpc.cn-shanghai.aliyuncs.com/" 'team/img:1',
    data_sources=('d-1', 'd-2'), dlc_job_cmd='create', priority=3, hf_offline=True, http_proxy=None,
    # and so on
    extra_envs=['NCCL_DEBUG=INFO', "A=b=c"], dlc_sleep_time=15)
`

func TestAliyun(t *testing.T) {
	want := map[string]any{"dlc.config": "/cpfs/me/.dlc/config", "dlc.workspace_id": "ws1abc", "dlc.resource_id": "quota1",
		"dlc.worker_image": "registry-vpc.cn-shanghai.aliyuncs.com/team/img:1", "dlc.data_sources": []string{"d-1", "d-2"}, "dlc.job_cmd": "create",
		"dlc.priority": int64(3), "dlc.env.NCCL_DEBUG": "INFO", "dlc.env.A": "b=c", "dlc.poll_min": int64(15),
		"dlc.prologue": "source '/cpfs/me/.bashrc'\nconda activate 'opencompass'\n"}
	small := map[string]any{"dlc.workspace_id": "12", "dlc.job_cmd": "submit", "dlc.prologue": "export PATH='/e n/bin':\"$PATH\"\n"}
	for text, want := range map[string]map[string]any{
		opencompass: want,
		asDict:      want,
		"workspace_id = 12; python_env_path = '/e n'\n":                            small,
		`{"workspace_id": 12, "python_env_path": "/e n", "resource_id": null}`:     small,
		"dict(workspace_id=12, python_env_path='/e ' 'n', hf_offline=False,)":      small,
		"aliyun_cfg = {'workspace_id': r'12', \"python_env_path\": u'/e n'} # end": small,
	} {
		got := map[string]any{}
		over, err := aliyun("f.py", text)
		for _, o := range over {
			got[o.Key] = o.Value
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\n%s\n got %v\nwant %v", err, text, got, want)
		}
	}
}

func TestAliyunRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"import os\nworkspace_id = 'w'":                 "f.py:1: ",
		"workspace_id = os.environ['W']":                `f.py:1: "os.environ['W']" is no plain value`,
		"\n\nworkspace_id = open('/etc/passwd').read()": "f.py:3: ",
		"workspace_id = f'{x}'":                         "nothing is executed",
		"workspace_id = 'a' + 'b'":                      "no plain value",
		"workspace_id = __import__('os').system('id')":  "TOML under [dlc]",
		"workspace_id = [x for x in y]":                 "no plain value",
		"workspace_id = {'a': 1}.get('a')":              "no plain value",
		"if True:\n    workspace_id = 'w'":              "no plain value",
		"workspace_id = 'w":                             "f.py:1: a text has no end",
		"worksapce_id = 'w'":                            "did you mean",
		"workspace_id = ['w']":                          "must be a text",
		"data_sources = 'd-1'":                          "must be a list of texts",
		"priority = 'high'":                             "must be a whole number",
		"extra_envs = ['HF_TOKEN=hf_abc']":              "looks like a secret",
		"extra_envs = ['X']":                            "NAME=value",
		"http_proxy = 'http://me:pw@proxy:3128'":        "has a user or a password in it",
		"hf_offline = 'no'":                             "True or False",
		"workspace_id: w":                               "no plain value",
		"aliyun_cfg = 3":                                "not a dict",
		"workspace_id = " + strings.Repeat("[", 100):    "deep in one another",
	} {
		over, err := aliyun("f.py", text)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hf_abc") || strings.Contains(err.Error(), "pw@") {
			t.Errorf("%q: %v, %v, want %q", text, over, err, says)
		}
	}
	if _, err := Aliyun("/no/such/file"); err == nil || !strings.Contains(err.Error(), "--aliyun-cfg") {
		t.Error(err)
	}
}

// TestAliyunLaidOver has the settings win over a spec.
func TestAliyunLaidOver(t *testing.T) {
	over, err := aliyun("f.py", opencompass)
	if err != nil {
		t.Fatal(err)
	}
	over = append(over, Override{Key: "infer.scheduler", Value: "dlc", From: "--dlc"})
	text := "[dlc]\nworkspace_id = 'other'\nworker = '/w'\n[[models]]\npath = '/m'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n"
	s, err := load("eval.toml", Options{Overrides: over}, inMemory(map[string]string{"eval.toml": text}))
	if err != nil {
		t.Fatal(err)
	}
	want := DLC{Config: "/cpfs/me/.dlc/config", JobCmd: "create", WorkspaceID: "ws1abc", ResourceID: "quota1", Priority: 3, PollMin: 15, Worker: "/w",
		WorkerImage: "registry-vpc.cn-shanghai.aliyuncs.com/team/img:1", DataSources: []string{"d-1", "d-2"},
		Prologue: "source '/cpfs/me/.bashrc'\nconda activate 'opencompass'\n", Env: map[string]string{"NCCL_DEBUG": "INFO", "A": "b=c"}}
	if !reflect.DeepEqual(s.DLC, want) || s.Infer.Scheduler != "dlc" || !s.Infer.Remote() {
		t.Errorf("%+v", s.DLC)
	}
}

func TestDLCRefuses(t *testing.T) {
	for lines, says := range map[string]string{
		"":                             "dlc.workspace_id: missing",
		"workspace_id = 'w'":           "dlc.worker_image: missing",
		"extra = ['--access_key=x']":   "keys stand in the file",
		"extra = ['--command=x']":      "it is the worker's",
		"extra = ['--job-file=x']":     "win over all other options",
		"extra = ['-c']":               "a long option of dlc",
		"worker_image = 'a b'":         "dlc.worker_image",
		"job_cmd = 'run'":              "dlc.job_cmd",
		"env.MY_TOKEN = 'abc'":         "dlc.prologue read it",
		"prologue = \"a\\r\\n\"":       "carriage return",
		"poll_min = 30\npoll_max = 20": "must not be less",
		"[[models]]\npath='/b'\nrun_cfg.num_gpus = 17": "at most 16",
	} {
		text := "infer.scheduler = 'dlc'\n[[models]]\npath = '/m'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n[dlc]\n" + lines + "\n"
		_, err := load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": text}))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(fmt.Sprint(err), "abc") {
			t.Errorf("%s: %v, want %q", lines, err, says)
		}
	}
}

func FuzzAliyun(f *testing.F) {
	for _, text := range []string{opencompass, "a = (1,)\n", "{'a': [1, {'b': None}]}", "dict(a='\\x41' r'\\x')", "a = '''x\ny'''", "\\\na = 1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := aliyun("f", text); err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
