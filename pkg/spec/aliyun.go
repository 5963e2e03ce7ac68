package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// setting is a value of OpenCompass's settings file for DLC.
type setting struct {
	value any // string, int64, float64, bool, nil, []setting, map[string]setting
	line  int
}

// Aliyun reads OpenCompass's settings file for DLC, --aliyun-cfg: assignments of plain values as Python writes them, or one dict of them. It
// gives what they mean in [dlc]. Nothing is executed: whatever is no plain value is an error, which tells the file and line and what to write
// in the place. Settings that are None are as good as not there.
func Aliyun(path string) ([]Override, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, rest)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the settings of DLC: %w; name OpenCompass's file with --aliyun-cfg, or write [dlc] in the spec", err)
	}
	out, err := aliyun(path, string(text))
	if err != nil {
		return nil, fmt.Errorf("reading the settings of DLC: %w", err)
	}
	return out, nil
}

func aliyun(path, text string) ([]Override, error) {
	all, err := parseSettings(path, text)
	if err != nil {
		return nil, err
	}
	if one, ok := all["aliyun_cfg"]; ok && len(all) == 1 {
		if all, ok = one.value.(map[string]setting); !ok {
			return nil, fmt.Errorf("%s:%d: aliyun_cfg is not a dict", path, one.line)
		}
	}
	a := &aliyunFile{path: path, all: all}
	for _, name := range sortedNames(all) {
		s := all[name]
		read, known := aliyunKeys[name]
		switch {
		case !known:
			a.fail(s, name, "is not known here; %s", near(name))
		case s.value != nil:
			read(a, name, s)
		}
	}
	a.finish()
	if a.err != nil {
		return nil, a.err
	}
	return a.out, nil
}

func near(name string) string {
	if list := Nearest(name, sortedNames(aliyunKeys)); len(list) > 0 {
		return "did you mean " + orList(list) + "?"
	}
	return "remove it, or write what it means under [dlc] in the spec"
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// aliyunFile is a file of settings on its way to [dlc].
type aliyunFile struct {
	path   string
	all    map[string]setting
	out    []Override
	before [4][]string // shell lines: pre_cmd, bashrc_path, conda_env_name, python_env_path
	err    error       // the first
}

func (a *aliyunFile) fail(s setting, name, format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf("%s:%d: %s %s", a.path, s.line, name, fmt.Sprintf(format, args...))
	}
}

func (a *aliyunFile) set(s setting, key string, value any) {
	a.out = append(a.out, Override{Key: "dlc." + key, Value: value, From: fmt.Sprintf("%s:%d", a.path, s.line)})
}

func (a *aliyunFile) text(s setting, name string) string {
	v, ok := s.value.(string)
	if !ok || v == "" || strings.ContainsAny(v, "\n\r\x00") {
		a.fail(s, name, "must be a text of one line")
	}
	return v
}

// aliyunKeys are the settings that OpenCompass's DLC runner knows, each with what it becomes.
var aliyunKeys = map[string]func(a *aliyunFile, name string, s setting){
	"workspace_id": aliyunWord("workspace_id"), "resource_id": aliyunWord("resource_id"), "worker_image": aliyunWord("worker_image"),
	"priority": aliyunNumber("priority"), "worker_cpu": aliyunNumber("worker_cpu"), "worker_memory": aliyunNumber("worker_memory"),
	"dlc_sleep_time": aliyunNumber("poll_min"),
	"dlc_config_path": func(a *aliyunFile, name string, s setting) {
		path := a.text(s, name)
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			path = "${HOME}/" + rest
		}
		a.set(s, "config", path)
	},
	"dlc_job_cmd": func(a *aliyunFile, name string, s setting) {
		if a.text(s, name) == "create" { // all else is the other one, there
			a.set(s, "job_cmd", "create")
		}
	},
	"data_sources": func(a *aliyunFile, name string, s setting) {
		if list, ok := a.texts(s, name); ok {
			a.set(s, "data_sources", list)
		}
	},
	"pre_cmd": func(a *aliyunFile, name string, s setting) { a.before[0] = []string{a.text(s, name)} },
	"bashrc_path": func(a *aliyunFile, name string, s setting) {
		a.before[1] = []string{"source " + shellWord(a.text(s, name))}
	},
	"conda_env_name": func(a *aliyunFile, name string, s setting) {
		if rc := a.all["bashrc_path"]; rc.value == nil {
			return // it has no effect then
		}
		a.before[2] = []string{"conda activate " + shellWord(a.text(s, name))}
	},
	"python_env_path": func(a *aliyunFile, name string, s setting) {
		if rc := a.all["bashrc_path"]; rc.value != nil {
			return // that one wins
		}
		a.before[3] = []string{"export PATH=" + shellWord(a.text(s, name)+"/bin") + `:"$PATH"`}
	},
	"http_proxy": func(a *aliyunFile, name string, s setting) {
		proxy := a.text(s, name)
		if strings.Contains(proxy, "@") {
			a.fail(s, name, "has a user or a password in it, and scripts can be read by others; set it in the file of bashrc_path")
		}
		for _, v := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
			a.env(s, name, v, proxy)
		}
	},
	"huggingface_cache": func(a *aliyunFile, name string, s setting) {
		a.env(s, name, "HF_HUB_CACHE", a.text(s, name))
		a.env(s, name, "HUGGINGFACE_HUB_CACHE", a.text(s, name))
	},
	"torch_cache": func(a *aliyunFile, name string, s setting) { a.env(s, name, "TORCH_HOME", a.text(s, name)) },
	"hf_endpoint": func(a *aliyunFile, name string, s setting) { a.env(s, name, "HF_ENDPOINT", a.text(s, name)) },
	"hf_offline": func(a *aliyunFile, name string, s setting) {
		if _, ok := s.value.(bool); !ok {
			a.fail(s, name, "must be True or False") // nothing here goes to a hub by itself
		}
	},
	"extra_envs": func(a *aliyunFile, name string, s setting) {
		list, _ := a.texts(s, name)
		for _, kv := range list {
			key, value, ok := strings.Cut(kv, "=")
			if !ok {
				a.fail(s, name, "has %q; write \"NAME=value\"", kv)
				continue
			}
			a.env(s, name, strings.TrimSpace(key), strings.Trim(value, `"'`))
		}
	},
}

func aliyunWord(key string) func(*aliyunFile, string, setting) {
	return func(a *aliyunFile, name string, s setting) {
		if n, ok := s.value.(int64); ok { // a workspace may be a number
			s.value = fmt.Sprint(n)
		}
		a.set(s, key, a.text(s, name))
	}
}

func aliyunNumber(key string) func(*aliyunFile, string, setting) {
	return func(a *aliyunFile, name string, s setting) {
		n, ok := s.value.(int64)
		if !ok || n < 0 {
			a.fail(s, name, "must be a whole number")
		}
		a.set(s, key, n)
	}
}

func (a *aliyunFile) texts(s setting, name string) ([]string, bool) {
	list, ok := s.value.([]setting)
	var out []string
	for _, item := range list {
		text, is := item.value.(string)
		ok = ok && is && text != ""
		out = append(out, text)
	}
	if !ok {
		a.fail(s, name, "must be a list of texts")
	}
	return out, ok && len(out) > 0
}

// env exports a variable. A secret has no place in a script.
func (a *aliyunFile) env(s setting, name, variable, value string) {
	if problem := badVariable(variable, value); problem != "" {
		if secretName.MatchString(variable) {
			problem = "looks like a secret, and scripts can be read by others; set it in the file of bashrc_path"
		}
		a.fail(s, name, "has %s, which %s", variable, problem)
	}
	a.set(s, "env."+variable, value)
}

// finish adds what is of the file as a whole.
func (a *aliyunFile) finish() {
	if lines := slices.Concat(a.before[:]...); len(lines) > 0 {
		a.set(setting{line: 1}, "prologue", strings.Join(lines, "\n")+"\n")
	}
	if cmd, ok := a.all["dlc_job_cmd"]; !ok || cmd.value != "create" {
		a.set(setting{line: max(cmd.line, 1)}, "job_cmd", "submit") // as OpenCompass has it
	}
}

// shellWord quotes a path for bash.
func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
